"""A series of tests of one network: plain clips, then one corruption after another."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.utilities.rank_zero import rank_zero_only

from datamodules import VideoDataModule
from datamodules.clips.corruptions.catalogue import Corruption
from datamodules.errors import UserError, as_storage_error
from datamodules.jobs.progress import time_left
from lightning_modules.console import OTHER_FOLDER, say
from lightning_modules.evaluation.probe_drops import differences_beside_probe
from lightning_modules.evaluation.result_files import name_of_test
from lightning_modules.evaluation.score_files import read_contest
from lightning_modules.robustness.picture import draw_severities
from lightning_modules.robustness.summary import Outcome, Robustness, write_table

__all__ = ["run_series"]


def run_series(data: VideoDataModule, folder: Path, run_test: Callable[[], object]) -> None:
    """Test plain clips, then every corruption that is planned, and sum up.

    The plain test comes first, and always: what it stores about weights, data and code tells which
    corrupted tests of earlier days belong to it. Those are not run again.

    Args:
        data: Data of the tests; its evaluation holds the plan.
        folder: Folder of the score files.
        run_test: Tests the network on the clips that the data shows, and writes a score file.

    Raises:
        UserError: If a video may have several classes, a test leaves no score file, as only a part
            was tested, or is not the plain one in all but the corruption, as something was changed
            meanwhile.
    """
    planned = data.evaluation.planned_corruptions
    if not data.label_form.is_single:
        raise UserError(
            f"data.evaluation.corruptions={data.evaluation.corruptions} sums up top-1 accuracies, "
            f"and the data has {data.label_form}; test them one by one with data.evaluation.probe"
        )
    say(f"robustness: the plain test, then {len(planned)} of corrupted clips")
    plain = _tested(data, None, folder, run_test)
    found = {
        corruption: path
        for corruption in planned
        if (path := _finished(data, folder, plain, corruption)) is not None
    }
    todo = [corruption for corruption in planned if corruption not in found]
    if found:
        say(f"{len(found)} of {len(planned)} are finished, and not run again")
    started = time.monotonic()
    for number, corruption in enumerate(todo):
        say(f"{number + 1} of {len(todo)}: {corruption}{time_left(started, number, len(todo))}")
        found[corruption] = _tested(data, corruption, folder, run_test)
        other = differences_beside_probe(_protocol(plain), _protocol(found[corruption]))
        if other:
            raise UserError(
                f"{found[corruption]} is not the test of {plain} in all but {corruption}, as "
                f"{', '.join(other)} differ, or are not known; start the series again"
            )
    rank_zero_only(_sum_up)(data, plain, {corruption: found[corruption] for corruption in planned})


def _tested(
    data: VideoDataModule,
    corruption: Corruption | None,
    folder: Path,
    run_test: Callable[[], object],
) -> Path:
    """Run one test, and find the score file that it wrote."""
    data.show(corruption)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("scores_*.npz")}
    try:
        run_test()
    except (SystemExit, KeyboardInterrupt):
        say("the same command goes on with the tests that are left")
        raise
    after = folder.glob("scores_*.npz")
    written = [path for path in after if path.stat().st_mtime_ns != before.get(path)]
    if not written:
        raise UserError(
            "data.evaluation.corruptions needs whole tests, and only a part was tested; leave "
            "trainer.limit_test_batches out"
        )
    return written[0]


def _files(folder: Path, data: VideoDataModule) -> Iterator[Path]:
    """Find the score files of tests of one name; a further one has a digest after it."""
    name = name_of_test(data)
    yield from folder.glob(f"scores_{name}.npz")
    yield from folder.glob(f"scores_{name}_{'[0-9a-f]' * 8}.npz")


def _finished(
    data: VideoDataModule, folder: Path, plain: Path, corruption: Corruption
) -> Path | None:
    """Find the score file of a corruption's test that is the plain one's in all else."""
    data.show(corruption)
    wanted = _protocol(plain)
    change = {"probe": str(corruption), "probe_seed": corruption.seed}
    for path in _files(folder, data):
        protocol = _protocol(path)
        same_change = all(protocol.get(key) == value for key, value in change.items())
        if same_change and not differences_beside_probe(wanted, protocol):
            return path
    return None


def _protocol(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as stored:
        protocol: dict[str, Any] = json.loads(str(stored["protocol"]))
    return protocol


def _accuracy(path: Path) -> float:
    """Compute the top-1 video accuracy of a score file, in percent."""
    contest = read_contest({"scores": [path]})
    (scores,) = contest.contenders[0].scores
    return 100 * float(np.mean(scores.argmax(axis=1) == contest.labels))


def _sum_up(data: VideoDataModule, plain: Path, files: dict[Corruption, Path]) -> None:
    """Write the table and the picture beside the plain scores, and say the summary."""
    tests = [Outcome(corruption, _accuracy(path), path) for corruption, path in files.items()]
    found = Robustness(_accuracy(plain), tests)
    asked = str(data.evaluation.corruptions).replace(" ", "").replace(",", "+")
    stem = f"robustness_{plain.stem.removeprefix('scores_')}{'' if asked == 'all' else f'_{asked}'}"
    table, picture = plain.with_name(f"{stem}.csv"), plain.with_name(f"{stem}.png")
    with as_storage_error(plain.parent, OTHER_FOLDER):
        write_table(table, found)
        draw_severities(picture, found, f"{data.dataset_name}, {plain.stem}")
    say(f"robustness: {found.sentence()}")
    say(f"by corruption: {table}, {picture}")

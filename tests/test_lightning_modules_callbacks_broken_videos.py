"""`kinetoscope fit` and `validate` on trees with damaged files: stop, go on, report, resume."""

import errno
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROJECT_ROOT
from video_files import cut, scene, write

from datamodules.storage import transient
from datamodules.storage.source import LocalPath
from datamodules.storage.transient import WAITS
from lightning_modules.callbacks.broken_videos import _count_distinct
from lightning_modules.cli import main

CONFIGS = [f"--config={PROJECT_ROOT}/configs/{x}.yaml" for x in ("quickstart", "override/debug")]
SMALL = [
    *(
        "--data.sampling.num_frames=2",
        "--data.sampling.frame_stride=4",
        "--data.crops.size=24",
        "--data.crops.short_side=28",
    ),
    *(
        "--data.augmentation.flip_probability=0.5",
        "--data.val_fraction=0",
        "--model.optimization.schedule=constant",
    ),
    *("--trainer.limit_train_batches=1.0", "--trainer.limit_val_batches=1.0"),
    *("--data", "VideoFolderDataModule", "--data.augmentation.reversals=false"),
    *("--model", "BaselineModule", "--model.network=c2d_tiny"),
]


pytestmark = pytest.mark.usefixtures("one_thread")
"""These clips are too small for more."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three good videos and one that is cut off."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(3):
        write(root / f"good{number}.mp4", "libx264", scene(12 + number))
    cut(write(root / "cut.mp4", "libx264", scene(12)), 0.5)
    return root


def tree(root: Path, videos: Path, name: str, good: int, bad: Sequence[int] = ()) -> Path:
    """A list of two classes over links to the few videos, those at `bad` damaged."""
    root.mkdir(exist_ok=True)
    rows = []
    for number in range(good + len(bad)):
        source = "cut" if number in bad else f"good{number % 3}"
        os.link(videos / f"{source}.mp4", root / f"{name}{number}.mp4")
        rows.append(f"{name}{number}.mp4 {number % 2}")
    (root / f"{name}.txt").write_text("\n".join(rows))
    return root


def words(root: Path, runs: Path, *more: str) -> list[str]:
    where = [f"--data.root={root}", "--data.train_list=train.txt", f"--run.folder={runs}"]
    return [*CONFIGS, *SMALL, *where, *more]


def quarantined(folder: Path) -> list[str]:
    path = folder / "quarantine.jsonl"
    return [json.loads(line)["video_id"] for line in path.read_text().splitlines()]


def test_tree_with_a_tenth_damaged_stops_in_a_sentence(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tree(tmp_path / "data", videos, "train", 18, bad=(3, 11))
    with pytest.raises(SystemExit) as ended:
        main(["fit", *words(root, tmp_path, "--data.loading.batch_size=5")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("kinetoscope: ") == 1
    assert "of 20 training videos cannot be read (for instance train" in said
    assert "mp4: truncated), more than data.max_broken_fraction=0.005; repair or remove" in said
    assert "Traceback" not in said


def test_tree_with_few_damaged_is_trained_and_reported(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tree(tmp_path / "data", videos, "train", 249, bad=(77,))
    tree(root, videos, "val", 9, bad=(4,))
    with (root / "val.txt").open("a") as rows:
        rows.write("\ngone.mp4 1")
    listed = ["--data.val_list=val.txt", "--data.loading.batch_size=25"]
    main(["fit", *words(root, tmp_path, *listed, "--data.loading.num_workers=2")])
    folder = tmp_path / "debug" / "0"
    said = capsys.readouterr().out.splitlines()
    assert said.count("broken video replaced in training: train77.mp4 (truncated)") == 1
    assert f"broken videos: {folder / 'quarantine.jsonl'}" in said
    assert "validated on 9 / 11 videos (1 missing, 1 broken)" in said
    assert quarantined(folder) == ["train77.mp4"]
    per_class = (folder / "per_class.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1] for line in per_class] == ["4", "5"]

    checkpoint = [f"--ckpt_path={folder}/checkpoints/last.ckpt"]
    main(["validate", *words(root, tmp_path, *listed, *checkpoint)])
    said = capsys.readouterr().out.splitlines()
    assert "broken video left out of validation: val4.mp4 (truncated)" in said
    assert "validated on 9 / 11 videos (1 missing, 1 broken)" in said
    main(["test", *words(root, tmp_path, *listed, *checkpoint, "--trainer.limit_test_batches=1.0")])
    assert "9 / 11 videos" in capsys.readouterr().out
    with np.load(next(folder.glob("scores_*.npz"))) as scores:
        ids, labels = scores["video_ids"].tolist(), scores["labels"].tolist()
    assert ids == [f"val{number}.mp4" for number in range(10) if number != 4]
    assert labels == [number % 2 for number in range(10) if number != 4]


def test_resume_is_exact_whatever_became_of_the_quarantine(
    videos: Path, tmp_path: Path, opened: list[str]
) -> None:
    root = tree(tmp_path / "data", videos, "train", 9, bad=(2, 5, 6))
    base = ["--data.loading.batch_size=4", "--data.max_broken_fraction=0.5", "--run.version=a"]

    def fit(name: str, epochs: int, *more: str) -> dict[str, torch.Tensor]:
        del opened[:]
        more = (f"--run.name={name}", f"--trainer.max_epochs={epochs}", *more)
        main(["fit", *words(root, tmp_path, *base, *more)])
        content = torch.load(tmp_path / name / "a" / "checkpoints" / "last.ckpt", weights_only=True)
        weights: dict[str, torch.Tensor] = content["state_dict"]
        return weights

    unbroken = fit("unbroken", 2)
    bad = {"train2.mp4", "train5.mp4", "train6.mp4"}
    assert {name: opened.count(name) for name in bad} == dict.fromkeys(bad, 1)
    fit("parts", 1)
    shutil.copytree(tmp_path / "parts", tmp_path / "kept")
    whole = (tmp_path / "kept" / "a" / "quarantine.jsonl").read_bytes()
    for left, tries in ((whole, 0), (b"", 3), (whole[: len(whole) // 2], 2)):
        shutil.rmtree(tmp_path / "parts")
        shutil.copytree(tmp_path / "kept", tmp_path / "parts")
        (tmp_path / "parts" / "a" / "quarantine.jsonl").write_bytes(left)
        resumed = fit("parts", 2, "--ckpt_path=last")
        assert sum(opened.count(name) for name in bad) == tries
        assert resumed.keys() == unbroken.keys()
        assert all(torch.equal(resumed[key], unbroken[key]) for key in unbroken)


def test_waits_for_a_mount_are_said_and_counted_and_no_video_stays_broken(
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tree(tmp_path / "data", videos, "train", 8)
    identity, left = LocalPath.identity, [len(WAITS) + 1]  # one video is given up, the next waits

    def failing(source: LocalPath) -> tuple[object, ...]:
        if source.name.startswith("train") and left[0]:
            left[0] -= 1
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return identity(source)

    monkeypatch.setattr(LocalPath, "identity", failing)
    monkeypatch.setattr(transient, "sleep", lambda _: None)
    limits = ["--data.max_broken_fraction=0.125", "--trainer.max_epochs=2"]
    main(["fit", *words(root, tmp_path, *limits, "--data.loading.batch_size=4")])
    said = capsys.readouterr().out
    assert said.count("could not be read (ESTALE: ") == len(WAITS)
    assert said.count("broken video replaced in training: ") == 1
    assert f"{len(WAITS)} reads of videos were repeated after faults of their disk" in said
    folder = tmp_path / "debug" / "0"
    assert not json.loads((folder / "quarantine.jsonl").read_text())["final"]
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["broken_videos"] == {}  # it was read in the second epoch


def test_video_that_two_ranks_met_counts_once() -> None:
    """The ranks run one after the other; each sees what those before it gave."""
    given: list[torch.Tensor] = []

    def all_gather(mine: torch.Tensor) -> torch.Tensor:
        given.append(mine)
        return torch.stack(given)

    module: Any = SimpleNamespace(device="cpu", all_gather=all_gather)
    ranks: Any = SimpleNamespace()
    ranks.strategy = SimpleNamespace(reduce=lambda mine, reduce_op: torch.tensor(2))
    for names, expected in ((["a", "b"], 2), ([], 2), (["b", "c \udcff"], 3)):
        assert _count_distinct(names, ranks, module) == expected
    alone: Any = SimpleNamespace(strategy=SimpleNamespace(reduce=lambda mine, reduce_op: mine))
    assert _count_distinct([], alone, module) == 0

"""A resumed fit is the unbroken one, bit for bit, wherever it was broken off."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from resume_runs import SIZES, Run, batches, differences, fit, fit_apart, make_clips

from datamodules import MotionShapesDataModule, VideoFolderDataModule
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.settings import Loading
from lightning_modules.callbacks.left_out import LeftOut
from lightning_modules.resume.exact_resume import random_states, set_random_states
from lightning_modules.resume.train_position import TrainPosition
from lightning_modules.runs.folder import LAST

pytestmark = pytest.mark.filterwarnings(
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:You're resuming from a checkpoint that ended before",
)
PLACES = (
    "sanity 0 0",  # before the first batch
    "train 0 1",
    "train 0 last",  # its validation is next
    "val 0 0",
    "validated 0",
    "end 0",
    "train 1 1",
    "val 1 1",
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(tmp_path_factory.mktemp("clips") / "motion")


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit that is never broken off, with a checkpoint at each place."""
    folder = tmp_path_factory.mktemp("whole")
    fit(Run(clips, folder, accumulate=2, keep=PLACES))
    return folder


@pytest.mark.smoke
@pytest.mark.parametrize("place", PLACES)
def test_resumed_fit_equals_the_unbroken_one(
    whole: Path, clips: Path, tmp_path: Path, place: str
) -> None:
    shutil.copy(whole / "metrics.csv", tmp_path)
    fit(Run(clips, tmp_path, accumulate=2), checkpoint=whole / f"{place}.ckpt")
    last = Path("checkpoints") / LAST
    assert differences(whole / last, tmp_path / last) == []
    assert (tmp_path / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    if (tmp_path / "ledger0.jsonl").exists():  # none where only a validation was left
        unbroken = batches(whole)
        for key, lines in batches(tmp_path).items():
            assert lines == unbroken[key]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"accumulate": 1}, r"trainer\.accumulate_grad_batches was 2 and is now 1"),
        ({"batch_size": 3}, r"batch_size / repeated_views\) \(was 6, now 3\)"),
    ],
)
def test_resume_that_would_differ_is_refused(
    whole: Path, clips: Path, tmp_path: Path, changed: dict[str, int], sentence: str
) -> None:
    run = Run(**{"root": clips, "folder": tmp_path, "accumulate": 2, **changed})
    with pytest.raises(ValueError, match=sentence):
        fit(run, checkpoint=whole / "train 0 1.ckpt")


def test_fit_with_repeated_views_resumes_bit_exactly(clips: Path, tmp_path: Path) -> None:
    place, whole, broken = "train 0 1", tmp_path / "whole", tmp_path / "broken"
    fit(Run(clips, whole, batch_size=12, repeated_views=2, keep=(place,)))
    broken.mkdir()
    shutil.copy(whole / "metrics.csv", broken)
    run = Run(clips, broken, workers=2, batch_size=12, repeated_views=2)
    fit(run, checkpoint=whole / f"{place}.ckpt")
    last = Path("checkpoints") / LAST
    assert differences(whole / last, broken / last) == []
    unbroken = batches(whole)
    for lines in unbroken.values():
        assert lines[0]["ids"][:6] == lines[0]["ids"][6:]
    assert all(lines == unbroken[key] for key, lines in batches(broken).items())


STREAMS = "st_resnet_tiny"
KILLS = ("train 0 0", "train 0 2", "train 0 last", "val 0 0", "end 0", "train 1 1")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("resumed_workers", ["same", "other"])
def test_killed_fit_resumes_bit_exactly(
    clips: Path, tmp_path: Path, workers: int, accumulate: int, resumed_workers: str
) -> None:
    for kill in KILLS:
        check_killed_fit(clips, tmp_path, kill, workers, accumulate, resumed_workers == "other")


@pytest.mark.slow
@pytest.mark.one_slow_case
def test_killed_fit_resumes_bit_exactly_once(clips: Path, tmp_path: Path) -> None:
    check_killed_fit(clips, tmp_path, "train 0 2", workers=2, accumulate=2, other_workers=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "network", ["tsm_tiny", "cost_a_tiny", "cost_b_tiny", "selfy_tsm_tiny", "stnet_tiny", STREAMS]
)
def test_killed_fit_of_every_family_resumes_bit_exactly(
    network: str, clips: Path, tmp_path: Path
) -> None:
    for kill in KILLS:
        check_killed_fit(
            clips, tmp_path, kill, workers=2, accumulate=1, other_workers=False, network=network
        )


def check_killed_fit(
    clips: Path,
    tmp_path: Path,
    kill: str,
    workers: int,
    accumulate: int,
    other_workers: bool,
    network: str = "c2d_tiny",
) -> None:
    """Kill a fit with SIGKILL, resume it, and hold all it leaves against an unbroken one."""
    unbroken = tmp_path / f"unbroken {accumulate}"
    if not unbroken.exists():
        assert fit_apart(Run(clips, unbroken, network, accumulate)) == [0]
    folder = tmp_path / kill
    run = Run(clips, folder, network, accumulate, workers)
    assert fit_apart(Run(**{**vars(run), "kill": kill})) == [-9]
    later = 2 - workers if other_workers else workers
    start = {**vars(run), "resume": (folder / "checkpoints" / LAST).exists(), "workers": later}
    assert fit_apart(Run(**start)) == [0]
    last = Path("checkpoints") / LAST
    assert differences(unbroken / last, folder / last) == []
    assert (folder / "metrics.csv").read_text() == (unbroken / "metrics.csv").read_text()
    expected = batches(unbroken)
    found = batches(folder)
    assert found.keys() == expected.keys()
    for key, lines in found.items():
        assert all(line == expected[key][0] for line in lines), key


def clips_of_batches(clips: Path, size: int) -> MotionShapesDataModule:
    """The clips as they are trained on, in batches of a size."""
    data = MotionShapesDataModule(
        str(clips),
        **SIZES,
        sampling=FrameSampler(num_frames=2, frame_stride=2),
        loading=Loading(batch_size=size),
        seed=3,
    )
    data.setup()
    return data


def check_ledger(clips: Path, folder: Path, world_sizes: list[int], epochs: int = 1) -> list[str]:
    """Break an epoch off three times; check that each clip came once; return their order."""
    kills = ["train 0 0", "train 0 1", "val 0 0", ""]
    for start, (kill, world_size) in enumerate(zip(kills, world_sizes, strict=True)):
        size = 6 // world_size
        sizes = {"batch_size": size, "world_size": world_size, "epochs": epochs}
        run = Run(clips, folder, **sizes, kill=kill, resume=start > 0)
        codes = fit_apart(run)
        assert all(code == (-9 if kill else 0) for code in codes), codes
    order = []
    for batch in range(5):
        ranks = [batches(folder, rank) for rank in range(max(world_sizes))]
        lines = [rank[0, batch] for rank in ranks if (0, batch) in rank]
        assert all(len(times) == 1 for times in lines)
        order += [name for times in lines for name in times[0]["ids"]]
    assert len(order) == len(set(order)) == 30
    data = clips_of_batches(clips, 6)
    left_out = data.left_out(0)
    assert len(left_out) == 2
    assert set(order) | set(left_out) == set(data.train_set.video_ids)
    assert set(left_out) != set(data.left_out(1))
    return order


@pytest.mark.slow
def test_ledger_shows_each_clip_once_on_any_ranks(clips: Path, tmp_path: Path) -> None:
    one = check_ledger(clips, tmp_path / "one", [1, 1, 1, 1])
    two = check_ledger(clips, tmp_path / "two", [2, 2, 2, 2])
    fewer = check_ledger(clips, tmp_path / "fewer", [2, 1, 1, 1])
    assert one == two == fewer


def test_clips_left_out_are_named(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = clips_of_batches(clips, 6)
    trainer = SimpleNamespace(datamodule=data, current_epoch=1)
    LeftOut().on_train_start(trainer, None)  # type: ignore[arg-type]
    names = ", ".join(data.left_out(1))
    assert "leaves out 2 of 32 training videos" in (printed := capsys.readouterr().out)
    assert f"(now {names})\n" in printed
    LeftOut().on_train_start(
        SimpleNamespace(datamodule=clips_of_batches(clips, 8), current_epoch=1),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
    )
    assert capsys.readouterr().out == ""


def test_random_states_survive_a_file(tmp_path: Path) -> None:
    import random

    device = torch.device("cpu")
    torch.save(random_states(device), tmp_path / "states")
    draws = [random.random(), np.random.rand(), torch.rand(1)]  # noqa: NPY002
    set_random_states(torch.load(tmp_path / "states", weights_only=True), device)
    assert draws == [random.random(), np.random.rand(), torch.rand(1)]  # noqa: NPY002


def test_another_order_is_refused_by_name() -> None:
    saved = TrainPosition(epoch=1, batches=3, seed=5, global_batch=8, videos="100 videos, ab")
    saved.check_order(TrainPosition(seed=5, global_batch=8, videos="100 videos, ab"))
    with pytest.raises(
        ValueError,
        match=r"everything \(was 5, now 6\), the list .* \(was 100 videos, ab, now 99 videos, cd\)",
    ):
        saved.check_order(TrainPosition(seed=6, global_batch=8, videos="99 videos, cd"))
    between = TrainPosition(epoch=1, batches=0, seed=5, global_batch=8, videos="100 videos, ab")
    between.check_order(TrainPosition(seed=6, global_batch=8, videos="99 videos, cd"))
    with pytest.raises(ValueError, match=r"batch_size / repeated_views\) \(was 8, now 4\)"):
        between.check_order(TrainPosition(seed=5, global_batch=4, videos="100 videos, ab"))


@pytest.mark.parametrize("place", ["train 0 1", pytest.param("end 0", marks=pytest.mark.slow)])
def test_files_that_vanish_are_replaced_as_in_the_unbroken_run(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """They vanish at the same moment; the broken run finds them missing when it starts again."""
    root = tmp_path / "clips"
    shutil.copytree(clips, root)
    gone = clips_of_batches(clips, 6).train_set.table.paths[:6]
    fit(Run(root, tmp_path / "whole", keep=(place,), vanish=(place, gone)))
    assert not any((root / path).exists() for path in gone)
    checkpoint = tmp_path / "whole" / f"{place}.ckpt"
    (tmp_path / "broken").mkdir()
    shutil.copy(tmp_path / "whole" / "metrics.csv", tmp_path / "broken")
    capsys.readouterr()
    fit(Run(root, tmp_path / "broken"), checkpoint=checkpoint)
    assert "6 training videos vanished since the run began" in capsys.readouterr().out
    last = Path("checkpoints") / LAST
    assert differences(tmp_path / "whole" / last, tmp_path / "broken" / last) == []
    unbroken = batches(tmp_path / "whole")
    names = {Path(path).stem for path in gone}
    for key, lines in batches(tmp_path / "broken").items():
        assert lines == unbroken[key]
        assert not names & {Path(name).stem for line in lines for name in line["ids"]}
    assert len(unbroken) == 10


def test_renamed_file_is_another_list(class_folders: Path) -> None:
    def digest() -> str:
        data = VideoFolderDataModule(str(class_folders), sampling=FrameSampler(num_segments=2))
        data.setup()
        return str(data.train_order()["videos"])

    before = digest()
    assert digest() == before
    video = next(class_folders.rglob("*.mp4"))
    video.rename(video.with_name("renamed.mp4"))
    assert digest() != before
    assert digest().split(",")[0] == before.split(",")[0]

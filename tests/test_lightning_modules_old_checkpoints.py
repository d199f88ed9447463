"""Checkpoints of earlier commits, one run per family, give the logits that they gave then.

The weights were rounded to seven levels and the files deflated; the momentum of those that can be
resumed is zero. Logits and labels were taken with the code that wrote them, on two clips of
MotionShapes.
"""

import csv
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from datamodules import DataSpec
from lightning_modules import VideoClassifier, open_checkpoint
from lightning_modules.cli import main
from lightning_modules.old_checkpoints import MOVED, up_to_date
from lightning_modules.training.initialization import build_network, initialize

GOLDEN = Path(__file__).parent / "golden"
OLD = GOLDEN / "checkpoints_of_835e51c"
"""Of a version of 0.1.0 whose settings were one flat list; it holds the clips and flow of all."""
RESUMABLE = GOLDEN / "checkpoints_of_6c5a6d2"
"""Of the first form that this version goes on with."""
CLASSES = [
    *("grow", "move_down", "move_left", "move_right", "move_up", "shrink"),
    *("turn_anticlockwise", "turn_clockwise"),
]
TESTED = {
    "cost": ["--model=CoSTModule", "--data.sampling={num_frames: 8, frame_stride: 2}"],
    "selfy": [
        *("--model=SELFYModule", "--data.sampling.num_segments=8"),
        "--data.crops.aspect=1.3333",
    ],
    "stnet": [
        *("--model=StNetModule", "--data.sampling={num_segments: 4, frames_per_segment: 2}"),
        "--data.evaluation.num_crops=3",
    ],
    "st_resnet": [
        "--model=STResNetModule",
        "--data.sampling={num_frames: 5, frame_stride: 2, max_frame_stride: 3, test_frames: 5}",
        *("--data.evaluation.num_crops=full_flip", f"--data.flow.root={OLD / 'flow'}"),
        *("--data.flow.length=4", "--data.augmentation={flip_exempt: [], flip_pairs: []}"),
    ],
    "tsm": ["--model=BaselineModule", "--data.sampling.num_segments=8"],
}
TESTED["cost"] += ["--data.evaluation.num_clips=2"]


CASES = [
    *(pytest.param(OLD, family, id=f"{family}-835e51c") for family in TESTED),
    *(pytest.param(RESUMABLE, family, id=f"{family}-6c5a6d2") for family in TESTED),
]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """The two clips, as the data of a test; copies of them, listed apart, to train on."""
    root = tmp_path / "videos"
    shutil.copytree(OLD / "videos", root)
    tested = sorted(path.relative_to(root) for path in root.rglob("*.mp4"))
    lines = [f"{path} {CLASSES.index(path.parts[0])}\n" for path in tested]
    (root / "test.txt").write_text("".join(lines))
    copies = {path: Path("trained", path.parts[0], "clip.mp4") for path in tested}
    for path, copied in copies.items():
        (root / copied).parent.mkdir(parents=True)
        shutil.copy(root / path, root / copied)
    lines = [f"{copied} {CLASSES.index(path.parts[0])}\n" for path, copied in copies.items()]
    (root / "trained.txt").write_text("".join(lines))
    (root / "train.txt").write_text("".join(f"{c}/gone.mp4 {i}\n" for i, c in enumerate(CLASSES)))
    (root / "classes.txt").write_text("".join(f"{i} {c}\n" for i, c in enumerate(CLASSES)))
    return root


def data_words(root: Path) -> list[str]:
    """Options of the data that the runs had, and more that name what is not there."""
    return [
        *("--data=VideoFolderDataModule", f"--data.root={root}", "--data.train_list=train.txt"),
        *("--data.test_list=test.txt", "--data.classes_file=classes.txt", "--data.crops.size=56"),
        *("--data.loading.num_workers=0", "--data.allow_missing=true", "--data.val_fraction=0"),
    ]


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """An old checkpoint, in a run folder of its own."""
    folder: Path = request.getfixturevalue("folder")
    family: str = request.getfixturevalue("family")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    shutil.copy(folder / f"{family}.ckpt", path)
    return path


@pytest.mark.parametrize(("folder", "family"), CASES)
def test_old_checkpoint_tests_as_it_did(folder: Path, family: str, run: Path, clips: Path) -> None:
    words = ["test", f"--ckpt_path={run}", *data_words(clips), *TESTED[family]]
    main([*words, "--trainer.accelerator=cpu"])
    (scores,) = run.parents[1].glob("scores_*.npz")
    with np.load(scores) as now, np.load(folder / f"{family}.npz") as then:
        assert now["video_ids"].tolist() == then["video_ids"].tolist()
        assert now["logits"].shape == then["logits"].shape
        np.testing.assert_allclose(now["logits"], then["logits"], atol=2e-5)
        assert np.ptp(then["logits"], axis=-1).min() > 0.1  # they tell classes apart


@pytest.mark.parametrize(("folder", "family"), CASES)
def test_old_checkpoint_predicts_as_it_did(
    folder: Path, family: str, run: Path, clips: Path
) -> None:
    if family == "st_resnet" and not cv2.__version__.startswith("5."):
        pytest.skip(f"its flow was estimated by OpenCV 5; {cv2.__version__} estimates another")
    videos = [str(path) for path in sorted(clips.rglob("test_*.mp4"))]
    out = run.parent / "labels.csv"
    main(["predict", f"--ckpt_path={run}", f"--out={out}", "--top=8", "--device=cpu", *videos])
    for now, then in zip(table(out), table(folder / f"{family}.csv"), strict=True):
        assert now["video"].endswith(then["video"])
        for i in range(1, 9):
            assert now[f"class_{i}"] == then[f"class_{i}"]
            share = float(then[f"probability_{i}"])
            assert float(now[f"probability_{i}"]) == pytest.approx(share, abs=2e-6)


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a table of predictions."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("folder", [OLD])
@pytest.mark.parametrize("family", TESTED)
def test_old_checkpoint_gives_its_weights_to_a_new_network(
    folder: Path, family: str, run: Path
) -> None:
    opened = open_checkpoint(run)
    assert opened.class_names == CLASSES
    fresh = build_network(opened.network_name, 8, opened.network_options)
    initialize(fresh, str(run), CLASSES, DataSpec(tuple(CLASSES)))
    inputs = fresh.eval().example_inputs(2, opened_frames(opened), 56)
    with torch.inference_mode():
        # the opened module lays its kernels out otherwise in memory
        torch.testing.assert_close(fresh(*inputs), opened.network(*inputs), atol=1e-4, rtol=1e-4)
    ours, theirs = fresh.state_dict(), opened.network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def opened_frames(module: VideoClassifier) -> int:
    """Frames of a module's clips."""
    arguments: dict[str, Any] = module.input_spec["sampling"]["init_args"]
    segments = arguments["num_segments"]
    return segments * arguments["frames_per_segment"] if segments else arguments["num_frames"]


def test_settings_of_old_modules_are_kept() -> None:
    content = torch.load(OLD / "cost.ckpt", weights_only=True)
    current = up_to_date(content)
    assert current["module"] == "lightning_modules.CoSTModule"
    arguments = current["hyper_parameters"]
    optimization = arguments["optimization"]
    old = content["hyper_parameters"]
    assert optimization["ema_decay"] == old["ema_decay"] == 0.5
    assert optimization["warmup_epochs"] == old["warmup_epochs"] == 0.5
    assert {f"model.{name}" for name in old} & set(MOVED) == {
        key for key in MOVED if key.startswith("model.")
    }
    assert not {f"model.{name}" for name in arguments} & set(MOVED)
    assert up_to_date(current) == current


@pytest.mark.parametrize("folder", [OLD])
@pytest.mark.parametrize("family", ["cost"])
def test_resuming_an_old_run_is_refused_in_a_sentence(
    folder: Path, family: str, run: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", f"--ckpt_path={run}", *data_words(clips), *TESTED[family]]
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--model.network=cost_a_tiny", "--trainer.max_epochs=3"])
    assert stopped.value.code == 2
    assert "start a new run from its weights with --model.init_from" in capsys.readouterr().err


SLOW = pytest.mark.slow
OPTIONS = {
    "cost": ["--model.network=cost_a_tiny"],
    "selfy": ["--model.network=selfy_tsm_tiny"],
    "stnet": ["--model.network=stnet_tiny", "--model.frames_per_segment=2"],
    "st_resnet": ["--model.network=st_resnet_tiny", "--model.flow_length=4"],
    "tsm": ["--model.network=tsm_tiny"],
}


@pytest.mark.parametrize("folder", [RESUMABLE])
@pytest.mark.parametrize(
    "family",
    ["cost", "st_resnet", *(pytest.param(f, marks=SLOW) for f in ("selfy", "stnet", "tsm"))],
)
def test_stored_run_is_gone_on_with(folder: Path, family: str, run: Path, clips: Path) -> None:
    flow = clips.parent / "flow"
    shutil.copytree(OLD / "flow", flow)
    for stored in [path.parent for path in flow.rglob("flow.json")]:
        shutil.copytree(stored, flow / "trained" / stored.parent.name / "clip")
    tested = [word.replace(str(OLD / "flow"), str(flow)) for word in TESTED[family]]
    rate = 0.002 if family in ("st_resnet", "stnet") else 0.05
    words = ["fit", f"--ckpt_path={run}", *data_words(clips), *tested, *OPTIONS[family]]
    words += [f"--model.optimization.lr={rate}", "--model.classifier_std=0.1"]
    words += ["--data.train_list=trained.txt", "--data.loading.batch_size=2"]
    words += ["--run.keep_best=false", "--trainer.logger=false"]
    words += ["--trainer.accelerator=cpu", "--trainer.max_epochs=3"]
    main([*words, f"--run.folder={clips.parent / 'runs'}"])
    (last,) = clips.parent.glob("runs/*/*/checkpoints/last.ckpt")
    before, after = torch.load(run, weights_only=True), torch.load(last, weights_only=True)
    assert (before["global_step"], after["global_step"]) == (2, 3)
    weights = before["state_dict"]
    changed = [k for k, value in after["state_dict"].items() if not torch.equal(value, weights[k])]
    assert any("running_mean" in name for name in changed)  # the rate of the third epoch is 0
    assert all(value.isfinite().all() for value in after["state_dict"].values())

"""What runs show in W&B and TensorBoard: read back from their files, item by item."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_records import read_wandb

from datamodules import Normalization, VideoReader
from datamodules.augmentation.functional import normalize
from lightning_modules.callbacks.norms import norm
from lightning_modules.callbacks.training_clips import caption, clips_as_seen
from lightning_modules.dashboards.items import Bars, Clip, Clips, Confusion, Lines, Picture, Table
from lightning_modules.dashboards.tensorboard_items import to_tensorboard
from lightning_modules.dashboards.wandb_beside import (
    RecordedLook,
    RecordedTest,
    send_look,
    send_test,
)
from lightning_modules.dashboards.wandb_items import as_wandb
from lightning_modules.explaining.along_training import family_items
from lightning_modules.runs.tensorboard import TensorBoard
from lightning_modules.runs.wandb_runs import WandbAddress
from models import get_model


def media(folder: Path, kind: str, name: str) -> list[Path]:
    """Media files that a run logged under a name."""
    return sorted(
        (folder / "files" / "media" / kind / Path(name).parent).glob(f"*{Path(name).name}*")
    )


def test_fit_in_wandb_is_read_back(run_folder: Path) -> None:
    identity = json.loads((run_folder / "run.json").read_text())["id"]
    path = min(run_folder.glob(f"wandb/offline-run-*/run-{identity}.wandb"))
    run = read_wandb(path)
    assert (run.run.run_id, run.run.job_type) == (identity, "fit")
    assert run.run.display_name == "small/0"
    for name in ("train/loss", "train/gradient_norm", "train/weight_norm", "train/data_wait"):
        values = run.values(name)
        assert values, name
        assert all(math.isfinite(value) for value in values)
    assert any(name.startswith("lr-AdamW/") for row in run.rows for name in row)
    assert set(run.values("resumes")) == {0}
    steps = run.values("trainer/global_step")
    assert steps == sorted(set(steps))
    assert run.summary["best/val_top1"] == max(run.values("val/top1"))
    assert run.summary["protocol"]["dataset"].startswith("MotionShapes")
    assert run.config["model"]["init_args"]["network"] == "cost_a_tiny"
    assert run.config["_wandb"]["visualize"]["val/confusion_matrix"]
    assert {"small-0:best", "small-0:last"} <= {
        name for name, artifact in run.artifacts.items() if artifact.type == "model"
    }
    (entry,) = run.artifacts["small-0:best"].manifest.contents
    assert Path(entry.local_path) == run_folder / "checkpoints" / "best.ckpt"
    assert json.loads(run.artifacts["small-0:best"].metadata)["network"] == "cost_a_tiny"
    (clips,) = run.values("train/clips")  # two videos, and the same reversed
    assert clips["captions"] == ["move_down", "move_left", "move_up", "move_right"]
    played = media(path.parent, "videos", "train/clips")
    assert len(played) == 4
    with VideoReader(played[0]) as video:
        assert (video.num_frames, video.height, video.width) == (8, 64, 64)
    assert media(path.parent, "images", "val/confusion")
    (table, *_) = media(path.parent, "table", "val/view_shares")
    shares = json.loads(table.read_text())["data"]  # layer, view, share
    assert {(row[0], row[1]) for row in shares} == {
        (layer, view) for layer in (1, 2, 3) for view in ("H-W", "T-W", "T-H")
    }
    assert sum(row[2] for row in shares) == pytest.approx(3, abs=1e-5)
    (table, *_) = media(path.parent, "table", "val/per_class")
    assert len(json.loads(table.read_text())["data"]) == 8


def test_clips_are_shown_as_they_were_before_normalization() -> None:
    clips = torch.randint(256, (2, 1, 3, 4, 6, 5), dtype=torch.uint8)
    scale = Normalization(mean=(0.45, 0.4, 0.5), std=(0.22, 0.2, 0.3))
    for dtype in (torch.float32, torch.bfloat16):
        seen = clips_as_seen(normalize(clips, scale.mean, scale.std, dtype), scale)
        expected = clips[:, 0].permute(0, 2, 3, 4, 1).numpy()
        error = np.abs(seen.astype(int) - expected).max()
        assert error <= (0 if dtype is torch.float32 else 2)


def test_caption_names_the_classes_that_are_mixed() -> None:
    names = ["jump", "run", "walk"]
    assert caption(torch.tensor(1), names) == "run"
    assert caption(torch.tensor([0.0, 0.25, 0.75]), names) == "0.75 walk + 0.25 run"
    assert caption(torch.tensor([1.0, 0.0, 1.0]), names) == "jump + walk"


def test_norm_is_that_of_all_numbers() -> None:
    values = [torch.randn(3, 4), torch.randn(5), torch.randn(2, 2, 2)]
    squares = sum(float(number) ** 2 for value in values for number in value.flatten())
    assert float(norm(values)) == pytest.approx(math.sqrt(squares))


@pytest.mark.parametrize("family", ["cost_a", "cost_b", "st_resnet", "tsm"])
def test_family_shows_its_own_operations(family: str) -> None:
    network = get_model(f"{family}_tiny", 4).eval()
    items = family_items(network, network.example_inputs(2, 8, 64))
    lines = {name: item for name, item in items.items() if isinstance(item, Lines)}
    if family == "tsm":
        assert not items
    elif family == "st_resnet":
        (motion,) = lines["val/injected_motion"].lines.values()
        assert len(motion) == len(lines["val/injected_motion"].points)
        assert all(size > 0 for size in motion)
    else:
        shares = np.array([*lines["val/view_shares"].lines.values()])  # (3, layers)
        assert shares.sum(0) == pytest.approx(1, abs=1e-5)


CLIP = Clip(np.full((4, 16, 16, 3), 90, np.uint8), "grow")


def test_each_item_is_something_in_wandb(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert isinstance(as_wandb("a", Picture(tmp_path / "a.png"))["a"][0], wandb.Image)
    (video,) = as_wandb("a", Clips([CLIP]))["a"]
    assert isinstance(video, wandb.Video)
    table = as_wandb("a", Table(["clip", "loss"], [[CLIP, 0.5]]))["a"]
    assert isinstance(table.data[0][0], wandb.Video)
    assert table.data[0][1] == 0.5
    bars = as_wandb("a", Bars("class", "accuracy", {"x": 0.5, "y": math.nan}))["a"]
    assert bars.table.data == [["x", 0.5], ["y", None]]
    lines = as_wandb("a", Lines("layer", [1, 2], {"H-W": [0.5, 0.25], "T-W": [0.5, 0.75]}))["a"]
    assert [1, "T-W", 0.5] in lines.table.data
    counts = np.array([[3, 1], [0, 2]])
    matrix = as_wandb("a", Confusion(counts, ["x", "y"]))["a"]
    assert ["x", "y", 1] in matrix.table.data
    assert sum(row[2] for row in matrix.table.data) == counts.sum()
    many = Confusion(np.zeros((101, 101), np.int64), [str(i) for i in range(101)])
    assert as_wandb("a", many) == {}


def test_each_item_is_something_in_tensorboard(tmp_path: Path) -> None:
    Image.new("RGB", (4, 6)).save(tmp_path / "a.png")
    logger = TensorBoard()
    logger.place(tmp_path, 2)
    items = {
        "picture": Picture(tmp_path / "a.png"),
        "clips": Clips([CLIP, CLIP]),
        "table": Table(["clip", "words"], [[CLIP, "a|b"]]),
        "bars": Bars("class", "accuracy", {"x": 0.5}),
        "lines": Lines("layer", [1], {"H-W": [0.5]}),
        "matrix": Confusion(np.eye(2, dtype=np.int64), ["x", "y"]),
    }
    for name, item in items.items():
        to_tensorboard(logger, name, item, 3)
    logger.log_metrics({"loss": 1.0}, 3)
    logger.save()
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    shown = {name: found.Images(name)[0] for name in found.Tags()["images"]}
    sizes = {name: (image.height, image.width) for name, image in shown.items()}
    assert sizes == {"picture": (6, 4), "clips": (32, 64)}
    texts = {
        name: found.Tensors(name)[0].tensor_proto.string_val[0].decode()
        for name in found.Tags()["tensors"]
    }
    assert set(texts) == {f"{name}/text_summary" for name in ("table", "bars", "lines")}
    assert texts["table/text_summary"].splitlines()[-1] == "| grow | a\\|b |"
    assert texts["bars/text_summary"].splitlines()[-1] == "| x | 0.5000 |"
    assert found.Scalars("resumes")[0].value == 2


class Begun:
    """Stands in for runs of W&B."""

    def __init__(self) -> None:
        self.inits: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.logged: dict[str, Any] = {}
        self.used: list[str] = []
        self.offline = True
        self.project, self.entity, self.group, self.name = "lab", "me", "lr", "x"

    def __call__(self, **kwargs: Any) -> "Begun":
        self.inits.append(kwargs)
        self.id = kwargs.get("id", "new12345")
        return self

    def __enter__(self) -> "Begun":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def log_artifact(self, artifact: Any, aliases: list[str]) -> None:
        self.logged[artifact.name] = aliases

    def use_artifact(self, name: str) -> None:
        self.used.append(name)


@pytest.fixture
def tested(tmp_path: Path) -> RecordedTest:
    (tmp_path / "scores.npz").write_bytes(b"scores")
    videos = Table(["video_id", "loss"], [["b", 2.0], ["a", 1.0]])
    best = tmp_path / "checkpoints" / "best.ckpt"
    items = {"videos": videos}
    return RecordedTest("test_1x1", {"top1": 0.5}, {}, items, best, tmp_path / "scores.npz")


def test_a_test_is_linked_to_the_run_that_trained(
    tested: RecordedTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Begun()
    monkeypatch.setattr(wandb, "init", begun)
    send_test(tmp_path, "abcd1234", tested)
    WandbAddress("abcd1234", "lab", "me", "lr", "small/3").write(tmp_path)
    send_test(tmp_path, "another1", tested)
    assert not begun.inits
    send_test(tmp_path, "abcd1234", tested)
    own, trained = begun.inits
    for init in (own, trained):
        assert (init["project"], init["entity"], init["group"]) == ("lab", "me", "lr")
    assert (own["job_type"], own["name"]) == ("test", "small/3 test_1x1")
    assert own["config"]["trained_run"] == trained["id"] == "abcd1234"
    assert begun.rows[0]["videos"].data == [["b", 2.0], ["a", 1.0]]
    assert begun.summary == {"test_1x1/top1": 0.5, "test_1x1/run": "new12345"}
    assert begun.logged == {"small_3-scores": ["test_1x1"]}
    assert not begun.used  # offline


def test_a_test_uses_the_checkpoints_artifact_where_there_is_a_server(
    tested: RecordedTest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun = Begun()
    monkeypatch.setattr(wandb, "init", begun)
    begun.offline = False
    WandbAddress("abcd1234", "lab", "me", "lr", "small/3").write(tmp_path)
    send_test(tmp_path, "abcd1234", tested)
    model = "-".join(tmp_path.parts[-2:])
    assert begun.used == [f"me/lab/{model}:best"]

    def absent(name: str) -> None:
        raise wandb.errors.CommError("not found")

    begun.use_artifact = absent  # type: ignore[method-assign]
    send_test(tmp_path, "abcd1234", tested)
    assert "so the test is not linked to it" in capsys.readouterr().out
    assert len(begun.rows) == 2


def test_mistakes_are_sent_beside_the_run_that_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wandb, "init", begun := Begun())
    table = Table(["clip", "truth"], [[CLIP, "grow"]])
    look = RecordedLook("mistakes of test_1x1", {"mistakes": table})
    send_look(tmp_path, "abcd1234", look)
    assert not begun.inits
    WandbAddress("abcd1234", "lab", "me", "lr", "small/3").write(tmp_path)
    send_look(tmp_path, "abcd1234", look)
    (own,) = begun.inits
    assert (own["job_type"], own["name"]) == ("explain", "small/3 mistakes of test_1x1")
    assert own["config"] == {"trained_run": "abcd1234", "trained_run_name": "small/3"}
    assert isinstance(begun.rows[0]["mistakes"].data[0][0], wandb.Video)
    assert "W&B: it is the run new12345 of the project lab" in capsys.readouterr().out


def test_a_test_of_a_run_that_still_trains_leaves_its_summary_alone(
    tested: RecordedTest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(wandb, "init", begun := Begun())
    WandbAddress("abcd1234", "lab").write(tmp_path)
    holder = {"host": "elsewhere", "pid": 1, "since": "now", "job": "", "restarts": 0}
    (tmp_path / "run.lock").write_text(json.dumps(holder))
    send_test(tmp_path, "abcd1234", tested)
    assert len(begun.inits) == 1
    assert "still trains" in capsys.readouterr().out
    os.utime(tmp_path / "run.lock", (1, 1))  # left over
    send_test(tmp_path, "abcd1234", tested)
    assert len(begun.inits) == 3


def test_a_test_outlives_wandb(
    tested: RecordedTest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    WandbAddress("abcd1234", "lab").write(tmp_path)

    def fails(**_: Any) -> None:
        raise wandb.errors.CommError("no answer")

    monkeypatch.setattr(wandb, "init", fails)
    monkeypatch.setattr(wandb, "teardown", lambda: None)
    send_test(tmp_path, "abcd1234", tested)
    assert "W&B has ended (no answer); the files of the test are whole" in capsys.readouterr().out
    monkeypatch.setenv("WANDB_SWEEP_ID", "swp")
    send_test(tmp_path, "abcd1234", tested)
    assert "no test is sent from within a sweep" in capsys.readouterr().out

"""ST-ResNet's four phases by the commands of the recipes, in small; labels from a video alone."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT_ROOT
from test_configs import DEBUG, ucf101_form

from datamodules.clips.input_spec import FlowSpec
from datamodules.flow.reading import open_flow
from datamodules.flow.sources import ComputedFlow
from datamodules.storage.source import LocalPath
from lightning_modules.cli import main

cv2 = pytest.importorskip("cv2", reason="needs the extra `flow`")

SMALL = [
    "--trainer.accumulate_grad_batches=1",
    "--data.sampling.test_frames=3",
    "--model.batch_norm.batch_size=2",
]
SMALL += [
    "--data.crops.size=32",
    "--data.crops.short_side=36",
    "--data.flow.length=4",
    "--model.flow_length=4",
]


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT_ROOT)


def phase(folder: Path, name: str, network: str, root: Path, flow: Path, *words: str) -> Path:
    """Fit a recipe with a tiny network; its last checkpoint."""
    options = [f"--model.network={network}", f"--data.root={root}", f"--run.folder={folder}"]
    options += [*SMALL, f"--data.flow.root={flow}", f"--run.name={name}", *words]
    if network == "rgb_stream_tiny":
        options = [word for word in options if "flow" not in word.partition("=")[0]]
    main(["fit", "--config", f"configs/recipe/{name}.yaml", "--config", DEBUG, *options])
    return folder / name / "0" / "checkpoints" / "last.ckpt"


def make_flow(root: Path, target: Path) -> Path:
    words = ["--method", "dis", "--short_side", "72", "--storage", "jpeg", "--workers", "0"]
    main(["flow", str(root), str(target), *words])
    return target


def weights(checkpoint: Path, name: str) -> torch.Tensor:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    found: torch.Tensor = state[f"network.{name}"]
    return found


def test_four_phases_run_one_after_another_and_label_a_video(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ucf101_form(class_folders)
    video = next(class_folders.glob("grow/*g06*"))
    flow, runs = make_flow(class_folders, tmp_path / "flow"), tmp_path / "runs"
    place = (class_folders, flow)
    scratch, keep = "--model.init_from=null", "--model.optimization.lr=1e-12"
    motion = phase(runs, "st_resnet_ucf101_motion", "flow_stream_tiny", *place, scratch)
    appearance = phase(runs, "st_resnet_ucf101_appearance", "rgb_stream_tiny", *place, scratch)
    both = f"--model.init_from=[{motion}, {appearance}]"
    joined = phase(runs, "st_resnet_ucf101", "st_resnet_tiny", *place, both, keep)
    for stream, source in (("flow", motion), ("rgb", appearance)):
        for name in (f"{stream}.conv1.weight", f"{stream}.fc.weight"):
            torch.testing.assert_close(weights(joined, name), weights(source, name))
    star = phase(
        runs, "st_resnet_ucf101_star", "st_resnet_tiny", *place, f"--model.init_from={joined}", keep
    )
    name = "rgb.layer1.1.conv1.weight"
    torch.testing.assert_close(weights(star, name), weights(joined, name))

    spec = torch.load(joined, weights_only=True)["input_spec"]
    assert spec["flow"] == {"length": 4, "method": "dis", "bound": 20.0, "short_side": 72}
    options = [f"--data.root={class_folders}", f"--data.flow.root={flow}", *SMALL[1:]]
    words = ["--config", "configs/recipe/st_resnet_ucf101.yaml", f"--ckpt_path={joined}", *options]
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["test", *words, "--model.network=st_resnet_tiny", "--data.split=2"])
    said = " ".join(capsys.readouterr().err.split())
    assert "the checkpoint was trained on UCF101 split 1, among whose training videos" in said
    out = tmp_path / "labels.csv"
    words = ["--out", str(out), "--num_crops", "2", "--device", "cpu"]
    with pytest.raises(SystemExit, match=r"^1$"):  # one of the two has no label
        main(["predict", f"--ckpt_path={joined}", *words, str(video), str(tmp_path / "none.mp4")])
    with out.open() as file:
        labelled, absent = csv.DictReader(file)
    assert sum(float(labelled[f"probability_{i}"]) for i in (1, 2, 3)) == pytest.approx(1, abs=1e-4)
    assert "missing" in absent["error"]
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "--ckpt_path", str(appearance), "--flow_method", "dis", str(video)])
    assert "--flow_method dis has no meaning for rgb_stream_tiny" in capsys.readouterr().err


def test_computed_flow_is_the_stored_flow(class_folders: Path, tmp_path: Path) -> None:
    flow = make_flow(class_folders, tmp_path / "flow")
    video = sorted(class_folders.glob("move_up/*.mp4"))[0]
    path = str(video.relative_to(class_folders))
    fields = [7, 3, 4, 7, 20]
    source = ComputedFlow(LocalPath(class_folders), FlowSpec(4, "dis", 20.0, 72))
    with source.open(path, 25) as computed, open_flow(flow / path.removesuffix(".mp4")) as stored:
        off = computed.get_flow(fields).int() - stored.get_flow(fields).int()
    assert off.shape == (5, 2, 72, 72)
    assert off.abs().float().mean() < 1  # of 255 codes; JPEG is not exact
    with source.open(path, 25) as computed:
        codes = computed.get_flow([2]).numpy()
    assert np.abs(codes.astype(int) - 128).max() > 3

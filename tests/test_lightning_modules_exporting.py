"""Exported files: the same logits and labels without this project, and what they say of it."""

import csv
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import QUICKSTART, SMALL, mistake
from conftest import PROJECT_ROOT
from test_lightning_modules_old_checkpoints import CLASSES, OLD
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import models
from datamodules import DataSpec, UserError
from datamodules.storage import hub
from lightning_modules import load, open_checkpoint
from lightning_modules.cli import main
from lightning_modules.exporting import checking, graph_files, hub_folder
from lightning_modules.exporting.clips import read_clips
from lightning_modules.exporting.folding import folded
from lightning_modules.exporting.graphs import Graph, capture
from lightning_modules.exporting.hub_folder import push
from lightning_modules.training.initialization import initialize
from models.cost import CoSTOperation
from models.weights_file import read_weights_file

onnx = pytest.importorskip("onnx", reason="needs the extra `export`")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `export`")

VIDEOS = [str(path) for path in sorted((OLD / "videos").rglob("*.mp4"))]
TINY = [name for name in models.list_models() if name.endswith("tiny")]
UNFOLDED = {
    "cost_b_tiny": 3,  # a sum of three views of which each is pooled
    "stnet_tiny": 4,  # behind a ReLU or a sum, in front of a convolution
}


def export(family: str, form: str, folder: Path, *more: str) -> Path:
    """Export an old checkpoint."""
    suffix = {"card": "md", "hub": "hub"}.get(form, form)
    out = folder / f"{family}.{suffix}"
    words = ["export", "--ckpt_path", str(OLD / f"{family}.ckpt"), "--format", form]
    main([*words, "--out", str(out), *more])
    return out


def run_onnx(path: Path, *views: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    given = {name: view.numpy() for name, view in zip(names, views, strict=True)}
    return torch.from_numpy(session.run(["logits"], given)[0])


@pytest.mark.parametrize("name", TINY)
def test_folding_changes_the_arithmetic_alone(name: str) -> None:
    network = models.get_model(name, 5).eval()
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif key.endswith("running_mean") or ("bn" in key and key.endswith("bias")):
            value.normal_(std=0.2)
        elif "bn" in key and key.endswith("weight"):
            value.uniform_(0.5, 1.5)
    inputs = network.example_inputs(2, 8, 64)
    copied, count = folded(network, inputs)
    before = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    left = [layer for layer in copied.modules() if isinstance(layer, _BatchNorm)]
    assert len(left) == UNFOLDED.get(name, 0)
    assert count == len(before) - len(left) > 0
    with torch.inference_mode():
        torch.testing.assert_close(copied(*inputs), network(*inputs), atol=1e-5, rtol=1e-4)
    if name == "cost_a_tiny":
        assert not any(isinstance(layer, CoSTOperation) for layer in copied.modules())
        assert isinstance(copied.get_submodule("layer1.0.conv2"), nn.Conv3d)


class Branch(models.VideoNetwork):
    """Its convolution is read in two places, and normalized in one of them after a change."""

    def __init__(self) -> None:
        super().__init__(4, classifier_std=0.01)
        self.conv, self.twice = nn.Conv3d(3, 4, 1), nn.Conv3d(4, 4, 1)
        self.bn, self.other = nn.BatchNorm3d(4), nn.BatchNorm3d(4)
        self.reset_classifier(2)

    def forward(self, clip: Tensor) -> Tensor:
        x = self.conv(clip).relu()  # not the memory that the convolution wrote
        x = self.twice(self.twice(self.bn(x)))  # called twice
        return self.fc(self.other(x).mean((2, 3, 4)))


def test_only_what_a_convolution_alone_made_is_folded() -> None:
    network = Branch().eval()
    network.bn.running_mean.normal_()  # type: ignore[union-attr]
    clip = torch.randn(1, 3, 2, 4, 4)
    copied, count = folded(network, (clip,))
    assert count == 0
    torch.testing.assert_close(copied(clip), network(clip))


@pytest.fixture(scope="module")
def captured() -> Graph:
    """The graph of a CoST(a) network, which takes seconds to capture."""
    module = open_checkpoint(OLD / "cost.ckpt")
    return capture(module, read_clips(module, VIDEOS))


@pytest.fixture(scope="module")
def cost_onnx(tmp_path_factory: pytest.TempPathFactory, captured: Graph) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_files, "capture", lambda *_: captured)
        return export("cost", "onnx", tmp_path_factory.mktemp("onnx"), *VIDEOS)


def test_onnx_file_takes_any_batch_and_length_and_describes_itself(cost_onnx: Path) -> None:
    module = open_checkpoint(OLD / "cost.ckpt")
    for shape in ((1, 3, 8, 56, 56), (3, 3, 10, 56, 56)):
        clip = torch.randint(256, shape, dtype=torch.uint8)
        with torch.inference_mode():
            mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1, 1)
            std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1, 1)
            expected = module((clip / 255 - mean) / std)
        torch.testing.assert_close(run_onnx(cost_onnx, clip), expected, atol=1e-5, rtol=1e-4)
    stored = onnx.load(cost_onnx)
    (given,) = stored.graph.input
    axes = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert (given.name, axes) == ("clip", ["batch", 3, "frames", 56, 56])
    kinds = {node.op_type for node in stored.graph.node}
    assert "BatchNormalization" not in kinds
    about = json.loads({p.key: p.value for p in stored.metadata_props}["kinetoscope"])
    assert about["class_names"] == CLASSES
    assert about["inputs"]["clip"]["dtype"] == "uint8"
    assert (about["num_clips"], about["num_crops"], about["average"]) == (2, 1, "probabilities")


def test_script_of_the_docs_labels_as_predict_does(cost_onnx: Path) -> None:
    script = PROJECT_ROOT / "docs" / "onnx_labels.py"
    assert len(script.read_text().splitlines()) < 60
    imported = {line.split()[1] for line in script.read_text().splitlines() if "import " in line}
    assert imported <= {"json", "sys", "av", "numpy", "onnxruntime", "a"}
    rows = list(csv.DictReader((OLD / "cost.csv").read_text().splitlines()))
    for video, row in zip(VIDEOS, rows, strict=True):
        assert video.endswith(row["video"])
        words = [sys.executable, "-I", str(script), str(cost_onnx), video]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        pairs = [line.split(" %  ") for line in said.splitlines()]
        assert [name for _, name in pairs] == [row[f"class_{i}"] for i in range(1, 6)]
        for i, (share, _) in enumerate(pairs, 1):
            assert float(share) == pytest.approx(100 * float(row[f"probability_{i}"]), abs=0.2)


def test_program_file_takes_any_batch_and_describes_itself(
    tmp_path: Path, captured: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_files, "capture", lambda *_: captured)
    path = export("cost", "pt2", tmp_path, VIDEOS[0])
    about = {"kinetoscope": ""}
    program = torch.export.load(path, extra_files=about).module()
    assert json.loads(about["kinetoscope"])["network"] == "cost_a_tiny"
    clip = torch.randint(256, (3, 3, 12, 56, 56), dtype=torch.uint8)
    module = open_checkpoint(OLD / "cost.ckpt")
    with torch.inference_mode():
        mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1, 1)
        expected = module((clip / 255 - mean) / std)
    torch.testing.assert_close(program(clip), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["selfy", "stnet", "st_resnet", "tsm"])
@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_every_family_is_exported(
    family: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2", reason="needs the extra `flow`")
    path = export(family, form, tmp_path, *VIDEOS)
    said = capsys.readouterr().out
    assert "any size of batch" in said
    assert ("batch and frames" in said) == (family != "st_resnet")  # a maximum over one chunk
    assert float(said.split("video(s): ")[1].split()[0]) < 1e-5
    assert path.stat().st_size > 100_000


def test_file_that_gives_other_logits_is_not_kept(
    tmp_path: Path,
    captured: Graph,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(graph_files, "capture", lambda *_: captured)
    monkeypatch.setattr(checking, "LARGEST_ERROR", 1e-12)
    words = ["--ckpt_path", str(OLD / "cost.ckpt"), "--format", "pt2"]
    out = tmp_path / "cost.pt2"
    said = mistake(capsys, "export", *words, "--out", str(out), *VIDEOS)
    assert "more than 1e-12; no file is kept" in said
    assert not list(tmp_path.iterdir())


def test_safetensors_file_predicts_as_the_checkpoint_does(tmp_path: Path) -> None:
    path = export("tsm", "safetensors", tmp_path)
    tables = []
    for checkpoint in (path, OLD / "tsm.ckpt"):
        out = tmp_path / "labels.csv"
        words = ["--ckpt_path", str(checkpoint), "--out", str(out), "--device=cpu"]
        main(["predict", *words, *VIDEOS])
        tables.append(out.read_text())
    assert tables[0] == tables[1]
    plain = tmp_path / "labels.csv"
    assert path.stat().st_mode == plain.stat().st_mode, "who may read it"
    ours, theirs = (open_checkpoint(p).state_dict() for p in (path, OLD / "tsm.ckpt"))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    again = tmp_path / "again.safetensors"
    words = ["--ckpt_path", str(path), "--format", "safetensors", "--out", str(again)]
    main(["export", *words])
    assert again.read_bytes() == path.read_bytes()


def test_changed_or_cut_safetensors_files_are_refused(tmp_path: Path) -> None:
    path = export("tsm", "safetensors", tmp_path)
    content = path.read_bytes()
    for changed in (content[:-8] + bytes(8), content[:-8], b"<html>", b""):
        path.write_bytes(changed)
        with pytest.raises(UserError, match=r"tsm\.safetensors is damaged"):
            open_checkpoint(path)


def test_safetensors_of_others_are_plain_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"fc.weight": torch.ones(2, 3)}, tmp_path / "timm.safetensors")
    found = read_weights_file(tmp_path / "timm.safetensors")
    assert torch.equal(found["fc.weight"], torch.ones(2, 3))


def test_card_says_how_it_was_made_tested_and_loaded(
    run_folder: Path, motion_root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder / "checkpoints", folder / "checkpoints")
    checkpoint = folder / "checkpoints" / "last.ckpt"
    data = ["--data=MotionShapesDataModule", f"--data.root={motion_root}", "--model=CoSTModule"]
    data += ["--data.num_train=64", "--data.num_val=16", "--data.num_test=16"]
    data += ["--data.loading.num_workers=0", "--trainer.accelerator=cpu"]
    main(["test", f"--ckpt_path={checkpoint}", *data])
    main(["export", f"--ckpt_path={checkpoint}", "--format=card", f"--out={tmp_path / 'c.md'}"])
    card = (tmp_path / "c.md").read_text()
    for line in (
        "pipeline_tag: video-classification",
        "# cost_a_tiny, MotionShapes",
        "| MotionShapes test | 16 of 16 | 1 x 1, 64 px |",
        "| run | small/0 |",
        "| optimization | optimizer adamw, lr 0.006, ",
        "kinetoscope predict --ckpt_path last.ckpt VIDEO...",
        "move_left, move_right, move_up",
    ):
        assert line in card, card
    other = export("tsm", "card", tmp_path).read_text()
    assert "None known: no score file of `kinetoscope test` on these weights" in other


class LocalHub:
    """A Hub that is a folder, in the form of the Hub library's own cache."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.private: dict[str, bool] = {}

    def create_repo(self, name: str, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.private[name] = private

    def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> None:
        place = self.cache / f"models--{repo_id.replace('/', '--')}"
        shutil.copytree(folder_path, place / "snapshots" / ("0" * 40))
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("0" * 40)


def check_test_and_start(
    name: str, motion_root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A test of a name on the Hub is that of its file, and a fit begins with its weights.

    The config is of today, with settings that the old checkpoint does not know.
    """
    words = ["--config", QUICKSTART, *SMALL, f"--data.root={motion_root}"]
    words += ["--model=BaselineModule", "--model.network=tsm_tiny", "--data.loading.num_workers=0"]
    assert "give one with --out DIR" in mistake(capsys, "test", *words, f"--ckpt_path={name}")
    assert f"--model.init_from {name}" in mistake(capsys, "fit", *words, f"--ckpt_path={name}")
    main(["test", *words, f"--ckpt_path={name}", f"--out={out}"])
    with np.load(out / "scores_test_1x1.npz") as file:
        assert sorted(file["class_names"].tolist()) == sorted(CLASSES)
        assert len(file["labels"]) == 16
    network = models.get_model("tsm_tiny", len(CLASSES), shift_div=4)
    report = initialize(network, name, CLASSES, DataSpec())
    assert not report.new
    assert report.matched_classes == len(CLASSES)


def test_pushed_folder_is_opened_by_its_name(
    motion_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    library: Any = pytest.importorskip("huggingface_hub", reason="needs the extra `export`")
    local = LocalHub(tmp_path / "cache")
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(local.cache))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "HfApi", lambda: local)
        folder = export("tsm", "hub", tmp_path, "--push", "my-lab/shapes.v1")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("README.md", "config.json", "model.safetensors")
    ]
    assert local.private == {"my-lab/shapes.v1": True}
    assert "uploaded: hf://my-lab/shapes.v1" in capsys.readouterr().out
    opened = open_checkpoint("hf://my-lab/shapes.v1")
    assert opened.class_names == CLASSES
    assert load("hf://my-lab/shapes.v1", device="cpu").class_names == CLASSES
    monkeypatch.chdir(tmp_path)
    main(["export", "--ckpt_path=hf://my-lab/shapes.v1", "--format=card"])
    assert "# tsm_tiny" in Path("shapes.md").read_text()
    check_test_and_start("hf://my-lab/shapes.v1", motion_root, tmp_path / "scores", capsys)
    with pytest.raises(UserError, match=r"hf://my-lab/other cannot be had .*network"):
        open_checkpoint("hf://my-lab/other")
    with pytest.raises(UserError, match="is no name on the Hub; write hf://OWNER/NAME"):
        open_checkpoint("hf://../../etc")
    with pytest.raises(UserError, match=r"hf://a/b cannot be written .*which is whole"):
        push(folder, "a/b")


def test_absent_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--ckpt_path", str(OLD / "cost.ckpt"), "--out", str(tmp_path / "c.onnx")]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said = mistake(capsys, *words, "--format=onnx", VIDEOS[0])
    assert "ONNX needs the package onnxruntime" in said
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for use in (lambda: hub.hub_file("hf://a/b"), lambda: hub_folder.push(tmp_path, "a/b")):
        with pytest.raises(UserError, match="uv sync --extra export"):
            use()
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ValueError, match="need the package safetensors"):
        read_weights_file(tmp_path / "a.safetensors")


def test_mistakes_get_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = str(OLD / "cost.ckpt")
    cases = {
        "no video is given to hold the exported file against": ["onnx", "--out", "a.onnx"],
        "does not end in .onnx": ["onnx", "--out", "a.pt2", *VIDEOS],
        "--push goes with --format hub, not card": ["card", "--push", "a/b"],
        "none.mp4 cannot be read (missing": ["pt2", "--out", f"{tmp_path}/a.pt2", "none.mp4"],
    }
    for sentence, words in cases.items():
        said = mistake(capsys, "export", "--ckpt_path", checkpoint, "--format", *words)
        assert sentence in said
    said = mistake(capsys, "export", "--ckpt_path=https://host/a.ckpt", "--format=card")
    assert "is an address; download the file" in said

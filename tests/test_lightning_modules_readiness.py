"""What a fit needs: checked before it makes anything, fetched and made by `prepare`."""

from pathlib import Path

import pytest
import torchvision
from command_line import DEBUG, QUICKSTART, SMALL, mistake
from imagenet_source import serve
from torch import Tensor

from datamodules.errors import UserError
from datamodules.motion_shapes import generation
from lightning_modules.cli import main
from lightning_modules.runs import unused
from lightning_modules.runs.folder import RunSettings
from lightning_modules.runs.unused import UnusedFolder
from lightning_modules.training import initialization

R18 = ["--model", "BaselineModule", "--model.network=tsm_r18", "--model.init_from=imagenet"]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source of resnet18's weights on this machine, and an empty TORCH_HOME."""
    return serve(monkeypatch, tmp_path, torchvision.models.resnet18().state_dict())


def test_prepare_fetches_and_makes_all_that_a_fit_needs(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generation, "CLIPS_PER_WORKER", 1000)  # so few are made in this process
    root, runs = tmp_path / "made here", tmp_path / "runs"
    words = ["--config", QUICKSTART, "--config", DEBUG, f"--data.root={root}", *R18]
    words += [f"--data.num_{split}=16" for split in ("train", "val", "test")]
    main(["prepare", *words, "--workers=0", f"--run.folder={runs}", "--trainer.max_epochs=9"])
    said = capsys.readouterr().out.splitlines()
    kept = tmp_path / "torch" / "hub" / "checkpoints" / source.name
    assert f"weights: {kept} (120 loaded, 0 inflated)" in said
    counts = "16 training, 16 validation, 16 test; 0 of the listed ones are missing"
    assert f"videos: {counts}, in {root}" in said
    assert any(line.startswith("index: 48 of 48 videos done, ") for line in said)
    assert said[-1].startswith(f"ready: kinetoscope fit --config {QUICKSTART} --config {DEBUG} ")
    assert f"'--data.root={root}'" in said[-1]
    assert not runs.exists()

    source.unlink()  # no internet any more
    reads: list[str] = []
    read = initialization.imagenet_state_dict

    def noted(arch: str) -> dict[str, Tensor]:
        reads.append(arch)
        return read(arch)

    monkeypatch.setattr(initialization, "imagenet_state_dict", noted)
    main(["fit", *words, f"--run.folder={runs}", "--trainer.fast_dev_run=true"])
    assert "weights from imagenet\nloaded    120: conv1.weight" in caplog.text
    assert reads == ["resnet18"]  # checked and loaded by one reading


def test_prepare_names_broken_videos_and_makes_flow(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    for folder in class_folders.iterdir():
        for video in sorted(folder.iterdir())[2:]:
            video.unlink()
    flow = tmp_path / "flow"
    words = ["prepare", "--config", "data/video_folder", "--config", "model/cost_a_tiny"]
    words += [f"--data.root={class_folders}", "--workers=0", "--data.val_fraction=0.5"]
    assert "--flow computes optical flow into the folder data.flow.root" in mistake(
        capsys, *words, "--flow"
    )
    words += [f"--data.flow.root={flow}", "--data.flow.method=dis", "--data.flow.short_side=64"]
    assert "--flow" not in mistake(capsys, *words)  # there is none yet
    main([*words, "--flow", "--no_index"])
    said = capsys.readouterr().out
    assert "6 videos, 0 there already, 6 to do" in said
    assert f"flow: {flow}\n" in said
    assert "index:" not in said
    next(class_folders.rglob("*.mp4")).write_text("nothing")
    main(words)
    said = capsys.readouterr().out
    assert "not a video" in said
    assert "1 videos cannot be read; `kinetoscope doctor` examines them" in said


def test_prepare_refuses_what_it_cannot_know(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", "--config", QUICKSTART]
    assert "--workers -1 is too small" in mistake(capsys, *words, "--workers=-1")
    assert "did you mean --no_index" in mistake(capsys, *words, "--no_indx")
    assert "data and model must be given" in mistake(capsys, "prepare")


@pytest.mark.parametrize(
    "wrong",
    [
        "--data.loading.batch_size=999",
        "--model.init_from=gone.pth",
        "--trainer.strategy=dpp",
        "--data.evaluation.probe=reversed",
    ],
)
def test_refusal_comes_before_a_run_is_made(
    wrong: str,
    motion_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun: list[object] = []
    monkeypatch.setattr("wandb.init", lambda **settings: begun.append(settings))
    words = ["fit", "--config", QUICKSTART, "--config", DEBUG, f"--data.root={motion_root}", *SMALL]
    mistake(capsys, *words, f"--run.folder={tmp_path}/runs", "--trainer.logger=true", wrong)
    assert begun == []
    assert list(tmp_path.iterdir()) == []


def refused(runs: Path, version: str, files: list[str], error: Exception) -> None:
    """A fit that is refused after it wrote some files to its folder."""
    folder = runs / "mine" / version
    with UnusedFolder() as context:
        context.look(RunSettings(name="mine", folder=str(runs)))
        folder.mkdir(parents=True, exist_ok=True)
        context.note(folder)
        for name in files:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("step,train/loss\n" if name == "metrics.csv" else "")
        raise error


def test_refused_fit_takes_its_folders_away_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished: list[int] = []
    monkeypatch.setattr(unused, "finish_wandb", lambda: finished.append(1))
    runs = tmp_path / "runs"
    with pytest.raises(UserError):
        refused(runs, "0", ["run.json", "config.yaml", "wandb/x"], UserError("no"))
    assert not runs.exists()
    assert finished == [1]
    for version, files, error in (
        ("0", ["checkpoints/last.ckpt"], UserError("no")),
        ("1", ["metrics.csv"], UserError("no")),
        ("2", ["notes.txt"], UserError("no")),
        ("3", ["run.json"], RuntimeError("a defect")),
        ("4", ["run.json"], UserError("no")),
        ("3", ["config.yaml"], UserError("no")),  # its folder was there before
    ):
        with pytest.raises(type(error)):
            refused(runs, version, files, error)
    assert sorted(p.name for p in (runs / "mine").iterdir()) == ["0", "1", "2", "3"]

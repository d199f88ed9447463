"""docs/extending.md, word for word: every door with the example that stands there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import PROJECT_ROOT

import lightning_modules
from datamodules import UserError
from datamodules.plugins import trusted
from lightning_modules import VideoClassifier, open_checkpoint
from lightning_modules.cli import main
from models import get_model
from models.adapters import LIBRARIES

TEXT = (PROJECT_ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = re.findall(r"^kinetoscope (.*)$", TEXT, re.MULTILINE)
OTHERS = COMMANDS[5:]
CPU = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, motion_root: Path) -> Path:
    """A folder with the files of the page, and videos in class folders."""
    folder = tmp_path_factory.mktemp("lab")
    for name, text in BLOCKS.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("grow", "move_up", "turn_clockwise"):
        (folder / "videos" / name).mkdir(parents=True)
        for video in sorted((motion_root / "train" / name).glob("*.mp4")):
            shutil.copy(video, folder / "videos" / name)
    return folder


@pytest.fixture
def beside(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder as the working directory; a fresh interpreter's search path."""
    monkeypatch.chdir(lab)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return lab


def kinetoscope(command: str, *more: str) -> None:
    """A command of the page, in this process."""
    main([*command.split(), *more])


@pytest.fixture
def trained(beside: Path) -> Path:
    """The run of the page's first command, made once."""
    folder = beside / "runs" / "my_lab" / "0"
    if not folder.exists():
        kinetoscope(COMMANDS[1], *CPU, "--data.loading.num_workers=0")
    return folder


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights of a checkpoint."""
    content = torch.load(path, weights_only=True)
    found: dict[str, torch.Tensor] = content["state_dict"]
    return found


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are equal bit for bit."""
    return ours.keys() == theirs.keys() and all(torch.equal(v, theirs[k]) for k, v in ours.items())


def test_page_holds_what_is_tested_here() -> None:
    assert list(BLOCKS) == ["my_lab.py", "my_lab.yaml"]
    first = [command.split()[0] for command in COMMANDS]
    assert first == ["fit", "fit", "test", "predict", "fit", *["fit"] * len(OTHERS)]


@pytest.mark.parametrize("command", OTHERS)
def test_networks_of_other_libraries_are_taken(
    beside: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        kinetoscope(command, "--print_config")
    assert not ended.value.code
    printed = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]
    library, _, name = printed["network"].partition(":")
    assert library in LIBRARIES
    with torch.device("meta"):
        network = get_model(f"{library}:{name}", 3, **(printed["network_kwargs"] or {}))
    assert network.has_features


def test_clips_are_the_same_with_two_workers(trained: Path) -> None:
    kinetoscope(COMMANDS[1], *CPU, "--data.loading.num_workers=2", "--run.version=workers")
    other = trained.parent / "workers"
    assert same(
        weights(trained / "checkpoints/last.ckpt"), weights(other / "checkpoints/last.ckpt")
    )


def test_checkpoint_says_what_decided_the_input(trained: Path) -> None:
    content = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["input_spec"]["sampling"] == {
        "class_path": "my_lab.FixedRate",
        "init_args": {"num_frames": 4, "rate": 10.0},
    }
    assert content["input_spec"]["augmentation"]["class_path"] == "my_lab.RandomErasing"
    assert content["input_spec"]["augmentation"]["init_args"]["probability"] == 0.8
    assert content["module"] == "my_lab.MiniModule"
    assert content["network"] == {"name": "my_lab.Mini", "num_classes": 3, "options": {"width": 8}}
    optimizer = content["hyper_parameters"]["optimization"]["optimizer"]
    assert (optimizer["class_path"], optimizer["init_args"]["lr"]) == ("my_lab.SignSGD", 0.01)
    assert (trained / "metrics.csv").read_text()
    assert not (trained / "wandb").exists(), "the logger was off"


def test_own_parts_were_in_use(beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in CPU if "logger" not in word]
    kinetoscope(
        COMMANDS[1],
        *words,
        "--run.version=logged",
        "--trainer.log_every_n_steps=1",
        "--data.loading.num_workers=0",
    )
    header, *rows = (beside / "runs/my_lab/logged/metrics.csv").read_text().splitlines()
    assert {"train/gradient_norm", "val/mean_rank"} <= set(header.split(","))
    rates = [row.split(",")[header.split(",").index("lr-SignSGD/weights")] for row in rows]
    known = [float(rate) for rate in rates if rate]
    assert known[0] == pytest.approx(0.01 / 4)  # the first of four steps of the warm-up
    kept = yaml.safe_load((beside / "runs/my_lab/logged/config.yaml").read_text())
    assert kept["model"]["init_args"]["loss"]["class_path"] == "my_lab.FocalLoss"
    assert "plugins" not in {key.split(".")[-1] for key in kept if key != "trainer"}


def test_predict_is_equal_to_test(
    trained: Path, beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinetoscope(COMMANDS[2], *CPU)
    assert "FixedRate(num_frames=4, rate=10.0)" in capsys.readouterr().out
    kinetoscope(COMMANDS[3], "--top=3", f"--out={beside / 'labels.csv'}")
    (scores,) = trained.glob("scores_*.npz")
    with np.load(scores) as file:
        tested = dict(file)
    rows = [line.split(",") for line in (beside / "labels.csv").read_text().splitlines()[1:]]
    found = {row[0]: dict(zip(row[1:7:2], map(float, row[2:8:2]), strict=True)) for row in rows}
    logits = tested["logits"]
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert len(tested["video_ids"])
    for name, views in zip(tested["video_ids"].tolist(), shares, strict=True):
        told = [found[f"videos/{name}"][c] for c in tested["class_names"].tolist()]
        assert told == pytest.approx(views.mean(0).tolist(), abs=2e-6)


@pytest.mark.slow
@pytest.mark.one_slow_case
def test_broken_off_run_goes_on_bit_for_bit(trained: Path) -> None:
    runs = trained.parent
    whole = [*CPU, "--trainer.max_epochs=3", "--data.loading.num_workers=0", "--run.version=whole"]
    kinetoscope(COMMANDS[1], *whole)
    broken = ["--run.version=broken", "--data.loading.num_workers=1", "--run.save_every_steps=1"]
    script = (
        "import os, signal, sys\n"
        "from lightning.pytorch import Callback\n"
        "from lightning_modules.resume import last_checkpoint\n"
        "save = last_checkpoint.LastCheckpoint.save\n"
        "def killed(self, trainer):\n"
        "    save(self, trainer)\n"
        "    if trainer.global_step == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "last_checkpoint.LastCheckpoint.save = killed\n"
        "from lightning_modules.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    words = [*COMMANDS[1].split(), *CPU, "--trainer.max_epochs=3", *broken]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    kinetoscope(COMMANDS[1], *CPU, "--trainer.max_epochs=3", *broken, "--ckpt_path=last")
    last = "checkpoints/last.ckpt"
    assert same(weights(runs / "whole" / last), weights(runs / "broken" / last))
    assert not same(weights(trained / last), weights(runs / "broken" / last))


def test_last_command_of_the_page_resumes(trained: Path, beside: Path) -> None:
    kinetoscope(COMMANDS[1], *CPU, "--run.version=again", "--data.loading.num_workers=0")
    resume = COMMANDS[4].replace("--run.version 0", "--run.version again")
    kinetoscope(resume, *CPU, "--data.loading.num_workers=0")
    content = torch.load(beside / "runs/my_lab/again/checkpoints/last.ckpt", weights_only=True)
    assert content["epoch"] == 2  # the third


@pytest.mark.parametrize("command", ["test", "predict"])
def test_missing_plugin_is_named(
    trained: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = next(w for w in COMMANDS if w.startswith(command)).replace("--plugins my_lab.py ", "")
    with pytest.raises(SystemExit) as stopped:
        kinetoscope(words)
    assert stopped.value.code == 2
    sentence = capsys.readouterr().err
    assert "my_lab" in sentence
    assert "--plugins" in sentence
    assert "Traceback" not in sentence


def test_every_module_of_a_checkpoint_opens_from_python(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trained / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"my_lab\.MiniModule is part of a plugin"):
        open_checkpoint(path)
    monkeypatch.setenv(trusted.PLUGINS_VARIABLE, "my_lab.py")
    for opened in (open_checkpoint(path), VideoClassifier.load_from_checkpoint(path)):
        assert type(opened).__name__ == "MiniModule"
        assert opened.network_options == {"width": 8}


def test_plugin_file_that_hides_a_module_is_refused(
    beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (beside / "json.py").write_text("")
    for name, why in (("json.py", "the name of"), ("gone.py", "no plugin file"), ("a.b", "cannot")):
        with pytest.raises(SystemExit):
            main(["fit", "--plugins", name, "--config", "my_lab.yaml"])
        assert why in capsys.readouterr().err


def test_page_names_only_what_is_public() -> None:
    for package, names in re.findall(r"^from (\w+) import \(?([\w,\s]+?)\)?$", TEXT, re.MULTILINE):
        if package in ("datamodules", "lightning_modules"):
            public = set(sys.modules[package].__all__)
            assert set(re.findall(r"\w+", names)) <= public, package
    assert lightning_modules.__all__

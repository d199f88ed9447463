"""One sentence for every mistake on the command line, and for every forged checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import DEBUG, MESSENGER, QUICKSTART, SMALL, mistake
from conftest import PROJECT_ROOT

from lightning_modules import open_checkpoint


def test_mistake_beside_a_secret_does_not_tell_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_PLUGINS", "secret_plugin")
    for wrong in ("--trainer.callbacks.api_key=[SESAME, 1]", "--trainer.callbacks.accounts=3"):
        said = mistake(capsys, "fit", "--config", QUICKSTART, *MESSENGER, wrong)
        assert "SESAME" not in said
        assert "does not fit" in said or "accounts" in said, said


MISTAKES = [
    (["fti"], "did you mean fit"),
    (["fit"], "data and model must be given"),
    (["fit", "--config", "no.yaml"], "there is no config file"),
    (["fit", "--trainer.max_epoch=3"], "trainer.max_epochs"),
    (["fit", "--model.networks=x"], "did you mean network"),
    (["fit", "--model.network=cost_a_tin"], "did you mean cost_a_tiny"),
    (["fit", "--model.network=c2d_tiny"], "another --model"),
    (["fit", "--model", "CoSTModul"], "did you mean CoSTModule"),
    (["fit", "--model", "os.system"], "class os.system is refused"),
    (["fit", "--data", "MotionShape"], "did you mean MotionShapesDataModule"),
    (["fit", "--data.loading.batch_size=many"], "batch_size=many does not fit: it must be int"),
    (["fit", "--data.loading.batch_size=999"], "do not fill one batch"),
    (["fit", "--trainer.accelerator=tpuu"], "invalid accelerator"),
    (["fit", "--run.name=a/b"], "cannot be a folder"),
    (["fit", "--ckpt_path=gone.ckpt"], "there is no file gone.ckpt"),
    (["fit", "--model.optimization.schedule=step"], "needs milestones"),
    (["fit", "--model.optimization.lr=-1"], "model.optimization.lr=-1.0 must be at least 0"),
    (["fit", "--seed_everything=-1"], "must lie in [0, 2**32)"),
    (["fit", "--data.seed=3"], "set seed_everything"),
    (["fit", "--model.init_args.num_classes", "3"], "the classes come from the data"),
    (["fit", "--trainer.overfit_batches=2"], "limit_train_batches"),
    (["fit", "--trainer.max_epochs=-1"], "needs an end"),
    (["fit", "--model.init_from=gone.pth"], "there is no file gone.pth"),
    (["fit", f"--ckpt_path={PROJECT_ROOT / 'README.md'}"], "is not a checkpoint"),
    (["test"], "give them with --ckpt_path"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=[" ".join(w) for w, _ in MISTAKES])
def test_mistakes_get_one_sentence(
    words: list[str],
    sentence: str,
    motion_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if (len(words) > 1 and words[1] != "--config") or words == ["test"]:
        where = [f"--data.root={motion_root}", f"--run.folder={tmp_path}", *SMALL]
        words = [words[0], "--config", QUICKSTART, "--config", DEBUG, *where, *words[1:]]
    assert sentence in mistake(capsys, *words)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_an_endless_fit_is_refused_before_it_makes_its_folder(
    motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [f"--data.root={motion_root}", f"--run.folder={tmp_path}", *SMALL]
    words = ["fit", "--config", QUICKSTART, "--config", DEBUG, *where]
    assert "needs an end" in mistake(capsys, *words, "--trainer.max_epochs=null")
    assert not list(tmp_path.iterdir())


def test_a_config_holds_one_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "two.yaml"
    config.write_text("seed_everything: 1\ndata:\n  init_args:\n    seed: 2\n")

    said = mistake(capsys, "fit", "--config", QUICKSTART, f"--config={config}")

    assert f"{config} sets data.seed=2, but everything has one seed" in said


def test_folders_without_videos_get_one_sentence(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    data = str(PROJECT_ROOT / "configs" / "data" / "video_folder.yaml")
    model = str(PROJECT_ROOT / "configs" / "model" / "cost_a_tiny.yaml")
    words = ["fit", "--config", data, "--config", model, "--config", DEBUG]
    words += [f"--run.folder={tmp_path / 'runs'}"]
    assert "there is no dataset folder" in mistake(capsys, *words, "--data.root=nowhere")
    assert "at least 2 are needed" in mistake(capsys, *words, f"--data.root={tmp_path / 'empty'}")
    (class_folders / "idle").mkdir()
    assert "holds no video" in mistake(capsys, *words, f"--data.root={class_folders}")


def test_out_is_for_test_alone(motion_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", QUICKSTART, f"--data.root={motion_root}", "--out=x", "--ckpt_path=x"]
    assert "--out is for test alone" in mistake(capsys, "fit", *words[:-1])


FORGED: dict[str, tuple[list[str], Any]] = {
    "no arguments": (["hyper_parameters"], None),
    "argument of a newer version": (["hyper_parameters", "newer"], 1),
    "setting of a newer version": (["hyper_parameters", "optimization", "newer"], 1),
    "argument of another kind": (["hyper_parameters", "dropout"], "much"),
    "settings of another kind": (["hyper_parameters", "batch_norm"], {"momentum": "x"}),
    "another network": (["hyper_parameters", "network"], "cost_b_tiny"),
    "a number of no classes": (["hyper_parameters", "num_classes"], -3),
    "weights of another kind": (["state_dict", "network.fc.bias"], [1.0]),
    "a weight too few": (["state_dict", "network.fc.bias"], None),
    "classes of another kind": (["class_names"], [1, 2]),
    "no protocol": (["protocol"], None),
    "protocol of another kind": (["protocol", "num_clips"], "two"),
    "input of a newer version": (["input_spec", "crops", "newer"], 1),
    "no sampling": (["input_spec", "sampling"], None),
}
"""A part of a checkpoint, and what stands there instead; None for nothing."""


def forge(checkpoint: Path, forged: str, target: Path) -> Path:
    """Write a checkpoint in which a part is another, or missing."""
    content = torch.load(checkpoint, weights_only=True)
    keys, value = FORGED[forged]
    part = content
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    if value is None:
        del part[keys[-1]]
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, target)
    return target


@pytest.mark.parametrize("forged", FORGED)
def test_forged_and_newer_checkpoints_get_one_sentence(
    forged: str,
    run_folder: Path,
    class_folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = forge(run_folder / "checkpoints" / "best.ckpt", forged, tmp_path / "forged.ckpt")
    video = next(class_folders.rglob("*.mp4"))
    mistake(capsys, "predict", f"--ckpt_path={path}", f"--out={tmp_path}/x.csv", str(video))


@pytest.mark.parametrize("forged", ["no protocol", "setting of a newer version", "no arguments"])
def test_forged_checkpoints_are_not_resumed(
    forged: str,
    run_folder: Path,
    motion_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "run" / "checkpoints" / "forged.ckpt"
    path = forge(run_folder / "checkpoints" / "last.ckpt", forged, target)
    where = [f"--data.root={motion_root}", f"--run.folder={tmp_path}", *SMALL]
    words = ["fit", "--config", QUICKSTART, "--config", DEBUG, *where, f"--ckpt_path={path}"]
    mistake(capsys, *words)


def test_predict_mistakes_get_one_sentence(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(run_folder / "checkpoints" / "best.ckpt")
    bad = tmp_path / "bad.mp4"
    bad.write_text("nothing")
    where = ["--out", str(tmp_path / "out.csv")]
    start = ["predict", "--ckpt_path", checkpoint, *where]
    assert "none of the given videos" in mistake(capsys, *start, str(bad))
    assert "no option --tops; did you mean --top" in mistake(capsys, *start, "--tops=3", str(bad))
    assert "holds no video" in mistake(capsys, *start, str(run_folder / "checkpoints"))
    assert "required" in mistake(capsys, "predict", str(bad))
    mirrored = mistake(capsys, *start, "--num_crops=2", str(bad))
    assert "--num_crops 2 tests mirror images too, and in a mirror move_left, " in mirrored
    for path, sentence in (
        ("http://a.b/c.ckpt", "is an address"),
        (str(bad), "is not a checkpoint"),
        (str(tmp_path / "gone.ckpt"), "there is no file"),
    ):
        assert sentence in mistake(capsys, "predict", "--ckpt_path", path, str(bad))


def test_forged_class_path_in_a_checkpoint_is_refused(run_folder: Path, tmp_path: Path) -> None:
    content = torch.load(run_folder / "checkpoints" / "last.ckpt", weights_only=True)
    content["module"] = "os.system"
    torch.save(content, tmp_path / "forged.ckpt")
    with pytest.raises(ValueError, match=r"os\.system"):
        open_checkpoint(tmp_path / "forged.ckpt")

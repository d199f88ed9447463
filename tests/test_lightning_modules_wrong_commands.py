"""Wrong commands of every kind: one sentence, the documented exit code, nothing left behind."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torchvision
from command_line import DEBUG, QUICKSTART, SMALL

from lightning_modules.cli import main

FIT = ["fit", "--config", QUICKSTART, "--config", DEBUG, "--data.root={motion}", *SMALL]
TEST = ["test", *FIT[1:], "--out=out"]
OWN = ["fit", "--config", "data/video_folder", "--config", "model/cost_a_tiny", "--config", DEBUG]
PREDICT = ["predict", "--out=out/labels.csv", "--ckpt_path={checkpoint}"]
LAYERS = ["fit", "--config", QUICKSTART, "--config", "{layer}", "--config", DEBUG]
R18 = ["--model", "BaselineModule", "--model.network=tsm_r18"]


@dataclass(frozen=True)
class Wrong:
    """A command with a mistake, and what its sentence has to say; `layer` is a config's text."""

    words: list[str]
    said: str
    code: int = 2
    layer: str = ""


WRONG = {
    # commands and words
    "command misspelt": Wrong(["fti"], "there is no command 'fti'; did you mean fit?"),
    "word too many": Wrong([*FIT, "extra"], "the word 'extra' belongs to no option"),
    "value left out": Wrong([*FIT, "--run.name"], "--run.name needs a value"),
    "topic unknown": Wrong(["fit", "--help=datta"], "no key is about 'datta'; did you mean data?"),
    "shell unknown": Wrong(["completion", "fsh"], "invalid choice: 'fsh'"),
    # keys, of options and of layers
    "option misspelt": Wrong([*FIT, "--trainer.max_epoch=3"], "did you mean trainer.max_epochs"),
    "option of before": Wrong([*FIT, "--model.lr=3"], "it is 'model.optimization.lr' now"),
    "key misspelt": Wrong(LAYERS, "(in {layer})", layer="trainer: {max_epoch: 3}"),
    "key of before": Wrong(
        LAYERS, "'model.optimization.lr' now (in {layer})", layer="model: {init_args: {lr: 1}}"
    ),
    "group misspelt": Wrong(LAYERS, "(in {layer})", layer="modle: {init_args: {lr: 1}}"),
    "key within a group misspelt": Wrong(
        LAYERS, "(in {layer})", layer="data: {init_args: {loading: {batchsize: 3}}}"
    ),
    "value of another type": Wrong(
        LAYERS,
        "max_epochs=ten does not fit: it must be int or null (in {layer})",
        layer="trainer: {max_epochs: ten}",
    ),
    # config files
    "config missing": Wrong(["fit", "--config", "qickstart"], "did you mean quickstart?"),
    "config is a folder": Wrong(["fit", "--config", "{own}"], "{own} is a folder, not a config"),
    "config is no YAML": Wrong(LAYERS, "{layer} is not valid YAML: line 2", layer="a: [b\n"),
    "config in another encoding": Wrong(LAYERS, "{layer} is not UTF-8 text", layer="\udcff"),
    "config without keys": Wrong(LAYERS, "{layer} holds a list, not keys", layer="- 1"),
    "config unknown to configs": Wrong(["configs", "data/ucf11"], "did you mean data/ucf101"),
    # classes and networks
    "family misspelt": Wrong([*FIT, "--model", "CoSTModul"], "did you mean CoSTModule"),
    "dataset misspelt": Wrong([*FIT, "--data=MotionShapes"], "did you mean MotionShapesDataModule"),
    "network misspelt": Wrong([*FIT, "--model.network=cost_a_tin"], "did you mean cost_a_tiny"),
    "optimizer misspelt": Wrong(
        [*FIT, "--model.optimization.optimizer=adamm"], "did you mean adamw"
    ),
    "logger misspelt": Wrong([*FIT, "--trainer.logger=CometLoger"], "did you mean CometLogger"),
    "callback misspelt": Wrong(
        [*FIT, "--trainer.callbacks=EarlyStoping"], "did you mean EarlyStopping?"
    ),
    "class of anywhere": Wrong([*FIT, "--model", "os.system"], "class os.system is refused"),
    "plugin missing": Wrong([*FIT, "--plugins", "no.py"], "there is no plugin file no.py"),
    # loggers, devices, numbers
    "logger not installed": Wrong(
        [*FIT, "--trainer.logger=MLFlowLogger"], "needs a package that is not installed"
    ),
    "no GPU": Wrong(
        [*FIT, "--trainer.accelerator=gpu"], "needs a GPU, and PyTorch finds none on this machine"
    ),
    "no GPU to predict": Wrong([*PREDICT, "--device=cuda", "{video}"], "PyTorch finds no GPU"),
    "accelerator misspelt": Wrong([*FIT, "--trainer.accelerator=cpuu"], "invalid accelerator"),
    "strategy misspelt": Wrong([*FIT, "--trainer.strategy=dpp"], "invalid strategy name"),
    "no device": Wrong([*FIT, "--trainer.devices=0"], "value is not a valid input"),
    "batch too large": Wrong([*FIT, "--data.loading.batch_size=999"], "do not fill one batch"),
    "no epoch's end": Wrong([*FIT, "--trainer.max_epochs=-1"], "needs an end"),
    "too few frames": Wrong([*FIT, "--data.sampling.num_frames=1"], "raise num_frames"),
    "no flow": Wrong(
        [*FIT, "--model=STResNetModule", "--model.network=st_resnet_tiny"], "needs flow, but the"
    ),
    # weights and checkpoints, also of others
    "weights missing": Wrong([*FIT, "--model.init_from=no.pth"], "there is no file no.pth"),
    "weights of another network": Wrong(
        [*FIT, *R18, "--model.init_from=other.pth"], "init_from=other.pth: the weights are not of"
    ),
    "weights that are a text": Wrong(
        [*FIT, f"--model.init_from={QUICKSTART}"], "not a checkpoint or weights file"
    ),
    "no ImageNet counterpart": Wrong(
        [*FIT, "--model.init_from=imagenet"], "this network has no ImageNet counterpart"
    ),
    "no internet": Wrong(
        [*FIT, *R18, "--model.init_from=imagenet"], "put it there, by `kinetoscope prepare`"
    ),
    "no internet to prepare": Wrong(
        ["prepare", *FIT[1:], *R18, "--model.init_from=imagenet"], "could not be fetched from"
    ),
    "checkpoint of others": Wrong([*TEST, "--ckpt_path=other.pth"], "is not a checkpoint of a fit"),
    "checkpoint missing": Wrong([*TEST, "--ckpt_path=no.ckpt"], "there is no file no.ckpt"),
    "run without a checkpoint": Wrong(
        [*TEST, "--ckpt_path=best"], "--ckpt_path best is that of the run runs/debug, and there is"
    ),
    "fit from the best": Wrong([*FIT, "--ckpt_path=best"], "a fit goes on from --ckpt_path last"),
    "test of another network": Wrong(
        [*TEST, "--ckpt_path={checkpoint}", "--model.network=cost_b_tiny"],
        "these differ: model.network=cost_b_tiny (the checkpoint's: cost_a_tiny)",
    ),
    "test without weights": Wrong(TEST, "give them with --ckpt_path"),
    # data
    "data folder missing": Wrong([*OWN, "--data.root=no where"], "there is no dataset folder no"),
    "data folder is a file": Wrong([*OWN, "--data.root={video}"], "there is no dataset folder"),
    "data list missing": Wrong(
        [*OWN, "--data.root={own}", "--data.train_list=größe.txt"], "no list file at größe.txt"
    ),
    "data list of another machine": Wrong(
        [*OWN, "--data.root={own}", "--data.train_list={list}"], "so take /Dataset/own/ off"
    ),
    "no videos": Wrong([*OWN, "--data.root=empty"], "at least 2 are needed"),
    "flow of nothing": Wrong(["flow", "no", "out"], "there is nothing at no"),
    "video missing": Wrong([*PREDICT[:1], *PREDICT[2:]], "videos are required, or --source"),
    "table of another kind": Wrong(
        ["predict", "--out=a.txt", *PREDICT[2:], "{video}"], "neither .csv nor .jsonl"
    ),
    "scores missing": Wrong(["compare", "a=no.npz", "--out=out"], "there is no score file no.npz"),
    # names and disks
    "name with a slash": Wrong([*FIT, "--run.name=a/b"], "cannot be a folder"),
    "name of a blank": Wrong([*FIT, "--run.name= "], "run.name=' ' cannot be a folder"),
    "folder is a file": Wrong([*FIT, "--run.folder={video}"], "cannot be written", code=74),
    "read-only folder": Wrong([*FIT, "--run.folder=read only"], "(Read-only file sys", code=74),
    "full disk": Wrong([*FIT, "--run.folder=full"], "(No space left", code=74),
}


@pytest.fixture
def places(
    run_folder: Path,
    motion_root: Path,
    class_folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    """A folder to type commands in, with what they name; no internet, two disks that fail."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    make = os.mkdir

    def mkdir(path: str, *mode: int) -> None:
        for name, number in (("read only", errno.EROFS), ("full", errno.ENOSPC)):
            if Path(path).parts[:1] == (name,):
                raise OSError(number, os.strerror(number), path)
        make(path, *mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    weights = torchvision.models.resnet18().state_dict()
    torch.save({"head.weight": weights["fc.weight"]}, "other.pth")
    Path("empty").mkdir()
    videos = sorted(class_folders.rglob("*.mp4"))
    lines = [f"/Dataset/own/{v.relative_to(class_folders)} {v.parent.name}\n" for v in videos]
    Path("list.txt").write_text("".join(lines))
    return {
        "motion": str(motion_root),
        "own": str(class_folders),
        "video": str(videos[0]),
        "checkpoint": str(run_folder / "checkpoints" / "best.ckpt"),
        "layer": "layer.yaml",
        "list": str(tmp_path / "list.txt"),
    }


def refuse(*_: object, **__: object) -> None:
    raise OSError("no route to host")


@pytest.mark.parametrize("name", WRONG)
def test_wrong_command_gets_one_sentence_and_leaves_nothing(
    name: str, places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = WRONG[name]
    if wrong.layer:
        Path("layer.yaml").write_text(wrong.layer, encoding="utf-8", errors="surrogateescape")
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main([word.format(**places) for word in wrong.words])
    assert ended.value.code == wrong.code
    printed = capsys.readouterr().err
    (sentence,) = [line for line in printed.splitlines() if line.startswith("kinetoscope: ")]
    assert wrong.said.format(**places) in sentence
    assert "Traceback" not in printed
    assert "\nusage" not in printed
    left = set(Path().rglob("*")) - set(before)
    assert {p for p in left if p.parts[0] != "torch"} == set()

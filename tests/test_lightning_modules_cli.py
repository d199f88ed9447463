"""The command line: what it does from end to end, and one sentence for every mistake."""

import csv
import errno
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import PROJECT_ROOT
from torch import Tensor

from datamodules import atomic
from lightning_modules import CoSTModule, open_checkpoint
from lightning_modules.cli import main

QUICKSTART = str(PROJECT_ROOT / "configs" / "quickstart.yaml")
DEBUG = str(PROJECT_ROOT / "configs" / "override" / "debug.yaml")
MESSENGER = [
    "--trainer.callbacks=secret_plugin.Messenger",
    "--trainer.callbacks.api_key=SESAME-1",
    '--trainer.callbacks.accounts=[{"name": "me", "auth": "SESAME-2"}]',
    "--trainer.callbacks.address=https://me:SESAME-3@chat.example/",
]
SMALL = ["--data.num_train=64", "--data.num_val=16", "--data.num_test=16"]


@pytest.fixture(scope="module")
def run_folder(motion_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished little fit, with the CSV and the offline W&B logger, and a callback's secrets."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINETOSCOPE_PLUGINS", "secret_plugin")
        patch.setattr(sys, "argv", ["kinetoscope", "fit", *MESSENGER])  # which W&B stores
        small = ["--trainer.logger=true", "--trainer.max_epochs=2", "--run.name=small"]
        fit(motion_root, runs, *small, *MESSENGER)
    return runs / "small" / "0"


def test_no_secret_lies_in_any_file_of_a_run(run_folder: Path) -> None:
    files = [path for path in run_folder.rglob("*") if path.is_file()]
    assert {".wandb", ".log", ".yaml", ".ckpt", ".json", ".csv"} <= {path.suffix for path in files}
    assert [path for path in files if b"SESAME" in path.read_bytes()] == []
    assert b"api_key" in next(run_folder.rglob("*.wandb")).read_bytes()
    config = yaml.safe_load((run_folder / "config.yaml").read_text())
    (messenger,) = config["trainer"]["callbacks"]
    assert messenger["init_args"] == {
        "api_key": "(not stored)",
        "accounts": [{"name": "me", "auth": "(not stored)"}],
        "address": "https://(not stored)@chat.example/",
    }


def test_mistake_beside_a_secret_does_not_tell_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_PLUGINS", "secret_plugin")
    for wrong in ("--trainer.callbacks.api_key=[SESAME, 1]", "--trainer.callbacks.accounts=3"):
        said = mistake(capsys, "fit", "--config", QUICKSTART, *MESSENGER, wrong)
        assert "SESAME" not in said
        assert "does not fit" in said or "accounts" in said, said


def fit(root: Path, runs: Path, *more: str) -> None:
    where = [f"--data.root={root}", f"--run.folder={runs}", *SMALL]
    main(["fit", "--config", QUICKSTART, "--config", DEBUG, *where, *more])


def mistake(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The sentence that a mistaken command ends with."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    lines = [line for line in printed.splitlines() if line.startswith("kinetoscope: ")]
    assert len(lines) == 1, printed
    assert "Traceback" not in printed
    assert "usage" not in printed.lower()
    return lines[0]


@pytest.mark.smoke
def test_run_folder_holds_what_its_contract_says(run_folder: Path) -> None:
    names = {path.name for path in run_folder.iterdir()}
    assert {"config.yaml", "checkpoints", "metrics.csv", "wandb", "confusion.png"} <= names
    kept = {"last.ckpt", "last.previous.ckpt", "best.ckpt"}
    assert {p.name for p in (run_folder / "checkpoints").iterdir()} == kept
    with (run_folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    logged = {name for row in rows for name, value in row.items() if value}
    assert {"train/loss", "train/top1", "val/top1", "val/top5", "val/loss", "epoch"} <= logged
    assert any(name.startswith("lr-SGD/") for name in logged)
    with (run_folder / "per_class.csv").open() as file:
        assert sum(int(row["videos"]) for row in csv.DictReader(file)) == 4


def test_checkpoint_holds_what_its_contract_says(run_folder: Path) -> None:
    path = run_folder / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    assert content["class_names"][0] == "move_left"
    assert content["input_spec"]["sampling"]["init_args"]["num_frames"] == 8
    assert content["input_spec"]["crops"]["size"] == 64
    assert len(content["input_spec"]["normalization"]["mean"]) == 3
    assert content["protocol"]["average"] == "probabilities"
    assert {"torch", "lightning", "av"} <= set(content["library_versions"])
    module = open_checkpoint(path)
    assert type(module) is CoSTModule
    weights = {f"network.{name}": value for name, value in module.network.state_dict().items()}
    assert all(torch.equal(content["state_dict"][name], weights[name]) for name in weights)


@pytest.mark.smoke
def test_test_writes_scores_and_protocol(
    run_folder: Path, motion_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(run_folder / "checkpoints" / "best.ckpt")
    where = [
        f"--data.root={motion_root}",
        *SMALL,
        "--data.evaluation.num_clips=2",
        "--data.loading.num_workers=0",
    ]
    main(["test", "--config", QUICKSTART, "--ckpt_path", checkpoint, *where])
    printed = capsys.readouterr().out
    assert "16 / 16 videos, 8 frames x stride 2, 2 clip(s) x 1 crop(s)" in printed
    scores = np.load(run_folder / "scores_test_2x1.npz")
    assert scores["logits"].shape == (16, 2, 8)
    assert scores["logits"].dtype == np.float32
    assert scores["class_names"].tolist() == open_checkpoint(checkpoint).class_names
    assert len(set(scores["video_ids"].tolist())) == 16
    protocol = json.loads(str(scores["protocol"]))
    assert protocol["videos_used"] == protocol["videos_listed"] == 16
    assert protocol["broken"] == protocol["missing"] == []
    assert protocol["never_mirrored"] == []
    assert ["move_left", "move_right"] in protocol["mirror_pairs"]
    exponents = np.exp(scores["logits"] - scores["logits"].max(-1, keepdims=True))
    mean = (exponents / exponents.sum(-1, keepdims=True)).mean(1)
    top1 = 100 * (mean.argmax(1) == scores["labels"]).mean()
    assert f"top-1 {top1:.2f} %" in printed


def test_validate_gives_clip_accuracy(
    run_folder: Path, motion_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(run_folder.rglob("*"))
    checkpoint = str(run_folder / "checkpoints" / "best.ckpt")
    where = [f"--data.root={motion_root}", *SMALL, "--data.loading.num_workers=0"]
    main(["validate", "--config", QUICKSTART, "--ckpt_path", checkpoint, *where])
    assert "val/top1" in capsys.readouterr().out
    assert sorted(run_folder.rglob("*")) == before


def test_swapped_network_trains_under_the_same_config(motion_root: Path, tmp_path: Path) -> None:
    swap = ["--model", "BaselineModule", "--model.network", "c2d_tiny", "--run.name", "control"]
    fit(motion_root, tmp_path, *swap)
    module = open_checkpoint(tmp_path / "control" / "0" / "checkpoints" / "last.ckpt")
    assert type(module).__name__ == "BaselineModule"
    assert module.network_name == "c2d_tiny"
    assert module.optimization.weight_decay == 5e-4
    fit(motion_root, tmp_path, *swap)
    assert (tmp_path / "control" / "1" / "checkpoints" / "last.ckpt").exists()


def test_init_from_takes_another_runs_weights(
    run_folder: Path, motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = run_folder / "checkpoints" / "last.ckpt"
    still = [
        "--model.optimization.lr=0",
        "--model.optimization.weight_decay=0",
        "--run.name=second",
    ]
    fit(motion_root, tmp_path, f"--model.init_from={checkpoint}", *still)
    first = torch.load(checkpoint, weights_only=True)["state_dict"]
    path = tmp_path / "second" / "0" / "checkpoints" / "last.ckpt"
    second = torch.load(path, weights_only=True)["state_dict"]
    assert torch.equal(first["network.fc.weight"], second["network.fc.weight"])
    assert torch.equal(first["network.conv1.weight"], second["network.conv1.weight"])


@pytest.mark.smoke
def test_resumed_fit_goes_on_in_its_folder(
    motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ["--run.name=long", "--run.version=a"]
    fit(motion_root, tmp_path, *name, "--trainer.logger=true")
    folder = tmp_path / "long" / "a"
    lines = (folder / "metrics.csv").read_text().splitlines()
    fit(
        motion_root,
        tmp_path,
        *name,
        "--ckpt_path=last",
        "--trainer.max_epochs=2",
        "--trainer.logger=true",
    )
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["epoch"] == 1
    assert content["global_step"] == 4
    assert (folder / "metrics.csv").read_text().splitlines()[: len(lines)] == lines
    printed = capsys.readouterr().out
    assert f"resuming from {folder / 'checkpoints' / 'last.ckpt'}: the newest" in printed
    assert "changed since the checkpoint: trainer.max_epochs: 1 -> 2" in printed
    identity = json.loads((folder / "run.json").read_text())
    assert identity == content["run"] == {"id": content["run"]["id"], "resume_count": 1}
    ids = [path.name.split("-")[-1] for path in (folder / "wandb").glob("offline-run-*")]
    assert ids == [identity["id"]] * len(ids)


def test_finished_run_asked_for_with_another_seed_is_refused_by_name(
    motion_root: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a loop over seeds in one job, whose folder has the job's name."""
    files = [path for path in run_folder.rglob("*") if path.is_file()]
    kept = [path for path in files if "wandb" not in path.parts and path.name != "run.lock"]
    before = {path: path.stat().st_mtime_ns for path in kept}
    again = ["--run.name=small", "--run.version=0", "--trainer.logger=true", "--ckpt_path=last"]
    with pytest.raises(SystemExit, match="2"):
        fit(
            motion_root,
            run_folder.parents[1],
            *again,
            "--trainer.max_epochs=2",
            "--seed_everything=7",
        )
    said = capsys.readouterr().err
    assert "is finished (2 epochs, 4 steps)" in said
    assert "seed_everything: 1 -> 7" in said
    assert "give each run its own --run.name or --run.version" in said
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_resumed_fit_keeps_its_settings_and_its_epoch(
    motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = [
        "--trainer.max_epochs=2",
        "--data.loading.num_workers=1",
        "--trainer.limit_train_batches=1.0",
    ]
    two += [
        "--data.loading.batch_size=16",
        "--model.optimization.schedule=constant",
        "--trainer.limit_val_batches=0",
    ]
    fit(motion_root, tmp_path, "--run.name=whole", *two)
    fit(motion_root, tmp_path, "--run.name=parts", *two, "--trainer.max_epochs=1")
    fit(motion_root, tmp_path, "--run.name=parts", *two, "--ckpt_path=last")
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["0"]
    ends = [
        torch.load(tmp_path / name / "0" / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("whole", "parts")
    ]
    assert ends[0]["global_step"] == ends[1]["global_step"] == 8
    for name, value in ends[0]["state_dict"].items():
        assert torch.equal(value, ends[1]["state_dict"][name]), name
    capsys.readouterr()
    with pytest.raises(SystemExit):
        fit(
            motion_root,
            tmp_path,
            "--run.name=parts",
            "--ckpt_path=last",
            "--model.optimization.lr=0.7",
        )
    assert "lr=0.7 (was 0.1)" in capsys.readouterr().err


def test_partial_test_keeps_the_scores_of_the_whole(
    run_folder: Path, motion_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(run_folder / "checkpoints" / "best.ckpt")
    where = [f"--data.root={motion_root}", *SMALL, "--data.loading.num_workers=0"]
    words = ["test", "--config", QUICKSTART, "--ckpt_path", checkpoint, *where]
    main(words)
    before = (run_folder / "scores_test_1x1.npz").read_bytes()
    main([*words, "--data.loading.batch_size=2", "--trainer.limit_test_batches=2"])
    printed = capsys.readouterr().out
    assert "4 / 16 videos" in printed
    assert "only a part was tested" in printed
    assert (run_folder / "scores_test_1x1.npz").read_bytes() == before
    main([*words, "--data.crops.size=48", "--data.crops.short_side=64"])
    assert (run_folder / "scores_test_1x1.1.npz").read_bytes() == before


@pytest.mark.parametrize("when", ["no access", "no room", "at the end"])
def test_test_that_cannot_write_says_so_before_the_first_batch_or_after_the_accuracy(
    run_folder: Path,
    motion_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    opened: list[str],
    when: str,
) -> None:
    def no_access(dir: Path) -> None:
        assert dir == tmp_path / "out"
        raise OSError(errno.EROFS, "Read-only file system")

    def no_room(file: Any, **_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if when == "no access":
        monkeypatch.setattr(atomic, "TemporaryFile", no_access)
    elif when == "no room":
        monkeypatch.setattr(atomic.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    else:
        monkeypatch.setattr(np, "savez", no_room)
    words = ["--ckpt_path", str(run_folder / "checkpoints" / "best.ckpt"), "--out"]
    words += [str(tmp_path / "out"), f"--data.root={motion_root}", *SMALL]
    with pytest.raises(SystemExit) as ended:
        main(["test", "--config", QUICKSTART, "--config", DEBUG, *words])
    assert ended.value.code == 74
    printed = capsys.readouterr()
    assert "cannot be written (" in printed.err
    assert "or name another folder with --out" in printed.err
    assert "Traceback" not in printed.err
    assert bool(opened) == ("video accuracy" in printed.out) == (when == "at the end")


def test_disk_that_fails_a_fit_is_no_mistake_in_the_command(
    motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    full = tmp_path / "small" / "0"
    full.mkdir(parents=True)
    (full / ".run.json.tmp").symlink_to("/dev/full")
    for folder in (tmp_path / "file", tmp_path):
        with pytest.raises(SystemExit) as ended:
            fit(motion_root, folder, "--run.name=small", "--run.version=0")
        assert ended.value.code == 74
        said = capsys.readouterr().err
        assert "cannot be written (" in said
        assert "name another with --run.folder" in said


def test_out_is_for_test_alone(motion_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", QUICKSTART, f"--data.root={motion_root}", "--out=x", "--ckpt_path=x"]
    assert "--out is for test alone" in mistake(capsys, "fit", *words[:-1])


def test_checkpoint_of_other_classes_is_refused(
    run_folder: Path, class_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--ckpt_path", str(run_folder / "checkpoints" / "best.ckpt")]
    data = ["--data", "VideoFolderDataModule", f"--data.root={class_folders}"]
    data += ["--data.sampling.num_frames=8", "--data.sampling.frame_stride=2"]
    assert "classes" in mistake(capsys, "test", "--config", QUICKSTART, *words, *data)


def test_fast_dev_run_leaves_nothing(
    motion_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit(motion_root, tmp_path / "runs", "--trainer.fast_dev_run=true")
    assert not list(tmp_path.rglob("*"))


def test_broken_validation_video_is_named(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "val"):
        for folder in ("grow", "move_up"):
            shutil.copytree(class_folders / folder, tmp_path / "set" / name / folder)
    (tmp_path / "set" / "val" / "grow" / "bad.mp4").write_text("nothing")
    data = ["--data", "VideoFolderDataModule", f"--data.root={tmp_path / 'set'}"]
    data += [
        "--data.sampling.num_frames=8",
        "--data.sampling.frame_stride=2",
        "--trainer.limit_val_batches=1.0",
    ]
    where = [f"--run.folder={tmp_path / 'runs'}"]
    main(["fit", "--config", QUICKSTART, "--config", DEBUG, *where, *data])
    assert "left out of validation: val/grow/bad.mp4 (not a video)" in capsys.readouterr().out


@pytest.mark.smoke
def test_predict_labels_files_from_the_checkpoint_alone(
    run_folder: Path, class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(run_folder / "checkpoints" / "best.ckpt")
    (class_folders / "bad.mp4").write_text("<html></html>")
    out = tmp_path / "labels" / "table.csv"
    videos = [str(class_folders), str(tmp_path / "gone.mp4")]
    main(["predict", "--ckpt_path", checkpoint, "--out", str(out), "--top", "3", *videos])
    printed = capsys.readouterr().out
    assert "bad.mp4: not labelled, not a video" in printed
    assert "gone.mp4: not labelled, missing" in printed
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert sum(bool(row["error"]) for row in rows) == 2
    good = [row for row in rows if not row["error"]]
    assert all(1 >= float(r["probability_1"]) >= float(r["probability_3"]) > 0 for r in good)

    module = open_checkpoint(checkpoint)
    assert {row["class_1"] for row in good} <= set(module.class_names)
    lines = tmp_path / "table.jsonl"
    main(["predict", "--ckpt_path", checkpoint, "--out", str(lines), good[0]["video"]])
    (record,) = [json.loads(line) for line in lines.read_text().splitlines()]
    assert record["classes"][0] == good[0]["class_1"]
    assert record["probabilities"][0] == pytest.approx(float(good[0]["probability_1"]), abs=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "codecs/v_biking_01_01.mpg",
        "codecs/test.webm",
        "kinetics/demo.mp4",
        "ucf101/v_TaiChi_g01_c02.avi",
    ],
)
def test_predict_reads_real_files(
    run_folder: Path, test_data: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(run_folder / "checkpoints" / "best.ckpt")
    out = tmp_path / "out.csv"
    main(["predict", "--ckpt_path", checkpoint, "--out", str(out), str(test_data / "clips" / name)])
    assert out.read_text().count("\n") == 2
    assert "not labelled" not in capsys.readouterr().out


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


@pytest.mark.parametrize("forged", FORGED)
def test_forged_and_newer_checkpoints_get_one_sentence(
    forged: str,
    run_folder: Path,
    class_folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = torch.load(run_folder / "checkpoints" / "best.ckpt", weights_only=True)
    keys, value = FORGED[forged]
    part = content
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    if value is None:
        del part[keys[-1]]
    path = tmp_path / "forged.ckpt"
    torch.save(content, path)
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
    content = torch.load(run_folder / "checkpoints" / "last.ckpt", weights_only=True)
    keys, value = FORGED[forged]
    if value is None:
        del content[keys[0]]
    else:
        content[keys[0]][keys[1]][keys[2]] = value
    path = tmp_path / "run" / "checkpoints" / "forged.ckpt"
    path.parent.mkdir(parents=True)
    torch.save(content, path)
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


def test_average_of_views_follows_the_setting() -> None:
    logits = torch.randn(2, 3, 5)
    by_probability = CoSTModule("cost_a_tiny", num_classes=5).video_scores(logits)
    by_logit = CoSTModule("cost_a_tiny", num_classes=5, average="logits").video_scores(logits)
    expected: Tensor = torch.stack([v.softmax(-1).mean(0) for v in logits])
    torch.testing.assert_close(by_probability, expected)
    torch.testing.assert_close(by_logit, torch.stack([v.mean(0) for v in logits]))

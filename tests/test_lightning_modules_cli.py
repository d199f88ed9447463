"""The command line: what its commands do from end to end."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command_line import DEBUG, QUICKSTART, SMALL, fit, mistake
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from wandb_records import read_wandb

from lightning_modules import CoSTModule, open_checkpoint
from lightning_modules.cli import main

NO_REVERSALS = "--data.augmentation.reversals=false"


def test_no_secret_lies_in_any_file_of_a_run(run_folder: Path) -> None:
    files = [path for path in run_folder.rglob("*") if path.is_file()]
    assert {".wandb", ".log", ".yaml", ".ckpt", ".json", ".csv"} <= {path.suffix for path in files}
    assert [path for path in files if b"SESAME" in path.read_bytes()] == []
    trained = json.loads((run_folder / "run.json").read_text())["id"]
    runs = sorted(run_folder.rglob(f"run-{trained}.wandb"))  # tests of it add to its summary
    assert b"api_key" in runs[0].read_bytes()
    config = yaml.safe_load((run_folder / "config.yaml").read_text())
    (messenger,) = config["trainer"]["callbacks"]
    assert messenger["init_args"] == {
        "api_key": "(not stored)",
        "accounts": [{"name": "me", "auth": "(not stored)"}],
        "address": "https://(not stored)@chat.example/",
    }


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
    assert any(name.startswith("lr-AdamW/") for name in logged)
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
    assert scores["groups"].tolist() == [""] * 16  # each of these is drawn on its own
    protocol = json.loads(str(scores["protocol"]))
    assert protocol["videos_used"] == protocol["videos_listed"] == 16
    assert protocol["broken"] == protocol["missing"] == []
    assert protocol["never_mirrored"] == []
    assert ["move_left", "move_right"] in protocol["mirror_pairs"]
    exponents = np.exp(scores["logits"] - scores["logits"].max(-1, keepdims=True))
    mean = (exponents / exponents.sum(-1, keepdims=True)).mean(1)
    top1 = 100 * (mean.argmax(1) == scores["labels"]).mean()
    assert f"top-1 {top1:.2f} %" in printed
    with (run_folder / "videos_test_2x1.csv").open() as file:
        videos = list(csv.DictReader(file))
    order = [scores["video_ids"].tolist().index(row["video_id"]) for row in videos]
    losses = -np.log(mean[np.arange(16), scores["labels"]])[order]
    assert [float(row["loss"]) for row in videos] == pytest.approx(losses.tolist(), abs=2e-6)
    assert losses.tolist() == sorted(losses.tolist(), reverse=True)
    assert all(Path(row["path"]).is_file() for row in videos)
    assert (run_folder / "videos_test_2x1.html").read_text().count("<img") == 4 * 16
    check_wandb(run_folder, top1 / 100, printed)


def check_wandb(folder: Path, top1: float, printed: str) -> None:
    """A test has a run of its own in W&B, and an entry in the summary of the run that trained."""
    trained = json.loads((folder / "run.json").read_text())["id"]
    assert json.loads((folder / "wandb.json").read_text())["id"] == trained
    (tested,) = re.findall(r"W&B: the test is the run (\w+) of the project kinetoscope", printed)
    (own,) = (folder / "wandb").glob(f"offline-run-*/run-{tested}.wandb")
    parts = sorted((folder / "wandb").glob(f"offline-run-*/run-{trained}.wandb"))
    test, _, *added = map(read_wandb, (own, *parts))
    (summary,) = [part.summary for part in added if "test_2x1/top1" in part.summary]
    assert summary["test_2x1/top1"] == pytest.approx(top1)
    assert summary["test_2x1/run"] == tested
    assert test.run.notes == f"Test of the run {trained} (small/0)."
    assert test.config["trained_run"] == trained
    assert len(list(own.parent.rglob("videos*.table.json"))) == 1
    (worst,) = own.parent.rglob("worst*.table.json")
    assert len(json.loads(worst.read_text())["data"]) == 16
    entries = test.artifacts[f"run-{tested}-worst:latest"].manifest.contents
    assert sum(entry.path.endswith(".mp4") for entry in entries) == 16
    assert all(Path(entry.local_path).is_relative_to(folder) for entry in entries)
    assert test.artifacts["small_0-scores:test_2x1"].type == "scores"


@pytest.mark.parametrize("word", ["best", "last"])
def test_test_finds_the_checkpoint_of_a_run(
    word: str,
    run_folder: Path,
    motion_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = [f"--data.root={motion_root}", *SMALL, f"--out={tmp_path}", "--run.name=small"]
    where += [f"--run.folder={run_folder.parents[1]}", f"--ckpt_path={word}"]
    main(["test", "--config", QUICKSTART, "--config", DEBUG, *where, "--data.crops.size=32"])
    printed = capsys.readouterr().out
    assert f"checkpoint: {run_folder / 'checkpoints' / word}.ckpt\n" in printed
    assert "note: crops.size differs: trained with 64, now 32\n" in printed
    assert printed.count("differs") == 1
    said = mistake(capsys, "test", "--config", QUICKSTART, *where, "--run.version=7")
    assert f"small/7 has no checkpoint {word}.ckpt (there are: none); give another run" in said


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
    assert module.optimization.betas == (0.9, 0.98)
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
    fit(motion_root, tmp_path, *name, "--trainer.logger=TensorBoard")
    folder = tmp_path / "long" / "a"
    lines = (folder / "metrics.csv").read_text().splitlines()
    fit(
        motion_root,
        tmp_path,
        *name,
        "--ckpt_path=last",
        "--trainer.max_epochs=2",
        "--trainer.logger=TensorBoard",
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
    assert ids == [identity["id"]] * 2
    curve = EventAccumulator(str(folder / "tensorboard")).Reload().Scalars("train/loss")
    assert [point.step for point in curve] == [0, 1, 2, 3]


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
        "--data.crops.size=32",
        "--data.crops.short_side=36",
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
    assert "lr=0.7 (was 0.006)" in capsys.readouterr().err


def test_checkpoint_of_other_classes_is_refused(
    run_folder: Path, class_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--ckpt_path", str(run_folder / "checkpoints" / "best.ckpt")]
    data = ["--data", "VideoFolderDataModule", f"--data.root={class_folders}", NO_REVERSALS]
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
    data = ["--data", "VideoFolderDataModule", f"--data.root={tmp_path / 'set'}", NO_REVERSALS]
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
    with pytest.raises(SystemExit, match=r"^1$"):  # as some have no label
        main(["predict", "--ckpt_path", checkpoint, "--out", str(out), "--top", "9", *videos])
    said = capsys.readouterr()
    printed = said.out
    assert f"18 of 20 labelled, written to {out}" in printed
    assert said.err == "kinetoscope: 2 of 20 videos have no label; see the lines above\n"
    assert "bad.mp4: not labelled, not a video" in printed
    assert "gone.mp4: not labelled, missing" in printed
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert sum(bool(row["error"]) for row in rows) == 2
    good = [row for row in rows if not row["error"]]
    assert all(1 >= float(r["probability_1"]) >= float(r["probability_8"]) > 0 for r in good)
    assert "class_9" not in rows[0]  # there are eight

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


def test_average_of_views_follows_the_setting() -> None:
    logits = torch.randn(2, 3, 5)
    by_probability = CoSTModule("cost_a_tiny", num_classes=5).classes.scores(logits)
    by_logit = CoSTModule("cost_a_tiny", num_classes=5, average="logits").classes.scores(logits)
    expected: Tensor = torch.stack([v.softmax(-1).mean(0) for v in logits])
    torch.testing.assert_close(by_probability, expected)
    torch.testing.assert_close(by_logit, torch.stack([v.mean(0) for v in logits]))

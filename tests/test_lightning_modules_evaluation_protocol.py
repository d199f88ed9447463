"""What a test says of itself, which files it writes, and what it refuses."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import QUICKSTART, SMALL, mistake
from conftest import PROJECT_ROOT, QUIET
from lightning.pytorch import Trainer

from datamodules import MotionShapesDataModule
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops
from datamodules.clips.input_spec import Normalization
from datamodules.settings import Loading
from lightning_modules import BaselineModule
from lightning_modules.callbacks import score_file
from lightning_modules.callbacks.score_file import ScoreFile
from lightning_modules.cli import main
from lightning_modules.evaluation.protocol import digest_of, digest_of_weights
from lightning_modules.runs.origin import Origin
from lightning_modules.runs.versions import code_commit

LOCK = ".test.lock"


def run_test(
    root: Path, folder: Path, module: Any = None, trainer: Any = (), **changed: Any
) -> dict[str, Any]:
    """Test a network of fixed weights, and give the protocol of the file that was written last."""
    settings: dict[str, Any] = {
        "num_train": 64,
        "num_val": 16,
        "num_test": 16,
        "crops": Crops(size=32),
        "loading": Loading(batch_size=8, num_workers=0),
        "sampling": FrameSampler(num_frames=2, frame_stride=2),
    }
    data = MotionShapesDataModule(str(root), **(settings | changed))
    quiet: dict[str, Any] = {**QUIET, **dict(trainer)}
    tester = Trainer(callbacks=[ScoreFile(folder)], enable_checkpointing=False, **quiet)
    tester.test(module or network(), data, verbose=False)
    newest = max(folder.glob("scores_*.npz"), key=lambda path: path.stat().st_mtime_ns)
    with np.load(newest) as stored:
        protocol: dict[str, Any] = json.loads(str(stored["protocol"]))
    return protocol


def network(**arguments: Any) -> BaselineModule:
    """A network whose scores differ from video to video."""
    torch.manual_seed(0)
    module = BaselineModule("c2d_tiny", num_classes=8, **arguments)
    torch.nn.init.normal_(module.network.fc.weight)
    module.has_weights = True
    return module


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOCK}


def test_no_test_takes_the_files_of_another(motion_root: Path, tmp_path: Path) -> None:
    run_test(motion_root, tmp_path)
    ends = {"scores_{}.npz", "per_class_{}.csv", "confusion_{}.png"}
    ends |= {"videos_{}.csv", "videos_{}.html"}
    assert set(contents(tmp_path)) == {end.format("test_1x1") for end in ends}
    other = network()
    torch.nn.init.normal_(other.network.fc.weight)
    others: list[dict[str, Any]] = [
        {"crops": Crops(size=32, short_side=40)},
        {"normalization": Normalization(std=(0.3, 0.3, 0.3))},
        {"module": other},
        {"module": network(average="logits")},
        {"trainer": {"precision": "bf16-mixed"}},
    ]
    for changed in others:
        before = contents(tmp_path)
        digest = digest_of(run_test(motion_root, tmp_path, **changed))
        after = contents(tmp_path)
        new = {end.format(f"test_1x1_{digest}") for end in ends}
        assert set(after) - set(before) == new, changed
        assert {name: after[name] for name in before} == before
    again = run_test(motion_root, tmp_path, loading=Loading(batch_size=4, num_workers=0))
    assert set(contents(tmp_path)) == set(after)
    assert digest_of(again) not in "".join(after)  # the first one's, which it replaced


def test_a_part_of_a_test_leaves_all_files_alone(
    motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(motion_root, data)
    next((data / "test" / "grow").glob("*.mp4")).write_text("no video")
    folder = tmp_path / "run"
    run_test(data, folder)
    before = contents(folder)
    assert "not_tested_test_1x1.csv" in before
    run_test(data, folder, trainer={"limit_test_batches": 1})
    assert contents(folder) == before
    assert "only a part was tested" in capsys.readouterr().out


def test_files_that_others_left_are_not_taken(motion_root: Path, tmp_path: Path) -> None:
    (tmp_path / "scores_test_1x1.npz").write_text("half a file")
    (tmp_path / "per_class_test_1x1.csv").write_text("someone's")
    digest = digest_of(run_test(motion_root, tmp_path))
    assert (tmp_path / f"scores_test_1x1_{digest}.npz").exists()
    assert (tmp_path / "per_class_test_1x1.csv").read_text() == "someone's"
    (tmp_path / "scores_test_1x1.npz").unlink()  # its table is left
    run_test(motion_root, tmp_path)
    assert not (tmp_path / "scores_test_1x1.npz").exists()


def test_half_precision_is_not_used_where_it_would_overflow(
    motion_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_file, "HALF_PRECISION_BYTES", 100)
    module = network()
    assert run_test(motion_root, tmp_path / "a", module)["logits_dtype"] == "float16"
    torch.nn.init.constant_(module.network.fc.bias, 1e5)
    assert run_test(motion_root, tmp_path / "b", module)["logits_dtype"] == "float32"
    with np.load(tmp_path / "b" / "scores_test_1x1.npz") as stored:
        assert np.isfinite(stored["logits"]).all()


def test_test_names_the_weights_and_how_they_were_chosen(
    run_folder: Path, motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["test", "--config", QUICKSTART, f"--data.root={motion_root}", *SMALL]
    words += ["--data.loading.num_workers=0", "--out", str(tmp_path), "--ckpt_path"]
    shutil.copy(run_folder / "checkpoints" / "best.ckpt", tmp_path / "renamed.ckpt")
    main([*words, str(tmp_path / "renamed.ckpt")])
    said = capsys.readouterr().out
    content = torch.load(tmp_path / "renamed.ckpt", weights_only=True)
    with np.load(tmp_path / "scores_test_1x1.npz") as stored:
        best = json.loads(str(stored["protocol"]))
    assert best["weights"] == digest_of_weights(content["state_dict"])
    assert best["step"] == content["global_step"]
    assert (best["chosen"], best["chosen_on"]["videos"]) == ("best val/top1", 16)
    assert best["chosen_on_these"] is False
    assert best["run"] == {"id": content["run"]["id"], "name": "small/0"}
    assert best["seed"] == 1
    assert best["split"] == "test"
    assert best["arguments"]["optimization"]["lr"] == 0.006
    assert best["input"]["normalization"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert best["data_root"] == str(motion_root)
    assert (
        f"cost_a_tiny (best val/top1 of a part of 16 validation videos, step {best['step']}, "
        f"run small/0, seed 1, weights {best['weights'][:8]}) on MotionShapes test, "
    ) in said
    assert "64 px of short side 64" in said
    main([*words, str(run_folder / "checkpoints" / "last.ckpt"), "--model.average=logits"])
    said = capsys.readouterr().out
    assert "cost_a_tiny (last, step 4, " in said
    assert "(logits averaged)" in said
    assert said.split(", test ")[1].split()[0] in {
        path.stem.rpartition("_")[2] for path in tmp_path.glob("scores_*")
    }


def test_chosen_on_the_tested_videos_is_said(motion_root: Path, tmp_path: Path) -> None:
    module, data = (
        network(),
        MotionShapesDataModule(str(motion_root), num_test=16, num_val=16, num_train=64),
    )
    data.setup()
    on = {"videos": 16, "list": data.test_set.table.digest, "in_part": False}
    module.origin = Origin(step=4, chosen="best val/top1", chosen_on=on)
    assert run_test(motion_root, tmp_path, module)["chosen_on_these"] is True


@pytest.mark.parametrize(
    ("name", "callbacks", "chosen"),
    [
        ("last.ckpt", {}, "last"),
        ("a.ckpt", {"x": {"monitor": "val/loss", "best_model_path": "/r/a.ckpt"}}, "best val/loss"),
        ("b.ckpt", {"x": {"monitor": "val/loss", "best_model_path": "/r/a.ckpt"}}, None),
        ("a.ckpt", {"x": {"monitor": None, "best_model_path": "/r/a.ckpt"}}, None),
        (None, {"x": 3}, None),
    ],
)
def test_name_of_a_file_tells_how_it_was_chosen(
    name: str | None, callbacks: dict[str, Any], chosen: str | None
) -> None:
    content = {"written_as": name, "callbacks": callbacks, "input_spec": {}}
    origin = Origin.of({**content, "protocol": {"dataset": "d", "validation": {"videos": 3}}})
    assert origin.chosen == chosen
    assert origin.chosen_on == ({"videos": 3} if chosen and chosen != "last" else {})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (
            ["--model.network=cost_b_tiny"],
            "model.network=cost_b_tiny (the checkpoint's: cost_a_tiny",
        ),
        (["--model.shared=false"], "model.shared=False (the checkpoint's: True)"),
        (
            ["--model=BaselineModule", "--model.network=c2d_tiny"],
            "model=lightning_modules.BaselineModule (the checkpoint's: lightning_modules.CoST",
        ),
        (["--config={config}"], "model.stem=32_frames (the checkpoint's: 8_frames)"),
    ],
)
def test_values_that_the_checkpoint_decides_are_refused(
    options: list[str],
    named: str,
    run_folder: Path,
    motion_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "model.yaml"
    config.write_text("model:\n  init_args:\n    stem: 32_frames\n")
    checkpoint = str(run_folder / "checkpoints" / "best.ckpt")
    words = ["--config", QUICKSTART, f"--data.root={motion_root}", *SMALL]
    words += [f"--ckpt_path={checkpoint}", *(option.format(config=config) for option in options)]
    command = "validate" if "--model.shared=false" in options else "test"
    assert named in mistake(capsys, command, *words)


def test_values_that_only_a_fit_needs_pass(
    run_folder: Path, motion_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["validate", "--config", QUICKSTART, f"--data.root={motion_root}", *SMALL]
    words += [f"--ckpt_path={run_folder / 'checkpoints' / 'best.ckpt'}", "--model.dropout=0.7"]
    words += ["--model.optimization.lr=3", "--model.batch_norm.frozen=all", "--model.compile=true"]
    words += ["--model.classifier_std=3", "--model.label_smoothing=0.2"]
    main([*words, "--data.loading.num_workers=0", "--model.init_from=imagenet"])
    assert "val/top1" in capsys.readouterr().out


@pytest.fixture
def diverged(run_folder: Path, tmp_path: Path) -> str:
    """A checkpoint of which a weight is not a number."""
    content = torch.load(run_folder / "checkpoints" / "best.ckpt", weights_only=True)
    content["state_dict"]["network.fc.bias"][3] = torch.nan
    torch.save(content, tmp_path / "diverged.ckpt")
    return str(tmp_path / "diverged.ckpt")


def test_scores_that_are_not_finite_stop_test_and_predict(
    diverged: str, motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["test", "--config", QUICKSTART, f"--data.root={motion_root}", *SMALL]
    words += ["--data.loading.num_workers=0", f"--ckpt_path={diverged}", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="2"):
        main(words)
    said = capsys.readouterr()
    first = (motion_root / "lists" / "test.txt").read_text().split()[0]
    assert f"the network's scores of {first} are not finite" in said.err
    assert "accuracy" not in said.out
    assert "test/top1" not in said.out
    assert not list(tmp_path.glob("scores*"))
    video = str(next((motion_root / "test" / "grow").glob("*.mp4")))
    words = ["predict", "--ckpt_path", diverged, "--out", str(tmp_path / "labels.csv"), video]
    sentence = mistake(capsys, *words)
    assert f"the network's scores of {video} are not finite" in sentence
    assert not (tmp_path / "labels.csv").exists()


def test_commit_is_that_of_the_checkout() -> None:
    if not (PROJECT_ROOT / ".git").exists():
        pytest.skip("no git checkout")
    words = ["git", "-C", str(PROJECT_ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    assert code_commit().removesuffix("+") == commit

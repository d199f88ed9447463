"""Every shipped YAML, by the command in its first line, through the real command line."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from conftest import PROJECT_ROOT

from lightning_modules.cli import main

CONFIGS = sorted((PROJECT_ROOT / "configs").rglob("*.yaml"))
DEBUG = "configs/override/debug.yaml"
BIG = re.compile(r"_r(18|34|50|101)\.yaml$")


def command_of(path: Path) -> list[str]:
    """The words after `kinetoscope` in a config's first line."""
    first = path.read_text().splitlines()[0]
    assert first.startswith("# uv run kinetoscope "), f"{path} does not begin with its command"
    return shlex.split(first.removeprefix("# uv run kinetoscope "))


@pytest.fixture
def folder_of_kind(class_folders: Path, motion_root: Path) -> dict[str, Path]:
    """A small folder of videos in the form that each data config asks for."""
    lists = class_folders / "ucfTrainTestlist"
    lists.mkdir()
    names = ["grow", "move_up", "turn_clockwise"]
    (lists / "classInd.txt").write_text("".join(f"{i + 1} {n}\n" for i, n in enumerate(names)))
    train, test = "", ""
    for label, name in enumerate(names, 1):
        for number, video in enumerate(sorted((class_folders / name).glob("*.mp4"))):
            scene = video.with_name(f"v_{name}_g{number:02d}_c01.mp4")
            video.rename(scene)
            if number < 4:
                train += f"{name}/{scene.name} {label}\n"
            else:
                test += f"{name}/{scene.name}\n"
    (lists / "trainlist01.txt").write_text(train)
    (lists / "testlist01.txt").write_text(test)
    divided = motion_root.parent / "divided"
    if not divided.exists():
        divided.symlink_to(motion_root)
    return {"ucf101_lists": class_folders, "video_folder": divided, "motion_shapes": motion_root}


@pytest.mark.parametrize("path", CONFIGS, ids=[c.stem for c in CONFIGS])
def test_config_runs_by_its_own_command(
    path: Path,
    folder_of_kind: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    words = command_of(path)
    assert str(path.relative_to(PROJECT_ROOT)) in words
    kind = next((k for k in folder_of_kind if f"configs/data/{k}.yaml" in words), "motion_shapes")
    words = [str(folder_of_kind[kind]) if word == "YOUR_FOLDER" else word for word in words]
    words += ["--config", DEBUG, f"--data.root={folder_of_kind[kind]}"]
    words += [f"--run.folder={tmp_path}", "--data.num_workers=0", "--trainer.limit_val_batches=1"]
    if kind == "motion_shapes":
        words += ["--data.num_train=64", "--data.num_val=16", "--data.num_test=16"]
    if any(BIG.search(word) for word in words):
        # full networks are built and counted on the meta device elsewhere; here their tiny kin runs
        tiny = BIG.sub("_tiny", Path(next(w for w in words if BIG.search(w))).name)
        words += [f"--model.network={tiny}", "--model.init_from=null"]
    main(words)
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    assert content["global_step"] >= 1
    assert all(torch.isfinite(value.float()).all() for value in content["state_dict"].values())


def test_gpu_config_asks_for_a_gpu_only_in_its_own_layer() -> None:
    asking = [path.name for path in CONFIGS if "accelerator: gpu" in path.read_text()]
    assert asking == ["gpu.yaml"]


def test_no_config_writes_what_the_data_tells() -> None:
    for path in CONFIGS:
        assert not re.search(r"^\s*(num_classes|class_names):", path.read_text(), re.MULTILINE)


def test_debug_names_no_class_of_ours() -> None:
    assert "class_path" not in (PROJECT_ROOT / DEBUG).read_text()

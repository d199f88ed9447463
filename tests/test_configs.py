"""Every shipped YAML, by the command in its first line, through the real command line."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import PROJECT_ROOT
from dataset_trees import write

from lightning_modules.cli import main

CONFIGS = sorted((PROJECT_ROOT / "configs").rglob("*.yaml"))
DEBUG = "configs/override/debug.yaml"
FolderOfKind = Callable[[str], Path]
BIG = re.compile(r"_r(18|34|50|101)\.yaml$")


def command_of(path: Path) -> list[str]:
    """The words after `kinetoscope` in a config's first line."""
    first = path.read_text().splitlines()[0]
    assert first.startswith("# uv run kinetoscope "), f"{path} does not begin with its command"
    return shlex.split(first.removeprefix("# uv run kinetoscope "))


def ucf101_form(root: Path) -> None:
    """Lists for class folders, and file names with groups."""
    lines: dict[str, list[str]] = {"classInd": [], "trainlist01": [], "testlist01": []}
    for number, folder in enumerate(sorted(p for p in root.iterdir() if p.is_dir()), 1):
        lines["classInd"].append(f"{number} {folder.name}")
        for group, video in enumerate(sorted(folder.iterdir()), 1):
            scene = f"{folder.name}/v_{folder.name}_g{group:02d}_c01.mp4"
            video.rename(root / scene)
            if group < 5:
                lines["trainlist01"].append(f"{scene} {number}")
            else:
                lines["testlist01"].append(scene)
    for name, text in lines.items():
        write(root / "ucfTrainTestlist" / f"{name}.txt", "\n".join(text))


def hmdb51_form(root: Path) -> None:
    """A list for each class, and file names with films."""
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        lines = []
        for film, video in enumerate(sorted(folder.iterdir())):
            name = f"film_{film}_{folder.name}_u_nm_np1_ba_goo_0.avi"
            video.rename(folder / name)
            lines.append(f"{name} {1 if film < 4 else 2} ")
        target = root / "testTrainMulti_7030_splits" / f"{folder.name}_test_split1.txt"
        write(target, "\n".join(lines))


def kinetics_form(root: Path) -> None:
    """CSV lists, and class folders below each split."""
    lists = {split: ["label,youtube_id,time_start,time_end,split"] for split in ("train", "val")}
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        for number, video in enumerate(sorted(folder.iterdir())):
            split, name = "val" if number > 3 else "train", f"{folder.name[:4]:-<10}{number}"
            target = root / split / folder.name / f"{name}_000000_000010.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            video.rename(target)
            lists[split].append(f"{folder.name},{name},0,10,{split}")
        folder.rmdir()
    for split, lines in lists.items():
        write(root / "annotations" / f"{split}.csv", "\n".join(lines))


def moments_in_time_form(root: Path) -> None:
    """CSV lists without header, and class folders below each split."""
    lists: dict[str, list[str]] = {"training": [], "validation": []}
    classes = sorted(p for p in root.iterdir() if p.is_dir())
    categories = [f"{folder.name},{label}" for label, folder in enumerate(classes)]
    write(root / "moments_categories.txt", "\n".join(categories))
    for folder in classes:
        for number, video in enumerate(sorted(folder.iterdir())):
            split = "validation" if number > 3 else "training"
            target = root / split / folder.name / f"{number}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            video.rename(target)
            lists[split].append(f"{folder.name}/{number}.mp4,{folder.name},3,0")
        folder.rmdir()
    for split, lines in lists.items():
        write(root / f"{split}Set.csv", "\n".join(lines))


FORMS = {
    "ucf101": ucf101_form,
    "ucf101_lists": ucf101_form,
    "hmdb51": hmdb51_form,
    "kinetics": kinetics_form,
    "moments_in_time": moments_in_time_form,
}
"""How the small class folders are brought into the form that a data config asks for."""


@pytest.fixture
def folder_of_kind(class_folders: Path, motion_root: Path, tmp_path: Path) -> FolderOfKind:
    """Makes a small folder of videos in the form that a data config asks for."""

    def make(kind: str) -> Path:
        if kind == "motion_shapes":
            return motion_root
        if kind == "video_folder":
            divided = tmp_path / "divided"
            divided.symlink_to(motion_root)
            return divided
        FORMS[kind](class_folders)
        return class_folders

    return make


@pytest.mark.parametrize("path", CONFIGS, ids=[c.stem for c in CONFIGS])
def test_config_runs_by_its_own_command(
    path: Path,
    folder_of_kind: FolderOfKind,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    words = command_of(path)
    assert str(path.relative_to(PROJECT_ROOT)) in words
    kinds = [Path(word).stem for word in words if word.startswith("configs/data/")]
    kind = kinds[0] if kinds else "motion_shapes"
    root = folder_of_kind(kind)
    words = [str(root) if word == "YOUR_FOLDER" else word for word in words]
    words += ["--config", DEBUG, f"--data.root={root}"]
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

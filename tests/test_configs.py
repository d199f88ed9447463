"""Every shipped YAML, by the command in its first line, through the real command line."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from conftest import PROJECT_ROOT
from dataset_trees import write
from PIL import Image

from datamodules import VideoReader
from lightning_modules.cli import main, overview
from lightning_modules.parsing.config_names import with_configs_found

CONFIGS = [
    path
    for path in sorted((PROJECT_ROOT / "configs").rglob("*.yaml"))
    if path.parent.name != "recipe"
]
DEBUG = "configs/override/debug.yaml"
FolderOfKind = Callable[[str], Path]
Listed = dict[str, list[tuple[str, str, int]]]
"""Id, class and label of the videos of each split."""
SMALL_FLOW = ["--method", "dis", "--short_side", "72", "--storage", "jpeg", "--workers", "0"]
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


def by_split(root: Path, place: Callable[[str, str], str], suffix: str = ".mp4") -> Listed:
    """Move every video to `place(split, id)`: four of a class into train, two into val."""
    listed: Listed = {"train": [], "val": []}
    for label, folder in enumerate(sorted(p for p in root.iterdir() if p.is_dir())):
        for number, video in enumerate(sorted(folder.iterdir())):
            split, name = "train" if number < 4 else "val", f"{10 * label + number + 1}"
            target = root / f"{place(split, name)}{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            video.rename(target)
            listed[split].append((name, folder.name, label))
        folder.rmdir()
    return listed


def something_something_v1_form(root: Path) -> None:
    """Lists of `<id>;<class>`, and frame folders."""
    listed = by_split(root, lambda _, name: f"20bn-something-something-v1/{name}")
    into_frames(root / "20bn-something-something-v1")
    names = sorted({video_class for _, video_class, _ in listed["train"]})
    write(root / "something-something-v1-labels.csv", "\n".join(names))
    for split, name in (("train", "train"), ("val", "validation")):
        lines = [f"{video};{video_class}" for video, video_class, _ in listed[split]]
        write(root / f"something-something-v1-{name}.csv", "\n".join(lines))


def into_frames(folder: Path) -> None:
    """Make a frame folder of every video of a folder."""
    for video in [*folder.glob("*.mp4")]:
        frames = video.with_suffix("")
        frames.mkdir()
        with VideoReader(video) as reader:
            for number, frame in enumerate(reader.get_frames(range(8)), 1):
                image = Image.fromarray(frame.permute(1, 2, 0).numpy())
                image.save(frames / f"{number:05d}.jpg")
        video.unlink()


def jester_form(root: Path) -> None:
    """TSM's lists beside the folder of frame folders; the class of each turn is Jester's."""
    names = ["Sliding Two Fingers {}", "Swiping {}", "Turning Hand {}"]
    sides = [("Left", "Right"), ("Left", "Right"), ("Clockwise", "Counterclockwise")]
    pairs = zip(names, sides, strict=True)
    classes = [name.format(side) for name, both in pairs for side in both]
    write(root.parent / "category.txt", "\n".join(classes))
    listed = by_split(root, lambda _, name: name)
    into_frames(root)
    for split, videos in listed.items():
        lines = [f"{name} 8 {2 * label}" for name, _, label in videos]
        write(root.parent / f"{split}_videofolder.txt", "\n".join(lines))


def something_something_v2_form(root: Path) -> None:
    """JSON lists with templates, and one folder of videos."""
    listed = by_split(root, lambda _, name: f"20bn-something-something-v2/{name}", ".webm")
    labels = {video_class: str(label) for _, video_class, label in listed["train"]}
    write(root / "labels" / "labels.json", json.dumps(labels))
    for split, name in (("train", "train"), ("val", "validation")):
        entries = [{"id": video, "template": f"[{name}]"} for video, name, _ in listed[split]]
        write(root / "labels" / f"{name}.json", json.dumps(entries))


def diving48_form(root: Path) -> None:
    """JSON lists with labels, and one folder of videos named after competitions."""
    listed = by_split(root, lambda _, name: f"rgb/dive{int(name) % 10}_{name}")
    names = {label: video_class for _, video_class, label in listed["train"]}
    vocabulary = [[names[label], "15som", "NoTwis", "PIKE"] for label in sorted(names)]
    write(root / "Diving48_vocab.json", json.dumps(vocabulary))
    for split, name in (("train", "train"), ("val", "test")):
        entries = [
            {"vid_name": f"dive{int(video) % 10}_{video}", "label": label}
            for video, _, label in listed[split]
        ]
        write(root / f"Diving48_V2_{name}.json", json.dumps(entries))


def charades_form(root: Path) -> None:
    """CSV lists with two actions of each video, and one folder of videos."""
    listed = by_split(root, lambda _, name: f"Charades_v1_480/V{name}")
    classes = [f"c{number:03d} Action {number}" for number in range(4)]
    write(root / "Charades_v1_classes.txt", "\n".join(classes))
    for split, name in (("train", "train"), ("val", "test")):
        lines = [
            f"V{video},P{video},c{label:03d} 0.00 1.00;c003 0.50 2.00"
            for video, _, label in listed[split]
        ]
        write(root / f"Charades_v1_{name}.csv", "\n".join(["id,subject,actions", *lines]))


def fine_gym_form(root: Path) -> None:
    """Lists of element ids, and cut elements."""
    clip_id = "abc_E_000010_000020_A_00{0:0>2}_00{0:0>2}"
    listed = by_split(root, lambda _, name: f"subactions/{clip_id.format(name)}")
    names = {label: video_class for _, video_class, label in listed["train"]}
    categories = [f"Clabel: {i}; set: 1; Glabel: {i}; (VT) {names[i]}" for i in sorted(names)]
    write(root / "gym99_categories.txt", "\n".join(categories))
    for split, name in (("train", "train_element_v1.0"), ("val", "val_element")):
        lines = [f"{clip_id.format(video)} {label}" for video, _, label in listed[split]]
        write(root / f"gym99_{name}.txt", "\n".join(lines))


FORMS = {
    "ucf101": ucf101_form,
    "ucf101_lists": ucf101_form,
    "hmdb51": hmdb51_form,
    "kinetics": kinetics_form,
    "moments_in_time": moments_in_time_form,
    "something_something_v1": something_something_v1_form,
    "something_something_v2": something_something_v2_form,
    "charades": charades_form,
    "diving48": diving48_form,
    "fine_gym": fine_gym_form,
    "jester": jester_form,
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
    class_folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    words = command_of(path)
    assert str(path.relative_to(PROJECT_ROOT)) in words
    kinds = [Path(word).stem for word in words if word.startswith("configs/data/")]
    own = "video_folder" if "YOUR_FOLDER" in words else "motion_shapes"
    kind = kinds[0] if kinds else own
    root = class_folders if "YOUR_FLOW" in words else folder_of_kind(kind)
    words = [str(root) if word == "YOUR_FOLDER" else word for word in words]
    words += ["--config", DEBUG, f"--data.root={root}"]
    words += [
        f"--run.folder={tmp_path}",
        "--data.loading.num_workers=0",
        "--trainer.limit_val_batches=1",
        "--trainer.max_epochs=1",  # the command's own option wins over the config
    ]
    if kind == "motion_shapes":
        words += ["--data.num_train=64", "--data.num_val=16", "--data.num_test=16"]
    if any(BIG.search(word) for word in words):
        # full networks are built and counted on the meta device elsewhere; here their tiny kin runs
        tiny = BIG.sub("_tiny", Path(next(w for w in words if BIG.search(w))).name)
        words += [f"--model.network={tiny}", "--model.init_from=null"]
    elif path.stem.endswith("_imagenet"):
        words += ["--model.network=tsm_tiny", "--model.init_from=null"]
    if "YOUR_FLOW" in words:
        pytest.importorskip("cv2", reason="needs the extra `flow`")
        flow = str(tmp_path / "flow")
        main(["flow", str(root), flow, *SMALL_FLOW])
        words = [flow if word == "YOUR_FLOW" else word for word in words]
        words += ["--model.batch_norm.batch_size=2"]
    main(words)
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    assert content["global_step"] >= 1
    assert all(torch.isfinite(value.float()).all() for value in content["state_dict"].values())


def printed_fits() -> list[list[str]]:
    """The words of every fit that README, docs, configs and the program itself print in full."""
    pages = [PROJECT_ROOT / "README.md", *(PROJECT_ROOT / "docs").glob("*.md")]
    pages += [path for path in (PROJECT_ROOT / "configs").rglob("*") if path.is_file()]
    texts = [page.read_text(encoding="utf-8").replace("\\\n", " ") for page in pages]
    scripts = r"sbatch (?:--\S+ )*configs/slurm/(?:single_node|multi_node|seeds)\.sbatch"
    starts = rf"(?:kinetoscope fit|{scripts}) (--config .*)"
    found = [line for text in (*texts, overview()) for line in re.findall(starts, text)]
    commands = [shlex.split(line, comments=True) for line in found if "..." not in line]
    return [with_configs_found(["fit", *words])[1:] for words in commands]


def test_every_printed_fit_has_an_end() -> None:
    commands = printed_fits()
    assert len(commands) > 60
    for words in commands:
        configs = [PROJECT_ROOT / words[i + 1] for i, w in enumerate(words) if w == "--config"]
        contents = [yaml.safe_load(path.read_text()) for path in configs if path.exists()]
        trainers = [content.get("trainer", {}) for content in contents]
        limits = {key for trainer in trainers for key in trainer} | {
            word.removeprefix("--trainer.") for word in words
        }
        assert limits & {"max_epochs", "max_steps"}, " ".join(words)


def test_gpu_config_asks_for_a_gpu_only_in_its_own_layer() -> None:
    asking = [path.name for path in CONFIGS if "accelerator: gpu" in path.read_text()]
    assert asking == ["gpu.yaml"]


def test_no_config_writes_what_the_data_tells() -> None:
    paths = list((PROJECT_ROOT / "configs").rglob("*.yaml"))
    assert len(paths) > len(CONFIGS) > 20  # recipes too
    for path in paths:
        assert not re.search(r"^\s*(num_classes|class_names):", path.read_text(), re.MULTILINE)


def test_debug_names_no_class_of_ours() -> None:
    assert "class_path" not in (PROJECT_ROOT / DEBUG).read_text()

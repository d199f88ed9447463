"""Small sets of real videos, from several starts: every video is tested once, over folds of groups.

UCF101's three classes in three folds of scenes; Weizmann and PS7 by leaving one person out. Each
training is that of `configs/small_videos.yaml`, its last checkpoint is tested, and the videos of
all folds are put together: one run is a training of each fold with one seed. Accuracies, intervals
and the paired test against the first start are those of `kinetoscope compare`.

    uv run python benchmarks/small_videos.py DATA --start quickstart=CHECKPOINT

DATA holds `ucf101_3class/videos`, `weizmann_4/frames` and `ps7_actions`. A fold that was tested is
kept, one that was broken off goes on. `--imagenet FILE`, a state dict in torchvision's form, adds
`configs/small_videos_imagenet.yaml`; without it that row says that it was not measured.
"""

import argparse
import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datamodules.atomic import write_atomically
from lightning_modules.cli import main as kinetoscope
from lightning_modules.dashboards.markdown import markdown_table
from lightning_modules.evaluation.comparison import compare
from lightning_modules.evaluation.score_files import Contender, Contest
from lightning_modules.evaluation.stored_scores import StoredScores, read_scores
from lightning_modules.reports.compare.rows import accuracy_rows, paired_rows

SCRATCH, IMAGENET = "scratch", "imagenet"
NOT_MEASURED = "not measured here"
SCORES = "scores_test_5x1.npz"
CPU = ("--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false")


@dataclass(frozen=True)
class Video:
    """A video, its class, and what is never divided between training and test."""

    path: str
    label: str
    group: str


@dataclass(frozen=True)
class RealSet:
    """A set of real videos.

    `pattern` finds class and group in a path below `folder`; `scene` is the group pattern of the
    score files; `classes` are the names of what `pattern` finds, in order; the groups are divided
    into `folds`.
    """

    name: str
    folder: str
    files: str
    pattern: str
    scene: str
    classes: dict[str, str]
    folds: int

    def videos(self, data: Path) -> list[Video]:
        """List the videos, in order."""
        root = data / self.folder
        found = []
        for path in sorted(root.glob(self.files)):
            inside = path.relative_to(root).as_posix()
            match = re.search(self.pattern, inside)
            if match is not None:
                found.append(Video(inside, match["label"], match["group"]))
        if not found:
            raise SystemExit(f"{root} holds no {self.files} of {self.name}; give the data's folder")
        return found

    def fold_of(self, videos: Sequence[Video]) -> dict[str, int]:
        """Give each group a fold, in turns, so that folds are alike in size."""
        groups = sorted({video.group for video in videos})
        return {group: number % self.folds for number, group in enumerate(groups)}


SETS = (
    RealSet(
        name="weizmann",
        folder="weizmann_4/frames",
        files="*",
        pattern=r"(?P<label>[^/]+)_(?P<group>person\d)$",
        scene=r"_(person\d)",
        classes={name: name for name in ("bend", "jack", "wave1", "wave2")},
        folds=6,
    ),
    RealSet(
        name="ps7",
        folder="ps7_actions",
        files="*.avi",
        pattern=r"PS7A(?P<label>\d)P(?P<group>\d)",
        scene=r"A\d(P\d)T",
        classes={"1": "arms_up_sideways", "2": "one_hand_wave", "3": "arms_up_in_front"},
        folds=2,
    ),
    RealSet(
        name="ucf101",
        folder="ucf101_3class/videos",
        files="*/*.avi",
        pattern=r"(?P<label>[^/]+)/v_[^/]+_(?P<group>g\d+)_",
        scene=r"v_([^/]+_g\d+)_",
        classes={name: name for name in ("BabyCrawling", "Punch", "PushUps")},
        folds=3,
    ),
)


@dataclass(frozen=True)
class Start:
    """Weights that a training begins with: a file, or none."""

    name: str
    weights: Path | None

    @property
    def config(self) -> str:
        """Name of the layer that is trained."""
        return "small_videos_imagenet" if self.name == IMAGENET else "small_videos"


def main() -> None:
    """Train, test, and print a table for each set."""
    options = _options()
    torch.set_num_threads(options.threads)
    starts = [Start(SCRATCH, None), *options.start]
    starts += [Start(IMAGENET, options.imagenet)] if options.imagenet else []
    sets = [real for real in SETS if real.name in options.sets]
    cells = itertools.product(sets, options.seeds, starts, range(max(s.folds for s in sets)))
    for real, seed, start, fold in cells:
        if fold < real.folds:
            measure(real, start, seed, fold, options)
    for real in sets:
        print("\n".join(summary(real, starts, options)), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = [real.name for real in SETS]
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    text = "NAME=CHECKPOINT of cost_a_tiny to start from, beside from scratch; may be repeated"
    parser.add_argument("--start", type=_start, action="append", default=[], help=text)
    parser.add_argument("--imagenet", type=Path, help="torchvision's state dict of resnet18")
    parser.add_argument("--folder", type=Path, default=Path("runs/small_videos"))
    parser.add_argument("--threads", type=int, default=1)
    text = "further options of `fit`, behind all others"
    parser.add_argument("--fit", nargs=argparse.REMAINDER, default=[], help=text)
    return parser.parse_args()


def _start(word: str) -> Start:
    name, equals, path = word.partition("=")
    if not (name and equals and Path(path).is_file()) or name in (SCRATCH, IMAGENET):
        raise argparse.ArgumentTypeError(f"{word} is no NAME=CHECKPOINT of a file that is there")
    return Start(name, Path(path))


def fold_folder(real: RealSet, start: Start, seed: int, fold: int, folder: Path) -> Path:
    """Folder of one training."""
    return folder / f"{real.name}_{start.name}_seed_{seed}" / f"fold_{fold}"


def measure(real: RealSet, start: Start, seed: int, fold: int, options: argparse.Namespace) -> None:
    """Train without the videos of a fold and test on them, unless that was done."""
    run = fold_folder(real, start, seed, fold, options.folder)
    if (run / SCORES).is_file():
        return
    lists = write_lists(real, fold, options.data, options.folder / "lists")
    common = ["--config", start.config, *CPU, *lists, "--data.val_fraction=0"]
    common += [f"--data.root={options.data / real.folder}", f"--data.group_pattern={real.scene}"]
    common += ["--data.loading.num_workers=0"]
    fit = ["fit", *common, f"--seed_everything={seed}", f"--run.folder={options.folder}"]
    fit += [f"--run.name={run.parent.name}", f"--run.version={run.name}", "--ckpt_path=last"]
    fit += ["--run.keep_best=false", *options.fit]
    if start.weights is not None:
        fit += [f"--model.init_from={start.weights}"]
    run.parent.mkdir(parents=True, exist_ok=True)
    log = run.with_suffix(".log")
    with _logged(log):
        kinetoscope(fit)
        kinetoscope(["test", *common, f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"])
    right = read_scores(run / SCORES)
    share = np.mean(right.scores.argmax(axis=1) == right.labels)
    print(f"{run.parent.name}, {run.name}: {100 * share:.1f} % of {len(right.labels)}", flush=True)


@contextlib.contextmanager
def _logged(log: Path) -> Iterator[None]:
    """Write what commands say to a file.

    Raises:
        SystemExit: If one fails.
    """
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            yield
        except SystemExit as ended:
            raise SystemExit(f"a command ended with {ended.code}; see {log}") from ended


def write_lists(real: RealSet, fold: int, data: Path, folder: Path) -> list[str]:
    """Write the lists of a fold; give the options that name them."""
    videos, labels = real.videos(data), list(real.classes)
    folds = real.fold_of(videos)
    kinds: dict[str, Callable[[Video], bool]] = {
        "train": lambda video: folds[video.group] != fold,
        "test": lambda video: folds[video.group] == fold,
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"classes_file": folder / f"{real.name}_classes.txt"}
    texts = {"classes_file": [f"{i} {name}" for i, name in enumerate(real.classes.values())]}
    for kind, belongs in kinds.items():
        key = f"{kind}_list"
        paths[key] = folder / f"{real.name}_{fold}_{kind}.txt"
        own = filter(belongs, videos)
        texts[key] = [f"{video.path} {labels.index(video.label)}" for video in own]
    for key, path in paths.items():
        write_atomically(path, "\n".join([*texts[key], ""]))
    return [f"--data.{key}={path.resolve()}" for key, path in paths.items()]


def summary(real: RealSet, starts: Sequence[Start], options: argparse.Namespace) -> list[str]:
    """Make the tables of a set: accuracies, and each start against the first."""
    contest = put_together(real, starts, options)
    found = compare(contest)
    rows = list(accuracy_rows(contest, found)[1])
    if IMAGENET not in [start.name for start in starts]:
        rows.append([IMAGENET, NOT_MEASURED, "", "", ""])
    groups = len(np.unique(contest.groups))
    title = f"{real.name}: {len(contest.labels)} videos of {groups} groups, {real.folds} folds"
    lines = ["", title, "", markdown_table(accuracy_rows(contest, found)[0], rows)]
    if found.against_first:
        lines += ["", markdown_table(*paired_rows(contest, found))]
    return lines


def put_together(real: RealSet, starts: Sequence[Start], options: argparse.Namespace) -> Contest:
    """Put the folds of each run together: every video once."""
    contenders, first = [], None
    for start in starts:
        runs = []
        for seed in options.seeds:
            folders = [
                fold_folder(real, start, seed, fold, options.folder) for fold in range(real.folds)
            ]
            runs.append([read_scores(folder / SCORES) for folder in folders])
        first = runs[0] if first is None else first
        refuse_other_videos(first, runs)
        scores = [np.concatenate([fold.scores for fold in run]) for run in runs]
        logits = [np.concatenate([fold.logits for fold in run]) for run in runs]
        contenders.append(Contender(start.name, scores, runs[0][0].protocol, logits))
    assert first is not None
    ids = [video for fold in first for video in fold.video_ids]
    names = [group for fold in first for group in fold.groups]
    if len(set(ids)) < len(ids):
        raise SystemExit(f"a video of {real.name} was tested in two folds")
    groups = np.unique(names, return_inverse=True)[1]
    labels = np.concatenate([fold.labels for fold in first])
    return Contest(ids, labels, first[0].class_names, contenders, groups)


def refuse_other_videos(first: list[StoredScores], runs: Sequence[list[StoredScores]]) -> None:
    """End where runs were tested on other videos, or in another order."""
    for run in runs:
        for ours, theirs in zip(first, run, strict=True):
            if (ours.video_ids, ours.class_names) != (theirs.video_ids, theirs.class_names):
                raise SystemExit(f"{ours.path} and {theirs.path} hold other videos; remove one")


if __name__ == "__main__":
    main()

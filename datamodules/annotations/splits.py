"""The splits of a dataset: videos held out, videos missing, and checks that none overlap."""

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.annotations.label_form import SINGLE, LabelForm
from datamodules.annotations.listed_videos import ListedVideos, Split
from datamodules.annotations.remarks import Remark, Remarks
from datamodules.annotations.table import PackedStrings, VideoTable
from datamodules.errors import UserError
from datamodules.randomness import sample_generator

__all__ = [
    "Lists",
    "check_classes_kept",
    "check_disjoint",
    "describe_test_split",
    "divide",
    "held_out_groups",
    "held_out_videos",
    "report_counts",
    "report_missing",
    "without_collector",
]


@contextmanager
def without_collector() -> Iterator[None]:
    """Pause the search for reference cycles, which takes longer than reading a million lines."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


@dataclass
class Lists:
    """Contents of the lists of a dataset.

    Attributes:
        tables: The videos of each split.
        sources: Scene, source video or person of each test video.
        test_split_name: What the test videos really are.
        facts: What else the dataset learned from its lists, as JSON has it.
        remarks: What was remarked on them.
        are_kept: Whether they come from the cache.
    """

    tables: dict[Split, VideoTable]
    sources: PackedStrings
    test_split_name: str
    facts: dict[str, Any] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    are_kept: bool = False


UNDIVIDED = "the training videos of each class are one group, or one video, which stays whole"
"""Why no videos of a training list are held out for validation, where some were wanted."""


def divide(
    lists: Mapping[Split, ListedVideos | None],
    official: Mapping[Split, int],
    hold_out: Callable[[ListedVideos], tuple[ListedVideos, ListedVideos]],
    wanted: bool,
    remarks: Remarks,
) -> dict[Split, ListedVideos]:
    """Make the three splits of a dataset, whose lists may lack some.

    Args:
        lists: The listed videos of each split; None where there is no such list.
        official: Number of videos in the official lists, where it is known.
        hold_out: Divides the training videos into train and val; used where there is no val.
        wanted: Whether it is meant to find some.
        remarks: The dataset's remarks, to add to.

    Raises:
        UserError: If a video is in training and in another split.
    """
    train, val, test = lists["train"], lists["val"], lists["test"]
    if train is None:
        sentence = "there is no list of training videos, so there is nothing to train on"
        remarks.add("splits", sentence)
        train = ListedVideos([], [])
    report_counts({"train": train, "val": val, "test": test}, official, remarks)
    held_out, own_test = val is None, test is not None
    if val is None:
        train, val = hold_out(train)
    if not val:
        why = f", as {UNDIVIDED}" if held_out and wanted and train else ""
        sentence = f"no validation split{why}: nothing is validated, no best checkpoint is kept"
        remarks.add("splits", sentence)
    if test is None:
        remarks.add("splits", "no test split: the validation videos are the test set")
        test = val
    check_disjoint("val", val.video_ids, [train.video_ids])
    if own_test:
        fitted = [train.video_ids, val.video_ids] if held_out else [train.video_ids]
        check_disjoint("test", test.video_ids, fitted)
    return {"train": train, "val": val, "test": test}


def describe_test_split(lists: Mapping[Split, ListedVideos | None], reported: Split) -> str:
    """Say what the test videos of `divide` really are.

    Args:
        lists: The listed videos of each split; None where there is no such list.
        reported: Split that the field reports.

    Returns:
        `test`; `validation` where the field reports that; else why validation videos are tested.
    """
    if lists["test"] is not None:
        return "test"
    name = "validation" if lists["val"] is not None else "validation held out of training"
    return name if reported == "val" else f"{name} (no test list)"


def held_out_videos(
    train: ListedVideos,
    groups: Sequence[str],
    fraction: float,
    seed: int,
    names: Mapping[str, str],
    form: LabelForm = SINGLE,
) -> tuple[ListedVideos, ListedVideos]:
    """Divide the training videos into train and val, as a function of the seed.

    Args:
        train: The training videos.
        groups: Each one's group; videos of one group are never divided.
        fraction: Share of the videos to hold out; 0 for none.
        seed: Seed of the draw.
        names: Class as written -> its name.
        form: What a label is.

    Raises:
        UserError: If all training videos of a class would be held out.
    """
    if fraction == 0 or not train:
        return train, train.take(np.array([], np.int64))
    if form.is_single:
        held = held_out_groups(train, groups, fraction, seed)
    else:
        held = _held_of_several(train, groups, fraction, seed, form)
    is_held = np.array([group in held for group in groups])
    kept, val = train.take(np.flatnonzero(~is_held)), train.take(np.flatnonzero(is_held))
    if form.is_single:  # of several, no group is held out that a class cannot do without
        check_classes_kept(train.labels, kept.labels, fraction, names)
    return kept, val


def held_out_groups(
    videos: ListedVideos, groups: Sequence[str], fraction: float, seed: int
) -> set[str]:
    """Draw the groups to hold out.

    Where no group spans two classes, they are drawn class by class, otherwise from all of them.

    Args:
        videos: The training videos.
        groups: Each one's group; videos of one group are never divided.
        fraction: Share of the videos to hold out, above 0.
        seed: Seed of the draw.
    """
    spans = set(zip(groups, videos.labels, strict=True))
    are_classes = len(spans) == len(set(videos.labels)) < len(groups)  # which none can do without
    if len(spans) > len(set(groups)) or are_classes:
        return _held_of_all(Counter(groups), fraction, seed)
    return _held_of_classes(videos, groups, fraction, seed)


def _held_of_classes(
    videos: ListedVideos, groups: Sequence[str], fraction: float, seed: int
) -> set[str]:
    """Draw a share of each class's videos, at least one group of two, never the only one."""
    draw = sample_generator(seed, 0, 0, purpose="val_fraction")
    classes: dict[str, Counter[str]] = {}
    # by name, so that it does not matter how the videos lie on disk
    for _, label, group in sorted(zip(videos.video_ids, videos.labels, groups, strict=True)):
        classes.setdefault(label, Counter())[group] += 1
    held = set[str]()
    for _, sizes in sorted(classes.items()):
        target, taken, members = max(round(fraction * sizes.total()), 1), 0, list(sizes)
        for position in draw.permutation(len(members))[:-1]:
            if taken < target:
                held.add(members[position])
                taken += sizes[members[position]]
    return held


def _held_of_all(sizes: Mapping[str, int], fraction: float, seed: int) -> set[str]:
    """Draw whole groups until they make up the share, never all of them."""
    groups = sorted(sizes)
    order = sample_generator(seed, 0, 0, purpose="val_fraction").permutation(len(groups))
    target, held, taken = fraction * sum(sizes.values()), set[str](), 0
    for position in order:
        if taken >= target or len(held) == len(groups) - 1:
            break
        held.add(groups[position])
        taken += sizes[groups[position]]
    return held


def _held_of_several(
    videos: ListedVideos, groups: Sequence[str], fraction: float, seed: int, form: LabelForm
) -> set[str]:
    """Draw whole groups of videos with several classes, none that is a class's last one."""
    own: dict[str, Counter[str]] = {}
    sizes = Counter(groups)
    for label, group in zip(videos.labels, groups, strict=True):
        own.setdefault(group, Counter()).update(form.classes_in(label))
    left = Counter[str]()
    for counts in own.values():
        left.update(counts)
    order = sample_generator(seed, 0, 0, purpose="val_fraction").permutation(len(own))
    names, target, held, taken = sorted(own), fraction * len(videos), set[str](), 0
    for position in order:
        group = names[position]
        if taken >= target or len(held) == len(names) - 1:
            break
        if all(left[name] > count for name, count in own[group].items()):
            left.subtract(own[group])
            held.add(group)
            taken += sizes[group]
    return held


def check_classes_kept(
    train: Iterable[str],
    kept: Iterable[str],
    fraction: float,
    names: Mapping[str, str],
) -> None:
    """Refuse to hold out all training videos of a class.

    Args:
        train: Class of every training video, as it is written.
        kept: Class of those that are not held out.
        fraction: Share that was to be held out.
        names: Class as written -> its name.

    Raises:
        UserError: If a class of `train` is not in `kept`.
    """
    lost = sorted(set(train) - set(kept))
    if lost:
        lost_names = ", ".join(names.get(label, label) for label in lost[:10])
        raise UserError(
            f"data.val_fraction={fraction} holds out every training video of {lost_names}; lower "
            "data.val_fraction, give a validation list, or make the groups smaller"
        )


def check_disjoint(split: Split, ids: Iterable[str], training: Iterable[Iterable[str]]) -> None:
    """Refuse a split that shares videos with training.

    Args:
        split: The split.
        ids: Its video ids.
        training: Video ids of the splits that a model is fitted or chosen on.

    Raises:
        UserError: If one is in both.
    """
    shared = sorted(set(ids).intersection(chain.from_iterable(training)))
    if shared:
        raise UserError(
            f"{len(shared)} video(s) are listed both for training and for {split}, for instance "
            f"{shared[0]}; remove them from one of the two lists"
        )


def report_counts(
    lists: Mapping[Split, ListedVideos | None], official: Mapping[Split, int], remarks: Remarks
) -> None:
    """Remark on a list that is longer or shorter than the official one.

    Args:
        lists: The listed videos of each split.
        official: Number of videos in the official lists.
        remarks: The dataset's remarks, to add to.
    """
    for split, count in official.items():
        videos = lists[split]
        listed = 0 if videos is None else len(videos)
        if listed != count:
            sentence = f"{split}: the list names {listed} videos, the official one {count}"
            remarks.add("counts", sentence)


def report_missing(
    split: Split, table: VideoTable, root: Path, allow_missing: bool, remarks: Remarks
) -> None:
    """Remark on the listed videos that are not there.

    Args:
        split: The split.
        table: Its videos.
        root: Folder of the dataset.
        allow_missing: Accept that all are missing.
        remarks: The dataset's remarks, to add to.

    Raises:
        UserError: If all are missing and that is not allowed.
    """
    missing = len(table) - len(table.present)
    if not missing:
        return
    if missing == len(table) and not allow_missing:
        raise UserError(
            f"none of the {len(table)} listed {split} videos is below {root}, for instance "
            f"{table.paths[0]}; set data.root to the folder that holds them"
        )
    remarks.add("missing", f"{split}: {missing} of {len(table)} listed videos are missing")

"""Faults in the lists of a dataset: counts, missing files, classes, leakage."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from datamodules.annotations.listed_videos import Split
from datamodules.health.findings import Finding, Level, ListedSplit

IMBALANCE = 10
"""Times that the largest class may exceed the smallest without a note."""


def check_counts(
    splits: Sequence[ListedSplit], official: Mapping[Split, int], num_classes: int
) -> list[Finding]:
    """Hold the lists' lengths against the official ones.

    Args:
        splits: The lists.
        official: Number of videos in the official lists, where they are known.
        num_classes: Number of classes.
    """
    lengths: dict[Split, int] = {split.name: len(split.table) for split in splits}
    findings = []
    for name, count in official.items():
        listed = lengths.get(name, 0)
        if listed != count:
            findings.append(
                Finding(
                    "warning",
                    "counts",
                    f"The {name} list names {listed:,} videos, the official one {count:,}: results "
                    "are not comparable with published ones; use the official lists, or report "
                    "the difference.",
                )
            )
    if not findings:
        said = ", ".join(f"{count:,} {name}" for name, count in lengths.items())
        as_official = ", as the official ones do" if official else ""
        text = f"The lists name {said} videos of {num_classes} classes{as_official}."
        findings.append(Finding("note", "counts", text))
    return findings


def check_missing(splits: Sequence[ListedSplit], allow_missing: bool) -> list[Finding]:
    """Find the listed videos that are not there.

    Args:
        splits: The lists.
        allow_missing: True if a fit would begin without any file for validation or test.
    """
    if not any(len(split.table.present) for split in splits):
        example = [split.table.paths[0] for split in splits if len(split.table)][:1]
        text = (
            "None of the listed videos is there: there is nothing to train or test on; set "
            f"data.root (now {splits[0].root}) to the folder that holds them."
        )
        return [Finding("fatal", "no videos", text, example)]
    findings = []
    if not any(split.name == "train" and len(split.table) for split in splits):
        text = (
            "No list names training videos: this dataset can be tested on, not trained on; "
            "complete the download."
        )
        findings.append(Finding("fatal", "missing", text))
    for split in splits:
        missing, listed = split.table.missing, len(split.table)
        if not missing:
            continue
        if len(missing) == listed and split.name == "train":
            level: Level = "fatal"
            text = (
                f"None of the {listed:,} listed train videos is there: this dataset can be tested "
                "on, not trained on; complete the download."
            )
        elif len(missing) == listed:
            level = "warning" if allow_missing else "fatal"
            text = (
                f"None of the {listed:,} listed {split.name} videos is there: a fit does not begin "
                "without them; complete the download, or set data.allow_missing=true to do "
                "without this split."
            )
        else:
            level, share = "warning", 100 * len(missing) / listed
            text = (
                f"{len(missing):,} of {listed:,} listed {split.name} videos ({share:.1f} %) are "
                f"not there: they are left out, so results are of fewer videos; get those in "
                f"missing_{split.name}.csv, or report the number."
            )
        findings.append(Finding(level, "missing", text, missing))
    return findings


def check_classes(splits: Sequence[ListedSplit], class_names: Sequence[str]) -> list[Finding]:
    """Find classes without usable videos, and how unequal the classes are.

    Args:
        splits: The lists.
        class_names: Names of the classes in label order.
    """
    findings = []
    for split in splits:
        counts = split.per_class(len(class_names))
        if not counts.any():  # said already, for the whole split
            continue
        empty = [class_names[label] for label in np.flatnonzero(counts == 0).tolist()]
        if empty and split.name == "train":
            text = (
                f"{len(empty)} of {len(class_names)} classes have no usable training video: they "
                "can never be predicted; complete the download, or take them out of the lists."
            )
            findings.append(Finding("fatal", "empty class", text, empty))
        elif empty:
            text = (
                f"{len(empty)} of {len(class_names)} classes have no usable {split.name} video: "
                "nothing is known of them after an evaluation; complete the download."
            )
            findings.append(Finding("warning", "empty class", text, empty))
        if split.name == "train":
            findings += _balance(counts[counts > 0], counts, class_names)
    return findings


def _balance(filled: np.ndarray, counts: np.ndarray, class_names: Sequence[str]) -> list[Finding]:
    most, least = int(filled.max()), int(filled.min())
    if most < IMBALANCE * least:
        return []
    rare = [f"{class_names[i]}: {counts[i]}" for i in np.argsort(counts).tolist()]
    text = (
        f"The largest class has {most:,} training videos, the smallest {least:,}: top-1 accuracy "
        "says little about rare classes; look at per_class.csv of the run too."
    )
    return [Finding("note", "balance", text, rare)]


def check_leakage(splits: Sequence[ListedSplit], official: bool) -> list[Finding]:
    """Find videos, and groups of videos, that are in training and in another split.

    Args:
        splits: The lists.
        official: True if the lists are a dataset's official ones, whose groups nobody can change.
    """
    train = next((split for split in splits if split.name == "train"), None)
    if train is None:
        return []
    train_ids, train_groups = set(train.table.video_ids), Counter(train.groups)
    findings = []
    for split in splits:
        if split is train:
            continue
        ids = list(split.table.video_ids)
        shared = [name for name in ids if name in train_ids]
        if shared:
            text = (
                f"{len(shared):,} of {len(ids):,} {split.name} videos are listed for training too: "
                "accuracy on them shows memory, and a fit refuses such lists; remove them from "
                "one of the two lists."
            )
            findings.append(Finding("fatal", "leakage", text, shared))
        related = [
            f"{name} ({group})"
            for name, group in zip(ids, split.groups, strict=True)
            if group in train_groups and name not in train_ids
        ]
        if related:
            findings.append(_related(split, related, official))
    return findings


def _related(split: ListedSplit, related: Sequence[str], official: bool) -> Finding:
    text = (
        f"{len(related):,} of {len(split.table):,} {split.name} videos come from a group (scene, "
        "person, source video) that training shows too: accuracy is too high for new scenes; "
    )
    if official:
        text += "the official lists are like this, so keep them and say so."
        return Finding("warning", "leakage", text, related)
    return Finding("fatal", "leakage", text + "divide the lists by group.", related)

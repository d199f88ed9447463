"""The division of a dataset that a fit makes: training, validation and test, and their origin."""

from collections.abc import Sequence
from dataclasses import dataclass

from datamodules.annotations.listed_videos import Split
from datamodules.annotations.splits import UNDIVIDED
from datamodules.base import VideoDataModule
from datamodules.health.findings import ListedSplit


@dataclass(frozen=True)
class Division:
    """One of the three splits that a fit and its test have.

    Attributes:
        split: Name of the split.
        videos: Number of its videos.
        found: Number of those that are there.
        origin: Where they come from, in words.
    """

    split: Split
    videos: int
    found: int
    origin: str


def division_of_fit(data: VideoDataModule, lists: Sequence[ListedSplit]) -> list[Division]:
    """Tell how a fit divides a dataset.

    Args:
        data: The dataset, set up.
        lists: Its own lists.
    """
    listed = {split.name: split for split in lists}
    has_val, has_test = "val" in listed, "test" in listed
    train, val = data.train_set, data.val_set
    held = "the validation list"
    if not has_val:
        held = _held_out(data, listed["train"]) if "train" in listed else "none"
    rest = ", less what is held out" if not has_val and len(val) else ""
    test = "the test list" if has_test else "the validation videos, as there is no test list"
    origins: dict[Split, str] = {"train": f"the train list{rest}", "val": held, "test": test}
    sets = {"train": train, "val": val, "test": data.test_set}
    return [
        Division(name, len(sets[name]), len(sets[name].table.present), origin)
        for name, origin in origins.items()
    ]


def _held_out(data: VideoDataModule, train: ListedSplit) -> str:
    if not len(data.val_set):
        why = UNDIVIDED if data.val_fraction else "data.val_fraction=0"
        return f"none: nothing is validated ({why})"
    whole = ", whole groups" if len(set(train.groups)) < len(train.groups) else ""
    return f"held out of the train list (data.val_fraction={data.val_fraction:g}{whole})"

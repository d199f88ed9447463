"""Near-duplicates between the training videos of a dataset and those of its other splits."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from datamodules.annotations.listed_videos import Split
from datamodules.health.decode_check import Part
from datamodules.health.findings import Finding, ListedSplit, count_of
from datamodules.health.fingerprints import RATE, Fingerprint, unpacked
from datamodules.health.near_duplicates import LEAST_FRAMES, Likeness, near_duplicates

__all__ = ["NearPair", "check_near_duplicates", "find_near_pairs"]

_AT_ONCE = 256
"""Videos that are searched for together."""


class _Video(NamedTuple):
    """A video with its fingerprint."""

    path: str
    part: Part
    source: str
    frames: Fingerprint


class NearPair(NamedTuple):
    """A video that shows the same moments as one of training.

    Attributes:
        split: Split of the video.
        video: Its path relative to the root.
        training: Path of the training video.
        parts: Both, as they are opened.
        moments: The same moment in both, in seconds from the start of each.
        likeness: How alike they are; the training video is the second one.
        is_one_group: True if both are of one scene, person or source video by the dataset's own
            groups, so that they are expected to be alike.
    """

    split: Split
    video: str
    training: str
    parts: tuple[Part, Part]
    moments: tuple[float, float]
    likeness: Likeness
    is_one_group: bool

    def __str__(self) -> str:
        return f"{self.video} = {self.training} ({self.how})"

    @property
    def how(self) -> str:
        """The kind of likeness, in a few words."""
        alike = self.likeness
        words = (
            f"{alike.score:.2f} alike",
            "mirrored" if alike.is_mirrored else "",
            f"{abs(alike.shift):.1f} s apart" if alike.shift else "",
            "one group" if self.is_one_group else "",
        )
        return ", ".join(filter(None, words))

    def as_dict(self) -> dict[str, object]:
        """Convert to plain values, for other programs."""
        return {
            "split": self.split,
            "video": self.video,
            "training": self.training,
            "score": round(self.likeness.score, 3),
            "view": round(self.likeness.view, 3),
            "shift": self.likeness.shift,
            "mirrored": self.likeness.is_mirrored,
            "one_group": self.is_one_group,
        }


def find_near_pairs(
    splits: Sequence[ListedSplit], equal: Mapping[str, int]
) -> Iterator[tuple[int, list[NearPair]]]:
    """Hold the videos of every other split against those of training.

    Args:
        splits: The splits as they are used, with their sources as groups, decoded with
            fingerprints.
        equal: Number of the set of equal files that a path is in; their pairs are left out.

    Yields:
        The number of videos that were looked at, and the pairs they are in, some at a time.
    """
    training = [video for split in splits if split.name == "train" for video in _videos(split)]
    for split in splits:
        videos = [] if split.name == "train" else list(_videos(split))
        for first in range(0, len(videos), _AT_ONCE):
            some = videos[first : first + _AT_ONCE]
            found = near_duplicates([v.frames for v in some], [v.frames for v in training])
            pairs = [_pair(split.name, some[i], training[j], alike) for i, j, alike in found]
            yield len(some), [p for p in pairs if not _is_equal(p, equal)]


def _videos(split: ListedSplit) -> Iterator[_Video]:
    """Yield the videos that have a fingerprint long enough."""
    paths, parts = split.table.paths, list(split.parts())
    for index, result in split.decoded.items():
        frames = unpacked(result.fingerprint)
        if len(frames) >= LEAST_FRAMES:
            yield _Video(paths[index], parts[index], split.groups[index], frames)


def _pair(split: Split, ours: _Video, theirs: _Video, alike: Likeness) -> NearPair:
    begins = max(0.0, alike.shift), max(0.0, -alike.shift)
    lengths = (len(video.frames) / RATE for video in (ours, theirs))
    middle = min(length - begin for length, begin in zip(lengths, begins, strict=True)) / 2
    is_one_group = ours.part.path == theirs.part.path or ours.source == theirs.source != ""
    return NearPair(
        split=split,
        video=ours.path,
        training=theirs.path,
        parts=(ours.part, theirs.part),
        moments=(begins[0] + middle, begins[1] + middle),
        likeness=alike,
        is_one_group=is_one_group,
    )


def _is_equal(pair: NearPair, equal: Mapping[str, int]) -> bool:
    number = equal.get(pair.video)
    return number is not None and number == equal.get(pair.training)


def check_near_duplicates(
    splits: Sequence[ListedSplit], pairs: Sequence[NearPair]
) -> list[Finding]:
    """Report the near-duplicates in the splits that a model is chosen or judged on.

    Args:
        splits: The splits as they are used, decoded with fingerprints.
        pairs: The pairs found.
    """
    findings = []
    for split in splits:
        if split.name == "train":
            continue
        ours = [pair for pair in pairs if pair.split == split.name and not pair.is_one_group]
        if ours:
            videos, mirrored = {pair.parts[0] for pair in ours}, _mirrored(ours)
            text = (
                f"{len(videos):,} of {len(split.table):,} {split.name} videos show the same "
                f"moments as a training video{mirrored}, though no file is equal: accuracy on them "
                "shows memory; look at the pairs on the page, and take one of each out of its "
                "list, or report how many they are."
            )
            findings.append(Finding("warning", "near-duplicates", text, list(map(str, ours))))
        related = [pair for pair in pairs if pair.split == split.name and pair.is_one_group]
        if related:
            text = (
                f"{count_of(len(related), 'pair')} of near-duplicates of one group (scene, person, "
                f"source video) in training and {split.name}{_mirrored(related)}: not counted as "
                "leaks, as the groups are known; divide by group to be rid of them."
            )
            findings.append(Finding("note", "near-duplicates", text, list(map(str, related))))
    return [*findings, _summary(splits, found=bool(findings))]


def _mirrored(pairs: Sequence[NearPair]) -> str:
    count = sum(pair.likeness.is_mirrored for pair in pairs)
    return f" ({count:,} mirrored)" if count else ""


def _summary(splits: Sequence[ListedSplit], found: bool) -> Finding:
    """Say how many videos were compared."""
    there = sum(len(split.table.present) for split in splits)
    compared = {split.name: sum(1 for _ in _videos(split)) for split in splits}
    others = sum(count for name, count in compared.items() if name != "train")
    left = there - sum(compared.values())
    without = f"; {count_of(left, 'other')} not: broken, or under half a second" if left else ""
    text = (
        f"{count_of(others, 'video')} of other splits were held against "
        f"{count_of(compared.get('train', 0), 'training video')}"
        f"{'' if found else ', and none of them shows the same moments'}{without}."
    )
    return Finding("note", "near-duplicates", text)

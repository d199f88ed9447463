"""Faults in the videos of a dataset: unreadable, short, odd, equal, unlisted."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from datamodules.clips.input_spec import InputSpec
from datamodules.health.decode_check import DecodeResult, Verdict
from datamodules.health.findings import Finding, Level, ListedSplit, count_of


class Advice(NamedTuple):
    """The meaning of a verdict, and its remedy."""

    meaning: str
    remedy: str


_AGAIN = "download them again"
ADVICE: dict[Verdict, Advice] = {
    "missing": Advice("vanished while they were examined", "look at the disk, then run this again"),
    "not a file": Advice("are no regular files", "replace them by video files"),
    "unreadable": Advice("cannot be read", "check permissions and the disk, then run this again"),
    "empty file": Advice("hold no byte", _AGAIN),
    "not a video": Advice("are something else, such as a web page that says an error", _AGAIN),
    "no video stream": Advice("hold no pictures, often only sound", "leave them out of the lists"),
    "no decoder": Advice("use a codec that PyAV cannot decode here", "re-encode them, as H.264"),
    "no frames": Advice("hold no picture that decodes", _AGAIN),
    "too large": Advice("have frames of more pixels than are decoded", "re-encode them smaller"),
    "truncated": Advice("end before the frames they promise", f"{_AGAIN}, the copy broke off"),
    "incomplete": Advice(
        "lack frames: parts of the files are holes", f"{_AGAIN}, parts of the copy are missing"
    ),
    "damaged": Advice("hold frames that do not decode", f"{_AGAIN}, or re-encode what is left"),
    "changing size": Advice("change their size midway", "re-encode them at one size"),
    "missing frame": Advice("lack images in their numbering", "extract their frames again"),
    "empty segment": Advice(
        "show no frame in their listed time", "download the whole file, or correct the list"
    ),
    "no times": Advice(
        "are stretches of frame folders, whose images carry no times", "give the video files"
    ),
    "time limit": Advice(
        "take longer to decode than the time limit", "look at them, or raise --limit"
    ),
    "crash": Advice("end the process that decodes them", "re-encode them, or leave them out"),
}

SHARE = 0.05
"""Share of videos from which an oddity is a warning, not a note."""

LONGEST_SIDE_RATIO = 3
RATE_RATIO = 1.5
PLAUSIBLE_RATES = (5, 121)


def check_decoding(splits: Sequence[ListedSplit]) -> list[Finding]:
    """Name the videos that cannot be decoded, one finding for each reason.

    Args:
        splits: The lists, with their decode results.
    """
    decoded = {result.part: result for split in splits for result in split.decoded.values()}
    by_verdict: dict[Verdict, list[str]] = defaultdict(list)
    for split in splits:
        for index, result in split.broken.items():
            if result.verdict is not None:
                by_verdict[result.verdict].append(split.table.paths[index])
    findings = []
    for verdict, paths in sorted(by_verdict.items(), key=lambda pair: -len(set(pair[1]))):
        names = list(dict.fromkeys(paths))
        advice = ADVICE[verdict]
        text = (
            f"{len(names):,} of {len(decoded):,} decoded videos ({verdict}) {advice.meaning}: "
            "training puts others in their place, an evaluation goes without them; "
            f"{advice.remedy}."
        )
        findings.append(Finding("warning", verdict, text, names))
    if decoded and not findings:
        text = f"Every frame of the {count_of(len(decoded), 'decoded video')} could be read."
        findings.append(Finding("note", "decoding", text))
    return findings


def check_broken_share(train: ListedSplit, allowed: float) -> list[Finding]:
    """Predict if a training would stop because too many videos are broken.

    Args:
        train: The training list, with its decode results.
        allowed: Share of the listed videos that may be broken.
    """
    # one that takes long may be a long one
    broken = sum(result.verdict != "time limit" for result in train.broken.values())
    decoded, listed = len(train.decoded), len(train.table)
    if not broken:
        return []
    limit = f"data.max_broken_fraction ({100 * allowed:g} %)"
    repair = "repair them, take them out of the list, or allow more"
    if broken > allowed * listed:
        text = (
            f"{broken:,} of {count_of(listed, 'listed training video')} cannot be decoded, more "
            f"than {limit}: a training stops; {repair}."
        )
        return [Finding("fatal", "broken share", text)]
    if train.is_complete:
        return []
    share = broken / decoded
    about = f"{broken:,} of {decoded:,} decoded training videos ({100 * share:.1f} %) are broken"
    if _lowest_share(broken, decoded) > allowed:
        text = f"{about}, surely more than {limit} in all: a training stops; {repair}."
        return [Finding("fatal", "broken share", text)]
    if share > allowed:
        text = f"{about}: if the others are alike, {limit} is exceeded; run this with --full."
        return [Finding("warning", "broken share", text)]
    return []


def _lowest_share(hits: int, draws: int) -> float:
    """Compute the lower end of the 95 % interval of a share (Wilson, 1927)."""
    z = 1.96
    centre = hits + z * z / 2
    spread = z * math.sqrt(hits * (draws - hits) / draws + z * z / 4)
    return (centre - spread) / (draws + z * z)


class _Readable:
    """The videos that decode, each once, with names for examples."""

    def __init__(self, splits: Sequence[ListedSplit]) -> None:
        found: dict[DecodeResult, str] = {}
        for split in splits:
            for index, result in split.decoded.items():
                if result.verdict is None:
                    found.setdefault(result, split.table.paths[index])
        self.results = list(found)
        self._names = found

    def finding(self, check: str, odd: Mapping[DecodeResult, str], text: str) -> list[Finding]:
        """Make a finding about odd videos, a warning where they are many; none if there are none.

        Args:
            check: Name of the check.
            odd: The odd videos, and the oddity of each.
            text: The sentence after their number and "videos".
        """
        if not odd:
            return []
        level: Level = "warning" if len(odd) > SHARE * len(self.results) else "note"
        sentence = f"{len(odd):,} of {len(self.results):,} decoded videos {text}"
        names = [f"{self._names[result]} ({what})" for result, what in odd.items()]
        return [Finding(level, check, sentence, names, [result.part for result in odd])]


def check_shapes(splits: Sequence[ListedSplit], spec: InputSpec) -> list[Finding]:
    """Find videos that are too short, too small, too large, or of odd shape or frame rate.

    Args:
        splits: The lists, with their decode results.
        spec: Sampling and crops of the clips made of them.
    """
    readable = _Readable(splits)
    if not readable.results:
        return []
    return [*_lengths(readable, spec), *_sizes(readable, spec), *_rates(readable, spec)]


def clip_span(spec: InputSpec) -> int:
    """Count the frames that a video needs so that no frame of a clip is repeated."""
    sampling = spec.sampling
    return 1 + (sampling.clip_len - 1) * (sampling.frame_stride or 1)


def _lengths(readable: _Readable, spec: InputSpec) -> list[Finding]:
    span = clip_span(spec)
    single = {p: "1 frame" for p in readable.results if p.num_frames == 1}
    short = {p: f"{p.num_frames} frames" for p in readable.results if 1 < p.num_frames < span}
    dense = spec.sampling.frame_stride is not None
    how = "run through them again from the start" if dense else "show frames several times"
    return [
        *readable.finding(
            "single frame",
            single,
            "have one frame: nothing moves in them; check where they come from, or leave them out.",
        ),
        *readable.finding(
            "short",
            short,
            f"have fewer than the {span} frames that a clip of {spec.sampling.describe()} spans: "
            f"their clips {how}; take fewer frames if they are many.",
        ),
    ]


def _sizes(readable: _Readable, spec: InputSpec) -> list[Finding]:
    wanted = spec.crops.side
    sides = {p: (min(p.height, p.width), max(p.height, p.width)) for p in readable.results}
    small = {p: f"{p.width}x{p.height}" for p, (short, _) in sides.items() if short < wanted / 2}
    large = {p: f"{p.width}x{p.height}" for p, (short, _) in sides.items() if short > 2 * wanted}
    narrow = {
        p: f"{p.width}x{p.height}"
        for p, (short, long) in sides.items()
        if long > LONGEST_SIDE_RATIO * short
    }
    usual = Counter(f"{p.width}x{p.height}" for p in readable.results).most_common()
    findings = [
        *readable.finding(
            "small",
            small,
            f"have less than half of the {wanted} px that their short side is resized to: their "
            "clips are blurred; a smaller data.crops.short_side and data.crops.size costs less and "
            "shows as much.",
        ),
        *readable.finding(
            "large",
            large,
            f"have more than twice the {wanted} px that their short side is resized to: most of "
            "the decoding is for nothing; `kinetoscope transcode` writes them once at the size "
            "that is needed.",
        ),
        *readable.finding(
            "narrow",
            narrow,
            f"are more than {LONGEST_SIDE_RATIO} times as long as wide: a crop sees little of "
            "them; check for bars at the sides, or test with more crops.",
        ),
    ]
    if len(usual) > 1:
        counts = [f"{size}: {count}" for size, count in usual]
        text = (
            f"There are {len(usual)} frame sizes, {usual[0][0]} the most common "
            f"({100 * usual[0][1] / len(readable.results):.0f} %): all are resized to a short side "
            f"of {wanted} px, nothing is to be done."
        )
        findings.append(Finding("note", "sizes", text, counts))
    return findings


def _rates(readable: _Readable, spec: InputSpec) -> list[Finding]:
    files = [p for p in readable.results if p.frame_rate and p.num_frames > 1]
    if not files:
        return []
    low, high = PLAUSIBLE_RATES
    wrong = {p: f"{p.frame_rate:.4g} fps" for p in files if not low <= p.frame_rate <= high}
    findings = readable.finding(
        "frame rate",
        wrong,
        f"claim a frame rate outside {low} to {high - 1} fps: they are sped up, slow, or of broken "
        "headers; look at some of them.",
    )
    usual = float(np.median([p.frame_rate for p in files]))
    odd = {
        p: f"{p.frame_rate:.4g} fps"
        for p in files
        if p not in wrong and not usual / RATE_RATIO <= p.frame_rate <= usual * RATE_RATIO
    }
    if spec.sampling.frame_stride is None:
        return findings
    return findings + readable.finding(
        "frame rate",
        odd,
        f"differ from the usual {usual:.4g} fps by more than a half: {spec.sampling.describe()} "
        "of them span another time; re-encode them at one rate, or sample segments instead.",
    )


def check_equal_files(
    splits: Sequence[ListedSplit], groups: Sequence[Sequence[str]], official: bool
) -> list[Finding]:
    """Name the files that are there more than once.

    Args:
        splits: The lists.
        groups: Groups of equal files, as paths relative to the root.
        official: True if the lists are a dataset's official ones.
    """
    names, labels = defaultdict[str, set[str]](set), defaultdict[str, set[bytes]](set)
    for split in splits:
        for index, path in split.present_paths().items():
            names[path].add(split.name)
            labels[path].add(np.asarray(split.table.label(index)).tobytes())
    leaking, contradicting, harmless = list[str](), list[str](), list[str]()
    for group in groups:
        in_splits = set[str]().union(*(names[path] for path in group))
        if "train" in in_splits and len(in_splits) > 1:
            kind = leaking
        elif len(set[bytes]().union(*(labels[path] for path in group))) > 1:
            kind = contradicting
        else:
            kind = harmless
        kind.append(" = ".join(group))
    findings: list[tuple[Level, list[str], str]] = [
        (
            "warning" if official else "fatal",
            leaking,
            "reach from training into another split: accuracy on them shows memory; take them out "
            "of one of the lists, or report how many they are.",
        ),
        (
            "warning",
            contradicting,
            "carry different labels: at least one of them is wrong; decide which.",
        ),
        ("note", harmless, "carry one label: such videos only weigh more; leave one of each."),
    ]
    return [
        Finding(level, "equal files", f"{count_of(len(lines), 'set')} of equal files {text}", lines)
        for level, lines, text in findings
        if lines
    ]


def check_unlisted(folders: Mapping[str, int]) -> list[Finding]:
    """Report the number of videos below the root that no list names.

    Args:
        folders: Folder -> number of videos in it.
    """
    total = sum(folders.values())
    if not total:
        return []
    ranked = sorted(folders.items(), key=lambda pair: -pair[1])
    text = (
        f"{count_of(total, 'video')} below the root in no list: never read; if that is not meant, "
        "the lists or data.root are wrong."
    )
    return [Finding("note", "unlisted", text, [f"{folder}: {count}" for folder, count in ranked])]

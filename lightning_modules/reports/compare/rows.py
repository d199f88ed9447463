"""The report of a comparison in words: rows of its tables, sentences and notes."""

from collections.abc import Sequence

import numpy as np

from datamodules.clips.crops import count_crops
from lightning_modules.evaluation.calibration import BINS
from lightning_modules.evaluation.comparison import Comparison
from lightning_modules.evaluation.fusion import ExternalFusion, Fusion
from lightning_modules.evaluation.intervals import Estimate, Gain
from lightning_modules.evaluation.provenance import notes_on_tests
from lightning_modules.evaluation.score_files import Contender, Contest

TITLES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class"}
MOST_CLASSES = 5
"""Classes that are named on each side as gained and lost."""

BEYOND = f"Calibration ({BINS} bins) and cost"
"""Title of what stands beside accuracy."""

UNKNOWN = "one run cannot know"
"""Stands where a p of the methods would stand."""

Rows = list[list[str]]


def accuracy_rows(contest: Contest, found: Comparison) -> tuple[list[str], Rows]:
    """Write headings and rows of the accuracies."""
    metrics = list(found.accuracy[0])
    headings = ["model", *(TITLES[m] for m in metrics), "runs", "interval over"]
    rows = []
    for contender, values in zip(contest.contenders, found.accuracy, strict=True):
        cells = [percent(values[m]) for m in metrics]
        over = interval_over(values["top1"])
        rows.append([contender.name, *cells, str(len(contender.scores)), over])
    return headings, rows


def interval_over(estimate: Estimate) -> str:
    """Say what an interval holds."""
    return "videos and runs" if estimate.runs else "videos"


def beyond_rows(contest: Contest, found: Comparison) -> tuple[list[str], Rows]:
    """Write headings and rows of calibration and cost."""
    rows = []
    for number, contender in enumerate(contest.contenders):
        loss = found.log_loss[number]
        rows.append(
            [
                contender.name,
                f"{100 * found.calibration[number].error:.2f}",
                f"{loss.value:.3f} [{loss.low:.3f}, {loss.high:.3f}]",
                _cost(contender),
            ]
        )
    return ["model", "ECE, %", "log loss, nats", "GMACs x views"], rows


def paired_rows(contest: Contest, found: Comparison) -> tuple[list[str], Rows]:
    """Write headings and rows of each model against the first."""
    first = contest.contenders[0].name
    exact = any(paired.tests.mcnemar is not None for paired in found.against_first)
    headings = ["model", "top-1 gain", "mean class gain", "p, these runs", "p, the methods"]
    headings += ["p, McNemar"] * exact
    headings += [f"only {first} right", "only it right", "same answer"]
    rows = []
    for contender, paired in zip(contest.contenders[1:], found.against_first, strict=True):
        tests = paired.adjusted
        row = [contender.name]
        row += [percent(paired.gains[m].estimate, sign="+") for m in ("top1", "mean_class")]
        row += [p_value(tests.runs), p_value(tests.methods)]
        if exact:
            row.append("" if tests.mcnemar is None else p_value(tests.mcnemar))
        row += [f"{paired.only_first:.4g}", f"{paired.only_other:.4g}"]
        rows.append([*row, f"{100 * paired.agreement:.1f} %"])
    return headings, rows


def extreme_classes(found: Comparison, other: int) -> list[tuple[int, Gain]]:
    """Find the classes that a model loses and gains most against the first, worst first."""
    gains = [(k, g) for k, g in enumerate(found.against_first[other - 1].classes) if g is not None]
    order = sorted(gains, key=lambda pair: pair[1].estimate.value)
    lost = [pair for pair in order[:MOST_CLASSES] if pair[1].estimate.value < 0]
    gained = [pair for pair in order[-MOST_CLASSES:] if pair[1].estimate.value > 0]
    return lost + gained


def class_rows(contest: Contest, found: Comparison, other: int) -> tuple[list[str], Rows]:
    """Write headings and rows of `extreme_classes`, in percent."""
    totals = np.bincount(contest.labels, minlength=len(contest.class_names))
    names = [contest.contenders[position].name for position in (0, other)]
    rows = [
        [
            contest.class_names[k],
            percent(gain.estimate, sign="+", digits=1),
            p_value(float(found.against_first[other - 1].class_p[k])),
            f"{100 * found.per_class[0, k]:.1f}",
            f"{100 * found.per_class[other, k]:.1f}",
            str(totals[k]),
        ]
        for k, gain in extreme_classes(found, other)
    ]
    return ["class", "gain", "p", *names, "videos"], rows


def fusion_sentence(contest: Contest, fusion: Fusion) -> str:
    """Write the accuracy of late fusion in a sentence."""
    names = [contender.name for contender in contest.contenders]
    shares = ", ".join(f"{n} {w:.3g}" for n, w in zip(names, fusion.weights, strict=True))
    origin = f"searched on the other {fusion.searched_on:,}" if fusion.searched_on else "as given"
    runs = f", mean of {fusion.runs} fusions of one run each" if fusion.runs > 1 else ""
    return (
        f"late fusion of {fusion.fused} ({shares}; weights {origin}{runs}): top-1 "
        f"{percent(fusion.top1)} % of {fusion.videos:,} videos, the best model alone "
        f"{100 * fusion.best_single:.2f} %"
    )


def external_sentence(name: str, fusion: ExternalFusion) -> str:
    """Write the accuracy of a model fused with external scores in a sentence."""
    return (
        f"{fusion.name} with {name} (each scaled to length 1 per video, averaged): top-1 "
        f"{100 * fusion.fused:.2f} %, alone {100 * fusion.alone:.2f} %, {name} alone "
        f"{100 * fusion.external:.2f} %"
    )


def caution_notes(contest: Contest) -> list[str]:
    """Write what the intervals and tests hold, and what they cannot."""
    videos, groups = len(contest.labels), len(np.unique(contest.groups))
    notes = [
        f"note: the {videos:,} videos are of {groups:,} groups (scenes, source videos or persons), "
        "which are taken to be independent of each other"
        if groups < videos
        else "note: no groups of videos are known, so all are taken to be independent; clips of "
        "one scene would make intervals too narrow"
    ]
    lone = [contender.name for contender in contest.contenders if len(contender.scores) == 1]
    if lone:
        notes.append(
            f"note: one run stands for {_listed(lone)}; another run would score otherwise, by how "
            "much one cannot know: its intervals and p are about this checkpoint, not the method; "
            "test three runs or more"
        )
    others = len(contest.contenders) - 1
    if others:
        models = f"over the {others} models by Holm's method (family-wise), " if others > 1 else ""
        notes.append(
            f"note: p are adjusted {models}over classes by Benjamini and Hochberg's (false "
            "discovery rate); intervals are 95 % each"
        )
    return notes


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def protocol_notes(contest: Contest) -> list[str]:
    """Write a line for each part of the protocol in which the tests differ."""
    return notes_on_tests({c.name: c.protocol for c in contest.contenders})


def protocol_rows(contest: Contest) -> tuple[list[str], Rows]:
    """Write headings and rows of all protocols."""
    parts = [key for key in contest.contenders[0].protocol if key not in ("missing", "broken")]
    rows = [[key, *(str(c.protocol.get(key, "")) for c in contest.contenders)] for key in parts]
    return ["", *(contender.name for contender in contest.contenders)], rows


def total_cost(contender: Contender) -> float | None:
    """Compute the multiply-adds of all views of a video, in 1e9; None if unknown."""
    protocol = contender.protocol
    return protocol["macs"] / 1e9 * _views(contender) if "macs" in protocol else None


def _views(contender: Contender) -> int:
    protocol = contender.protocol
    return int(protocol["num_clips"]) * count_crops(protocol["num_crops"])


def _cost(contender: Contender) -> str:
    macs = contender.protocol.get("macs")
    return "" if macs is None else f"{macs / 1e9:.2f} x {_views(contender)}"


def percent(estimate: Estimate, sign: str = "", digits: int = 2) -> str:
    """Write a value with its interval, in percent."""
    ends = (estimate.value, estimate.low, estimate.high)
    value, low, high = (f"{100 * end:{sign}.{digits}f}" for end in ends)
    return f"{value} [{low}, {high}]"


def p_value(value: float | None) -> str:
    """Write a p; None where one run cannot know."""
    if value is None:
        return UNKNOWN
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"

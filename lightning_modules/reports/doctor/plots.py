"""Plots of an examination, as SVG that follows the colours of the page around it."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from datamodules.health.decode_check import DecodeResult
from datamodules.health.examination import Examination
from datamodules.health.videos import clip_span
from lightning_modules.reports.classes import MAX_NAMED_CLASSES
from lightning_modules.reports.page_plots import ACCENT, BAD, HEIGHT, MUTED, SECOND, draw

MOST_NAMED = 10
"""Frame rates and sizes that are named."""


def plots(found: Examination) -> Iterator[tuple[str, str, str]]:
    """Draw every plot that has data: title, SVG and caption.

    Args:
        found: The examination.
    """
    readable = [result for result in found.results.values() if result.verdict is None]
    if any(len(split.table.present) for split in found.splits):
        names = found.data.class_names
        tall = HEIGHT if len(names) > MAX_NAMED_CLASSES else max(HEIGHT, 0.9 + 0.3 * len(names))
        yield (
            "Videos of each class",
            draw(lambda axes: _classes(axes, found, names), height=tall),
            "those that are there and not known to be broken",
        )
    if found.broken:
        verdicts = Counter(str(result.verdict) for _, _, result in found.broken)
        tall = max(1.2, 0.8 + 0.3 * len(verdicts))
        yield (
            "Verdicts on broken videos",
            draw(lambda axes: _bars(axes, verdicts.most_common(), "videos", BAD), height=tall),
            "each is named in the table below",
        )
    if readable:
        yield from _of_videos(found, readable)
    if found.speeds:
        yield (
            "Loader speed",
            draw(lambda axes: _speeds(axes, found)),
            "training clips, files in the machine's memory; the configured number is filled",
        )


def _of_videos(
    found: Examination, readable: Sequence[DecodeResult]
) -> Iterator[tuple[str, str, str]]:
    span, sampling = clip_span(found.data.spec), found.data.spec.sampling.describe()
    frames = [result.num_frames for result in readable]
    yield (
        "Length",
        draw(lambda axes: _histogram(axes, frames, "frames", mark=span)),
        f"the line marks the {span} frames that a clip of {sampling} spans",
    )
    side = found.data.spec.crops.side
    yield (
        "Frame size",
        draw(lambda axes: _sizes(axes, readable, side)),
        f"area of a dot: number of videos; the line marks a short side of {side} px",
    )
    rates = Counter(f"{p.frame_rate:.4g}" for p in readable if p.frame_rate)
    if rates:
        rows = sorted(rates.most_common(MOST_NAMED), key=lambda row: float(row[0]))
        rows = [(f"{rate} fps", count) for rate, count in rows]
        tall = max(1.2, 0.8 + 0.3 * len(rows))
        title = "Frame rate" if len(rates) == len(rows) else f"The {len(rows)} usual frame rates"
        yield title, draw(lambda axes: _bars(axes, rows, "videos", ACCENT), height=tall), ""
    speeds = [p.num_frames / p.decode_seconds for p in readable if p.decode_seconds > 0]
    yield (
        "Decoding speed",
        draw(lambda axes: _histogram(axes, speeds, "frames per second, one core")),
        "all frames of each video, other processes beside it",
    )


def _classes(axes: Axes, found: Examination, names: Sequence[str]) -> None:
    splits = {split.name: split.per_class(len(names)) for split in found.splits}
    colors = (ACCENT, SECOND, MUTED)
    if len(names) > MAX_NAMED_CLASSES:
        for (name, counts), color in zip(splits.items(), colors, strict=False):
            axes.plot(np.sort(counts)[::-1], color=color, label=name, drawstyle="steps-mid")
        axes.set_xlabel("classes, the largest first")
        axes.set_ylabel("videos")
        axes.set_ylim(bottom=0)
    else:
        thick = 0.8 / len(splits)
        rows = np.arange(len(names))
        for position, (name, counts) in enumerate(splits.items()):
            axes.barh(rows + position * thick, counts, thick, color=colors[position], label=name)
        axes.set_yticks(rows + 0.4 - thick / 2, names, parse_math=False)
        axes.invert_yaxis()
        axes.set_xlabel("videos")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(splits), borderaxespad=0)


def _bars(axes: Axes, rows: Sequence[tuple[str, int]], unit: str, color: str) -> None:
    bars = axes.barh([name for name, _ in rows], [count for _, count in rows], 0.6, color=color)
    axes.bar_label(bars, padding=3)
    axes.set_xlabel(unit)
    axes.margins(x=0.12)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _histogram(axes: Axes, values: Sequence[float], unit: str, mark: float | None = None) -> None:
    axes.hist(values, bins=min(40, max(5, len(set(values)))), color=ACCENT)
    if mark is not None:
        axes.axvline(mark, color=BAD, linestyle="--")
    axes.set_xlim(left=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(unit)
    axes.set_ylabel("videos")


def _sizes(axes: Axes, readable: Sequence[DecodeResult], side: int) -> None:
    sizes = Counter((result.width, result.height) for result in readable)
    widths, heights = zip(*sizes, strict=True)
    shares = np.array(list(sizes.values())) / len(readable)
    axes.scatter(widths, heights, s=20 + 600 * shares, color=ACCENT, alpha=0.6, linewidths=0)
    right, top = 1.15 * max(widths), 1.15 * max(heights)
    axes.plot([side, side, right], [top, side, side], color=BAD, linestyle="--")
    axes.set_xlim(0, max(right, 1.15 * side))
    axes.set_ylim(0, max(top, 1.15 * side))
    axes.set_xlabel("width, pixels")
    axes.set_ylabel("height, pixels")
    ((width, height), _) = sizes.most_common(1)[0]
    axes.text(width, height - 0.06 * axes.get_ylim()[1], f"{width}x{height}", ha="center", va="top")


def _speeds(axes: Axes, found: Examination) -> None:
    counts = [speed.num_workers for speed in found.speeds]
    clips = [speed.clips_per_second for speed in found.speeds]
    positions = range(len(counts))
    axes.plot(positions, clips, color=ACCENT, marker="o", markerfacecolor="none", markersize=8)
    if found.data.loading.num_workers in counts:
        position = counts.index(found.data.loading.num_workers)
        axes.plot(position, clips[position], color=ACCENT, marker="o", markersize=8)
    axes.set_xticks(positions, [str(count) for count in counts])
    axes.set_ylim(0, 1.15 * max(clips))
    axes.set_xlabel("workers")
    axes.set_ylabel("clips per second")

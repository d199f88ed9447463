"""The page of a test: the confusion matrix, and the worst videos with frames."""

from collections.abc import Mapping, Sequence
from datetime import date
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from torch import Tensor

from datamodules.dataset import VideoDataset
from lightning_modules.reports.classes import MAX_NAMED_CLASSES
from lightning_modules.reports.fonts import name_ticks
from lightning_modules.reports.frames import strip
from lightning_modules.reports.html_page import answer_bar, card, save_page, section, table
from lightning_modules.reports.page_plots import draw
from lightning_modules.reports.video_table import ScoredVideo

WORST = 16
"""Videos that are shown with frames."""

FRAMES = 4
"""Frames that are shown of a video."""

MISTAKES = 12
"""Pairs of classes in the table of mistakes."""

COUNTED = 15
"""Classes up to which the numbers stand in the matrix."""

CELL = "#3f7fe0"
"""Colour of a cell that holds its whole class; others let the page shine through."""

Frames = NDArray[np.uint8]


def worst_frames(
    videos: Sequence[ScoredVideo], dataset: VideoDataset, num_crops: int
) -> dict[str, Frames]:
    """Read frames of the worst videos once more, as the network saw them.

    Args:
        videos: The videos of a test, the worst first.
        dataset: Where they are read from.
        num_crops: Views of each clip.

    Returns:
        Name of a video -> frames of its middle clip, (T, H, W, C); none for one that cannot be
        read any more.
    """
    shown = {video.video_id for video in videos[:WORST]}
    found: dict[str, Frames] = {}
    for index, name in enumerate(dataset.video_ids):
        if name in shown:
            item = dataset[index]
            if item["valid"]:
                clip = _middle_view(item["clips"], num_crops)
                found[name] = clip.permute(1, 2, 3, 0).numpy()
    return found


def _middle_view(clips: Tensor, num_crops: int) -> Tensor:
    """Choose the middle clip in its central crop: (V, C, T, H, W) -> (C, T, H, W)."""
    centre = {3: 1, 10: 4}.get(num_crops, 0)
    return clips[len(clips) // num_crops // 2 * num_crops + centre]


def confusion_section(confusion: NDArray[np.int64], class_names: Sequence[str]) -> str:
    """Show the classes of a test by its confusion matrix.

    Args:
        confusion: Counts, (K, K), true class in rows.
        class_names: Names of the K classes.

    Returns:
        HTML.
    """
    heads = ["true class", "taken for", "videos", "of that class"]
    mistakes = _mistakes(confusion, class_names)
    listed = table(heads, mistakes, numbers=False) if mistakes else "<p>none</p>"
    return (
        f'<div class="card scroll"><h3>Confusion matrix</h3>{_matrix(confusion, class_names)}'
        '<p class="caption">number of videos; the stronger the colour, the larger the share of the '
        "true class</p></div>"
        f'<div class="card scroll"><h3>Most frequent mistakes</h3>{listed}</div>'
    )


def precision_section(by_class: NDArray[np.float32], class_names: Sequence[str]) -> str:
    """Show the classes of a test by their average precision, the highest first.

    Args:
        by_class: Average precision and number of videos of each class, (K, 2).
        class_names: Names of the K classes.

    Returns:
        HTML.
    """
    order = np.argsort(-np.nan_to_num(by_class[:, 0], nan=-1.0), kind="stable").tolist()
    rows = [
        [class_names[k], f"{100 * by_class[k, 0]:.1f} %", f"{by_class[k, 1]:.0f}"]
        for k in order
        if by_class[k, 1]
    ]
    untold = len(class_names) - len(rows)
    note = f'<p class="caption">{untold} classes have no test video</p>' if untold else ""
    listed = table(["class", "average precision", "videos"], rows)
    return f'<div class="card scroll"><h3>Average precision</h3>{listed}{note}</div>'


def write_page(
    target: Path,
    protocol: str,
    said: str,
    classes: str,
    videos: Sequence[ScoredVideo],
    frames: Mapping[str, Frames],
) -> Path:
    """Write the page; it appears whole or not at all.

    Args:
        target: The file.
        protocol: The protocol, in one line.
        said: The results in a sentence.
        classes: HTML on the classes, from `confusion_section` or `precision_section`.
        videos: The tested videos, the worst first.
        frames: From `worst_frames`.
    """
    sections = [section("Classes", f'<div class="plots">{classes}</div>')]
    cards = "".join(_video(video, frames.get(video.video_id)) for video in videos[:WORST])
    note = (
        '<p class="caption">those with the largest loss; four frames of the middle clip, after '
        "sampling and crop; all videos are in "
        f"{escape(target.with_suffix('.csv').name)}</p>"
    )
    sections.append(section("The worst videos", f'{note}<div class="clips">{cards}</div>'))
    sections.append(section("Protocol", card(f"<p>{escape(protocol)}</p>")))
    return save_page(
        target,
        f"Test: {target.stem.removeprefix('videos_')}",
        f"{target.parent.absolute()}, {date.today().isoformat()}",
        f"{said}; {len(videos):,} videos",
        good=None,
        sections=sections,
    )


def _mistakes(confusion: NDArray[np.int64], class_names: Sequence[str]) -> list[list[str]]:
    """List the pairs of classes that are mistaken most often."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MISTAKES]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [
        [
            class_names[truth],
            class_names[answer],
            f"{wrong[truth, answer]:,}",
            f"{100 * wrong[truth, answer] / confusion[truth].sum():.0f} %",
        ]
        for truth, answer in pairs
        if wrong[truth, answer]
    ]


def _video(video: ScoredVideo, frames: Frames | None) -> str:
    """Make the card of a video."""
    shown = "<p>cannot be read any more</p>" if frames is None else strip(_some(frames))
    listed = list(video.answers[:3])
    if len(video.truths) == 1 and all(name != video.truth for name, _ in listed):
        listed.append((video.truth, video.of_truth))
    lines = "".join(answer_bar(name, share, name in video.truths) for name, share in listed)
    group = f", group {video.group}" if video.group else ""
    return (
        f'<div class="card">{shown}<h3>{escape(video.video_id)}</h3>'
        f'<p class="caption">{escape(video.truth)}{escape(group)}, loss {video.loss:.2f}</p>'
        f'<div class="answers">{lines}</div>'
        f'<p class="caption">{escape(video.path)}</p></div>\n'
    )


def _some(frames: Frames) -> Frames:
    """Take frames that are spread over a clip."""
    times = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))
    return np.take(frames, times, axis=0)


def _matrix(confusion: NDArray[np.int64], class_names: Sequence[str]) -> str:
    """Draw the confusion matrix, dark where much of the true class is, on any background."""
    count = len(class_names)
    named = count <= MAX_NAMED_CLASSES
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    cells = np.empty((*confusion.shape, 4))
    cells[..., :3], cells[..., 3] = to_rgb(CELL), shares

    def paint(axes: Axes) -> None:
        axes.imshow(cells, interpolation="none")
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        if named:
            name_ticks(axes.xaxis, class_names, rotation=60, ha="right", fontsize=9)
            name_ticks(axes.yaxis, class_names, fontsize=9)
        if count <= COUNTED:
            for (row, column), number in np.ndenumerate(confusion):
                if number:
                    axes.text(column, row, str(number), ha="center", va="center", fontsize=9)

    return draw(paint, height=min(8.0, 2.2 + 0.35 * count) if named else 5.6)

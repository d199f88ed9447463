"""A split explained in one pass: statistics, and where its clips lie beside each other.

N clips, T' steps of time.
"""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from datamodules.atomic import writing_text
from datamodules.batch import VideoBatch
from datamodules.csv_tables import write_rows
from lightning_modules.explaining.cam import step_scores
from lightning_modules.explaining.clips import ClipReader
from lightning_modules.explaining.embeddings import (
    Embedding,
    Method,
    collect,
    nearest_clips,
    on_a_plane,
)
from lightning_modules.explaining.families import Family
from lightning_modules.explaining.pictures import BLUE, captioned, plot
from lightning_modules.reports.frames import picture
from lightning_modules.reports.html_page import section
from lightning_modules.reports.scatter import Point, scatter

__all__ = ["explain_split", "neighbours"]


class _StepMeans:
    """Mean share of each step of time in the logit of the true class."""

    def __init__(self) -> None:
        self.scores: list[NDArray[np.float32]] = []

    def add(self, found: Tensor) -> None:
        self.scores += list(found.cpu().numpy())

    def card(self, folder: Path) -> str:
        """Draw them; empty where clips have different numbers of steps, or one."""
        if len({len(row) for row in self.scores}) != 1 or len(self.scores[0]) < 2:
            return ""
        mean = np.mean(self.scores, axis=0)

        def paint(axes: Axes) -> None:
            axes.bar(np.arange(1, len(mean) + 1), mean, color=BLUE)
            axes.axhline(0, lw=0.8, color="#808080")
            axes.set(xlabel="step of time", ylabel="part of the logit")
            axes.set_xticks(range(1, len(mean) + 1))

        text = f"parts of the logit of the true class; means over {len(self.scores):,} clips"
        return captioned("When it looks", plot(folder / "importance.png", paint, height=2.4), text)


def explain_split(
    reader: ClipReader, family: Family, batches: Iterator[VideoBatch], name: str, method: Method
) -> list[str]:
    """Explain a split; write its files.

    Args:
        reader: Reader of the split.
        family: The network, what it shows of its own, and the folder of the files.
        batches: The pass.
        name: Of the split.
        method: See `on_a_plane`.

    Returns:
        Sections.

    Raises:
        UserError: If the network gives no features, or the split no clips.
    """
    steps = _StepMeans()

    def counted() -> Iterator[VideoBatch]:
        for batch in batches:
            inputs = reader.scorer.inputs(batch)
            labels = batch["label"].to(inputs[0].device)
            family.add(inputs, batch["label"])
            steps.add(step_scores(family.network, inputs, labels)[0])
            yield batch

    found = collect(reader.scorer, counted())
    right = float(np.mean(found.answers == found.labels))
    cards = family.of_split() + steps.card(family.folder)
    title = f"The {name} split: {len(found.names):,} clips, {100 * right:.1f} % right"
    made = [section(title, f'<div class="clips">{cards}</div>')]
    places = on_a_plane(found.features, method)
    _write_places(family.folder / "embedding.csv", found, places, family.class_names)
    points = [
        Point(
            (float(x), float(y)),
            int(found.labels[i]),
            _words(found, i, family.class_names),
            bool(found.answers[i] != found.labels[i]),
            found.thumbnails[i],
        )
        for i, (x, y) in enumerate(places)
    ]
    how = "t-SNE (only who is near whom means something)" if method == "tsne" else "PCA"
    note = (
        f'<p class="caption">features of one clip of each video, laid out by {how}; a red rim is a '
        "mistake; point, tap, or use the arrow keys; embedding.csv has the numbers</p>"
    )
    drawn = scatter(points, family.class_names, f"clips of the {name} split by their features")
    return [*made, section("Clips beside each other", note + drawn)]


def _words(found: Embedding, index: int, names: Sequence[str]) -> str:
    """Say what a clip is, and what it was taken for where that is something else."""
    label, answer = names[found.labels[index]], names[found.answers[index]]
    wrong = f", taken for {answer}" if answer != label else ""
    return f"{found.names[index]}: {label}{wrong}"


def neighbours(features: Tensor, training: Embedding, class_names: Sequence[str]) -> str:
    """Show the training clips nearest to a clip.

    Args:
        features: Features of the clip, (1, C).
        training: Clips of the training split.
        class_names: K names.

    Returns:
        A card.
    """
    likeness, places = nearest_clips(training.features, features)
    shown = "".join(
        f"<figure>{picture(training.thumbnails[i], 96)}<figcaption>{value:.3f} "
        f"{escape(class_names[training.labels[i]])}</figcaption></figure>"
        for value, i in zip(likeness[0].tolist(), places[0].tolist(), strict=True)
    )
    text = f"cosine of the features, class; among {len(training.names):,} training clips"
    return captioned("Nearest training clips", f'<div class="strip">{shown}</div>', text)


def _write_places(
    path: Path, found: Embedding, places: NDArray[np.float64], names: Sequence[str]
) -> None:
    rows = [
        [video, names[label], names[answer], f"{x:.6f}", f"{y:.6f}"]
        for video, label, answer, (x, y) in zip(
            found.names, found.labels, found.answers, places, strict=True
        )
    ]
    with writing_text(path, errors="surrogateescape", newline="") as file:
        write_rows(file, [["video_id", "class", "answer", "x", "y"], *rows])

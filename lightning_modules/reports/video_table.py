"""The videos of a test, the worst first: truth, answers, probabilities, loss, path."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.annotations.label_form import SEPARATOR
from datamodules.atomic import writing_text
from datamodules.csv_tables import write_rows
from datamodules.storage.source import Place, as_source
from lightning_modules.evaluation.stored_scores import Floats, StoredScores

ANSWERS = 5
"""Answers that are listed of each video."""

_LEAST = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class ScoredVideo:
    """A video that was tested.

    Attributes:
        video_id: Its name.
        truths: Its class, or its classes.
        answers: The likeliest classes and their probabilities, the likeliest first; of labels in
            columns the likeliest of each column.
        of_truth: Probability of its class, of several the least; NaN where it has none.
        loss: Cross-entropy, of columns its mean over those that are labelled; of any number of
            classes the mean over all classes of binary cross-entropy.
        group: Scene, source video or person; empty where unknown.
        path: Its file.
    """

    video_id: str
    truths: tuple[str, ...]
    answers: tuple[tuple[str, float], ...]
    of_truth: float
    loss: float
    group: str
    path: str

    @property
    def truth(self) -> str:
        """Its classes in words."""
        return f"{SEPARATOR} ".join(self.truths)


def worst_first(stored: StoredScores, paths: Mapping[str, str]) -> list[ScoredVideo]:
    """List the videos of a score file, the one with the largest loss first.

    Args:
        stored: The scores, of N videos.
        paths: Path of each video by its name.
    """
    marks = _marks(stored)
    losses, of_truth = _losses(stored, marks)
    return [
        ScoredVideo(
            video_id=stored.video_ids[i],
            truths=tuple(stored.class_names[k] for k in np.flatnonzero(marks[i])),
            answers=_answers(stored, i),
            of_truth=float(of_truth[i]),
            loss=float(losses[i]) + 0.0,  # not -0
            group=stored.groups[i],
            path=paths[stored.video_ids[i]],
        )
        for i in np.argsort(-losses, kind="stable").tolist()
    ]


def _marks(stored: StoredScores) -> NDArray[np.bool_]:
    """Mark the classes of each video, (N, K)."""
    if not stored.form.is_single:
        return stored.labels > 0
    marks = np.zeros(stored.scores.shape, np.bool_)
    marks[np.arange(len(marks)), stored.labels] = True
    return marks


def _losses(stored: StoredScores, marks: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Compute the loss of each video, and the least probability of its classes, (N,) each."""
    logarithms = -np.log(np.maximum(stored.scores, _LEAST))
    if stored.form.kind == "multi":
        others = -np.log(np.maximum(1 - stored.scores, _LEAST))
        losses = np.where(marks, logarithms, others).mean(axis=1)
    else:
        own = np.where(marks, logarithms, 0.0).sum(axis=1)
        losses = own / np.maximum(marks.sum(axis=1), 1)
    least = np.where(marks, stored.scores, np.inf).min(axis=1)
    return losses, np.where(np.isinf(least), np.nan, least)


def _answers(stored: StoredScores, video: int) -> tuple[tuple[str, float], ...]:
    """List the answers that are shown of a video, and their probabilities."""
    scores, names = stored.scores[video], stored.class_names
    if stored.form.columns:
        groups = stored.form.groups(names).values()
        best = [labels[int(np.argmax(scores[labels]))] for labels in groups]
    else:
        best = np.argsort(-scores, kind="stable")[:ANSWERS].tolist()
    return tuple((names[k], float(scores[k])) for k in best)


def paths_below(root: Place, video_ids: Sequence[str], paths: Sequence[str]) -> dict[str, str]:
    """Map the names of videos to their files, which are given relative to a folder."""
    source = as_source(root)
    folder = os.path.join(source.path.absolute() if source.path else str(source), "")
    return {name: folder + path for name, path in zip(video_ids, paths, strict=True)}


def headings(videos: Sequence[ScoredVideo]) -> list[str]:
    """Name the columns of the table."""
    count = len(videos[0].answers) if videos else 1
    answers = [f"{name}_{i + 1}" for i in range(count) for name in ("answer", "probability")]
    return ["video_id", "truth", "loss", "probability_of_truth", *answers, "group", "path"]


def row_of(video: ScoredVideo) -> list[str | float]:
    """Make the row of a video."""
    row: list[str | float] = [video.video_id, video.truth, round(video.loss, 6)]
    row.append("" if math.isnan(video.of_truth) else round(video.of_truth, 6))
    for name, value in video.answers:
        row += [name, round(value, 6)]
    return [*row, video.group, video.path]


def write_videos(path: Path, videos: Sequence[ScoredVideo]) -> None:
    """Write them as a CSV file, in their order."""
    with writing_text(path, errors="surrogateescape", newline="") as file:
        write_rows(file, [headings(videos), *map(row_of, videos)])

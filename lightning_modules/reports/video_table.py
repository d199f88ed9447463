"""The videos of a test, the worst first: truth, answers, probabilities, loss, path."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.atomic import writing_text
from datamodules.csv_tables import write_rows
from lightning_modules.evaluation.stored_scores import StoredScores

ANSWERS = 5
"""Answers that are listed of each video."""


@dataclass(frozen=True)
class ScoredVideo:
    """A video that was tested.

    Attributes:
        video_id: Its name.
        truth: Its class.
        answers: The likeliest classes and their probabilities, the likeliest first.
        of_truth: Probability of its class.
        loss: Cross-entropy: the negative logarithm of that.
        group: Scene, source video or person; empty where unknown.
        path: Its file.
    """

    video_id: str
    truth: str
    answers: tuple[tuple[str, float], ...]
    of_truth: float
    loss: float
    group: str
    path: str

    @property
    def is_right(self) -> bool:
        """True if the likeliest class is its own."""
        return self.answers[0][0] == self.truth


def worst_first(stored: StoredScores, paths: Mapping[str, str]) -> list[ScoredVideo]:
    """List the videos of a score file, the one with the largest loss first.

    Args:
        stored: The scores, of N videos.
        paths: Path of each video by its name.
    """
    names, probabilities = stored.class_names, stored.scores
    of_truth = probabilities[np.arange(len(probabilities)), stored.labels]
    losses = -np.log(np.maximum(of_truth, np.finfo(np.float64).tiny))
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :ANSWERS]
    return [
        ScoredVideo(
            video_id=stored.video_ids[i],
            truth=names[stored.labels[i]],
            answers=tuple((names[k], float(probabilities[i, k])) for k in best[i]),
            of_truth=float(of_truth[i]),
            loss=float(losses[i]) + 0.0,  # not -0
            group=stored.groups[i],
            path=paths[stored.video_ids[i]],
        )
        for i in np.argsort(-losses, kind="stable").tolist()
    ]


def paths_below(root: Path, video_ids: Sequence[str], paths: Sequence[str]) -> dict[str, str]:
    """Map the names of videos to their files, which are given relative to a folder."""
    folder = os.path.join(root.absolute(), "")
    return {name: folder + path for name, path in zip(video_ids, paths, strict=True)}


def headings(videos: Sequence[ScoredVideo]) -> list[str]:
    """Name the columns of the table."""
    count = len(videos[0].answers) if videos else 1
    answers = [f"{name}_{i + 1}" for i in range(count) for name in ("answer", "probability")]
    return ["video_id", "truth", "loss", "probability_of_truth", *answers, "group", "path"]


def row_of(video: ScoredVideo) -> list[str | float]:
    """Make the row of a video."""
    row: list[str | float] = [video.video_id, video.truth]
    row += [round(video.loss, 6), round(video.of_truth, 6)]
    for name, value in video.answers:
        row += [name, round(value, 6)]
    return [*row, video.group, video.path]


def write_videos(path: Path, videos: Sequence[ScoredVideo]) -> None:
    """Write them as a CSV file, in their order."""
    with writing_text(path, errors="surrogateescape", newline="") as file:
        write_rows(file, [headings(videos), *map(row_of, videos)])

"""Labels of whole videos, one prediction each, as a test of the checkpoint scores them."""

import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from datamodules.annotations.video_lists import read_video_list
from datamodules.atomic import writing_text
from datamodules.csv_tables import write_rows
from datamodules.errors import UserError
from datamodules.jobs.target_folder import videos_below
from datamodules.storage.elsewhere.remote_packs import open_dataset
from datamodules.video.suffixes import is_video
from lightning_modules.console import say
from lightning_modules.prediction.answers import Answers
from lightning_modules.prediction.scoring import Scorer

LIST_SUFFIXES = (".txt", ".csv", ".list")

VIDEO_HELP = "video files, frame folders, folders of videos, or list files (.txt, .csv)"
"""What `VIDEO` of the tools says; see `find_videos`."""


@dataclass(frozen=True)
class Prediction:
    """Labels of a video, or the reason why it has none.

    Attributes:
        video: The path as it was given or found.
        classes: Names of the classes that are named, most probable first, columns in their order.
        probabilities: Their probabilities.
        error: Reason why the video could not be read; empty if it was.
    """

    video: str
    classes: list[str]
    probabilities: list[float]
    error: str = ""

    def __str__(self) -> str:
        if self.error:
            return f"{self.video}: not labelled, {self.error}"
        pairs = zip(self.classes, self.probabilities, strict=True)
        named = ", ".join(f"{name} {100 * p:.1f} %" for name, p in pairs)
        return f"{self.video}: {named or 'no class reaches its threshold'}"


def find_videos(given: Sequence[str]) -> list[str]:
    """List every video that the words of a command line name, in order, each once.

    Args:
        given: Files, frame folders, folders (searched to any depth), packed datasets and what lies
            in them (`PACKED!/PATH`), list files, glob patterns. A path that does not exist stays,
            to be reported in its order.

    Raises:
        UserError: If a folder or a list holds no video.
    """
    found: dict[str, None] = {}
    for word in given:
        matches = [word] if os.path.exists(word) else sorted(glob.glob(word, recursive=True))
        for path in matches or [word]:
            found |= dict.fromkeys(_videos_at(path))
    return list(found)


def _videos_at(word: str) -> list[str]:
    path = Path(word)
    if path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
        folder = open_dataset(path.parent)
        return [str(folder / video.path) for video in read_video_list(path)]
    source = open_dataset(word)
    if not source.is_folder() or is_video(source):
        return [str(source)]
    inside = sorted(videos_below(source), key=lambda video: video.split("/"))
    if not inside:
        raise UserError(f"the folder {word} holds no video at any depth; check the path")
    return [str(source / video) for video in inside]


def label(scorer: Scorer, loader: DataLoader[Any], answers: Answers) -> Iterator[Prediction]:
    """Label the videos of a loader, one at a time as they are ready.

    Args:
        scorer: The trained module.
        loader: Batches of evaluation views.
        answers: The choice of the classes that are named.
    """
    for batch in loader:
        scores = scorer.probabilities(scorer.scores(batch, batch["video_id"]))
        reasons = dict(batch["broken"])
        for sentence in batch["waits"]:
            say(sentence)
        for row, video in enumerate(batch["video_id"]):
            if video in reasons:
                yield Prediction(video, [], [], reasons[video])
                continue
            named = answers.choose(scores[row])
            classes, shares = [a.label for a in named], [a.probability for a in named]
            yield Prediction(video, classes, shares)


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write a table, one video a line, as CSV or JSON lines; the file appears whole or not at all.

    Args:
        path: The file, `.csv` or `.jsonl`.
        predictions: Predictions in the order of the lines; a CSV has columns for as many classes as
            the one with the most, and at least one.
    """
    most = max([1, *(len(prediction.classes) for prediction in predictions)])
    with writing_text(path, lone=True, newline="") as file:
        if path.suffix == ".jsonl":
            for prediction in predictions:
                file.write(json.dumps(vars(prediction), ensure_ascii=False) + "\n")
        else:
            columns = [
                f"{word}_{i}" for i in range(1, most + 1) for word in ("class", "probability")
            ]
            write_rows(file, [["video", *columns, "error"]])
            write_rows(file, (_cells(prediction, len(columns)) for prediction in predictions))


def _cells(prediction: Prediction, num_columns: int) -> list[str]:
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    cells = [cell for name, p in pairs for cell in (name, f"{p:.6f}")]
    return [prediction.video, *cells, *[""] * (num_columns - len(cells)), prediction.error]

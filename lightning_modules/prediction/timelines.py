"""Timelines of many files, or of a live source, kept as they are made; a stopped pass goes on."""

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from datamodules.jobs.dataset_jobs import Event as PassEvent
from datamodules.jobs.dataset_jobs import Step
from datamodules.streaming.live import LiveFrames
from datamodules.streaming.sources import FileFrames
from datamodules.video.errors import VideoError
from lightning_modules.prediction.answers import Answers
from lightning_modules.prediction.cells import Cell, label_cells
from lightning_modules.prediction.inputs import NetworkInput
from lightning_modules.prediction.scoring import Scorer
from lightning_modules.prediction.stored_rows import write_stored_rows
from lightning_modules.prediction.table import Row
from lightning_modules.prediction.unfinished import Unfinished

__all__ = ["Timelines", "follow", "rows_of"]


def rows_of(video: str, cell: Cell, answers: Answers) -> list[Row]:
    """List the classes that are named of a cell, at least one.

    Args:
        video: Name of the video.
        cell: The cell.
        answers: The choice of classes.
    """
    named = answers.choose(cell.probabilities, at_least_one=True)
    return [Row(video, cell.start, cell.end, *answer) for answer in named]


class Timelines:
    """The pass over videos that gives each a timeline.

    Args:
        scorer: The trained module.
        network_input: Windows, and what is shown of them.
        kept: The results so far.
        answers: The choice of the classes that are named of each stretch.
        batch_size: Windows that are scored together.
        frame_rate: Frames per second to take; None for each file's own.
    """

    def __init__(
        self,
        scorer: Scorer,
        network_input: NetworkInput,
        kept: Unfinished,
        *,
        answers: Answers,
        batch_size: int,
        frame_rate: float | None = None,
    ) -> None:
        self._scorer = scorer
        self._input = network_input
        self._kept = kept
        self._answers = answers
        self._batch_size = batch_size
        self._frame_rate = frame_rate
        self._cells: Counter[str] = Counter()
        self._ended: dict[str, str] = {}  # the reason why it could not be read, or nothing
        for result in kept:
            self._note(result)

    @property
    def done(self) -> list[str]:
        """Videos that are labelled to their end."""
        return [video for video, error in self._ended.items() if not error]

    def label(self, videos: Sequence[str]) -> Generator[PassEvent[str], None, None]:
        """Label videos from where they are; each result is kept at once.

        Args:
            videos: Paths of those that are not done.
        """
        for video in videos:
            reason = ""
            try:
                yield from self._label(video)
            except VideoError as error:
                reason = f"{error.reason}: {error.detail}"
            self._keep({"video": video, "error": reason})
            yield PassEvent(video, None, reason)

    def _label(self, video: str) -> Iterator[PassEvent[str]]:
        """Label what is left of a video; a step for each cell."""
        with FileFrames(video, self._frame_rate) as source:
            step = self._input.windows(source).step
            total = -(-len(source.times) // step)
            cells = label_cells(
                self._scorer,
                source,
                self._input,
                batch_size=self._batch_size,
                first=self._cells[video],
            )
            for cell in cells:
                self.keep_cell(video, cell)
                yield PassEvent(video, Step(step, 1 / total))

    def keep_cell(self, video: str, cell: Cell) -> list[Row]:
        """Keep a cell, and return its rows."""
        rows = rows_of(video, cell, self._answers)
        times = {"start": cell.start, "end": cell.end}
        columns = {"labels": "label", "scores": "probability", "unlisted": "unlisted"}
        values = {key: [getattr(row, name) for row in rows] for key, name in columns.items()}
        self._keep({"video": video, **times, **values})
        return rows

    def _keep(self, result: dict[str, Any]) -> None:
        self._kept.add(result)
        self._note(result)

    def _note(self, result: dict[str, Any]) -> None:
        if "error" in result:
            self._ended[result["video"]] = result["error"]
        else:
            self._cells[result["video"]] += 1

    def write(self, path: Path) -> int:
        """Write the table of all that was kept, which is then no longer needed.

        Args:
            path: The table.

        Returns:
            Number of its lines without the heading.
        """
        several = not self._answers.form.is_single
        count = write_stored_rows(path, self._rows(), with_unlisted=several)
        self._kept.finish()
        return count

    def _rows(self) -> Iterator[Row | tuple[str, str]]:
        told = set[str]()
        for result in self._kept:
            video = result["video"]
            if "error" not in result:
                times = result["start"], result["end"]
                columns = (result[key] for key in ("labels", "scores", "unlisted"))
                yield from (Row(video, *times, *answer) for answer in zip(*columns, strict=True))
            elif self._ended[video] and video not in told:  # not one that went well later on
                told.add(video)
                yield video, self._ended[video]


def follow(
    scorer: Scorer, source: LiveFrames, network_input: NetworkInput, seconds: float | None = None
) -> Iterator[tuple[Cell, float]]:
    """Label a live source cell by cell, and measure how late each label comes.

    Args:
        scorer: The trained module.
        source: The source.
        network_input: Windows, and what is shown of them.
        seconds: Seconds of the source after which to stop; None to go on.

    Yields:
        A cell, and the seconds from its end to now, below 0 where a source is faster than time.
    """
    for cell in label_cells(scorer, source, network_input):
        yield cell, source.seconds_since_begin() - cell.end
        if seconds is not None and cell.end >= seconds:
            return

"""Scores along time: windows that overlap, averaged over each cell between their beginnings."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from datamodules.streaming.sliding import Window, slide
from datamodules.streaming.sources import FrameSource
from datamodules.streaming.windows import WindowGrid, covered_cells
from lightning_modules.prediction.inputs import NetworkInput
from lightning_modules.prediction.scoring import Scorer, as_batch

__all__ = ["Cell", "label_cells"]


@dataclass(frozen=True)
class Cell:
    """A stretch of time and what it shows.

    Attributes:
        number: From 0 in its video.
        start: Begin, in seconds.
        end: End, in seconds.
        probabilities: Of the classes, (K,): the mean over the windows that cover it.
    """

    number: int
    start: float
    end: float
    probabilities: Tensor


def label_cells(
    scorer: Scorer,
    source: FrameSource,
    network_input: NetworkInput,
    *,
    batch_size: int = 1,
    first: int = 0,
) -> Iterator[Cell]:
    """Label a source from its begin to its end, cell by cell, as soon as a cell is final.

    Args:
        scorer: The trained module.
        source: The frames.
        network_input: Windows, and what is shown of them.
        batch_size: Windows that are scored together; the cells of all come after that.
        first: Number of the first cell wanted, where a stopped pass goes on.

    Raises:
        VideoError: The source cannot be read to its end.
        UserError: If the windows do not fit, or a score is not finite.
    """
    grid = network_input.windows(source)
    mean = _OverlappingMean(replace(grid, first=_first_window(grid, first)), first)
    waiting: list[Window] = []
    for window in slide(source, mean.grid, network_input.views):
        waiting.append(window)
        if len(waiting) == batch_size:
            yield from _scored(scorer, source, mean, waiting)
            waiting.clear()
    yield from _scored(scorer, source, mean, waiting)
    yield from mean.rest(scorer)


def _first_window(grid: WindowGrid, cell: int) -> int:
    """Find the first window that covers a cell."""
    number = max(0, -(-((cell + 1) * grid.step - grid.length) // grid.step))
    return number if grid.num_windows is None else min(number, max(0, grid.num_windows - 1))


def _scored(
    scorer: Scorer, source: FrameSource, mean: "_OverlappingMean", windows: list[Window]
) -> Iterator[Cell]:
    if not windows:
        return
    batch = as_batch([window.views for window in windows])
    scores = scorer.scores(batch, [source.name] * len(windows))
    for window, row in zip(windows, scores, strict=True):
        mean.add(window, row)
        yield from mean.final(scorer, window.following)


class _OverlappingMean:
    """Running means of cells that further windows may cover.

    Args:
        grid: The windows.
        first: The first cell wanted.
    """

    def __init__(self, grid: WindowGrid, first: int) -> None:
        self.grid = grid
        self._next = first
        self._open: dict[int, tuple[Tensor, int, float, float]] = {}

    def add(self, window: Window, scores: Tensor) -> None:
        """Count the scores of a window, (K,), in the cells that it covers."""
        grid, times = self.grid, window.times
        for number in covered_cells(window.start, grid):
            if number < self._next:
                continue
            begin = number * grid.step - window.start
            end = min(begin + grid.step, grid.length)
            total, count, start, until = self._open.get(
                number, (torch.zeros_like(scores), 0, float(times[begin]), float(times[end]))
            )
            if end < grid.length:  # the next frame was seen: its time is exact
                until = float(times[end])
            self._open[number] = total + scores, count + 1, start, until

    def final(self, scorer: Scorer, following: int | None) -> Iterator[Cell]:
        """Give the cells that no further window covers, in order."""
        if following is None:
            yield from self.rest(scorer)
            return
        while self._next in self._open and self._next * self.grid.step < following:
            yield self._close(scorer)

    def rest(self, scorer: Scorer) -> Iterator[Cell]:
        """Give all cells that are left, in order."""
        while self._next in self._open:
            yield self._close(scorer)

    def _close(self, scorer: Scorer) -> Cell:
        total, count, start, end = self._open.pop(self._next)
        number, self._next = self._next, self._next + 1
        return Cell(number, start, end, scorer.probabilities(total / count))

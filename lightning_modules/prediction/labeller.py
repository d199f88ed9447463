"""A trained network from Python: `load` a checkpoint, then call it on whatever shows something."""

import os
import warnings
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.clips.crops import NumCrops
from datamodules.errors import UserError
from datamodules.flow.methods import FlowMethodName
from datamodules.streaming.live import LiveFrames
from datamodules.streaming.sources import FileFrames, FrameSource, TensorFrames
from datamodules.streaming.windows import Spacing
from datamodules.video.errors import VideoError
from lightning_modules.checkpoints import open_checkpoint
from lightning_modules.prediction.answers import Answers
from lightning_modules.prediction.cells import label_cells
from lightning_modules.prediction.features import Features, extract
from lightning_modules.prediction.inputs import NetworkInput
from lightning_modules.prediction.scoring import Precision, Scorer
from lightning_modules.prediction.table import LabelTable, Row
from lightning_modules.prediction.timelines import follow, rows_of
from lightning_modules.prediction.videos import find_videos

__all__ = ["Labeller", "Showing", "load"]

Path: TypeAlias = str | PathLike[str]
Frames: TypeAlias = Tensor | npt.NDArray[np.uint8]

Showing: TypeAlias = Path | Frames | FrameSource
"""A path of a video, frame folder, folder or list; frames (T, H, W, 3) uint8; a source of them."""

Length: TypeAlias = float | str


def load(
    checkpoint: Path,
    *,
    device: str = "auto",
    precision: Precision = "float32",
    batch_size: int = 8,
) -> "Labeller":
    """Load a trained network.

        label = load("best.ckpt")
        table = label("video.mp4")

    Args:
        checkpoint: A checkpoint of this project: a local file, or `hf://OWNER/NAME` on the Hub.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`.
        precision: `float32` as in a test, or the faster `bfloat16` or `float16`.
        batch_size: Windows, or views of a video, that the network sees at a time.

    Raises:
        UserError: If the path is no such checkpoint, or the device or precision cannot be used.
    """
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size} is too small; give at least 1")
    with torch.random.fork_rng(devices=[]):  # weights are drawn before they are loaded
        module = open_checkpoint(os.fspath(checkpoint))
    return Labeller(Scorer(module, device, precision, batch_size), batch_size)


class Labeller:
    """A trained network that labels what it is called on.

    Args:
        scorer: The network on its device.
        batch_size: Windows that it sees at a time.
    """

    def __init__(self, scorer: Scorer, batch_size: int) -> None:
        self._scorer = scorer
        self._batch_size = batch_size

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the labels."""
        return self._scorer.module.class_names

    def __repr__(self) -> str:
        module = self._scorer.module
        about = f"{module.network_name}, {len(self.class_names)} classes"
        return f"Labeller({about}, {module.device}, {self._scorer.precision})"

    def __call__(
        self,
        showing: Showing,
        frame_rate: float | None = None,
        *,
        window: Length | None = None,
        step: Length | None = None,
        num_clips: int | None = None,
        num_crops: NumCrops | None = None,
        flow_method: FlowMethodName | None = None,
        top: int | None = None,
        threshold: float | None = None,
        thresholds: Mapping[str, float] | None = None,
        seconds: float | None = None,
    ) -> LabelTable:
        """Label a video, or several, as a whole or in windows.

        Args:
            showing: A path, frames, or a source of frames; see `Showing`.
            frame_rate: Frames per second: of frames, those that they are; of files, those to take,
                None for their own.
            window: Length of sliding windows, in seconds, or as text: `2s`, `16f` (frames), `clip`;
                None for one label of each whole video, from the clips of the test protocol.
            step: Time from the begin of one window to that of the next; half a window by default.
            num_clips: Clips of a video or window; None for the test protocol's, of a window for 1.
            num_crops: Crops of a clip; None for the test protocol's, of a window for the centre.
            flow_method: How a two-stream network's flow is computed; None for as in the training.
            top: Classes of each stretch of time; None for 5, where videos have a class of each of
                several columns for 1 of each, where they may have any number for all that reach
                the threshold, and at least the most probable.
            threshold: Least probability of a named class, where any number may be shown; None for
                a half.
            thresholds: The same of single classes by name.
            seconds: Time after which to stop, for a camera; None to go on to the end.

        Returns:
            The table; a file among several that cannot be read is among its errors.

        Raises:
            UserError: If what is given does not fit.
            VideoError: If the only video cannot be read.
        """
        given = self._input(window, step, num_clips, num_crops, flow_method)
        answers = self._answers(top, threshold, thresholds)
        if isinstance(showing, Tensor | np.ndarray):
            frames = TensorFrames(showing, _known(frame_rate))
            return LabelTable(tuple(self._rows(frames, given, answers, seconds)))
        if not isinstance(showing, str | PathLike):
            return LabelTable(tuple(self._rows(showing, given, answers, seconds)))
        rows: list[Row] = []
        errors: dict[str, str] = {}
        paths = find_videos([os.fspath(showing)])
        for path in paths:
            try:
                with FileFrames(path, frame_rate) as source:
                    rows += self._rows(source, given, answers, seconds)
            except VideoError as error:
                if paths == [os.fspath(showing)]:
                    raise
                errors[path] = f"{error.reason}: {error.detail}"
        return LabelTable(tuple(rows), errors)

    def follow(
        self,
        source: LiveFrames,
        *,
        window: Length,
        step: Length | None = None,
        flow_method: FlowMethodName | None = None,
        top: int | None = None,
        threshold: float | None = None,
    ) -> Iterator[list[Row]]:
        """Label a camera or stream for as long as it goes on.

        A row is final, and comes, as soon as the last window over it is over: a window less a step
        after its end.

        Args:
            source: The camera or stream.
            window: See `__call__`.
            step: See `__call__`.
            flow_method: See `__call__`.
            top: See `__call__`.
            threshold: See `__call__`.

        Yields:
            The rows of one stretch of time after another, the most probable class first.

        Raises:
            VideoError: If the source breaks off.
        """
        given = self._input(window, step, None, None, flow_method)
        answers = self._answers(top, threshold, None)
        for cell, _ in follow(self._scorer, source, given):
            yield rows_of(source.name, cell, answers)

    def features(
        self,
        showing: Path | Frames,
        frame_rate: float | None = None,
        *,
        window: Length | None = None,
        step: Length | None = None,
        num_clips: int | None = None,
        num_crops: NumCrops | None = None,
        flow_method: FlowMethodName | None = None,
    ) -> Features:
        """Compute the features of a video, per window or of the whole; see `__call__`.

        Raises:
            UserError: If what is given does not fit, or the network has no features.
            VideoError: If the video cannot be read.
        """
        given = self._input(window, step, num_clips, num_crops, flow_method)
        source: FrameSource
        if isinstance(showing, Tensor | np.ndarray):
            source = TensorFrames(showing, _known(frame_rate))
        else:
            source = FileFrames(os.fspath(showing), frame_rate)
        with source:
            steps = extract(self._scorer, source, given, self._batch_size)
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    found: Features = end.value
                    return found

    def _input(
        self,
        window: Length | None,
        step: Length | None,
        num_clips: int | None,
        num_crops: NumCrops | None,
        flow_method: FlowMethodName | None,
    ) -> NetworkInput:
        if window is None and step is not None:
            raise UserError(f"step={step} has no meaning without windows; give window too")
        spacing = None
        if window is not None:
            spacing = Spacing(str(window), None if step is None else str(step))
        return NetworkInput.of(
            self._scorer.module,
            spacing,
            num_clips=num_clips,
            num_crops=num_crops,
            flow_method=flow_method,
            say=_warn,
        )

    def _answers(
        self, top: int | None, threshold: float | None, thresholds: Mapping[str, float] | None
    ) -> Answers:
        form = self._scorer.module.label_form
        return Answers(form, self.class_names, top, threshold, thresholds or {})

    def _rows(
        self, source: FrameSource, given: NetworkInput, answers: Answers, seconds: float | None
    ) -> Iterator[Row]:
        at_once = 1 if source.num_frames is None else self._batch_size
        for cell in label_cells(self._scorer, source, given, batch_size=at_once):
            yield from rows_of(source.name, cell, answers)
            if seconds is not None and cell.end >= seconds:
                return


def _known(frame_rate: float | None) -> float:
    if frame_rate is None:
        raise UserError("frames in memory do not tell their times; give frame_rate, per second")
    return frame_rate


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=4)

"""Optical flow beside the frames of a dataset: its sources, its settings, and stacks of it.

`FlowInput` holds a user's settings, `FlowSource` is read by a dataset: flow that is stored
(`StoredFlow`), or made as it is asked for (`ComputedFlow` here, `StoredMotion` of MotionShapes).

T chunks, L fields of a stack, H, W.
"""

import string
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Protocol, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from datamodules.annotations.table import VideoTable
from datamodules.clips.boxes import working_size
from datamodules.clips.chunks import stack_fields
from datamodules.clips.input_spec import FlowSpec
from datamodules.errors import UserError
from datamodules.flow.coding import FlowCoding
from datamodules.flow.folder import read_flow_settings
from datamodules.flow.methods import FlowMethodName, make_flow_method
from datamodules.flow.reading import open_flow
from datamodules.jobs.target_folder import MANIFEST
from datamodules.storage.source import Place, Source
from datamodules.video.errors import VideoError
from datamodules.video.frame_folder import Indices
from datamodules.video.reader import open_video
from datamodules.video.segment import frames_between
from datamodules.video.suffixes import stem_of

__all__ = [
    "ComputedFlow",
    "FlowInput",
    "FlowReading",
    "FlowSource",
    "StoredFlow",
    "flow_views",
    "read_stacks",
]

BOUND = 20.0
"""Default bound of flow, in pixels."""
LOOKED_AT = 8
"""Videos whose flow is looked for before anything is trained on it."""

_method = lru_cache(maxsize=1)(make_flow_method)


class FlowReading(AbstractContextManager["FlowReading"], Protocol):
    """The flow of one video, opened; a context manager."""

    def get_flow(self, indices: Indices) -> Tensor:
        """Read codes of fields by the number of their first frame, from 0, (N, 2, H, W), uint8."""
        ...


class FlowSource(Protocol):
    """A dataset's source of optical flow; is sent to loader workers."""

    @property
    def spec(self) -> FlowSpec:
        """The settings it was made with, for the checkpoint."""
        ...

    def open(self, path: str, num_frames: int) -> FlowReading:
        """Open the flow of a video.

        Args:
            path: The video's path below the dataset's root.
            num_frames: Frames of the whole video.

        Raises:
            VideoError: There is none, or it is damaged.
        """
        ...

    def check(self, table: VideoTable) -> None:
        """Check before a run that there is flow at all.

        Args:
            table: Videos, of which a few are looked at.

        Raises:
            UserError: If none of a few of them has flow.
        """
        ...


@dataclass(frozen=True)
class FlowInput:
    """Optical flow beside the frames, for two-stream networks and ST-ResNet.

    Attributes:
        root: Folder of the flow: as `kinetoscope flow` wrote it, or in another common naming.
        path: Pattern of a video's folder below it: `{path}` is the video's own path below
            `data.root` without suffix, `{name}` its last part, `{folder}` the part before, and
            `{number}` the name as a number, as in `{number:06d}`.
        length: Flow fields of a stack, L; equal to `model.flow_length` (10).
        method: Method of estimation; null for the one that `kinetoscope flow` noted.
        bound: Bound of its 8-bit coding, in pixels; null likewise.
        short_side: Short side of the frames that it was estimated on, in pixels; null likewise.

    Raises:
        UserError: If `path` is no such pattern, or a number is too small.
    """

    root: str | None = None
    path: str = "{path}"
    length: int = 10
    method: str | None = None
    bound: float | None = None
    short_side: int | None = None

    def __post_init__(self) -> None:
        if self.length < 1:
            raise UserError(f"data.flow.length={self.length} is too small; give at least 1")
        if self.bound is not None:
            FlowCoding(self.bound)
        try:
            fill_pattern(self.path, "folder/1.mp4")
        except (ValueError, KeyError, IndexError) as error:
            raise UserError(
                f"data.flow.path={self.path!r} is no pattern of {{path}}, {{name}}, {{folder}} and "
                f"{{number}} ({error}); correct it"
            ) from error


def fill_pattern(pattern: str, video: str) -> str:
    """Fill in the path of a video's flow, relative to the folder of the flow.

    Args:
        pattern: See `FlowInput.path`.
        video: The video's path below the dataset's root.

    Raises:
        UserError: If the pattern wants a number and the name is none.
        KeyError: If the pattern names something unknown.
    """
    path = PurePosixPath(stem_of(video))
    words: dict[str, str | int] = {
        "path": str(path),
        "name": path.name,
        "folder": path.parent.name,
    }
    if any(field == "number" for _, field, _, _ in string.Formatter().parse(pattern)):
        words["number"] = int(path.name)
    return pattern.format(**words)


@dataclass(frozen=True)
class StoredFlow:
    """Flow that lies in a folder per video.

    Attributes:
        root: Folder of the flow.
        pattern: See `FlowInput.path`.
        spec: The settings it was made with.
    """

    root: Path
    pattern: str
    spec: FlowSpec

    @classmethod
    def of(cls, flow: FlowInput) -> Self:
        """Find the flow that a user names.

        Raises:
            UserError: If the folder is not there, or nothing says how its flow was made, or its
                manifest says otherwise.
        """
        if flow.root is None:
            raise UserError(
                "data.flow.root is not given; make optical flow with `kinetoscope flow DATA_ROOT "
                "FLOW_ROOT` and set data.flow.root to that folder"
            )
        root = Path(flow.root)
        if not root.is_dir():
            raise UserError(
                f"there is no folder of optical flow {root}; make it with `kinetoscope flow "
                f"DATA_ROOT {root}`, or set data.flow.root to where it is"
            )
        return cls(root, flow.path, _stored_spec(root, flow))

    def open(self, path: str, num_frames: int) -> FlowReading:
        """See `FlowSource.open`."""
        return open_flow(self._folder(path), num_frames)

    def _folder(self, path: str) -> Path:
        try:
            return self.root / fill_pattern(self.pattern, path)
        except ValueError as error:
            raise UserError(
                f"data.flow.path={self.pattern!r} does not fit the video {path}: {error}; correct "
                "the pattern"
            ) from error

    def check(self, table: VideoTable) -> None:
        """See `FlowSource.check`."""
        step = max(1, len(table.present) // LOOKED_AT)
        paths = [table.paths[i] for i in table.present[::step][:LOOKED_AT].tolist()]
        problems = [self._problem(path) for path in paths]
        if problems and all(problems):
            raise UserError(
                f"none of {len(problems)} videos looked at has optical flow; of {paths[0]} it was "
                f"expected as {self._folder(paths[0])} ({problems[0]}); correct data.flow.root, or "
                "the pattern data.flow.path (say '{folder}/{name}' or '{name}'), or run "
                "`kinetoscope flow` on data.root"
            )

    def _problem(self, path: str) -> str:
        """Name the reason why there is no flow; empty if there is."""
        try:
            with open_flow(self._folder(path)):
                return ""
        except VideoError as error:
            return str(error.reason)


def _stored_spec(root: Path, flow: FlowInput) -> FlowSpec:
    """Find the settings of stored flow, by its manifest and by the user's own."""
    said = {"method": flow.method, "bound": flow.bound, "short_side": flow.short_side}
    if (root / MANIFEST).exists():
        settings = read_flow_settings(root)
        for name, value in said.items():
            noted = getattr(settings, name)
            if value is not None and value != noted:
                raise UserError(
                    f"data.flow.{name}={value} is not what {root} holds, {name}={noted}; leave it "
                    "out, or give another data.flow.root"
                )
        return FlowSpec(flow.length, settings.method, settings.bound, settings.short_side)
    for name in ("method", "bound"):
        if said[name] is None:
            raise UserError(
                f"{root} was not written by `kinetoscope flow`, so nothing says how its flow was "
                f"made; set data.flow.{name} (say, method tvl1 and bound 20)"
            )
    assert flow.method is not None
    assert flow.bound is not None
    return FlowSpec(flow.length, flow.method, flow.bound, flow.short_side)


@dataclass(frozen=True)
class ComputedFlow:
    """Flow that is computed from the frames as it is asked for, where there is nothing but a video.

    Attributes:
        root: Folder that videos are relative to.
        spec: The settings to make it with, by `tvl1` or `dis`; its short side is known.
    """

    root: Source
    spec: FlowSpec

    def open(self, path: str, num_frames: int) -> FlowReading:
        """See `FlowSource.open`."""
        if num_frames < 2:
            raise VideoError(path, "no frames", "it has a single frame, flow needs two")
        return _ComputedFields(self.root / path, self.spec)

    def check(self, table: VideoTable) -> None:
        """Do nothing, as no file is needed but the videos."""


class _ComputedFields:
    """The flow of one video, computed field by field.

    Args:
        path: The video.
        spec: The settings to make it with.
    """

    def __init__(self, path: Source, spec: FlowSpec) -> None:
        self._method = _method(cast(FlowMethodName, spec.method))
        self._coding = FlowCoding(spec.bound)
        self._video = open_video(path)
        assert spec.short_side is not None, "flow cannot be computed for an unknown size"
        self._size = working_size(self._video.height, self._video.width, spec.short_side)

    def get_flow(self, indices: Indices) -> Tensor:
        """See `FlowReading.get_flow`."""
        wanted, ranks = np.unique(np.asarray(indices, np.int64), return_inverse=True)
        breaks = np.flatnonzero(np.diff(wanted) > 1) + 1
        codes = np.concatenate([self._run(run) for run in np.split(wanted, breaks)])
        return torch.from_numpy(codes)[torch.from_numpy(ranks)]

    def _run(self, fields: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Compute codes of consecutive fields, (N, 2, H, W)."""
        numbers = range(int(fields[0]), int(fields[-1]) + 2)
        frames = self._video.get_frames(
            numbers, lambda some: tvf.resize(some, list(self._size), antialias=True)
        )
        flow = self._method.estimate(frames.permute(0, 2, 3, 1).contiguous().numpy())
        return self._coding.encode(flow)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._video.close()


def read_stacks(
    source: FlowSource,
    path: str,
    video_path: Place,
    centres: npt.NDArray[np.int64],
    num_frames: int,
    segment: tuple[float, float],
) -> Tensor:
    """Read the stacks of flow around frames of a video or of a segment of one.

    Args:
        source: The source of flow.
        path: The video's path below the dataset's root.
        video_path: The video.
        centres: Numbers of frames, from 0 where the segment begins, (T,).
        num_frames: Frames of the video, or of the segment.
        segment: Its begin and end, in seconds; NaN for the whole video.

    Returns:
        Codes, (T * L, 2, H, W), uint8.

    Raises:
        VideoError: The flow cannot be read.
    """
    first, total = 0, num_frames
    if not np.isnan(segment).all():
        with open_video(video_path) as video:
            first, _ = frames_between(video.timestamps, *segment)
            total = video.num_frames
    fields = stack_fields(centres, num_frames, source.spec.length) + first
    with source.open(path, total) as flow:
        return flow.get_flow(np.minimum(fields.ravel(), max(0, total - 2)))


def flow_views(crops: Tensor, shape: tuple[int, int], mirrored: int) -> Tensor:
    """Arrange cropped fields as the views of a batch.

    Args:
        crops: Codes, (M, N * T * L, 2, H, W), uint8, of which the last are mirror images.
        shape: Clips N and chunks of a clip T.
        mirrored: Number of mirror images among the M crops, whose motion across is still as it was.

    Returns:
        Views clip by clip, (N * M, 2L, T, H, W), channels u1, v1, u2, v2, ...
    """
    if mirrored:
        crops = crops.clone()
        crops[-mirrored:, :, 0] = 255 - crops[-mirrored:, :, 0]
    # (M, N*T*L, 2, H, W) -> (M, N, T, 2L, H, W) -> (N, M, 2L, T, H, W) -> (V, 2L, T, H, W)
    stacks = crops.reshape(len(crops), *shape, -1, *crops.shape[3:])
    return stacks.permute(1, 0, 3, 2, 4, 5).flatten(0, 1)

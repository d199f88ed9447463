"""Optical flow of one video: frames in, coded flow in a folder of its own, whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
import torchvision.transforms.v2.functional as tvf

from datamodules.clips.boxes import working_size
from datamodules.errors import UserError
from datamodules.flow.coding import FlowCoding
from datamodules.flow.methods import FlowMethodName, make_flow_method
from datamodules.flow.storage import FlowRecord, FlowStorage, open_flow_writer
from datamodules.jobs.dataset_jobs import Step
from datamodules.storage.source import Source
from datamodules.video.errors import VideoError
from datamodules.video.frame_folder import FrameFolderReader
from datamodules.video.reader import VideoReader, open_video

__all__ = ["FlowExtraction", "FlowJob", "FlowSettings"]

CHUNK = 16
"""Fields that are computed before they are written; also the pairs of frames RAFT takes at once."""
LEAST_SIDE = 32
"""Least short side in pixels that the methods work with."""

_method = lru_cache(maxsize=1)(make_flow_method)


@dataclass(frozen=True)
class FlowSettings:
    """Settings by which flow is computed and stored.

    Attributes:
        method: Method of estimation.
        short_side: Short side that frames are resized to before, in pixels; flow is in pixels of
            the resized frames.
        bound: Longest displacement along an axis that is kept, in pixels.
        storage: Form of storage.

    Raises:
        UserError: If a value is not possible.
    """

    method: FlowMethodName = "tvl1"
    short_side: int = 256
    bound: float = 20.0
    storage: FlowStorage = "video"

    def __post_init__(self) -> None:
        for name, kind in (("method", FlowMethodName), ("storage", FlowStorage)):
            if getattr(self, name) not in get_args(kind):
                raise UserError(
                    f"{name}={getattr(self, name)} is not possible; "
                    f"set {name} to {' or '.join(get_args(kind))}"
                )
        if self.short_side < LEAST_SIDE:
            raise UserError(
                f"short_side={self.short_side} is too small for optical flow; "
                f"set short_side to {LEAST_SIDE} or more"
            )
        FlowCoding(self.bound)


class FlowJob(NamedTuple):
    """A video and the folder for its flow.

    Attributes:
        video: Path of the file or frame folder, relative to the source.
        folder: Path of the folder for its flow, relative to the target.
    """

    video: str
    folder: str

    def __str__(self) -> str:
        return self.folder


@dataclass(frozen=True)
class FlowExtraction:
    """Work that computes and stores the flow of one video after another.

    Attributes:
        source: Folder that videos are relative to.
        target: Folder that flow is relative to.
        partial: Folder on the same file system for unfinished flow.
        settings: Method, size and storage of the flow.
        weights: See `make_flow_method`.
        device: See `make_flow_method`.
        num_threads: Threads of this process: 1 where videos are done side by side; None for as many
            as torch likes.
    """

    source: Source
    target: Path
    partial: Path
    settings: FlowSettings
    weights: Path | None = None
    device: str | None = None
    num_threads: int | None = None

    def __call__(self, job: FlowJob) -> Generator[Step, None, None]:
        """Do one video.

        Args:
            job: The video.

        Yields:
            The finished part of the video, chunk by chunk.

        Raises:
            VideoError: The video cannot be read, or has a single frame.
            OSError: The flow cannot be written.
        """
        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        folder = self.partial / uuid.uuid4().hex
        folder.mkdir()
        try:
            yield from self._extract(self.source / job.video, folder)
            self._move(folder, self.target / job.folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _extract(self, video: Source, folder: Path) -> Iterator[Step]:
        """Write the flow of a video and its record into a folder."""
        coding = FlowCoding(self.settings.bound)
        method = _method(self.settings.method, self.weights, self.device)
        with open_video(video) as reader:
            num_fields = reader.num_frames - 1
            if not num_fields:
                raise VideoError(video, "no frames", "it has a single frame, flow needs two")
            size = working_size(reader.height, reader.width, self.settings.short_side)
            clipped = 0.0
            with open_flow_writer(self.settings.storage, folder, *size) as writer:
                for frames in _runs(reader, size):
                    flow = method.estimate(frames)
                    writer.write(coding.encode(flow))
                    share = len(flow) / num_fields
                    clipped += share * coding.clipped_share(flow)
                    yield Step(len(flow), share)
        FlowRecord(num_fields, *size, clipped).write(folder)

    def _move(self, folder: Path, target: Path) -> None:
        """Move a finished folder to its target, in exchange for what may lie there unfinished."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            os.rename(target, folder.with_name(f"{folder.name}.old"))
        os.rename(folder, target)


def _runs(
    reader: VideoReader | FrameFolderReader, size: tuple[int, int]
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield all frames of a video in runs that share their end frames, (T, H, W, 3), resized."""
    last = np.empty((0, *size, 3), np.uint8)
    for start in range(0, reader.num_frames, CHUNK):
        numbers = range(start, min(start + CHUNK, reader.num_frames))
        frames = reader.get_frames(
            numbers, lambda some: tvf.resize(some, list(size), antialias=True)
        )
        run = np.concatenate([last, frames.permute(0, 2, 3, 1).numpy()])
        if len(run) > 1:
            yield run
        last = run[-1:]

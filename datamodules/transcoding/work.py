"""Transcoding of one video: frames in, a smaller file out, whole and checked or not at all."""

import json
import os
import uuid
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torchvision.transforms.v2.functional as tvf
from numpy.typing import NDArray

from datamodules.clips.boxes import working_size
from datamodules.jobs.dataset_jobs import Step
from datamodules.storage.source import Source
from datamodules.streaming.writing import TICKS, VideoWriter
from datamodules.transcoding.settings import TranscodeSettings
from datamodules.video.errors import VideoError
from datamodules.video.reader import VideoReader
from datamodules.video.suffixes import stem_of

__all__ = ["RECORDS", "Record", "TranscodeJob", "Transcoding", "read_records", "transcoded_name"]

CHUNK = 16
"""Frames that are decoded before they are encoded."""

COMPARED = 8
"""Frames of a video whose error is measured."""

RECORDS = "transcoded.jsonl"
"""File with a line for each video that was transcoded."""


class TranscodeJob(NamedTuple):
    """A video and the file that is made of it.

    Attributes:
        video: Path of the file, relative to the source.
        file: Path of the new file, relative to the target.
    """

    video: str
    file: str

    def __str__(self) -> str:
        return self.file


def transcoded_name(video: str) -> str:
    """Name the file that is made of a video.

    Args:
        video: Path of the video, relative to the source.
    """
    return f"{stem_of(video)}.mp4"


@dataclass(frozen=True)
class Record:
    """A line of the file of what became of the videos.

    Attributes:
        file: Path of the new file, relative to the target.
        frames: Number of its frames.
        bytes_before: Size of the old file.
        bytes_after: Size of the new one.
        psnr: Peak signal-to-noise ratio of some frames against the resized old ones, in dB.
    """

    file: str
    frames: int
    bytes_before: int
    bytes_after: int
    psnr: float


@dataclass(frozen=True)
class Transcoding:
    """Work that transcodes one video after another.

    Attributes:
        source: Folder that videos are relative to.
        target: Folder that new files are relative to.
        partial: Folder on the same file system for unfinished files.
        settings: Size and encoding.
        num_threads: Threads of this process: 1 where videos are done side by side; None for as many
            as torch likes.
    """

    source: Source
    target: Path
    partial: Path
    settings: TranscodeSettings
    num_threads: int | None = None

    def __call__(self, job: TranscodeJob) -> Generator[Step, None, None]:
        """Do one video.

        Args:
            job: The video.

        Yields:
            The finished part of the video, chunk by chunk.

        Raises:
            VideoError: The video cannot be read, or not be written as it is.
            OSError: The new file cannot be written.
        """
        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        part = self.partial / f"{uuid.uuid4().hex}.mp4"
        try:
            with VideoReader(self.source / job.video) as reader:
                kept = yield from self._encode(reader, part)
                psnr = _check(reader, part, kept)
            self._move(job, part, reader.num_frames, psnr)
        finally:
            part.unlink(missing_ok=True)

    def _encode(
        self, reader: VideoReader, part: Path
    ) -> Generator[Step, None, dict[int, NDArray[np.uint8]]]:
        """Write all frames; return some of them by number, as they were before, (H, W, 3)."""
        compared = set(np.linspace(0, reader.num_frames - 1, COMPARED).round().astype(int).tolist())
        kept = {}
        options = self.settings.encoder_options
        with VideoWriter(part, max(reader.frame_rate, 1.0), options=options) as writer:
            for numbers, frames in _chunks(reader, self._size(reader)):
                for number, pixels in zip(numbers, frames, strict=True):
                    writer.write(pixels, float(reader.timestamps[number]))
                    if number in compared:
                        kept[number] = pixels
                yield Step(len(numbers), len(numbers) / reader.num_frames)
        return kept

    def _size(self, reader: VideoReader) -> tuple[int, int]:
        """Compute height and width of the new frames, which H.264 wants even; none is cut off."""
        side = min(self.settings.short_side, reader.height, reader.width)
        height, width = working_size(reader.height, reader.width, side)
        return height + height % 2, width + width % 2

    def _move(self, job: TranscodeJob, part: Path, frames: int, psnr: float) -> None:
        """Put a finished file in its place, and note what became of the video."""
        target = self.target / job.file
        target.parent.mkdir(parents=True, exist_ok=True)
        sizes = (self.source / job.video).size(), part.stat().st_size
        os.replace(part, target)
        line = json.dumps(asdict(Record(job.file, frames, *sizes, round(psnr, 3)))) + "\n"
        with (self.target / RECORDS).open("a", encoding="utf-8") as file:
            file.write(line)  # in one piece, as it is short: other processes write here too


def _chunks(
    reader: VideoReader, size: tuple[int, int]
) -> Iterator[tuple[range, NDArray[np.uint8]]]:
    """Yield the numbers and pixels of all frames a few at a time, (T, H, W, 3), resized."""
    for start in range(0, reader.num_frames, CHUNK):
        numbers = range(start, min(start + CHUNK, reader.num_frames))
        frames = reader.get_frames(
            numbers, lambda some: tvf.resize(some, list(size), antialias=True), more=True
        )
        yield numbers, np.ascontiguousarray(frames.permute(0, 2, 3, 1).numpy())


def _check(reader: VideoReader, part: Path, kept: dict[int, NDArray[np.uint8]]) -> float:
    """Compare the new file with the old one: frames, times, and the pixels of some frames.

    Args:
        reader: The old file.
        part: The new file.
        kept: Frames of the old one by number, resized, (H, W, 3).

    Returns:
        Peak signal-to-noise ratio of those frames, in dB; at most 99.

    Raises:
        VideoError: If frames are missing, or shown at other times.
    """
    with VideoReader(part) as made:
        times, wanted = made.timestamps, reader.timestamps
        if len(times) != len(wanted) or np.abs(times - wanted).max() > 1 / TICKS:
            found = f"{len(times)} frames of {len(wanted)}"
            if len(times) == len(wanted):
                found = f"times that differ by up to {np.abs(times - wanted).max():.4f} s"
            raise VideoError(reader.source, "damaged", f"encoded once more, it has {found}")
        frames = made.get_frames(sorted(kept)).permute(0, 2, 3, 1).numpy().astype(np.float64)
    before = np.stack([kept[number] for number in sorted(kept)])
    error = float(np.square(frames - before).mean())
    return min(99.0, 10 * float(np.log10(255**2 / max(error, 1e-12))))


def read_records(target: Path) -> list[Record]:
    """Read what became of the videos of a folder, the last line of each.

    Args:
        target: The folder.
    """
    path = target / RECORDS
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    records = [Record(**json.loads(line)) for line in lines if line.endswith("}")]
    return list({record.file: record for record in records}.values())

"""Folders of numbered images, read as videos."""

import operator
import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from datamodules.errors import UserError
from datamodules.stopwatch import during
from datamodules.storage.source import Place, Source, as_source
from datamodules.video.errors import MAX_PIXELS, VideoError
from datamodules.video.frame_parts import Change, FrameParts
from datamodules.video.patience import patiently
from datamodules.video.suffixes import IMAGE_SUFFIXES

Indices = Sequence[int] | NDArray[np.int64]
Clip: TypeAlias = tuple[Indices, Change | None]

_FORMATS = ("BMP", "JPEG", "PNG", "WEBP")  # of all that Pillow reads, some start other programs
_SUFFIX = "|".join(re.escape(suffix) for suffix in sorted(IMAGE_SUFFIXES))
_NUMBERED = re.compile(rf"(.*?)(\d+)({_SUFFIX})", re.IGNORECASE)
_FLOW = re.compile(r"(?:.*[_-])?(?:flow_)?[xy]_", re.IGNORECASE)


def check_indices(indices: Indices, num_frames: int, source: Source) -> NDArray[np.int64]:
    """Check frame numbers, and make an array of them.

    Args:
        indices: Frame numbers.
        num_frames: Frames of the video.
        source: The video, for the message.

    Raises:
        IndexError: A number outside the video.
    """
    numbers = np.array([operator.index(i) for i in indices], np.int64)
    outside = numbers[(numbers < 0) | (numbers >= num_frames)]
    if len(outside):
        raise IndexError(
            f"{source} has frames 0 to {num_frames - 1}, got {outside[0]}; change indices"
        )
    return numbers


class FrameFolderReader:
    """Reader of a folder of images, one per frame, as `VideoReader` is of a file.

    Any naming will do that ends in the frame number, such as `img_00001.jpg`, `00001.jpg` or
    `frame000001.png`, counted from 0 or 1. Optical flow (`flow_x_00001.jpg`, `flow_y_00001.jpg`)
    and hidden files in the same folder are left aside. Opening reads the names only, no image.

    Images are decoded one after the other: clips in parallel are what loader workers are for. Two
    threads gained nothing at 320x240 (JPEG, Pillow, best of many rounds: 8 images 3.8 ms by one
    thread and 3.6 by two, 32 images 15.7 and 20.2; on a single core 4.0 and 4.3, 16.0 and 18.2).

    Args:
        folder: The folder.
        frame_rate: Images per second. Images carry no times: without a rate, `timestamps` are frame
            numbers, as at one image per second.

    Raises:
        UserError: `frame_rate` is not positive.
        VideoError: The folder cannot be read as one series of images.
    """

    def __init__(self, folder: Place, frame_rate: float | None = None) -> None:
        if frame_rate is not None and not frame_rate > 0:
            raise UserError(f"got frame_rate={frame_rate}; give images per second above 0, or None")
        self.source = as_source(folder)
        self.frame_rate = 1.0 if frame_rate is None else float(frame_rate)
        self._names = patiently(lambda: _series(self.source), self.source)

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self._names)

    @property
    def height(self) -> int:
        """Rows of the first image."""
        return self._size[1]

    @property
    def width(self) -> int:
        """Columns of the first image."""
        return self._size[0]

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """Times at which frames are shown, in seconds, (num_frames,)."""
        return np.arange(self.num_frames, dtype=np.float64) / self.frame_rate

    def get_frames(self, indices: Indices, change: Change | None = None) -> Tensor:
        """Decode frames.

        Args:
            indices: Frame numbers from 0, in any order, repeated or not.
            change: Change of each frame, done a few frames at a time; None for none.

        Returns:
            uint8 RGB frames in the order asked, (N, C, H, W), stored with channels last, or what
            `change` makes of them, (N, ...); grey images have three equal channels.

        Raises:
            IndexError: A number outside the folder.
            VideoError: An image is broken or of another size than the first.
        """
        wanted = check_indices(indices, self.num_frames, self.source)
        return patiently(lambda: self._frames(wanted, change), self.source)

    def get_clips(self, clips: Sequence[Clip]) -> list[Tensor]:
        """Decode the frames of several clips, each changed in a way of its own; see `get_frames`.

        Args:
            clips: Frame numbers and change of each.
        """
        return [self.get_frames(indices, change) for indices, change in clips]

    def _frames(self, wanted: NDArray[np.int64], change: Change | None) -> Tensor:
        """Decode frames that exist; see `get_frames`."""
        order, ranks = np.unique(wanted, return_inverse=True)
        parts = FrameParts(len(order), self.height, self.width, change)
        for position, number in enumerate(order.tolist()):
            image = self._image(number)
            if image.shape[:2] != (self.height, self.width):
                (height, width), name = image.shape[:2], self._names[number]
                detail = f"{name} is {width}x{height}, the first image {self.width}x{self.height}"
                raise VideoError(self.source, "changing size", detail)
            parts.put(position, image)
        frames = parts.frames()
        return frames if np.array_equal(wanted, order) else frames[torch.from_numpy(ranks)]

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Columns and rows of the first image, whose pixels are not decoded for it."""
        with self._opened(0) as image:
            return image.size

    def _image(self, number: int) -> NDArray[np.uint8]:
        """Decode an image, (H, W, C)."""
        with during("decode"), self._opened(number) as image:
            return np.asarray(image.convert("RGB"))

    @contextmanager
    def _opened(self, number: int) -> Iterator[Image.Image]:
        """Open an image whose header is good."""
        name = self._names[number]
        try:
            with self._file(name) as file, Image.open(file, formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise VideoError(
                        self.source, "too large", f"{name} is {image.width}x{image.height} pixels"
                    )
                if image.mode[0] in "IF":
                    raise VideoError(self.source, "no decoder", f"{name} has more than 8 bits")
                yield image
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise VideoError(self.source, "too large", f"{name}: {error}") from error
        except (OSError, EOFError, SyntaxError, ValueError, struct.error) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of Pillow
                raise VideoError(self.source, "unreadable", f"{name}: {error}") from error
            raise VideoError(self.source, "damaged", f"{name} does not decode ({error})") from error

    @contextmanager
    def _file(self, name: str) -> Iterator[Path | BinaryIO]:
        """Give Pillow the path of a local image, so that errors name it, or an open file."""
        source = self.source / name
        if source.path is not None:
            yield source.path
            return
        with source.open() as file:
            yield file

    def fetch(self, indices: Indices) -> None:
        """Fetch the images of some frames, where they lie elsewhere.

        Args:
            indices: Frame numbers from 0.

        Raises:
            IndexError: A number outside the folder.
            ShardError: See `Source.fetch`.
        """
        wanted = check_indices(indices, self.num_frames, self.source)
        for number in np.unique(wanted).tolist():
            image = self.source / self._names[number]
            image.fetch([(0, image.size())])

    def close(self) -> None:
        """Do nothing, as no file stays open between calls."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _series(source: Source) -> list[str]:
    """List the image names of a folder in order of their numbers."""
    try:
        names = source.names()
    except FileNotFoundError as error:
        raise VideoError(source, "missing", "there is no such folder") from error
    except OSError as error:
        raise VideoError(source, "unreadable", str(error)) from error
    series: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is not None and not name.startswith(".") and not _FLOW.fullmatch(match[1]):
            series[match[1], match[3]].append((int(match[2]), name))
    if not series:
        raise VideoError(source, "no frames", f"none of its {len(names)} files is a numbered image")
    if len(series) > 1:
        found = ", ".join(sorted(f"{prefix}*{suffix}" for prefix, suffix in series))
        raise VideoError(source, "not a video", f"it holds several series of images: {found}")
    images = sorted(*series.values())
    first = images[0][0] if images[0][0] < 2 else 1
    for expected, (number, name) in enumerate(images, first):
        if number < expected:
            raise VideoError(source, "not a video", f"number {number} occurs twice, as {name} too")
        if number > expected:
            detail = f"image {expected} is missing, next is {name}"
            raise VideoError(source, "missing frame", detail)
    return [name for _, name in images]

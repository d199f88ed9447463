"""The storage of coded optical flow: a folder per video, in one of two forms.

    <folder>/flow_x_00001.jpg, flow_y_00001.jpg, ...    storage "jpeg": the common naming
    <folder>/flow_x.mp4, flow_y.mp4                     storage "video": a grey H.264 file each
    <folder>/flow.json                                  its record, written last

Image n, counted from 1, is the flow from frame n to frame n + 1, so a video has one less than
frames. The video form needs less space, has no pixel far from its code (constant quantizer, full
range) and takes 2 files instead of hundreds, with a key frame every 6 fields. The JPEG form is read
by any tool, and twice as fast where stacks of ten fields are read here and there.
"""

import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol, Self, TypeAlias

import av
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream as AVVideoStream
from PIL import Image

__all__ = ["AXES", "FlowRecord", "FlowStorage", "FlowWriter", "is_stored", "open_flow_writer"]

FlowStorage: TypeAlias = Literal["jpeg", "video"]
Codes: TypeAlias = npt.NDArray[np.uint8]

AXES = ("x", "y")
RECORD_NAME = "flow.json"
JPEG_QUALITY = 95
FRAME_RATE = 25  # of the flow videos; nobody looks at their times
# A constant quantizer without options for the eye: every pixel is as near to its code as any.
ENCODER_OPTIONS = {
    "preset": "veryfast",
    "qp": "8",
    "x264-params": "keyint=6:scenecut=0:bframes=0:aq-mode=0:no-psy=1:trellis=2:threads=1",
}


def image_name(axis: str, number: int) -> str:
    """Make the name of a flow image in the common naming.

    Args:
        axis: `x` or `y`.
        number: From 1.
    """
    return f"flow_{axis}_{number:05d}.jpg"


def video_name(axis: str) -> str:
    """Make the name of a flow video.

    Args:
        axis: `x` or `y`.
    """
    return f"flow_{axis}.mp4"


@dataclass(frozen=True)
class FlowRecord:
    """The record of one video's stored flow.

    Attributes:
        num_fields: Flow fields, one less than frames.
        height: Rows of a field.
        width: Columns of a field.
        clipped: Part of the displacements that were longer than the bound.
    """

    num_fields: int
    height: int
    width: int
    clipped: float

    def write(self, folder: Path) -> None:
        """Write it into the folder of its video.

        Args:
            folder: The folder.
        """
        (folder / RECORD_NAME).write_text(json.dumps(asdict(self)) + "\n")


class FlowWriter(Protocol):
    """A writer of the codes of a video in order."""

    def write(self, codes: Codes) -> None:
        """Store the next fields.

        Args:
            codes: Codes, (N, 2, H, W).
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_flow_writer(storage: FlowStorage, folder: Path, height: int, width: int) -> FlowWriter:
    """Open a writer for the flow of one video; files are complete when it is closed.

    Args:
        storage: Form of storage.
        folder: An existing folder.
        height: Rows of the fields.
        width: Columns of the fields.
    """
    return _JpegWriter(folder) if storage == "jpeg" else _VideoWriter(folder, height, width)


class _JpegWriter:
    """A writer of two grey JPEG images per field."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    def write(self, codes: Codes) -> None:
        """See `FlowWriter.write`."""
        for field in codes:
            self._number += 1
            for axis, component in zip(AXES, field, strict=True):
                # not straight to the file: on a full disk that cuts images off without an error
                image = io.BytesIO()
                Image.fromarray(component).save(image, "JPEG", quality=JPEG_QUALITY)
                name = image_name(axis, self._number)
                (self._folder / name).write_bytes(image.getvalue())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing, as every image was closed when it was written."""


class _VideoWriter:
    """A writer of two grey H.264 files."""

    def __init__(self, folder: Path, height: int, width: int) -> None:
        with ExitStack() as opened:
            self._files = [
                opened.enter_context(_GreyFile(folder / video_name(axis), height, width))
                for axis in AXES
            ]
            self._opened = opened.pop_all()

    def write(self, codes: Codes) -> None:
        """See `FlowWriter.write`."""
        for file, component in zip(self._files, codes.swapaxes(0, 1), strict=True):
            for image in component:
                file.write(image)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


class _GreyFile:
    """One H.264 file of grey images whose bytes are kept in their full range."""

    def __init__(self, path: Path, height: int, width: int) -> None:
        self._container: OutputContainer = av.open(str(path), "w", format="mp4")
        stream = self._container.add_stream("libx264", rate=FRAME_RATE, options=ENCODER_OPTIONS)
        stream.height, stream.width, stream.pix_fmt = height, width, "gray"
        stream.codec_context.thread_count = 1
        stream.codec_context.color_range = ColorRange.JPEG
        self._stream: AVVideoStream = stream

    def write(self, image: Codes) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="gray")
        frame.color_range = ColorRange.JPEG
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._container:
            self._container.mux(self._stream.encode(None))


def is_stored(folder: Path, storage: FlowStorage) -> bool:
    """Check that a folder holds the complete flow of a video, by its record and its file names.

    Args:
        folder: The video's folder.
        storage: Form of storage.
    """
    try:
        record = FlowRecord(**json.loads((folder / RECORD_NAME).read_text()))
        names = {path.name for path in folder.iterdir()}
    except (OSError, ValueError, TypeError):  # not there, cut off, something else
        return False
    return names.issuperset(_names(storage, record.num_fields))


def _names(storage: FlowStorage, num_fields: int) -> Iterator[str]:
    if storage == "video":
        yield from map(video_name, AXES)
    else:
        yield from (image_name(axis, i + 1) for axis in AXES for i in range(num_fields))

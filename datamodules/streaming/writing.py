"""Videos written frame by frame, each shown at its own time."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import av
import numpy as np
import numpy.typing as npt

__all__ = ["VideoWriter"]

TICKS = 90_000
"""Time stamps in a second."""


class VideoWriter:
    """Writer of an H.264 file in mp4; a context manager, at whose end the file is complete.

    Args:
        path: The file, with the suffix of a container or with `form`.
        frame_rate: Frames per second, for the header: the times of the frames may differ.
        form: FFmpeg's name of the container.
        options: Options of libx264.
    """

    def __init__(
        self,
        path: Path,
        frame_rate: float,
        form: str = "mp4",
        options: Mapping[str, str] = MappingProxyType({"crf": "20"}),
    ) -> None:
        # a late start is rounded to the time of the whole file, milliseconds else
        whole = {"movie_timescale": str(TICKS)} if form == "mp4" else {}
        self._container = av.open(str(path), "w", format=form, options=whole)
        rate = Fraction(frame_rate).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options=dict(options))
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS)
        self._stream.codec_context.thread_count = 1
        self._last = -1

    def write(self, pixels: npt.NDArray[np.uint8], time: float) -> None:
        """Append a frame.

        Args:
            pixels: RGB, (H, W, 3), of the same size each time; an odd row or column is left out.
            time: Seconds from the begin, more than those of the frame before.
        """
        height, width = pixels.shape[0] & ~1, pixels.shape[1] & ~1
        if self._last < 0:
            self._stream.height, self._stream.width = height, width
        even = np.ascontiguousarray(pixels[:height, :width])
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        self._last = max(round(time * TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and self._last >= 0:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

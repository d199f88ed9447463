"""A stretch of a video, between two times."""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from datamodules.storage.source import Place
from datamodules.video.errors import VideoError
from datamodules.video.frame_folder import Clip, FrameFolderReader, Indices, check_indices
from datamodules.video.frame_parts import Change
from datamodules.video.reader import open_video


class VideoSegment:
    """The frames of a video that are shown in [start, end), numbered from 0.

    Args:
        path: The video file or frame folder.
        start: Begin of the segment, in seconds of presentation time; NaN for the first frame.
        end: Its end, cut off at the end of the video; NaN for the last frame.

    Raises:
        VideoError: The video cannot be opened, shows no frame in that time, or is a frame folder of
            which a segment is asked for: its images carry no times.
    """

    def __init__(self, path: Place, start: float = math.nan, end: float = math.nan) -> None:
        self._video = open_video(path)
        is_whole = math.isnan(start) and math.isnan(end)
        if isinstance(self._video, FrameFolderReader) and not is_whole:
            raise VideoError(path, "no times", f"its images do not tell what is at {start:.3f} s")
        times = self._video.timestamps
        self._first, self.num_frames = frames_between(times, start, end)
        if not self.num_frames:
            self.close()
            shown = f"its frames are shown from {times[0]:.3f} to {times[-1]:.3f} s"
            detail = f"no frame from {start:.3f} to {end:.3f} s, {shown}"
            raise VideoError(path, "empty segment", detail)

    @property
    def frame_rate(self) -> float:
        """Frames per second; NaN for a frame folder, which does not tell."""
        video = self._video
        return math.nan if isinstance(video, FrameFolderReader) else video.frame_rate

    @property
    def height(self) -> int:
        """Rows, after rotation."""
        return self._video.height

    @property
    def width(self) -> int:
        """Columns, after rotation."""
        return self._video.width

    def get_frames(self, indices: Indices, change: Change | None = None) -> Tensor:
        """Decode frames of the segment, see `VideoReader.get_frames`.

        Args:
            indices: Frame numbers from 0, the segment's first frame.
            change: Change of each frame; None for none.

        Returns:
            uint8 RGB frames in the order asked, (N, C, H, W), stored with channels last, or what
            `change` makes of them, (N, ...).

        Raises:
            IndexError: A number outside the segment.
            VideoError: The video is damaged.
        """
        numbers = check_indices(indices, self.num_frames, self._video.source)
        return self._video.get_frames(numbers + self._first, change)

    def get_clips(self, clips: Sequence[Clip]) -> list[Tensor]:
        """Decode several clips in one pass, see `VideoReader.get_clips`.

        Args:
            clips: Frame numbers from 0, the segment's first frame, and change of each clip.

        Raises:
            IndexError: A number outside the segment.
            VideoError: The video is damaged.
        """
        moved = [
            (check_indices(wanted, self.num_frames, self._video.source) + self._first, change)
            for wanted, change in clips
        ]
        return self._video.get_clips(moved)

    def fetch(self, indices: Indices) -> None:
        """Fetch all that decoding some frames reads, see `VideoReader.fetch`.

        Args:
            indices: Frame numbers from 0, the segment's first frame.
        """
        numbers = check_indices(indices, self.num_frames, self._video.source)
        self._video.fetch(numbers + self._first)

    def close(self) -> None:
        """Close the video."""
        self._video.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def frames_between(timestamps: NDArray[np.float64], start: float, end: float) -> tuple[int, int]:
    """Find the frames that are shown in [start, end).

    Times are compared in single precision, as annotation tables keep them: a frame shown at 12.04 s
    is not before a start of 12.04 s.

    Args:
        timestamps: Times at which frames are shown, in seconds, not decreasing, (num_frames,).
        start: In seconds; NaN for the first frame.
        end: In seconds, cut off at the last frame; NaN for all that follow.

    Returns:
        The first frame and the number of frames, which may be 0.
    """
    times = timestamps.astype(np.float32)
    first = 0 if math.isnan(start) else int(np.searchsorted(times, np.float32(start)))
    after = len(times) if math.isnan(end) else int(np.searchsorted(times, np.float32(end)))
    return first, max(0, after - first)

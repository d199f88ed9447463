"""Clip samplers, which choose the frames of a clip: `FrameSampler` and the base of own ones."""

import math
from abc import ABC, abstractmethod

import numpy as np

from datamodules.clips.chunks import chunk_frames, even_test_clip
from datamodules.clips.sampling import (
    FrameIndices,
    check_counts,
    dense_clip,
    dense_test_clips,
    segment_frames,
    segment_test_clips,
    super_image_frames,
    super_image_test_clips,
    uniform_frames,
)
from datamodules.errors import UserError
from datamodules.plugins.described import DescribedValue

__all__ = ["ClipSampler", "FrameSampler"]


class ClipSampler(DescribedValue, ABC):
    """Base of clip samplers, which choose the frames of a clip; derive your own from it.

    All randomness comes from the generator that is handed in, which is made from (seed, epoch,
    index): so the same clips come out on any number of workers and devices, and in a run that was
    killed and goes on. A sampler keeps no state. Its class path and its arguments, which must be
    plain values, stand in every checkpoint.
    """

    frames_per_segment: int = 1
    """Consecutive frames out of each segment; above 1 for StNet's super-images."""
    frame_stride: int | None = None
    """Distance between the frames of a clip where it is the same for all videos."""

    @property
    @abstractmethod
    def clip_len(self) -> int:
        """Frames of a training clip, T."""

    @property
    def test_len(self) -> int:
        """Frames of an evaluation's clip; by default those of a training clip."""
        return self.clip_len

    @abstractmethod
    def train(
        self, num_frames: int, rng: np.random.Generator, frame_rate: float = math.nan
    ) -> FrameIndices:
        """Choose a random clip.

        Args:
            num_frames: Frames of the video.
            rng: Source of all randomness, of this sample in this epoch.
            frame_rate: Frames per second; NaN for a folder of images, which does not tell.

        Returns:
            Frame indices in [0, num_frames), in the order of the clip, (1, T), int64.
        """

    @abstractmethod
    def test(
        self, num_frames: int, num_clips: int = 1, frame_rate: float = math.nan
    ) -> FrameIndices:
        """Choose the fixed clips of an evaluation.

        Args:
            num_frames: Frames of the video.
            num_clips: Number of clips.
            frame_rate: Frames per second; NaN where that is unknown.

        Returns:
            Frame indices in [0, num_frames), (num_clips, T), int64.
        """

    def describe(self) -> str:
        """Write the rule in words for the protocol line."""
        made = self.description()
        args = ", ".join(f"{name}={value}" for name, value in made["init_args"].items())
        return f"{self.clip_len} frames by {made['class_path']}({args})"


class FrameSampler(ClipSampler):
    """The frames of a clip, by one of five rules.

    Args:
        num_frames: Frames of a clip: dense with `frame_stride`, uniform without.
        frame_stride: Distance between the frames of a dense clip, in frames.
        num_segments: Parts of the video that give a frame, or a run of frames, each.
        frames_per_segment: Consecutive frames out of each segment; above 1 for StNet only.
        max_frame_stride: Upper end of the range from `frame_stride` that training draws the
            distance from (ST-ResNet).
        test_frames: Frames of the one clip of an evaluation, evenly spread over the whole video,
            for networks that take any number (25 in two-stream tests).

    Raises:
        UserError: If the arguments fit no rule or two, or a number is below 1.
    """

    def __init__(
        self,
        num_frames: int | None = None,
        frame_stride: int | None = None,
        num_segments: int | None = None,
        frames_per_segment: int = 1,
        max_frame_stride: int | None = None,
        test_frames: int | None = None,
    ) -> None:
        self.num_frames = num_frames
        self.frame_stride = frame_stride
        self.num_segments = num_segments
        self.frames_per_segment = frames_per_segment
        self.max_frame_stride = max_frame_stride
        self.test_frames = test_frames
        self._check()

    def _check(self) -> None:
        given = {
            "num_frames": self.num_frames,
            "frame_stride": self.frame_stride,
            "num_segments": self.num_segments,
            "frames_per_segment": self.frames_per_segment,
            "test_frames": self.test_frames,
        }
        check_counts(**{name: value for name, value in given.items() if value is not None})
        if self.max_frame_stride is not None and (
            self.frame_stride is None or self.max_frame_stride < self.frame_stride
        ):
            raise UserError(
                f"max_frame_stride={self.max_frame_stride} needs a frame_stride up to that, not "
                f"{self.frame_stride}; correct one of them, or set max_frame_stride to null"
            )
        if self.num_segments is not None:
            for name in ("num_frames", "frame_stride"):
                if given[name] is not None:
                    raise UserError(
                        f"num_segments={self.num_segments} and {name}={given[name]} exclude each "
                        "other; set num_frames and frame_stride to null to sample segments, or "
                        "num_segments to null"
                    )
            return
        if self.num_frames is None:
            raise UserError(
                "neither num_segments nor num_frames was given; set num_segments for one frame per "
                "segment, or num_frames with frame_stride for a dense clip"
            )
        if self.frames_per_segment != 1:
            raise UserError(
                f"frames_per_segment={self.frames_per_segment} needs num_segments, which is not "
                "given; set num_segments, or leave frames_per_segment at 1"
            )

    @property
    def test_len(self) -> int:
        """Frames of an evaluation's clip."""
        return self.clip_len if self.test_frames is None else self.test_frames

    @property
    def clip_len(self) -> int:
        """Frames of a training clip, T."""
        if self.num_segments is not None:
            return self.num_segments * self.frames_per_segment
        assert self.num_frames is not None
        return self.num_frames

    def train(
        self, num_frames: int, rng: np.random.Generator, frame_rate: float = math.nan
    ) -> FrameIndices:
        """See `ClipSampler.train`; counts frames, whatever their rate."""
        return self._clip(num_frames, rng)[None]

    def test(
        self, num_frames: int, num_clips: int = 1, frame_rate: float = math.nan
    ) -> FrameIndices:
        """See `ClipSampler.test`; counts frames, whatever their rate.

        Raises:
            UserError: If more than one clip is to be spread over the whole video.
        """
        if self.test_frames is not None:
            if num_clips != 1:
                raise UserError(
                    f"test_frames={self.test_frames} spreads one clip over the whole video, but "
                    f"num_clips={num_clips}; set num_clips to 1, or test_frames to null"
                )
            return even_test_clip(num_frames, self.test_frames)[None]
        if self.num_segments is not None and self.frames_per_segment > 1:
            return super_image_test_clips(
                num_frames, self.num_segments, self.frames_per_segment, num_clips
            )
        if self.frame_stride is not None:
            return dense_test_clips(num_frames, self.clip_len, self.frame_stride, num_clips)
        return segment_test_clips(num_frames, self.clip_len, num_clips)

    def describe(self) -> str:
        """Write the rule in words for the protocol line, such as "8 frames x stride 8"."""
        if self.test_frames is not None:
            return f"{self.test_frames} frames spread over the video, trained on {self._rule()}"
        return self._rule()

    def _rule(self) -> str:
        if self.num_segments is not None:
            run = "1 frame" if self.frames_per_segment == 1 else f"{self.frames_per_segment} frames"
            return f"{self.num_segments} segments x {run}"
        if self.max_frame_stride is not None:
            return f"{self.clip_len} frames x stride {self.frame_stride} to {self.max_frame_stride}"
        if self.frame_stride is not None:
            return f"{self.clip_len} frames x stride {self.frame_stride}"
        return f"{self.clip_len} frames spread over the video"

    def _clip(self, num_frames: int, rng: np.random.Generator) -> FrameIndices:
        if self.num_segments is not None:
            if self.frames_per_segment == 1:
                return segment_frames(num_frames, self.num_segments, rng)
            return super_image_frames(num_frames, self.num_segments, self.frames_per_segment, rng)
        if self.frame_stride is not None and self.max_frame_stride is not None:
            strides = (self.frame_stride, self.max_frame_stride)
            return chunk_frames(num_frames, self.clip_len, strides, rng)
        if self.frame_stride is not None:
            return dense_clip(num_frames, self.clip_len, self.frame_stride, rng)
        return uniform_frames(num_frames, self.clip_len, rng)

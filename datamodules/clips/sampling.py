"""Rules that choose the frames of a clip: pure integer functions, no pixels, no files.

Five kinds of choice, each with its rule for videos shorter than asked:

| kind         | frames                                              | too short a video         |
|--------------|-----------------------------------------------------|---------------------------|
| dense        | a window with a fixed stride                        | loops from its start      |
| segments     | one frame out of each of K equal parts (TSN)        | evenly spread, repeats    |
| uniform      | equally spaced over the whole video, one phase      | evenly spread, repeats    |
| super-images | N consecutive frames out of each of K parts (StNet) | runs on, then wraps round |
| chunks       | a window with a random stride (ST-ResNet)           | smaller stride, then      |
|              | (`chunks`)                                          | repeats both its ends     |

Functions that take a generator make the random choice of training; those named `*_test_clips` make
the fixed choice of an evaluation. All return frame indices as int64, all in [0, num_frames).

`frames_between` of `video/reader.py` narrows a video to the frames of a stretch of time before any
of these chooses.

Dense, segment, uniform and chunk sampling treat both directions of time alike: the frames drawn
from a reversed video are distributed as the reversed frames of the video, so no sampler can tell
two classes apart that are each other's reversal.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from datamodules.errors import UserError

__all__ = [
    "FrameIndices",
    "dense_clip",
    "dense_test_clips",
    "segment_frames",
    "segment_test_clips",
    "super_image_frames",
    "super_image_test_clips",
    "uniform_frames",
]

FrameIndices: TypeAlias = npt.NDArray[np.int64]


def dense_clip(
    num_frames: int, clip_len: int, frame_stride: int, rng: np.random.Generator
) -> FrameIndices:
    """Draw a window of frames with a fixed stride (CoST section 4.1; SELFY's dense mode).

    The window starts anywhere it fits. A video shorter than the window is looped from its first
    frame: indices are taken modulo `num_frames`, as in CoST's released code.

    The window ends with its last chosen frame: 57 frames for 8 with stride 8. Departure: the
    authors of CoST, SELFY and TSM draw a window of T times the stride, 64 frames. They never choose
    its last 7, nor, in training, the last 7 of a video; so their draws from a reversed video differ
    from the reversed draws.

    Args:
        num_frames: Frames in the video.
        clip_len: Frames to choose, T.
        frame_stride: Distance between chosen frames, in frames.
        rng: Source of the random start.

    Returns:
        Frame indices, (T,).
    """
    check_counts(num_frames=num_frames, clip_len=clip_len, frame_stride=frame_stride)
    room = _dense_room(num_frames, clip_len, frame_stride)
    start = int(rng.integers(room + 1))
    return (start + _multiples(clip_len, frame_stride)) % num_frames


def dense_test_clips(
    num_frames: int, clip_len: int, frame_stride: int, num_clips: int
) -> FrameIndices:
    """Space windows of frames evenly over the video (CoST: 10 clips).

    One clip is the window in the middle; more reach from the first frame to the last.
    Departure: CoST's released code divides the range of possible starts into `num_clips` equal
    parts and begins a clip in the middle of each. Its windows, and TSM's, which reach from end to
    end, are longer (see `dense_clip`); ours are alike for a video and its reversal.

    Args:
        num_frames: Frames in the video.
        clip_len: Frames of a clip, T.
        frame_stride: Distance between chosen frames, in frames.
        num_clips: Number of clips.

    Returns:
        Frame indices, (num_clips, T).
    """
    check_counts(num_clips=num_clips)
    check_counts(num_frames=num_frames, clip_len=clip_len, frame_stride=frame_stride)
    room = _dense_room(num_frames, clip_len, frame_stride)
    middle = np.array([room // 2], np.int64)
    starts = middle if num_clips == 1 else _multiples(num_clips, room) // (num_clips - 1)
    return (starts[:, None] + _multiples(clip_len, frame_stride)) % num_frames


def segment_frames(num_frames: int, num_segments: int, rng: np.random.Generator) -> FrameIndices:
    """Draw one frame out of each of K equal parts of the video (TSN; also TSM and SELFY).

    Part k is the stretch of time [k N / K, (k + 1) N / K). A point of each part is drawn
    independently; the frame is the one on show then. For videos with fewer frames than parts this
    repeats frames, evenly spread.

    Departure: the authors' code cuts parts of floor(N / K) frames and never shows the rest of the
    video (of 15 frames in 8 segments, the last 7). Where K divides N the two are the same.
    Departure for videos with fewer frames than parts: their code shows the first frame K times, in
    training (TSM) or always (SELFY, which does so with exactly K frames too in evaluation).

    Args:
        num_frames: Frames in the video, N.
        num_segments: Parts, K.
        rng: Source of the random points.

    Returns:
        Frame indices in order, (K,).
    """
    check_counts(num_frames=num_frames, num_segments=num_segments)
    offsets = rng.integers(num_frames, size=num_segments)
    frames: FrameIndices = (_multiples(num_segments, num_frames) + offsets) // num_segments
    return frames


def uniform_frames(num_frames: int, clip_len: int, rng: np.random.Generator) -> FrameIndices:
    """Draw frames equally spaced over the whole video.

    Like `segment_frames`, but all parts share one offset, so that the distance between frames is
    the same all along the clip (but for rounding to whole frames). An evaluation takes the parts'
    centres, `segment_test_clips`.

    Args:
        num_frames: Frames in the video, N.
        clip_len: Frames to choose, T.
        rng: Source of the random offset.

    Returns:
        Frame indices in order, (T,).
    """
    check_counts(num_frames=num_frames, clip_len=clip_len)
    offset = int(rng.integers(num_frames))
    frames: FrameIndices = (_multiples(clip_len, num_frames) + offset) // clip_len
    return frames


def segment_test_clips(num_frames: int, num_segments: int, num_clips: int) -> FrameIndices:
    """Take clips of one frame per part, at evenly spaced offsets within the parts.

    Clip 1 takes the parts' centres, the authors' `int(N/K/2 + N/K*k)`. Of two clips the second
    takes their starts, which is TSM's "twice sample". Clip j of n takes the point at the fraction
    (1/2 + j/n) mod 1 of each part.

    Args:
        num_frames: Frames in the video, N.
        num_segments: Parts, K.
        num_clips: Number of clips.

    Returns:
        Frame indices, (num_clips, K).
    """
    check_counts(num_frames=num_frames, num_segments=num_segments, num_clips=num_clips)
    fractions, whole = _test_fractions(num_clips)
    points = _multiples(num_segments, whole) + fractions[:, None]
    frames: FrameIndices = num_frames * points // (whole * num_segments)
    return frames


def super_image_frames(
    num_frames: int, num_segments: int, frames_per_segment: int, rng: np.random.Generator
) -> FrameIndices:
    """Draw N consecutive frames out of each of K parts of the video (StNet's super-images).

    Authors' rule: parts are d = floor(num_frames / K) frames long; the run starts at a random
    offset in [0, d - N]. Parts shorter than a run
    (1 <= d < N) start at their first frame; in videos shorter than K frames part k starts at frame
    k. Indices wrap round modulo `num_frames`.

    Args:
        num_frames: Frames in the video.
        num_segments: Parts, K.
        frames_per_segment: Consecutive frames out of each part, N.
        rng: Source of the random offsets.

    Returns:
        Frame indices, segment by segment, (K * N,).
    """
    starts, room = _super_image_room(num_frames, num_segments, frames_per_segment)
    starts = starts + rng.integers(room + 1, size=num_segments)
    frames: FrameIndices = starts[:, None] + _multiples(frames_per_segment, 1)
    return frames.reshape(-1) % num_frames


def super_image_test_clips(
    num_frames: int, num_segments: int, frames_per_segment: int, num_clips: int
) -> FrameIndices:
    """Take clips of super-images, at evenly spaced offsets within the parts.

    Parts are those of `super_image_frames`. Clip 1 starts at offset (d - N) // 2; the offsets of
    more clips follow `segment_test_clips`, scaled to the room that the run has in its part.

    Args:
        num_frames: Frames in the video.
        num_segments: Parts, K.
        frames_per_segment: Consecutive frames out of each part, N.
        num_clips: Number of clips.

    Returns:
        Frame indices, segment by segment, (num_clips, K * N).
    """
    check_counts(num_clips=num_clips)
    starts, room = _super_image_room(num_frames, num_segments, frames_per_segment)
    fractions, whole = _test_fractions(num_clips)
    offsets = fractions * room // whole
    # (num_clips, 1, 1) + (K, 1) + (N,) -> (num_clips, K, N)
    frames = offsets[:, None, None] + starts[:, None] + _multiples(frames_per_segment, 1)
    return frames.reshape(num_clips, -1) % num_frames


def check_counts(**counts: int) -> None:
    """Refuse counts below 1, naming the first."""
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"{name}={value} is not possible; {name} must be at least 1")


def _dense_room(num_frames: int, clip_len: int, frame_stride: int) -> int:
    """Count the frames that a dense window can be moved by; 0 where it does not fit."""
    return max(0, num_frames - 1 - (clip_len - 1) * frame_stride)


def _super_image_room(
    num_frames: int, num_segments: int, frames_per_segment: int
) -> tuple[FrameIndices, int]:
    """Find the first frame of every part, (K,), and the frames a run can be moved by in it."""
    check_counts(
        num_frames=num_frames, num_segments=num_segments, frames_per_segment=frames_per_segment
    )
    part = num_frames // num_segments
    return _multiples(num_segments, max(part, 1)), max(0, part - frames_per_segment)


def _test_fractions(num_clips: int) -> tuple[FrameIndices, int]:
    """Compute the offsets (1/2 + j/n) mod 1 of n test clips: numerators, (n,), over 2 n."""
    whole = 2 * num_clips
    return (num_clips + _multiples(num_clips, 2)) % whole, whole


def _multiples(count: int, step: int) -> FrameIndices:
    """List `count` multiples of a step: 0, step, 2 step, ..., (count,)."""
    return np.arange(count, dtype=np.int64) * step

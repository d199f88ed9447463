"""Chunks of two-stream networks: a frame and the optical flow around it; integers only.

A chunk is one RGB frame and a stack of L flow fields around it: with L = 10 the fields at offsets
-5 to 4, where field i, counted from 0, is the flow from frame i to frame i + 1 (Feichtenhofer,
Pinz, Wildes, Spatiotemporal Residual Networks for Video Action Recognition, NIPS 2016, and the
authors' code). A video of N frames has N - 1 fields, so the stack fits around frames 5 to N - 6.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["chunk_frames", "even_test_clip", "stack_centres", "stack_fields"]


def chunk_frames(
    num_frames: int, clip_len: int, strides: tuple[int, int], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw a window of frames with a random stride (section 3.3 of the paper).

    The stride is drawn from a range and cut down to the largest that fits; the window starts
    anywhere it fits. A video with fewer frames than the clip is taken from end to end, in the
    middle of the clip, with its first and last frame repeated on either side.

    Departure: the authors' code draws one stride for four videos, and fills up short videos with
    further samples from their front and back.

    Args:
        num_frames: Frames in the video.
        clip_len: Frames to choose, T.
        strides: Least and greatest stride, in frames.
        rng: Source of the random stride and start.

    Returns:
        Frame indices in order, (T,).
    """
    stride = int(rng.integers(strides[0], strides[1] + 1))
    stride = max(1, min(stride, (num_frames - 1) // max(1, clip_len - 1)))
    room = num_frames - 1 - (clip_len - 1) * stride
    start = int(rng.integers(room + 1)) if room >= 0 else room // 2
    frames = start + np.arange(clip_len, dtype=np.int64) * stride
    return np.clip(frames, 0, num_frames - 1)


def even_test_clip(num_frames: int, clip_len: int) -> npt.NDArray[np.int64]:
    """Spread frames evenly from the first to the last (25 chunks in two-stream tests).

    One frame is the middle one. Videos with fewer frames repeat some, evenly spread.

    Args:
        num_frames: Frames in the video.
        clip_len: Frames to choose, T.

    Returns:
        Frame indices in order, (T,).
    """
    if clip_len == 1:
        return np.array([(num_frames - 1) // 2], np.int64)
    return np.arange(clip_len, dtype=np.int64) * (num_frames - 1) // (clip_len - 1)


def stack_centres(num_frames: int, length: int) -> tuple[int, int]:
    """Find the frames that a whole stack of flow fits around.

    Args:
        num_frames: Frames in the video, N.
        length: Fields of a stack, L.

    Returns:
        The first of them and their number; of a video that is too short the middle one alone,
        whose stack then repeats the fields at the ends.
    """
    before = length // 2
    count = num_frames - length
    return (before, count) if count > 0 else ((num_frames - 1) // 2, 1)


def stack_fields(
    centres: npt.NDArray[np.int64], num_frames: int, length: int
) -> npt.NDArray[np.int64]:
    """List the flow fields around frames, at offsets from -(L // 2).

    Args:
        centres: Frames, of any shape.
        num_frames: Frames in the video, N; fields outside 0 to N - 2 become the nearest.
        length: Fields of a stack, L.

    Returns:
        Indices of fields, one axis more than `centres`, (..., L), int64.
    """
    offsets = np.arange(length, dtype=np.int64) - length // 2
    fields: npt.NDArray[np.int64] = np.clip(centres[..., None] + offsets, 0, max(0, num_frames - 2))
    return fields

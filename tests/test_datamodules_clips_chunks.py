"""Chunks of a video and the flow fields around their frames, as ST-ResNet takes them."""

from typing import Any

import numpy as np
import pytest

from datamodules.clips.chunks import chunk_frames, even_test_clip, stack_centres, stack_fields
from datamodules.clips.clip_sampler import FrameSampler


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_chunks_have_a_stride_of_the_range_and_start_anywhere() -> None:
    clips = [chunk_frames(200, 5, (5, 15), generator(seed)) for seed in range(400)]
    strides = {tuple(np.unique(np.diff(clip))) for clip in clips}
    assert strides == {(stride,) for stride in range(5, 16)}
    assert min(clip[0] for clip in clips) < 5
    assert max(clip[-1] for clip in clips) > 194
    assert all(clip[-1] < 200 for clip in clips)


@pytest.mark.parametrize(
    ("num_frames", "wanted"),
    [(41, 10), (21, 5), (20, 4), (9, 2), (5, 1)],
)
def test_stride_is_cut_down_to_the_largest_that_fits(num_frames: int, wanted: int) -> None:
    for seed in range(20):
        clip = chunk_frames(num_frames, 5, (15, 15), generator(seed))
        assert set(np.diff(clip)) == {wanted}
        assert 0 <= clip[0] <= clip[-1] < num_frames


def test_videos_shorter_than_a_clip_repeat_their_ends() -> None:
    assert chunk_frames(3, 7, (1, 15), generator()).tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert chunk_frames(1, 3, (5, 15), generator()).tolist() == [0, 0, 0]
    assert chunk_frames(9, 1, (1, 1), generator()).tolist()[0] in range(9)


def test_test_chunks_reach_evenly_from_end_to_end() -> None:
    assert even_test_clip(25, 25).tolist() == list(range(25))
    assert even_test_clip(101, 5).tolist() == [0, 25, 50, 75, 100]
    assert even_test_clip(3, 5).tolist() == [0, 0, 1, 1, 2]
    assert even_test_clip(9, 1).tolist() == [4]
    sampler = FrameSampler(5, 5, max_frame_stride=15, test_frames=25)
    assert sampler.test(241).tolist() == [list(range(0, 241, 10))]
    assert (sampler.clip_len, sampler.test_len) == (5, 25)
    wanted = "25 frames spread over the video, trained on 5 frames x stride 5 to 15"
    assert sampler.describe() == wanted


def test_stack_is_centred_as_the_authors_have_it() -> None:
    first, count = stack_centres(100, 10)
    assert (first, first + count - 1) == (5, 94)  # 6 to N - 5, counted from 1
    fields = stack_fields(np.array([5, 94]), 100, 10)
    assert fields.tolist() == [list(range(10)), list(range(89, 99))]
    assert stack_centres(11, 10) == (5, 1)
    for num_frames in (10, 5, 2):
        centre, alone = stack_centres(num_frames, 10)
        assert (centre, alone) == ((num_frames - 1) // 2, 1)
        fields = stack_fields(np.array([centre]), num_frames, 10)
        assert fields.min() == 0
        assert fields.max() == num_frames - 2
    first, count = stack_centres(20, 5)
    assert stack_fields(np.array([first, first + count - 1]), 20, 5)[:, [0, -1]].tolist() == [
        [0, 4],
        [14, 18],
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"num_frames": 5, "frame_stride": 5, "max_frame_stride": 4},
            "needs a frame_stride up to that, not 5",
        ),
        ({"num_segments": 5, "max_frame_stride": 4}, "needs a frame_stride up to that, not None"),
        ({"num_frames": 5, "test_frames": 0}, "test_frames must be at least 1"),
    ],
)
def test_impossible_chunks_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FrameSampler(**options)

"""Frame indices against slow, independent forms, for every video length from 1 to 70."""

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from math import floor

import numpy as np
import pytest

from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.sampling import (
    FrameIndices,
    dense_clip,
    dense_test_clips,
    segment_frames,
    segment_test_clips,
    super_image_frames,
    super_image_test_clips,
    uniform_frames,
)
from datamodules.randomness import sample_generator
from datamodules.video.segment import frames_between

LENGTHS = range(1, 71)


def draws(
    sample: Callable[[np.random.Generator], FrameIndices], count: int
) -> set[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    return {tuple(sample(rng).tolist()) for _ in range(count)}


def looped_window(num_frames: int, start: int, clip_len: int, stride: int) -> tuple[int, ...]:
    """The window read off a video that is played again and again."""
    playback = list(range(num_frames)) * (start + clip_len * stride)
    return tuple(playback[start : start + clip_len * stride : stride][:clip_len])


@pytest.mark.parametrize(("clip_len", "stride"), [(8, 8), (8, 2), (5, 1), (1, 3)])
def test_dense_clip_equals_a_window_read_off_a_looped_video(clip_len: int, stride: int) -> None:
    for num_frames in LENGTHS:
        fits = [s for s in LENGTHS if s - 1 + (clip_len - 1) * stride < num_frames]
        starts = [s - 1 for s in fits] or [0]
        allowed = {looped_window(num_frames, s, clip_len, stride) for s in starts}
        drawn = draws(lambda rng, n=num_frames: dense_clip(n, clip_len, stride, rng), 40)
        assert drawn <= allowed
        middle = looped_window(num_frames, starts[(len(starts) - 1) // 2], clip_len, stride)
        (central,) = dense_test_clips(num_frames, clip_len, stride, 1).tolist()
        assert tuple(central) == middle


def test_dense_clip_reaches_every_start_equally_often() -> None:
    rng = np.random.default_rng(1)
    starts = Counter(int(dense_clip(20, 8, 2, rng)[0]) for _ in range(6000))
    assert sorted(starts) == [0, 1, 2, 3, 4, 5]
    assert all(abs(count - 1000) < 150 for count in starts.values())


def test_dense_test_clips_spread_from_first_to_last_frame() -> None:
    for num_frames in LENGTHS:
        clips = dense_test_clips(num_frames, 4, 3, 5)
        room = max(0, num_frames - 10)
        starts = [floor(Fraction(k * room, 4)) for k in range(5)]
        assert [tuple(c) for c in clips.tolist()] == [
            looped_window(num_frames, s, 4, 3) for s in starts
        ]
    assert dense_test_clips(100, 4, 3, 5)[-1, -1] == 99


def test_segment_test_clips_equal_the_authors_centres() -> None:
    for num_frames in LENGTHS:
        for parts in (1, 3, 7, 8, 25):
            length = Fraction(num_frames, parts)
            centres = [int(length / 2 + length * k) for k in range(parts)]
            assert segment_test_clips(num_frames, parts, 1).tolist() == [centres]


def test_segment_frames_in_training_stay_in_their_parts_and_reach_all_frames() -> None:
    for num_frames in LENGTHS:
        rng = np.random.default_rng(num_frames)
        clips = np.stack([segment_frames(num_frames, 8, rng) for _ in range(400)])
        for part in range(8):
            lowest = floor(Fraction(part * num_frames, 8))
            end = Fraction((part + 1) * num_frames, 8)
            highest = floor(end) if end.denominator != 1 else int(end) - 1
            assert set(clips[:, part].tolist()) == set(range(lowest, highest + 1))
        assert set(clips.reshape(-1).tolist()) == set(range(num_frames))


def test_segment_frames_of_a_divisible_video_follow_the_authors_training_rule() -> None:
    rng = np.random.default_rng(0)
    seen = Counter(tuple(segment_frames(6, 2, rng).tolist()) for _ in range(9000))
    assert set(seen) == {(a, 3 + b) for a in range(3) for b in range(3)}
    assert all(abs(count - 1000) < 150 for count in seen.values())


@pytest.mark.parametrize("sample", [segment_frames, uniform_frames])
def test_training_frames_of_a_reversed_video_are_the_reversed_frames(
    sample: Callable[[int, int, np.random.Generator], FrameIndices],
) -> None:
    for num_frames in (5, 25, 31):
        rng = np.random.default_rng(3)
        forward = np.stack([sample(num_frames, 8, rng) for _ in range(20000)])
        backward = num_frames - 1 - forward[:, ::-1]
        for position in range(8):
            here = np.bincount(forward[:, position], minlength=num_frames) / 20000
            there = np.bincount(backward[:, position], minlength=num_frames) / 20000
            assert np.abs(here - there).max() < 0.02


def test_uniform_frames_equal_floored_points_of_one_common_offset() -> None:
    for num_frames in LENGTHS:
        step = Fraction(num_frames, 8)
        allowed = {
            tuple(floor(k * step + Fraction(offset, 8)) for k in range(8))
            for offset in range(num_frames)
        }
        drawn = draws(lambda rng, n=num_frames: uniform_frames(n, 8, rng), 60)
        assert drawn <= allowed
        assert len(drawn) > 1 or len(allowed) == 1
        centres = FrameSampler(num_segments=8).test(num_frames).tolist()
        assert FrameSampler(num_frames=8).test(num_frames).tolist() == centres


def test_segment_test_clips_are_centres_then_starts_as_in_twice_sample() -> None:
    for num_frames in LENGTHS:
        centres, starts = segment_test_clips(num_frames, 8, 2).tolist()
        assert [centres] == segment_test_clips(num_frames, 8, 1).tolist()
        assert starts == [floor(Fraction(k * num_frames, 8)) for k in range(8)]
        for num_clips in (1, 3, 4, 10):
            expected = [
                [
                    floor(Fraction(num_frames, 8) * (k + (Fraction(1, 2) + Fraction(j, n)) % 1))
                    for k in range(8)
                ]
                for n in [num_clips]
                for j in range(n)
            ]
            assert segment_test_clips(num_frames, 8, num_clips).tolist() == expected


def stnet_runs(num_frames: int, parts: int, run: int, offsets: list[int]) -> tuple[int, ...]:
    """StNet's rule, written out case by case."""
    length = num_frames // parts
    frames: list[int] = []
    for part in range(parts):
        if length >= run:
            first = part * length + offsets[part]
        elif length >= 1:
            first = part * length
        else:
            first = part
        frames += [(first + i) % num_frames for i in range(run)]
    return tuple(frames)


@pytest.mark.parametrize(("parts", "run"), [(7, 5), (3, 5), (25, 2)])
def test_super_image_frames_follow_the_authors_cases(parts: int, run: int) -> None:
    for num_frames in LENGTHS:
        room = max(0, num_frames // parts - run)
        centre = stnet_runs(num_frames, parts, run, [room // 2] * parts)
        (central,) = super_image_test_clips(num_frames, parts, run, 1).tolist()
        assert tuple(central) == centre
        rng = np.random.default_rng(num_frames)
        drawn = np.stack([super_image_frames(num_frames, parts, run, rng) for _ in range(30)])
        for clip in drawn:
            firsts = clip.reshape(parts, run)[:, 0] - np.arange(parts) * (num_frames // parts)
            offsets = firsts.tolist() if room else [0] * parts
            assert all(0 <= offset <= room for offset in offsets)
            assert tuple(clip.tolist()) == stnet_runs(num_frames, parts, run, offsets)


def test_super_image_test_clips_place_runs_at_centre_start_and_between() -> None:
    clips = super_image_test_clips(100, 4, 5, 4)
    assert clips.shape == (4, 20)
    # Parts of 25 frames leave a room of 20: the offsets are 1/2, 3/4, 0 and 1/4 of it.
    assert clips[:, 0].tolist() == [10, 15, 0, 5]
    for clip, offset in zip(clips, (10, 15, 0, 5), strict=True):
        assert tuple(clip.tolist()) == stnet_runs(100, 4, 5, [offset] * 4)


SAMPLERS = {
    "8 frames x stride 8": FrameSampler(num_frames=8, frame_stride=8),
    "8 segments x 1 frame": FrameSampler(num_segments=8),
    "7 segments x 5 frames": FrameSampler(num_segments=7, frames_per_segment=5),
    "16 frames spread over the video": FrameSampler(num_frames=16),
}


@pytest.mark.parametrize("words", SAMPLERS)
def test_frame_sampler_gives_valid_int64_frames_for_every_length(words: str) -> None:
    sampler = SAMPLERS[words]
    assert sampler.describe() == words
    for total in LENGTHS:
        train = sampler.train(total, sample_generator(0, 0, total))
        test = sampler.test(total, 3)
        assert train.shape == (1, sampler.clip_len)
        assert test.shape == (3, sampler.clip_len)
        for frames in (train, test):
            assert frames.dtype == np.int64
            assert frames.min() >= 0
            assert frames.max() < total
        assert sampler.test(total).shape == (1, sampler.clip_len)


def test_frame_sampler_chooses_the_rule_of_its_arguments() -> None:
    def rng() -> np.random.Generator:
        return np.random.default_rng(5)

    expected = {
        "8 frames x stride 8": dense_clip(90, 8, 8, rng()),
        "8 segments x 1 frame": segment_frames(90, 8, rng()),
        "7 segments x 5 frames": super_image_frames(90, 7, 5, rng()),
        "16 frames spread over the video": uniform_frames(90, 16, rng()),
    }
    for words, frames in expected.items():
        assert SAMPLERS[words].train(90, rng())[0].tolist() == frames.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither num_segments nor num_frames"),
        ({"frame_stride": 2}, "neither num_segments nor num_frames"),
        (
            {"num_frames": 8, "num_segments": 8},
            "num_frames=8 exclude each other; set num_fr",
        ),
        (
            {"frame_stride": 8, "num_segments": 8},
            "frame_stride=8 exclude each other; set num_",
        ),
        ({"num_frames": 8, "frames_per_segment": 5}, "frames_per_segment=5 needs num_segments"),
        ({"num_frames": 0}, "num_frames=0 is not possible"),
        ({"num_frames": 8, "frame_stride": 0}, "frame_stride=0 is not possible"),
        ({"num_segments": -1}, "num_segments=-1 is not possible"),
    ],
)
def test_frame_sampler_refuses_unclear_combinations(
    arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FrameSampler(**arguments)


def test_frame_sampler_refuses_an_empty_video_and_no_clips() -> None:
    with pytest.raises(ValueError, match="num_frames=0"):
        SAMPLERS["8 segments x 1 frame"].test(0)
    with pytest.raises(ValueError, match="num_clips=0"):
        SAMPLERS["8 frames x stride 8"].test(10, 0)


def test_sample_generator_depends_on_every_argument_and_on_nothing_else() -> None:
    def first(**changes: int | str) -> float:
        arguments = {"seed": 3, "epoch": 1, "index": 7, "view": 0, "purpose": "worker"} | changes
        return float(sample_generator(**arguments).random())  # type: ignore[arg-type]

    changed = [{"seed": 4}, {"epoch": 2}, {"index": 8}, {"view": 1}, {"purpose": "device"}]
    wide = [{"seed": 3 + 2**32}, {"index": 7 + 2**32}, {"seed": 1, "epoch": 3}]
    values = [first(), *(first(**change) for change in changed + wide)]
    assert len(set(values)) == len(values)
    assert first() == first()


def test_sample_generator_refuses_negative_numbers() -> None:
    with pytest.raises(ValueError, match="index=-1"):
        sample_generator(0, 0, -1)


@pytest.mark.parametrize("first", [0.0, 1.4])
@pytest.mark.parametrize("rate", [25, Fraction(30000, 1001)])
def test_frames_between_are_those_shown_in_the_interval(first: float, rate: Fraction) -> None:
    times = np.array([first + float(t / rate) for t in range(100)])
    for start, end in ((1.0, 2.0), (1.52, 1.56), (0.0, 1e9), (-3.0, 1.44), (2.0, 2.0), (3.0, 1.0)):
        wanted = [i for i, time in enumerate(times.round(4)) if start <= time < end]
        begin, count = frames_between(times, start, end)
        assert list(range(begin, begin + count)) == wanted
    nan = float("nan")
    assert frames_between(times, nan, nan) == (0, 100)
    assert sum(frames_between(times, 2.0, nan)) == 100
    assert frames_between(times, nan, 2.0)[0] == 0


def test_frame_on_a_boundary_kept_in_single_precision_belongs_to_one_side() -> None:
    times = np.arange(1000) / 25
    for number, time in enumerate(times):
        bound = float(np.float32(time))
        assert frames_between(times, bound, float("nan"))[0] == number
        assert frames_between(times, float("nan"), bound) == (0, number)

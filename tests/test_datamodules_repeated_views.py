"""Repeated views: several clips of a video in a batch, each of draws of its own."""

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from grouped import data_settings

from datamodules import FlowInput, MotionShapesDataModule, UserError, VideoBatch, VideoReader
from datamodules.health.loading import measure_loader
from datamodules.randomness import BatchDraws, sample_generator
from datamodules.samplers import SampleKey


def data_of(root: Path, **more: Any) -> MotionShapesDataModule:
    """Clips of 2 frames, 16 px, with changes on the device."""
    given = {"num_frames": 2, "frame_stride": 2, "size": 16, "short_side": 24, "num_workers": 0}
    data = MotionShapesDataModule(str(root), seed=4, **data_settings(**{**given, **more}))
    data.setup()
    return data


def batches(data: MotionShapesDataModule, number: int | None = None) -> list[VideoBatch]:
    return [*itertools.islice(data.train_dataloader(), number)]


def test_each_view_is_drawn_and_cut_by_a_generator_of_its_own(motion_root: Path) -> None:
    data = data_of(motion_root, batch_size=6, repeated_views=3)
    clips = data.train_set[SampleKey(2, 5)]["clips"]
    assert clips.shape == (3, 3, 2, 16, 16)
    with VideoReader(data.root / data.train_set.table.paths[5]) as video:
        for view in range(3):
            rng = sample_generator(4, 2, 5, view)
            (chosen,) = data.spec.sampling.train(video.num_frames, rng)
            frames = video.get_frames(chosen)
            crop = data.spec.crops.draw(frames.shape[-2], frames.shape[-1], rng)
            assert torch.equal(clips[view], crop(frames).transpose(0, 1))
    single = data_of(motion_root, batch_size=6)
    assert torch.equal(single.train_set[SampleKey(2, 5)]["clips"], clips[:1])


def test_batch_holds_all_first_views_then_all_second_ones(motion_root: Path) -> None:
    data = data_of(motion_root, batch_size=8, repeated_views=2)
    for batch in batches(data, 2):
        rows = zip(batch["index"].tolist(), batch["repeat"].tolist(), strict=True)
        for row, (index, repeat) in enumerate(rows):
            item = data.train_set[SampleKey(0, index)]
            assert torch.equal(batch["clips"][row, 0], item["clips"][repeat])
            assert batch["label"][row] == item["label"]
            assert batch["video_id"][row] == item["video_id"]
        assert batch["repeat"].tolist() == [0] * 4 + [1] * 4
        assert batch["index"][:4].tolist() == batch["index"][4:].tolist()
        assert batch["clips"].shape == (8, 1, 3, 2, 16, 16)
        assert batch["valid"].tolist() == [True] * 8


def test_epoch_shows_each_video_once_in_all_its_views(motion_root: Path) -> None:
    data = data_of(motion_root, batch_size=8, repeated_views=4)
    shown = [index for batch in batches(data) for index in batch["index"][:2].tolist()]
    videos = len(data.train_set)
    assert len(shown) == len(set(shown)) == videos // 2 * 2
    assert data.data_spec().batches_per_epoch == videos // 2
    assert data.data_spec().batch_size == 8


def test_changes_on_the_device_differ_between_views_and_not_with_workers(
    motion_root: Path,
) -> None:
    changes = {"color": 0.4, "rand_augment": 2, "erase_probability": 0.5, "mixup_alpha": 0.4}
    made = [
        data_of(motion_root, batch_size=8, repeated_views=2, num_workers=workers, **changes)
        for workers in (0, 2)
    ]
    first, other = ([d.on_after_batch_transfer(b, 0) for b in batches(d, 2)] for d in made)
    for one, two in zip(first, other, strict=True):
        assert torch.equal(one["clips"], two["clips"])
        assert torch.equal(one["target"], two["target"])
    draws = BatchDraws.of(4, first[0])
    numbers = [rng.random() for rng in draws.generators("any word")]
    assert len(set(numbers)) == 8


def test_only_training_repeats(motion_root: Path) -> None:
    data = data_of(motion_root, batch_size=8, repeated_views=4)
    (batch, *_) = data.val_dataloader()
    assert batch["clips"].shape[:2] == (8, 1)
    assert batch["index"].tolist() == list(range(8))


def test_flow_is_that_of_each_view(motion_root: Path) -> None:
    flow = FlowInput(length=2)
    both = data_of(motion_root, batch_size=4, repeated_views=2, num_frames=1, flow=flow)
    views = both.train_set[SampleKey(1, 3)]
    single = data_of(motion_root, batch_size=4, num_frames=1, flow=flow)
    alone = single.train_set[SampleKey(1, 3)]
    assert views["flow"].shape == (2, 4, 1, 16, 16)
    assert torch.equal(views["flow"][:1], alone["flow"])
    assert not torch.equal(views["flow"][1], alone["flow"][0])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"batch_size": 8, "repeated_views": 3}, "batch_size=8 cannot hold whole videos of .*=3"),
        ({"repeated_views": 0}, r"loading\.repeated_views=0 is too small; give at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        data_settings(**given)


def test_batch_that_does_not_fit_is_named_in_clips(motion_root: Path) -> None:
    data = data_of(motion_root, batch_size=400, repeated_views=4)
    most = len(data.train_set) * 4
    with pytest.raises(
        UserError,
        match=rf"100 with 4 views each on 1 .*; set data\.loading\.batch_size to at most {most}$",
    ):
        data.train_dataloader()


def test_speed_of_a_loader_counts_all_views(
    motion_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_of(motion_root, batch_size=6, repeated_views=2)
    seconds = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(seconds)))
    speed = measure_loader(data.train_set, range(8), 3, 0, seconds=2, limit=9)
    assert (speed.clips_per_second, speed.batches) == (6.0, 8)  # eight, to have enough of them

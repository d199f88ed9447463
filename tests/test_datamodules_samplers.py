"""Sample order as a function of (seed, epoch), whatever the ranks."""

import numpy as np
import pytest

from datamodules.samplers import EvaluationSampler, LookAhead, SampleKey, TrainSampler


def train_order(world_size: int, batch_size: int, epoch: int, seed: int = 3) -> list[int]:
    """The global order of an epoch: batches of all ranks put back together."""
    indices = np.arange(100, 147)
    streams = []
    for rank in range(world_size):
        sampler = TrainSampler(indices, batch_size, seed, lambda: (epoch, 0), rank, world_size)
        keys = list(sampler)
        assert len(keys) == len(sampler)
        assert {key.epoch for key in keys} == {epoch}
        streams.append(np.array([key.index for key in keys]).reshape(-1, batch_size))
    return np.stack(streams, axis=1).ravel().tolist()


def test_train_order_depends_on_the_global_batch_not_on_the_ranks() -> None:
    assert train_order(1, 12, epoch=2) == train_order(2, 6, epoch=2) == train_order(3, 4, epoch=2)


def test_train_order_changes_with_epoch_and_seed_and_drops_another_rest() -> None:
    first, second = train_order(1, 10, epoch=0), train_order(1, 10, epoch=1)
    assert first != second != train_order(1, 10, epoch=1, seed=4)
    assert len(first) == len(set(first)) == 40
    assert set(first) != set(second)


def test_train_sampler_names_the_batch_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"set data\.loading\.batch_size to at most 3"):
        TrainSampler(np.arange(7), 4, 0, lambda: (0, 0), 0, 2)


@pytest.mark.parametrize(
    ("videos", "devices", "accumulated", "sentence"),
    [
        (0, 1, 1, "there is no training video, so nothing can be trained; set data.root"),
        (3, 4, 1, r"on 4 device\(s\); use fewer devices$"),
        (3, 1, 4, "use fewer devices or lower trainer.accumulate_grad_batches"),
    ],
)
def test_no_batch_size_of_zero_is_advised(
    videos: int, devices: int, accumulated: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        TrainSampler(np.arange(videos), 4, 0, lambda: (0, 0), 0, devices, accumulated)


def test_train_epochs_hold_whole_optimizer_steps() -> None:
    samplers = [TrainSampler(np.arange(47), 5, 0, lambda: (0, 0), r, 2, 2) for r in range(2)]
    shown = {key.index for sampler in samplers for key in sampler}
    assert [sampler.num_batches for sampler in samplers] == [4, 4]
    assert len(shown) == 40
    assert shown | set(samplers[0].left_out(0).tolist()) == set(range(47))
    with pytest.raises(ValueError, match=r"5 on 2 device\(s\), 5 times a step; .* at most 4 or"):
        TrainSampler(np.arange(47), 5, 0, lambda: (0, 0), 0, 2, 5)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("count", range(1, 18))
def test_evaluation_shows_each_video_once_in_equal_lengths(count: int, world_size: int) -> None:
    ranks = [list(EvaluationSampler(np.arange(count), r, world_size)) for r in range(world_size)]
    assert len({len(keys) for keys in ranks}) == 1
    valid = sorted(key.index for keys in ranks for key in keys if key.valid)
    assert valid == list(range(count))


def test_sample_keys_are_plain_values() -> None:
    assert SampleKey(1, 2) == SampleKey(1, 2, True)


@pytest.mark.parametrize("distance", [1, 4, 30])
def test_keys_that_look_ahead_are_the_same_keys(distance: int) -> None:
    plain = TrainSampler(np.arange(20), 4, seed=3, position=lambda: (2, 0))
    keys = list(LookAhead(plain, distance))
    assert len(LookAhead(plain, distance)) == len(plain)
    assert keys == list(plain)
    ahead = [key.ahead for key in keys]
    assert ahead == [*keys[distance:], *[None] * min(distance, len(keys))]

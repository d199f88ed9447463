"""Samplers, whose order of samples is a function of (seed, epoch) alone.

Samplers yield keys that carry the epoch into the worker, so that every random choice about a
sample is drawn from (seed, epoch, index) there, whatever the number of workers or devices.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from datamodules.errors import UserError
from datamodules.randomness import sample_generator
from datamodules.storage.packed import PackedPath
from datamodules.storage.source import Source


@dataclass(frozen=True, slots=True)
class SampleKey:
    """The key of an item of a dataset.

    Attributes:
        epoch: Epoch that random choices are drawn for.
        index: Position in the table.
        valid: False for padding of the last batches of a rank.
        ahead: The key that the same loader process gets a batch later, where that is known.
    """

    epoch: int
    index: int
    valid: bool = True
    ahead: "SampleKey | None" = field(default=None, compare=False)


@dataclass(frozen=True)
class BlockShuffle:
    """A shuffle of two levels, for shards that cost much to read here and there.

    Shards come in a random order, their videos as they are listed; then blocks of videos that
    follow each other are shuffled. So at any time a block's worth of shards is read.

    Attributes:
        shards: Shard of each video in the table, (N,).
        block: Videos of a block.
    """

    shards: NDArray[np.int32]
    block: int

    def __str__(self) -> str:
        digest = zlib.crc32(np.ascontiguousarray(self.shards).data)
        return f"blocks of {self.block} of {self._num_shards} shards, {digest:08x}"

    @property
    def _num_shards(self) -> int:
        return int(self.shards.max(initial=-1)) + 1

    @classmethod
    def of(cls, store: Source, paths: Iterable[str], block: int) -> Self:
        """Make the shuffle of a packed dataset.

        Args:
            store: The dataset.
            paths: Path of each video in it, N of them.
            block: Videos of a block.

        Raises:
            UserError: If the dataset has no shards.
        """
        if not isinstance(store, PackedPath):
            raise UserError(
                f"data.loading.shuffle_block={block} orders videos by their shards, and {store} is "
                "not packed; leave it out, or use `kinetoscope pack`"
            )
        return cls(store.contents.shards_of(paths), block)

    def cost(self, indices: NDArray[Any], seed: int) -> str:
        """Say how much of a full shuffle's randomness is lost.

        Args:
            indices: Positions in the table, (M,).
            seed: Seed of the order that is looked at.
        """
        share = self.neighbours(self.order(indices, np.random.default_rng(seed)))
        counts = np.bincount(self.shards) / len(self.shards)
        return (
            f"data.loading.shuffle_block={self.block}: {share:.1%} of videos follow one of their "
            f"own shard, {float(np.sum(counts**2)):.1%} in a shuffle of all"
        )

    def order(self, indices: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
        """Shuffle.

        Args:
            indices: Positions in the table, (M,).
            generator: Source of randomness.
        """
        turns = generator.permutation(self._num_shards)
        order: NDArray[Any] = indices[np.argsort(turns[self.shards[indices]], kind="stable")]
        for begin in range(0, len(order), self.block):
            generator.shuffle(order[begin : begin + self.block])
        return order

    def neighbours(self, order: NDArray[Any]) -> float:
        """Compute the share of videos that lie in the shard of the one before.

        Args:
            order: Positions in the table, (M,).
        """
        shards = self.shards[order]
        return float(np.mean(shards[1:] == shards[:-1])) if len(order) > 1 else 0.0


class TrainSampler(Sampler[SampleKey]):
    """Shuffled order of an epoch, divided over the ranks batch by batch.

    Global batch g holds positions g*B*W to (g+1)*B*W of one permutation, rank r its r-th part. So
    the order of samples depends on the global batch size, not on the number of ranks. Samples that
    do not fill an optimizer step, its accumulated batches included, are dropped: a smaller last
    step would count as a whole one. They are others every epoch, as the permutation differs.

    Args:
        indices: Positions in the table to draw from, (N,).
        batch_size: Videos per rank and batch.
        seed: Seed of the permutations.
        position: Called when an iteration begins, for its epoch and the batches of it that are done
            already: 0 but in an epoch that a resumed run goes on with. A resumed trainer makes its
            loader before it knows them, so the sampler must not store them. The length stays that
            of the whole epoch, which the trainer counts the remaining batches from.
        rank: This process's rank.
        world_size: Number of ranks.
        accumulated: Batches of one optimizer step.
        repeated_views: Clips of each video, which `data.loading.batch_size` counts.
        blocks: A shuffle of two levels; None for one of all videos.

    Attributes:
        num_batches: Batches of an epoch on each rank.

    Raises:
        UserError: If there are fewer videos than one optimizer step takes, or none.
    """

    def __init__(
        self,
        indices: np.ndarray,
        batch_size: int,
        seed: int,
        position: Callable[[], tuple[int, int]],
        rank: int = 0,
        world_size: int = 1,
        accumulated: int = 1,
        repeated_views: int = 1,
        blocks: BlockShuffle | None = None,
    ) -> None:
        step = batch_size * world_size * accumulated
        if len(indices) < step:
            counts = batch_size, world_size, accumulated, repeated_views
            raise UserError(_too_few(len(indices), *counts))
        self._indices = indices
        self._batch_size = batch_size
        self._seed = seed
        self._rank, self._world_size = rank, world_size
        self.num_batches = len(indices) // step * accumulated
        self._position = position
        self._blocks = blocks

    def __len__(self) -> int:
        return self.num_batches * self._batch_size

    def __iter__(self) -> Iterator[SampleKey]:
        epoch, batches_done = self._position()
        used = self.order(epoch)[: self._num_used]
        own = used.reshape(self.num_batches, self._world_size, self._batch_size)[:, self._rank]
        for batch in own[batches_done:]:  # never ten million numbers of Python at once
            for index in batch.tolist():
                yield SampleKey(epoch, index)

    def left_out(self, epoch: int) -> np.ndarray:
        """List positions in the table that an epoch drops, as they fill no step, (M,)."""
        return self.order(epoch)[self._num_used :]

    @property
    def _num_used(self) -> int:
        return len(self) * self._world_size

    def order(self, epoch: int) -> NDArray[Any]:
        """Shuffle the positions in the table for an epoch, (N,)."""
        generator = sample_generator(self._seed, epoch, 0, purpose="order")
        indices = self._indices
        if len(indices) and int(indices.max()) <= np.iinfo(np.int32).max:
            indices = indices.astype(np.int32)  # half the memory, the same permutation
        if self._blocks is not None:
            return self._blocks.order(indices, generator)
        return generator.permutation(indices)


def _too_few(
    num_videos: int, batch_size: int, world_size: int, accumulated: int, repeated_views: int
) -> str:
    """Say why there is no training step, and what to change."""
    if not num_videos:
        return (
            "there is no training video, so nothing can be trained; set data.root and the lists to "
            "those of the training videos, or complete the download"
        )
    views = f" with {repeated_views} views each" if repeated_views > 1 else ""
    several = f", {accumulated} times a step" if accumulated > 1 else ""
    lower = " or lower trainer.accumulate_grad_batches" if several else ""
    most = num_videos // (world_size * accumulated) * repeated_views
    batches = f"set data.loading.batch_size to at most {most}" if most else "use fewer devices"
    return (
        f"{num_videos} training videos do not fill one batch of {batch_size}{views} on "
        f"{world_size} device(s){several}; {batches}{lower}"
    )


class EvaluationSampler(Sampler[SampleKey]):
    """Every listed video once, in order, the ranks taking turns.

    All ranks yield the same number of keys, so that collectives always match; padding keys are
    marked as not valid and are left out of every score.

    Args:
        indices: Positions in the table, (N,).
        rank: This process's rank.
        world_size: Number of ranks.
    """

    def __init__(self, indices: np.ndarray, rank: int = 0, world_size: int = 1) -> None:
        self._own = indices[rank::world_size]
        self._length = -(-len(indices) // world_size)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[SampleKey]:
        for index in self._own:
            yield SampleKey(0, int(index))
        for _ in range(self._length - len(self._own)):
            yield SampleKey(0, 0, valid=False)


class LookAhead(Sampler[SampleKey]):
    """The keys of another sampler, each with one that comes later.

    Args:
        sampler: The other sampler.
        distance: Keys from one to the one it comes with. Batches go to the loader processes in
            turn, so batch size times processes leads to the next batch of the same process.
    """

    def __init__(self, sampler: Sampler[SampleKey], distance: int) -> None:
        self._sampler = sampler
        self._distance = distance

    def __len__(self) -> int:
        assert isinstance(self._sampler, Sized)
        return len(self._sampler)

    def __iter__(self) -> Iterator[SampleKey]:
        waiting: deque[SampleKey] = deque()
        for key in self._sampler:
            waiting.append(key)
            if len(waiting) > self._distance:
                yield replace(waiting.popleft(), ahead=key)
        yield from waiting

"""Probes: an evaluation on the same videos, with the order of frames or their pixels changed.

Order probes ask whether a network uses time: the frames are the same, their order is not.
Robustness probes measure a score on worse videos. A probe's random choices about a video are drawn
from (seed, index), so every network is shown the same changed clip.

| probe              | a clip of T frames becomes                                               |
|--------------------|--------------------------------------------------------------------------|
| shuffled           | its frames in an order drawn for each clip, never the true one           |
| reversed           | its frames from last to first                                            |
| frozen             | T times its middle frame                                                 |
| sparse(k)          | every k-th of its frames, each held until the next; k from 2             |
| frame_drops(s)     | a share s of its frames lost, the one before held; never the first frame |
| occlusion(s)       | a grey box over a share s of the frame, the same in all frames           |
| motion_blur(s)     | every frame smeared along a line of s times its short side               |
| recompression(q)   | every frame stored as a JPEG of quality q, from 1 to 95                  |

Pixels are changed in the whole decoded frame, before it is resized and cropped.
"""

import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datamodules.clips.sampling import FrameIndices
from datamodules.errors import UserError
from datamodules.randomness import sample_generator

__all__ = ["PROBES", "Probe"]

GREY = 128


@dataclass(frozen=True)
class Strength:
    """The range of a probe's strength, and its words in a message."""

    low: float
    high: float
    whole: bool
    example: str

    def holds(self, value: float) -> bool:
        """Check that a value is in the range."""
        return self.low <= value <= self.high and not (self.whole and value % 1)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        end = f"up to {self.high:g}" if math.isfinite(self.high) else "on"
        return f"{kind} from {self.low:g} {end}"


PROBES: Mapping[str, Strength | None] = {
    "shuffled": None,
    "reversed": None,
    "frozen": None,
    "sparse": Strength(2, math.inf, True, "sparse(2)"),
    "frame_drops": Strength(0.01, 0.99, False, "frame_drops(0.25)"),
    "occlusion": Strength(0.01, 0.99, False, "occlusion(0.25)"),
    "motion_blur": Strength(0.01, 0.5, False, "motion_blur(0.05)"),
    "recompression": Strength(1, 95, True, "recompression(10)"),
}
"""Each probe's range of strengths; None for a probe that has none."""


@dataclass(frozen=True)
class Probe:
    """One way to change the clips of an evaluation.

    Attributes:
        name: One of `PROBES`.
        strength: Amount of change; None for probes without strength.
    """

    name: str
    strength: float | None = None

    @classmethod
    def parse(cls, words: str) -> "Probe":
        """Read `reversed`, `occlusion(0.25)` and the like.

        Raises:
            UserError: If there is no such probe, or its strength is missing or out of range.
        """
        found = re.fullmatch(r"\s*([a-z_]+)\s*(?:\(\s*([0-9.eE+-]+)\s*\))?\s*", words)
        name = found[1] if found else words
        if name not in PROBES:
            raise UserError(
                f"data.evaluation.probe={words} is no probe; choose one of {', '.join(_EXAMPLES)}"
            )
        assert found is not None
        allowed, given = PROBES[name], found[2]
        if allowed is None and given is not None:
            raise UserError(
                f"data.evaluation.probe={words}: {name} has no strength; set "
                f"data.evaluation.probe={name}"
            )
        if allowed is None:
            return cls(name)
        value = _number(given)
        if not allowed.holds(value):
            raise UserError(
                f"data.evaluation.probe={words}: the strength of {name} is {allowed}; "
                f"set, say, data.evaluation.probe={allowed.example}"
            )
        return cls(name, value)

    def __str__(self) -> str:
        return self.name if self.strength is None else f"{self.name}({self.strength:g})"

    @property
    def file_part(self) -> str:
        """Name of the probe in file names, such as `occlusion-0.25`."""
        return self.name if self.strength is None else f"{self.name}-{self.strength:g}"

    def check_clip(self, clip_len: int) -> None:
        """Refuse a strength that leaves nothing of a clip, or changes nothing in it.

        Args:
            clip_len: Frames of a clip, T.

        Raises:
            UserError: If a clip has too few frames for the probe.
        """
        if self.name == "sparse" and (self.strength or 0) >= clip_len:
            raise UserError(
                f"data.evaluation.probe={self} leaves one frame of {clip_len}; choose a smaller "
                "number, or data.evaluation.probe=frozen"
            )
        changes = _num_dropped(clip_len, self.strength or 0) if self.name == "frame_drops" else 1
        if self.name in _ORDERS and (clip_len < 2 or not changes):
            raise UserError(
                f"data.evaluation.probe={self} changes nothing in clips of {clip_len} frame(s); "
                "raise data.sampling.num_frames, or choose another probe"
            )

    def order(self, chosen: FrameIndices, seed: int, index: int) -> FrameIndices:
        """Reorder the chosen frames.

        Args:
            chosen: Frame indices of the clips of one video, (num_clips, T).
            seed: The run's seed.
            index: The video's position in its table.

        Returns:
            Frame indices, (num_clips, T); the chosen ones for probes of pixels.
        """
        if self.name not in _ORDERS:
            return chosen
        changed = []
        for clip, frames in enumerate(chosen):
            rng = sample_generator(seed, 0, index, view=clip, purpose="probe order")
            changed.append(frames[_ORDERS[self.name](len(frames), self.strength or 0, rng)])
        return np.stack(changed)

    def pixels(self, frames: Tensor, seed: int, index: int) -> Tensor:
        """Change the pixels of the decoded frames.

        Args:
            frames: Frames of one video, (N, C, H, W) uint8.
            seed: The run's seed.
            index: The video's position in its table.

        Returns:
            Frames of the same shape; the same ones for probes of order.
        """
        if self.name not in _PIXELS:
            return frames
        rng = sample_generator(seed, 0, index, purpose="probe pixels")
        return _PIXELS[self.name](frames, self.strength or 0, rng)


def _number(text: str | None) -> float:
    """Parse a number; NaN, which no range holds, for any other text."""
    try:
        return math.nan if text is None else float(text)
    except ValueError:
        return math.nan


def _shuffled(clip_len: int, _: float, rng: np.random.Generator) -> FrameIndices:
    positions = np.arange(clip_len)
    while True:
        order = rng.permutation(clip_len)
        if (order != positions).any():
            return order


def _reversed(clip_len: int, _: float, __: np.random.Generator) -> FrameIndices:
    return np.arange(clip_len)[::-1]


def _frozen(clip_len: int, _: float, __: np.random.Generator) -> FrameIndices:
    return np.full(clip_len, clip_len // 2)


def _sparse(clip_len: int, step: float, _: np.random.Generator) -> FrameIndices:
    return np.arange(clip_len) // int(step) * int(step)


def _frame_drops(clip_len: int, share: float, rng: np.random.Generator) -> FrameIndices:
    positions = np.arange(clip_len)
    lost = 1 + rng.choice(clip_len - 1, _num_dropped(clip_len, share), replace=False)
    positions[lost] = 0
    return np.maximum.accumulate(positions)


def _num_dropped(clip_len: int, share: float) -> int:
    """Count the frames that a clip loses; the first one stays."""
    return min(round(share * clip_len), clip_len - 1)


def _occlusion(frames: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    height, width = (max(1, round(side * share**0.5)) for side in frames.shape[-2:])
    top = int(rng.integers(frames.shape[-2] - height + 1))
    left = int(rng.integers(frames.shape[-1] - width + 1))
    changed = frames.clone()
    changed[..., top : top + height, left : left + width] = GREY
    return changed


def _motion_blur(frames: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Average copies of the frame along a line of whole pixels; borders are repeated."""
    height, width = frames.shape[-2:]
    count = max(2, round(share * min(height, width)))
    angle = rng.uniform(0, math.pi)
    reach = count // 2
    rows = torch.arange(-reach, height + reach).clamp(0, height - 1)
    columns = torch.arange(-reach, width + reach).clamp(0, width - 1)
    wide = frames.index_select(-2, rows).index_select(-1, columns)
    total = torch.full_like(frames, count // 2, dtype=torch.int32)
    for distance in np.arange(count) - (count - 1) / 2:
        top = reach + round(distance * math.sin(angle))
        left = reach + round(distance * math.cos(angle))
        total += wide[..., top : top + height, left : left + width]
    return total.div_(count, rounding_mode="floor").to(torch.uint8)


def _recompression(frames: Tensor, quality: float, _: np.random.Generator) -> Tensor:
    changed = []
    for frame in frames.permute(0, 2, 3, 1).numpy():  # (N, C, H, W) -> (N, H, W, C)
        stored = io.BytesIO()
        Image.fromarray(frame).save(stored, format="JPEG", quality=int(quality))
        with Image.open(stored) as image:
            changed.append(torch.from_numpy(np.array(image)))
    return torch.stack(changed).permute(0, 3, 1, 2)


_EXAMPLES = [name if kind is None else kind.example for name, kind in PROBES.items()]

_Draw = np.random.Generator
_ORDERS: Mapping[str, Callable[[int, float, _Draw], FrameIndices]] = {
    "shuffled": _shuffled,
    "reversed": _reversed,
    "frozen": _frozen,
    "sparse": _sparse,
    "frame_drops": _frame_drops,
}
_PIXELS: Mapping[str, Callable[[Tensor, float, _Draw], Tensor]] = {
    "occlusion": _occlusion,
    "motion_blur": _motion_blur,
    "recompression": _recompression,
}

"""Probes: an evaluation on the same videos, with the order of frames or their pixels changed.

Order probes ask whether a network uses time: the frames are the same, their order is not.
Robustness probes measure a score on worse videos, and `background` one on the scene alone. A
probe's random choices about a video are drawn from (the probe's own seed, the video's name), never
from the run's seed, so every network is shown the same changed clip. The corruptions of
`corruptions/` are used in the same way.

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
| background         | the same without what moves in it, where the dataset knows that          |

Pixels are changed in the whole decoded frame, before it is resized and cropped.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from datamodules.clips.corruptions.catalogue import CORRUPTIONS, parse_corruptions
from datamodules.clips.corruptions.digital import as_jpeg
from datamodules.clips.sampling import FrameIndices
from datamodules.errors import UserError
from datamodules.randomness import VideoDraws

__all__ = ["PROBES", "ClipChange", "Probe", "parse_change"]

GREY = 128


class ClipChange(Protocol):
    """A change of the clips of an evaluation: a probe, or a corruption in one severity."""

    @property
    def file_part(self) -> str:
        """Name of the change in file names."""
        ...

    @property
    def removes_figure(self) -> bool:
        """True if what moves is to be taken out of the frames."""
        ...

    def check_clip(self, clip_len: int) -> None:
        """Refuse a strength that leaves nothing of a clip, or changes nothing in it.

        Args:
            clip_len: Frames of a clip, T.

        Raises:
            UserError: If a clip has too few frames for the change.
        """
        ...

    def order(self, chosen: FrameIndices, num_frames: int, video_id: str) -> FrameIndices:
        """Reorder the chosen frames.

        Args:
            chosen: Frame indices of the clips of one video, (num_clips, T).
            num_frames: Frames of the video.
            video_id: Name of the video.

        Returns:
            Frame indices, (num_clips, T); the chosen ones for changes of pixels.
        """
        ...

    def pixels(self, frames: Tensor, numbers: FrameIndices, video_id: str) -> Tensor:
        """Change the pixels of the decoded frames.

        Args:
            frames: Frames of all clips of one video, (num_clips * T, C, H, W) uint8.
            numbers: Their indices in the video, (num_clips, T).
            video_id: Name of the video.

        Returns:
            Frames of the same shape; the same ones for changes of order.
        """
        ...


def parse_change(words: str, seed: int) -> ClipChange:
    """Read a probe, such as `occlusion(0.25)`, or a corruption, such as `jpeg@3`.

    Args:
        words: What was given as `data.evaluation.probe`.
        seed: Seed of its draws.

    Raises:
        UserError: If there is no such probe or corruption, or its strength is not possible.
    """
    name, _, severity = words.strip().partition("@")
    if name not in CORRUPTIONS or (name in PROBES and not severity):
        return Probe.parse(words, seed)
    asked = parse_corruptions(words, seed)
    if len(asked) > 1:
        raise UserError(
            f"data.evaluation.probe={words} stands for {len(asked)} severities; give one, say "
            f"data.evaluation.probe={name}@3, or all with data.evaluation.corruptions={name}"
        )
    return asked[0]


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
    "background": None,
}
"""Each probe's range of strengths; None for a probe that has none."""


@dataclass(frozen=True)
class Probe:
    """One way to change the clips of an evaluation.

    Attributes:
        name: One of `PROBES`.
        strength: Amount of change; None for probes without strength.
        seed: Seed of its draws, the same for every network.
    """

    name: str
    strength: float | None = None
    seed: int = 0

    @classmethod
    def parse(cls, words: str, seed: int = 0) -> "Probe":
        """Read `reversed`, `occlusion(0.25)` and the like.

        Raises:
            UserError: If there is no such probe, or its strength is missing or out of range.
        """
        found = re.fullmatch(r"\s*([a-z_]+)\s*(?:\(\s*([0-9.eE+-]+)\s*\))?\s*", words)
        name = found[1] if found else words
        if name not in PROBES:
            raise UserError(
                f"data.evaluation.probe={words} is no probe; choose one of {', '.join(_EXAMPLES)}, "
                f"or a corruption, such as jpeg@3, of {', '.join(CORRUPTIONS)}"
            )
        assert found is not None
        allowed, given = PROBES[name], found[2]
        if allowed is None and given is not None:
            raise UserError(
                f"data.evaluation.probe={words}: {name} has no strength; set "
                f"data.evaluation.probe={name}"
            )
        if allowed is None:
            return cls(name, None, seed)
        value = _number(given)
        if not allowed.holds(value):
            raise UserError(
                f"data.evaluation.probe={words}: the strength of {name} is {allowed}; "
                f"set, say, data.evaluation.probe={allowed.example}"
            )
        return cls(name, value, seed)

    def __str__(self) -> str:
        return self.name if self.strength is None else f"{self.name}({self.strength:g})"

    @property
    def file_part(self) -> str:
        """Name of the probe in file names, such as `occlusion-0.25`."""
        return self.name if self.strength is None else f"{self.name}-{self.strength:g}"

    @property
    def removes_figure(self) -> bool:
        """True for `background`."""
        return self.name == "background"

    def check_clip(self, clip_len: int) -> None:
        """Refuse clips of too few frames; see `ClipChange.check_clip`."""
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

    def order(self, chosen: FrameIndices, num_frames: int, video_id: str) -> FrameIndices:
        """Reorder the frames of each clip; see `ClipChange.order`."""
        if self.name not in _ORDERS:
            return chosen
        changed = []
        for clip, frames in enumerate(chosen):
            rng = VideoDraws(self.seed, video_id, "probe order").generator(clip)
            changed.append(frames[_ORDERS[self.name](len(frames), self.strength or 0, rng)])
        return np.stack(changed)

    def pixels(self, frames: Tensor, numbers: FrameIndices, video_id: str) -> Tensor:
        """Change all frames of a video alike; see `ClipChange.pixels`."""
        if self.name not in _PIXELS:
            return frames
        rng = VideoDraws(self.seed, video_id, "probe pixels").generator()
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
    return as_jpeg(frames, int(quality))


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

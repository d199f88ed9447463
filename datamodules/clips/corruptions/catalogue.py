"""The catalogue of corruptions: families, severities, and where their numbers come from.

Names, families and severities are those of UCF101-P, HMDB51-P and Kinetics400-P (Schiappa et al.,
"Large-scale Robustness Analysis of Video Action Recognition Models", arXiv 2207.01398), as the
code that its authors released has them, where `source` says so. `docs/robustness.md` names every
departure. The numbers of pixels are of the frame as it is stored.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import Tensor

from datamodules.clips.corruptions import blur, camera, digital, noise, temporal
from datamodules.clips.sampling import FrameIndices
from datamodules.errors import UserError
from datamodules.randomness import VideoDraws

__all__ = ["CORRUPTIONS", "FAMILIES", "Corruption", "parse_corruptions"]

Family: TypeAlias = Literal["noise", "blur", "digital", "temporal", "camera"]
Source: TypeAlias = Literal["released", "ours", "Kinetics-C"]
SEVERITIES = range(1, 6)


@dataclass(frozen=True)
class Kind:
    """One corruption in five severities.

    Attributes:
        family: The family it is averaged in.
        strengths: Its parameter at severities 1 to 5.
        change: What is done: to the order of a video's frames, or to the frames.
        source: `released`, numbers of the paper's released code; `Kinetics-C`, of the code of that
            benchmark; `ours`.
    """

    family: Family
    strengths: tuple[Any, Any, Any, Any, Any]
    change: Callable[..., Any]
    source: Source = "released"


CORRUPTIONS: Mapping[str, Kind] = {
    "gaussian_noise": Kind("noise", (0.08, 0.12, 0.18, 0.26, 0.38), noise.gaussian),
    "shot_noise": Kind("noise", (250, 100, 50, 30, 15), noise.shot),
    "impulse_noise": Kind("noise", (0.03, 0.06, 0.09, 0.17, 0.27), noise.impulse),
    "speckle_noise": Kind("noise", (0.15, 0.2, 0.25, 0.3, 0.35), noise.speckle),
    "defocus_blur": Kind(
        "blur", ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)), blur.defocused
    ),
    "motion_blur": Kind("blur", ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)), blur.smeared),
    "zoom_blur": Kind(
        "blur",
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        blur.zoomed,
    ),
    "jpeg": Kind("digital", (25, 18, 15, 10, 7), digital.as_jpeg),
    "mpeg2": Kind("digital", (8, 13, 19, 25, 31), digital.as_mpeg2, "ours"),
    "mpeg4": Kind("digital", (8, 13, 19, 25, 31), digital.as_mpeg4, "ours"),
    "h264": Kind("digital", (23, 30, 37, 44, 51), digital.as_h264, "Kinetics-C"),
    "sampling": Kind("temporal", (2, 4, 8, 16, 32), temporal.sampled),
    "reverse_sampling": Kind("temporal", (2, 4, 8, 16, 32), temporal.sampled_backwards),
    "jumbling": Kind("temporal", (32, 16, 8, 4, 2), temporal.jumbled),
    "box_jumbling": Kind("temporal", (4, 9, 16, 25, 36), temporal.box_jumbled),
    "freezing": Kind("temporal", (0.4, 0.2, 0.1, 0.05, 0), temporal.frozen_at_random),
    "static_rotation": Kind("camera", (7.5, 15, 30, 45, 90), camera.turned),
    "random_rotation": Kind("camera", (7, 13, 19, 25, 31), camera.turned_at_random),
    "translation": Kind("camera", (8, 16, 24, 32, 40), camera.shifted),
}
"""All corruptions by name."""

FAMILIES: tuple[Family, ...] = ("noise", "blur", "digital", "temporal", "camera")


@dataclass(frozen=True)
class Corruption:
    """One corruption in one severity.

    Attributes:
        name: One of `CORRUPTIONS`.
        severity: From 1 to 5.
        seed: Seed of its draws, the same for every network.
    """

    name: str
    severity: int
    seed: int = 0

    removes_figure = False

    def __str__(self) -> str:
        return f"{self.name}@{self.severity}"

    @property
    def file_part(self) -> str:
        """Name of the corruption in file names, such as `jpeg-3`."""
        return f"{self.name}-{self.severity}"

    @property
    def strength(self) -> Any:
        """Its parameter at this severity."""
        return CORRUPTIONS[self.name].strengths[self.severity - 1]

    def check_clip(self, clip_len: int) -> None:
        """Accept clips of any length."""

    def order(self, chosen: FrameIndices, num_frames: int, video_id: str) -> FrameIndices:
        """Take the chosen frames from the corrupted video; see `ClipChange.order`."""
        kind = CORRUPTIONS[self.name]
        if kind.family != "temporal":
            return chosen
        rng = self._draws(video_id).generator()
        sources: FrameIndices = kind.change(num_frames, self.strength, rng)[chosen]
        return sources

    def pixels(self, frames: Tensor, numbers: FrameIndices, video_id: str) -> Tensor:
        """Corrupt the decoded frames; see `ClipChange.pixels`."""
        kind = CORRUPTIONS[self.name]
        if kind.family == "temporal":
            return frames
        changed: Tensor = kind.change(frames, self.strength, numbers, self._draws(video_id))
        return changed

    def _draws(self, video_id: str) -> VideoDraws:
        return VideoDraws(self.seed, video_id, f"corruption {self.name}")


def parse_corruptions(words: str, seed: int = 0) -> list[Corruption]:
    """Read `all`, `noise,jpeg@5` and the like, in the order of the catalogue.

    Args:
        words: Families, names or `all`, each in all severities or, after `@`, in one.
        seed: Seed of the draws.

    Raises:
        UserError: If there is no such corruption or severity.
    """
    asked: set[tuple[str, int]] = set()
    for word in words.split(","):
        found = re.fullmatch(r"\s*([a-z0-9_]+)(?:@([0-9]+))?\s*", word)
        names = _names(found[1]) if found else []
        if found is None or not names:
            raise UserError(
                f"data.evaluation.corruptions={words}: {word.strip()!r} is no corruption; give "
                f"`all`, a family ({', '.join(FAMILIES)}) or names, separated by commas: "
                f"{', '.join(CORRUPTIONS)}"
            )
        severities = SEVERITIES if found[2] is None else [int(found[2])]
        if severities[0] not in SEVERITIES:
            raise UserError(
                f"data.evaluation.corruptions={words}: there is no severity {found[2]}; give 1 to "
                f"5, say {found[1]}@3, or none for all"
            )
        asked |= {(name, severity) for name in names for severity in severities}
    return [
        Corruption(name, severity, seed)
        for name in CORRUPTIONS
        for severity in SEVERITIES
        if (name, severity) in asked
    ]


def _names(word: str) -> list[str]:
    """List the corruptions that a word stands for; none for another word."""
    return [name for name, kind in CORRUPTIONS.items() if word in ("all", name, kind.family)]

"""What a network expects of a clip: all that a checkpoint must remember to label a video."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from datamodules.clips.crops import SpatialTransform
from datamodules.clips.sampling import FrameSampler

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class FlowSpec:
    """The optical flow that a network was trained on.

    Attributes:
        length: Fields of a stack, L.
        method: How it was estimated.
        bound: Longest displacement along an axis that is kept, in pixels.
        short_side: Short side of the frames that it is in pixels of; None where that is not known.
    """

    length: int
    method: str
    bound: float
    short_side: int | None

    def __str__(self) -> str:
        side = "unknown short side" if self.short_side is None else f"short side {self.short_side}"
        return f"{self.length} fields of {self.method}, bound {self.bound:g}, {side}"


@dataclass(frozen=True)
class InputSpec:
    """Sampling, size, crop and normalization of the clips.

    Attributes:
        sampling: Which frames make a clip, at the video's own frame rate.
        transform: How frames become crops.
        mean: Mean of each colour channel on the scale [0, 1].
        std: Standard deviation of each colour channel on that scale.
        flow: Optical flow beside the frames; None for frames alone.
    """

    sampling: FrameSampler
    transform: SpatialTransform
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    flow: FlowSpec | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint holds them; `from_dict` reads them back."""
        plain = asdict(self)
        return {**plain, "frame_rate": "native", "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "InputSpec":
        """The specification that `as_dict` described."""
        return cls(
            sampling=FrameSampler(**values["sampling"]),
            transform=SpatialTransform(**values["transform"]),
            mean=tuple(values["mean"]),
            std=tuple(values["std"]),
            flow=None if values.get("flow") is None else FlowSpec(**values["flow"]),
        )

"""What a network expects of a clip: all that a checkpoint must remember to label a video."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from datamodules.frame_sampling import FrameSampler
from datamodules.transforms import SpatialTransform

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputSpec:
    """Sampling, size, crop and normalization of the clips.

    Attributes:
        sampling: Which frames make a clip, at the video's own frame rate.
        transform: How frames become crops.
        mean: Mean of each colour channel on the scale [0, 1].
        std: Standard deviation of each colour channel on that scale.
    """

    sampling: FrameSampler
    transform: SpatialTransform
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

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
        )

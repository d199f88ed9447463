"""The input of a network: all that a checkpoint must hold of its clips to label a video."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from datamodules.clips.clip_sampler import ClipSampler
from datamodules.clips.crops import Crops
from datamodules.errors import UserError
from datamodules.plugins.described import plain, rebuild

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class FlowSpec:
    """The optical flow that a network was trained on.

    Attributes:
        length: Fields of a stack, L.
        method: Name of the method that estimated it.
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
class Normalization:
    """The scale that colours are brought to, on the device.

    Attributes:
        mean: Mean of each colour channel on the scale [0, 1].
        std: Standard deviation of each colour channel on that scale.

    Raises:
        UserError: If there are not three of each, or a deviation is not above 0.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == 3:
            raise UserError(
                f"data.normalization.mean has {len(self.mean)} and std {len(self.std)} values; "
                "give one of each for red, green and blue"
            )
        if min(self.std) <= 0:
            raise UserError(
                f"data.normalization.std={list(self.std)} is not possible; its values must be "
                "above 0"
            )


@dataclass(frozen=True)
class InputSpec:
    """Sampling, crops and normalization of the clips.

    Attributes:
        sampling: Choice of a clip's frames.
        crops: Crops of the frames.
        normalization: The scale of colours.
        flow: Optical flow beside the frames; None for frames alone.
        augmentation: What training changed on the device, as a description; it says how the
            weights were made, and changes no evaluation.
        transcoded: How the videos were encoded once more; None for videos as they came.
    """

    sampling: ClipSampler
    crops: Crops
    normalization: Normalization = Normalization()
    flow: FlowSpec | None = None
    augmentation: Mapping[str, Any] | None = None
    transcoded: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Describe it in plain values, as a checkpoint holds them; `from_dict` reads them back."""
        described = {
            "sampling": self.sampling.description(),
            "frame_rate": "native",
            "crops": plain(replace(self.crops, short_side=self.crops.side), "data.crops"),
            "normalization": plain(self.normalization, "data.normalization"),
            "flow": None if self.flow is None else asdict(self.flow),
            "augmentation": None if self.augmentation is None else dict(self.augmentation),
        }
        return described | ({"transcoded": dict(self.transcoded)} if self.transcoded else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "InputSpec":
        """Make the specification that `as_dict` described.

        Raises:
            UserError: If its sampler is part of a plugin that is not there, or if it is not what
                this version describes.
        """
        try:
            crops: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in values["crops"].items()
            }
            normalization = {name: tuple(v) for name, v in values["normalization"].items()}
            return cls(
                sampling=rebuild(values["sampling"], ClipSampler),  # type: ignore[type-abstract]
                crops=Crops(**crops),
                normalization=Normalization(**normalization),
                flow=None if values["flow"] is None else FlowSpec(**values["flow"]),
                augmentation=values["augmentation"],
                transcoded=values.get("transcoded"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"the input_spec of the checkpoint is not one of this version ({error!r}); give "
                "the file as a fit wrote it, or the version of kinetoscope that wrote it"
            ) from error

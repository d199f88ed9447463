"""A network as a graph that needs nothing of this project: pixels in, logits out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.augmentation.functional import normalize, normalize_flow
from datamodules.clips.input_spec import InputSpec
from lightning_modules.base import VideoClassifier
from lightning_modules.exporting.folding import folded
from models import VideoNetwork
from models.adapted import AdaptedNetwork


class PixelNetwork(nn.Module):
    """A network that takes pixels, and codes of flow, and normalizes them itself.

    Args:
        network: The network.
        mean: Mean of each colour on the scale [0, 1].
        std: Standard deviation of each colour on that scale.
    """

    def __init__(self, network: VideoNetwork, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.modalities = network.modalities
        self.mean, self.std = tuple(mean), tuple(std)

    def forward(self, *views: Tensor) -> Tensor:
        """Compute logits, (B, K), of clips and flow, (B, C, T, H, W) uint8."""
        inputs = []
        for modality, view in zip(self.modalities, views, strict=True):
            one = view.unsqueeze(1)  # normalized as views of videos are
            is_clip = modality == "clip"
            scaled = normalize(one, self.mean, self.std) if is_clip else normalize_flow(one)
            inputs.append(scaled.squeeze(1))
        logits: Tensor = self.network(*inputs)
        return logits


def pixel_network(module: VideoClassifier) -> PixelNetwork:
    """Wrap the network of a module as it is."""
    scale = InputSpec.from_dict(module.input_spec).normalization
    return PixelNetwork(module.network, scale.mean, scale.std).eval()


def _deployable(module: VideoClassifier, views: tuple[Tensor, ...]) -> tuple[PixelNetwork, int]:
    """Merge and fold the network of a module, and wrap it.

    Args:
        module: The trained module, on the CPU; stays as it is.
        views: Inputs of the wrapped network, uint8.

    Returns:
        The wrapped copy, and the number of normalizations that went into convolutions.
    """
    whole = pixel_network(module)
    scaled: list[tuple[Tensor, ...]] = []
    with torch.inference_mode():
        handle = whole.network.register_forward_pre_hook(lambda _, given: scaled.append(given))
        whole(*views)
        handle.remove()
    copied, count = folded(module.network, scaled[0])
    return PixelNetwork(copied, whole.mean, whole.std).eval(), count


AXES = {0: "batch", 2: "frames"}
"""Axes of an input that a graph may leave free."""


@dataclass(frozen=True)
class Graph:
    """A captured network.

    Attributes:
        program: The graph.
        modalities: Names of its inputs.
        free: Axes of the inputs that may have any size.
        folded: Normalizations that went into convolutions.
    """

    program: torch.export.ExportedProgram
    modalities: tuple[str, ...]
    free: tuple[int, ...]
    folded: int


def capture(module: VideoClassifier, views: tuple[Tensor, ...]) -> Graph:
    """Capture the network of a module, merged and folded, with the axes free that may be.

    The batch always is. So is time, unless it is not known what the network does with it (one of a
    user's own or of another library), or the clips are so short that they are a case of their own,
    as for a maximum over a single value.

    Args:
        module: The trained module, on the CPU.
        views: Real clips and flow, (B, C, T, H, W) uint8, with B of at least 2.
    """
    network, count = _deployable(module, views)
    choices: list[tuple[int, ...]] = [(0,)]
    if not isinstance(module.network, AdaptedNetwork):
        choices.insert(0, (0, 2))
    for free in choices:
        axes = {axis: _size(axis, module.network) for axis in free}
        shapes = (tuple(axes for _ in views),)
        program = torch.export.export(network, views, dynamic_shapes=shapes)
        if 2 not in free or _takes(program, longer(views)):
            break
    return Graph(program, network.modalities, free, count)


def longer(views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Make clips of twice the length: each, and then itself backwards."""
    return tuple(torch.cat([view, view.flip(2)], dim=2) for view in views)


def _size(axis: int, network: VideoNetwork) -> Any:
    """Say what sizes an axis may have: of frames whole super-images, where there are such."""
    together = getattr(network, "frames_per_segment", 1)
    if axis == 0 or together == 1:
        return torch.export.Dim.DYNAMIC
    return together * torch.export.Dim("segments")


def _takes(program: torch.export.ExportedProgram, views: tuple[Tensor, ...]) -> bool:
    """Return True if a graph accepts inputs; it checks them by assertions."""
    try:
        with torch.inference_mode():
            program.module()(*views)
    except AssertionError:
        return False
    return True

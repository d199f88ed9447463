"""Class activation maps: the places and times of a clip that speak for a class.

Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016 (arXiv 1512.04150),
`CAM`; Selvaraju et al., Grad-CAM, ICCV 2017 (arXiv 1610.02391), equations 1 and 2.

Where a network's head is pooling and a linear classifier, the logit is a sum over the cells of its
features, and the map is that sum's terms: exact. Everywhere else it is Grad-CAM. There a channel's
weight is the mean of the gradient over the cells of one step of time, not over all of the clip: a
step is the image that the paper speaks of, and one that changes nothing has weight 0. Far from the
head this mean forgets where a channel counts; HiResCAM (Draelos, Carin, arXiv 2011.08891) does not
take it, and multiplies each cell with its own gradient.

Axes: B clips, C channels, T frames, H rows, W columns, T', H', W' those of a layer, S streams.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from datamodules.errors import UserError
from models import VideoNetwork

__all__ = [
    "ActivationMaps",
    "Method",
    "activation_maps",
    "in_evaluation",
    "layers_with_maps",
    "spread",
    "step_scores",
]

FEATURES = "features"
"""Name of the layer that a linear head reads."""

Method = Literal["grad_cam", "hires_cam"]

_NAMES: dict[Method, str] = {"grad_cam": "Grad-CAM", "hires_cam": "HiResCAM"}

SAME = 1e-5
"""Largest difference of two steps, as a share of the largest value, that is none."""


@dataclass(frozen=True)
class ActivationMaps:
    """Maps of one class in each clip.

    Attributes:
        values: (B, T', H', W') float32. Of a linear head their mean plus the classifier's bias is
            the logit, and a negative value speaks against the class; else they are not negative.
        streams: The same for each stream, whose sum is `values`, (S, B, T', H', W'); one stream
            where the network has one, or a layer was chosen.
        layer: Name of the layer.
        kind: `CAM` for a linear head, else `Grad-CAM` or `HiResCAM`.
    """

    values: Tensor
    streams: Tensor
    layer: str
    kind: str

    @property
    def is_exact(self) -> bool:
        """True for the maps of a linear head."""
        return self.kind == "CAM"

    @property
    def largest(self) -> float:
        """The largest value of any stream: the bright end of one colour scale for a clip."""
        return float(self.streams.max())

    def same_at_all_times(self) -> bool:
        """Return True where every frame of every clip gets the same map."""
        spread = (self.values - self.values[:, :1]).abs().max()
        return bool(spread <= SAME * self.values.abs().max())


def activation_maps(
    network: VideoNetwork,
    inputs: Sequence[Tensor],
    labels: Tensor,
    layer: str | None = None,
    method: Method = "grad_cam",
) -> ActivationMaps:
    """Compute the maps of a class in each clip.

    Nothing of the network changes: parameters get no gradient, batch normalization counts nothing,
    modes stay as they were.

    Args:
        network: The network.
        inputs: The arguments of its `forward`, normalized, (B, C, T, H, W) each.
        labels: A class for each clip, (B,) int64.
        layer: Name of a submodule whose maps are wanted; None for the features in front of a linear
            head, or where these have no places for the last layer that has.
        method: `grad_cam` or `hires_cam`, where the map is not that of a linear head.

    Raises:
        UserError: If the network has no such layer, or it gives no maps.
    """
    if layer is None and network.has_features and network.places == "features":
        products = _products(network, inputs, labels)
        if products[0, 0, 0].numel() > 1:
            cells = products[0, 0].numel()
            parts = products.chunk(len(network.modalities), dim=1)
            streams = torch.stack([part.sum(1) for part in parts]) * cells
            return ActivationMaps(streams.sum(0), streams, FEATURES, "CAM")
    chosen = _choose(network, inputs, layer)
    activation, gradient = _at_layer(network, inputs, labels, chosen)
    if method == "grad_cam":
        gradient = gradient.mean((3, 4), keepdim=True)  # (B, C, T', 1, 1)
    values = (gradient * activation).sum(1).relu()
    return ActivationMaps(values, values[None], chosen, _NAMES[method])


def step_scores(
    network: VideoNetwork, inputs: Sequence[Tensor], labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Divide the logit of a class among the steps of time that the head reads.

    Args:
        network: A network with a linear head.
        inputs: See `activation_maps`.
        labels: See `activation_maps`.

    Returns:
        The share of each step, (B, T'), which with the classifier's bias add up to the logit, and
        the share of each channel in each step, (B, C, T').

    Raises:
        UserError: If the network tells nothing but its logits.
    """
    if not network.has_features:
        raise UserError(
            f"{type(network).__name__} gives logits alone, so nothing says which step of time they "
            "come from; give a network with forward_features and forward_head"
        )
    channels = _products(network, inputs, labels).sum((3, 4))
    return channels.sum(1), channels


def layers_with_maps(network: nn.Module, inputs: Sequence[Tensor]) -> list[str]:
    """List the submodules that give maps of several cells for each clip, in the order of their end.

    Args:
        network: The network.
        inputs: See `activation_maps`.
    """
    found: dict[str, None] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: object, out: object) -> None:
            if isinstance(out, Tensor) and out.ndim == 5 and len(out) == len(inputs[0]):
                found.pop(name, None)
                if out[0, 0, 0].numel() > 1:
                    found[name] = None

        return hook

    hooks: dict[str, Callable[..., object]] = {
        name: note(name) for name, _ in network.named_modules() if name
    }
    with _hooks(network, hooks), in_evaluation(network), torch.no_grad():
        network(*inputs)
    return list(found)


@contextmanager
def in_evaluation(network: nn.Module) -> Iterator[None]:
    """Set a network and its parts to evaluation; each is put back into its mode at the end."""
    training = [module for module in network.modules() if module.training]
    try:
        network.eval()
        yield
    finally:
        for module in training:
            module.training = True


def _products(network: VideoNetwork, inputs: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Multiply features with the gradient of the logit there, (B, C, T', H', W').

    The heads are linear, or linear in parts (a maximum over time), so that the products and the
    classifier's bias add up to the logit.
    """
    with in_evaluation(network):
        with torch.no_grad():
            features = network.forward_features(*inputs)
        with torch.enable_grad():
            leaf = features.detach().requires_grad_()
            gradient = _gradient(network.forward_head(leaf), labels, leaf)
    return (gradient * features).float().detach()


def _gradient(logits: Tensor, labels: Tensor, at: Tensor) -> Tensor:
    """Compute the gradient of each clip's logit of its class; parameters get none."""
    chosen = logits.gather(1, labels[:, None].to(logits.device)).sum()
    return torch.autograd.grad(chosen, at)[0]


def _choose(network: VideoNetwork, inputs: Sequence[Tensor], layer: str | None) -> str:
    names = [] if network.places == "none" else layers_with_maps(network, inputs)
    if not names:
        raise UserError(
            f"no layer of {type(network).__name__} gives maps (B, C, T, H, W), so there is nothing "
            "to show of it; networks of tokens and image networks on single frames have none"
        )
    if layer is None:
        return names[-1]
    if layer not in names:
        stages = [name for name in names if name.count(".") <= 1]
        raise UserError(
            f"--layer {layer} gives no maps of places here; layers that do: {', '.join(stages)}, "
            "and what lies inside of them"
        )
    return layer


def _at_layer(
    network: nn.Module, inputs: Sequence[Tensor], labels: Tensor, layer: str
) -> tuple[Tensor, Tensor]:
    """Get what leaves a layer, and the gradient there, both (B, C, T', H', W') float32."""
    leaves: list[Tensor] = []

    def cut(module: nn.Module, given: object, out: Tensor) -> Tensor:
        leaves.append(out.detach().requires_grad_())
        return leaves[-1].clone()  # which what follows may change in place

    with in_evaluation(network), _hooks(network, {layer: cut}), torch.enable_grad():
        logits = network(*inputs)
        gradient = _gradient(logits, labels, leaves[-1])
    return leaves[-1].detach().float(), gradient.detach().float()


@contextmanager
def _hooks(network: nn.Module, hooks: dict[str, Callable[..., object]]) -> Iterator[None]:
    """Let functions see what leaves submodules, and take them away again."""
    handles = [network.get_submodule(n).register_forward_hook(f) for n, f in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def spread(values: Tensor, frames: int, height: int, width: int) -> Tensor:
    """Bring maps to the size of a clip: smoothly in space, step by step in time.

    Args:
        values: (B, T', H', W').
        frames: T.
        height: H.
        width: W.

    Returns:
        (B, T, H, W). A frame has the map of its step: nothing is made up between two steps.
    """
    wide = interpolate(values, (height, width), mode="bilinear", align_corners=False)
    steps = torch.arange(frames, device=values.device) * values.shape[1] // frames
    return wide[:, steps]

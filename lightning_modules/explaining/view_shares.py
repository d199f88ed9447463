"""CoST: how much each of its three views counts (section 4.5 of the paper, figures 7 and 8).

Li et al., CVPR 2019 (arXiv 1903.01197). The coefficients after the softmax are averaged over
samples and channels for each layer, and over layers with equal weight for the network.

L layers, C channels of a layer, K classes, 3 views in the order H-W, T-W, T-H.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from datamodules.atomic import writing_text
from datamodules.csv_tables import write_rows
from models import CoST, CoSTB

__all__ = ["ViewShares", "draw_channels", "draw_classes", "draw_layers", "write_shares"]

VIEWS = ("H-W", "T-W", "T-H")
COLORS = ("#3f7fe0", "#e09b2d", "#2f9e6e")
"""Of the views, on light and on dark."""

EXTREME = 8
"""Classes that are shown of either end."""


class ViewShares:
    """The shares of the views, summed over the clips of a pass.

    Args:
        network: The network.
        num_classes: K.

    Attributes:
        layers: Names of the L layers, from the input on.
        clips: Clips of each class that were counted, (K,).
    """

    def __init__(self, network: CoST, num_classes: int) -> None:
        self.network = network
        self.layers = list(network.operations())
        self.clips = np.zeros(num_classes, np.int64)
        self._channels: dict[str, Tensor] = {}
        self._motion = np.zeros(num_classes)

    def add(self, inputs: tuple[Tensor, ...], labels: Tensor) -> None:
        """Count clips.

        Args:
            inputs: Normalized frames, (B, 3, T, H, W), the only one.
            labels: Their classes, (B,).
        """
        found = self.network.coefficients(*inputs)
        motion = torch.zeros(len(labels), dtype=torch.float64)
        for name, shares in found.items():
            shares = shares.double().cpu()
            self._channels[name] = self._channels.get(name, 0) + shares.sum(0)
            motion += shares[:, :, 1:].sum(2).mean(1) / len(found)
        np.add.at(self._motion, labels.cpu().numpy(), motion.numpy())
        np.add.at(self.clips, labels.cpu().numpy(), 1)

    @property
    def by_channel(self) -> list[NDArray[np.float64]]:
        """Mean shares of the channels of each layer, L times (C, 3)."""
        return [(self._channels[name] / int(self.clips.sum())).numpy() for name in self.layers]

    @property
    def by_layer(self) -> NDArray[np.float64]:
        """Mean shares of each layer, (L, 3)."""
        return np.stack([shares.mean(0) for shares in self.by_channel])

    @property
    def by_class(self) -> NDArray[np.float64]:
        """Share of motion (T-W and T-H) of each class, (K,); NaN for one without clips."""
        return np.where(self.clips > 0, self._motion / np.maximum(self.clips, 1), np.nan)

    @property
    def depends_on_clip(self) -> bool:
        """False for CoST(a), whose shares are parameters."""
        return isinstance(self.network, CoSTB)


def draw_layers(axes: Axes, by_layer: NDArray[np.float64]) -> None:
    """Draw the shares of the layers as stacked areas, with the overall means (figure 8).

    Args:
        axes: The axes.
        by_layer: (L, 3).
    """
    numbers = np.arange(1, len(by_layer) + 1)
    means = by_layer.mean(0)
    names = [f"{view} {mean:.2f}" for view, mean in zip(VIEWS, means, strict=True)]
    axes.stackplot(numbers, by_layer.T, labels=names, colors=COLORS, alpha=0.85, lw=0)
    axes.set(xlabel="CoST layer", ylabel="share", ylim=(0, 1))
    axes.set_xticks(numbers)
    axes.margins(x=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1.2)


def draw_channels(axes: Axes, by_channel: list[NDArray[np.float64]]) -> None:
    """Draw the share of each view in each channel, channels sorted within their layer (figure 7).

    Args:
        axes: The axes.
        by_channel: L times (C, 3).
    """
    for number, shares in enumerate(by_channel, 1):
        for view, color in enumerate(COLORS):
            ordered = np.sort(shares[:, view])
            places = number + (np.arange(len(ordered)) + 0.5) / len(ordered) * 0.8 - 0.4
            label = VIEWS[view] if number == 1 else None
            axes.plot(places, ordered, ".", ms=3, color=color, alpha=0.8, label=label)
    axes.set(xlabel="CoST layer, its channels sorted by share", ylabel="share", ylim=(0, 1))
    axes.set_xticks(range(1, len(by_channel) + 1))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1.2)


def draw_classes(axes: Axes, by_class: NDArray[np.float64], names: list[str]) -> None:
    """Draw the share of motion of the classes: all, or the most and the least moving.

    Args:
        axes: The axes.
        by_class: (K,); NaN for a class without clips.
        names: K names.
    """
    known = np.flatnonzero(~np.isnan(by_class))
    order = known[np.argsort(by_class[known])]
    if len(order) > 2 * EXTREME:
        order = np.concatenate([order[:EXTREME], order[-EXTREME:]])
    axes.barh(range(len(order)), by_class[order], color=COLORS[1])
    axes.set_yticks(range(len(order)), [names[i] for i in order], parse_math=False)
    axes.set(xlabel="share of T-W and T-H")


def write_shares(folder: Path, shares: ViewShares, class_names: list[str]) -> None:
    """Write the numbers behind the plots as CSV files.

    Args:
        folder: Gets `view_shares.csv` (each layer, and their mean), `view_shares_channels.csv`, and
            `view_shares_classes.csv`, the last one only where the shares depend on the clip.
        shares: After a pass.
        class_names: K names.
    """
    layers = list(zip(shares.layers, shares.by_layer, strict=True))
    layers.append(("mean", shares.by_layer.mean(0)))
    rows: list[list[object]] = [[name, *map(_number, row)] for name, row in layers]
    _write(folder / "view_shares.csv", [["layer", *VIEWS], *rows])
    rows = [
        [name, channel, *map(_number, row)]
        for name, channels in zip(shares.layers, shares.by_channel, strict=True)
        for channel, row in enumerate(channels)
    ]
    _write(folder / "view_shares_channels.csv", [["layer", "channel", *VIEWS], *rows])
    if shares.depends_on_clip:
        order = np.argsort(-shares.by_class)
        rows = [
            [class_names[i], int(shares.clips[i]), _number(shares.by_class[i])]
            for i in order
            if shares.clips[i]
        ]
        _write(folder / "view_shares_classes.csv", [["class", "clips", "share_of_motion"], *rows])


def _number(value: float) -> str:
    return f"{value:.6f}"


def _write(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with writing_text(path, newline="") as file:
        write_rows(file, rows)

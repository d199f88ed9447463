"""Analyses of its own that each family has: of one clip, and of a split."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from lightning_modules.explaining.cam import ActivationMaps, spread
from lightning_modules.explaining.clips import Clip
from lightning_modules.explaining.pictures import (
    BLUE,
    captioned,
    colour_flow,
    enlarge,
    heat,
    play,
    plot,
    show,
    side_by_side,
)
from lightning_modules.explaining.similarity_field import (
    logits_without_block,
    motion_field,
    similarities,
)
from lightning_modules.explaining.streams import injected_motion
from lightning_modules.explaining.super_images import channels_won
from lightning_modules.explaining.view_shares import (
    ViewShares,
    draw_channels,
    draw_classes,
    draw_layers,
    write_shares,
)
from lightning_modules.reports.html_page import table
from models import SELFY, CoST, CoSTA, STResNet, VideoNetwork
from models.stnet import SuperImageNetwork

__all__ = ["Family", "family_of"]

Probabilities = Callable[[Tensor], Tensor]


class Family:
    """A network with nothing of its own to show.

    Args:
        network: The network.
        class_names: K names.
        folder: Folder of the files.
        probabilities: Turns logits into probabilities, (B, K).
    """

    def __init__(
        self,
        network: VideoNetwork,
        class_names: Sequence[str],
        folder: Path,
        probabilities: Probabilities,
    ) -> None:
        self.network = network
        self.class_names = list(class_names)
        self.folder = folder
        self.probabilities = probabilities

    def of_clip(self, clip: Clip, maps: ActivationMaps, stem: str) -> str:
        """Show a clip.

        Args:
            clip: The clip.
            maps: Its maps of the class that is explained.
            stem: Begin of the names of its files.

        Returns:
            Cards; empty where there is nothing.
        """
        return ""

    def add(self, inputs: tuple[Tensor, ...], labels: Tensor) -> None:
        """Count clips of a pass over a split.

        Args:
            inputs: Of the network.
            labels: Classes, (B,).
        """

    def of_split(self) -> str:
        """Show what was counted: cards, empty where there is nothing."""
        return ""


class CoSTViews(Family):
    """CoST: the shares of the three views."""

    network: CoST

    def __init__(self, network: CoST, class_names: Sequence[str], *others: Any) -> None:
        super().__init__(network, class_names, *others)
        self.shares = ViewShares(network, len(class_names))

    def of_clip(self, clip: Clip, maps: ActivationMaps, stem: str) -> str:
        """Show the shares of a clip as figure 8 does."""
        own = ViewShares(self.network, 1)
        own.add(clip.inputs, torch.zeros(1, dtype=torch.int64))
        drawn = plot(self.folder / f"{stem}_views.png", lambda a: draw_layers(a, own.by_layer))
        constant = "; parameters of CoST(a), the same for every clip"
        kind = constant if isinstance(self.network, CoSTA) else "; predicted for this clip"
        return captioned("Shares of the three views", drawn, f"means over the channels{kind}")

    def add(self, inputs: tuple[Tensor, ...], labels: Tensor) -> None:
        """See `Family.add`."""
        self.shares.add(inputs, labels)

    def of_split(self) -> str:
        """Draw figures 7 and 8 and the classes; write the numbers."""
        shares, folder = self.shares, self.folder
        write_shares(folder, shares, self.class_names)
        layers = plot(folder / "view_shares.png", lambda a: draw_layers(a, shares.by_layer))
        channels = plot(
            folder / "view_shares_channels.png", lambda a: draw_channels(a, shares.by_channel)
        )
        cards = captioned(
            "Shares of the three views",
            layers,
            f"figure 8 of the paper; means over {shares.clips.sum():,} clips and the channels of a "
            "layer, in the legend over the layers; numbers in view_shares.csv",
        )
        cards += captioned(
            "Shares in each channel", channels, "means over the clips; view_shares_channels.csv"
        )
        if not shares.depends_on_clip:
            return cards
        classes = plot(
            folder / "view_shares_classes.png",
            lambda a: draw_classes(a, shares.by_class, self.class_names),
            self.class_names,
            height=4.2,
        )
        text = "share of T-W and T-H, the most moving on top; view_shares_classes.csv"
        return cards + captioned("Motion by class", classes, text)


class SELFYBlocks(Family):
    """SELFY: similarity as motion, and the block left out."""

    network: SELFY

    def __init__(self, network: SELFY, class_names: Sequence[str], *others: Any) -> None:
        super().__init__(network, class_names, *others)
        self._right = np.zeros(3, np.int64)  # with the block, without it, of how many

    def of_clip(self, clip: Clip, maps: ActivationMaps, stem: str) -> str:
        """Show similarities, the motion in them, and the prediction without the block."""
        volumes = similarities(self.network, clip.inputs)
        cards = self._motion(clip, volumes[0], stem) + self._volumes(volumes[0], maps, stem)
        without = self.probabilities(logits_without_block(self.network, clip.inputs))[0].cpu()
        order = (clip.probabilities + without).topk(min(4, len(without))).indices.tolist()
        rows = [
            [
                self.class_names[i],
                f"{100 * clip.probabilities[i]:.1f} %",
                f"{100 * without[i]:.1f} %",
            ]
            for i in order
        ]
        compared = table(["class", "with the block", "without"], rows)
        text = "without: what enters the block leaves it"
        return cards + captioned("With and without the SELFY block", compared, text)

    def _motion(self, clip: Clip, volumes: Tensor, stem: str) -> str:
        """Show the offsets of greatest similarity, in the next frame that the block compares."""
        offsets = self.network.selfy.offsets
        ahead = [offset for offset in offsets if offset] or [0]
        offset = min(ahead, key=lambda o: (abs(o), -o))
        if offset == 0:
            return ""
        field = motion_field(volumes[:, :, :, offsets.index(offset)])  # (2, T, h, w)
        times = range(max(0, -offset), len(clip.frames) - max(0, offset))
        colours = colour_flow(field[:, list(times)].transpose(0, 1))
        shown = enlarge(clip.frames[list(times)])
        cells = np.stack([_resized(frame, shown.shape[1:3]) for frame in colours])
        playing = play(
            self.folder / f"{stem}_motion.mp4",
            side_by_side(shown, cells),
            "the clip, and beside it the motion that similarity tells",
        )
        text = (
            f"offset of greatest similarity in the frame {offset:+d} away, in the usual colours of "
            "flow (white: none, red: right, yellow: down, blue: up, cyan: left)"
        )
        return captioned("Similarity as motion", playing, text)

    def _volumes(self, volumes: Tensor, maps: ActivationMaps, stem: str) -> str:
        """Show the similarities of three places of the middle frame."""
        frames, height, width, _, window, _ = volumes.shape
        middle = frames // 2
        seen = spread(maps.values, frames, height, width)[0, middle].flatten()
        order = seen.argsort(descending=True)
        chosen = [int(order[0]), int(order[1]), int(order[-1])]
        rows = [volumes[middle, i // width, i % width] for i in chosen]  # (L, U, V) each
        tiles = [torch.nn.functional.pad(row, (0, 1, 0, 1), value=torch.nan) for row in rows]
        mosaic = torch.cat([torch.cat(list(tile), dim=1) for tile in tiles]).cpu().numpy()
        step = window + 1
        offsets = [f"{offset:+d}" for offset in self.network.selfy.offsets]
        places = [f"row {i // width}, column {i % width}" for i in chosen]

        def paint(axes: Axes) -> None:
            axes.imshow(mosaic, cmap="inferno", interpolation="none")
            axes.set_xticks([window / 2 - 0.5 + step * i for i in range(len(offsets))], offsets)
            axes.set_yticks([window / 2 - 0.5 + step * i for i in range(len(places))], places)
            axes.set_xlabel("frame that is compared")
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)

        text = (
            f"similarity of three cells of frame {middle} to the {window} x {window} cells around "
            "the same place; the first two count most for the class, the last one least"
        )
        drawn = plot(self.folder / f"{stem}_similarities.png", paint)
        return captioned("Similarity volumes", drawn, text)

    def add(self, inputs: tuple[Tensor, ...], labels: Tensor) -> None:
        """See `Family.add`."""
        with torch.no_grad():
            answers = self.network(*inputs).argmax(1).cpu()
        without = logits_without_block(self.network, inputs).argmax(1).cpu()
        right = [int((given == labels).sum()) for given in (answers, without)]
        self._right += np.array([*right, len(labels)])

    def of_split(self) -> str:
        """Show the accuracy with and without the block."""
        with_block, without, clips = self._right.tolist()
        rows = [
            ["with the block", f"{100 * with_block / clips:.1f} %"],
            ["without it", f"{100 * without / clips:.1f} %"],
        ]
        text = f"one centred clip of {clips:,} videos; without: what enters the block leaves it"
        return captioned("The SELFY block", table(["", "clip accuracy"], rows), text)


class StNetSuperImages(Family):
    """StNet: maps of the super-images, and which of them the maximum takes."""

    network: SuperImageNetwork

    def __init__(
        self, network: SuperImageNetwork, class_names: Sequence[str], *others: Any
    ) -> None:
        super().__init__(network, class_names, *others)
        self._won: list[NDArray[np.float32]] = []

    def of_clip(self, clip: Clip, maps: ActivationMaps, stem: str) -> str:
        """Show a frame of each super-image with its map, and the channels that it wins."""
        frames = len(clip.frames)
        count, length = maps.values.shape[1], frames // maps.values.shape[1]
        shown = enlarge(clip.frames)
        drawn = heat(shown, spread(maps.values, frames, *shown.shape[1:3])[0], maps.largest)
        middles = np.arange(count) * length + length // 2
        strip = show(self.folder / f"{stem}_super_images.png", drawn[middles])
        text = f"the middle one of the {length} frames of each super-image"
        cards = captioned("Maps of the super-images", strip, text)
        if self.network.head_pool != "max":
            return cards
        won = channels_won(self.network, clip.inputs)[0].cpu().numpy()
        bars = plot(self.folder / f"{stem}_maximum.png", lambda a: _bars(a, won))
        text = "share of the channels whose maximum over time is in the super-image"
        return cards + captioned("Which super-image the maximum takes", bars, text)

    def add(self, inputs: tuple[Tensor, ...], labels: Tensor) -> None:
        """See `Family.add`."""
        self._won += list(channels_won(self.network, inputs).cpu().numpy())

    def of_split(self) -> str:
        """Show which super-image the maximum takes, on average."""
        if self.network.head_pool != "max":
            return ""
        mean = np.mean(self._won, axis=0)
        bars = plot(self.folder / "maximum.png", lambda a: _bars(a, mean))
        text = f"share of the channels whose maximum it has; mean over {len(self._won):,} clips"
        return captioned("Which super-image the maximum takes", bars, text)


class STResNetStreams(Family):
    """ST-ResNet: the motion that enters appearance, where its links lead there."""

    network: STResNet

    def __init__(self, network: STResNet, class_names: Sequence[str], *others: Any) -> None:
        super().__init__(network, class_names, *others)
        self._sizes: list[NDArray[np.float32]] = []

    def of_clip(self, clip: Clip, maps: ActivationMaps, stem: str) -> str:
        """Show how large the injected motion is, stage by stage and chunk by chunk."""
        sizes = injected_motion(self.network, clip.inputs)[0].cpu().numpy()  # (stages, T)

        def paint(axes: Axes) -> None:
            for stage, values in enumerate(sizes, 1):
                label = f"stage {stage}: {values.mean():.2f}"
                axes.plot(np.arange(1, len(values) + 1), values, "o-", ms=4, label=label)
            axes.set(xlabel="chunk", ylabel="motion / appearance", ylim=(0, None))
            axes.set_xticks(range(1, sizes.shape[1] + 1))
            axes.legend(fontsize=9)

        drawn = plot(self.folder / f"{stem}_injected.png", paint)
        text = (
            "what the connection changes in the input of the second block's residual branch, as a "
            "share of the appearance there; means in the legend"
        )
        return captioned("Motion that enters appearance", drawn, text)

    def add(self, inputs: tuple[Tensor, ...], labels: Tensor) -> None:
        """See `Family.add`."""
        self._sizes += list(injected_motion(self.network, inputs).mean(2).cpu().numpy())

    def of_split(self) -> str:
        """Show the mean size of the injected motion in each stage."""
        mean = np.mean(self._sizes, axis=0)
        bars = plot(
            self.folder / "injected.png",
            lambda a: _bars(a, mean, "stage", "motion / appearance"),
        )
        text = f"change of the second block's input by the connection; {len(self._sizes):,} clips"
        return captioned("Motion that enters appearance", bars, text)


def family_of(
    network: VideoNetwork, class_names: Sequence[str], folder: Path, probabilities: Probabilities
) -> Family:
    """Choose what a network shows of its own; see `Family` for the arguments."""
    kinds: tuple[tuple[type[VideoNetwork], type[Family]], ...] = (
        (CoST, CoSTViews),
        (SELFY, SELFYBlocks),
        (SuperImageNetwork, StNetSuperImages),
        (STResNet, STResNetStreams),
    )
    kind = next((own for base, own in kinds if isinstance(network, base)), Family)
    if isinstance(network, STResNet) and not network.takes_motion:
        kind = Family
    return kind(network, class_names, folder, probabilities)


def _bars(
    axes: Axes,
    values: NDArray[np.float32],
    name: str = "super-image",
    unit: str = "share of the channels",
) -> None:
    numbers = np.arange(1, len(values) + 1)
    axes.bar(numbers, values, color=BLUE)
    axes.set(xlabel=name, ylabel=unit)
    axes.set_xticks(numbers)


def _resized(cells: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Enlarge the cells of a grid to the size of a picture; they stay squares."""
    rows = np.arange(size[0]) * cells.shape[0] // size[0]
    columns = np.arange(size[1]) * cells.shape[1] // size[1]
    return np.asarray(cells[rows][:, columns])

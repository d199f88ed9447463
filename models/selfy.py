"""SELFY: space-time self-similarity as generalized motion, in a TSM- or TSN-ResNet.

Kwon, Kim, Kwak, Cho, Learning Self-Similarity in Space and Time as Generalized Motion for Video
Action Recognition, ICCV 2021 (arXiv 2102.07092). One block after res3: reduce the features, compare
every position with its space-time neighbourhood (`models.self_similarity`), extract a vector from
each spatial map of similarities, integrate the vectors over neighbours and temporal offsets, and
add the result to the input. Layers follow the authors' code, which has the convolutional variants
only; the other extractions and integrations are the paper's, in the form chosen here.

Axes: B clips, C channels, T frames, H rows, W columns (h, w: of the reduced map), L temporal
offsets, U rows and V columns of the window.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import Tensor, nn

from models.layers import (
    FrameConv2d,
    check_choice,
    check_integer,
    fold_time,
    is_integer,
    unfold_time,
)
from models.norm import FrameBatchNorm2d
from models.resnet import get_architecture, init_convolutions, plain_block
from models.self_similarity import Similarity, comparison_macs, self_similarity
from models.similarity_extraction import Extraction, SoftArgmax, make_extractor
from models.tsm import shifted_blocks
from models.tsn import FrameConsensusResNet

Integration = Literal["convolution", "pointwise", "mean"]


class Integrate(nn.Module):
    """Integration of the vectors of all offsets: (B, L, c, T, h, w) to (B, c', T, h, w).

    Args:
        integration: `convolution`: three 3x3 layers shared by all offsets, then one that mixes
            them; `pointwise`: one 1x1 layer that mixes them; `mean`: their average.
        num_offsets: L.
        in_channels: c.
        features: Channels of each layer.

    Attributes:
        out_channels: c'.
    """

    def __init__(
        self, integration: Integration, num_offsets: int, in_channels: int, features: int
    ) -> None:
        super().__init__()
        self.integration = integration
        self.out_channels = in_channels if integration == "mean" else features
        spatial: list[nn.Module] = []
        channels = in_channels
        if integration == "convolution":
            for _ in range(3):
                spatial += _conv_norm_relu(channels, features, 3)
                channels = features
        self.spatial = nn.Sequential(*spatial)
        mix: list[nn.Module] = []
        if integration != "mean":
            kernel = 3 if integration == "convolution" else 1
            mix = _conv_norm_relu(num_offsets * channels, features, kernel)
        self.mix = nn.Sequential(*mix)

    def forward(self, x: Tensor) -> Tensor:
        """Integrate x, (B, L, c, T, h, w)."""
        if self.integration == "mean":
            return x.mean(1)
        x = self.spatial(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        out: Tensor = self.mix(x.flatten(1, 2))  # offset-major channels: l * c + channel
        return out


def _conv_norm_relu(in_channels: int, out_channels: int, kernel: int) -> list[nn.Module]:
    conv = FrameConv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return [conv, FrameBatchNorm2d(out_channels), nn.ReLU()]


class FrameUpsample(nn.ConvTranspose2d):
    """Twice the height and width of every frame, cut to a wanted size.

    A transposed convolution with a 1x1 kernel: only every second row and column gets a value, the
    rest is zero, as in the authors' code.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1, stride=2, output_padding=1, bias=False)

    def resize(self, x: Tensor, height: int, width: int) -> Tensor:
        """Map (B, C, T, h, w) to (B, C', T, height, width), at most twice the size."""
        larger = self(fold_time(x))[..., :height, :width]
        return unfold_time(larger.contiguous(), x.shape[2])


class SELFYBlock(nn.Module):
    """relu(x + g(STSS(x))), the identity until it is trained.

    Args:
        channels: C.
        offsets: Distances in time, in frames.
        window: U = V, odd.
        hidden: Channels that are compared.
        features: Channels of extraction and integration.
        extraction: Method that makes a vector of the similarities of a position to one frame.
        integration: Method that merges vectors over neighbours and offsets.
        similarity: Measure that compares two positions.
        last_scale: Scale of g's last normalization at first, 0 in the authors' code.

    Raises:
        ValueError: On the call, when every offset leads out of the clip.
    """

    def __init__(
        self,
        channels: int,
        offsets: Sequence[int],
        window: int,
        *,
        hidden: int = 128,
        features: int = 64,
        extraction: Extraction = "convolution",
        integration: Integration = "convolution",
        similarity: Similarity = "cosine",
        last_scale: float = 0.0,
    ) -> None:
        super().__init__()
        self.offsets = tuple(offsets)
        self.window = window
        self.hidden = hidden
        self.similarity: Similarity = similarity
        self.reduce = nn.Sequential(
            FrameConv2d(channels, hidden, 3, stride=2, padding=1, bias=False),
            FrameBatchNorm2d(hidden),
            nn.ReLU(),
        )
        self.extract = make_extractor(extraction, window, features)
        width = 3 if extraction == "soft_argmax" else features
        self.integrate = Integrate(integration, len(self.offsets), width, features)
        self.upsample = FrameUpsample(self.integrate.out_channels, channels)
        self.bn = FrameBatchNorm2d(channels)
        self.relu = nn.ReLU()
        init_convolutions(self.modules())
        nn.init.kaiming_normal_(self.upsample.weight, mode="fan_out", nonlinearity="relu")
        nn.init.constant_(self.bn.weight, last_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Map x, (B, C, T, H, W), to the same shape."""
        if min(abs(offset) for offset in self.offsets) >= x.shape[2]:
            raise ValueError(
                f"the clip has {x.shape[2]} frame(s), and offsets {list(self.offsets)} all lead "
                "out of it; raise num_frames or give smaller offsets"
            )
        reduced = self.reduce(x)
        stss = self_similarity(reduced, self.offsets, self.window, self.similarity)
        batch, frames, height, width, num_offsets = stss.shape[:5]
        maps = stss.reshape(-1, 1, self.window, self.window)
        if not isinstance(self.extract, SoftArgmax):  # it divides by 0.01, rounding errors too
            maps = maps.to(x.dtype)
        vectors = self.extract(maps).to(x.dtype).flatten(1)
        vectors = vectors.view(batch, frames, height, width, num_offsets, -1)
        motion = self.integrate(vectors.permute(0, 4, 5, 1, 2, 3))
        motion = self.bn(self.upsample.resize(motion, *x.shape[3:]))
        out: Tensor = self.relu(x + motion)
        return out


def _check_offsets(offsets: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(offsets, Sequence) or not all(is_integer(offset) for offset in offsets):
        raise ValueError(f"offsets is {offsets!r}; give a list of whole numbers, in frames")
    if not offsets or len(set(offsets)) < len(offsets):
        raise ValueError(f"offsets is {list(offsets)}; give at least one, each only once")
    return tuple(offsets)


def _check_positions(position: int | Sequence[int], stages: int) -> tuple[int, ...]:
    positions = position if isinstance(position, Sequence) else (position,)
    for one in positions:
        check_integer("position", one)
        if not 1 <= one < stages:
            raise ValueError(f"position is {one}; choose a stage from 1 to {stages - 1}")
    if not positions or list(positions) != sorted(set(positions)):
        raise ValueError(f"position is {list(positions)}; give stages in order, each only once")
    return tuple(positions)


@dataclass(frozen=True)
class BlockSize:
    """Position and size of the SELFY block.

    Attributes:
        position: Number of the stage that it follows, from 1.
        window: U = V, unless another is asked for.
        hidden: Channels that are compared.
        features: Channels of extraction and integration.
    """

    position: int
    window: int
    hidden: int
    features: int


_PAPER = BlockSize(position=2, window=9, hidden=128, features=64)

BLOCK_SIZES: dict[str, BlockSize] = {
    "r18": _PAPER,
    "r34": _PAPER,
    "r50": _PAPER,
    "r101": _PAPER,
    "r152": _PAPER,
    # ours, for 64 pixels
    "tiny": BlockSize(position=1, window=5, hidden=32, features=32),
}
"""The block of each trunk in `models.resnet.ARCHITECTURES`."""


class SELFY(FrameConsensusResNet):
    """A 2D ResNet with a SELFY block; head and consensus of TSN. A subclass names the trunk.

    Args:
        arch: Key of `models.resnet.ARCHITECTURES`.
        num_classes: Width of the logits.
        offsets: Distances in time, in frames; None for -2..2. The paper's 16-frame network very
            probably has -4..4.
        window: Height and width of the neighbourhood, odd; None for 9 (tiny: 5).
        extraction: `convolution`, `mlp` or `soft_argmax`.
        integration: `convolution`, `pointwise` or `mean`.
        similarity: `cosine`, `dot` or `softmax`.
        position: The block follows `layer<position>`; None for 2, which is res3 (tiny: 1). Several
            in order for a block behind each, of the same hidden sizes; the released code has one.
        last_scale: First scale of what the block adds. 0, the authors', suits a trunk that is
            trained already: the block changes nothing at first, and learns nothing either until
            the scale has left 0. Where nothing is trained yet, 1 lets it learn from the first step.
        dropout: Probability of dropping a feature before the classifier.

    Raises:
        ValueError: An argument is out of its range; on the call, when every offset leads out of
            the clip.
    """

    new_parameters: ClassVar[tuple[str, ...]] = ("selfy.*", "selfy_*")
    shifts_channels: ClassVar[bool]
    selfy: SELFYBlock

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        offsets: Sequence[int] | None = None,
        window: int | None = None,
        extraction: Extraction = "convolution",
        integration: Integration = "convolution",
        similarity: Similarity = "cosine",
        position: int | Sequence[int] | None = None,
        last_scale: float = 0.0,
        dropout: float = 0.5,
    ) -> None:
        architecture = get_architecture(arch)
        size, stages = BLOCK_SIZES[arch], len(architecture.depths)
        offsets = _check_offsets((-2, -1, 0, 1, 2) if offsets is None else offsets)
        window = size.window if window is None else window
        positions = _check_positions(size.position if position is None else position, stages)
        check_choice("extraction", extraction, get_args(Extraction))
        check_choice("integration", integration, get_args(Integration))
        check_choice("similarity", similarity, get_args(Similarity))
        if not 0 <= last_scale < math.inf:
            raise ValueError(f"last_scale is {last_scale}; it must be at least 0")
        check_integer("window", window)
        if window < 3 or window % 2 == 0:
            raise ValueError(f"window is {window}; it must be odd and at least 3")
        block_parts = shifted_blocks(arch, shift_div=8) if self.shifts_channels else plain_block
        super().__init__(arch, num_classes, block_parts=block_parts, dropout=dropout)
        self.unseen_options |= {"offsets": offsets, "window": window, "similarity": similarity}
        self.positions = positions
        for number in positions:
            block = SELFYBlock(
                architecture.block.expansion * architecture.width * 2 ** (number - 1),
                offsets,
                window,
                hidden=size.hidden,
                features=size.features,
                extraction=extraction,
                integration=integration,
                similarity=similarity,
                last_scale=last_scale,
            )
            self.add_module("selfy" if number == positions[0] else f"selfy_{number}", block)

    def blocks(self) -> list[SELFYBlock]:
        """List the blocks in the order of `positions`; the first one's weights are `selfy.*`."""
        others = (getattr(self, f"selfy_{number}") for number in self.positions[1:])
        return [self.selfy, *others]

    def init_classifier(self, layer: nn.Linear) -> None:
        """Set Xavier uniform weights and zero biases, as in the authors' code."""
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)

    def forward_features(self, clip: Tensor) -> Tensor:
        """Compute features of a clip, (B, 3, T, H, W) to (B, num_features, T, H/32, W/32)."""
        x, done = self.forward_stem(clip), 0
        for position, block in zip(self.positions, self.blocks(), strict=True):
            x = block(self.forward_stages(x, first=done + 1, last=position))
            done = position
        return self.forward_stages(x, first=done + 1)

    def uncounted_macs(self, frames: int, size: int) -> int:
        """Count the multiply-adds of the comparisons, less the matrix products that hold them."""
        found = 0
        for position, block in zip(self.positions, self.blocks(), strict=True):
            side = -(-size // (4 * 2**position))  # stem 4, stages, and the block's own halving
            sizes = (block.hidden, frames, side, side)
            meant, computed = comparison_macs(sizes, block.offsets, block.window)
            found += meant - computed
        return found


class SELFYTSM(SELFY):
    """SELFYNet on the trunk of TSM, the paper's main network; arguments of `SELFY`."""

    shifts_channels = True


class SELFYTSN(SELFY):
    """SELFYNet on the trunk of TSN, where the block alone sees motion; arguments of `SELFY`."""

    shifts_channels = False

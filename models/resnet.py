"""The residual trunk under every family, with torchvision's module names and hooks for its parts.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016 (arXiv 1512.03385). Spatial
strides sit on the 3x3 convolution of a bottleneck, as in torchvision, so that torchvision's
ImageNet weights fit; a family may put them on the first 1x1 convolution, as the paper does. A
family says which convolution of which block is its own by passing `BlockParts`; nothing is
replaced after construction.

Axes: B clips, C channels, T frames, H rows, W columns.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor, nn

from models.layers import (
    FrameConv2d,
    FrameMaxPool2d,
    VideoNetwork,
)
from models.norm import FrameBatchNorm2d


class ConvFactory(Protocol):
    """Factory of a block's convolution, from (B, C, T, H, W) to (B, C', T, H/stride, W/stride)."""

    def __call__(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        """Build the layer; stride is spatial."""


def conv1x1(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Make a 1x1 convolution of every frame, without bias."""
    return FrameConv2d(in_channels, out_channels, 1, stride=stride, bias=False)


def conv3x3(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Make a 3x3 convolution of every frame, without bias."""
    return FrameConv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


@dataclass(frozen=True)
class BlockParts:
    """The parts of one block that a family may replace; None stands for the plain 2D layer.

    Attributes:
        before_conv1: Builds a layer in front of the first convolution, inside the residual branch.
        conv1: Builds the first convolution.
        conv2: Builds the second convolution.
        conv3: Builds the third convolution (bottleneck only).
        stride_on_conv1: True if a bottleneck's spatial stride sits on its first convolution (He et
            al.), False if on its second (torchvision).
    """

    before_conv1: Callable[[], nn.Module] | None = None
    conv1: ConvFactory | None = None
    conv2: ConvFactory | None = None
    conv3: ConvFactory | None = None
    stride_on_conv1: bool = False


class ResidualBlock(nn.Module):
    """Base class of both kinds of block: out = relu(residual(x) + shortcut(x)).

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        stride: Spatial stride.
        parts: Replaced parts.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, parts: BlockParts) -> None:
        super().__init__()
        self.before_conv1 = parts.before_conv1() if parts.before_conv1 else nn.Identity()
        self.relu = nn.ReLU()
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                conv1x1(in_channels, out_channels, stride), FrameBatchNorm2d(out_channels)
            )

    def residual(self, x: Tensor) -> Tensor:
        """Compute the residual branch, before the addition."""
        raise NotImplementedError

    def shortcut(self, x: Tensor) -> Tensor:
        """Return the input, or its projection where the shape changes."""
        return x if self.downsample is None else self.downsample(x)

    def add(self, x: Tensor) -> Tensor:
        """Add both branches, before the last ReLU."""
        return self.residual(x) + self.shortcut(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, H, W) to (B, C', T, H/stride, W/stride)."""
        out: Tensor = self.relu(self.add(x))
        return out


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions (He et al., figure 5 left).

    Args:
        in_channels: C of the input.
        width: C of the output.
        stride: Spatial stride, on the first convolution.
        parts: Replaced parts.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, parts: BlockParts) -> None:
        super().__init__(in_channels, width, stride, parts)
        self.conv1 = (parts.conv1 or conv3x3)(in_channels, width, stride)
        self.bn1 = FrameBatchNorm2d(width)
        self.conv2 = (parts.conv2 or conv3x3)(width, width, 1)
        self.bn2 = FrameBatchNorm2d(width)

    def residual(self, x: Tensor) -> Tensor:
        """Apply 3x3, 3x3, each followed by batch normalization."""
        x = self.relu(self.bn1(self.conv1(self.before_conv1(x))))
        out: Tensor = self.bn2(self.conv2(x))
        return out


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions (He et al., figure 5 right).

    Args:
        in_channels: C of the input.
        width: C inside; the output has `expansion` times as many.
        stride: Spatial stride, on the second convolution unless `parts` says the first.
        parts: Replaced parts.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, parts: BlockParts) -> None:
        out_channels = self.expansion * width
        super().__init__(in_channels, out_channels, stride, parts)
        stride1, stride2 = (stride, 1) if parts.stride_on_conv1 else (1, stride)
        self.conv1 = (parts.conv1 or conv1x1)(in_channels, width, stride1)
        self.bn1 = FrameBatchNorm2d(width)
        self.conv2 = (parts.conv2 or conv3x3)(width, width, stride2)
        self.bn2 = FrameBatchNorm2d(width)
        self.conv3 = (parts.conv3 or conv1x1)(width, out_channels, 1)
        self.bn3 = FrameBatchNorm2d(out_channels)

    def residual(self, x: Tensor) -> Tensor:
        """Apply 1x1, 3x3, 1x1, each followed by batch normalization."""
        x = self.relu(self.bn1(self.conv1(self.before_conv1(x))))
        x = self.relu(self.bn2(self.conv2(x)))
        out: Tensor = self.bn3(self.conv3(x))
        return out


class NarrowBottleneck(Bottleneck):
    """A bottleneck whose output has only twice its inner channels; for the tiny architecture."""

    expansion = 2


@dataclass(frozen=True)
class Architecture:
    """Depth and width of a trunk.

    Attributes:
        block: Kind of block.
        depths: Blocks per stage; every stage but the first halves H and W.
        pretrained: torchvision's name of the same network, None where there is none.
        width: Channels of the stem and inner channels of the first stage; doubled stage by stage.
        stem_kernel: Height and width of the first convolution's kernel.
        stem_stride: Spatial stride of the first convolution.
        stem_pool: True if a 3x3 maximum with stride 2 follows it.
    """

    block: type[BasicBlock] | type[Bottleneck]
    depths: tuple[int, ...]
    pretrained: str | None
    width: int = 64
    stem_kernel: int = 7
    stem_stride: int = 2
    stem_pool: bool = True

    @property
    def num_features(self) -> int:
        """Channels after the last stage."""
        return int(self.block.expansion * self.width * 2 ** (len(self.depths) - 1))


ARCHITECTURES: dict[str, Architecture] = {
    "r18": Architecture(BasicBlock, (2, 2, 2, 2), "resnet18"),
    "r34": Architecture(BasicBlock, (3, 4, 6, 3), "resnet34"),
    "r50": Architecture(Bottleneck, (3, 4, 6, 3), "resnet50"),
    "r101": Architecture(Bottleneck, (3, 4, 23, 3), "resnet101"),
    "r152": Architecture(Bottleneck, (3, 8, 36, 3), "resnet152"),
    # ours, for 64 pixels on a CPU: the stem reduces H and W by 4 as the others do, but faster
    "tiny": Architecture(
        NarrowBottleneck, (1, 1, 1), None, width=16, stem_kernel=5, stem_stride=4, stem_pool=False
    ),
}


def get_architecture(arch: str, block: type[ResidualBlock] = ResidualBlock) -> Architecture:
    """Look an architecture up.

    Args:
        arch: Key of `ARCHITECTURES`.
        block: Kind of block that the family is defined for.

    Returns:
        The architecture.

    Raises:
        ValueError: There is no such architecture, or its blocks are of another kind.
    """
    allowed = [name for name, entry in ARCHITECTURES.items() if issubclass(entry.block, block)]
    if arch not in allowed:
        raise ValueError(f"arch is {arch!r}; choose one of {', '.join(allowed)}")
    return ARCHITECTURES[arch]


BlockPlan = Callable[[int, int], BlockParts]
"""Map from the indices of stage and block (both from 0) to the parts of that block."""


def plain_block(stage: int, block: int) -> BlockParts:
    """Return the parts of a block in which nothing is replaced."""
    return BlockParts()


def build_stage(architecture: Architecture, stage: int, block_parts: BlockPlan) -> nn.Sequential:
    """Build one stage of residual blocks.

    Args:
        architecture: Depth and width.
        stage: Index from 0.
        block_parts: Map from the indices of stage and block to the parts of that block.

    Returns:
        The blocks, from the width of the stage before (or of the stem) to this stage's own.
    """
    kind, width = architecture.block, architecture.width * 2**stage
    channels = architecture.width if stage == 0 else kind.expansion * width // 2
    blocks = []
    for block in range(architecture.depths[stage]):
        stride = 2 if stage > 0 and block == 0 else 1
        blocks.append(kind(channels, width, stride, block_parts(stage, block)))
        channels = kind.expansion * width
    return nn.Sequential(*blocks)


def init_convolutions(modules: Iterable[nn.Module]) -> None:
    """Initialise kernels as torchvision's ResNet does (He et al. 2015: normal, fan-out, ReLU).

    Args:
        modules: Modules to go through; all but 2D and 3D convolutions are left as they are.
    """
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class VideoResNet(VideoNetwork):
    """A 2D ResNet on every frame, into which a family puts its own parts.

    Modules are named as in torchvision: `conv1, bn1, relu, maxpool, layer1..4, fc`. Shapes for
    224 pixels and R50: stem (B, 64, T, 56, 56), stages (B, 256, T, 56, 56), (B, 512, T, 28, 28),
    (B, 1024, T, 14, 14), (B, 2048, T, 7, 7). A family adds its head.

    Args:
        architecture: Depth and width.
        num_classes: Width of the logits.
        classifier_std: Standard deviation of a new classifier's weights.
        block_parts: Map from the indices of stage and block (both from 0) to the block's parts.
        stem: The stem's convolution where it is not the plain 2D one.
        in_channels: C of the input of the plain stem.
    """

    def __init__(
        self,
        architecture: Architecture,
        num_classes: int,
        *,
        classifier_std: float,
        block_parts: BlockPlan = plain_block,
        stem: nn.Module | None = None,
        in_channels: int = 3,
    ) -> None:
        super().__init__(
            architecture.num_features,
            classifier_std=classifier_std,
            pretrained_arch=architecture.pretrained,
        )
        width, kernel = architecture.width, architecture.stem_kernel
        self.conv1 = stem or FrameConv2d(
            in_channels,
            width,
            kernel,
            stride=architecture.stem_stride,
            padding=kernel // 2,
            bias=False,
        )
        self.bn1 = FrameBatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool: nn.Module = nn.Identity()
        if architecture.stem_pool:
            self.maxpool = FrameMaxPool2d(3, stride=2, padding=1)
        self.num_stages = len(architecture.depths)
        for stage in range(self.num_stages):
            self.add_module(f"layer{stage + 1}", build_stage(architecture, stage, block_parts))
        init_convolutions(self.modules())
        self.reset_classifier(num_classes)

    def forward_stem(self, clip: Tensor) -> Tensor:
        """Apply the first convolution and pooling: (B, 3, T, H, W) to (B, width, T, H/4, W/4)."""
        out: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(clip))))
        return out

    def forward_stages(self, x: Tensor, first: int = 1, last: int | None = None) -> Tensor:
        """Run `layer<first>` to `layer<last>`, both included (default: all).

        Args:
            x: Input of the first of them, (B, C, T, H, W).
            first: Number of the first stage, from 1.
            last: Number of the last stage; None for the network's last.

        Returns:
            Output of the last of them.
        """
        for stage in range(first, (last or self.num_stages) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return x

    def stage_blocks(self, stage: int) -> list[ResidualBlock]:
        """List the blocks of `layer<stage>`, from 1, for a family that goes through them itself."""
        return [
            cast(ResidualBlock, block) for block in self.get_submodule(f"layer{stage}").children()
        ]

    def forward_features(self, clip: Tensor) -> Tensor:
        """Compute features of a clip, (B, 3, T, H, W) to (B, num_features, T, H/32, W/32)."""
        return self.forward_stages(self.forward_stem(clip))

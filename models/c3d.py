"""C3D: the 3D baselines of the CoST paper.

Li et al., CVPR 2019 (arXiv 1903.01197), figure 3(b) and 3(c), section 3.2. `C3D` is what the
paper's tables call C3D: the first 1x1x1 convolution of a replaced block becomes 3x1x1 (the I3D
block of Wang et al., Non-local Neural Networks, CVPR 2018), at the block's input resolution.
`C3D3x3x3` widens the middle one to 3x3x3 instead; the paper describes it without a result. Stem,
pools and head are those of C2D; which blocks are replaced is pinned by the authors' code.
"""

from typing import ClassVar

from torch import nn

from models.c2d import PooledResNet, Pools, Stem, replace_alternate
from models.layers import temporal_conv
from models.resnet import BlockParts, Bottleneck, get_architecture


def conv3x1x1(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """A convolution over T alone; the first of a bottleneck, whose spatial stride is 1."""
    assert stride == 1, "a bottleneck's first convolution has no stride"
    return temporal_conv(in_channels, out_channels)


def conv3x3x3(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """A full 3D convolution with stride in H and W, without bias."""
    return nn.Conv3d(
        in_channels, out_channels, 3, stride=(1, stride, stride), padding=1, bias=False
    )


class C3D(PooledResNet):
    """ResNet-C3D with 3x1x1 kernels (figure 3(c)): the paper's "C3D", known as I3D 3x1x1.

    New parameters: none; `conv1.weight` of a replaced block is (C', C, 3, 1, 1) instead of
    (C', C, 1, 1), and inflates from it.

    Args:
        arch: Key of `models.resnet.ARCHITECTURES` with bottlenecks.
        num_classes: Width of the logits.
        pools: See `PooledResNet`.
        stem: See `PooledResNet`.
        dropout: See `PooledResNet`.

    Raises:
        ValueError: An argument is out of its range.
    """

    parts: ClassVar[BlockParts] = BlockParts(conv1=conv3x1x1)

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        pools: Pools = "released",
        stem: Stem = "8_frames",
        dropout: float = 0.5,
    ) -> None:
        super().__init__(
            get_architecture(arch, Bottleneck),
            num_classes,
            block_parts=replace_alternate(arch, self.parts),
            pools=pools,
            stem=stem,
            dropout=dropout,
        )


class C3D3x3x3(C3D):
    """ResNet-C3D with 3x3x3 kernels (figure 3(b)); arguments as `C3D`.

    `conv2.weight` of a replaced block is (C', C', 3, 3, 3) instead of (C', C', 3, 3).
    """

    parts: ClassVar[BlockParts] = BlockParts(conv2=conv3x3x3)

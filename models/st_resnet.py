"""ST-ResNet: two streams, of which motion feeds appearance, with convolutions over time in both.

Feichtenhofer, Pinz, Wildes, Spatiotemporal Residual Networks for Video Action Recognition, NIPS
2016 (arXiv 1611.02155). To the two streams of `models.two_stream` come, in each of the four stages:

- a motion residual (equation 2): what leaves the first block of the motion stream is added to the
  input of the residual branch, and of that branch alone, of the second block of appearance;
- two convolutions over time (equation 5, table 1): the first and the last 1x1 convolution of the
  second block become 3x1x1, in both streams. From 2D weights each takes a third of them per tap.

ST-ResNet* (figure 3) adds a maximum over 5 chunks with stride 2 behind the last stage.

Where the paper is vague this follows the authors' code: zero padding in time, the temporal maximum
in front of the spatial average. The variant `connection="product"` is the one in their repository
that became Spatiotemporal Multiplier Networks (CVPR 2017): motion multiplies appearance, and the
convolutions over time are layers of their own behind the 3x3 convolution, the identity at first.

Axes: B clips, C channels, T chunks, H rows, W columns, L flow fields of a chunk, K classes.
"""

from typing import ClassVar, Literal, get_args

from torch import Tensor, nn

from models.layers import (
    FrameConv2d,
    TemporalMaxPool,
    check_choice,
    check_flag,
    temporal_conv,
)
from models.resnet import BlockParts, ResidualBlock
from models.stream import SlidingMean
from models.two_stream import StrideOn, TwoStreamNetwork

Connection = Literal["sum", "product"]


def conv1x1_over_time(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """A 3x1x1 convolution in place of a 1x1 one (equation 5); never where the stride is."""
    assert stride == 1, "the second block of a stage has no stride"
    return temporal_conv(in_channels, out_channels)


class Conv3x3ThenTime(FrameConv2d):
    """A 3x3 convolution of every frame and one over 3 chunks, which is the identity at first.

    Args:
        in_channels: C.
        out_channels: C'.
        stride: Spatial stride.

    Attributes:
        weight: The 3x3 kernel, (C', C, 3, 3), as in the 2D network.
        temporal: The convolution over time, weight (C', C', 3, 1, 1).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.temporal = temporal_conv(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, H, W) to (B, C', T, H/stride, W/stride)."""
        out: Tensor = self.temporal(super().forward(x))
        return out


_TEMPORAL: dict[Connection, BlockParts] = {
    "sum": BlockParts(conv1=conv1x1_over_time, conv3=conv1x1_over_time),
    "product": BlockParts(conv2=Conv3x3ThenTime),
}


class STResNet(TwoStreamNetwork):
    """ST-ResNet, or ST-ResNet* with `star`; `connection` chooses the variant of 2017.

    A weight of a 2D network goes to both streams, and so do the checkpoints of the streams trained
    alone; ST-ResNet* has the weights of ST-ResNet.

    Args:
        arch: Key of `models.resnet.ARCHITECTURES` with bottlenecks.
        num_classes: Width of the logits, K.
        star: Whether the last features are max-pooled over time: T' = (T - 5) // 2 + 1 scores.
        max_before_mean: Whether that maximum stands in front of the spatial average (figure 3,
            authors' code) or behind it (table 1): at each position of the window then, where a map
            is larger, and in front of the mean over the positions.
        rectified: Whether the appearance that motion is joined with went through the ReLU; not so
            in equation 2, though only then a pretrained block without motion stays as it was.
        connection: "sum" (NIPS 2016) or "product" (CVPR 2017). The latter was published with
            settings of its own, which it does not bring along: dropout 0.8 and strides of 5 to 35
            frames between the chunks; and with a maximum over all 5 chunks. Here, a departure, its
            chunks are averaged, or pooled as ST-ResNet* does.
        flow_length: Flow fields of a chunk, L.
        stride_on: See `models.two_stream.StreamNetwork`.
        dropout: Probability of dropping a feature before the classifiers; none in the paper.

    Raises:
        ValueError: An argument is out of its range, or max_before_mean is False without star; on
            the call, when star has fewer than 5 chunks, or the flow is not one stack per frame.
    """

    new_parameters: ClassVar[tuple[str, ...]] = ("*.conv2.temporal.weight",)

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        star: bool = False,
        max_before_mean: bool = True,
        rectified: bool = False,
        connection: Connection = "sum",
        flow_length: int = 10,
        stride_on: StrideOn = "1x1",
        dropout: float = 0.0,
    ) -> None:
        check_choice("connection", connection, get_args(Connection))
        flags = {"star": star, "max_before_mean": max_before_mean, "rectified": rectified}
        for name, value in flags.items():
            check_flag(name, value)
        if not (star or max_before_mean):
            raise ValueError(
                "max_before_mean is False, but star is False, so there is no maximum over time; "
                "set star to True"
            )

        def pool(window: int) -> nn.Module:
            if not star:
                return SlidingMean(window)
            maximum = TemporalMaxPool(5, 2)
            if max_before_mean:
                return nn.Sequential(maximum, SlidingMean(window))
            return SlidingMean(window, between=maximum)

        super().__init__(
            arch,
            num_classes,
            block_parts=lambda _, block: _TEMPORAL[connection] if block == 1 else BlockParts(),
            pool=pool,
            flow_length=flow_length,
            stride_on=stride_on,
            dropout=dropout,
        )
        for module in self.modules():
            if isinstance(module, Conv3x3ThenTime):
                nn.init.dirac_(module.temporal.weight)
        self.rectified = rectified
        self.connection = connection
        self.unseen_options["rectified"] = rectified

    def stream_features(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Features of the appearance and of the motion stream, both (B, C, T, H/32, W/32)."""
        self.check_inputs(*inputs)
        clip, flow = inputs
        rgb, motion = self.streams()
        x, moving = rgb.forward_stem(clip), motion.forward_stem(flow)
        for number in range(1, rgb.num_stages + 1):
            first, *others = motion.stage_blocks(number)
            moving = first(moving)
            x = self._run_linked(rgb.stage_blocks(number), x, moving)
            for block in others:
                moving = block(moving)
        return x, moving

    def _run_linked(self, blocks: list[ResidualBlock], x: Tensor, moving: Tensor) -> Tensor:
        """Run a stage of appearance, with motion in the residual branch of its second block.

        Args:
            blocks: The stage.
            x: Its input, (B, C, T, H, W).
            moving: What leaves the first block of the same stage in the motion stream.

        Returns:
            Its output, (B, C', T, H', W').
        """
        first, second, *others = blocks
        raw = first.add(x)
        x = first.relu(raw)
        joined = x if self.rectified else raw
        joined = joined + moving if self.connection == "sum" else joined * moving
        x = second.relu(second.residual(joined) + second.shortcut(x))
        for block in others:
            x = block(x)
        return x

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

`links`, `temporal_convolutions` and `star_pool` are what the paper tried and says in words, without
a number: links that go directly or both ways raise the validation error, those from appearance to
motion would bias both losses to appearance, a mean over time is worse than the maximum. How each is
built is ours where the words leave it open; `Links` and `STResNet` say so.

Axes: B clips, C channels, T chunks, H rows, W columns, L flow fields of a chunk, K classes.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import Tensor, nn

from models.layers import (
    FrameConv2d,
    TemporalMaxPool,
    TemporalMeanPool,
    check_choice,
    check_flag,
    temporal_conv,
)
from models.resnet import BlockParts, ResidualBlock
from models.stream import SlidingMean
from models.two_stream import StrideOn, TwoStreamNetwork

Connection = Literal["sum", "product"]
Links = Literal["motion_to_appearance", "appearance_to_motion", "bidirectional", "direct", "none"]
"""Names of what passes between the streams behind the first block of each stage.

With a and m for the sums of the first block of appearance and of motion, f for the ReLU, A and M
for the residual branches of the second blocks, the sums of these are

- `none`: f(a) + A(f(a)) and f(m) + M(f(m)), two plain streams (equation 1);
- `motion_to_appearance`: f(a) + A(a + f(m)) and f(m) + M(f(m)) (equation 2, the published one);
- `appearance_to_motion`: f(a) + A(f(a)) and f(m) + M(m + f(a)), equation 2 with the streams
  exchanged;
- `bidirectional`: f(a) + A(a + f(m)) and f(m) + M(m + f(a)). Each stream gets what the first block
  of the other gave, before the other's second block;
- `direct`: z + A(z) with z = f(a) + f(m), and f(m) + M(f(m)). What leaves two identical layers is
  added as it is, and so reaches the shortcut too.

Equation 2 apart, the paper has words alone, and these are ours: all links lie where the published
ones do; both ways means equation 2 twice, and not `direct` twice; `direct` goes from motion to
appearance, from behind the ReLU of both.
"""
StarPool = Literal["max", "mean"]

_INTO_APPEARANCE: tuple[Links, ...] = ("motion_to_appearance", "bidirectional", "direct")
_INTO_MOTION: tuple[Links, ...] = ("appearance_to_motion", "bidirectional")


@dataclass(frozen=True)
class STResNetOptions:
    """Additions to the two streams; the attributes are the arguments of `STResNet`.

    Raises:
        ValueError: A value is out of its range, or has no effect beside the others.
    """

    star: bool
    max_before_mean: bool
    star_pool: StarPool
    rectified: bool
    connection: Connection
    links: Links
    temporal_convolutions: bool

    def __post_init__(self) -> None:
        for name in ("star", "max_before_mean", "rectified", "temporal_convolutions"):
            check_flag(name, getattr(self, name))
        check_choice("star_pool", self.star_pool, get_args(StarPool))
        check_choice("connection", self.connection, get_args(Connection))
        check_choice("links", self.links, get_args(Links))
        self._refuse_pooling_without_effect()
        self._refuse_links_without_effect()

    def _refuse_pooling_without_effect(self) -> None:
        if not (self.star or self.max_before_mean):
            raise ValueError(
                "max_before_mean is False, but star is False, so there is no maximum over time; "
                "set star to True"
            )
        if self.star_pool == "mean" and not self.star:
            raise ValueError(
                "star_pool is 'mean', but star is False, so nothing is pooled over time; set star "
                "to True"
            )
        if self.star_pool == "mean" and not self.max_before_mean:
            raise ValueError(
                "max_before_mean is False, but star_pool is 'mean', and two means give the same in "
                "either order; leave max_before_mean at True"
            )

    def _refuse_links_without_effect(self) -> None:
        if self.rectified and self.links in ("none", "direct"):
            why = "joins nothing" if self.links == "none" else "joins what the ReLU has left"
            raise ValueError(
                f"rectified is True, but links is {self.links!r}, which {why}; leave rectified at "
                "False"
            )
        if self.connection == "product" and self.links == "none" and not self.temporal_convolutions:
            raise ValueError(
                "connection is 'product', but links is 'none' and temporal_convolutions is False, "
                "so nothing is left that it decides; leave connection at 'sum'"
            )

    def parts(self, block: int) -> BlockParts:
        """Parts that are replaced in a block, by its index from 0 in any stage."""
        if block != 1 or not self.temporal_convolutions:
            return BlockParts()
        return _TEMPORAL[self.connection]

    def pool(self, window: int) -> nn.Module:
        """Average of the last maps; see `models.two_stream.StreamNetwork`."""
        if not self.star:
            return SlidingMean(window)
        over_time = TemporalMaxPool(5, 2) if self.star_pool == "max" else TemporalMeanPool(5, 2)
        if self.max_before_mean:
            return nn.Sequential(over_time, SlidingMean(window))
        return SlidingMean(window, between=over_time)

    def unseen(self) -> dict[str, object]:
        """Those that change what weights mean but not their shapes."""
        found: dict[str, object] = {"links": self.links, "rectified": self.rectified}
        if self.links != "none":
            found["connection"] = self.connection
        if self.star:
            found["star_pool"] = self.star_pool
        return found


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
    alone; ST-ResNet* has the weights of ST-ResNet. Without links and without convolutions over time
    it is `models.two_stream.TwoStream`, weight by weight.

    Parameters of R50 with 101 classes: 58,624,394. The links have none. The convolutions over time
    add two taps to each of 16 kernels, 5,570,560 weights a stream; without them there are
    47,483,274.

    Args:
        arch: Key of `models.resnet.ARCHITECTURES` with bottlenecks.
        num_classes: Width of the logits, K.
        star: Whether the last features are max-pooled over time: T' = (T - 5) // 2 + 1 scores.
        max_before_mean: Whether that maximum stands in front of the spatial average (figure 3,
            authors' code) or behind it (table 1): at each position of the window then, where a map
            is larger, and in front of the mean over the positions.
        star_pool: "max", or "mean" for an average over the same windows, which the paper found
            worse. Ours, as it does not say over what: window and stride are those of the maximum.
        rectified: Whether what the other stream is joined with went through the ReLU; not so in
            equation 2, though only then a pretrained block without motion stays as it was.
        connection: "sum" (NIPS 2016) or "product" (CVPR 2017). The latter was published with
            settings of its own, which it does not bring along: dropout 0.8 and strides of 5 to 35
            frames between the chunks; and with a maximum over all 5 chunks. Here, a departure, its
            chunks are averaged, or pooled as ST-ResNet* does. All `links` may multiply: each + that
            joins two streams becomes a product, and no other does.
        links: See `Links`; "motion_to_appearance" is the published network.
        temporal_convolutions: Whether there are convolutions over time; else the second blocks are
            those of the 2D network, and only pooling and scores go beyond one chunk.
        flow_length: Flow fields of a chunk, L.
        stride_on: See `models.two_stream.StreamNetwork`.
        dropout: Probability of dropping a feature before the classifiers; none in the paper.

    Raises:
        ValueError: An argument is out of its range, or has no effect beside the others; on the
            call, when star has fewer than 5 chunks, or the flow is not one stack per frame.
    """

    new_parameters: ClassVar[tuple[str, ...]] = ("*.conv2.temporal.weight",)

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        star: bool = False,
        max_before_mean: bool = True,
        star_pool: StarPool = "max",
        rectified: bool = False,
        connection: Connection = "sum",
        links: Links = "motion_to_appearance",
        temporal_convolutions: bool = True,
        flow_length: int = 10,
        stride_on: StrideOn = "1x1",
        dropout: float = 0.0,
    ) -> None:
        options = STResNetOptions(
            star, max_before_mean, star_pool, rectified, connection, links, temporal_convolutions
        )
        super().__init__(
            arch,
            num_classes,
            block_parts=lambda _, block: options.parts(block),
            pool=options.pool,
            flow_length=flow_length,
            stride_on=stride_on,
            dropout=dropout,
        )
        for module in self.modules():
            if isinstance(module, Conv3x3ThenTime):
                nn.init.dirac_(module.temporal.weight)
        self.rectified = rectified
        self.connection = connection
        self.links = links
        self.unseen_options |= options.unseen()

    @property
    def takes_motion(self) -> bool:
        """True where motion enters the appearance stream."""
        return self.links in _INTO_APPEARANCE

    def stream_features(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Features of the appearance and of the motion stream, both (B, C, T, H/32, W/32)."""
        self.check_inputs(*inputs)
        clip, flow = inputs
        rgb, motion = self.streams()
        x, moving = rgb.forward_stem(clip), motion.forward_stem(flow)
        for number in range(1, rgb.num_stages + 1):
            x, moving = self._run_stage(
                rgb.stage_blocks(number), motion.stage_blocks(number), x, moving
            )
        return x, moving

    def _run_stage(
        self,
        rgb: list[ResidualBlock],
        motion: list[ResidualBlock],
        x: Tensor,
        moving: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Run a stage of both streams.

        Args:
            rgb: The stage in the appearance stream.
            motion: The same stage in the motion stream.
            x: Input of the first, (B, C, T, H, W).
            moving: Input of the second, of the same shape.

        Returns:
            Their outputs, (B, C', T, H', W').
        """
        moving_sum = motion[0].add(moving)
        moving = motion[0].relu(moving_sum)
        x_sum = rgb[0].add(x)
        x = rgb[0].relu(x_sum)
        into_appearance = moving if self.takes_motion else None
        into_motion = x if self.links in _INTO_MOTION else None
        return (
            self._run_linked(rgb[1:], x_sum, x, into_appearance),
            self._run_linked(motion[1:], moving_sum, moving, into_motion),
        )

    def _run_linked(
        self, blocks: list[ResidualBlock], raw: Tensor, x: Tensor, other: Tensor | None
    ) -> Tensor:
        """Run a stage of one stream from its second block on, which the other stream may enter.

        Args:
            blocks: The stage without its first block.
            raw: Sum of the first block, (B, C, T, H, W).
            x: What left that block, the sum behind the ReLU.
            other: What left the first block of the other stream, if it enters this one.

        Returns:
            Output of the stage, (B, C, T, H, W).
        """
        second, *others = blocks
        if other is None:
            x = second(x)
        elif self.links == "direct":
            x = second(self._join(x, other))
        else:
            joined = self._join(x if self.rectified else raw, other)
            x = second.relu(second.residual(joined) + second.shortcut(x))
        for block in others:
            x = block(x)
        return x

    def _join(self, own: Tensor, other: Tensor) -> Tensor:
        """Join two streams, (B, C, T, H, W) each, by `connection`."""
        return own + other if self.connection == "sum" else own * other

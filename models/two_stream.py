"""Two streams: a ResNet on frames and one on stacks of optical flow, whose scores are averaged.

Simonyan, Zisserman, Two-Stream Convolutional Networks for Action Recognition in Videos, NIPS 2014
(arXiv 1406.2199), with the streams of Feichtenhofer, Pinz, Wildes, Spatiotemporal Residual Networks
for Video Action Recognition, NIPS 2016 (arXiv 1611.02155), table 1 without what that paper adds.
A clip is a sequence of chunks: chunk t is frame t and the L flow fields around it. No layer sees
more than one chunk, and every chunk has a score in every stream. As in the 2016 paper the scores
are averaged before the softmax (in 2014, after it).

Every stream is a submodule with torchvision's names, `rgb` and `flow`, in whatever network it is
part of. So the checkpoint of a stream trained alone fits both streams' network, and ST-ResNet.

Ours, as neither paper says: a new classifier is normal(0, 0.01).

Axes: B clips, C channels, T chunks, H rows, W columns, L flow fields of a chunk, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, cast, get_args

import torch
from torch import Tensor, nn

from models.layers import VideoNetwork, check_choice, check_integer
from models.resnet import BlockParts, BlockPlan, plain_block
from models.stream import STREAM_SIZES, SlidingMean, Stream

StrideOn = Literal["1x1", "3x3"]

_STREAM_OF = {"clip": "rgb", "flow": "flow"}  # what enters to the stream that it enters


class StreamNetwork(VideoNetwork):
    """One or two streams, which a subclass names through `modalities`.

    Features are those of all streams, one after another along C.

    Args:
        arch: Key of `models.stream.STREAM_SIZES`.
        num_classes: Width of the logits, K.
        block_parts: From the indices of stage and block to what is replaced there.
        pool: Builds what averages the last maps, from the window (in cells) that fits the maps of
            training: 7 at 224 pixels.
        flow_length: Flow fields of a chunk, L.
        stride_on: Convolution of a bottleneck that has the spatial stride. "1x1": the first, as in
            He et al. and in the paper, whose receptive fields and 3.8 GMACs it gives. "3x3": the
            second, for which torchvision's ImageNet weights were trained (4.1 GMACs).
        dropout: Probability of dropping a feature before the classifiers.

    Attributes:
        in_channels: Channels of a chunk, by modality.

    Raises:
        ValueError: An argument is out of its range; on the call, when the inputs do not fit the
            network or each other.
    """

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        block_parts: BlockPlan = plain_block,
        pool: Callable[[int], nn.Module] = SlidingMean,
        flow_length: int = 10,
        stride_on: StrideOn = "1x1",
        dropout: float = 0.0,
    ) -> None:
        check_choice("stride_on", stride_on, get_args(StrideOn))
        check_integer("flow_length", flow_length)
        if flow_length < 1:
            raise ValueError(f"flow_length is {flow_length}; a stack has at least 1 flow field")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout is {dropout}; give a probability from 0 to 1")
        check_choice("arch", arch, tuple(STREAM_SIZES))
        architecture = STREAM_SIZES[arch].architecture
        super().__init__(
            len(self.modalities) * architecture.num_features,
            classifier_std=0.01,
            pretrained_arch=architecture.pretrained,
        )
        self.in_channels = {"clip": 3, "flow": 2 * flow_length}
        self.unseen_options["stride_on"] = stride_on

        def parts(stage: int, block: int) -> BlockParts:
            return replace(block_parts(stage, block), stride_on_conv1=stride_on == "1x1")

        for modality in self.modalities:
            stream = Stream(
                architecture,
                num_classes,
                in_channels=self.in_channels[modality],
                block_parts=parts,
                pool=pool(STREAM_SIZES[arch].window),
                dropout=dropout,
            )
            self.add_module(_STREAM_OF[modality], stream)
        self.num_classes = num_classes

    def streams(self) -> list[Stream]:
        """The streams, in the order of their inputs."""
        return [cast(Stream, self.get_submodule(_STREAM_OF[name])) for name in self.modalities]

    def reset_classifier(self, num_classes: int) -> None:
        """Replace every stream's classifier; see `VideoNetwork.reset_classifier`."""
        for stream in self.streams():
            stream.reset_classifier(num_classes)
        self.num_classes = num_classes

    def check_inputs(self, *inputs: Tensor) -> None:
        """Hold what enters the streams against their channels and against each other.

        Raises:
            ValueError: An input has other channels than its stream or no chunk, or the flow is not
                one stack per frame.
        """
        named = dict(zip(self.modalities, inputs, strict=True))
        for name, x in named.items():
            wanted = self.in_channels[name]
            if x.shape[1] != wanted:
                remedy = f"make flow_length {x.shape[1] // 2}" if name == "flow" else "give RGB"
                raise ValueError(
                    f"the {name} has {x.shape[1]} channels, where the stream has {wanted}; {remedy}"
                )
            if x.shape[2] == 0:
                raise ValueError(f"the {name} has 0 chunks; raise num_frames or num_segments")
        first = inputs[0].shape
        if any(x.shape[0] != first[0] or x.shape[2:] != first[2:] for x in inputs):
            given = " and the ".join(f"{name} {tuple(x.shape)}" for name, x in named.items())
            raise ValueError(
                f"the {given} do not fit; give one flow stack (2 * flow_length channels) of the "
                "same height and width for every frame"
            )

    def stream_features(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Features of each stream, (B, C, T, H/32, W/32); here no stream knows of another."""
        self.check_inputs(*inputs)
        pairs = zip(self.streams(), inputs, strict=True)
        return tuple(stream.forward_features(x) for stream, x in pairs)

    def score_chunks(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Logits of every chunk, from the features (B, C, T, H, W) of each stream.

        Returns:
            One tensor (B, T', K) per stream.
        """
        pairs = zip(self.streams(), features, strict=True)
        return tuple(stream.score_chunks(x) for stream, x in pairs)

    def forward_streams(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Score every chunk in each stream, for a loss of each.

        Args:
            *inputs: What `forward` takes.

        Returns:
            One tensor (B, T', K) per stream, before any softmax.
        """
        return self.score_chunks(self.stream_features(*inputs))

    def forward_features(self, *inputs: Tensor) -> Tensor:
        """Features of all streams, one after another: (B, num_features, T, H/32, W/32)."""
        return torch.cat(self.stream_features(*inputs), dim=1)

    def forward_head(self, features: Tensor) -> Tensor:
        """Average the scores over chunks and streams, (B, num_features, T, H, W) to (B, K)."""
        scores = self.score_chunks(features.chunk(len(self.modalities), dim=1))
        return torch.stack([stream.mean(1) for stream in scores]).mean(0)

    def example_inputs(self, batch: int, frames: int, size: int) -> tuple[Tensor, ...]:
        """Inputs of the right shapes; see `VideoNetwork.example_inputs`.

        Args:
            batch: B.
            frames: T, in chunks.
            size: H and W, in pixels.

        Returns:
            One tensor per stream: a clip (B, 3, T, H, W), a flow (B, 2L, T, H, W), or both.
        """
        channels = [self.in_channels[name] for name in self.modalities]
        values = self._example((batch, sum(channels), frames, size, size))
        return tuple(part.contiguous() for part in torch.split(values, channels, dim=1))

    def expand_key(self, key: str) -> tuple[str, ...]:
        """A weight of a 2D network goes to every stream, one of a stream to that stream alone."""
        if key.partition(".")[0] in _STREAM_OF.values():
            return (key,)
        return tuple(f"{_STREAM_OF[name]}.{key}" for name in self.modalities)

    def adapt_weight(self, name: str, weight: Tensor, shape: torch.Size) -> Tensor | None:
        """Give the first convolution on flow the mean of the kernels on R, G and B (authors' code).

        They are repeated for each of the 2L channels and not rescaled. Everything else, such as a
        temporal kernel, follows the default rule.
        """
        on_flow = name == "flow.conv1.weight" and weight.ndim == 4 and weight.shape[1] == 3
        if on_flow and weight[:, 0].shape == shape[:1] + shape[2:]:
            return weight.mean(1, keepdim=True).expand(shape)
        return super().adapt_weight(name, weight, shape)


class RGBStream(StreamNetwork):
    """The appearance stream alone, a submodule `rgb`.

    Args:
        arch: Key of `models.resnet.ARCHITECTURES` with bottlenecks.
        num_classes: Width of the logits, K.
        stride_on: See `StreamNetwork`.
        dropout: Probability of dropping a feature before the classifier.

    Raises:
        ValueError: An argument is out of its range.
    """

    modalities: ClassVar[tuple[str, ...]] = ("clip",)
    classifiers: ClassVar[tuple[str, ...]] = ("rgb.fc",)

    def __init__(
        self, arch: str, num_classes: int, *, stride_on: StrideOn = "1x1", dropout: float = 0.0
    ) -> None:
        super().__init__(arch, num_classes, stride_on=stride_on, dropout=dropout)


class FlowStream(StreamNetwork):
    """The motion stream alone, a submodule `flow`.

    Args:
        arch: Key of `models.resnet.ARCHITECTURES` with bottlenecks.
        num_classes: Width of the logits, K.
        flow_length: Flow fields of a chunk, L.
        stride_on: See `StreamNetwork`.
        dropout: Probability of dropping a feature before the classifier.

    Raises:
        ValueError: An argument is out of its range.
    """

    modalities: ClassVar[tuple[str, ...]] = ("flow",)
    classifiers: ClassVar[tuple[str, ...]] = ("flow.fc",)

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        flow_length: int = 10,
        stride_on: StrideOn = "1x1",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            arch, num_classes, flow_length=flow_length, stride_on=stride_on, dropout=dropout
        )

    def forward(self, flow: Tensor) -> Tensor:
        """Classify flow stacks.

        Args:
            flow: Normalized optical flow, (B, 2L, T, H, W), as u1, v1, u2, v2, ...

        Returns:
            Logits, (B, K).
        """
        return super().forward(flow)


class TwoStreamNetwork(StreamNetwork):
    """Both streams, `rgb` and `flow`; a subclass says what passes between them.

    Arguments are those of `StreamNetwork`.
    """

    modalities: ClassVar[tuple[str, ...]] = ("clip", "flow")
    classifiers: ClassVar[tuple[str, ...]] = ("rgb.fc", "flow.fc")

    def forward(self, clip: Tensor, flow: Tensor) -> Tensor:  # type: ignore[override]
        """Classify clips by frames and flow.

        Args:
            clip: Normalized frames, (B, 3, T, H, W).
            flow: Normalized optical flow of the same chunks, (B, 2L, T, H, W), as u1, v1, u2, v2...

        Returns:
            Logits, (B, K): the mean over streams, positions and chunks.
        """
        return self.forward_head(self.forward_features(clip, flow))


class TwoStream(TwoStreamNetwork):
    """Two streams that meet in their scores alone.

    Args:
        arch: Key of `models.resnet.ARCHITECTURES` with bottlenecks.
        num_classes: Width of the logits, K.
        flow_length: Flow fields of a chunk, L.
        stride_on: See `StreamNetwork`.
        dropout: Probability of dropping a feature before the classifiers.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        flow_length: int = 10,
        stride_on: StrideOn = "1x1",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            arch, num_classes, flow_length=flow_length, stride_on=stride_on, dropout=dropout
        )

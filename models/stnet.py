"""StNet: frames stacked into super-images, and two ways of looking from one to the next.

He, Zhou, Gan, Li, Liu, Li, Wang, Wen, StNet: Local and Global Spatial-Temporal Modeling for Action
Recognition, AAAI 2019 (arXiv 1811.01549). N consecutive frames stacked along the channels are one
super-image, in which a 2D convolution sees local motion. Global motion is what happens from one
super-image to the next: the temporal modelling block mixes feature maps, the temporal Xception
block the vectors that are left of them before the classifier.

If the figures and the authors' code differ, or the figures are silent, the default is the
authors' code: a residual temporal modelling block, first kernels averaged over the colours, He
uniform weights, no dropout. The paper's forms are options. So are the parts themselves: without any
of them (one frame per super-image, no temporal block) the network is a plain 2D ResNet.

Axes: B clips, C channels, T frames, N frames of a super-image, S = T / N super-images, H rows,
W columns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from models.layers import (
    VideoNetwork,
    check_choice,
    check_flag,
    check_integer,
    is_integer,
)
from models.resnet import Bottleneck, VideoResNet, get_architecture
from models.stnet_blocks import (
    TemporalBlock,
    TemporalInit,
    TemporalModelingBlock,
    TemporalXception,
)

SuperImageWeights = Literal["mean", "inflate"]
HeadPool = Literal["max", "mean"]

FRAMES_PER_SEGMENT: dict[str, int] = {
    "r50": 5,
    "r101": 5,
    "r152": 5,
    "irv2": 5,
    "tiny": 2,
}
"""Frames N of a super-image on each trunk, unless another number is asked for."""


def stack_super_images(clip: Tensor, frames_per_segment: int) -> Tensor:
    """Stack each N consecutive frames along the channels, frame by frame.

    Args:
        clip: Frames, (B, 3, T, H, W).
        frames_per_segment: N.

    Returns:
        Super-images (B, 3N, T / N, H, W), in memory one after another; their channels are red,
        green, blue of the first frame, then of the second, and so on.

    Raises:
        ValueError: The frames have other channels than red, green and blue, or T is no multiple of
            N.
    """
    batch, channels, frames, height, width = clip.shape
    if channels != 3:
        raise ValueError(
            f"the clip has {channels} channels, where StNet stacks RGB frames; give a clip of 3 "
            "channels, (B, 3, T, H, W)"
        )
    if frames == 0 or frames % frames_per_segment:
        raise ValueError(
            f"num_frames is {frames}, which gives no whole super-images of "
            f"frames_per_segment={frames_per_segment} frames; make num_frames a multiple of it"
        )
    segments = frames // frames_per_segment
    stacked = clip.transpose(1, 2).reshape(  # (B, T, 3, H, W) to (B, S, N * 3, H, W)
        batch, segments, frames_per_segment * channels, height, width
    )
    return stacked.transpose(1, 2)  # (B, 3N, S, H, W)


@dataclass(frozen=True)
class SuperImageOptions:
    """Options of the parts added to a 2D trunk; the attributes are the arguments of `StNet`.

    Raises:
        ValueError: A value is out of its range, or has no effect beside the others.
    """

    frames_per_segment: int
    super_image_weights: SuperImageWeights
    temporal_block: TemporalBlock
    temporal_init: TemporalInit
    temporal_modeling: Sequence[int]
    temporal_xception: bool
    head_pool: HeadPool
    dropout: float

    def __post_init__(self) -> None:
        check_integer("frames_per_segment", self.frames_per_segment)
        if self.frames_per_segment < 1:
            raise ValueError(
                f"frames_per_segment is {self.frames_per_segment}; a super-image needs at least "
                "1 frame"
            )
        check_choice("super_image_weights", self.super_image_weights, get_args(SuperImageWeights))
        check_choice("temporal_block", self.temporal_block, get_args(TemporalBlock))
        check_choice("temporal_init", self.temporal_init, get_args(TemporalInit))
        check_choice("head_pool", self.head_pool, get_args(HeadPool))
        check_flag("temporal_xception", self.temporal_xception)
        stages = self.temporal_modeling
        if not isinstance(stages, Sequence) or not all(is_integer(stage) for stage in stages):
            raise ValueError(
                f"temporal_modeling is {stages!r}; give a list of numbers of stages, such as [2, 3]"
            )
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout is {self.dropout}; give a probability from 0 to 1")
        self._refuse_without_effect()

    def _refuse_without_effect(self) -> None:
        """Refuse values that others make void."""
        if self.super_image_weights == "inflate" and self.frames_per_segment == 1:
            raise ValueError(
                "super_image_weights is 'inflate', but a super-image of frames_per_segment=1 takes "
                "the kernel over as it is; leave it at 'mean', or raise frames_per_segment"
            )
        if self.temporal_block == "paper" and not self.temporal_modeling:
            raise ValueError(
                "temporal_block is 'paper', but temporal_modeling is empty, so there is no "
                "temporal modelling block; leave it at 'released', or give temporal_modeling"
            )
        if self.temporal_init == "average" and self.temporal_block != "paper":
            raise ValueError(
                "temporal_init is 'average', which belongs to temporal_block='paper'; set "
                "temporal_block to 'paper', or temporal_init to 'he'"
            )
        if self.temporal_xception and self.head_pool != "max":
            raise ValueError(
                f"head_pool is {self.head_pool!r}, but what follows the temporal Xception block is "
                "a maximum; set temporal_xception to False, or head_pool to 'max'"
            )


class SuperImageNetwork(VideoNetwork):
    """Base class of StNet on any 2D trunk.

    A subclass builds its trunk with a stem of 3N channels, then calls `add_temporal_parts`. It
    implements `forward_trunk`, which calls `mix_time` behind each of its stages.

    Attributes:
        stem_weight: Name of the kernel that sees the super-images.
        frames_per_segment: Frames N of a super-image.
        temporal_modeling: The temporal modelling blocks, by the number of the stage they follow.
        temporal_xception: The temporal Xception block; None where there is none.
    """

    stem_weight: ClassVar[str]
    new_parameters: ClassVar[tuple[str, ...]] = ("temporal_modeling.*", "temporal_xception.*")

    def add_temporal_parts(
        self, options: SuperImageOptions, stage_channels: Sequence[int], xception_channels: int
    ) -> None:
        """Add the parts that a 2D trunk lacks; once, at the end of the constructor.

        Args:
            options: Options of the parts.
            stage_channels: Channels of the output of each stage.
            xception_channels: Channels of the output of the temporal Xception block, and so of the
                features if there is one.

        Raises:
            ValueError: `options.temporal_modeling` names a stage that does not exist, or one twice.
        """
        stages = dict(enumerate(stage_channels, start=1))
        chosen = options.temporal_modeling
        if set(chosen) - set(stages) or len(set(chosen)) < len(chosen):
            raise ValueError(
                f"temporal_modeling is {list(chosen)}; give numbers of stages, each once, of "
                f"{', '.join(map(str, stages))}"
            )
        self.frames_per_segment = options.frames_per_segment
        self.super_image_weights = options.super_image_weights
        self.head_pool = options.head_pool
        if not options.temporal_xception:
            self.unseen_options["head_pool"] = options.head_pool
        if chosen:
            self.unseen_options["temporal_block"] = options.temporal_block
        self.temporal_modeling = nn.ModuleDict()
        for stage in sorted(chosen):
            self.temporal_modeling[str(stage)] = TemporalModelingBlock(
                stages[stage], options.temporal_block, options.temporal_init
            )
        self.temporal_xception: TemporalXception | None = None
        if options.temporal_xception:
            self.temporal_xception = TemporalXception(self.num_features, xception_channels)
            self.num_features = xception_channels
        self.dropout = nn.Dropout(options.dropout)

    def init_classifier(self, layer: nn.Linear) -> None:
        """Set uniform weights, bias 0; the bound comes from the trunk's width (authors' code)."""
        bound = math.sqrt(3) * self.classifier_std
        nn.init.uniform_(layer.weight, -bound, bound)
        nn.init.zeros_(layer.bias)

    def mix_time(self, x: Tensor, stage: int) -> Tensor:
        """Apply the temporal modelling block that follows a stage, if there is one.

        Args:
            x: Output of the stage, (B, C, S, H, W).
            stage: Its number, from 1.

        Returns:
            Activations of the same shape.
        """
        if str(stage) in self.temporal_modeling:
            x = self.temporal_modeling[str(stage)](x)
        return x

    def forward_trunk(self, clip: Tensor) -> Tensor:
        """Compute the last maps, one per super-image: (B, 3, T, H, W) to (B, C, S, H', W')."""
        raise NotImplementedError

    def forward_features(self, clip: Tensor) -> Tensor:
        """Compute features of a clip, in front of the maximum over time.

        Args:
            clip: Normalized frames, (B, 3, T, H, W).

        Returns:
            (B, num_features, S, 1, 1) with a temporal Xception block, else the last feature maps,
            (B, num_features, S, H', W').
        """
        maps = self.forward_trunk(clip)
        if self.temporal_xception is None:
            return maps
        mixed: Tensor = self.temporal_xception(maps.mean((3, 4)))
        return mixed[..., None, None]

    def forward_head(self, features: Tensor) -> Tensor:
        """Average over space, maximum (or average) over time, classifier: to (B, num_classes)."""
        vectors = features.mean((3, 4))  # (B, C, S)
        pooled = vectors.amax(2) if self.head_pool == "max" else vectors.mean(2)
        logits: Tensor = self.fc(self.dropout(pooled))
        return logits

    def adapt_weight(self, name: str, weight: Tensor, shape: torch.Size) -> Tensor | None:
        """Widen the first kernel from one frame to N; else as `VideoNetwork`.

        A clip of equal frames gives N times the same, so the kernels are divided by N: its response
        is the 2D network's with "inflate", and with "mean" if the frames are also grey.
        """
        if name != self.stem_weight or weight.shape != (shape[0], 3, *shape[2:]):
            return super().adapt_weight(name, weight, shape)
        if self.super_image_weights == "mean":
            weight = weight.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        return weight.repeat(1, self.frames_per_segment, 1, 1) / self.frames_per_segment

    def extra_repr(self) -> str:
        """Return the options that the modules do not show, for `print(network)`."""
        return (
            f"frames_per_segment={self.frames_per_segment}, head_pool={self.head_pool}, "
            f"super_image_weights={self.super_image_weights}"
        )


class StNet(SuperImageNetwork, VideoResNet):
    """StNet on a ResNet: two temporal modelling blocks and a temporal Xception block.

    Any number of super-images gives one vector of scores, so that a network trained on 7 of them
    can be tested on 25, as in the authors' code.

    Shapes for R50 and (B, 3, 35, 224, 224): super-images (B, 15, 7, 224, 224), layer2 and its
    temporal modelling block (B, 512, 7, 28, 28), layer3 and its own (B, 1024, 7, 14, 14), layer4
    (B, 2048, 7, 7, 7), features (B, 1024, 7, 1, 1).

    Args:
        arch: Key of `models.resnet.ARCHITECTURES` with bottlenecks.
        num_classes: Width of the logits.
        frames_per_segment: Frames N of a super-image; the number of frames must be a multiple of
            it. None for 5, the authors' choice (`tiny`: 2). 1 for no super-images.
        super_image_weights: Start of the first kernel from one for RGB. "mean": averaged over
            the colours, divided by N, for each of the 3N channels (authors' code). "inflate":
            repeated for each frame, divided by N, which keeps the colours. A super-image of 1
            frame takes it over as it is.
        temporal_block: "released" or "paper", see `TemporalModelingBlock`.
        temporal_init: "he" or, for the paper's block, "average"; see `TemporalModelingBlock`.
        temporal_modeling: Numbers of the stages that a temporal modelling block follows. None for
            the two in front of the last: 2 and 3, which the paper calls res3 and res4 (`tiny`: 1
            and 2).
        temporal_xception: If True, there is a temporal Xception block. It halves the channels.
        head_pool: Without it, "max" or "mean" over time in front of the classifier; with it, "max".
        dropout: Probability of dropping a feature before the classifier; none in authors' code.

    Raises:
        ValueError: An argument is out of its range or has no effect beside the others; on the
            call, when the number of frames is no multiple of frames_per_segment.
    """

    stem_weight: ClassVar[str] = "conv1.weight"

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        frames_per_segment: int | None = None,
        super_image_weights: SuperImageWeights = "mean",
        temporal_block: TemporalBlock = "released",
        temporal_init: TemporalInit = "he",
        temporal_modeling: Sequence[int] | None = None,
        temporal_xception: bool = True,
        head_pool: HeadPool = "max",
        dropout: float = 0.0,
    ) -> None:
        architecture = get_architecture(arch, Bottleneck)
        last = len(architecture.depths)
        if frames_per_segment is None:
            frames_per_segment = FRAMES_PER_SEGMENT[arch]
        if temporal_modeling is None:
            temporal_modeling = (last - 2, last - 1)
        options = SuperImageOptions(
            frames_per_segment=frames_per_segment,
            super_image_weights=super_image_weights,
            temporal_block=temporal_block,
            temporal_init=temporal_init,
            temporal_modeling=temporal_modeling,
            temporal_xception=temporal_xception,
            head_pool=head_pool,
            dropout=dropout,
        )
        width = architecture.num_features
        super().__init__(
            architecture,
            num_classes,
            classifier_std=1 / math.sqrt(3 * width),  # uniform within 1 / sqrt(width)
            in_channels=3 * frames_per_segment,
        )
        channels = [width // 2**stage for stage in reversed(range(last))]
        self.add_temporal_parts(options, channels, width // 2)
        self.reset_classifier(num_classes)

    def forward_trunk(self, clip: Tensor) -> Tensor:
        """Compute the last feature maps: (B, 3, T, H, W) to (B, C, S, H/32, W/32)."""
        x = self.forward_stem(stack_super_images(clip, self.frames_per_segment))
        for stage in range(1, self.num_stages + 1):
            x = self.mix_time(self.forward_stages(x, stage, stage), stage)
        return x

"""StNet on Inception-ResNet-v2, the larger of the paper's two trunks.

He et al., AAAI 2019 (arXiv 1811.01549); Szegedy et al., Inception-v4, Inception-ResNet and the
Impact of Residual Connections on Learning, AAAI 2017 (arXiv 1602.07261). The trunk is that of
`timm` (the extra `timm`), under its own module names, so that its ImageNet weights load.

No code of the authors shows this network. **Ours**, by analogy with the ResNet: temporal modelling
blocks behind the first two stages, a temporal Xception block from 1536 to 1024 channels, a first
kernel widened by the same rule. The costs that are quoted for it fit clips of 331 pixels best.

Axes: B clips, C channels, T frames, S super-images, H rows, W columns.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from models.layers import fold_time, unfold_time
from models.norm import BatchNorm2d, replace_batch_norms
from models.optional import optional_package
from models.stnet import (
    FRAMES_PER_SEGMENT,
    HeadPool,
    SuperImageNetwork,
    SuperImageOptions,
    SuperImageWeights,
    stack_super_images,
)
from models.stnet_blocks import TemporalBlock, TemporalInit

_STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "maxpool_3a", "conv2d_3b", "conv2d_4a")
_STAGES = (
    (*_STEM, "maxpool_5a", "mixed_5b", "repeat"),
    ("mixed_6a", "repeat_1"),
    ("mixed_7a", "repeat_2", "block8"),
)
_LAST = "conv2d_7b"
_STAGE_CHANNELS = (320, 1088, 2080)
_WIDTH = 1536
_XCEPTION_CHANNELS = 1024
_SMALLEST_SIZE = 75


class ActivatedBatchNorm2d(BatchNorm2d):
    """Batch normalization and what follows it, in place of timm's `BatchNormAct2d`.

    Attributes:
        drop: Timm's layer behind the normalization, here always the identity.
        act: Timm's layer behind that one, the ReLU.
    """

    drop: nn.Module
    act: nn.Module

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize and rectify one group, (N, C, H, W)."""
        out: Tensor = self.act(self.drop(super().normalize(x)))
        return out


def _build_trunk(in_channels: int) -> nn.Module:
    """Timm's network on `in_channels` channels, with batch normalizations of ours."""
    timm = optional_package("timm", "the network stnet_irv2")
    trunk = timm.create_model("inception_resnet_v2", in_chans=in_channels, num_classes=0)
    return replace_batch_norms(trunk, {timm.layers.BatchNormAct2d: ActivatedBatchNorm2d})


class StNetIRv2(SuperImageNetwork):
    """StNet on Inception-ResNet-v2.

    The trunk expects frames scaled to -1..1: mean and standard deviation 0.5 for each colour. Its
    ImageNet weights load from a file of the state dict of timm's `inception_resnet_v2`, as
    torchvision has none.

    Shapes for (B, 3, 35, 331, 331): super-images (B, 15, 7, 331, 331), stages (B, 320, 7, 39, 39),
    (B, 1088, 7, 19, 19) and (B, 2080, 7, 9, 9), features (B, 1024, 7, 1, 1).

    Args:
        arch: "irv2".
        num_classes: Width of the logits.
        frames_per_segment: See `models.stnet.StNet`; None for 5.
        super_image_weights: See `models.stnet.StNet`.
        temporal_block: See `models.stnet.StNet`.
        temporal_init: See `models.stnet.StNet`.
        temporal_modeling: Numbers of the stages that a temporal modelling block follows: 1 ends
            with the ten block35, 2 with the twenty block17, 3 with block8. None for 1 and 2.
        temporal_xception: Whether there is a temporal Xception block, from 1536 to 1024 channels.
        head_pool: See `models.stnet.StNet`.
        dropout: See `models.stnet.StNet`.

    Raises:
        ValueError: An argument is out of its range, or timm is not installed; on the call, when the
            clip is smaller than 75 pixels or its number of frames no multiple of
            frames_per_segment.
    """

    stem_weight: ClassVar[str] = "conv2d_1a.conv.weight"

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
        if arch != "irv2":
            raise ValueError(f"arch is {arch!r}; choose irv2, or one of StNet's for models.StNet")
        options = SuperImageOptions(
            frames_per_segment=(
                FRAMES_PER_SEGMENT[arch] if frames_per_segment is None else frames_per_segment
            ),
            super_image_weights=super_image_weights,
            temporal_block=temporal_block,
            temporal_init=temporal_init,
            temporal_modeling=(1, 2) if temporal_modeling is None else temporal_modeling,
            temporal_xception=temporal_xception,
            head_pool=head_pool,
            dropout=dropout,
        )
        super().__init__(
            _WIDTH,
            classifier_std=1 / math.sqrt(3 * _WIDTH),
            pretrained_arch="inception_resnet_v2",
        )
        trunk = _build_trunk(3 * options.frames_per_segment)
        for name in (*(name for stage in _STAGES for name in stage), _LAST):
            self.add_module(name, trunk.get_submodule(name))
        self.add_temporal_parts(options, _STAGE_CHANNELS, _XCEPTION_CHANNELS)
        self.reset_classifier(num_classes)

    def forward_trunk(self, clip: Tensor) -> Tensor:
        """The last feature maps: (B, 3, T, H, W) to (B, 1536, S, H', W')."""
        if min(clip.shape[3:]) < _SMALLEST_SIZE:
            raise ValueError(
                f"the clip is {tuple(clip.shape[3:])} pixels, where Inception-ResNet-v2 needs at "
                f"least {_SMALLEST_SIZE}; raise size"
            )
        x = stack_super_images(clip, self.frames_per_segment)
        for number, stage in enumerate(_STAGES, start=1):
            for name in stage:
                x = self._each(name, x)
            x = self.mix_time(x, number)
        return self._each(_LAST, x)

    def _each(self, name: str, x: Tensor) -> Tensor:
        """Run one of timm's 2D layers on each super-image of x, (B, C, S, H, W)."""
        return unfold_time(self.get_submodule(name)(fold_time(x)), x.shape[2])

    def expand_key(self, key: str) -> tuple[str, ...]:
        """Names of a pretrained weight: timm calls the classifier `classif`."""
        return (key.replace("classif.", "fc.", 1) if key.startswith("classif.") else key,)

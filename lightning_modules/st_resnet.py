"""STResNetModule: training of ST-ResNet and of the two-stream networks that it starts from."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from datamodules import VideoBatch
from datamodules.clips.input_spec import FlowSpec
from datamodules.data_spec import DataSpec
from datamodules.errors import UserError
from lightning_modules.base import VideoClassifier
from lightning_modules.labels.classes import Average
from lightning_modules.training.optim import BatchNorm, Optimization
from models import WeightReport
from models.st_resnet import Connection, Links, StarPool
from models.two_stream import StreamNetwork, StrideOn

OPTIMIZATION = Optimization(
    weight_decay=5e-4,
    bias_lr_multiplier=2.0,
    norm_scale_lr_multiplier=2.0,
    decay_bias=False,
    decay_norm=False,
)
"""That of the authors' code."""
BATCH_NORM = BatchNorm(momentum=0.05)
"""That of the authors' code."""


class STResNetModule(VideoClassifier):
    """Trains ST-ResNet (Feichtenhofer et al., NIPS 2016, arXiv 1611.02155), or one or two streams.

    Every chunk of every stream has a loss of its own; they are summed, and averaged over the videos
    alone. The defaults are the authors' code: weight decay 5e-4, which spares biases and
    normalization layers, twice the learning rate for biases and for the scales of normalization
    layers, and running statistics in which a new batch weighs 0.05. Table 2 of the paper normalises
    `bn_batch` videos at a time.

    Flow enters undivided, as codes from -128 to 127 (authors' code, in which colours are not
    divided either). torchvision's kernels were trained on colours divided by 57 to 58 codes, so
    flow is about 57 times as large for them. Batch normalization takes that out again where it
    normalises by its batch, so training does not show it; frozen statistics of a 2D network leave
    it in. See docs/flow.md.

    Args:
        network: A `st_resnet_*`, `two_stream_*`, `rgb_stream_*` or `flow_stream_*` network of
            `models.list_models()`.
        star: Of ST-ResNet: whether the last features are max-pooled over time (ST-ResNet*). Null,
            here and below, for the network's own default.
        max_before_mean: Of ST-ResNet*: whether that maximum comes before the spatial average.
        star_pool: Of ST-ResNet*: `max`, or `mean`, which the paper found worse.
        rectified: Of ST-ResNet: whether what the other stream joins is rectified first; not so in
            equation 2.
        connection: Of ST-ResNet: whether motion is added to appearance or multiplies it.
        links: Of ST-ResNet: what passes between the streams. `motion_to_appearance` is published;
            `direct`, `bidirectional` and `appearance_to_motion` are what the paper advises against;
            `none` leaves the convolutions over time alone.
        temporal_convolutions: Of ST-ResNet: whether there are convolutions over time; without
            them the links are left alone.
        stride_on: Convolution of a bottleneck that has the stride: `1x1` as in the paper, `3x3` as
            in torchvision's weights.
        flow_length: Flow fields in a stack, L; not of `rgb_stream_*`.
        joint_softmax: Of two streams: whether a chunk has one loss, of the mean of both streams'
            logits, and not one for each. The paper says that one softmax overfits to appearance.
            Ours, as it does not say how the streams are joined: their mean, which is what is
            tested. A stream's logits then get half of the gradient of a loss, so that twice the
            rate makes steps of the same size.
        optimization: How it is optimized.
        batch_norm: How batch normalization is trained.
        average: What is averaged over the views of a video; logits in the paper (section 3.4).
        kwargs: Arguments of `VideoClassifier`.

    Raises:
        UserError: If an argument does not fit, or has no effect with the network.
    """

    families: ClassVar[tuple[str, ...]] = ("st_resnet", "two_stream", "rgb_stream", "flow_stream")

    def __init__(
        self,
        network: str = "st_resnet_r50",
        star: bool | None = None,
        max_before_mean: bool | None = None,
        star_pool: StarPool | None = None,
        rectified: bool | None = None,
        connection: Connection | None = None,
        links: Links | None = None,
        temporal_convolutions: bool | None = None,
        stride_on: StrideOn | None = None,
        flow_length: int | None = None,
        joint_softmax: bool = False,
        optimization: Optimization = OPTIMIZATION,
        batch_norm: BatchNorm = BATCH_NORM,
        average: Average = "logits",
        **kwargs: Any,
    ) -> None:
        options = {
            "star": star,
            "max_before_mean": max_before_mean,
            "star_pool": star_pool,
            "rectified": rectified,
            "connection": connection,
            "links": links,
            "temporal_convolutions": temporal_convolutions,
            "stride_on": stride_on,
            "flow_length": flow_length,
        }
        super().__init__(
            network=network,
            optimization=optimization,
            batch_norm=batch_norm,
            average=average,
            network_kwargs=options,
            **kwargs,
        )
        assert isinstance(self.network, StreamNetwork)
        if joint_softmax and len(self.network.modalities) == 1:
            raise UserError(
                f"model.joint_softmax=true joins two streams, and {network} is one; leave it out"
            )
        self.joint_softmax = joint_softmax
        self.forward_streams: Callable[..., tuple[Tensor, ...]] = self.network.forward_streams

    def load_init_from(self, data: DataSpec) -> WeightReport:
        """See `VideoClassifier`; say where frozen statistics are those of colours."""
        report = super().load_init_from(data)
        # kernels on colours were made to fit flow: so these are 2D weights
        if self.batch_norm.frozen == "all" and "flow.conv1.weight" in report.inflated:
            rank_zero_info(
                "batch_norm.frozen=all keeps statistics of colours behind the first convolution on "
                "flow, whose values are many times larger (docs/flow.md); set "
                "model.batch_norm.frozen to all_but_first, or start from a stream trained on flow"
            )
        return report

    def on_train_start(self) -> None:
        """See `VideoClassifier`; hold a resumed network against the flow.

        Raises:
            UserError: If the flow does not fit.
        """
        super().on_train_start()
        self._check_flow()

    def on_validation_start(self) -> None:
        """Hold the network against the flow.

        Raises:
            UserError: If the flow does not fit.
        """
        self._check_flow()

    def on_test_start(self) -> None:
        """See `VideoClassifier`; hold the network against the flow.

        Raises:
            UserError: If the flow does not fit.
        """
        super().on_test_start()
        self._check_flow()

    def _check_flow(self) -> None:
        """Refuse flow that was made otherwise than what the network was trained on."""
        flow = self.data.flow
        assert isinstance(self.network, StreamNetwork)
        if flow is None or "flow" not in self.network.modalities:
            return
        length = self.network.in_channels["flow"] // 2
        if flow.length != length:
            raise UserError(
                f"data.flow.length={flow.length} does not fit a network for stacks of "
                f"{length} flow fields; make data.flow.length and model.flow_length equal"
            )
        trained = self.input_spec.get("flow")
        if trained is not None and FlowSpec(**trained) != flow:
            raise UserError(
                f"the network was trained on {FlowSpec(**trained)}, but data.flow holds "
                f"{flow}; give flow that was made alike as data.flow.root"
            )

    def compile_network(self) -> None:
        """Compile the streams too, which a training step calls."""
        super().compile_network()
        self.forward_streams = torch.compile(self.forward_streams)

    def loss(self, batch: VideoBatch) -> tuple[Tensor, Tensor]:
        """Cross-entropy summed over chunks and streams, and averaged over the videos.

        With `joint_softmax` over chunks alone, of the mean of both streams.

        Returns:
            The loss, a scalar, and the mean of all logits, (B, K).
        """
        streams = self.forward_streams(*self.inputs(batch))  # (B, T', K) each
        if self.joint_softmax:
            logits = torch.stack(streams).float().mean(0)  # (B, S, K) with S = T'
        else:
            logits = torch.cat(streams, dim=1).float()  # (B, S, K) with S chunks in all
        target = self.target(batch)
        losses = [self.criterion(chunk, target) for chunk in logits.unbind(1)]
        return torch.stack(losses).sum(), logits.mean(1)

"""STResNetModule: training of ST-ResNet and of the two-stream networks that it starts from."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from datamodules import VideoBatch
from datamodules.clips.input_spec import FlowSpec
from datamodules.errors import UserError
from lightning_modules.base import VideoClassifier
from lightning_modules.labels.classes import Average
from lightning_modules.training.optim import BatchNorm, Optimization
from models.two_stream import StreamNetwork

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

    Args:
        network: A `st_resnet_*`, `two_stream_*`, `rgb_stream_*` or `flow_stream_*` network of
            `models.list_models()`.
        star: Of ST-ResNet: whether the last features are max-pooled over time (ST-ResNet*). Null,
            here and below, for the network's own default.
        max_before_mean: Of ST-ResNet*: whether that maximum comes before the spatial average.
        rectified: Of ST-ResNet: whether appearance is rectified before motion joins it; not so in
            equation 2.
        connection: Of ST-ResNet: whether motion is added to appearance or multiplies it.
        stride_on: Convolution of a bottleneck that has the stride: `1x1` as in the paper, `3x3` as
            in torchvision's weights.
        flow_length: Flow fields in a stack, L; not of `rgb_stream_*`.
        optimization: How it is optimized.
        batch_norm: How batch normalization is trained.
        average: What is averaged over the views of a video; logits in the paper (section 3.4).
        kwargs: Arguments of `VideoClassifier`.
    """

    families: ClassVar[tuple[str, ...]] = ("st_resnet", "two_stream", "rgb_stream", "flow_stream")

    def __init__(
        self,
        network: str = "st_resnet_r50",
        star: bool | None = None,
        max_before_mean: bool | None = None,
        rectified: bool | None = None,
        connection: Literal["sum", "product"] | None = None,
        stride_on: Literal["1x1", "3x3"] | None = None,
        flow_length: int | None = None,
        optimization: Optimization = OPTIMIZATION,
        batch_norm: BatchNorm = BATCH_NORM,
        average: Average = "logits",
        **kwargs: Any,
    ) -> None:
        options = {
            "star": star,
            "max_before_mean": max_before_mean,
            "rectified": rectified,
            "connection": connection,
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
        self.forward_streams: Callable[..., tuple[Tensor, ...]] = self.network.forward_streams

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

        Returns:
            The loss, a scalar, and the mean of all logits, (B, K).
        """
        # (B, T', K) per stream -> (B, S, K) with S chunks in all
        logits = torch.cat(self.forward_streams(*self.inputs(batch)), dim=1).float()
        target = self.target(batch)
        losses = [self.criterion(chunk, target) for chunk in logits.unbind(1)]
        return torch.stack(losses).sum(), logits.mean(1)

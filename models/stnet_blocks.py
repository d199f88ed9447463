"""StNet's two ways of looking from one super-image to the next.

He et al., AAAI 2019 (arXiv 1811.01549), as `models.stnet` uses them.

Axes: B clips, C channels, S super-images, H rows, W columns.
"""

from typing import Literal

from torch import Tensor, nn

from models.norm import BatchNorm1d, FrameBatchNorm2d

TemporalBlock = Literal["released", "paper"]
TemporalInit = Literal["he", "average"]


class TemporalModelingBlock(nn.Module):
    """A convolution over three super-images at each position, with all channels mixed.

    "released" (authors' code): x + bn(relu(conv(x))). "paper" (figure): relu(bn(conv(x))). Batch
    statistics are over B, S, H and W; the convolution has a bias.

    Args:
        channels: C.
        form: "released" or "paper".
        init: First weights of the convolution. "he": uniform, by the fan-in (authors' code).
            "average": 1 / (3C) each, so that the block starts as an average over channels and
            super-images and all its output channels are equal; said of the paper, not verified.
    """

    def __init__(
        self, channels: int, form: TemporalBlock = "released", init: TemporalInit = "he"
    ) -> None:
        super().__init__()
        self.form = form
        self.conv = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
        self.bn = FrameBatchNorm2d(channels)
        self.relu = nn.ReLU()
        if init == "average":
            nn.init.constant_(self.conv.weight, 1 / (3 * channels))
        else:
            nn.init.kaiming_uniform_(self.conv.weight, nonlinearity="relu")
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, S, H, W) to the same shape."""
        out: Tensor
        if self.form == "paper":
            out = self.relu(self.bn(self.conv(x)))
        else:
            out = self.bn(self.relu(self.conv(x))) + x
        return out

    def extra_repr(self) -> str:
        """The form, for `print(network)`."""
        return f"form={self.form}"


class TemporalXception(nn.Module):
    """The temporal Xception block (authors' code): separable convolutions over a sequence.

    Two pairs of a convolution over three super-images in each channel and a mixture of the channels
    in each super-image, beside one mixture alone; all have biases. No activation stands between the
    two of a pair. Output t depends on the inputs t - 2 to t + 2.

    Args:
        in_channels: C.
        out_channels: C'.

    Raises:
        ValueError: On the call, when there is a single vector to take the statistics of a training
            batch from.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.bn1 = BatchNorm1d(in_channels)
        self.depthwise1 = nn.Conv1d(in_channels, in_channels, 3, padding=1, groups=in_channels)
        self.pointwise1 = nn.Conv1d(in_channels, out_channels, 1)
        self.bn2 = BatchNorm1d(out_channels)
        self.depthwise2 = nn.Conv1d(out_channels, out_channels, 3, padding=1, groups=out_channels)
        self.pointwise2 = nn.Conv1d(out_channels, out_channels, 1)
        self.shortcut = nn.Conv1d(in_channels, out_channels, 1)
        self.bn3 = BatchNorm1d(out_channels)
        self.relu = nn.ReLU()
        for layer in self.children():
            if isinstance(layer, nn.Conv1d):
                assert layer.bias is not None
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, S) to (B, C', S)."""
        if self.bn1.training and x.shape[0] * x.shape[2] == 1:
            raise ValueError(
                "the batch holds one super-image in all, which batch normalization cannot learn "
                "from; raise batch_size or num_segments"
            )
        x = self.bn1(x)
        long = self.relu(self.bn2(self.pointwise1(self.depthwise1(x))))
        long = self.pointwise2(self.depthwise2(long))
        out: Tensor = self.relu(self.bn3(long + self.shortcut(x)))
        return out

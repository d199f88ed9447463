"""Common parts of all networks: the contract, per-frame layers, operations on time, checks.

Axes: B clips, C channels, T frames, H rows, W columns. Every activation is a five-dimensional
tensor (B, C, T, H, W). Per-frame layers fold time into the batch, work in two dimensions, and
unfold it again. Their outputs lie in memory frame after frame, as (B, T, C, H, W), so both steps
are views: data are copied only where an operation really mixes frames.
"""

from numbers import Integral
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def check_choice(argument: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError when value, given as the named argument, is not among those allowed."""
    if value not in allowed:
        raise ValueError(f"{argument} is {value!r}; choose one of {', '.join(allowed)}")


def is_integer(value: object) -> bool:
    """Return True for a whole number; a bool is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_integer(argument: str, value: object) -> None:
    """Raise ValueError when value, given as the named argument, is not a whole number."""
    if not is_integer(value):
        raise ValueError(f"{argument} is {value!r}; give a whole number")


def check_flag(argument: str, value: object) -> None:
    """Raise ValueError when value, given as the named argument, is neither True nor False."""
    if not isinstance(value, bool):
        raise ValueError(f"{argument} is {value!r}; give true or false")


def check_num_classes(num_classes: int) -> None:
    """Raise ValueError when a network cannot have that many classes."""
    check_integer("num_classes", num_classes)
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; a network needs at least 1 class")


def fold_time(x: Tensor) -> Tensor:
    """Make every frame a sample of its own.

    Args:
        x: Activations, (B, C, T, H, W).

    Returns:
        The same values as (B*T, C, H, W), frames of one clip next to each other. A view when the
        frames lie one after another in memory, else a copy.
    """
    return x.transpose(1, 2).flatten(0, 1)


def unfold_time(x: Tensor, num_frames: int) -> Tensor:
    """Undo `fold_time`, always as a view.

    Args:
        x: Activations of single frames, (B*T, C, H, W).
        num_frames: T.

    Returns:
        The same values as (B, C, T, H, W).
    """
    return x.view(-1, num_frames, *x.shape[1:]).transpose(1, 2)


class FrameConv2d(nn.Conv2d):
    """A 2D convolution of every frame: (B, C, T, H, W) to (B, C', T, H', W').

    Arguments, parameters and their shapes are those of `torch.nn.Conv2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve each frame of x, (B, C, T, H, W)."""
        return unfold_time(super().forward(fold_time(x)), x.shape[2])


class FrameMaxPool2d(nn.MaxPool2d):
    """Spatial maximum of every frame: (B, C, T, H, W) to (B, C, T, H', W').

    Arguments are those of `torch.nn.MaxPool2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool each frame of x, (B, C, T, H, W)."""
        return unfold_time(cast(Tensor, super().forward(fold_time(x))), x.shape[2])


class TemporalMaxPool(nn.MaxPool3d):
    """Maximum over a window of frames: (B, C, T, H, W) to (B, C, T', H, W).

    T' = (T + 2 padding - kernel_size) // stride + 1.

    Args:
        kernel_size: Frames per window.
        stride: Frames between the starts of two windows.
        padding: Frames added at either end, which never win.

    Raises:
        ValueError: On the call, when the clip is shorter than one window.
    """

    def __init__(self, kernel_size: int, stride: int, padding: int = 0) -> None:
        super().__init__((kernel_size, 1, 1), (stride, 1, 1), (padding, 0, 0))
        self.fewest_frames = kernel_size - 2 * padding

    def forward(self, x: Tensor) -> Tensor:
        """Pool x, (B, C, T, H, W), over T."""
        _refuse_short(x, self.fewest_frames)
        return cast(Tensor, super().forward(x))


class TemporalMeanPool(nn.Module):
    """Mean over a window of frames: (B, C, T, H, W) to (B, C, T', H, W).

    T' = (T - kernel_size) // stride + 1.

    Args:
        kernel_size: Frames per window.
        stride: Frames between the starts of two windows.

    Raises:
        ValueError: On the call, when the clip is shorter than one window.
    """

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Pool x, (B, C, T, H, W), over T."""
        _refuse_short(x, self.kernel_size)
        # (B, C, T, H * W): torch's 2D pooling takes more types than its 3D one
        means: Tensor = F.avg_pool2d(x.flatten(3), (self.kernel_size, 1), (self.stride, 1))
        return means.reshape(*means.shape[:3], *x.shape[3:])

    def extra_repr(self) -> str:
        """Window and stride, for `print(network)`."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


def _refuse_short(x: Tensor, fewest_frames: int) -> None:
    """Raise ValueError when x, (B, C, T, H, W), is shorter than one window of a pooling."""
    if x.shape[2] < fewest_frames:
        raise ValueError(
            f"the clip has {x.shape[2]} frame(s) where the temporal pooling needs at least "
            f"{fewest_frames}; raise num_frames"
        )


def temporal_conv(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Conv3d:
    """Make a convolution over T alone that keeps its length, without bias.

    Args:
        in_channels: C.
        out_channels: C'.
        kernel_size: Odd number of frames seen by each output.

    Returns:
        A layer from (B, C, T, H, W) to (B, C', T, H, W); weight (C', C, kernel_size, 1, 1).
    """
    padding = (kernel_size // 2, 0, 0)
    return nn.Conv3d(in_channels, out_channels, (kernel_size, 1, 1), padding=padding, bias=False)


class VideoNetwork(nn.Module):
    """Base class of every network that classifies clips: the contract the rest relies on.

    A subclass implements `forward_features` and `forward_head`, and ends its constructor with
    `reset_classifier(num_classes)`, which makes the linear layer `fc`.

    Args:
        num_features: Channels C' of the features that the head receives.
        classifier_std: Standard deviation of a new classifier's weights; its bias starts at 0.
        pretrained_arch: Name of the torchvision network whose ImageNet weights fit, if any.

    Attributes:
        num_classes: Width of the logits.
        classifiers: Names of the classifier layers, which load by class name only.
        new_parameters: `fnmatch` patterns of parameters that pretrained 2D weights do not hold.
        unseen_options: Options that change what weights mean but not their shapes, by argument.
        stored_options: Options that a checkpoint holds beside those given, so that the network is
            built again from the checkpoint alone.
        places: Activations that lie on the places of the clip, so that maps of them can be shown:
            the features, only those of inner layers, or none.
        modalities: Inputs of `forward`, in order: "clip" (frames), "flow" (optical flow).
    """

    modalities: ClassVar[tuple[str, ...]] = ("clip",)
    classifiers: ClassVar[tuple[str, ...]] = ("fc",)
    new_parameters: ClassVar[tuple[str, ...]] = ()
    places: ClassVar[Literal["features", "layers", "none"]] = "features"

    def __init__(
        self,
        num_features: int,
        *,
        classifier_std: float,
        pretrained_arch: str | None = None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.classifier_std = classifier_std
        self.pretrained_arch = pretrained_arch
        self.unseen_options: dict[str, object] = {}
        self.stored_options: dict[str, object] = {}

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a newly initialised one, on the same device and dtype.

        Args:
            num_classes: Width of the logits from now on.

        Raises:
            ValueError: num_classes is not a whole number of at least 1.
        """
        check_num_classes(num_classes)
        like = next(self.parameters())
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes, device=like.device, dtype=like.dtype)
        self.init_classifier(self.fc)

    def init_classifier(self, layer: nn.Linear) -> None:
        """Give a new classifier its first values, in place; a family may have a rule of its own."""
        nn.init.normal_(layer.weight, std=self.classifier_std)
        nn.init.zeros_(layer.bias)

    @property
    def has_features(self) -> bool:
        """True for a network of two parts, features and a head; False for logits alone."""
        return type(self).forward_features is not VideoNetwork.forward_features

    def forward_features(self, clip: Tensor) -> Tensor:
        """Compute features of a clip, (B, C, T, H, W) to (B, num_features, T', H', W')."""
        raise NotImplementedError

    def forward_head(self, features: Tensor) -> Tensor:
        """Compute logits (B, num_classes) of features (B, num_features, T', H', W')."""
        raise NotImplementedError

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: Normalized frames, (B, 3, T, H, W).

        Returns:
            Logits, (B, num_classes).
        """
        return self.forward_head(self.forward_features(clip))

    def example_inputs(self, batch: int, frames: int, size: int) -> tuple[Tensor, ...]:
        """Make inputs of the right shapes, device and dtype, the same values on every call.

        Args:
            batch: B.
            frames: T.
            size: H and W, in pixels.

        Returns:
            The positional arguments of `forward`: one clip tensor, (B, 3, T, H, W).
        """
        return (self._example((batch, 3, frames, size, size)),)

    def uncounted_macs(self, frames: int, size: int) -> int:
        """Count the multiply-adds of one clip that torch's counter does not see.

        Below zero where it sees more than the operation is made of.

        Args:
            frames: T of the clip.
            size: Height and width of the clip, in pixels.
        """
        return 0

    def expand_key(self, key: str) -> tuple[str, ...]:
        """Map the name of a pretrained weight to this network's names, one or several.

        Args:
            key: Name in the source's state dict.

        Returns:
            The names; by default the same one. A name that the network lacks is an error later.
        """
        return (key,)

    def adapt_weight(self, name: str, weight: Tensor, shape: torch.Size) -> Tensor | None:
        """Turn a pretrained weight into one of this network's, where their shapes differ.

        The default inflates a 2D kernel: repeated along time and divided by the temporal size, so
        that a still clip gives the 2D network's response (away from the clip's zero-padded ends).

        Args:
            name: Name of the parameter, as in the state dict.
            weight: The pretrained values.
            shape: The shape wanted.

        Returns:
            The values in that shape, or None when there is no rule for them.
        """
        if weight.ndim != 4 or len(shape) != 5 or weight.shape != shape[:2] + shape[3:]:
            return None
        return weight.unsqueeze(2).expand(shape) / shape[2]

    def _example(self, shape: tuple[int, ...]) -> Tensor:
        """Draw standard normal values from a generator of their own, on the network's device."""
        values = torch.randn(shape, generator=torch.Generator().manual_seed(0), device="cpu")
        return values.to(next(self.parameters()))

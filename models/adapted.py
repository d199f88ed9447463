"""Networks that were not written for this project, behind its contract.

Axes: B clips, C channels, T frames, H rows, W columns, K classes.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn

from models.layers import VideoNetwork, check_num_classes, unfold_time

Classifier: TypeAlias = nn.Linear | nn.Conv2d | nn.Conv3d
"""Layers that may turn features into logits; a convolution has kernels of one value."""

_AGREEMENT = 0.02
"""Largest difference of logits, as a share of the largest one, that is rounding."""


class AdaptedNetwork(VideoNetwork):
    """Any module that maps clips to logits; its weights keep their names below `module.`.

    Its classifier is the last linear layer that gives as many values as there are classes, or else
    the last such convolution of kernels of one value: it has the learning rate of the head, and
    loads by class name only. What it receives are the features, (B, C, 1, 1, 1); (B, C, N, 1, 1)
    where it scores N parts of a clip, as frames, whose scores are averaged.

    Args:
        module: Takes normalized clips, (B, 3, T, H, W), and returns logits, (B, num_classes).
        num_classes: Number of classes.
        classifiers: Names of the module's classifiers where they are known; None to look for one.
    """

    places: ClassVar[Literal["features", "layers", "none"]] = "layers"

    def __init__(
        self, module: nn.Module, num_classes: int, classifiers: Sequence[str] | None = None
    ) -> None:
        super().__init__(0, classifier_std=0.01)
        self.module = module
        self.num_classes = num_classes
        found = _find_classifier(module, num_classes) if classifiers is None else classifiers
        self.classifiers = tuple(  # type: ignore[misc]
            f"module.{name}" if name else "module" for name in found
        )
        if len(self.classifiers) == 1:
            self.num_features = _num_inputs(self.get_submodule(self.classifiers[0]))

    @property
    def has_features(self) -> bool:
        """True where one layer is known as the classifier."""
        return self.num_features > 0

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a newly initialised one, on the same device and dtype.

        Args:
            num_classes: Width of the logits from now on.

        Raises:
            ValueError: No layer is known as the classifier, or num_classes is not a whole number of
                at least 1.
        """
        if not self.has_features:
            raise ValueError(
                f"the classifier of a {type(self.module).__name__} cannot be replaced; build the "
                f"network with num_classes={num_classes}"
            )
        check_num_classes(num_classes)
        layer = _resized(self._classifier(), num_classes)
        nn.init.normal_(layer.weight, std=self.classifier_std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        self.set_submodule(self.classifiers[0], layer)
        self.num_classes = num_classes

    def forward_features(self, clip: Tensor) -> Tensor:
        """Compute what the classifier receives, (B, C, T, H, W) to (B, num_features, T', H', W').

        Args:
            clip: Normalized frames, (B, 3, T, H, W).

        Raises:
            ValueError: No layer is known as the classifier, or the logits are not its own, nor
                their mean over T', H' and W'.
        """
        self._refuse_without_classifier()
        received: list[Tensor] = []

        def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            received.extend(given)

        handle = self._classifier().register_forward_pre_hook(note)
        try:
            logits = self.forward(clip)
        finally:
            handle.remove()
        if len(received) == 1 and len(received[0]) % len(clip) == 0:
            features = _in_five_axes(received[0], self._classifier(), len(clip))
            if logits.is_meta or _agree(self.forward_head(features), logits):
                return features
        raise ValueError(
            f"the logits of this {type(self.module).__name__} are not what its layer "
            f"{self.classifiers[0].removeprefix('module.')} gives, nor the mean of it, so nothing "
            "is known to be its features; let the module end with its classifier"
        )

    def forward_head(self, features: Tensor) -> Tensor:
        """Classify features by their mean, of which the logits are those of all, averaged.

        Args:
            features: What the classifier received, (B, num_features, T', H', W').

        Returns:
            Logits, (B, num_classes).

        Raises:
            ValueError: No layer is known as the classifier.
        """
        self._refuse_without_classifier()
        layer = self._classifier()
        pooled = features.mean((2, 3, 4))
        if not isinstance(layer, nn.Linear):
            pooled = pooled.view(*pooled.shape, *layer.kernel_size)
        logits: Tensor = layer(pooled)
        return logits.flatten(1)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: Normalized frames, (B, 3, T, H, W).

        Returns:
            Logits, (B, num_classes).

        Raises:
            ValueError: If the module returns something else.
        """
        logits = self.run_module(clip)
        expected = (clip.shape[0], self.num_classes)  # `len` would be a constant in a graph
        if not isinstance(logits, Tensor) or logits.shape != expected:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f"{type(self.module).__name__} returned {found} for {len(clip)} clips of "
                f"{self.num_classes} classes; it must return logits of shape {expected}"
            )
        return logits

    def run_module(self, clip: Tensor) -> object:
        """Call the module with clips, (B, 3, T, H, W); a subclass may arrange what goes in and out.

        Returns:
            What it gives; to be logits, (B, num_classes).
        """
        return self.module(clip)

    def _refuse_without_classifier(self) -> None:
        if not self.has_features:
            raise ValueError(
                f"no layer of this {type(self.module).__name__} is known as its classifier, so "
                "nothing is known to be its features; name it with classifiers"
            )

    def _classifier(self) -> Classifier:
        layer = self.get_submodule(self.classifiers[0])
        assert isinstance(layer, Classifier)
        return layer


def _find_classifier(module: nn.Module, num_classes: int) -> list[str]:
    """Name the classifier of a module: a list of one name, or of none."""
    for kind in (nn.Linear, (nn.Conv2d, nn.Conv3d)):
        names = [
            name
            for name, layer in module.named_modules()
            if isinstance(layer, kind) and _num_inputs(layer) and len(layer.weight) == num_classes
        ]
        if names:
            return names[-1:]
    return []


def _num_inputs(layer: nn.Module) -> int:
    """Count the channels that a classifier reads; 0 for a layer that can be none."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(layer, nn.Conv2d | nn.Conv3d) and {layer.groups, *layer.kernel_size} == {1}:
        return layer.in_channels
    return 0


def _resized(layer: Classifier, num_classes: int) -> Classifier:
    """Make a classifier of the same kind with another number of outputs."""
    has_bias = layer.bias is not None
    made: Classifier
    if isinstance(layer, nn.Linear):
        made = nn.Linear(layer.in_features, num_classes, has_bias)
    elif isinstance(layer, nn.Conv2d):
        made = nn.Conv2d(layer.in_channels, num_classes, 1, bias=has_bias)
    else:
        made = nn.Conv3d(layer.in_channels, num_classes, 1, bias=has_bias)
    return made.to(layer.weight)


def _in_five_axes(given: Tensor, layer: Classifier, num_clips: int) -> Tensor:
    """Arrange what a classifier received as features.

    Args:
        given: (B, C), (B, N, C) or (B*N, C) of a linear layer, (B*N, C, H', W') or
            (B, C, T', H', W') of a convolution.
        layer: The classifier.
        num_clips: B.

    Returns:
        (B, C, N, 1, 1), (B, C, N, H', W') or (B, C, T', H', W').
    """
    if isinstance(layer, nn.Conv3d):
        return given
    if isinstance(layer, nn.Linear):
        given = given.flatten(0, -2)[..., None, None]
    return unfold_time(given, len(given) // num_clips)


def _agree(ours: Tensor, logits: Tensor) -> bool:
    """Return True where two tensors differ by rounding alone; values that are no numbers agree."""
    if ours.shape != logits.shape:
        return False
    scale = torch.maximum(ours.abs().amax(), logits.abs().amax())
    return not bool(((ours - logits).abs() > _AGREEMENT * scale).any())

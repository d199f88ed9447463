"""Networks that were not written for this project, behind its contract."""

from torch import Tensor, nn

from models.layers import VideoNetwork


class AdaptedNetwork(VideoNetwork):
    """Any module that maps clips to logits; its weights keep their names below `module.`.

    The last linear layer that gives as many values as there are classes is its classifier: it has
    the learning rate of the head, and loads by class name only.

    Args:
        module: Takes normalized clips, (B, 3, T, H, W), and returns logits, (B, num_classes).
        num_classes: Number of classes.
    """

    def __init__(self, module: nn.Module, num_classes: int) -> None:
        super().__init__(0, classifier_std=0.01)
        self.module = module
        self.num_classes = num_classes
        self.classifiers = tuple(  # type: ignore[misc]
            name
            for name, layer in self.named_modules()
            if isinstance(layer, nn.Linear) and layer.out_features == num_classes
        )[-1:]

    def reset_classifier(self, num_classes: int) -> None:
        """Not known how.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"the classifier of a {type(self.module).__name__} cannot be replaced; build the "
            f"network with num_classes={num_classes}"
        )

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: Normalized frames, (B, 3, T, H, W).

        Returns:
            Logits, (B, num_classes).

        Raises:
            ValueError: If the module returns something else.
        """
        logits = self.module(clip)
        expected = (len(clip), self.num_classes)
        if not isinstance(logits, Tensor) or logits.shape != expected:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f"{type(self.module).__name__} returned {found} for {len(clip)} clips of "
                f"{self.num_classes} classes; it must return logits of shape {expected}"
            )
        return logits

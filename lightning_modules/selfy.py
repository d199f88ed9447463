"""SELFYModule: training of SELFYNet, learning self-similarity in space and time (ICCV 2021)."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from lightning_modules.base import VideoClassifier
from lightning_modules.training.optim import Optimization

OPTIMIZATION = Optimization(
    nesterov=True, weight_decay=5e-4, bias_lr_multiplier=2.0, decay_bias=False, decay_norm=False
)
"""That of the authors' code."""


class SELFYModule(VideoClassifier):
    """Trains a SELFYNet (Kwon et al., ICCV 2021, arXiv 2102.07092).

    The defaults are the authors' code: SGD with Nesterov's momentum, weight decay 5e-4, which
    spares biases and normalization layers, and twice the learning rate for biases.

    Args:
        network: A `selfy_tsm_*` or `selfy_tsn_*` network of `models.list_models()`.
        offsets: Distances in time, in frames, that self-similarity is taken over; null for the
            network's own.
        window: Height and width of the neighbourhood in which self-similarity is taken; null for
            the network's own.
        extraction: How features are extracted from the self-similarity of each position.
        integration: How they are integrated over their neighbourhood and over the offsets.
        similarity: Similarity of two features.
        position: Stage after which the block stands, or several in order for a block after each;
            null for the network's own.
        last_scale: First scale of what the block adds; null for 0, the authors', which suits a
            trunk that is trained already. Where nothing is trained yet, 1.
        optimization: How it is optimized.
        kwargs: Arguments of `VideoClassifier`.
    """

    families: ClassVar[tuple[str, ...]] = ("selfy_tsm", "selfy_tsn")

    def __init__(
        self,
        network: str = "selfy_tsm_r50",
        offsets: Sequence[int] | None = None,
        window: int | None = None,
        extraction: Literal["convolution", "mlp", "soft_argmax"] = "convolution",
        integration: Literal["convolution", "pointwise", "mean"] = "convolution",
        similarity: Literal["cosine", "dot", "softmax"] = "cosine",
        position: int | Sequence[int] | None = None,
        last_scale: float | None = None,
        optimization: Optimization = OPTIMIZATION,
        **kwargs: Any,
    ) -> None:
        options = {
            "offsets": offsets,
            "window": window,
            "extraction": extraction,
            "integration": integration,
            "similarity": similarity,
            "position": position,
            "last_scale": last_scale,
        }
        super().__init__(
            network=network,
            optimization=optimization,
            network_kwargs=options,
            **kwargs,
        )

"""StNetModule: training of StNet, local and global spatial-temporal modeling (AAAI 2019)."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from datamodules.errors import UserError
from lightning_modules.base import VideoClassifier


class StNetModule(VideoClassifier):
    """Trains a StNet (He et al., AAAI 2019, arXiv 1811.01549).

    The authors' SGD with momentum 0.9, learning rate 0.01 and weight decay 1e-4 on everything is
    what `VideoClassifier` does of itself.

    Args:
        network: A `stnet_*` network of `models.list_models()`.
        frames_per_segment: Frames that make one super-image, the same as the data's; null for the
            network's own.
        super_image_weights: How ImageNet's first kernels become those of a super-image: averaged
            over the colours as in the authors' code, or inflated.
        temporal_block: Temporal modelling block as released or as drawn in the paper.
        temporal_init: Its first values: `he`, or `average` for the paper's block.
        temporal_modeling: Stages that a temporal modelling block follows; null for the network's
            own.
        temporal_xception: Whether the temporal Xception block stands before the classifier.
        head_pool: How the head pools over time where there is no temporal Xception block.
        kwargs: Arguments of `VideoClassifier`.
    """

    families: ClassVar[tuple[str, ...]] = ("stnet",)

    def __init__(
        self,
        network: str = "stnet_r50",
        frames_per_segment: int | None = None,
        super_image_weights: Literal["mean", "inflate"] = "mean",
        temporal_block: Literal["released", "paper"] = "released",
        temporal_init: Literal["he", "average"] = "he",
        temporal_modeling: Sequence[int] | None = None,
        temporal_xception: bool = True,
        head_pool: Literal["max", "mean"] = "max",
        **kwargs: Any,
    ) -> None:
        options = {
            "frames_per_segment": frames_per_segment,
            "super_image_weights": super_image_weights,
            "temporal_block": temporal_block,
            "temporal_init": temporal_init,
            "temporal_modeling": temporal_modeling,
            "temporal_xception": temporal_xception,
            "head_pool": head_pool,
        }
        super().__init__(network=network, network_kwargs=options, **kwargs)

    def setup(self, stage: str) -> None:
        """Hold the data's segments against the network's super-images.

        Raises:
            UserError: If they have different numbers of frames.
        """
        super().setup(stage)
        given, wanted = self.data.frames_per_segment, self.network.frames_per_segment
        if given != wanted:
            raise UserError(
                f"data.sampling.frames_per_segment={given} does not fit super-images of {wanted} "
                f"frames; set it to {wanted} (with data.sampling.num_segments), or "
                f"model.frames_per_segment to {given}"
            )

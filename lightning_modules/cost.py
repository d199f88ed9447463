"""CoSTModule: training of CoST, collaborative spatiotemporal feature learning (CVPR 2019)."""

from typing import Any, ClassVar, Literal

from lightning_modules.base import VideoClassifier
from models.cost_forms import FormOption


class CoSTModule(VideoClassifier):
    """Trains a CoST network (Li et al., CVPR 2019, arXiv 1903.01197).

    The paper's SGD with momentum 0.9 and weight decay 1e-4 on everything is what `VideoClassifier`
    does of itself.

    Args:
        network: A `cost_a_*` or `cost_b_*` network of `models.list_models()`.
        shared: Whether the three views share one kernel; False for the paper's Table 3.
        form: How the operation is computed, always with the same result but for rounding: as three
            convolutions (separate), as three 2D ones (folded), for CoST(a) as one (merged), or, by
            table_1, as what is fast at the size of its input.
        pools: Temporal extent of the pooling layers, as released or as printed in Table 1.
        stem: First convolution and pooling, for clips of 8 frames (Table 1) or of 32 (section 4.4).
        kwargs: Arguments of `VideoClassifier`.
    """

    families: ClassVar[tuple[str, ...]] = ("cost_a", "cost_b")

    def __init__(
        self,
        network: str = "cost_b_r50",
        shared: bool = True,
        form: FormOption = "table_1",
        pools: Literal["released", "paper"] = "released",
        stem: Literal["8_frames", "32_frames"] = "8_frames",
        **kwargs: Any,
    ) -> None:
        options = {"shared": shared, "form": form, "pools": pools, "stem": stem}
        super().__init__(network=network, network_kwargs=options, **kwargs)

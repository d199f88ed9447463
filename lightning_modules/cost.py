"""CoSTModule: training of CoST, collaborative spatiotemporal feature learning (CVPR 2019)."""

from typing import Any, ClassVar, Literal

from lightning_modules.base import VideoClassifier


class CoSTModule(VideoClassifier):
    """Trains a CoST network (Li et al., CVPR 2019, arXiv 1903.01197).

    Args:
        network: A `cost_a_*` or `cost_b_*` network of `models.list_models()`.
        shared: Whether the three views share one kernel; False for the paper's Table 3.
        pools: Temporal extent of the pooling layers, as released or as printed in Table 1.
        kwargs: Arguments of `VideoClassifier`.
    """

    families: ClassVar[tuple[str, ...]] = ("cost",)

    def __init__(
        self,
        network: str = "cost_b_r50",
        shared: bool = True,
        pools: Literal["released", "paper"] = "released",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            network=network, network_kwargs={"shared": shared, "pools": pools}, **kwargs
        )

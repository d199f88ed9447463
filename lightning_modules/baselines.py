"""BaselineModule: training of the networks that the papers compare with."""

from typing import Any, ClassVar, Literal

from lightning_modules.base import VideoClassifier


class BaselineModule(VideoClassifier):
    """Trains a baseline: C2D, C3D, TSN or TSM.

    Args:
        network: A baseline network of `models.list_models()`.
        pools: C2D and C3D: temporal extent of the pooling layers, as released or as printed in
            Table 1 of the CoST paper; null for the network's own default.
        stem: C2D and C3D: first convolution and pooling, for clips of 8 or of 32 frames; null for
            the network's own default.
        shift_div: TSM: 1/shift_div of the channels moves each way; null for the network's own
            default.
        kwargs: Arguments of `VideoClassifier`.
    """

    families: ClassVar[tuple[str, ...]] = ("c2d", "c3d", "c3d_3x3x3", "tsn", "tsm")

    def __init__(
        self,
        network: str = "tsn_r50",
        pools: Literal["released", "paper"] | None = None,
        stem: Literal["8_frames", "32_frames"] | None = None,
        shift_div: int | None = None,
        **kwargs: Any,
    ) -> None:
        options = {"pools": pools, "stem": stem, "shift_div": shift_div}
        super().__init__(network=network, network_kwargs=options, **kwargs)

"""BaselineModule: training of the networks that the papers compare with."""

from typing import Any, ClassVar

from lightning_modules.base import VideoClassifier


class BaselineModule(VideoClassifier):
    """Trains a baseline: C2D, C3D, TSN or TSM.

    Args:
        network: A baseline network of `models.list_models()`.
        kwargs: Arguments of `VideoClassifier`.
    """

    families: ClassVar[tuple[str, ...]] = ("c2d", "c3d", "tsn", "tsm")

    def __init__(self, network: str = "tsn_r50", **kwargs: Any) -> None:
        super().__init__(network=network, **kwargs)

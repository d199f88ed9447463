"""Video networks of torchvision: `torchvision:r3d_18`, `torchvision:mvit_v2_s`, `torchvision:s3d`.

Axes: B clips, C channels, T frames, H rows, W columns.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from models.adapters.library_network import (
    ANY_CLIP,
    ClipRule,
    LibraryNetwork,
    Published,
    building,
    fetching,
    near,
)

_SMALLEST_OF_S3D = ClipRule(13, (209, 209), is_exact=False)
"""Clips of which S3D's last pooling, of 2 x 7 x 7 values, still gets as many."""


class TorchvisionVideo(LibraryNetwork):
    """A network of `torchvision.models.video`.

    Its features are means over places and times, (B, C, 1, 1, 1), but S3D's, of which one is left
    for each position of its last pooling.
    """

    def published(self) -> Published:
        """Fetch torchvision's default weights; torch keeps them as it does ImageNet's."""
        import torchvision.models

        weights = torchvision.models.get_model_weights(self.name.partition(":")[2]).DEFAULT
        with fetching(self.name):
            found = weights.get_state_dict(progress=True, check_hash=True)
        return Published(found, list(weights.meta["categories"]))


def build(name: str, num_classes: int, options: Mapping[str, Any]) -> TorchvisionVideo:
    """Build a network with new weights.

    Args:
        name: One of torchvision's video networks.
        num_classes: Width of the logits.
        options: Arguments of the network's class that its builder leaves open, as `dropout` of
            MViT, Swin and S3D; not the size of MViT's clips.

    Raises:
        ValueError: There is no such network, or it has no such option.
    """
    import torchvision.models  # seconds of import, needed here only

    names = torchvision.models.list_models(module=torchvision.models.video)
    full = f"torchvision:{name}"
    if name not in names:
        raise ValueError(
            f"torchvision has no video network {name!r}; {near(name, names) or ', '.join(names)}"
        )
    with building(full):
        module = torchvision.models.get_model(name, num_classes=num_classes, **options)
    network = TorchvisionVideo(full, module, num_classes, clips=_clips_of(module))
    if not isinstance(module, torchvision.models.video.VideoResNet | torchvision.models.video.S3D):
        network.places = "none"  # type: ignore[misc]
    return network


def _clips_of(module: nn.Module) -> ClipRule:
    """Tell the clips that a network takes: its positions' for MViT, not too small for S3D."""
    import torchvision.models.video as video

    if isinstance(module, video.S3D):
        return _SMALLEST_OF_S3D
    if not isinstance(module, video.MViT):
        return ANY_CLIP
    times, rows, columns = module.conv_proj.stride
    positions = module.pos_encoding
    height, width = positions.spatial_size
    names = ("temporal_size", "spatial_size")
    return ClipRule(times * positions.temporal_size, (rows * height, columns * width), names)

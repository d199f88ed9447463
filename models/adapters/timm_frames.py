"""Image networks of timm on every frame of a clip: `timm:resnet18`, `timm:vit_tiny_patch16_224`.

Axes: B clips, C channels, T frames, H rows, W columns, K classes.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from models.adapters.library_network import (
    ClipRule,
    LibraryNetwork,
    Published,
    building,
    fetching,
    near,
)
from models.layers import fold_time
from models.norm import replace_batch_norms
from models.optional import optional_package
from models.stnet_irv2 import ActivatedBatchNorm2d


class TimmFrames(LibraryNetwork):
    """An image network of timm that scores each frame; the scores are averaged.

    The consensus of TSN (Wang et al., ECCV 2016, arXiv 1608.00859): blind to the order of the
    frames. The features are those of each frame, (B, C, T, 1, 1).

    Args:
        name: `timm:NAME`.
        module: Timm's network.
        num_classes: Number of classes.
        options: Arguments that it was made with.
    """

    places: ClassVar[Literal["features", "layers", "none"]] = "none"

    def __init__(
        self, name: str, module: nn.Module, num_classes: int, options: Mapping[str, Any]
    ) -> None:
        clips = ClipRule(size=_fixed_size(module, options), names=("num_frames", "img_size"))
        super().__init__(name, module, num_classes, _classifiers(module), clips)
        self.options = dict(options)

    def run_module(self, clip: Tensor) -> object:
        """Average the logits of the frames, (B, 3, T, H, W) to (B, K)."""
        logits = self.module(fold_time(clip))
        return logits.view(-1, clip.shape[2], logits.shape[-1]).mean(1)

    def published(self) -> Published:
        """Fetch timm's weights of the name, of its first tag where it has none; timm keeps them."""
        timm = optional_package("timm", self.name)
        name = self.name.partition(":")[2]
        with fetching(self.name):
            source = timm.create_model(name, pretrained=True, **self.options)
        return Published(source.state_dict(), source.pretrained_cfg.get("label_names"))


def build(name: str, num_classes: int, options: Mapping[str, Any]) -> TimmFrames:
    """Build a network with new weights.

    Args:
        name: One of `timm.list_models()`, with a tag of its weights behind a dot where wanted.
        num_classes: Width of the logits.
        options: Arguments of `timm.create_model`, as `img_size` or `drop_path_rate`; `dropout`
            stands for timm's `drop_rate`.

    Raises:
        ValueError: Timm is not installed, or it has no such network or option.
    """
    full = f"timm:{name}"
    timm = optional_package("timm", full)
    if not timm.is_model(name):
        names = timm.list_models()
        hint = near(name.partition(".")[0], names) or "timm.list_models() lists them"
        raise ValueError(f"timm has no network {name!r}; {hint}")
    given = {"drop_rate" if key == "dropout" else key: value for key, value in options.items()}
    with building(full):
        module = timm.create_model(name, num_classes=num_classes, **given)
    replace_batch_norms(module, {timm.layers.BatchNormAct2d: ActivatedBatchNorm2d})
    return TimmFrames(full, module, num_classes, given)


def _classifiers(module: Any) -> list[str]:
    """Name the layers that timm calls classifier: two of a distilled network."""
    found = module.get_classifier()
    heads = found if isinstance(found, tuple | list) else [found]
    return [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and any(layer is head for head in heads)
    ]


def _fixed_size(module: Any, options: Mapping[str, Any]) -> tuple[int, int] | None:
    """Tell the size of the frames that a network takes alone; None for any."""
    patches: Any = getattr(module, "patch_embed", None)
    if hasattr(patches, "strict_img_size"):
        return tuple(patches.img_size) if patches.img_size and patches.strict_img_size else None
    about = module.pretrained_cfg
    if not about.get("fixed_input_size"):
        return None
    size = options.get("img_size", about["input_size"][1:])
    return (size, size) if isinstance(size, int) else tuple(size)

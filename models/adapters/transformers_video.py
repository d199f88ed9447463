"""Video networks of transformers: `transformers:videomae`, `transformers:OWNER/NAME`, a folder.

Axes: B clips, C channels, T frames, H rows, W columns, K classes.
"""

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from models.adapters.library_network import (
    ClipRule,
    LibraryNetwork,
    Published,
    as_sentence,
    building,
    fetching,
    near,
)
from models.optional import optional_package

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_BINDING: Mapping[str, tuple[str | None, str | None]] = {
    "timesformer": (None, None),  # which stretches its positions to any clip
    "vjepa2": (None, "crop_size"),  # which turns by positions in any number of frames
}
"""Fields of frames and size that clips have to be of; `num_frames` and `image_size` elsewhere."""
_UNUSED = {"vjepa2": "vjepa2.predictor"}
"""Part of a network that no logit depends on, by its kind."""
_OURS = {"num_labels", "id2label", "label2id", "problem_type", "return_dict", "model_type"}
_OURS |= {"architectures", "dtype", "torch_dtype", "transformers_version"}
"""Fields that are no options: they follow from the classes, or say nothing of the network."""


class TransformersVideo(LibraryNetwork):
    """A video classification network of transformers, such as VideoMAE, TimeSformer or V-JEPA 2.

    Its features are what its classifier receives, (B, C, 1, 1, 1).

    Args:
        name: `transformers:NAME`.
        module: The library's network.
        num_classes: Number of classes.
    """

    places: ClassVar[Literal["features", "layers", "none"]] = "none"

    def __init__(self, name: str, module: nn.Module, num_classes: int) -> None:
        super().__init__(name, module, num_classes, clips=_clips_of(module.config))

    def run_module(self, clip: Tensor) -> object:
        """Compute the logits of clips in the library's order of axes, (B, T, 3, H, W)."""
        return self.module(clip.transpose(1, 2)).logits

    def published(self) -> Published:
        """Read the weights of a folder, or of a repository, which the library fetches and keeps."""
        library = optional_package("transformers", self.name)
        name = self.name.partition(":")[2]
        if name in _kinds(library):
            raise ValueError(
                f"{self.name} is a kind of network, of which no weights are published; name a "
                "repository that holds some, transformers:OWNER/NAME, or a folder"
            )
        make = library.AutoModelForVideoClassification.from_pretrained
        with fetching(self.name):
            source, about = make(name, output_loading_info=True, trust_remote_code=False)
        missing = set(about["missing_keys"])
        weights = {key: value for key, value in source.state_dict().items() if key not in missing}
        names = list(source.config.id2label.values())
        trained = {f"module.{key}" for key in weights} >= {f"{c}.weight" for c in self.classifiers}
        named = trained and len(set(names)) == len(names)
        return Published(weights, names if named else None, tuple(sorted(missing)))


def build(name: str, num_classes: int, options: Mapping[str, Any]) -> TransformersVideo:
    """Build a network with new weights.

    Args:
        name: A kind of network with video classification (`videomae`), or where a config of one is:
            a folder, or a repository on the Hub.
        num_classes: Width of the logits.
        options: Fields of the config, as `num_frames`, `image_size` or `hidden_size`; and `config`,
            all that a folder's or repository's said, with which neither is read again.

    Raises:
        ValueError: Transformers is not installed, or there is no such network or option.
    """
    full = f"transformers:{name}"
    library = optional_package("transformers", full)
    stored = options.get("config") or _config_of(library, name)
    fields = {**stored, **{key: value for key, value in options.items() if key != "config"}}
    kind = fields.pop("model_type", None)
    _refuse_other_kind(full, kind, _kinds(library))
    _refuse_unknown(full, fields, _fields(library, kind))
    with building(full):
        config = library.AutoConfig.for_model(kind, num_labels=num_classes, **fields)
        make = library.AutoModelForVideoClassification.from_config
        module = make(config, trust_remote_code=False)
    if kind in _UNUSED:  # else several devices would wait for its gradients
        module.get_submodule(_UNUSED[kind]).requires_grad_(False)
    network = TransformersVideo(full, module, num_classes)
    if name != kind:
        network.stored_options = {"config": dict(stored)}
    return network


def _kinds(library: ModuleType) -> list[str]:
    """List the kinds of networks that classify videos in the installed version."""
    auto = importlib.import_module(f"{library.__name__}.models.auto.modeling_auto")
    return list(auto.MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES)


def _fields(library: Any, kind: str) -> set[str]:
    """Name the fields of a kind's config that are options; none of them names code to be run."""
    fields = library.AutoConfig.for_model(kind).to_dict()
    return {name for name in fields if not name.startswith("_")} - _OURS


def _config_of(library: Any, name: str) -> dict[str, Any]:
    """Find the config of a name: its kind as `model_type`, and the fields that it says."""
    full, kinds = f"transformers:{name}", _kinds(library)
    if name in kinds:
        return {"model_type": name}
    if not (Path(name) / "config.json").is_file() and not _REPOSITORY.fullmatch(name):
        raise ValueError(
            f"transformers has no network {name!r} that classifies videos; "
            f"{near(name, kinds) or 'it has ' + ', '.join(kinds)}, or name a repository, "
            "OWNER/NAME, or a folder with config.json"
        )
    with as_sentence(full, "has no config that can be read ({}); check the name and the network"):
        config = library.AutoConfig.from_pretrained(name, trust_remote_code=False)
    _refuse_other_kind(full, config.model_type, kinds)
    known = _fields(library, config.model_type)
    said = {key: value for key, value in config.to_diff_dict().items() if key in known}
    return {"model_type": config.model_type, **said}


def _refuse_other_kind(name: str, kind: object, kinds: list[str]) -> None:
    if kind not in kinds:
        raise ValueError(
            f"{name} is a network of the kind {kind}, which classifies no videos; name one of the "
            f"kinds {', '.join(kinds)}"
        )


def _refuse_unknown(name: str, options: Mapping[str, Any], known: set[str]) -> None:
    for option in options:
        if option not in known:
            hint = near(option, sorted(known)) or "its options are the fields of its config"
            raise ValueError(f"{name} has no option {option}; {hint}")


def _clips_of(config: Any) -> ClipRule:
    """Tell the clips that a network takes, as far as its config decides it."""
    frames, size = _BINDING.get(config.model_type, ("num_frames", "image_size"))
    pixels = getattr(config, size) if size else None
    if isinstance(pixels, int):
        pixels = (pixels, pixels)
    return ClipRule(
        getattr(config, frames) if frames else None,
        tuple(pixels) if pixels else None,
        (frames or "num_frames", size or "image_size"),
    )

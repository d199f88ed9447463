"""Keys of earlier versions: their present names, and the checkpoints that still hold the old.

Up to 0.1.0 the settings of a module and of a DataModule were one flat list each.
"""

import inspect
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

from models.registry import MODELS

MODEL_GROUPS = {
    "optimization": (
        *("optimizer", "lr", "reference_batch", "momentum", "nesterov", "weight_decay"),
        *("schedule", "milestones", "gamma", "warmup_epochs", "bias_lr_multiplier"),
        *("norm_scale_lr_multiplier", "head_lr_multiplier", "decay_bias", "decay_norm"),
        "ema_decay",
    ),
}
DATA_GROUPS = {
    "sampling": (
        *("num_frames", "frame_stride", "num_segments", "frames_per_segment"),
        *("max_frame_stride", "test_frames"),
    ),
    "crops": ("size", "short_side", "max_short_side", "test_size", "aspect", "train_crop"),
    "augmentation": (
        *("flip_probability", "flip_exempt", "flip_pairs", "color", "mixup_alpha"),
        "cutmix_alpha",
    ),
    "normalization": ("mean", "std"),
    "loading": ("batch_size", "num_workers", "worker_timeout"),
    "evaluation": ("num_clips", "num_crops", "probe"),
}
MOVED = {
    **{f"model.{key}": f"model.{g}.{key}" for g, keys in MODEL_GROUPS.items() for key in keys},
    **{f"data.{key}": f"data.{g}.{key}" for g, keys in DATA_GROUPS.items() for key in keys},
    "model.frozen_bn": "model.batch_norm.frozen",
    "model.bn_momentum": "model.batch_norm.momentum",
    "model.bn_batch": "model.batch_norm.batch_size",
}
"""Old key -> new key, as on the command line."""


def up_to_date(content: Any) -> Any:
    """Convert the content of a checkpoint of an earlier version to today's form.

    Args:
        content: Content of a file; anything but such a checkpoint is returned as it is.
    """
    is_old = isinstance(content, Mapping) and "module_class" in content and "module" not in content
    if not is_old:
        return content
    flat = {k: v for k, v in content["hyper_parameters"].items() if not k.startswith("_")}
    owner = content["hyper_parameters"].get("_class_path") or content["module_class"]
    if owner.startswith("lightning_modules."):
        owner = f"lightning_modules.{owner.rpartition('.')[2]}"
    return {
        **content,
        "hyper_parameters": _grouped(flat),
        "module": owner,
        "network": {
            "name": flat["network"],
            "num_classes": flat["num_classes"],
            "options": _network_options(flat),
        },
        "input_spec": _input_spec(content["input_spec"]),
    }


def _grouped(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Regroup a module's flat arguments."""
    arguments: dict[str, Any] = {}
    for name, value in flat.items():
        group, _, key = MOVED.get(f"model.{name}", f"model.{name}")[6:].rpartition(".")
        (arguments.setdefault(group, {}) if group else arguments)[key] = value
    return arguments


def _network_options(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that were the network's: those that were null had its default."""
    if flat["network"] not in MODELS:
        return {}
    names = inspect.signature(resolve_name(MODELS[flat["network"]])).parameters
    return {
        name: flat[name] for name in names if name != "num_classes" and flat.get(name) is not None
    }


def _input_spec(old: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sampling": {"class_path": "datamodules.FrameSampler", "init_args": old["sampling"]},
        "frame_rate": old["frame_rate"],
        "crops": old["transform"],
        "normalization": {"mean": old["mean"], "std": old["std"]},
        "flow": old["flow"],
        "augmentation": None,
    }

"""Settings by their own names, grouped as DataModules and modules take them."""

import inspect
from dataclasses import replace
from typing import Any

from datamodules import VideoBatch, VideoDataModule
from datamodules.augmentation.pipeline import StandardAugmentation
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops
from datamodules.clips.input_spec import Normalization
from datamodules.randomness import BatchDraws
from datamodules.settings import Evaluation, Loading
from lightning_modules import VideoClassifier
from lightning_modules.old_checkpoints import MOVED

GROUPS = {
    "sampling": FrameSampler,
    "crops": Crops,
    "augmentation": StandardAugmentation,
    "normalization": Normalization,
    "loading": Loading,
    "evaluation": Evaluation,
}


def data_settings(**settings: Any) -> dict[str, Any]:
    """Arguments of a DataModule: `data_settings(num_frames=8, size=32, root="x")`."""
    grouped: dict[str, Any] = {}
    for group, make in GROUPS.items():
        names = [name for name in inspect.signature(make).parameters if name in settings]
        if names:
            grouped[group] = make(**{name: settings.pop(name) for name in names})
    return {**settings, **grouped}


def module_settings(owner: type[Any], **settings: Any) -> dict[str, Any]:
    """Arguments of a module, whose own defaults stay: `module_settings(SELFYModule, lr=0.1)`."""
    groups: dict[str, dict[str, Any]] = {}
    for name in list(settings):
        _, _, moved = MOVED.get(f"model.{name}", "").partition(".")
        if moved:
            group, key = moved.split(".")
            groups.setdefault(group, {})[key] = settings.pop(name)
    made = {group: replace(default_of(owner, group), **given) for group, given in groups.items()}
    return {**settings, **made}


def default_of(owner: type[Any], argument: str) -> Any:
    """Default of an argument, in the class that names it."""
    for cls in owner.__mro__:
        found = inspect.signature(cls).parameters.get(argument)
        if found is not None and "__init__" in vars(cls):
            return found.default
    raise LookupError(argument)


def network_of(module: VideoClassifier) -> dict[str, Any]:
    """What a checkpoint of a module says of its network."""
    options, classes = module.network_options, module.num_classes
    return {"name": module.network_name, "num_classes": classes, "options": options}


def augmented(data: VideoDataModule, batch: VideoBatch) -> VideoBatch:
    """A batch as training changes it, before it is normalized."""
    return data.augmentation.augment(batch, BatchDraws.of(data.seed, batch), data.class_info)


def flat(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a resolved config with the settings of their groups beside them."""
    groups = {*GROUPS, "optimization", "batch_norm"}
    values = {name: value for name, value in arguments.items() if name not in groups}
    for old, new in MOVED.items():
        _, group, key = new.split(".")
        held = arguments.get(group)
        held = held.get("init_args", held) if isinstance(held, dict) else {}
        if key in held:
            values[old.partition(".")[2]] = held[key]
    return values

"""Modules made from their descriptions in checkpoints; nothing in a file is executed."""

from collections.abc import Mapping
from typing import Any, TypeVar

from lightning.pytorch import LightningModule

from datamodules.errors import UserError
from datamodules.plugins.described import rebuild
from datamodules.plugins.trusted import resolve
from lightning_modules.training.arguments import plain_arguments
from lightning_modules.training.optim import BatchNorm, Optimization

Module = TypeVar("Module", bound=LightningModule)

_SETTINGS: Mapping[str, type[Any]] = {"optimization": Optimization, "batch_norm": BatchNorm}
_MISFITS = (TypeError, ValueError, LookupError, AttributeError, RuntimeError)
"""What constructors and `load_state_dict` raise on values of another kind, name or shape."""
_ONLY_FIT = ("loss", "metrics", "init_from")


def load_module(
    content: Mapping[str, Any], base: type[Module], changed: Mapping[str, Any] | None = None
) -> Module:
    """Make the module that a checkpoint describes, on the CPU, and load its weights.

    Args:
        content: What the checkpoint holds.
        base: The class that it has to be of, `VideoClassifier` or a family.
        changed: Arguments that are to be others, as the constructor takes them.

    Raises:
        UserError: If its class is part of a plugin that is not there, or another, or does not take
            what the checkpoint holds.
    """
    stored, changed = content["hyper_parameters"], changed or {}
    cls = resolve(content["module"], base)
    kept = {name: None if name in _ONLY_FIT else value for name, value in stored.items()}
    try:
        module: Any = cls(**{name: _revived(name, v) for name, v in {**kept, **changed}.items()})
        module.describe_as({**stored, **plain_arguments(changed)})
        module.on_load_checkpoint(dict(content))
        module.load_state_dict(content["state_dict"])
    except UserError:
        raise
    except _MISFITS as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{content['module']} does not take the arguments and weights of the checkpoint "
            f"({reason}); give the version of it that wrote the checkpoint"
        ) from error
    made: Module = module
    return made


def _revived(name: str, value: Any) -> Any:
    """Convert a stored argument to the type that the constructor takes."""
    if name in _SETTINGS and isinstance(value, Mapping):
        return _SETTINGS[name](**value)
    if isinstance(value, Mapping) and "class_path" in value:
        return rebuild(value, object)
    return value

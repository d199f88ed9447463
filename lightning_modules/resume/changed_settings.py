"""Settings in which a resumed fit differs from the run that it goes on with."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from datamodules.errors import UserError
from datamodules.plugins.described import plain
from datamodules.redaction import without_secrets

_OWN_BUSINESS = ("ckpt_path", "config", "run.version", "model.init_args.num_classes")
_NOT_COMPARED = ("model.init_args.class_names", "model.init_args.init_from")


def refuse_changed_settings(trained: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Check that a resumed fit asks for the hyper-parameters of its checkpoint.

    Raises:
        UserError: If one differs; LightningCLI itself would silently keep the checkpoint's.
    """
    before, now = dict(_flat(trained)), dict(_flat(plain(asked, "model")))
    names = (set(before) & set(now)) - {"init_from", "class_names", "num_classes"}
    changed = sorted(name for name in names if before[name] != now[name])
    if changed:
        listed = ", ".join(f"{name}={now[name]} (was {before[name]})" for name in changed)
        raise UserError(
            f"a resumed run keeps its settings, but these changed: {listed}; take the change back, "
            "or start a new run from the weights with --model.init_from"
        )


def refuse_finished(
    content: Mapping[str, Any], trainer: Mapping[str, Any], changes: Sequence[str], path: str
) -> None:
    """Refuse to go on with a finished run under other settings: it would train nothing.

    Args:
        content: Content of the checkpoint.
        trainer: The trainer's settings of now.
        changes: Settings that are others now.
        path: The checkpoint.

    Raises:
        UserError: If it is such a run, as in a loop over seeds that all have one folder.
    """
    epochs = content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    steps = content["global_step"]
    ends = ((epochs, trainer["max_epochs"]), (steps, trainer["max_steps"]))
    if changes and any(end is not None and 0 <= end <= done for done, end in ends):
        raise UserError(
            f"the run of {path} is finished ({epochs} epochs, {steps} steps), and it was asked for "
            f"with other settings, with which nothing would be trained: {', '.join(changes)}; give "
            "each run its own --run.name or --run.version, or take the change back"
        )


def refuse_other_network(trained: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> None:
    """Check that a checkpoint's weights fit a module, before anything is trained.

    Args:
        trained: State dict of the checkpoint.
        ours: State dict of the module.

    Raises:
        UserError: If a weight is missing, is too many, or has another shape.
    """
    differences = [
        f"{name} ({_shape(trained, name)}, now {_shape(ours, name)})"
        for name in sorted(set(trained) | set(ours))
        if _shape(trained, name) != _shape(ours, name)
    ]
    if differences:
        raise UserError(
            f"the checkpoint was written by another network: {len(differences)} weights differ, "
            f"such as {', '.join(differences[:3])}; give the code and settings that wrote it, or "
            "start a new run from the weights with --model.init_from"
        )


def _shape(weights: Mapping[str, Tensor], name: str) -> str:
    return "x".join(map(str, weights[name].shape)) or "scalar" if name in weights else "none"


def changes_since(saved: Path, config: Mapping[str, Any]) -> list[str]:
    """List the settings that differ from those of a run's start, `name: before -> now`.

    Args:
        saved: `config.yaml` of the run folder; without it there is nothing to compare.
        config: The resolved config of now. Secrets, which the file does not hold, are not compared.
    """
    if not saved.exists():
        return []
    before = dict(_flat(yaml.safe_load(saved.read_text(encoding="utf-8"))))
    now = dict(_flat(without_secrets(config)))
    ignored = (*_OWN_BUSINESS, *_NOT_COMPARED)
    names = [n for n in now if not n.startswith(ignored)]
    return [
        f"{name}: {before[name]} -> {now[name]}"
        for name in names
        if name in before and before[name] != now[name]
    ]


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

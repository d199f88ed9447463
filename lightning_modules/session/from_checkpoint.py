"""A checkpoint held against what is asked for with it: a resumed fit, or a test."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from datamodules import LabelForm, VideoDataModule
from datamodules.errors import UserError
from datamodules.plugins.described import class_path_of
from lightning_modules.base import VideoClassifier
from lightning_modules.console import say, some_of
from lightning_modules.labels.heads import check_form
from lightning_modules.parsing.parser import LINKED
from lightning_modules.resume.changed_settings import (
    changes_since,
    refuse_changed_settings,
    refuse_finished,
    refuse_other_network,
)
from lightning_modules.resume.exact_resume import KEY as EXACT_RESUME
from lightning_modules.runs.folder import folder_of_checkpoint
from lightning_modules.training.arguments import plain_arguments
from lightning_modules.training.initialization import refuse_seen_test_videos

HONOURED = ("average", "metrics")
"""Arguments of a module that a test may have others of than the training."""

ONLY_FIT = (
    *("optimization", "batch_norm", "loss", "label_smoothing", "init_from", "dropout"),
    *("classifier_std", "compile", "checkpoint_activations"),
)
"""Arguments of a module that no test depends on, so that it does not matter what they are."""


def given_model(parser: ArgumentParser, words: Sequence[str]) -> dict[str, Any]:
    """Find what options and configs say of the model, without what are merely defaults.

    Args:
        parser: The parser of all commands.
        words: A command and its options.

    Returns:
        `class_path` and `init_args` as far as they are given.
    """
    # a seed, for that of the data is computed from it; a config's or an option's comes later
    command, *options = words
    config = parser.parse_args([command, "--seed_everything=0", *options], defaults=False)
    given = config[command].get("model")
    return {} if given is None else dict(given.as_dict())


def honoured(given: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the given arguments that a test takes instead of the checkpoint's."""
    arguments = given.get("init_args", {})
    return {name: arguments[name] for name in HONOURED if name in arguments}


def refuse_other_model(given: Mapping[str, Any], module: VideoClassifier) -> None:
    """Refuse arguments that decide network or input and are not those of the checkpoint.

    Args:
        given: From `given_model`.
        module: The module as the checkpoint describes it.

    Raises:
        UserError: If some differ; the sentence names them.
    """
    trained = class_path_of(type(module))
    ours = {"model": trained, **dict(_flat(plain_arguments(module.given), "model."))}
    asked = dict(_flat(given.get("init_args", {}), "model."))
    asked = {"model": given.get("class_path", trained), **asked}
    passed = {*HONOURED, *ONLY_FIT}
    different = [
        f"{name}={value} (the checkpoint's: {ours.get(name)})"
        for name, value in asked.items()
        if name not in LINKED and not passed & set(name.split(".")[1:2]) and value != ours.get(name)
    ]
    if different:
        raise UserError(
            f"the checkpoint decides what is tested, but these differ: {', '.join(different)}; "
            "leave them out, or give the checkpoint that was trained with them"
        )


def check_resumed(checkpoint: Mapping[str, Any], config: Namespace, parser: ArgumentParser) -> None:
    """Hold the config of a resumed fit against its checkpoint; say what has changed since.

    Args:
        checkpoint: Content of the checkpoint.
        config: The config of the fit.
        parser: The parser of `fit`.

    Raises:
        UserError: If the checkpoint is not enough, the fit is finished, or a setting has changed
            that a resumed run has to keep.
    """
    if "absent" not in checkpoint.get(EXACT_RESUME, {}):
        raise UserError(
            f"{config.ckpt_path} does not hold all that a resumed run needs: another version wrote "
            "it, or its weights were imported; start a new run from its weights with "
            "--model.init_from"
        )
    trained = checkpoint["hyper_parameters"]
    refuse_changed_settings(trained, config.model.init_args.as_dict())
    saved = folder_of_checkpoint(config.ckpt_path) / "config.yaml"
    changes = changes_since(saved, yaml.safe_load(parser.dump(config, skip_none=False)))
    refuse_finished(checkpoint, config.trainer, changes, config.ckpt_path)
    for change in changes:
        say(f"changed since the checkpoint: {change}")


def check_data(
    checkpoint: Mapping[str, Any], data: VideoDataModule, module: VideoClassifier, *, fits: bool
) -> None:
    """Hold a checkpoint against the data and the network; say how the clips differ.

    Args:
        checkpoint: Content of the checkpoint.
        data: The data to train or to test on.
        module: The module that takes the weights.
        fits: True for a fit.

    Raises:
        UserError: If the labels or classes differ, the weights do not fit, or they have seen the
            test videos.
    """
    trained_on = checkpoint["protocol"]["dataset"]
    refuse_seen_test_videos(trained_on, data.dataset_name, data.seen_by, "the checkpoint")
    check_form(LabelForm.of(checkpoint.get("label_form")), data.label_form)
    ours, theirs = list(data.class_names), list(checkpoint["class_names"])
    reordered = not fits and ours != theirs and sorted(ours) == sorted(theirs)
    if reordered:
        say("note: the data numbers the classes in another order; each is tested by its name")
    elif ours != theirs:
        raise UserError(
            f"the checkpoint's {len(theirs)} classes ({some_of(theirs)}) are not "
            f"the data's {len(ours)} ({some_of(ours)}); use the data it was trained "
            "for, or start a fit with --model.init_from"
        )
    spec = data.input_spec()
    trained = checkpoint["input_spec"]
    for part in dict.fromkeys([*trained, *spec]):
        if fits or part != "augmentation":
            for name, before, now in _differences(part, trained.get(part), spec.get(part)):
                say(f"note: {name} differs: trained with {before}, now {now}")
    refuse_other_network(checkpoint["state_dict"], module.state_dict())


def _differences(name: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """List the single values in which two descriptions differ, with their names."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            inner = name if key == "init_args" else f"{name}.{key}"
            yield from _differences(inner, before.get(key), now.get(key))
    elif before != now:
        yield name, before, now


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """List values by their full key; an empty group is none at all."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value

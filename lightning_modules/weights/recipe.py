"""A module and its data as configs describe them, without a trainer and without reading videos."""

from collections.abc import Sequence
from typing import Any

import jsonargparse
from lightning.pytorch import Trainer

from datamodules import VideoDataModule
from lightning_modules.base import VideoClassifier
from lightning_modules.console import COMMAND
from lightning_modules.parsing.config_names import with_configs_found
from lightning_modules.parsing.parser import (
    VideoParser,
    allow_known_classes,
    constructors_mistakes,
    link_classes,
    refuse_linked_options,
)
from lightning_modules.runs.folder import RunSettings


class _ClassList:
    """Classes that do not come from the data.

    Args:
        class_names: Names in label order.
    """

    def __init__(self, class_names: list[str]) -> None:
        self.class_names = class_names
        self.num_classes = len(class_names)


def make_from_recipe(
    words: Sequence[str], network: str, class_names: Sequence[str] | None
) -> tuple[VideoClassifier, VideoDataModule]:
    """Make the module and the data that configs and options of a fit describe.

    Args:
        words: The configs and options, as after `fit`.
        network: Name of the network, instead of the configs'.
        class_names: Names in label order; None for those of the data, which have to be there.

    Returns:
        The module, with new weights, and the data, not set up.

    Raises:
        UserError: If a constructor refuses what is given, or the data's classes cannot be read.
        SystemExit: If the parser does.
    """
    allow_known_classes()
    found = with_configs_found(words)
    refuse_linked_options(found)
    parser = _parser(class_names)
    config = parser.parse_args([*found, f"--model.network={network}"])
    with constructors_mistakes():
        made = parser.instantiate_classes(config)
    module, data = made.model, made.data
    assert isinstance(module, VideoClassifier)
    assert isinstance(data, VideoDataModule)
    module.describe_as(config.model.init_args.as_dict())
    return module, data


def _parser(class_names: Sequence[str] | None) -> VideoParser:
    """Make a parser of all that a recipe may hold."""
    parser = VideoParser(prog=COMMAND)
    parser.add_argument("--config", action=jsonargparse.ActionConfigFile)  # type: ignore[attr-defined]
    parser.add_argument("--seed_everything", type=int, default=0)
    parser.add_argument("--ckpt_path", type=Any, default=None)
    parser.add_class_arguments(RunSettings, "run")
    parser.add_lightning_class_args(Trainer, "trainer", required=False)
    parser.add_lightning_class_args(VideoClassifier, "model", subclass_mode=True)
    parser.add_lightning_class_args(VideoDataModule, "data", subclass_mode=True)
    source = "data"
    if class_names is not None:
        source = "classes"
        parser.add_class_arguments(_ClassList, source)
        parser.set_defaults({"classes.class_names": list(class_names)})
    link_classes(parser, source)
    return parser

"""The DataModule that the words of a fit describe, for a tool that needs nothing else of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import Namespace, dict_to_namespace

from datamodules import Crops, VideoDataModule
from lightning_modules.console import COMMAND
from lightning_modules.parsing.config_names import with_configs_found
from lightning_modules.parsing.null_words import set_nulls, split_nulls
from lightning_modules.parsing.parser import (
    VideoParser,
    allow_known_classes,
    constructors_mistakes,
)
from lightning_modules.parsing.parts_of_fit import ignore_parts, parts_but

DATA = ("data", "config", "seed_everything")
"""Options that describe the data."""


def crops_of_data(command: str, words: Sequence[str]) -> Crops:
    """Read the crops of a config, of data that need not be there.

    Args:
        command: The tool, for its sentences.
        words: Options of `DATA` alone.

    Raises:
        UserError: If they do not fit.
    """
    _, options = _parse(command, words)
    crops = options.data.init_args.crops
    return Crops() if crops is None else Crops(**crops.as_dict())


def open_data(command: str, words: Sequence[str], sampling: Mapping[str, Any]) -> VideoDataModule:
    """Make and set up a DataModule.

    Args:
        command: The tool, for its sentences.
        words: Options of `DATA` alone.
        sampling: Description of the frames of a clip, where the words say nothing of them.

    Raises:
        UserError: If they do not fit, or the data is not there.
    """
    parser, options = _parse(command, words)
    if options.data.init_args.sampling is None:
        options.data.init_args.sampling = dict_to_namespace(dict(sampling))
    with constructors_mistakes():
        data: VideoDataModule = parser.instantiate_classes(options).data
    data.prepare_data()
    data.setup("test")
    return data


def _parse(command: str, words: Sequence[str]) -> tuple[VideoParser, Namespace]:
    """Parse options of `DATA`; returned with what makes a DataModule of them."""
    allow_known_classes()
    parser = VideoParser(prog=f"{COMMAND} {command}")
    parser.add_argument("--config", action="config")
    parser.add_argument("--seed_everything", type=Any, default=0)
    parser.add_lightning_class_args(VideoDataModule, "data", subclass_mode=True, required=True)
    parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
    ignore_parts(parser, parts_but(*DATA))
    given, nulls = split_nulls(with_configs_found([command, *words])[1:])
    options = parser.parse_args(given)
    set_nulls(options, nulls)
    return parser, options

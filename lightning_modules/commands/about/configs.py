"""kinetoscope configs: the shipped layers and recipes, each with its purpose and target."""

import shutil
import sys
from collections.abc import Sequence

from lightning_modules.console import ToolParser
from lightning_modules.guidance.config_list import list_configs, show_config


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `configs` and its options.
    """
    options = _parser().parse_args(words[1:])
    if options.names:
        sys.stdout.write("\n".join(map(show_config, options.names)))
    else:
        sys.stdout.write(list_configs(shutil.get_terminal_size((100, 24)).columns))


def _parser() -> ToolParser:
    parser = ToolParser(
        "configs",
        "List the configs that come with kinetoscope, each with its purpose and, for a paper's "
        "recipe, the accuracy to reach. Give one by its name in any folder, as in "
        "`kinetoscope fit --config data/ucf101 --config model/tsm_r50`.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="show the whole of these configs")
    return parser

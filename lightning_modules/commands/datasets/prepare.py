"""kinetoscope prepare: all that a fit needs, fetched and made before it, on a login node."""

import shlex
from collections.abc import Sequence
from typing import Any

from datamodules import VideoDataModule
from datamodules.jobs.processes import num_cores
from lightning_modules.base import VideoClassifier
from lightning_modules.console import COMMAND, HelpFormatter, num_processes, say
from lightning_modules.parsing.config_names import with_configs_found
from lightning_modules.parsing.null_words import set_nulls, split_nulls
from lightning_modules.parsing.parser import (
    VideoParser,
    allow_known_classes,
    constructors_mistakes,
    link_classes,
    refuse_linked_options,
)
from lightning_modules.parsing.parts_of_fit import ignore_parts, parts_but, without_parts
from lightning_modules.readiness.preparation import Parts, prepare

IGNORED = parts_but("model", "data", "seed_everything")
"""Keys of a fit that say nothing about what it needs."""

DESCRIPTION = """\
Fetch and make all that a fit needs, on a machine with internet: starting weights into $TORCH_HOME,
generated data, with --flow the optical flow, and the index of the videos. Give the words of your
fit: what they say about trainer and run is ignored. What is there already stays.

  kinetoscope prepare --config quickstart
  TORCH_HOME=/shared/torch kinetoscope prepare --config recipe/tsm_kinetics400 --data.root k400
  kinetoscope prepare --config recipe/st_resnet_ucf101 --data.root ucf --data.flow.root flow --flow

The fit then needs the same TORCH_HOME, and no internet.
"""


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `prepare` and its options.

    Raises:
        SystemExit: With code 2 on a user's mistake, and where something cannot be had.
    """
    words = with_configs_found(words)
    allow_known_classes()
    refuse_linked_options(words)
    parser = _parser()
    needed, nulls = split_nulls(without_parts(words[1:], IGNORED))
    options = parser.parse_args(needed)
    set_nulls(options, nulls)
    workers = num_processes(options.workers, num_cores())
    with constructors_mistakes():
        made = parser.instantiate_classes(options)
    parts = Parts(options.flow, not options.no_index, workers)
    prepare(made.model, made.data, parts, say)
    own = [word for word in words[1:] if word not in ("--flow", "--no_index")]
    say(f"ready: {COMMAND} fit {shlex.join(own)}")


def _parser() -> VideoParser:
    parser = VideoParser(
        prog=f"{COMMAND} prepare",
        usage=f"{COMMAND} prepare --config FILE [--config FILE ...] [--KEY VALUE] [options]",
        description=DESCRIPTION,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--config", action="config", help="config of a fit")
    parser.add_argument("--flow", action="store_true", help="compute flow into data.flow.root")
    parser.add_argument("--no_index", action="store_true", help="do not open every video once")
    parser.add_argument("--workers", type=int | None, default=None, help="processes (one per core)")
    parser.add_argument("--seed_everything", type=Any, default=42, help="seed of a fit")
    parser.add_lightning_class_args(VideoDataModule, "data", subclass_mode=True, required=True)
    parser.add_lightning_class_args(VideoClassifier, "model", subclass_mode=True, required=True)
    parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
    link_classes(parser)
    ignore_parts(parser, IGNORED)
    return parser

"""Names of the configs that come with the package, for `--config` in any folder."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import lightning_modules
from datamodules.errors import UserError
from lightning_modules.console import COMMAND, nearest
from lightning_modules.parsing.layers import CONFIG, configs_first, read_layer


def shipped_configs() -> Path:
    """Find the folder of the shipped configs: within the package, or the repository's."""
    package = Path(lightning_modules.__path__[0])
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """List the names of the shipped configs, such as `quickstart` and `recipe/cost_kinetics400`."""
    folder = shipped_configs()
    return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml"))


def refuse_wrong_configs(words: Sequence[str]) -> None:
    """Look at the configs of a command before its imports, which take longer than a mistake should.

    Args:
        words: A command and its options.

    Raises:
        UserError: If a config is neither a file nor one of `config_names`, or holds no keys.
    """
    for option, word in pairwise(configs_first(words)):
        if option == CONFIG and _shipped(word) is None:
            if not os.path.exists(word):
                raise UserError(no_config_file(word))
            if os.path.isfile(word):
                read_layer(Path(word))


def no_config_file(path: str) -> str:
    """Say that a config is not there, and which one may have been meant."""
    return f"there is no config file {path}{nearest(Path(path).name, config_names())}"


def with_configs_found(words: Sequence[str]) -> list[str]:
    """Put all configs first, and the paths of shipped ones in the place of their names.

    So options win over configs, wherever they stand. A name is one of `config_names`; as in the
    commands within the configs, `configs/` may stand before it and `.yaml` behind. A file on disk
    comes first. Where a word could mean a shipped config, a line on standard error, where it is in
    the way of no output, names what is read.

    Args:
        words: A command and its options.
    """
    given = configs_first(words)
    for index, (option, word) in enumerate(pairwise(given), 1):
        if option == CONFIG:
            given[index] = _found(word)
    return given


def _found(word: str) -> str:
    """Return the path of a config that is given by its name; any other word as it is."""
    shipped = _shipped(word)
    if shipped is None:
        return word
    if not os.path.isfile(word):
        _tell(f"reading {shipped}, of {COMMAND} {version(COMMAND)}\n")
        return str(shipped)
    if not shipped.samefile(word):
        _tell(f"reading the file {word}, not {COMMAND}'s own config of that name\n")
    return word


def _shipped(word: str) -> Path | None:
    """Return the path of the shipped config of a name; None where there is none."""
    name = word.removeprefix("configs/").removesuffix(".yaml")
    return shipped_configs() / f"{name}.yaml" if name in config_names() else None


def _tell(line: str) -> None:
    # imported here, so that `kinetoscope configs` does not import torch
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    @rank_zero_only
    def write() -> None:
        sys.stderr.write(line)
        sys.stderr.flush()

    write()

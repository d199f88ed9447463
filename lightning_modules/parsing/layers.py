"""The config files of a command, in layers: each readable, and searched for what is wrong."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from datamodules.errors import UserError
from lightning_modules.parsing.yaml_limits import refuse_expansion

CONFIG = "--config"
"""The option that names a layer."""

_layers: ContextVar[Mapping[str, Any]] = ContextVar("layers")


def configs_first(words: Sequence[str]) -> list[str]:
    """Put the layers before all other options, which so win over them in any order.

    Args:
        words: A command and its options.
    """
    options = [part for word in words[1:] for part in _divided(word)]
    named = [index for index, (word, _) in enumerate(pairwise(options)) if word == CONFIG]
    layers = [part for index in named for part in options[index : index + 2]]
    taken = {place for index in named for place in (index, index + 1)}
    return [*words[:1], *layers, *(w for place, w in enumerate(options) if place not in taken)]


def _divided(word: str) -> list[str]:
    """Divide `--config=FILE` in two; the short form is the long one."""
    option, equals, value = word.partition("=")
    if option not in (CONFIG, "-c"):
        return [word]
    return [CONFIG, value] if equals else [CONFIG]


@contextmanager
def searched_layers(words: Sequence[str]) -> Iterator[None]:
    """Read the layers of a command, for `layer_of` within the block.

    Args:
        words: Options, as `configs_first` orders them.

    Raises:
        UserError: If one of the files is no UTF-8 text, no YAML, or holds no keys.
    """
    named = [value for option, value in pairwise(words) if option == CONFIG]
    before = _layers.set({path: read_layer(Path(path)) for path in named if os.path.isfile(path)})
    try:
        yield
    finally:
        _layers.reset(before)


def read_layer(path: Path) -> Any:
    """Read a config file.

    Args:
        path: An existing file.

    Raises:
        UserError: If it is no UTF-8 text, no YAML, holds no keys, or expands too far.
    """
    try:
        text = path.read_text(encoding="utf-8")
        refuse_expansion(text)
        content = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise UserError(f"the config {path} is not UTF-8 text; save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise UserError(f"the config {path} is not valid YAML: {_place(error)}") from error
    if content is not None and not isinstance(content, dict):
        raise UserError(
            f"the config {path} holds a {type(content).__name__}, not keys; write `key: value`"
        )
    return content


def _place(error: yaml.YAMLError) -> str:
    """Say what is wrong with YAML, and in which line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    return f"{place}{problem or str(error).splitlines()[0]}"


def layer_of(key: str, value: str | None = None, known: Sequence[str] = ()) -> str | None:
    """Find the layer that sets a key, the last one where several do.

    Args:
        key: The key as a message has it, perhaps only its end.
        value: Its value, where that is known.
        known: Full names of keys that it is not, though they may end like it.

    Returns:
        The file; None where no layer sets the key so, as an option may.
    """
    wanted = key.replace("init_args.", "")
    layers: Mapping[str, Any] = _layers.get({})
    for path, content in reversed(list(layers.items())):
        for name, found in _keys(content):
            is_named = f".{name}".endswith(f".{wanted}") and name not in known
            if is_named and (value is None or str(found) == value.strip("'\"")):
                return str(path)
    return None


def _keys(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List all keys of a config at any depth, without `init_args`, and their values."""
    for key, value in content.items() if isinstance(content, dict) else ():
        name = prefix if key == "init_args" else f"{prefix}.{key}".lstrip(".")
        yield name, value
        yield from _keys(value, name)

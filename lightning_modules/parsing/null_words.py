"""`--data.crops.test_size null`: settings inside groups that are taken away on the command line.

jsonargparse 4.53 hands a null to a setting inside a class inside a class as the word "None". Such
words are therefore kept from it, and set in what it has parsed.
"""

from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace

from lightning_modules.console import fail

_GROUPS = ("data", "model")
_NULLS = ("null", "~")


def split_nulls(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the words out that set a setting of a group to null.

    Args:
        words: Words of the command line.

    Returns:
        The other words, and the keys, such as `data.crops.test_size`.
    """
    kept: list[list[str]] = []
    nulls: dict[str, None] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        key = key.replace("init_args.", "")
        is_inside = word.startswith("--") and key.count(".") >= 2 and key.split(".")[0] in _GROUPS
        given = [word]
        if is_inside and not equals and waiting and not waiting[0].startswith("--"):
            value = waiting.pop(0)
            given.append(value)
        if is_inside:
            nulls.pop(key, None)  # what is said last counts
        if is_inside and value in _NULLS:
            nulls[key] = None
        else:
            kept.append(given)
    return [word for given in kept for word in given], list(nulls)


def set_nulls(config: Namespace, keys: Sequence[str]) -> None:
    """Set settings to null in a parsed config.

    Args:
        config: The config of a command, with `data` and perhaps `model`.
        keys: From `split_nulls`.
    """
    for key in keys:
        group: Any = config
        *groups, name = key.split(".")
        for part in groups:
            group = group.get(part) if isinstance(group, Namespace) else None
            if isinstance(group, Namespace) and "init_args" in group:
                group = group["init_args"]
        if group is None:
            continue  # the whole group is at its default
        if not isinstance(group, Namespace) or name not in group:
            fail(f"there is no key {key!r} that could be null")
        group[name] = None

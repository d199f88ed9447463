"""A limit to what YAML expands to: a few lines of aliases of aliases fill any memory."""

from typing import Any

import jsonargparse
import yaml

from datamodules.errors import UserError

MAX_EXPANDED = 10_000_000
"""Characters of a YAML text with its aliases written out."""

_load = jsonargparse.get_loader("yaml")


def limit_yaml() -> None:
    """Let every parser of this process refuse YAML that expands past the limit."""
    jsonargparse.set_loader("yaml", load_limited, (yaml.YAMLError,))


def load_limited(text: str) -> Any:
    """Load YAML as jsonargparse does, unless it is too large.

    Args:
        text: A config, or the value of an option.

    Raises:
        UserError: If it expands past the limit.
    """
    refuse_expansion(text)
    return _load(text)


def refuse_expansion(text: str) -> None:
    """Refuse a text that its aliases make longer than the limit, before it is expanded.

    Args:
        text: YAML; one that is not valid is left to the parser.

    Raises:
        UserError: If it expands past the limit.
    """
    if len(text) > MAX_EXPANDED or ("*" in text and _expands_too_far(text)):
        raise UserError(
            f"a config expands past {MAX_EXPANDED // 10**6} MB, which no config needs; take its "
            "aliases (*name) of aliases out, or give another file"
        )


def _expands_too_far(text: str) -> bool:
    """Add up the sizes of all nodes, those of an alias anew, without making any of them."""
    total, anchored = 0, dict[str, int]()
    is_open: list[tuple[str | None, int]] = []  # anchor of each open node, size before it
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            total += len(event.value) + 1 if isinstance(event, yaml.ScalarEvent) else 1
            if isinstance(event, yaml.AliasEvent):
                assert event.anchor is not None
                is_endless = any(anchor == event.anchor for anchor, _ in is_open)
                total += MAX_EXPANDED if is_endless else anchored.get(event.anchor, 0)
            elif isinstance(event, yaml.CollectionStartEvent):
                is_open.append((event.anchor, total))
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = is_open.pop()
                anchored |= {} if anchor is None else {anchor: total - before}
            elif isinstance(event, yaml.ScalarEvent) and event.anchor is not None:
                anchored[event.anchor] = len(event.value) + 1
            if total > MAX_EXPANDED:
                return True
    except yaml.YAMLError:
        pass  # the parser says what is wrong
    return False

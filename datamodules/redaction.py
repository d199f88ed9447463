"""Passwords, tokens and keys in what is written down: found by the names they stand under.

What is stored of a run is made to be shown to others. Whatever stands under the name of a secret
is left out of it, and so are user and password in an address (`https://user:pw@host/`).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "NOT_STORED",
    "is_secret",
    "shown_words",
    "without_addresses",
    "without_pairs",
    "without_secrets",
]

NOT_STORED = "(not stored)"
"""Text that stands in the place of a secret."""

_NAME = (
    r"(?:api|access|account|private|signing|secret|encryption)[_-]?key|token(?!iz)|secret"
    r"|passw(?:or)?d|passphrase|(?<![a-z])pwd|credential|auth(?!or(?!iz))|bearer|cookie"
    r"|connection[_-]?string|webhook|signature"
)
_SECRET = re.compile(_NAME, re.IGNORECASE)
_COUNTED = re.compile(rf"(?:{_NAME})$", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/\s]*@")
_PARAMETER = re.compile(r"([?&])([\w.-]+)=([^&\s#'\"]+)")
_PAIR = re.compile(
    rf"""(?P<name>[\w.-]*(?:{_NAME})[\w.-]*)(?P<sign>['"]?\s*[:=]\s*)"""
    r"""(?P<value>'[^']*'|"[^"]*"|\[[^]]*\]|\{[^}]*\}|(?:(?:bearer|basic)\s+)?[^\s,}'"]+)""",
    re.IGNORECASE,
)


def is_secret(name: str, value: object = "") -> bool:
    """Tell whether what stands under a name is a secret.

    Args:
        name: Key of a config, in any spelling: `api_key`, `hubToken`, `X-Auth`.
        value: The value. Yes, no and nothing are no secrets, and a number is one only where the
            name ends with the word: `password`, but not `num_tokens` or `token_dim`.
    """
    if value is None or isinstance(value, bool):
        return False
    pattern = _COUNTED if isinstance(value, int | float) else _SECRET
    return pattern.search(name) is not None


def without_secrets(value: Any) -> Any:
    """Copy a nested value of plain parts, with `NOT_STORED` in the place of what is secret."""
    if isinstance(value, Mapping):
        return {
            key: NOT_STORED if is_secret(str(key), inner) else without_secrets(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    return without_addresses(value) if isinstance(value, str) else value


def without_addresses(text: str) -> str:
    """Take user, password and secret parameters out of the addresses in a text."""
    if "://" not in text:
        return text
    return _PARAMETER.sub(_parameter, _LOGIN.sub(f"{NOT_STORED}@", text))


def without_pairs(text: str) -> str:
    """Take out of a text what stands behind the names of secrets, as in `api_key=...`."""
    return _PAIR.sub(_pair, without_addresses(text))


def shown_words(words: Sequence[str]) -> list[str]:
    """Copy the words of a command line as they may be shown, `--key value` and `--key=value`."""
    shown: list[str] = []
    hidden = False
    for word in words:
        name, equals, value = word.partition("=")
        is_option = word.startswith("-")
        if hidden and not is_option:
            shown.append(NOT_STORED)
        elif is_option and equals and is_secret(name, value):
            shown.append(f"{name}={NOT_STORED}")
        else:
            shown.append(without_pairs(word))
        hidden = is_option and not equals and is_secret(name)
    return shown


def _parameter(found: re.Match[str]) -> str:
    sign, name, _ = found.groups()
    return f"{sign}{name}={NOT_STORED}" if is_secret(name) or name == "sig" else found[0]


def _pair(found: re.Match[str]) -> str:
    return f"{found['name']}{found['sign']}{NOT_STORED}" if is_secret(found["name"]) else found[0]

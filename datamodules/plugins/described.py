"""Objects that describe their class and arguments in plain values.

A checkpoint, a protocol and a config hold such a description instead of the object, and the object
is made from it again: `{"class_path": "datamodules.FrameSampler", "init_args": {...}}`.
"""

import dataclasses
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Self, TypeVar

import numpy as np

from datamodules.errors import UserError
from datamodules.plugins.trusted import OUR_PACKAGES, resolve
from datamodules.redaction import is_secret, without_addresses

__all__ = ["Described", "DescribedValue", "class_path_of", "plain", "rebuild"]

Made = TypeVar("Made")


class Described:
    """Base of what a user may replace by a class of their own: it remembers its arguments.

    A constructor's arguments are noted before it runs, for the class that was called and not for
    its bases. A subclass has to do nothing for it.
    """

    _given: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the arguments."""
        self = super().__new__(cls)
        try:
            bound = inspect.signature(cls.__init__).bind(self, *args, **kwargs)
        except TypeError:  # the constructor says so itself; a copy is made without arguments
            return self
        bound.apply_defaults()
        given = dict(list(bound.arguments.items())[1:])
        for name, parameter in inspect.signature(cls.__init__).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                given |= given.pop(name)
        object.__setattr__(self, "_given", given)
        return self

    @property
    def given(self) -> dict[str, Any]:
        """Arguments of the constructor by name, defaults included."""
        return dict(self._given)

    def description(self) -> dict[str, Any]:
        """Describe the class and its arguments in plain values; `rebuild` makes the object again.

        Secrets are left out, so that it is made with the class's own defaults of them.

        Raises:
            UserError: If an argument is no plain value, so that no checkpoint could hold it.
        """
        owner = class_path_of(type(self))
        given = {name: value for name, value in self._given.items() if not is_secret(name, value)}
        args = {name: plain(value, f"{owner}: {name}") for name, value in given.items()}
        return {"class_path": owner, "init_args": args}


class DescribedValue(Described):
    """A described object that is equal to another of the same class and arguments."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DescribedValue) or type(self) is not type(other):
            return NotImplemented
        return self.description() == other.description()

    def __hash__(self) -> int:
        return hash(repr(self.description()))


def class_path_of(cls: type[Any]) -> str:
    """Make the import path of a class: below its package for a public one of ours, else its module.

    Files of ours may move, so that a path which a checkpoint holds must not name one.
    """
    package = cls.__module__.split(".")[0]
    if package in OUR_PACKAGES and getattr(sys.modules[package], cls.__name__, None) is cls:
        return f"{package}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def plain(value: object, name: str) -> Any:
    """Convert a value to a form that JSON and a checkpoint can hold, without what is secret.

    Args:
        value: Plain values, paths, settings, described objects, and lists and mappings of them.
        name: Name of the value in an error.

    Raises:
        UserError: If it is anything else.
    """
    if isinstance(value, str):
        return without_addresses(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Described):
        return value.description()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        shown = {str(key): part for key, part in value.items() if not is_secret(str(key), part)}
        return {key: plain(part, f"{name}.{key}") for key, part in shown.items()}
    if isinstance(value, Sequence):
        return [plain(part, name) for part in value]
    raise UserError(
        f"{name} is a {type(value).__name__}, which a checkpoint cannot hold; give plain values "
        "(numbers, words, lists) and make the object from them"
    )


def rebuild(description: Mapping[str, Any], base: type[Made]) -> Made:
    """Make an object from its `Described.description`.

    Args:
        description: `class_path` and `init_args`.
        base: What the class must derive from.

    Raises:
        UserError: If the class is not there, is not trusted, or does not take these arguments.
    """
    cls = resolve(description["class_path"], base)
    try:
        return cls(**description.get("init_args", {}))
    except TypeError as error:
        raise UserError(
            f"{description['class_path']} does not take the arguments that were stored "
            f"({error}); give the version of it that they were stored with"
        ) from error

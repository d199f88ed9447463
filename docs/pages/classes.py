"""A page for each public class, and one for the public functions."""

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

import datamodules
import lightning_modules
import models
from datamodules import VideoDataModule
from lightning_modules.base import VideoClassifier
from lightning_modules.runs.folder import RunSettings
from models import VideoNetwork
from pages.arguments import (
    Argument,
    Told,
    arguments_of_class,
    arguments_of_function,
    told_of,
)
from pages.cells import cell, fence, sections, table
from pages.configs import Config, read_config

FOLDER = "reference/classes"
FUNCTIONS = "reference/functions.md"
PACKAGES = (datamodules, lightning_modules, models)

_HOMES = tuple(f"{package.__name__}." for package in PACKAGES)
_BASES = (VideoDataModule, VideoClassifier, VideoNetwork)


def public_classes() -> dict[str, tuple[str, type[Any]]]:
    """List the public classes: name to package and class; the run's settings with them."""
    found: dict[str, tuple[str, type[Any]]] = {}
    for package in PACKAGES:
        for name in package.__all__:
            thing = getattr(package, name)
            if isinstance(thing, type):
                assert name not in found, f"two packages have a class {name}"
                found[name] = package.__name__, thing
    return found | {"RunSettings": ("lightning_modules.runs.folder", RunSettings)}


def public_functions() -> dict[str, Callable[..., Any]]:
    """List the public functions by their full names."""
    return {
        f"{package.__name__}.{name}": getattr(package, name)
        for package in PACKAGES
        for name in package.__all__
        if inspect.isroutine(getattr(package, name))
    }


def class_pages(config_names: Iterable[str]) -> dict[str, str]:
    """Write the page of every public class, one that lists them, and one of the functions.

    Args:
        config_names: Shipped configs, which the pages name.
    """
    known = public_classes()
    configs = [read_config(name) for name in config_names]
    pages = {f"{FOLDER}/index.md": _index(known), FUNCTIONS: _functions(known)}
    for name, (package, kind) in known.items():
        pages[f"{FOLDER}/{name}.md"] = _page(name, package, kind, known, configs)
    return pages


GROUPS: tuple[tuple[str, Callable[[str, type[Any]], bool]], ...] = (
    ("Datasets: `--data CLASS`", lambda _, kind: issubclass(kind, VideoDataModule)),
    ("Families: `--model CLASS`", lambda _, kind: issubclass(kind, VideoClassifier)),
    ("Networks", lambda _, kind: issubclass(kind, VideoNetwork)),
    ("Of the data", lambda package, _: package == "datamodules"),
    ("Of training, tests and predictions", lambda package, _: package != "models"),
    ("Of the networks", lambda *_: True),
)
"""Headings of the list of classes; a class stands below the first that fits it."""


def _index(known: dict[str, tuple[str, type[Any]]]) -> str:
    text = (
        "# Classes\n\nA `None` is `null` in a config. There each is named with its package, as "
        "`class_path: datamodules.UCF101DataModule`; the bare name does on the command line. "
        "[Functions](../functions.md) have a page of their own.\n\n"
    )
    left = dict(known)
    for title, fits in GROUPS:
        here = [name for name, (package, kind) in left.items() if fits(package, kind)]
        rows = [
            (f"[`{name}`]({name}.md)", cell(told_of(left.pop(name)[1]).summary)) for name in here
        ]
        text += f"## {title}\n\n{table(('class', 'what it is'), rows)}"
    return text


def _page(
    name: str,
    package: str,
    kind: type[Any],
    known: dict[str, tuple[str, type[Any]]],
    configs: list[Config],
) -> str:
    told = told_of(kind)
    arguments = arguments_of_class(kind)
    taken = {argument.name for argument in arguments}
    attributes = [(f"`{n}`", cell(t)) for n, t in told.attributes.items() if n not in taken]
    using = [config.note.name for config in configs if name in config.classes]
    links = ", ".join(f"[`{config}`](../configs/{config}.md)" for config in using)
    return sections(
        f"# {name}",
        fence(f"from {package} import {name}", "python"),
        told.summary,
        told.body,
        *_headed("Arguments", _arguments(arguments, name, known)),
        *_headed("Attributes", table(("attribute", "what it is"), attributes)),
        *_headed("Raises", _errors(told)),
        *_headed("Methods", _methods(kind)),
        *_headed("Configs", links),
        "[All classes](index.md)",
    )


def _headed(title: str, text: str) -> tuple[str, str]:
    """Put a heading above a text; nothing above nothing."""
    return (f"## {title}", text) if text else ("", "")


def _errors(told: Told) -> str:
    return table(("error", "when"), [(f"`{error}`", cell(cause)) for error, cause in told.raises])


def _arguments(
    arguments: list[Argument], own: str, known: dict[str, tuple[str, type[Any]]], up: str = ""
) -> str:
    rows = []
    for argument in arguments:
        meaning = cell(argument.meaning)
        if argument.owner not in ("", own) and argument.owner in known:
            meaning += f" *(of [{argument.owner}]({up}{argument.owner}.md))*"
        default = f"`{argument.default}`" if argument.default else ""
        rows.append((f"`{argument.name}`", _kind(argument.kind, known, up), default, meaning))
    return table(("argument", "type", "default", "meaning"), rows)


def _kind(words: str, known: dict[str, tuple[str, type[Any]]], up: str) -> str:
    """Write a type, with links to the pages of our classes."""
    parts = re.split(r"\s\|\s(?![^\[]*\])", words)
    cells = [f"[`{p}`]({up}{p}.md)" if p in known else f"`{p}`" for p in parts if p]
    return " or ".join(cells)


def _methods(kind: type[Any]) -> str:
    """List the public methods that are ours, with their first lines.

    Of a dataset, a family and a network its own alone: those of all stand with their base.
    """
    bases = [base for base in kind.__mro__ if base.__module__.startswith(_HOMES)]
    common = [base for base in _BASES if issubclass(kind, base) and kind is not base]
    found: dict[str, tuple[str, str]] = {}
    for base in bases[:1] if common else bases:
        for name, member in vars(base).items():
            call = _call(name, member)
            summary = told_of(member).summary if call else ""
            if summary and not summary.startswith("See `") and name not in found:
                found[name] = (f"`{call}`", cell(summary))
    more = ", ".join(f"[{base.__name__}]({base.__name__}.md)" for base in common)
    heads = "method", "what it does"
    return sections(table(heads, found.values()), f"Besides, those of {more}." if more else "")


def _call(name: str, member: Any) -> str:
    """Write a public method with its arguments, or a property; nothing for anything else."""
    plain = getattr(member, "__func__", member)
    if name.startswith("_") or not (inspect.isfunction(plain) or isinstance(member, property)):
        return ""
    if isinstance(member, property):
        return name
    names = list(inspect.signature(plain).parameters)
    own = names if isinstance(member, staticmethod) else names[1:]
    return f"{name}({', '.join(own)})"


def _functions(known: dict[str, tuple[str, type[Any]]]) -> str:
    """Write the page of the functions."""
    parts = ["# Functions"]
    for name, function in public_functions().items():
        told = told_of(function)
        package, _, short = name.rpartition(".")
        parts += [
            f"## {short}",
            fence(f"from {package} import {short}", "python"),
            told.summary,
            told.body,
            _arguments(arguments_of_function(function), "", known, "classes/"),
            f"Returns: {cell(told.returns)}" if told.returns else "",
            _errors(told),
        ]
    return sections(*parts)

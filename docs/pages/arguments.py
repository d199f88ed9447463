"""Arguments of classes and functions, from their signatures and their Google docstrings."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from docstring_parser import DocstringStyle, parse

_STARS: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}
REQUIRED = "required"


@dataclass(frozen=True)
class Argument:
    """An argument.

    Attributes:
        name: Its name.
        kind: Its type, in Python's words.
        default: Its default, in Python's words, or `REQUIRED`.
        meaning: Its line of the docstring.
        owner: Class that has it; empty for a function's.
    """

    name: str
    kind: str
    default: str
    meaning: str
    owner: str = ""


def arguments_of_class(kind: type[Any]) -> list[Argument]:
    """List the arguments of a class, those that it hands on to its bases behind its own.

    Args:
        kind: The class.
    """
    found: dict[str, Argument] = {}
    given: set[str] = set()
    for base in kind.__mro__:
        if not inspect.isfunction(vars(base).get("__init__")):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        meanings = _meanings(base)
        for parameter in parameters:
            if parameter.kind not in _STARS and parameter.name not in {*found, *given}:
                meaning = meanings.get(parameter.name, "")
                found[parameter.name] = _argument(parameter, meaning, base.__name__)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
        given |= _given_to_base(base)
    if issubclass(kind, tuple):  # named ones have no constructor of their own
        return [
            _argument(parameter, _meanings(kind).get(parameter.name, ""), kind.__name__)
            for parameter in inspect.signature(kind).parameters.values()
        ]
    return list(found.values())


def _given_to_base(kind: type[Any]) -> set[str]:
    """List the arguments that a constructor gives its base itself, which nobody else can then."""
    source = ast.parse(textwrap.dedent(inspect.getsource(vars(kind)["__init__"])))
    return {
        keyword.arg
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__"
        for keyword in node.keywords
        if keyword.arg is not None
    }


def arguments_of_function(function: Callable[..., Any]) -> list[Argument]:
    """List the arguments of a function.

    Args:
        function: The function.
    """
    meanings = _meanings(function)
    return [
        _argument(parameter, meanings.get(parameter.name, ""), "")
        for parameter in inspect.signature(function).parameters.values()
    ]


def _argument(parameter: inspect.Parameter, meaning: str, owner: str) -> Argument:
    stars = _STARS.get(parameter.kind, "")
    default = REQUIRED
    if parameter.default is not parameter.empty:
        default = default_in_words(parameter.default)
    elif stars:
        default = ""
    kind = type_in_words(parameter.annotation)
    return Argument(f"{stars}{parameter.name}", kind, default, meaning, owner)


def _meanings(thing: object) -> dict[str, str]:
    """Read what a docstring says of each argument, or of each field of a dataclass."""
    documented = parse(inspect.getdoc(thing) or "", style=DocstringStyle.GOOGLE)
    return {
        param.arg_name.lstrip("*"): " ".join((param.description or "").split())
        for param in reversed(documented.params)
    }


def type_in_words(annotation: object) -> str:
    """Write a type without the modules that its parts come from."""
    if annotation is inspect.Parameter.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)

    def shortened(found: re.Match[str]) -> str:
        return found[0] if found[0].startswith("'") else ""

    text = re.sub(r"'[^']*'|\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", shortened, text)
    return text.replace("NoneType", "None").replace("<class '", "").replace("'>", "")


def default_in_words(default: object) -> str:
    """Write a default; of settings only what differs from the defaults of their own."""
    if is_dataclass(default) and not isinstance(default, type):
        changed = [
            f"{field.name}={default_in_words(getattr(default, field.name))}"
            for field in fields(default)
            if getattr(default, field.name) != field.default and field.repr
        ]
        return f"{type(default).__name__}({', '.join(changed)})"
    if isinstance(default, type) or inspect.isroutine(default):
        return str(getattr(default, "__qualname__", default))
    text = repr(default)
    return f"{type(default).__name__}()" if " object at 0x" in text else text


@dataclass(frozen=True)
class Told:
    """The rest of a docstring.

    Attributes:
        summary: Its first line.
        body: What follows, in paragraphs.
        attributes: Attributes that are no arguments, with their meaning.
        returns: What comes back.
        raises: Errors, with what causes them.
    """

    summary: str
    body: str
    attributes: dict[str, str]
    returns: str
    raises: list[tuple[str, str]]


def told_of(thing: object) -> Told:
    """Read a docstring, but for its arguments.

    Args:
        thing: A class or a function.
    """
    documented = parse(inspect.getdoc(thing) or "", style=DocstringStyle.GOOGLE)
    own = {
        param.arg_name: " ".join((param.description or "").split())
        for param in documented.params
        if param.args[0] == "attribute"
    }
    returns = documented.returns
    return Told(
        " ".join((documented.short_description or "").split()),
        (documented.long_description or "").strip(),
        own,
        " ".join(f"{returns.description or ''}".split()) if returns else "",
        [
            (error.type_name or "", " ".join((error.description or "").split()))
            for error in documented.raises
        ],
    )

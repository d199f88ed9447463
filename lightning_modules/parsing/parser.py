"""Explanations of the parser's errors: one sentence, with the nearest name."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, get_args

import jsonargparse
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import (
    LightningArgumentParser,
)

import datamodules
import lightning_modules
from datamodules import LabelForm, VideoDataModule
from datamodules.errors import UserError
from datamodules.plugins.described import Described
from datamodules.plugins.trusted import PLUGINS_VARIABLE, TRUSTED, load_plugins, plugin_names
from datamodules.redaction import NOT_STORED, is_secret
from lightning_modules.base import VideoClassifier
from lightning_modules.console import COMMAND, OneSentenceParser, nearest
from lightning_modules.old_checkpoints import MOVED
from lightning_modules.parsing.config_names import no_config_file
from lightning_modules.parsing.layers import CONFIG, layer_of, read_layer, searched_layers
from lightning_modules.parsing.yaml_limits import limit_yaml
from lightning_modules.runs.folder import (
    RunSettings,
)

COMMON_KEYS = (
    "config",
    "seed_everything",
    "ckpt_path",
    "out",
    "model",
    "data",
    "trainer",
    "run",
    "help",
)


def allow_known_classes() -> None:
    """Let configs name the classes of our packages, PyTorch's, Lightning's and the plugins' alone.

    What they expand to is limited, too. Every public class of ours and every plugin is imported, so
    that a bare class name is known.

    Raises:
        UserError: If a plugin cannot be found.
    """
    load_plugins()
    limit_yaml()
    jsonargparse.set_parsing_settings(
        import_path_denylist=["*"], import_path_allowlist=[*TRUSTED, *plugin_names()]
    )
    for package in (datamodules, lightning_modules):
        for name in package.__all__:
            getattr(package, name)


LINKED = {
    "data.seed": "everything has one seed: set seed_everything",
    "model.num_classes": "the classes come from the data",
    "model.class_names": "the classes come from the data",
    "model.label_form": "the labels come from the data",
}
"""Keys that take their value from elsewhere, so that a value of their own would be lost."""

_BASES: dict[str, tuple[ModuleType, type[Any]]] = {
    "model": (lightning_modules, VideoClassifier),
    "data": (datamodules, VideoDataModule),
}
"""Keys that take a class of ours, with the package and the base of such classes."""


def public_classes(part: str) -> Iterator[type[Any]]:
    """List our public classes that a part of a config takes.

    Args:
        part: `model` or `data`.
    """
    package, base = _BASES[part]
    for name in package.__all__:
        kind = getattr(package, name)
        if isinstance(kind, type) and issubclass(kind, base) and not inspect.isabstract(kind):
            yield kind


@contextmanager
def constructors_mistakes() -> Iterator[None]:
    """Turn what a constructor refuses, which the parser wraps several times, into a `UserError`."""
    try:
        yield
    except ValueError as error:
        found: BaseException = error
        while not isinstance(found, UserError) and isinstance(found.__cause__, ValueError):
            found = found.__cause__
        if isinstance(found.__cause__, ModuleNotFoundError):
            named = re.search(r"class_path '([^']*)'", str(found))
            raise UserError(
                f"{named[1] if named else 'a class of the config'} needs a package that is not "
                f"installed ({str(found.__cause__).splitlines()[0].rstrip('.')}); install it, or "
                "leave that class out"
            ) from error
        raise UserError(" ".join(str(found).split())) from error


def refuse_linked_options(words: Sequence[str]) -> None:
    """Refuse options whose value would be replaced, and a config that holds two seeds.

    Args:
        words: The words of the command line.

    Raises:
        UserError: If one of them sets such a key, or a config sets another seed for the data than
            for everything.
    """
    for index, word in enumerate(words):
        option, _, value = word.partition("=")
        key = option.removeprefix("--").replace("init_args.", "")
        linked = next((name for name in LINKED if f"{key}.".startswith(f"{name}.")), None)
        if linked is not None:
            raise UserError(f"{key} cannot be set, as {LINKED[linked]}")
        config = Path(value or next(iter(words[index + 1 :]), "")) if key == "config" else None
        if config is not None and config.is_file():
            _refuse_two_seeds(config)


def link_classes(parser: LightningArgumentParser, source: str = "data") -> None:
    """Let a module take its classes, and what a label is, from the data.

    Args:
        parser: The parser.
        source: Where the classes come from.
    """
    for name in ("num_classes", "class_names"):
        parser.link_arguments(f"{source}.{name}", f"model.init_args.{name}", apply_on="instantiate")
    target = "model.init_args.label_form"
    parser.link_arguments("data.label_form", target, LabelForm.as_dict, apply_on="instantiate")


def _refuse_two_seeds(config: Path) -> None:
    """Refuse another seed for the data; the configs of runs hold both, equal."""
    content = read_layer(config)
    data = content.get("data") if isinstance(content, dict) else None
    data = data.get("init_args", data) if isinstance(data, dict) else {}
    seed = data.get("seed") if isinstance(data, dict) else None
    if seed is not None and seed != content.get("seed_everything"):
        raise UserError(f"{config} sets data.seed={seed}, but {LINKED['data.seed']}")


def explain_parser_error(message: str) -> str | None:
    """Turn a parser's message about keys, classes and configs into one sentence.

    Args:
        message: The message of jsonargparse, often many lines.

    Returns:
        None for any other.
    """
    for pattern, explain in EXPLANATIONS:
        found = re.search(pattern, message, re.DOTALL)
        if found:
            return f"{explain(found)}{_in_layer(message)}"
    return None


def _in_layer(message: str) -> str:
    """Make a clause that names the config a message is about; empty where that is not known."""
    unknown = re.search(r"[Oo]ption '([^']*)'", message)
    keys = re.findall(r'Parser key "([^"]*)"', message)
    value = re.search(r"(?:Given value|Got value): ([^\n]*)", message)
    layer = None
    if unknown:
        layer = layer_of(unknown[1], known=_full_keys())
    elif keys and value:
        layer = layer_of(keys[-1], value[1]) or layer_of(f"{keys[-1]}.class_path", value[1])
    return f" (in {layer})" if layer else ""


def known_keys() -> dict[str, list[str]]:
    """List every key of the command line by its group, from the signatures of the classes."""
    return {
        "": list(COMMON_KEYS),
        "trainer": list(inspect.signature(Trainer).parameters),
        "run": [field.name for field in fields(RunSettings)],
        "model": _arguments_below(VideoClassifier),
        "data": _arguments_below(VideoDataModule),
    }


def _arguments_below(base: type[Any]) -> list[str]:
    names: dict[str, None] = {}
    for cls in (base, *subclasses_of(base)):
        for name, parameter in inspect.signature(cls).parameters.items():
            if parameter.kind is not parameter.VAR_KEYWORD:
                names[name] = None
                names |= dict.fromkeys(f"{name}.{inner}" for inner in _settings_in(parameter))
    return list(names)


def _settings_in(parameter: inspect.Parameter) -> list[str]:
    """List the settings of an argument that is a group of them; none for any other."""
    kinds = get_args(parameter.annotation) or (parameter.annotation,)
    classes = [kind for kind in kinds if isinstance(kind, type)]
    groups = [kind for kind in classes if is_dataclass(kind) or issubclass(kind, Described)]
    inside = [p for kind in groups for p in inspect.signature(kind).parameters.values()]
    return [p.name for p in inside if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def subclasses_of(base: type[Any]) -> list[type[Any]]:
    """List all classes that derive from one, imported so far."""
    direct: list[type[Any]] = base.__subclasses__()
    return [*direct, *(deeper for cls in direct for deeper in subclasses_of(cls))]


def _full_keys() -> list[str]:
    return [
        f"{group}.{name}".lstrip(".") for group, names in known_keys().items() for name in names
    ]


def _unknown_key(key: str) -> str:
    plain = key.lstrip("-").split("=")[0].replace("init_args.", "").removesuffix("+")
    for old in (plain, f"model.{plain}", f"data.{plain}"):
        if old in MOVED:
            return f"there is no key {old!r} any more; it is {MOVED[old]!r} now"
    if not key.startswith("-") and "." not in key:
        # within a model or a data class the message names the argument alone
        keys = known_keys()
        return (
            f"there is no key {plain!r}{nearest(plain, [*keys['model'], *keys['data'], *keys['']])}"
        )
    return f"there is no key {plain!r}{nearest(plain, _full_keys())}"


def _unrecognized(found: re.Match[str]) -> str:
    word = found[1].split()[0]
    if word.startswith("-"):
        return _unknown_key(word)
    return f"the word {word!r} belongs to no option; write options as --key value"


def _required(found: re.Match[str]) -> str:
    names = re.sub(r"[a-z]+[.]", "", found[1]).split(", ")
    given = f"{' and '.join(names)} must be given"
    if {"data", "model"} & set(names):
        return f"{given}; begin with a config, such as --config quickstart"
    return f"{given}, as a class that is named needs it; write it beside the class, as a key of it"


def _refused(found: re.Match[str]) -> str:
    return (
        f"the class {found[1]} is refused: only classes of {', '.join(TRUSTED)} may be named; to "
        f"allow a file or module of your own, name it with --plugins, or with {PLUGINS_VARIABLE}"
    )


def _unknown_class(found: re.Match[str]) -> str:
    keys = re.findall(r'Parser key "([^"]*)"', found.string[: found.start()])
    public = _public_names(keys[-1] if keys else "")
    word = found[1]
    names = [name.rsplit(".", 1)[1] for name in public] or _names_in_types(found.string)
    offers = nearest(word.rsplit(".", 1)[-1], names)
    rest = f"; there are {', '.join(public)}" if public else ""
    return f"there is no class {word}{offers or rest}"


def _names_in_types(message: str) -> list[str]:
    """List the words and the classes that the types in a message allow."""
    kinds = " ".join(re.findall(r"Subtypes: \[(.*)\]", message))
    words = re.findall(r"'([\w-]+)'", " ".join(re.findall(r"Literal\[([^]]*)\]", kinds)))
    paths = re.findall(r"\b(?:lightning|torch|torchmetrics)\.[\w.]+", kinds)
    bases = [base for base in map(resolve_name, paths) if isinstance(base, type)]
    classes = [c.__name__ for base in bases for c in subclasses_of(base)]
    return list(dict.fromkeys([*words, *(name for name in classes if not name.startswith("_"))]))


def _public_names(key: str) -> list[str]:
    """List the full names of our classes that a key takes."""
    if key not in _BASES:
        return []
    package = _BASES[key][0].__name__
    return sorted(f"{package}.{kind.__name__}" for kind in public_classes(key))


def _wrong_base(found: re.Match[str]) -> str:
    kind = {"VideoClassifier": "--model", "VideoDataModule": "--data"}.get(found[1], "that key")
    return f"{found[2]} is not a {found[1]}, which {kind} needs"


def _readable(kind: str) -> str:
    plain = re.sub(r"<class '(.*)'>", r"\1", kind).replace("NoneType", "null")
    return re.sub(r"typing\.Literal\[(.*)\]", r"one of \1", plain).replace("typing.", "")


def _wrong_type(found: re.Match[str]) -> str:
    return f"{_shown(found)} does not fit: it must be {_readable(found[2])}"


def _wrong_union(found: re.Match[str]) -> str:
    kinds = dict.fromkeys(map(_readable, re.findall(r"Expected an? (.*)", found[2])))
    return f"{_shown(found)} does not fit: it must be {' or '.join(kinds)}"


def _shown(found: re.Match[str]) -> str:
    """Write the key of a message and its value, unless that is a secret."""
    key, value = found[1], found[3].strip()
    return f"{key}={NOT_STORED if is_secret(key) else value}"


EXPLANATIONS: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (r"unrecognized arguments: (.*)", _unrecognized),
    (r"Option '([^']*)' is not accepted", lambda m: _unknown_key(m[1])),
    (r"does not accept option '([^']*)'", lambda m: _unknown_key("--" + m[1])),
    (r"arguments are required: (.*)", _required),
    (r"File does not exist: '?([^'\n]*)", lambda m: no_config_file(m[1])),
    (r"Path is not a file: '?([^'\n]*)", lambda m: f"{m[1]} is a folder, not a config file"),
    (r"Importing '([^']*)' is not allowed", _refused),
    (r"Expected a dot import path string: (\S+)", _unknown_class),
    (
        r"class_path '([^']*)':\s+(?:module .* has no attribute|No module named|No \w+ attribute)",
        _unknown_class,
    ),
    (r"a subclass of (\w+)\n.*Given value: (\S+)", _wrong_base),
    (r'Parser key "([^"]*)":\s+Expected an? (.*?)\. Got value: ([^\n]*)', _wrong_type),
    # of a key within a key, the inner one
    (
        r'Parser key "([^"]*)":((?:(?!Parser key).)*?)Given value type:.*?Given value: ([^\n]*)',
        _wrong_union,
    ),
]
"""Patterns of jsonargparse's messages, with their explanations; the first that is found counts."""


class VideoParser(OneSentenceParser, LightningArgumentParser):
    """LightningCLI's parser, which offers the nearest key or class where one is misspelt."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault(
            "usage", f"{COMMAND} COMMAND --config FILE [--config FILE ...] [--key value]"
        )
        super().__init__(*args, **kwargs)

    def parse_args(self, args: Sequence[str] | None = None, **options: Any) -> Namespace:  # type: ignore[override]
        """Parse as jsonargparse does; a message then knows the layers that are among the words."""
        if not any(word == CONFIG for word in args or ()):
            return super().parse_args(args, **options)  # one of a class within, or without layers
        with searched_layers(args or ()):
            return super().parse_args(args, **options)

    def explain(self, message: str) -> str:
        """Explain a message as `OneSentenceParser` does; offer keys where one is misspelt."""
        if re.search(r"unrecognized arguments: --?[\w-]+(?:[\s=]|$)", message):
            return super().explain(message)
        return explain_parser_error(message) or super().explain(message)

"""Keys of a fit with their meaning and default, by topic or by a word: `fit --help=TOPIC`."""

import shutil
import textwrap
from argparse import SUPPRESS
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Trainer

from datamodules import FrameSampler, Scene, StandardAugmentation, VideoDataModule
from datamodules.errors import UserError
from datamodules.flow.sources import FlowInput
from lightning_modules.base import VideoClassifier
from lightning_modules.console import nearest
from lightning_modules.guidance.first_screen import ALL, TOPICS
from lightning_modules.parsing.parser import (
    LINKED,
    VideoParser,
    allow_known_classes,
    public_classes,
)
from lightning_modules.runs.folder import RunSettings
from lightning_modules.training.optim import BatchNorm, Optimization

_INDENT = 30
_GROUP = "Path to a configuration file."
"""Help of what is a group of keys."""


@dataclass(frozen=True)
class Key:
    """A key of a config and the command line.

    Attributes:
        name: The key, such as `data.crops.size`.
        meaning: Its meaning, with the default.
        owner: Class that alone has it; empty where all of its kind have it.
    """

    name: str
    meaning: str
    owner: str = ""


def keys_of(topic: str) -> list[Key]:
    """List the keys of a topic.

    Args:
        topic: A key of `TOPICS`.
    """
    match topic:
        case "data":
            inside = [
                *_keys(FrameSampler, "data.sampling"),
                *_keys(StandardAugmentation, "data.augmentation"),
                *_keys(FlowInput, "data.flow"),
            ]
            own = [*_own_keys(VideoDataModule, "data")]
            own += [replace(k, owner="MotionShapesDataModule") for k in _keys(Scene, "data.scene")]
            return [*_keys(VideoDataModule, "data"), *inside, *sorted(own, key=lambda k: k.owner)]
        case "model":
            grouped = ("model.optimization.", "model.batch_norm.")
            common = [k for k in _keys(VideoClassifier, "model") if not k.name.startswith(grouped)]
            return [*common, *_own_keys(VideoClassifier, "model")]
        case "training":
            return [
                *_keys(Optimization, "model.optimization"),
                *_keys(BatchNorm, "model.batch_norm"),
            ]
        case "trainer":
            return _keys(Trainer, "trainer")
        case _:
            return _keys(RunSettings, "run")


def _keys(kind: type[Any], prefix: str) -> list[Key]:
    """List the arguments of a class as keys below a prefix."""
    parser = VideoParser()
    parser.add_class_arguments(kind, prefix, fail_untyped=False)
    keys = []
    for action in parser._actions:
        name = (action.option_strings or [""])[0].removeprefix("--")
        is_own = name.startswith(f"{prefix}.") and not name.endswith(".help")
        if is_own and action.help not in (SUPPRESS, _GROUP) and name not in LINKED:
            keys.append(Key(name, _meaning(action.help or "", action.default)))
    return keys


def _meaning(text: str, default: object) -> str:
    """Write a meaning with the default as a config has it."""
    plain = " ".join(text.replace("``", "").split())
    if default in (None, "", SUPPRESS) or isinstance(default, Namespace) or "Default:" in plain:
        return plain
    if isinstance(default, tuple):
        default = list(default)
    return f"{plain} ({str(default).lower() if isinstance(default, bool) else default})"


def _own_keys(base: type[Any], prefix: str) -> Iterator[Key]:
    """List the keys that only some of our public classes have."""
    common = {key.name for key in _keys(base, prefix)} | {f"{prefix}.root", f"{prefix}.network"}
    for kind in public_classes(prefix):
        for key in _keys(kind, prefix):
            if key.name not in common:
                yield Key(key.name, key.meaning, kind.__name__)


def show_keys(word: str) -> str:
    """Write the keys of a topic, or those that a word occurs in.

    Args:
        word: A topic, or any word.

    Raises:
        UserError: If no key has the word in its name or meaning.
    """
    allow_known_classes()
    if word in TOPICS:
        return f"{word}: {TOPICS[word]}\n\n{_table(keys_of(word))}"
    sought = word.lower()
    every = [key for topic in TOPICS for key in keys_of(topic)]
    found = [k for k in every if sought in k.name.lower() or sought in k.meaning.lower()]
    if not found:
        raise UserError(
            f"no key is about {word!r}{nearest(word, TOPICS)} (topics: {', '.join(TOPICS)}, {ALL})"
        )
    return f"keys about {word!r}:\n\n{_table(found)}"


def _table(keys: list[Key]) -> str:
    """Write keys in two columns as wide as the terminal, each class's own ones under its name."""
    width = max(60, min(shutil.get_terminal_size().columns, 120))
    lines, owner = [], ""
    for key in keys:
        if key.owner != owner:
            owner = key.owner
            lines.append(f"\n{owner or 'all'}:")
        blank = " " * _INDENT
        meaning = textwrap.wrap(key.meaning, width - _INDENT) or [""]
        head = f"  --{key.name}"
        if len(head) < _INDENT:
            lines.append(f"{head:{_INDENT}}{meaning.pop(0)}".rstrip())
        else:
            lines.append(head)
        lines += [f"{blank}{line}" for line in meaning]
    return "\n".join(lines) + "\n"

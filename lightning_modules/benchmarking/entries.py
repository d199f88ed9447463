"""Entries of a benchmark: a network by name, or a trained one from its checkpoint."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datamodules.errors import UserError
from datamodules.motion_shapes.rendering import CLASS_NAMES
from datamodules.plugins.described import class_path_of
from lightning_modules.base import VideoClassifier
from lightning_modules.baselines import BaselineModule
from lightning_modules.console import nearest
from lightning_modules.cost import CoSTModule
from lightning_modules.evaluation.protocol import digest_of_weights
from lightning_modules.resume.checkpoint_io import read_checkpoint
from lightning_modules.selfy import SELFYModule
from lightning_modules.st_resnet import STResNetModule
from lightning_modules.stnet import StNetModule
from lightning_modules.training.checkpoint_content import check_content
from models import list_models

__all__ = ["CONTROL", "Entry", "read_entries"]

CONTROL = "c2d_tiny"
"""The order-blind network beside which every other stands."""

_MODULES = (BaselineModule, CoSTModule, SELFYModule, StNetModule, STResNetModule)

_SUPER_IMAGES = {
    "num_frames": "null",
    "frame_stride": "null",
    "num_segments": "4",
    "frames_per_segment": "2",
}

_OURS = ("--model.dropout=0", "--model.classifier_std=0.1")
"""Options of our own networks that begin at random; others begin as their libraries let them."""

_FLOW = (
    *("--data.flow.length=4", "--model.flow_length=4"),
    *("--data.augmentation.reversals=false", "--data.loading.batch_size=16"),
)

_OF_FAMILIES: dict[str, tuple[str, ...]] = {
    "stnet": tuple(f"--data.sampling.{name}={value}" for name, value in _SUPER_IMAGES.items()),
    **dict.fromkeys(("st_resnet", "two_stream", "flow_stream"), _FLOW),
    "selfy_tsm": ("--model.last_scale=1",),
    "selfy_tsn": ("--model.last_scale=1",),
}
"""Options of a family beside the recipe: StNet's 8 frames are 4 super-images of 2; SELFY's block,
which begins as the identity for a trunk that is trained, learns from the first step; flow, here the
exact one in stacks of 4, cannot be reversed, so a batch holds twice as many clips instead."""


@dataclass(frozen=True)
class Entry:
    """One of what is benchmarked.

    Attributes:
        name: Name in tables, and of its folders.
        network: Name of the network.
        checkpoint: Its trained weights; None for new ones.
    """

    name: str
    network: str
    checkpoint: Path | None = None

    @cached_property
    def content(self) -> dict[str, Any]:
        """The checkpoint."""
        assert self.checkpoint is not None
        return read_checkpoint(self.checkpoint)

    @cached_property
    def identity(self) -> dict[str, str | None]:
        """Facts that another entry of this name would have to share: network and weights."""
        weights = None if self.checkpoint is None else digest_of_weights(self.content["state_dict"])
        return {"network": self.network, "weights": weights}

    @property
    def knows_the_classes(self) -> bool:
        """True for a checkpoint that was trained on the eight motions."""
        return self.checkpoint is not None and set(self.content["class_names"]) == set(CLASS_NAMES)

    @property
    def takes_flow(self) -> bool:
        """True for a network that takes optical flow."""
        return set(_FLOW) <= set(self.words)

    @property
    def model(self) -> dict[str, Any]:
        """The model part of a config: the class, the network and its own options."""
        if self.checkpoint is None:
            return {"class_path": _module_of(self.network), "init_args": {"network": self.network}}
        arguments = self.content["hyper_parameters"]
        options = {*self.content["network"]["options"], "network", "network_kwargs"} - {"dropout"}
        kept = {name: value for name, value in arguments.items() if name in options}
        return {"class_path": self.content["module"], "init_args": kept}

    @property
    def words(self) -> tuple[str, ...]:
        """Options of a training beside the recipe's."""
        if self.network not in list_models():
            return ()
        found = _OF_FAMILIES.get(self.network.rpartition("_")[0], ())
        if self.checkpoint is not None:  # its block has learned, as the checkpoint says
            found = tuple(word for word in found if word.startswith("--data"))
        return (*_OURS, *found)


def _module_of(network: str) -> str:
    """Find the class that trains a network; any that is not of a family, the base of all."""
    if network in list_models():
        family = network.rpartition("_")[0]
        return next(class_path_of(module) for module in _MODULES if family in module.families)
    return class_path_of(VideoClassifier)


def read_entries(words: Sequence[str]) -> list[Entry]:
    """Read what is to be benchmarked, each `[NAME=]NETWORK` or `[NAME=]FILE.ckpt`.

    Raises:
        UserError: If one is neither, or two have one name.
    """
    entries: dict[str, Entry] = {}
    for word in words:
        entry = _read_entry(word)
        if entry.name in entries:
            raise UserError(
                f"the name {entry.name} is given twice; give one of them another, NAME={word}"
            )
        entries[entry.name] = entry
    return list(entries.values())


def _read_entry(word: str) -> Entry:
    before, equals, after = word.partition("=")
    what = after if equals else word
    path = Path(what)
    if path.suffix == ".ckpt" or path.is_file():
        check_content(read_checkpoint(path), path)
        name = before if equals else path.parent.parent.name or path.stem
        entry = Entry(_as_folder(name), read_checkpoint(path)["network"]["name"], path)
    else:
        if what not in list_models() and not re.search(r"[.:]", what):
            raise UserError(
                f"{what!r} is neither a network nor a file{nearest(what, list_models())}; "
                "`kinetoscope models` lists the networks, and a checkpoint ends in .ckpt"
            )
        entry = Entry(_as_folder(before if equals else what), what)
    return entry


def _as_folder(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)

"""Entries of a benchmark: a network by name, or a trained one from its checkpoint."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from datamodules.errors import UserError
from datamodules.motion_shapes.rendering import CLASS_NAMES
from datamodules.plugins.described import class_path_of
from lightning_modules.base import VideoClassifier
from lightning_modules.console import nearest
from lightning_modules.evaluation.protocol import digest_of_weights
from lightning_modules.parsing.parser import public_classes
from lightning_modules.resume.checkpoint_io import read_checkpoint
from lightning_modules.training.checkpoint_content import check_content
from models import list_models

__all__ = ["CONTROL", "Entry", "read_entries"]

CONTROL = "c2d_tiny"
"""The order-blind network beside which every other stands."""

_NEW = ("--model.dropout=0", "--model.classifier_std=0.1")
"""Options of our own networks, whose classifier is new; others' begin as their libraries let it."""

_NEW_BLOCKS = dict.fromkeys(("selfy_tsm", "selfy_tsn"), ("--model.last_scale=1",))
"""Options of new networks of a family: SELFY's block, which begins as the identity for a trunk that
is trained, learns from the first step."""

_SUPER_IMAGES = {"num_segments": 4, "frames_per_segment": 2}
"""StNet's 8 frames: 4 super-images of 2."""

_FLOW_FAMILIES = ("st_resnet", "two_stream", "flow_stream")
_FLOW_LENGTH = 4


@dataclass(frozen=True)
class Entry:
    """One of what is benchmarked.

    Attributes:
        name: Name in tables, and of its folders.
        network: Name of the network.
        checkpoint: File of its trained weights; None for new ones.
        content: What that file holds; empty for new weights.
    """

    name: str
    network: str
    checkpoint: Path | None = None
    content: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def identity(self) -> dict[str, str | None]:
        """Facts that another entry of this name would have to share: network and weights."""
        weights = digest_of_weights(self.content["state_dict"]) if self.content else None
        return {"network": self.network, "weights": weights}

    @property
    def family(self) -> str:
        """Family of a network of ours; empty for any other."""
        return self.network.rpartition("_")[0] if self.network in list_models() else ""

    @property
    def knows_the_classes(self) -> bool:
        """True for a checkpoint that was trained on the eight motions."""
        return set(self.content.get("class_names", ())) == set(CLASS_NAMES)

    @property
    def takes_flow(self) -> bool:
        """True for a network that takes optical flow."""
        return self.family in _FLOW_FAMILIES

    @property
    def model(self) -> dict[str, Any]:
        """The model part of a config: the class, the network and its own options."""
        if not self.content:
            own = [kind for kind in public_classes("model") if self.family in kind.families]
            kind = own[0] if own else VideoClassifier
            return {"class_path": class_path_of(kind), "init_args": {"network": self.network}}
        arguments = self.content["hyper_parameters"]
        options = {*self.content["network"]["options"], "network", "network_kwargs"} - {"dropout"}
        kept = {name: value for name, value in arguments.items() if name in options}
        return {"class_path": self.content["module"], "init_args": kept}

    @property
    def model_words(self) -> tuple[str, ...]:
        """Options of a training's model beside the recipe's."""
        if not self.family:
            return ()
        if self.content:  # its blocks have learned
            return _NEW
        flow = (f"--model.flow_length={_FLOW_LENGTH}",) if self.takes_flow else ()
        return (*_NEW, *_NEW_BLOCKS.get(self.family, ()), *flow)

    @property
    def data_words(self) -> tuple[str, ...]:
        """Options of the clips beside the recipe's, in training and test: a network's own kind.

        Flow is the exact one, in stacks; it cannot be reversed, so a batch holds twice as many
        clips instead.
        """
        learned = self.content.get("input_spec", {})
        if self.family == "stnet":
            sampling = learned["sampling"]["init_args"] if learned else _SUPER_IMAGES
            values = {name: sampling[name] for name in _SUPER_IMAGES}
            values |= {"num_frames": "null", "frame_stride": "null"}
            return tuple(f"--data.sampling.{name}={value}" for name, value in values.items())
        if self.takes_flow:
            length = learned["flow"]["length"] if learned else _FLOW_LENGTH
            batch = ("--data.augmentation.reversals=false", "--data.loading.batch_size=16")
            return (f"--data.flow.length={length}", *batch)
        return ()


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
        content = read_checkpoint(path)
        check_content(content, path)
        name = before if equals else _name_of_run(path)
        entry = Entry(_as_folder(name), content["network"]["name"], path, content)
    else:
        if what not in list_models() and not re.search(r"[.:]", what):
            raise UserError(
                f"{what!r} is neither a network nor a file{nearest(what, list_models())}; "
                "`kinetoscope models` lists the networks, and a checkpoint ends in .ckpt"
            )
        entry = Entry(_as_folder(before if equals else what), what)
    if entry.name == CONTROL and (entry.network != CONTROL or entry.content):
        raise UserError(
            f"{CONTROL} names the control beside which all others stand; give {what} another name, "
            f"such as mine={what}"
        )
    return entry


def _name_of_run(path: Path) -> str:
    """Name a checkpoint as its run, RUN/VERSION/checkpoints/FILE, or as the file elsewhere."""
    of_a_run = path.parent.name == "checkpoints" and len(path.parts) > 3
    return path.parents[2].name if of_a_run else path.stem


def _as_folder(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)

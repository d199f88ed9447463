"""Origin: where weights come from, as their checkpoint tells it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from lightning_modules.runs.folder import KEY, LAST

WRITTEN_AS = "written_as"
"""Key of a checkpoint: the name that its file was written under."""

RUN_NAME = "run_name"
"""Key of a checkpoint: name and version of its run."""


@dataclass(frozen=True)
class Origin:
    """Origin of the weights of a module; what is not known is None or empty.

    Attributes:
        step: Optimizer steps that were done.
        epoch: Epoch that they were saved in, from 0 on.
        chosen: How they were chosen: `last`, or `best` and what was the best, as `best val/top1`.
        chosen_on: The videos that the best was the best on: their number and digest, and whether
            only a part of them was validated.
        run: Id of the run, and its name and version.
        seed: Seed of the run.
        trained_on: The dataset and the description of the clips that were trained on.
        versions: Versions of the libraries that wrote the checkpoint.
    """

    step: int | None = None
    epoch: int | None = None
    chosen: str | None = None
    chosen_on: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    trained_on: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> "Origin":
        """Read the origin of a checkpoint's weights from its content."""
        chosen, protocol = _chosen(checkpoint), checkpoint["protocol"]
        is_best = chosen is not None and chosen.startswith("best")
        run = {"id": checkpoint.get(KEY, {}).get("id"), "name": checkpoint.get(RUN_NAME)}
        return cls(
            step=checkpoint.get("global_step"),
            epoch=checkpoint.get("epoch"),
            chosen=chosen,
            chosen_on=dict(protocol.get("validation", {})) if is_best else {},
            run={key: value for key, value in run.items() if value is not None},
            seed=protocol.get("seed"),
            trained_on={"dataset": protocol["dataset"], "input": dict(checkpoint["input_spec"])},
            versions=dict(checkpoint.get("library_versions", {})),
        )


def _chosen(checkpoint: Mapping[str, Any]) -> str | None:
    """Tell by the name that a file was written under how it was chosen; None if that is unknown."""
    name = checkpoint.get(WRITTEN_AS)
    if name == LAST:
        return "last"
    for state in checkpoint.get("callbacks", {}).values():
        best = state.get("best_model_path") if isinstance(state, Mapping) else None
        if name and best and PurePath(best).name == name and state.get("monitor"):
            return f"best {state['monitor']}"
    return None

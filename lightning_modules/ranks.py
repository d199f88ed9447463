"""Communication between the ranks of a run."""

from typing import Any

import torch
from lightning.pytorch import Trainer


def gather_objects(trainer: Trainer, own: Any) -> list[Any]:
    """Gather the objects of all ranks on every rank, in the order of the ranks."""
    if trainer.world_size == 1:
        return [own]
    parts: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(parts, own)
    return parts

"""Devices that networks run on."""

import torch

from datamodules.errors import UserError

__all__ = ["usable_device"]


def usable_device(name: str) -> torch.device:
    """Get a device that this machine has.

    Args:
        name: `cpu`, `cuda`, `cuda:N` or any other of torch's; `auto` for a GPU where there is one.

    Raises:
        UserError: If it cannot be used.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        if name.startswith("cuda") and not torch.cuda.is_available():
            reason = "PyTorch finds no GPU"
        raise UserError(
            f"device={name} cannot be used here ({reason}); set device to auto, cpu, cuda or cuda:N"
        ) from error
    return device

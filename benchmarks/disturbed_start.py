"""A plugin: weights that are changed by a millionth before the first step.

Rounding changes them as much within a few steps. A training whose result hangs on it does so on
another processor, another number of threads or another version of torch as well.
"""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class DisturbedStart(Callback):
    """Multiplication of every weight by 1 + 1e-6 n, n normal, at the start of a fit."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Disturb the weights; the random numbers that follow stay as they are."""
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in pl_module.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter *= 1 + 1e-6 * noise.to(parameter.device)

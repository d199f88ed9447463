"""The callbacks that every fit has."""

from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser

from lightning_modules.callbacks.artifacts import CheckpointArtifacts
from lightning_modules.callbacks.broken_videos import BrokenVideos
from lightning_modules.callbacks.family_picture import FamilyPicture
from lightning_modules.callbacks.fit_length import FitLength
from lightning_modules.callbacks.left_out import LeftOut
from lightning_modules.callbacks.norms import Norms
from lightning_modules.callbacks.progress import EpochLine, FitBar
from lightning_modules.callbacks.run_config import RunConfig
from lightning_modules.callbacks.throughput import Throughput
from lightning_modules.callbacks.training_clips import TrainingClips
from lightning_modules.callbacks.validation_report import ValidationReport
from lightning_modules.resume.exact_resume import ExactResume
from lightning_modules.resume.last_checkpoint import LastCheckpoint
from lightning_modules.resume.preemption import Preemption
from lightning_modules.resume.stop_signals import StopSignals
from lightning_modules.runs.folder import LAST, RunIdentity


def fit_callbacks(
    folder: Path,
    parser: LightningArgumentParser,
    config: Namespace,
    *,
    identity: RunIdentity,
    signals: StopSignals,
    has_bar: bool,
    headline: str,
) -> list[Callback]:
    """Make what a fit needs beside the callbacks of its config.

    Args:
        folder: The run folder.
        parser: The parser of `fit`.
        config: The config of the fit.
        identity: The run's identity, stored beside its config.
        signals: Signals that ask it to stop.
        has_bar: If the config names a progress bar.
        headline: The metric of the validation that chooses the best checkpoint.

    Returns:
        The callbacks, in the order in which Lightning calls them.
    """
    keeps_best = config.run.keep_best and config.trainer.enable_checkpointing is not False
    callbacks: list[Callback] = [
        RunConfig(parser=parser, config=config, save_to_log_dir=False, identity=identity),
        BrokenVideos(folder),
        FitLength(),
        LeftOut(),
        Throughput(),
        Norms(),
        TrainingClips(),
        FamilyPicture(),
        ValidationReport(folder, keeps_best),
        ExactResume(),
        LearningRateMonitor(logging_interval="step"),
        EpochLine(),
    ]
    if config.trainer.enable_progress_bar is not False and not has_bar:
        callbacks.append(FitBar())
    if config.trainer.enable_checkpointing is False:
        return callbacks
    checkpoints, settings = folder / "checkpoints", config.run
    callbacks.append(
        LastCheckpoint(checkpoints / LAST, settings.save_every_steps, settings.save_every_minutes)
    )
    callbacks.append(Preemption(signals))
    if settings.artifacts:
        callbacks.append(CheckpointArtifacts(folder))
    if settings.keep_best:
        callbacks.append(
            ModelCheckpoint(
                dirpath=checkpoints,
                filename="best",
                monitor=f"val/{headline}",
                mode="max",
                save_on_train_epoch_end=False,
                enable_version_counter=False,
            )
        )
    return callbacks

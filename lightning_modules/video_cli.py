"""fit, validate and test: LightningCLI with this project's parser settings and run folder."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
import torch
import wandb
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)
from lightning.pytorch.loggers import WandbLogger

from datamodules import VideoDataModule
from lightning_modules.base import VideoClassifier
from lightning_modules.callbacks import BrokenVideos, Throughput, ValidationReport
from lightning_modules.checkpoints import check_checkpoint_path
from lightning_modules.console import COMMAND, fail, say
from lightning_modules.loggers import default_loggers, without_secrets
from lightning_modules.parsing import explain_parser_error, import_public_classes
from lightning_modules.run_folder import (
    VERSION_VARIABLE,
    RunSettings,
    choose_run_folder,
    folder_of_checkpoint,
)
from lightning_modules.scores import ScoreFile

PLUGINS_VARIABLE = "KINETOSCOPE_PLUGINS"
OUR_PACKAGES = ("models", "datamodules", "lightning_modules")


def run(words: Sequence[str]) -> None:
    """Run `fit`, `validate` or `test`.

    Args:
        words: The command and its options.
    """
    plugins = [name for name in os.environ.get(PLUGINS_VARIABLE, "").split(",") if name]
    jsonargparse.set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=["torch", "lightning", *OUR_PACKAGES, *plugins],
    )
    import_public_classes(plugins)
    torch.set_float32_matmul_precision("high")
    # a test needs none of the callbacks that the checkpoint's fit had
    warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
    # a dataset without a validation split, which `setup` has said
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
    # not ours: Lightning looks up a deprecated name
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    # a resumed fit goes on in its own folder
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    ranks_inherit = VERSION_VARIABLE in os.environ
    try:
        VideoCLI(list(words))
    finally:
        if not ranks_inherit:
            os.environ.pop(VERSION_VARIABLE, None)
        if wandb.run is not None:
            wandb.finish()


class VideoParser(LightningArgumentParser):
    """LightningCLI's parser without abbreviations, and with mistakes in one sentence."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with one sentence and exit code 2, without pages of usage."""
        fail(explain_parser_error(message))


class RunConfig(SaveConfigCallback):
    """Saves the resolved config to the run folder, and to W&B without secrets."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Send the config to the loggers that keep one."""
        config = without_secrets(self.config.as_dict())
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(config)


class VideoCLI(LightningCLI):
    """The one place that joins model and data.

    Args:
        args: A command and its options, as on the command line.
    """

    def __init__(self, args: ArgsType) -> None:
        self.run_folder: Path | None = None
        super().__init__(
            VideoClassifier,
            VideoDataModule,
            save_config_callback=None,
            seed_everything_default=42,
            trainer_defaults={"use_distributed_sampler": False, "log_every_n_steps": 10},
            parser_class=VideoParser,
            parser_kwargs={"prog": COMMAND},
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The commands that are Lightning's; `predict` is a tool of its own."""
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
            "validate": {"model", "dataloaders", "datamodule", "verbose"},
            "test": {"model", "dataloaders", "datamodule", "verbose"},
        }

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run settings, and the values that one part takes from another."""
        parser.add_class_arguments(RunSettings, "run")
        for name in ("num_classes", "class_names"):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, without Lightning's warning about arguments given from within Python."""
        assert isinstance(args, list)
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        """Choose the run folder, and check what does not go together."""
        config = self.config[self.subcommand]
        if config.trainer.use_distributed_sampler:
            raise ValueError(
                "trainer.use_distributed_sampler=true would replace the sampler that shows each "
                "video once on any number of devices; leave it false"
            )
        path = config.ckpt_path
        if self.subcommand == "fit":
            RunSettings(**config.run)
        elif path is None:
            raise ValueError(
                f"{self.subcommand} needs the weights to test; give them with --ckpt_path FILE"
            )
        if path is not None and not (path == "last" and self.subcommand == "fit"):
            check_checkpoint_path(path)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, with what every run here needs.

        Raises:
            ValueError: If Lightning refuses one of the trainer's settings.
        """
        try:
            return super().instantiate_trainer(**self._own_settings(), **kwargs)
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise ValueError(f"the trainer's settings do not work: {error}") from error

    def _own_settings(self) -> dict[str, Any]:
        config = self.config_init[self.subcommand].trainer
        own = config.callbacks or []
        if self.subcommand != "fit":
            folder = folder_of_checkpoint(self.config[self.subcommand].ckpt_path)
            return {
                "logger": False,
                "enable_checkpointing": False,
                "callbacks": [*own, ScoreFile(folder)],
            }
        self.run_folder = self._choose_run_folder()
        logs = config.logger is None or config.logger is True
        loggers = default_loggers(self.run_folder) if logs else config.logger
        return {
            "default_root_dir": self.run_folder,
            "logger": loggers,
            "callbacks": [*own, *self._fit_callbacks(self.run_folder, bool(loggers))],
        }

    def _choose_run_folder(self) -> Path:
        """The folder of this fit; `--ckpt_path last` is resolved in it."""
        config = self.config_init["fit"]
        folder = choose_run_folder(config.run, config.ckpt_path is not None)
        if config.ckpt_path == "last":
            last = folder / "checkpoints" / "last.ckpt"
            config.ckpt_path = str(last) if last.exists() else None
            say(f"resuming from {last}" if last.exists() else f"no {last} yet: from the start")
        return folder

    def _fit_callbacks(self, folder: Path, logs: bool) -> list[Callback]:
        parser = self._subcommand_parsers["fit"]
        callbacks: list[Callback] = [
            RunConfig(parser, self.config["fit"], overwrite=True),
            BrokenVideos(),
            Throughput(),
            ValidationReport(folder),
            ModelCheckpoint(
                dirpath=folder / "checkpoints",
                filename="last",
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            ),
        ]
        if self.config["fit"].run.keep_best:
            callbacks.append(
                ModelCheckpoint(
                    dirpath=folder / "checkpoints",
                    filename="best",
                    monitor="val/top1",
                    mode="max",
                    save_on_train_epoch_end=False,
                    enable_version_counter=False,
                )
            )
        if logs:
            callbacks.append(LearningRateMonitor(logging_interval="step"))
        return callbacks

    def after_fit(self) -> None:
        """Say what came out, where it lies, and what to do next."""
        if wandb.run is not None:
            wandb.finish()  # before the summary, which its own lines would push away
        assert self.run_folder is not None
        checkpoints = self.run_folder / "checkpoints"
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
                score = 100 * float(callback.best_model_score)
                say(f"best val/top1 {score:.2f} % (clip accuracy), in {callback.best_model_path}")
        say(f"run folder: {self.run_folder}")
        kept = [checkpoints / name for name in ("best.ckpt", "last.ckpt")]
        for path in [path for path in kept if path.exists()][:1]:
            config = self.run_folder / "config.yaml"
            say(f"test it:    {COMMAND} test --config {config} --ckpt_path {path}")
            say(f"use it:     {COMMAND} predict --ckpt_path {path} VIDEO...")

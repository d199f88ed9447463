"""fit, validate and test: LightningCLI with this project's parser settings and run folder."""

import os
import signal
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
)
from lightning.pytorch.loggers import WandbLogger

from datamodules import VideoDataModule
from datamodules.errors import UserError, as_storage_error, as_user_error
from datamodules.plugins.trusted import resolve
from lightning_modules.base import VideoClassifier
from lightning_modules.callbacks.broken_videos import BrokenVideos
from lightning_modules.callbacks.score_file import ScoreFile
from lightning_modules.callbacks.watchdog import Watchdog
from lightning_modules.console import COMMAND, say
from lightning_modules.parsing.config_names import with_configs_found
from lightning_modules.parsing.null_words import set_nulls, split_nulls
from lightning_modules.parsing.parser import (
    LINKED,
    VideoParser,
    allow_known_classes,
    constructors_mistakes,
    link_classes,
    refuse_linked_options,
)
from lightning_modules.readiness.checks import check_before_fit
from lightning_modules.resume import slurm
from lightning_modules.resume.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from lightning_modules.resume.preemption import Preemption
from lightning_modules.resume.resume_point import find_resume_point
from lightning_modules.resume.stop_notice import StopNotice
from lightning_modules.resume.stop_signals import StopSignals
from lightning_modules.robustness.series import run_series
from lightning_modules.runs.folder import (
    VERSION_VARIABLE,
    RunSettings,
    choose_run_folder,
    folder_of_checkpoint,
    folder_of_run,
    identify_run,
    newest_version,
    refuse_other_run,
)
from lightning_modules.runs.lock import RunLock
from lightning_modules.runs.loggers import loggers_of_run
from lightning_modules.runs.unused import UnusedFolder
from lightning_modules.runs.wandb_runs import finish_wandb, outlive_service
from lightning_modules.session.checkpoint_words import file_of
from lightning_modules.session.expected_warnings import ignore_expected_warnings
from lightning_modules.session.fit_callbacks import fit_callbacks
from lightning_modules.session.from_checkpoint import (
    check_data,
    check_resumed,
    given_model,
    honoured,
    refuse_other_model,
)
from lightning_modules.session.wandb_staging import stage_in
from lightning_modules.training.checkpoint_content import check_content
from lightning_modules.training.gpu_libraries import refuse_known_bad_cudnn
from lightning_modules.training.length import refuse_endless
from models import count_macs, count_parameters

GIVEN_BY_US = {
    "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
    "validate": {"model", "dataloaders", "datamodule", "verbose"},
    "test": {"model", "dataloaders", "datamodule", "verbose"},
}
"""Lightning's commands, and the arguments of the trainer's methods that are no options."""


def run(words: Sequence[str], signals: StopSignals | None = None) -> None:
    """Run `fit`, `validate` or `test`.

    Args:
        words: The command and its options.
        signals: Of a fit, signals that ask it to stop.
    """
    words = with_configs_found(words)
    allow_known_classes()
    refuse_linked_options(words)
    torch.set_float32_matmul_precision("high")
    ignore_expected_warnings()
    ranks_inherit = VERSION_VARIABLE in os.environ
    stop = StopNotice()
    try:
        with UnusedFolder() as unused, closing(RunLock()) as lock:
            VideoCLI(list(words), stop, signals or StopSignals(), lock, unused)
    except SystemExit:
        if stop.interrupted:
            raise SystemExit(130) from None
        raise
    finally:
        if not ranks_inherit:
            os.environ.pop(VERSION_VARIABLE, None)
        finish_wandb()


class VideoCLI(LightningCLI):
    """LightningCLI of this project: the only code that joins model and data.

    Args:
        args: A command and its options, as on the command line.
        stop: Callback that notices Ctrl-C.
        signals: Signals that ask a fit to stop at the next step.
        lock: Lock of the run folder.
        unused: Takes the run folder away again where the fit is refused.
    """

    def __init__(
        self,
        args: list[str],
        stop: StopNotice,
        signals: StopSignals,
        lock: RunLock,
        unused: UnusedFolder,
    ) -> None:
        self.command = args[0]
        self.run_folder: Path | None = None
        self.checkpoint: dict[str, Any] | None = None
        self.given: dict[str, Any] = {}
        self.goes_on = False
        self.stop = stop
        self.signals = signals
        self.lock = lock
        self.unused = unused
        super().__init__(
            VideoClassifier,
            VideoDataModule,
            save_config_callback=None,
            seed_everything_default=42,
            trainer_defaults={
                "use_distributed_sampler": False,
                "log_every_n_steps": 10,
                "enable_model_summary": False,
            },
            parser_class=VideoParser,
            parser_kwargs={"prog": COMMAND},
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            args=args,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return the command that is asked for alone: the parser of each takes long to build."""
        return {self.command: GIVEN_BY_US[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run settings, and the values that one part takes from another."""
        parser.add_class_arguments(RunSettings, "run")
        text = "test: folder of scores and tables; by default the run folder of the checkpoint"
        parser.add_argument("--out", type=Path | None, default=None, metavar="DIR", help=text)
        link_classes(parser)
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, without Lightning's warning about arguments given from within Python."""
        assert isinstance(args, list)
        words, nulls = split_nulls(args)
        self.config = parser.parse_args(words)
        config = self.config[self.config.subcommand]
        set_nulls(config, nulls)
        if isinstance(config.seed_everything, int) and not 0 <= config.seed_everything < 2**32:
            raise UserError(f"seed_everything={config.seed_everything} must lie in [0, 2**32)")
        self.goes_on = config.ckpt_path is not None
        if config.ckpt_path == "last" and self.config.subcommand == "fit":
            self._resolve_last(config)
        elif config.ckpt_path is not None:
            config.ckpt_path = file_of(self.config.subcommand, config)
            self.checkpoint = read_checkpoint(config.ckpt_path)
        if self.checkpoint is None:
            return
        check_content(self.checkpoint, config.ckpt_path)
        if self.config.subcommand == "fit":
            check_resumed(self.checkpoint, config, self._subcommand_parsers["fit"])
        else:
            self.given = given_model(parser, words)

    def _parse_ckpt_path(self) -> None:
        """Let the module be what the checkpoint says, but for what a test may have others of.

        Instead of Lightning's own, which reads the file once more and knows no old keys.
        """
        if self.checkpoint is None:
            return
        module, arguments = self.checkpoint["module"], self.checkpoint["hyper_parameters"]
        resolve(module, VideoClassifier)  # says whose plugin is missing
        stored = {k: v for k, v in arguments.items() if f"model.{k}" not in LINKED}
        model = {"class_path": module, "init_args": stored | honoured(self.given)}
        asked = {self.config.subcommand: {"model": model}}
        del self.config[self.config.subcommand]["model"]  # else a group of settings would mix both
        self.config = self.parser.parse_object(asked, self.config)

    def instantiate_classes(self) -> None:
        """Make data, model and trainer; what a constructor refuses is the user's mistake.

        Raises:
            UserError: If a constructor refuses its arguments.
        """
        with constructors_mistakes():
            super().instantiate_classes()
        spec = self.datamodule.spec
        refuse_known_bad_cudnn(
            self.model.network,
            spec.sampling.clip_len,
            spec.crops.size,
            self.trainer.strategy.root_device,
            str(self.trainer.precision),
        )
        arguments = self.config[self.subcommand].model.init_args.as_dict()
        self.model.describe_as(arguments)

    def _resolve_last(self, config: Namespace) -> None:
        """Turn `--ckpt_path last` into the newest good checkpoint of the run, where it has one."""
        settings = RunSettings(**config.run)
        if folder_of_run(settings) is None:
            config.run.version = newest_version(settings)
        folder = folder_of_run(RunSettings(**config.run))
        if folder is not None and folder.is_dir() and not config.trainer.fast_dev_run:
            self.lock.take(folder)
        found = find_resume_point(folder) if folder else None
        config.ckpt_path = None
        if found is None:
            say(f"no checkpoint of the run {settings.name} yet: from the start")
        else:
            path, self.checkpoint = found
            config.ckpt_path = str(path)

    def after_instantiate_classes(self) -> None:
        """Hold the checkpoint against what is asked for, the data and the network.

        Raises:
            UserError: If they do not go together.
        """
        if self.checkpoint is None:
            return
        refuse_other_model(self.given, self.model)
        fits = self.subcommand == "fit"
        check_data(self.checkpoint, self.datamodule, self.model, fits=fits)

    def before_instantiate_classes(self) -> None:
        """Check what does not go together before anything is made."""
        config = self.config[self.subcommand]
        if config.trainer.overfit_batches:
            raise UserError(
                "trainer.overfit_batches would replace the sampler that draws each clip from "
                "(seed, epoch, index); use --trainer.limit_train_batches instead"
            )
        if config.trainer.use_distributed_sampler:
            raise UserError(
                "trainer.use_distributed_sampler=true would replace the sampler that shows each "
                "video once on any number of devices; leave it false"
            )
        if self.subcommand != "test" and config.out is not None:
            raise UserError(
                f"--out is for test alone; a {self.subcommand} writes to --run.folder"
                if self.subcommand == "fit"
                else "--out is for test alone; validate writes no file"
            )
        if self.subcommand != "fit" and config.ckpt_path is None:
            raise UserError(
                f"{self.subcommand} needs the weights to test; give them with --ckpt_path FILE"
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, with what every run here needs.

        Raises:
            UserError: If Lightning refuses one of the trainer's settings, or nothing ends a fit
                that needs an end.
        """
        slurm.check_step()
        limits = self.config_init[self.subcommand].trainer
        if self.subcommand == "fit" and not limits.fast_dev_run:
            refuse_endless(self.model.optimization, limits.max_epochs, limits.max_steps)
        if self.subcommand == "fit":
            check_before_fit(self.model, self.datamodule, resumes=self.checkpoint is not None)
        settings = self._own_settings()
        if slurm.started_by_srun():
            plugins = self.config_init[self.subcommand].trainer.plugins
            settings.setdefault("plugins", _as_list(plugins)).append(
                SLURMEnvironment(auto_requeue=False)  # its own handler saves inside itself
            )
        callbacks = settings["callbacks"]
        if not any(isinstance(callback, Preemption) for callback in callbacks):
            self.signals.restore()
        elif not any(isinstance(callback, Watchdog) for callback in callbacks):
            callbacks.append(Watchdog())
        try:
            trainer = super().instantiate_trainer(**settings, **kwargs)
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise _trainers_mistake(error, limits.accelerator) from error
        slurm.check_tasks(trainer.num_devices, trainer.num_nodes)
        if trainer.strategy.launcher is not None:
            self.signals.at_leaving.append(partial(trainer.strategy.launcher.kill, signal.SIGKILL))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                outlive_service(logger, self.signals.came)
        return trainer

    def _own_settings(self) -> dict[str, Any]:
        config = self.config_init[self.subcommand].trainer
        own = _as_list(config.callbacks)
        if self.subcommand != "fit":
            ckpt, data = self.config[self.subcommand].ckpt_path, self.datamodule
            is_sent = config.logger is not False and data.evaluation.corruptions is None
            run_folder = folder_of_checkpoint(ckpt) if is_sent else None
            if run_folder is not None:
                stage_in(run_folder)
            scores = ScoreFile(self._score_folder, run_folder)
            return {
                "logger": False,
                "enable_checkpointing": False,
                "callbacks": [*own, self.stop, BrokenVideos(), scores],
                "plugins": [*_as_list(config.plugins), AtomicCheckpointIO()],
            }
        if config.fast_dev_run:
            return {"logger": False, "callbacks": [*own, self.stop, BrokenVideos()]}
        settings, path = self.config_init["fit"].run, self.config["fit"].ckpt_path
        with as_storage_error(settings.folder, "make room, or name another with --run.folder"):
            self.unused.look(settings)
            self.run_folder = choose_run_folder(settings, self.goes_on)
            self.unused.note(self.run_folder)
            stage_in(self.run_folder)
            self.lock.take(self.run_folder)
            if self.checkpoint is not None:
                refuse_other_run(self.run_folder, self.checkpoint, path)
            is_own = path is not None and folder_of_checkpoint(path) == self.run_folder.resolve()
            identity = identify_run(self.run_folder, self.checkpoint if is_own else None)
        os.environ[VERSION_VARIABLE] = self.run_folder.name  # for the ranks that it starts
        return {
            "default_root_dir": self.run_folder,
            "logger": loggers_of_run(self.run_folder, identity, settings, config.logger),
            "callbacks": [
                *own,
                self.stop,
                *fit_callbacks(
                    self.run_folder,
                    self._subcommand_parsers["fit"],
                    self.config["fit"],
                    identity=identity,
                    signals=self.signals,
                    has_bar=any(isinstance(callback, ProgressBar) for callback in own),
                    headline=self.model.label_form.headline,
                ),
            ],
            "plugins": [*_as_list(config.plugins), AtomicCheckpointIO()],
        }

    @property
    def _score_folder(self) -> Path:
        """Folder of what a test writes."""
        given = self.config[self.subcommand]
        folder: Path = given.out or folder_of_checkpoint(given.ckpt_path)
        return folder

    def test(self, **arguments: Any) -> None:
        """Run `test` once, or as a series over corruptions.

        Args:
            arguments: Arguments of the trainer's own method.
        """
        if self.datamodule.evaluation.corruptions is None:
            self.trainer.test(**arguments)
        else:
            run_test = partial(self.trainer.test, **{**arguments, "verbose": False})
            run_series(self.datamodule, self._score_folder, run_test)

    def before_fit(self) -> None:
        """Say what is about to be trained."""
        spec = self.datamodule.spec
        size, frames = spec.crops.size, spec.sampling.clip_len
        network = self.model.network
        with as_user_error():
            macs = count_macs(network, frames, size)
        say(
            f"{self.model.network_name}: {count_parameters(network):,} parameters, "
            f"{macs / 1e9:.3f} GMACs a clip "
            f"({spec.sampling.describe()}, {size} px)"
        )

    def after_fit(self) -> None:
        """Say what came out, where it lies, and what to do next."""
        finish_wandb()  # before the summary, which its own lines would push away
        if self.run_folder is None:  # a fast_dev_run leaves nothing behind
            return
        checkpoints = self.run_folder / "checkpoints"
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
                score = 100 * float(callback.best_model_score)
                name = self.model.label_form.headline
                what = "of clips" if name == "mAP" else "clip accuracy"
                say(f"best val/{name} {score:.2f} % ({what}), in {callback.best_model_path}")
        if self.trainer.is_global_zero:
            for path in self.datamodule.write_missing(self.run_folder):
                say(f"missing videos: {path}")
        say(f"run folder: {self.run_folder}")
        kept = [checkpoints / name for name in ("best.ckpt", "last.ckpt")]
        for path in [path for path in kept if path.exists()][:1]:
            config = self.run_folder / "config.yaml"
            say(f"test it:    {COMMAND} test --config {config} --ckpt_path {path}")
            say(f"use it:     {COMMAND} predict --ckpt_path {path} VIDEO...")


def _trainers_mistake(error: Exception, accelerator: object) -> UserError:
    """Make one sentence of what Lightning says of the trainer's settings."""
    said = " ".join(str(error).split())
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        return UserError(
            f"trainer.accelerator={accelerator} needs a GPU, and PyTorch finds none on this "
            "machine; set --trainer.accelerator cpu, or auto for a GPU where there is one"
        )
    return UserError(f"the trainer's settings do not work: {said}")


def _as_list(value: Any) -> list[Any]:
    """Make a list of a setting that may be one thing, several or none."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]

"""Small fits that are killed and resumed: what the proofs of `docs/resume.md` run.

A killed fit needs a process of its own. It is forked from a server that has imported everything and
run nothing, so that it starts in a moment.
"""

import json
import multiprocessing
import os
import signal
import socket
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from datamodules import FlowInput, MotionShapesDataModule
from datamodules.augmentation.pipeline import StandardAugmentation
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops
from datamodules.motion_shapes.generation import MotionShapesSettings, generate_motion_shapes
from datamodules.settings import Loading
from lightning_modules import (
    BaselineModule,
    CoSTModule,
    SELFYModule,
    StNetModule,
    STResNetModule,
    VideoClassifier,
)
from lightning_modules.resume.checkpoint_io import AtomicCheckpointIO
from lightning_modules.resume.exact_resume import ExactResume
from lightning_modules.resume.last_checkpoint import LastCheckpoint
from lightning_modules.runs.folder import LAST
from lightning_modules.runs.loggers import MetricsFile
from lightning_modules.training.optim import BatchNorm, Optimization

SAMPLINGS = {
    "stnet_tiny": FrameSampler(num_segments=4, frames_per_segment=2),
    "st_resnet_tiny": FrameSampler(num_frames=3, frame_stride=2, max_frame_stride=4),
}
SAMPLING = FrameSampler(num_frames=2, frame_stride=2)
SIZES = {"num_train": 32, "num_val": 8, "num_test": 8}
NOT_COMPARED = {"callbacks", "run"}
PRELOADED = ["datamodules.motion_shapes.generation", "lightning_modules.commands.fit", "models.c2d"]
"""What the fork server imports; it does not find modules of the tests."""


@dataclass(frozen=True)
class Run:
    """One start of a fit.

    Attributes:
        root: Folder of the generated clips.
        network: The network; that of two streams has flow.
        folder: Run folder.
        accumulate: Batches of an optimizer step.
        workers: Loader processes.
        batch_size: Clips per rank and batch.
        repeated_views: Clips of each video in a batch.
        world_size: Ranks.
        epochs: Epochs of the whole fit.
        kill: Where the process kills itself: `train 0 2` after batch 2 of epoch 0, `train 0 last`
            after its last one, `val 0 1` after batch 1 of the validation of epoch 0, `end 0` after
            the end of epoch 0.
        resume: Whether it goes on from the last checkpoint.
        keep: Further places where a checkpoint is kept, under the place's name.
        vanish: A place, and files below `root` that are gone from there on.
    """

    root: Path
    folder: Path
    network: str = "c2d_tiny"
    accumulate: int = 1
    workers: int = 0
    batch_size: int = 6
    repeated_views: int = 1
    world_size: int = 1
    epochs: int = 2
    kill: str = ""
    resume: bool = False
    keep: tuple[str, ...] = ()
    vanish: tuple[str, list[str]] = ("", [])


class Ledger(Callback):
    """Writes each batch that was trained on; keeps checkpoints and kills where it is asked to."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        line = {
            "epoch": trainer.current_epoch,
            "batch": batch_idx,
            "ids": batch["video_id"],
            "loss": float(outputs["loss"]),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        with (self.run.folder / f"ledger{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def on_validation_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        kind = "sanity" if trainer.sanity_checking else "val"
        self.arrive(trainer, f"{kind} {trainer.current_epoch} {batch_idx}")

    def arrive(self, trainer: Trainer, place: str) -> None:
        """Keep a checkpoint, or die, if it is here."""
        if place in self.run.keep:
            trainer.save_checkpoint(self.run.folder / f"{place}.ckpt")
        if place == self.run.vanish[0]:
            for path in self.run.vanish[1]:
                (self.run.root / path).unlink()
        if place == self.run.kill:
            os.kill(os.getpid(), signal.SIGKILL)


class Saver(LastCheckpoint):
    """Saves each step, then tells the ledger where the fit is."""

    def __init__(self, run: Run, ledger: Ledger) -> None:
        super().__init__(run.folder / "checkpoints" / LAST, every_n_steps=1)
        self.ledger = ledger

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.ledger.arrive(trainer, f"train {trainer.current_epoch} {batch_idx}")
        if trainer.is_last_batch:
            self.ledger.arrive(trainer, f"train {trainer.current_epoch} last")

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.ledger.arrive(trainer, f"validated {trainer.current_epoch}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self.ledger.arrive(trainer, f"end {trainer.current_epoch}")


def make_clips(root: Path) -> Path:
    """Generate the clips of these fits: 32 in training, so that batches of 6 leave two out."""
    generate_motion_shapes(root, MotionShapesSettings(**SIZES), num_workers=0, progress=False)
    return root


def fit(run: Run, checkpoint: Path | None = None) -> None:
    """Fit in this process, with all that is drawn or carried from step to step.

    Dropout, batch statistics, moving average, all changes of clips, accumulation.

    Args:
        run: What is fitted, and until where.
        checkpoint: Where it goes on from; else the last checkpoint, if the run resumes.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    if run.resume:
        checkpoint = checkpoint or run.folder / "checkpoints" / LAST
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before")
    torch.set_num_threads(1)
    seed_everything(3, verbose=False)
    module = make_module(run.network)
    flow = FlowInput(length=2) if "flow" in module.network.modalities else None
    data = MotionShapesDataModule(
        str(run.root),
        **SIZES,
        sampling=SAMPLINGS.get(run.network, SAMPLING),
        flow=flow,
        crops=Crops(size=32),
        loading=Loading(run.batch_size, run.repeated_views, num_workers=run.workers),
        augmentation=StandardAugmentation(
            mixup_alpha=0.5,
            color=0.3,
            rand_augment=0 if flow else 2,  # flow cannot follow its shears
            erase_probability=0.5,
        ),
        seed=3,
    )
    ledger = Ledger(run)
    environment = [LightningEnvironment()] if run.world_size > 1 else []
    trainer = Trainer(
        accelerator="cpu",
        devices=run.world_size,
        strategy=DDPStrategy(process_group_backend="gloo") if run.world_size > 1 else "auto",
        max_epochs=run.epochs,
        accumulate_grad_batches=run.accumulate,
        num_sanity_val_steps=1,
        log_every_n_steps=1,
        logger=MetricsFile(run.folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[ledger, ExactResume(), Saver(run, ledger)],
        plugins=[AtomicCheckpointIO(), *environment],
    )
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)


def make_module(network: str) -> VideoClassifier:
    """A module with dropout, a moving average of the weights, batch statistics of parts."""
    families = (BaselineModule, CoSTModule, SELFYModule, STResNetModule, StNetModule)
    family = next(f for f in families if network.startswith(f.families))
    flow = {"flow_length": 2} if family is STResNetModule else {}
    return family(
        network=network,
        num_classes=8,
        optimization=Optimization(lr=0.05, warmup_epochs=0.5, ema_decay=0.9),
        dropout=0.5,
        batch_norm=BatchNorm(batch_size=3),
        **flow,
    )


def fit_apart(run: Run) -> list[int]:
    """Fit in processes of their own, one for each rank.

    Returns:
        Exit code of each; -9 of a killed one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    processes = [
        context.Process(target=_fit_rank, args=(run, rank, port)) for rank in range(run.world_size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in processes]


def _fit_rank(run: Run, rank: int, port: int) -> None:
    multiprocessing.set_start_method("fork", force=True)  # as elsewhere, for the loader's workers
    if run.world_size > 1:
        os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    fit(run)


def differences(one: Path, two: Path) -> list[str]:
    """Parts in which two checkpoints differ, bit for bit."""
    first, second = (torch.load(path, weights_only=True) for path in (one, two))
    for content in (first, second):  # batches of validations are only counted for display
        loops = content["loops"]["fit_loop"]
        content["loops"] = {key: loops[key] for key in loops if "val_loop" not in key}
    names = sorted((first.keys() | second.keys()) - NOT_COMPARED)
    return [name for name in names if not same(first.get(name), second.get(name))]


def same(one: Any, two: Any) -> bool:
    """Whether two nested values are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


def batches(folder: Path, rank: int = 0) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """The ledger of a rank: each time a batch of an epoch was trained on."""
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for text in (folder / f"ledger{rank}.jsonl").read_text().splitlines():
        line = json.loads(text)
        found.setdefault((line["epoch"], line["batch"]), []).append(line)
    return found

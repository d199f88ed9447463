"""The score file of a test: every view of every listed video, once, whatever the devices."""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from datamodules import VideoDataModule
from datamodules.atomic import check_room, locked, writing_binary
from datamodules.csv_tables import write_rows
from datamodules.errors import as_storage_error
from lightning_modules.base import VideoClassifier
from lightning_modules.console import OTHER_FOLDER, say
from lightning_modules.dashboards.wandb_beside import send_test
from lightning_modules.evaluation.protocol import (
    Protocol,
    describe_protocol,
    digest_of_weights,
)
from lightning_modules.evaluation.result_files import choose_files, name_of_test
from lightning_modules.reports.classes import write_classes
from lightning_modules.reports.test_figures import PREFIX, figures_of_test, sentence_of_test
from lightning_modules.reports.test_report import write_report

HALF_PRECISION_BYTES = 200_000_000
"""Logits larger than this in float32 are stored as float16."""

_BYTES = 4
"""Size of a logit."""

_COPIES = 2
"""Times that all logits are on the disk at the end: in the ranks' parts and in the merged file."""

NAMED_UNUSED = 10
"""Videos that could not be tested are named up to this many; a file holds all."""


class ScoreFile(Callback):
    """A callback that collects the logits of a test, merges the ranks' parts, and reports.

    Ranks write parts to the run folder and rank 0 merges them, so that nothing of that size crosses
    the network.

    Args:
        folder: Where they are written: the run folder of the checkpoint that is tested, or another.
        run_folder: That run folder, if a test is sent to where the run is in W&B; None to send
            nothing.
    """

    def __init__(self, folder: Path, run_folder: Path | None = None) -> None:
        self.folder = folder
        self.run_folder = run_folder
        self._parts: list[dict[str, Any]] = []
        self._weights = ""
        self._token = ""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with no scores, where there is room for them; digest the weights.

        Raises:
            StorageError: If the folder takes no files, or not so many.
        """
        self._parts = []
        data: VideoDataModule = trainer.datamodule  # type: ignore[attr-defined]
        views = len(data.test_set.table.present) * data.evaluation.num_views
        with as_storage_error(self.folder, OTHER_FOLDER):
            check_room(self.folder, _COPIES * views * data.num_classes * _BYTES)
        self._weights = digest_of_weights(trainer.strategy.lightning_module_state_dict())
        self._token = trainer.strategy.broadcast(secrets.token_hex(4))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Mapping[str, Any] | Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the scores of a batch, and the names of unreadable videos."""
        self._parts.append({**outputs, "broken": batch["broken"]})

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say the accuracy; then write this rank's part; then rank 0 merges all and reports.

        A part of a test is reported, but no file is written of it.

        Raises:
            StorageError: If a file cannot be written.
        """
        assert isinstance(pl_module, VideoClassifier)
        data: VideoDataModule = trainer.datamodule  # type: ignore[attr-defined]
        by_class = pl_module.classes.test_by_class.compute().cpu()
        metrics, form = trainer.callback_metrics, pl_module.label_form
        figures = figures_of_test(form, pl_module.classes.groups, metrics, by_class)
        for name in figures.keys() - {key.removeprefix(PREFIX) for key in metrics}:
            pl_module.log(PREFIX + name, figures[name], rank_zero_only=True)
        say(sentence_of_test(form, figures, by_class))
        part = self._part_path(trainer.global_rank)
        with as_storage_error(self.folder, OTHER_FOLDER):
            _write_part(part, self._parts, data.evaluation.num_views, data.num_classes)
        trainer.strategy.barrier("score parts written")
        if trainer.is_global_zero:
            with as_storage_error(self.folder, OTHER_FOLDER):
                self._finish(trainer, pl_module, figures, by_class)
        trainer.strategy.barrier("scores merged")

    def _finish(
        self,
        trainer: Trainer,
        module: VideoClassifier,
        figures: Mapping[str, float],
        by_class: Tensor,
    ) -> None:
        """Merge the ranks' parts, write them and report."""
        data: VideoDataModule = trainer.datamodule  # type: ignore[attr-defined]
        merged = self._merge(data, trainer.world_size)
        merged["logits"] = _as_stored(merged["logits"])
        protocol = describe_protocol(trainer, module, data, merged, self._weights)
        say(f"protocol: {protocol}")
        broken: list[tuple[str, str]] = merged["broken"]
        unused = [(name, "missing") for name in data.test_set.missing]
        unused += [(name, f"broken: {reason}") for name, reason in broken]
        for name, reason in unused[:NAMED_UNUSED]:
            say(f"not tested, {reason}: {name}")
        if len(merged["video_ids"]) + len(broken) < len(data.test_set.table.present):
            say("scores: none, only a part was tested")
            return
        with locked(self.folder / ".test.lock", wait=True):  # two tests may end at once
            files = choose_files(self.folder, name_of_test(data), protocol)
            _write_scores(files.scores, merged, data.class_names, protocol)
            written = files.per_class, files.confusion, files.stem
            write_classes(*written, module.label_form, data.class_names, by_class)
            files.not_tested.unlink(missing_ok=True)
            if unused:
                _write_unused(files.not_tested, unused)
            said = sentence_of_test(module.label_form, figures, by_class)
            report = write_report(files, data, protocol, said, by_class)
        say(f"scores: {files.scores}")
        pictures = f", {files.confusion}" if files.confusion.exists() else ""
        say(f"by class: {files.per_class}{pictures}")
        say(f"by video, the worst first: {files.videos}, {files.page}")
        if unused:
            listed = len(data.test_set)
            say(f"not tested: {len(unused)} of {listed} videos, all in {files.not_tested}")
        if self.run_folder is not None:
            record = report.record(figures, by_class, Path(str(trainer.ckpt_path)))
            send_test(self.run_folder, module.origin.run.get("id"), record)

    def _part_path(self, rank: int) -> Path:
        return self.folder / f".scores_{self._token}.part{rank}.npz"

    def _merge(self, data: VideoDataModule, world_size: int) -> dict[str, Any]:
        paths = [self._part_path(rank) for rank in range(world_size)]
        parts = [dict(np.load(path)) for path in paths]
        merged: dict[str, Any] = {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
        position = {name: i for i, name in enumerate(data.test_set.video_ids)}
        order = np.argsort([position[name] for name in merged["video_ids"].tolist()], kind="stable")
        for key in ("video_ids", "labels", "logits"):
            merged[key] = merged[key][order]
        groups = data.test_set.groups
        found = [groups[position[name]] for name in merged["video_ids"].tolist()]
        merged["groups"] = np.array(found, dtype=np.str_)
        assert len(set(merged["video_ids"].tolist())) == len(order), "a video was scored twice"
        merged["broken"] = sorted(set(map(tuple, merged["broken"].tolist())))
        for path in paths:
            path.unlink()
        return merged


def _as_stored(logits: NDArray[np.float32]) -> NDArray[Any]:
    """Convert logits that take much room to half precision, where that can hold them."""
    largest = max(logits.max(initial=0.0), -logits.min(initial=0.0))
    if logits.nbytes <= HALF_PRECISION_BYTES or largest > np.finfo(np.float16).max:
        return logits
    return logits.astype(np.float16)


def _write_scores(
    path: Path, merged: Mapping[str, Any], class_names: Sequence[str], protocol: Protocol
) -> None:
    with writing_binary(path, lone=True) as file:
        np.savez(
            file,
            **{key: merged[key] for key in ("video_ids", "labels", "groups")},
            logits=np.ascontiguousarray(merged["logits"]),
            class_names=np.array(class_names, dtype=np.str_),
            protocol=np.array(protocol.as_json()),
        )


def _write_unused(path: Path, unused: Sequence[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        write_rows(file, [("video_id", "reason"), *unused])


def _write_part(path: Path, parts: list[dict[str, Any]], views: int, classes: int) -> None:
    logits = [p["logits"].numpy() for p in parts]
    labels = [p["label"].numpy() for p in parts]
    ids = [name for p in parts for name in p["video_id"]]
    broken = [pair for p in parts for pair in p["broken"]]
    np.savez(
        path,
        video_ids=np.array(ids, dtype=np.str_),
        labels=np.concatenate(labels),
        logits=np.concatenate([np.zeros((0, views, classes), np.float32), *logits]),
        broken=np.array(broken, dtype=np.str_).reshape(-1, 2),
    )

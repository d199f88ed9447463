"""Preparation of a fit: weights, generated data, optical flow and the index of its videos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from datamodules import VideoDataModule
from datamodules.errors import UserError, as_user_error
from datamodules.flow.dataset_flow import make_dataset_flow
from datamodules.flow.extraction import FlowSettings
from datamodules.flow.methods import FlowMethodName
from datamodules.jobs.indexing import index_videos
from lightning_modules.base import VideoClassifier
from lightning_modules.readiness.checks import check_modalities, check_weights
from models import ImageNetFile

FAULTS_SHOWN = 10
"""Videos that cannot be read of which the reason is said; `kinetoscope doctor` says all."""


@dataclass(frozen=True)
class Parts:
    """The parts of a preparation that are not always wanted.

    Attributes:
        flow: Compute the optical flow that is not there yet.
        index: Open every video once, so that the times of its frames are known.
        num_workers: Processes for both; 0 for this one.
    """

    flow: bool = False
    index: bool = True
    num_workers: int = 0


def prepare(
    module: VideoClassifier, data: VideoDataModule, parts: Parts, say: Callable[[str], None]
) -> None:
    """Fetch and make what a fit needs; what is there already stays as it is.

    Args:
        module: A module that is not trained yet.
        data: The data, not set up.
        parts: What is wanted.
        say: Writes a line about each part.

    Raises:
        UserError: If something cannot be had or does not fit; what was done before is kept.
        StorageError: If something cannot be written.
    """
    check_modalities(module, data)
    say(f"weights: {_prepare_weights(module, data)}")
    data.prepare_data()
    if parts.flow:
        _prepare_flow(data, parts.num_workers, say)
    data.setup("fit")
    say(f"videos: {_counts(data)}, in {data.place}")
    if parts.index:
        _prepare_index(data, parts.num_workers, say)


def _prepare_weights(module: VideoClassifier, data: VideoDataModule) -> str:
    if module.init_from is None:
        return "none are asked for (model.init_from is null)"
    sources = [module.init_from] if isinstance(module.init_from, str) else module.init_from
    where = ", ".join(sources)
    arch = module.network.pretrained_arch
    if sources == ["imagenet"] and arch is not None:
        with as_user_error():
            where = str(ImageNetFile.of(arch).path)
    report = check_weights(module, data)
    return f"{where} ({len(report.loaded)} loaded, {len(report.inflated)} inflated)"


def _prepare_flow(data: VideoDataModule, num_workers: int, say: Callable[[str], None]) -> None:
    """Compute the flow of all videos into `data.flow.root`, as `kinetoscope flow` does."""
    wanted = data.flow
    if wanted is None or wanted.root is None:
        raise UserError(
            "--flow computes optical flow into the folder data.flow.root, which is not set; set "
            "it, or leave --flow out"
        )
    default = FlowSettings()
    method: FlowMethodName | None = next(
        (name for name in get_args(FlowMethodName) if name == (wanted.method or default.method)),
        None,
    )
    if method is None:
        raise UserError(
            f"data.flow.method={wanted.method} cannot be computed here; set it to "
            f"{' or '.join(get_args(FlowMethodName))}, or leave --flow out"
        )
    side, bound = wanted.short_side or default.short_side, wanted.bound or default.bound
    settings = FlowSettings(method, side, bound)
    root = Path(wanted.root)
    report = make_dataset_flow(data.store, root, settings, num_workers=num_workers, say=say)
    _tell_faults(report.failed, "have no flow", say)
    say(f"flow: {root}")


def _counts(data: VideoDataModule) -> str:
    sets = {"training": data.train_set, "validation": data.val_set, "test": data.test_set}
    counts = [f"{len(part.table.present)} {name}" for name, part in sets.items()]
    missing = sum(len(part.missing) for part in sets.values())
    return f"{', '.join(counts)}; {missing} of the listed ones are missing"


def _prepare_index(data: VideoDataModule, num_workers: int, say: Callable[[str], None]) -> None:
    tables = [part.table for part in (data.train_set, data.val_set, data.test_set)]
    paths = (table.paths[i] for table in tables for i in table.present)
    report = index_videos(data.store, paths, num_workers, say)
    _tell_faults(report.failed, "cannot be read", say)
    say(f"index: {report}")


def _tell_faults(
    failed: Sequence[tuple[object, str]], what: str, say: Callable[[str], None]
) -> None:
    for video, reason in failed[:FAULTS_SHOWN]:
        say(f"  {getattr(video, 'video', video)}: {reason}")
    if failed:
        say(f"{len(failed)} videos {what}; `kinetoscope doctor` examines them")

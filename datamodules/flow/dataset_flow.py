"""The optical flow of a whole dataset, made for the videos that have none."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from datamodules.flow.extraction import FlowExtraction, FlowJob, FlowSettings
from datamodules.flow.folder import claim_folder, find_jobs
from datamodules.flow.methods import make_flow_method
from datamodules.flow.storage import is_stored
from datamodules.jobs.dataset_jobs import Report
from datamodules.jobs.shared_pass import SharedPass
from datamodules.jobs.target_folder import partial_folder
from datamodules.storage.elsewhere.remote_packs import open_dataset
from datamodules.storage.source import Place

__all__ = ["make_dataset_flow"]


def make_dataset_flow(
    source: Place,
    target: Path,
    settings: FlowSettings,
    *,
    weights: Path | None = None,
    device: str | None = None,
    num_workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    say: Callable[[str], None],
) -> Report[FlowJob]:
    """Compute and store the flow of every video that has none yet.

    Args:
        source: A folder of videos or frame folders at any depth, packed or not, or a single video.
        target: Folder for the flow, new or begun with the same settings.
        settings: Method, size and storage of the flow.
        weights: See `make_flow_method`.
        device: See `make_flow_method`.
        num_workers: Processes, each with one thread; 0 for this one.
        shard: Index and number of the runs that share the videos.
        say: Writes a line about what is there and what is done.

    Returns:
        The report of the pass; videos that have no flow by name.

    Raises:
        UserError: If that cannot be done; before anything is written.
        StorageError: If the flow cannot be written.
    """
    method = make_flow_method(settings.method, weights, device)
    root, jobs = find_jobs(open_dataset(source), target)
    changed = claim_folder(target, settings, method)
    if changed:
        say(f"other versions than the flow in {target} began with: {'; '.join(changed)}")
    is_there = partial(_is_there, target, settings)
    todo = SharedPass(jobs, shard, is_there, say)
    say(str(todo))
    threads = 1 if num_workers else None
    with partial_folder(target) as unfinished:
        work = FlowExtraction(root, target, unfinished, settings, weights, device, threads)
        return todo.run("optical flow", work, num_workers)


def _is_there(target: Path, settings: FlowSettings, job: FlowJob) -> bool:
    return is_stored(target / job.folder, settings.storage)

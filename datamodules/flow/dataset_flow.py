"""The optical flow of a whole dataset, made for the videos that have none."""

from collections.abc import Callable
from pathlib import Path

from datamodules.flow.extraction import FlowExtraction, FlowJob, FlowSettings
from datamodules.flow.folder import claim_folder, find_jobs, missing_jobs
from datamodules.flow.methods import make_flow_method
from datamodules.jobs.dataset_jobs import Report, follow_pass, process_videos, take_shard
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
    shared = take_shard(jobs, *shard)
    missing = missing_jobs(target, shared, settings)
    index, count = shard
    part = f", {len(shared)} in shard {index}/{count}" if count > 1 else ""
    there = len(shared) - len(missing)
    say(f"{len(jobs)} videos{part}, {there} there already, {len(missing)} to do")
    threads = 1 if num_workers else None
    with partial_folder(target) as partial:
        work = FlowExtraction(root, target, partial, settings, weights, device, threads)
        events = process_videos(work, missing, num_workers)
        report = follow_pass("optical flow", events, len(missing), say=say)
    if missing:
        say(str(report))
    return report

"""kinetoscope flow: optical flow of a folder of videos, for the two-stream families."""

import argparse
import re
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import get_args

from datamodules.dataset_jobs import Event, process_videos
from datamodules.errors import StorageError
from datamodules.flow.extraction import FlowExtraction, FlowJob, FlowSettings
from datamodules.flow.folder import (
    claim_folder,
    find_jobs,
    missing_jobs,
    partial_folder,
    take_shard,
)
from datamodules.flow.methods import FlowMethodName, make_flow_method
from datamodules.flow.storage import FlowStorage
from datamodules.jobs.processes import num_cores
from datamodules.jobs.progress import progress_bar
from lightning_modules.console import ToolParser, fail, say

LINE_SECONDS = 60
"""How often a line tells the progress where no bar can be drawn."""


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `flow` and its options.

    Raises:
        SystemExit: With code 1 if a video could not be done, 2 on a user's mistake.
        KeyboardInterrupt: Ctrl-C, after what is under way was put away.
    """
    options = _parser().parse_args(words[1:])
    settings = FlowSettings(options.method, options.short_side, options.bound, options.storage)
    workers = _num_workers(options)
    source, missing = _missing(options, settings)
    report = _Report(len(missing))
    with partial_folder(options.target) as partial:
        extraction = FlowExtraction(
            source,
            options.target,
            partial,
            settings,
            options.weights,
            options.device,
            num_threads=1 if workers else None,
        )
        try:
            with closing(process_videos(extraction, missing, min(workers, len(missing)))) as events:
                report.follow(events)
        except KeyboardInterrupt:
            say(f"{report}; the same command again goes on with the rest")
            raise
        except OSError as error:
            raise StorageError(
                f"{report}, then {error}; correct that, and give the same command again, which "
                "goes on with the rest"
            ) from error
    if missing:
        say(str(report))
    if report.failed:
        lines = "".join(f"  {reason}\n" for reason in report.failed)
        sys.stderr.write(f"kinetoscope: {len(report.failed)} video(s) have no flow:\n{lines}")
        raise SystemExit(1)


def _parser() -> ToolParser:
    parser = ToolParser(
        "flow",
        "Dense optical flow between consecutive frames of every video, coded in 8 bits. A run that "
        "was stopped is continued by the same command. Several machines share the work with "
        "--shard.",
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SRC", help="folder of videos or frame folders, at any depth")
    add("target", type=Path, metavar="DST", help="folder for the flow, with SRC's own structure")
    methods, storages = get_args(FlowMethodName), get_args(FlowStorage)
    text = "the papers' TV-L1, the far faster DIS, or RAFT with --weights"
    add("--method", choices=methods, default=FlowSettings.method, help=text)
    text = "short side that frames are resized to before, in pixels"
    add("--short_side", type=int, default=FlowSettings.short_side, help=text)
    text = "longest displacement that is kept, in pixels of the resized frames"
    add("--bound", type=float, default=FlowSettings.bound, help=text)
    text = "two grey H.264 files per video, or two JPEG images per frame"
    add("--storage", choices=storages, default=FlowSettings.storage, help=text)
    text = "processes, 0 for none but this one (one per core; 0 for raft)"
    add("--workers", type=int, default=None, help=text)
    text = "this run's part of the videos, such as 0/4 to 3/4 for four runs"
    add("--shard", default="0/1", metavar="I/N", help=text)
    add("--device", default=None, help="where raft computes: auto, cpu, cuda or cuda:N (cpu)")
    text = "file with the state dict of torchvision's raft_large or raft_small"
    add("--weights", type=Path, default=None, help=text)
    return parser


def _shard(text: str) -> tuple[int, int]:
    """Index and number of the runs that share the work."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not int(match[1]) < int(match[2]):
        fail(f"--shard {text} is not possible; give I/N with I from 0 to N - 1, such as 0/4")
    return int(match[1]), int(match[2])


def _num_workers(options: argparse.Namespace) -> int:
    if options.workers is None:
        return 0 if options.method == "raft" else num_cores()
    if options.workers < 0:
        fail(f"--workers {options.workers} is too small; give at least 0")
    return int(options.workers)


def _missing(options: argparse.Namespace, settings: FlowSettings) -> tuple[Path, list[FlowJob]]:
    """The folder that videos are relative to, and those to do, after everything was checked."""
    index, count = _shard(options.shard)
    method = make_flow_method(settings.method, options.weights, options.device)
    source, jobs = find_jobs(options.source, options.target)
    changed = claim_folder(options.target, settings, method)
    if changed:
        say(f"other versions than the flow in {options.target} began with: {'; '.join(changed)}")
    shard = take_shard(jobs, index, count)
    missing = missing_jobs(options.target, shard, settings)
    part = f", {len(shard)} in shard {options.shard}" if count > 1 else ""
    there = len(shard) - len(missing)
    say(f"{len(jobs)} videos{part}, {there} there already, {len(missing)} to do")
    return source, missing


class _Report:
    """What was done so far, shown as it happens.

    Args:
        total: Videos to do.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.frames = 0
        self.failed: list[str] = []
        self._shares: dict[FlowJob, float] = {}  # of videos under way
        self._begin = self._told = time.monotonic()

    def __str__(self) -> str:
        rate = self.frames / max(time.monotonic() - self._begin, 1e-9)
        return f"{self.done} of {self.total} videos done, {rate:.1f} frames/s"

    def follow(self, events: Iterable[Event[FlowJob]]) -> None:
        """Count and show what happens, to the end.

        Args:
            events: What happens.
        """
        shown = sys.stderr.isatty()
        with progress_bar("videos", shown=shown) as bar:
            task = bar.add_task("optical flow", total=self.total)
            for event in events:
                share = self._count(event)
                rate = self.frames / (time.monotonic() - self._begin)
                bar.update(task, advance=share, description=f"optical flow, {rate:.1f} frames/s")
                if not shown:
                    self._tell()

    def _count(self, event: Event[FlowJob]) -> float:
        """Take an event down; the part of a video by which the bar advances."""
        if event.step is not None:
            self.frames += event.step.frames
            self._shares[event.video] = self._shares.get(event.video, 0.0) + event.step.share
            return event.step.share
        if event.error:
            self.failed.append(f"{event.video.video}: {event.error}")
        else:
            self.done += 1
        return 1 - self._shares.pop(event.video, 0.0)

    def _tell(self) -> None:
        """A line now and then."""
        if time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            say(str(self))

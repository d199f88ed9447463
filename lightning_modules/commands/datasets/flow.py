"""kinetoscope flow: optical flow of a folder of videos, for the two-stream families."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from datamodules.flow.dataset_flow import make_dataset_flow
from datamodules.flow.extraction import FlowSettings
from datamodules.flow.methods import FlowMethodName
from datamodules.flow.storage import FlowStorage
from datamodules.jobs.dataset_jobs import SHARD_HELP, read_shard
from datamodules.jobs.processes import num_cores
from lightning_modules.console import ToolParser, fail_for, num_processes, say


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `flow` and its options.

    Raises:
        SystemExit: With code 1 if a video could not be done, 2 on a user's mistake.
        KeyboardInterrupt: Ctrl-C, after what is under way was put away.
    """
    options = _parser().parse_args(words[1:])
    report = make_dataset_flow(
        options.source,
        options.target,
        FlowSettings(options.method, options.short_side, options.bound, options.storage),
        weights=options.weights,
        device=options.device,
        num_workers=num_processes(options.workers, 0 if options.method == "raft" else num_cores()),
        shard=read_shard(options.shard),
        say=say,
    )
    fail_for([(job.video, reason) for job, reason in report.failed], "have no flow")


def _parser() -> ToolParser:
    parser = ToolParser(
        "flow",
        "Dense optical flow between consecutive frames of every video, coded in 8 bits. A run that "
        "was stopped is continued by the same command. Several machines share the work with "
        "--shard.",
    )
    add = parser.add_argument
    add("source", metavar="SRC", help="folder of videos or frame folders, at any depth, or packed")
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
    add("--shard", default="0/1", metavar="I/N", help=SHARD_HELP)
    add("--device", default=None, help="where raft computes: auto, cpu, cuda or cuda:N (cpu)")
    text = "file with the state dict of torchvision's raft_large or raft_small"
    add("--weights", type=Path, default=None, help=text)
    return parser

"""kinetoscope features: features of videos from a checkpoint, for localisation and other tools."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from datamodules.atomic import check_room
from datamodules.errors import as_storage_error
from datamodules.jobs.dataset_jobs import (
    SHARD_HELP,
    follow_pass,
    process_videos,
    read_shard,
    take_shard,
)
from datamodules.storage.elsewhere.remote_packs import open_dataset
from datamodules.streaming.windows import Spacing
from datamodules.video.suffixes import is_video
from lightning_modules.checkpoints import open_checkpoint
from lightning_modules.console import OTHER_FOLDER, ToolParser, fail, fail_for, say
from lightning_modules.prediction.features import (
    PRESETS,
    FeatureExtraction,
    plan_jobs,
    read_preset,
)
from lightning_modules.prediction.inputs import FLOW_METHOD_HELP, FLOW_METHODS, NetworkInput
from lightning_modules.prediction.scoring import Precision, Scorer
from lightning_modules.prediction.videos import VIDEO_HELP, find_videos


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `features` and its options.

    Raises:
        SystemExit: With code 1 if a video has no features, 2 on a user's mistake.
    """
    options = _parser().parse_args(words[1:])
    if options.preset is not None and (options.window or options.step or options.frame_rate):
        fail("--preset sets --window, --step and --frame_rate; leave these out")
    if options.batch_size < 1:
        fail(f"--batch_size {options.batch_size} is too small; give at least 1")
    if options.step is not None and options.window is None:
        fail("--step has no meaning without --window; give it too, such as --window 2")
    spacing = None if options.window is None else Spacing(options.window, options.step)
    frame_rate = options.frame_rate
    if options.preset is not None:
        spacing, frame_rate = read_preset(options.preset)
    shard = read_shard(options.shard)
    jobs = take_shard(plan_jobs(*_videos(options.videos)), *shard)
    scorer = Scorer(
        open_checkpoint(options.ckpt_path), options.device, options.precision, options.batch_size
    )
    given = NetworkInput.of(
        scorer.module,
        spacing,
        num_clips=options.num_clips,
        num_crops=options.num_crops,
        flow_method=options.flow_method,
        say=say,
    )
    work = FeatureExtraction(
        scorer, given, options.out, batch_size=options.batch_size, frame_rate=frame_rate
    )
    with as_storage_error(options.out, OTHER_FOLDER):
        check_room(options.out)
    todo = [job for job in jobs if not work.is_done(job)]
    part = f" in part {options.shard}" if shard[1] > 1 else ""
    say(f"{len(jobs)} videos{part}, {len(jobs) - len(todo)} there already, {len(todo)} to do")
    report = follow_pass("features", process_videos(work, todo, 0), len(todo), say=say)
    say(f"{report}, written to {options.out}")
    fail_for([(job.video, reason) for job, reason in report.failed], "have no features")


def _videos(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Find the videos, and the folder of each that was found in a folder."""
    roots: dict[str, str] = {}
    for word in words:
        folder = open_dataset(word)
        if folder.is_folder() and not is_video(folder):
            roots |= dict.fromkeys(find_videos([word]), str(folder))
    return find_videos(words), roots


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser(
        "features",
        "Features of videos, an npz file for each, with the folders that the videos lie in. A run "
        "that was stopped is continued by the same command. Several machines share the work with "
        "--shard.",
    )
    add = parser.add_argument
    add("--ckpt_path", required=True, help="checkpoint of a fit")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the npz files")
    text = f"grid that localisation tools expect: {', '.join(PRESETS)}"
    add("--preset", metavar="NAME", help=text)
    text = "windows of this length: seconds (2), frames (16f), or the span of one clip (clip); "
    add("--window", metavar="LENGTH", help=text + "without it one vector for each whole video")
    text = "from the begin of a window to that of the next (half a window)"
    add("--step", metavar="LENGTH", help=text)
    text = "frames per second to take (the video's own); needed for folders of images"
    add("--frame_rate", type=float, metavar="RATE", help=text)
    add("--num_clips", type=int, help="clips per video (the test protocol's) or window (1)")
    text = "crops per clip (the test protocol's; of windows 1)"
    add("--num_crops", type=int, choices=(1, 2, 3, 10), help=text)
    add("--flow_method", choices=FLOW_METHODS, help=FLOW_METHOD_HELP)
    add("--batch_size", type=int, default=8, help="windows at a time")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    text = "numbers to compute with"
    add("--precision", choices=get_args(Precision), default="float32", help=text)
    add("--shard", default="0/1", metavar="I/N", help=SHARD_HELP)
    add("videos", nargs="+", help=VIDEO_HELP)
    return parser

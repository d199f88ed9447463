"""kinetoscope transcode: a dataset's videos encoded once more, for faster decoding."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from datamodules.jobs.dataset_jobs import SHARD_HELP, read_shard
from datamodules.jobs.processes import num_cores
from datamodules.transcoding.dataset import transcode_dataset
from datamodules.transcoding.settings import TranscodeSettings
from lightning_modules.console import ToolParser, fail, fail_for, num_processes, say
from lightning_modules.parsing.data_of_fit import DATA, crops_of_data
from lightning_modules.parsing.parts_of_fit import take_parts


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `transcode` and its options.

    Raises:
        SystemExit: With code 1 if a video could not be done, 2 on a user's mistake.
        KeyboardInterrupt: Ctrl-C, after what is under way was put away.
    """
    about_data, own = take_parts(words[1:], DATA)
    options = _parser().parse_args(own)
    report = transcode_dataset(
        options.source,
        options.target,
        settings_of(options, about_data),
        num_workers=num_processes(options.workers, num_cores()),
        shard=read_shard(options.shard),
        say=say,
    )
    fail_for([(job.video, reason) for job, reason in report.failed], "are not there")


def settings_of(options: Namespace, about_data: Sequence[str]) -> TranscodeSettings:
    """Make the settings that options ask for.

    Args:
        options: Those of `add_settings`.
        about_data: The words of a fit that tell its crops; empty for none.

    Raises:
        UserError: If a number is out of its range.
        SystemExit: With code 2 if the short side is told twice.
    """
    side = options.short_side
    if side is not None and about_data:
        fail("--short_side and --config both tell the short side; leave one of them out")
    if side is None and about_data:
        crops = crops_of_data("transcode", about_data)
        side = max(crops.side, crops.max_short_side or 0)
    side = TranscodeSettings.short_side if side is None else side
    return TranscodeSettings(side, options.key_frames, options.quality, not options.small)


def add_settings(parser: ToolParser) -> None:
    """Add the options that tell size and encoding.

    Args:
        parser: The parser of a tool.
    """
    add = parser.add_argument
    text = "config of a fit, whose crops give the short side; --data.KEY of a fit change it"
    add("--config", metavar="FILE", help=text)
    text = "short side of the frames, in pixels; smaller ones stay (the config's largest, or 256)"
    add("--short_side", type=int, default=None, help=text)
    text = "frames from one key frame to the next"
    add("--key_frames", type=int, default=TranscodeSettings.key_frames, help=text)
    text = "x264's constant rate factor, 0 (lossless) to 51"
    add("--quality", type=int, default=TranscodeSettings.quality, help=text)
    text = "smaller files that decode more slowly: with loop filter and arithmetic coding"
    add("--small", action="store_true", help=text)


def _parser() -> ToolParser:
    parser = ToolParser(
        "transcode",
        "Encode every video once more, small and with near key frames: training then decodes large "
        "H.264 videos in about a fifth of the time (docs/loading.md). Names, times and lists stay: "
        "give DST as data.root; score files say that the videos are not the original ones. Frames "
        "and times of each new file are compared with the old one's. A run that was stopped is "
        "continued by the same command. Several machines share the work with --shard.",
    )
    add = parser.add_argument
    add("source", metavar="SRC", help="folder of video files, at any depth")
    add("target", type=Path, metavar="DST", help="folder for the new files, with SRC's structure")
    add_settings(parser)
    text = "processes, 0 for none but this one (one per core)"
    add("--workers", type=int, default=None, help=text)
    add("--shard", default="0/1", metavar="I/N", help=SHARD_HELP)
    return parser

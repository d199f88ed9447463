"""kinetoscope pack: a dataset's files in tar shards that DataModules read as they are."""

import math
from collections.abc import Sequence
from pathlib import Path

from datamodules.jobs.dataset_jobs import read_shard
from datamodules.jobs.processes import num_cores
from datamodules.packing.dataset import SHARD_BYTES, index_archives, pack_dataset
from lightning_modules.commands.datasets.transcode import add_settings, settings_of
from lightning_modules.console import ToolParser, fail, fail_for, num_processes, say
from lightning_modules.parsing.data_of_fit import DATA
from lightning_modules.parsing.parts_of_fit import take_parts


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `pack` and its options.

    Raises:
        SystemExit: With code 1 if a file could not be packed, 2 on a user's mistake.
        KeyboardInterrupt: Ctrl-C, after what is under way was put away.
    """
    about_data, own = take_parts(words[1:], DATA)
    parser = _parser()
    options = parser.parse_args(own)
    encoding = ("short_side", "key_frames", "quality", "small")
    given = any(getattr(options, name) != parser.get_default(name) for name in encoding)
    if not options.transcode and (about_data or given):
        fail("the short side and the encoding go with --transcode; add it, or leave them out")
    if options.transcode and options.index_only:
        fail("--index_only leaves archives as they are; leave it or --transcode out")
    workers, shard = num_processes(options.workers, num_cores()), read_shard(options.shard)
    places = options.source, options.target
    if options.index_only:
        indexed = index_archives(*places, num_workers=workers, shard=shard, say=say)
        fail_for([(str(job), reason) for job, reason in indexed.failed], "have no index", "shard")
        return
    if not 0 < options.shard_mb < math.inf:
        fail(f"--shard_mb {options.shard_mb} is not possible; give a number above 0")
    size = round(options.shard_mb * 1e6)
    made = pack_dataset(
        *places,
        shard_bytes=size,
        transcoding=settings_of(options, about_data) if options.transcode else None,
        num_workers=workers,
        shard=shard,
        say=say,
    )
    fail_for([(str(job), reason) for job, reason in made.failed], "are not there", "shard")


def _parser() -> ToolParser:
    parser = ToolParser(
        "pack",
        "Pack a dataset of many files into a few tar shards: for file systems and quotas that many "
        "files are too much for, and for object storage. Names stay: give DST, or the address of a "
        "copy of it such as s3://bucket/DST, as data.root; lists are taken over. The shards are "
        "plain tars, named as WebDataset does. Each is read back and compared before it counts. A "
        "run that was stopped is continued by the same command. Several machines share the work "
        "with --shard.\n\n"
        "What is packed already, in webdataset's tars or in zip files that store their videos as "
        "they are, is only indexed with --index_only: SRC stays as it is, and DST, which holds the "
        "index, is given as data.root. Labels of webdataset (a .cls beside each video) become "
        "lists.\n\n"
        "With --transcode videos are encoded once more on the way, as `transcode` does, without a "
        "folder of them in between.",
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SRC", help="folder of videos and frame folders, at any depth")
    add("target", type=Path, metavar="DST", help="folder for the shards, or for the index alone")
    text = "make an index of the tar and zip files in SRC, and nothing else"
    add("--index_only", action="store_true", help=text)
    text = "megabytes of SRC's files from which a shard is full"
    add("--shard_mb", type=float, default=SHARD_BYTES / 1e6, help=text)
    text = "encode videos once more, with the options from --config to --small"
    add("--transcode", action="store_true", help=text)
    add_settings(parser)
    text = "processes, 0 for none but this one (one per core)"
    add("--workers", type=int, default=None, help=text)
    text = "this run's part of the shards, such as 0/4 to 3/4 for four runs"
    add("--shard", default="0/1", metavar="I/N", help=text)
    return parser

"""kinetoscope doctor: examination of a dataset before hours are spent on it."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from rich.console import Console

from datamodules import VideoDataModule
from datamodules.atomic import locked, write_atomically
from datamodules.errors import UserError
from datamodules.health.examination import Examination, ExaminationSettings, examine
from datamodules.health.findings import Finding, count_of
from datamodules.health.loading import LoaderSpeed
from datamodules.jobs.dataset_jobs import SHARD_HELP, read_shard
from datamodules.jobs.processes import num_cores
from datamodules.plugins.trusted import resolve
from lightning_modules.console import COMMAND, HelpFormatter
from lightning_modules.parsing.config_names import with_configs_found
from lightning_modules.parsing.null_words import set_nulls, split_nulls
from lightning_modules.parsing.parser import (
    VideoParser,
    allow_known_classes,
    constructors_mistakes,
    subclasses_of,
)
from lightning_modules.parsing.parts_of_fit import ignore_parts, parts_but, without_parts
from lightning_modules.reports.doctor.page import write_page
from lightning_modules.reports.doctor.terminal import print_report
from models import VideoNetwork

UNHEALTHY = 1
"""Exit code where a finding is fatal."""

_OF_TRAINING = ("num_classes", "init_from", "compile", "label_smoothing", "average")
"""Arguments of a module that a network is not made of."""

IGNORED = parts_but("data", "seed_everything", "out")
"""Keys of a fit that say nothing about its data."""

DESCRIPTION = """\
Examine a dataset before training on it: are the lists right, is every file there, does it decode,
is anything in training and in test, how fast does this machine load it? Give the words of your fit:
what they say about model, trainer and run is ignored, but for the network that a config names: it
trains on one batch for a moment, to tell whether the loader keeps up with it, and where there is a
GPU, its convolutions are tried in bfloat16.

  kinetoscope doctor --config data/ucf101 --data.root data/ucf101
  kinetoscope doctor --config data/kinetics --full --workers 16
  kinetoscope doctor --config data/hmdb51 --near_duplicates
  kinetoscope doctor --config my.yaml --json | jq '.findings[] | select(.level == "fatal")'

Nothing in the dataset is changed. Every result is written down at once: stopped with Ctrl-C, the
same command goes on where it was, and files that change are decoded again. Several machines share
the decoding with --shard and one --out; the run that ends last writes the report.
"""
EPILOG = """\
Findings have three levels:
  fatal    a training would fail, or its result would be wrong: no videos, more broken ones than
           data.max_broken_fraction, test videos in training, a class without training videos
  warning  it would work, but worse than it could: missing or broken videos, wrong counts, ...
  note     good to know
Exit codes: 0 nothing fatal, 1 a fatal finding, 2 a mistake in the command, 130 Ctrl-C.
docs/doctor.md explains every finding.
"""


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `doctor` and its options.

    Raises:
        SystemExit: With code 1 if a finding is fatal, 2 on a user's mistake.
    """
    allow_known_classes()
    parser = _parser()
    about_data = without_parts(with_configs_found(words)[1:], IGNORED)
    about_data, nulls = split_nulls(about_data)
    options = parser.parse_args(about_data)
    set_nulls(options, nulls)
    allow_missing = bool(options.data.init_args.allow_missing)
    options.data.init_args.allow_missing = True
    with constructors_mistakes():
        data: VideoDataModule = parser.instantiate_classes(options).data
    settings = _settings(options, data)
    network = _network_of(options.model)
    _make_folder(settings.folder)
    try:
        found = examine(data, settings, allow_missing)
    except KeyboardInterrupt:
        sys.stderr.write(f"{COMMAND}: what was decoded is kept; the same command goes on from it\n")
        raise
    if found.left:
        left = f"{count_of(found.left, 'video')} left for other runs"
        sys.stderr.write(f"{COMMAND}: {left}; the last one writes the report\n")
        return
    found.findings += _about_network(network, data, found.speeds, options.measure)
    _report(found, settings.folder, bool(options.json))
    if found.is_fatal:
        raise SystemExit(UNHEALTHY)


def _report(found: Examination, folder: Path, as_json: bool) -> None:
    """Write page and findings, and print them."""
    with locked(folder / ".lock", wait=True):  # runs that share the work may end together
        page = write_page(found, folder / "report.html")
        text = json.dumps({**found.as_dict(), "page": str(page)}, indent=2)
        write_atomically(folder / "findings.json", text + "\n", lone=True)
    if as_json:
        sys.stdout.write(text + "\n")
    else:
        print_report(found, page, Console(width=None if sys.stdout.isatty() else 120))


def _parser() -> VideoParser:
    parser = VideoParser(
        prog=f"{COMMAND} doctor",
        usage=f"{COMMAND} doctor --config FILE [--config FILE ...] [--data.KEY VALUE] [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--config", action="config", help="config of a fit, or of its data")
    parser.add_argument("--full", action="store_true", help="decode every video, not a sample")
    parser.add_argument(
        "--near_duplicates",
        action="store_true",
        help="decode every video, and find those that show the same moments as training ones",
    )
    parser.add_argument("--sample", type=int, default=200, help="videos to decode of each list")
    parser.add_argument(
        "--workers",
        type=int,
        default=num_cores(),
        help="decoding processes",
    )
    parser.add_argument("--shard", default="0/1", metavar="I/N", help=SHARD_HELP)
    parser.add_argument(
        "--limit", type=float, default=120.0, help="seconds that decoding a video may take"
    )
    parser.add_argument(
        "--measure", type=float, default=3.0, help="seconds to time each loader, 0 for none"
    )
    parser.add_argument("--json", action="store_true", help="print findings as JSON, nothing else")
    parser.add_argument(
        "--out", type=str | None, default=None, help="folder of the report (runs/doctor/ROOT)"
    )
    parser.add_argument("--seed_everything", type=Any, default=0, help="seed of a fit")
    parser.add_lightning_class_args(VideoDataModule, "data", subclass_mode=True, required=True)
    parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
    ignore_parts(parser, IGNORED)
    return parser


def _network_of(model: Mapping[str, Any] | str | None) -> VideoNetwork | None:
    """Make the network that a config names; None where it names none.

    Raises:
        UserError: If it cannot be made.
    """
    if not isinstance(model, Mapping) or "class_path" not in model:
        return None
    arguments = model.get("init_args") or {}
    if "network" not in arguments:
        return None
    # imported here, as data alone need none of it
    from lightning_modules.base import VideoClassifier

    name = str(model["class_path"])
    families: list[type[VideoClassifier]] = [VideoClassifier, *subclasses_of(VideoClassifier)]
    known = {family.__name__: family for family in families}
    family = known[name] if name in known else resolve(name, VideoClassifier)
    own: dict[str, Any] = {
        key: value
        for key, value in arguments.items()
        if isinstance(value, bool | int | float | str) and key not in _OF_TRAINING
    }
    return family(**own, num_classes=2).network


def _about_network(
    network: VideoNetwork | None,
    data: VideoDataModule,
    speeds: Sequence[LoaderSpeed],
    seconds: float,
) -> list[Finding]:
    """Try the config's network: its steps, and its convolutions where there is a GPU."""
    if network is None:
        return []
    # imported here, as data alone need none of it
    from lightning_modules.training.gpu_libraries import convolution_findings
    from lightning_modules.training.step_rate import step_findings

    clip = data.spec.sampling.clip_len, data.spec.crops.size
    findings = []
    if torch.cuda.is_available():
        findings += convolution_findings(network, *clip, torch.device("cuda"))
    if seconds and speeds:
        findings += step_findings(network, clip, data.loading.batch_size, speeds, seconds)
    return findings


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out {folder} cannot be made a folder ({error.strerror}); give another place"
        ) from error


def _settings(options: Namespace, data: VideoDataModule) -> ExaminationSettings:
    folder = options.out or Path("runs", "doctor", data.root.absolute().name)
    return ExaminationSettings(
        folder=Path(folder),
        sample=None if options.full else options.sample,
        workers=options.workers,
        limit=options.limit,
        near_duplicates=options.near_duplicates,
        measure=options.measure,
        progress=sys.stderr.isatty(),
        shard=read_shard(options.shard),
    )

"""kinetoscope predict: labels of videos from nothing but a checkpoint and the files."""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import get_args

from datamodules.atomic import check_room
from datamodules.errors import as_storage_error
from datamodules.jobs.progress import progress_bar
from datamodules.streaming.windows import Spacing
from lightning_modules.checkpoints import open_checkpoint
from lightning_modules.commands.timelines import label_live, label_timelines, print_events
from lightning_modules.console import ToolParser, fail, say
from lightning_modules.prediction.answers import Answers, read_thresholds
from lightning_modules.prediction.inputs import FLOW_METHOD_HELP, FLOW_METHODS, NetworkInput
from lightning_modules.prediction.scoring import Precision, Scorer
from lightning_modules.prediction.stored_rows import SUFFIXES
from lightning_modules.prediction.unfinished import Unfinished
from lightning_modules.prediction.videos import (
    VIDEO_HELP,
    Prediction,
    find_videos,
    label,
    write_predictions,
)

ADVICE = "make room, or name another file with --out"
"""What helps where nothing can be written; the end of a sentence."""

INCOMPLETE = 1
"""Exit code where some of the videos could not be labelled."""

_LEAST = (("top", 1), ("num_clips", 1), ("batch_size", 1), ("num_workers", 0))


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `predict` and its options.

    Raises:
        SystemExit: With code 1 if some videos could not be labelled, 2 if none could.
    """
    options = _parser().parse_args(words[1:])
    _check(options)
    if options.events is not None:
        print_events(options)
        return
    paths = find_videos(options.videos)
    scorer = Scorer(
        open_checkpoint(options.ckpt_path), options.device, options.precision, options.batch_size
    )
    answers = Answers(
        scorer.module.label_form,
        scorer.module.class_names,
        options.top,
        options.threshold,
        {} if options.thresholds is None else read_thresholds(options.thresholds),
    )
    network_input = NetworkInput.of(
        scorer.module,
        None if options.window is None else Spacing(options.window, options.step),
        num_clips=options.num_clips,
        num_crops=options.num_crops,
        flow_method=options.flow_method,
        say=say,
    )
    with as_storage_error(options.out, ADVICE):
        check_room(Path(options.out).parent)
    settings = {
        "weights": scorer.weights,
        "precision": options.precision,
        **{k: str(v) for k, v in vars(network_input).items() if k != "spec"},
        "frame_rate": options.frame_rate,
        "top": options.top,
        "threshold": options.threshold,
        "thresholds": dict(answers.thresholds),
    }
    if options.source is not None:  # its time cannot be wound back: what was killed is another run
        settings["began"] = datetime.now().isoformat(timespec="seconds")
    with Unfinished(Path(options.out), settings) as kept:
        if options.source is not None:
            label_live(scorer, network_input, answers, kept, options)
            return
        if options.window is not None:
            labelled = label_timelines(scorer, network_input, answers, kept, paths, options)
        else:
            labelled = _label_videos(scorer, network_input, answers, kept, paths, options)
    if not labelled:
        fail("none of the given videos could be read; see the lines above for each reason")
    if labelled < len(paths):
        without = f"{len(paths) - labelled} of {len(paths)} videos have no label"
        fail(f"{without}; see the lines above", INCOMPLETE)


def _label_videos(
    scorer: Scorer,
    network_input: NetworkInput,
    answers: Answers,
    kept: Unfinished,
    paths: list[str],
    options: argparse.Namespace,
) -> int:
    """Give each whole video its labels, and return the number of those that have some."""
    done = {p.video: p for p in (Prediction(**result) for result in kept) if not p.error}
    rest = [path for path in paths if path not in done]
    if len(rest) < len(paths):
        say(f"{len(paths) - len(rest)} of {len(paths)} videos were labelled before")
    loader = network_input.loader(rest, options.batch_size, options.num_workers)
    try:
        with progress_bar("videos", shown=sys.stderr.isatty()) as bar:
            labelled = label(scorer, loader, answers)
            for prediction in bar.track(labelled, total=len(rest), description="labelling"):
                say(str(prediction))
                with as_storage_error(options.out, ADVICE):
                    kept.add(vars(prediction))
                done[prediction.video] = prediction
    except KeyboardInterrupt:
        say(f"{len(done)} of {len(paths)} videos done; the same command goes on with the rest")
        raise
    with as_storage_error(options.out, ADVICE):
        rows = [done[path] for path in paths]
        write_predictions(Path(options.out), rows)
    kept.finish()
    good = sum(not prediction.error for prediction in rows)
    say(f"{good} of {len(paths)} labelled, written to {options.out}")
    return good


def _check(options: argparse.Namespace) -> None:
    """Refuse options that do not fit each other."""
    if Path(options.out).suffix not in SUFFIXES:
        fail(f"--out {options.out} is neither .csv nor .jsonl; choose one of these")
    for name, least in _LEAST:
        value = getattr(options, name)
        if value is not None and value < least:
            fail(f"--{name} {value} is too small; give at least {least}")
    given = [name for name in ("videos", "source", "events") if getattr(options, name)]
    if len(given) != 1:
        fail("videos are required, or --source, or --events (all options: predict --help)")
    if options.ckpt_path is None and options.events is None:
        fail("required and not given: --ckpt_path (all options: predict --help)")
    is_timeline = options.window is not None or options.events is not None
    for name in ("step", "frame_rate", "annotate"):
        if getattr(options, name) is not None and not is_timeline:
            fail(f"--{name} has no meaning without --window; give it too, such as --window 2")
    if options.events is not None and options.thresholds is not None:
        fail("--thresholds has no meaning with --events; give --threshold, one for all classes")
    if options.source is not None and options.window is None:
        fail("--source has no end, so it needs windows; give --window too, such as --window 2")
    if options.source is not None and options.annotate is not None:
        fail("--annotate reads a video twice, which --source cannot; leave one of them out")


def _parser() -> ToolParser:
    parser = ToolParser(
        "predict",
        "Label videos with a checkpoint; nothing else is needed. With --window every stretch of "
        "time gets its labels. A run that was stopped is continued by the same command. Exit "
        "codes: 0 all videos are labelled, 1 some are not, 2 none is, or a mistake in the command.",
    )
    add = parser.add_argument
    add("--ckpt_path", help="checkpoint of a fit")
    add("--out", default="predictions.csv", help="table to write, .csv or .jsonl")
    text = "classes to show for each video or stretch of time (5; of several columns 1 of each)"
    add("--top", type=int, help=text)
    text = "least probability of a class to show, where a video may have any number (0.5)"
    add("--threshold", type=float, help=text + ", or of an event")
    text = "table (class,threshold) of classes that have a threshold of their own"
    add("--thresholds", type=Path, metavar="FILE", help=text)
    add("--num_clips", type=int, help="clips per video (the test protocol's) or window (1)")
    text = "crops per clip (the test protocol's; of windows 1)"
    add("--num_crops", type=int, choices=(1, 2, 3, 10), help=text)
    add("--flow_method", choices=FLOW_METHODS, help=FLOW_METHOD_HELP)
    add("--batch_size", type=int, default=8, help="videos, or windows, at a time")
    add("--num_workers", type=int, default=0, help="decoding processes, for whole videos")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    text = "numbers to compute with; float32 as in a test"
    add("--precision", choices=get_args(Precision), default="float32", help=text)
    time = parser.add_argument_group("labels along time")
    add = time.add_argument
    text = "windows of this length: seconds (2), frames (16f), or the span of one clip (clip)"
    add("--window", metavar="LENGTH", help=text)
    text = "from the begin of a window to that of the next (half a window)"
    add("--step", metavar="LENGTH", help=text)
    text = "frames per second to take (the video's own); needed for folders of images"
    add("--frame_rate", type=float, metavar="RATE", help=text)
    add("--annotate", type=Path, metavar="DIR", help="write mp4s that show the labels there")
    text = "label a camera (camera:0), a stream's address, standard input (-), or lavfi:FILTER"
    add("--source", metavar="ADDRESS", help=text)
    add("--seconds", type=float, help="time after which --source ends")
    events = parser.add_argument_group("events from rows that --window wrote; no network runs")
    add = events.add_argument
    add("--events", type=Path, metavar="ROWS", help="merge the rows of this table into events")
    add("--min_length", type=float, default=0.0, metavar="SECONDS", help="of an event")
    text = "time below the threshold that an event bridges"
    add("--max_gap", type=float, default=0.0, metavar="SECONDS", help=text)
    parser.add_argument("videos", nargs="*", help=VIDEO_HELP)
    return parser

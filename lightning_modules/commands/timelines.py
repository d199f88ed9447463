"""The parts of `kinetoscope predict` that label along time: files, live sources, stored rows."""

import argparse
import math
from pathlib import Path

from datamodules.atomic import check_room
from datamodules.errors import as_storage_error
from datamodules.jobs.dataset_jobs import follow_pass
from datamodules.streaming.live import LiveFrames
from datamodules.video.errors import VideoError
from lightning_modules.console import fail, say
from lightning_modules.prediction.annotated_video import annotate_all
from lightning_modules.prediction.answers import THRESHOLD, Answers
from lightning_modules.prediction.events import find_events
from lightning_modules.prediction.inputs import NetworkInput
from lightning_modules.prediction.scoring import Scorer
from lightning_modules.prediction.stored_rows import read_stored_rows, write_stored_rows
from lightning_modules.prediction.table import Row
from lightning_modules.prediction.timelines import Timelines, follow
from lightning_modules.prediction.unfinished import Unfinished

ADVICE = "make room, or name another file with --out"
"""What helps where nothing can be written; the end of a sentence."""


def label_timelines(
    scorer: Scorer,
    network_input: NetworkInput,
    answers: Answers,
    kept: Unfinished,
    paths: list[str],
    options: argparse.Namespace,
) -> int:
    """Give each video a timeline.

    Returns:
        Number of videos that have one.
    """
    timelines = Timelines(
        scorer,
        network_input,
        kept,
        answers=answers,
        batch_size=1 if network_input.is_whole_frames else options.batch_size,
        frame_rate=options.frame_rate,
    )
    done = set(timelines.done)
    rest = [path for path in paths if path not in done]
    known = len(paths) - len(rest)
    report = follow_pass("labelling", timelines.label(rest), len(paths), known=known, say=say)
    for video, reason in report.failed:
        say(f"{video}: not labelled, {reason}")
    out = Path(options.out)
    with as_storage_error(out, ADVICE):
        count = timelines.write(out)
    say(f"{report}; {count} rows written to {out}")
    if options.annotate is not None:
        _annotate(options)
    return report.done


def _annotate(options: argparse.Namespace) -> None:
    with as_storage_error(options.annotate, "make room, or name another folder with --annotate"):
        check_room(options.annotate)
        for path in annotate_all(
            read_stored_rows(options.events or Path(options.out)),
            options.annotate,
            options.frame_rate,
        ):
            say(f"labels shown in {path}")


def label_live(
    scorer: Scorer,
    network_input: NetworkInput,
    answers: Answers,
    kept: Unfinished,
    options: argparse.Namespace,
) -> None:
    """Label a camera or stream until it ends, or Ctrl-C; say how late each label comes."""
    names, out = scorer.module.class_names, Path(options.out)
    timelines = Timelines(scorer, network_input, kept, answers=answers, batch_size=1)
    delays = [math.inf, 0.0, 0.0]  # least, sum, most
    count = 0
    try:
        source = LiveFrames(options.source, options.frame_rate)
    except VideoError as error:
        fail(str(error))
    with source:
        grid = network_input.windows(source)
        window, step = grid.length / source.frame_rate, grid.step / source.frame_rate
        say(
            f"{source.name}: windows of {window:.2f} s every {step:.2f} s; a label comes "
            f"{window - step:.2f} s after the end of its stretch, and what the network takes; "
            "Ctrl-C ends it"
        )
        try:
            for cell, delay in follow(scorer, source, network_input, options.seconds):
                rows = timelines.keep_cell(source.name, cell)
                shown = rows[:1] if answers.form.is_single else rows
                count += 1
                delays = [min(delays[0], delay), delays[1] + delay, max(delays[2], delay)]
                named = ", ".join(f"{row.label} {100 * row.probability:.1f} %" for row in shown)
                say(f"{cell.start:.2f}-{cell.end:.2f} s  {named}  ({delay:+.2f} s)")
        except KeyboardInterrupt:
            say("stopped")
        except VideoError as error:
            say(str(error))
    if not count:
        fail(f"{options.source} ended before its first window was over; nothing was labelled")
    with as_storage_error(out, ADVICE):
        written = timelines.write(out)
    least, total, most = delays
    say(
        f"{count} stretches of {len(names)} classes, {written} rows written to {out}; labels came "
        f"{least:.2f} to {most:.2f} s after their stretch, {total / count:.2f} s on average"
        + (f"; {source.damaged} damaged packets left out" if source.damaged else "")
    )


def print_events(options: argparse.Namespace) -> None:
    """Merge stored rows into events, and write and print these."""
    out = Path(options.out)
    if options.events.resolve() == out.resolve():
        fail(f"--out {out} would replace the rows; name another file")
    rows = (row for row in read_stored_rows(options.events) if isinstance(row, Row))
    threshold = THRESHOLD if options.threshold is None else options.threshold
    events = find_events(rows, threshold, options.min_length, options.max_gap)
    with as_storage_error(out, ADVICE):
        check_room(out.parent)
        count = write_stored_rows(out, events)
    say(f"{count} events, written to {out}")
    if options.annotate is not None:
        _annotate(options)

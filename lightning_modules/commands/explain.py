"""kinetoscope explain: what a network looks at, as a page with playable clips."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, get_args

from datamodules import VideoDataModule
from datamodules.atomic import check_room
from datamodules.errors import as_storage_error
from datamodules.jobs.progress import progress_bar
from lightning_modules.base import VideoClassifier
from lightning_modules.checkpoints import open_checkpoint
from lightning_modules.console import OTHER_FOLDER, ToolParser, fail, nearest, say
from lightning_modules.dashboards.items import Table
from lightning_modules.dashboards.wandb_beside import RecordedLook, send_look
from lightning_modules.explaining.cam import Method
from lightning_modules.explaining.clip_report import explain_clip, file_stems
from lightning_modules.explaining.clips import ClipReader
from lightning_modules.explaining.embeddings import Embedding, collect
from lightning_modules.explaining.error_report import explain_errors
from lightning_modules.explaining.families import Family, family_of
from lightning_modules.explaining.split_report import explain_split, neighbours
from lightning_modules.parsing.data_of_fit import DATA, open_data
from lightning_modules.parsing.parts_of_fit import take_parts
from lightning_modules.prediction.inputs import FLOW_METHOD_HELP, FLOW_METHODS, NetworkInput
from lightning_modules.prediction.scoring import Scorer
from lightning_modules.prediction.videos import VIDEO_HELP, find_videos
from lightning_modules.reports.html_page import save_page, section
from lightning_modules.runs.folder import folder_of_checkpoint
from lightning_modules.runs.wandb_runs import WandbAddress
from lightning_modules.session.wandb_staging import stage_in

PAGE = "index.html"

_LEAST = (("batch_size", 1), ("num_workers", 0), ("limit", 4))

_VIDEO, _NEAR, _SPLIT, _ERRORS = "VIDEO", "VIDEO with --data", "--data alone", "--errors"
_GOES_WITH = {
    "class_name": (_VIDEO,),
    "flow_method": (_VIDEO,),
    "layer": (_VIDEO, _ERRORS),
    "method": (_VIDEO, _ERRORS),
    "split": (_SPLIT,),
    "embedding": (_SPLIT,),
    "limit": (_SPLIT, _NEAR),
    "batch_size": (_SPLIT, _NEAR),
    "num_workers": (_SPLIT, _NEAR),
    "no_wandb": (_ERRORS,),
}
"""What each option says something about."""


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `explain` and its options.

    Raises:
        SystemExit: With code 1 if some videos could not be explained, 2 if none could.
    """
    about_data, own = take_parts(words[1:], DATA)
    parser = _parser()
    options = parser.parse_args(own)
    _check(options, bool(about_data))
    changed = [key for key in _GOES_WITH if getattr(options, key) != parser.get_default(key)]
    _refuse_ignored(options, changed, bool(about_data))
    paths = find_videos(options.videos)
    scorer = Scorer(open_checkpoint(options.ckpt_path), options.device)
    module = scorer.module
    label = _label(options.class_name, module.class_names)
    given = NetworkInput.of(module, flow_method=options.flow_method, say=say) if paths else None
    data = _open(about_data, module) if about_data else None
    with _new_folder(options.out):
        family = family_of(
            module.network, module.class_names, options.out, module.classes.head.probabilities
        )
        broken: list[str] = []
        if given is not None:
            training = None if data is None else _training(scorer, data, options)
            clips = ClipReader(scorer, given)
            made = _explain_videos(clips, family, paths, training, broken, label, options)
            what = f"{len(paths)} video(s)"
        else:
            assert data is not None
            made, what = _explain_data(scorer, family, data, options)
        page = save_page(
            options.out / PAGE,
            "What the network looks at",
            f"{options.ckpt_path}, {module.network_name}, {date.today().isoformat()}",
            f"{module.network_name} on {what}",
            good=None,
            sections=made,
        )
    say(f"written: {page}")
    if broken:
        fail(f"{len(broken)} of {len(paths)} videos are not explained; see the lines above", 1)


def _open(about_data: list[str], module: VideoClassifier) -> VideoDataModule:
    """Open the data."""
    if not module.label_form.is_single:
        fail(
            "a video may have several classes here, which statistics of a split and mistakes do "
            "not know; give VIDEO without --data and --config"
        )
    return open_data("explain", about_data, module.input_spec["sampling"])


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make the folder of the page; take it away again where nothing came into it."""
    is_new = not folder.exists()
    with as_storage_error(folder, OTHER_FOLDER):
        check_room(folder)
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def _training(scorer: Scorer, data: VideoDataModule, options: argparse.Namespace) -> Embedding:
    """Collect the training clips that may be the neighbours of a video."""
    reader = ClipReader.of_data(scorer, data, options.batch_size, options.num_workers)
    return collect(scorer, _pass(reader, data, "train", options))


def _explain_data(
    scorer: Scorer, family: Family, data: VideoDataModule, options: argparse.Namespace
) -> tuple[list[str], str]:
    """Make the sections of a split, or of a test's mistakes, and say what they are about."""
    reader = ClipReader.of_data(scorer, data, options.batch_size, options.num_workers)
    if options.errors is not None:
        made = explain_errors(reader, family, data, options.errors, options.layer, options.method)
        _send(scorer, made.table, options)
        return made.sections, "the mistakes of a test"
    batches = _pass(reader, data, options.split, options)
    statistics = explain_split(reader, family, batches, options.split, options.embedding)
    return statistics, f"the {options.split} split"


def _send(scorer: Scorer, table: Table, options: argparse.Namespace) -> None:
    """Send the mistakes to W&B, where the run that trained is there."""
    folder = folder_of_checkpoint(options.ckpt_path)
    if options.no_wandb or WandbAddress.read(folder) is None:
        return
    stage_in(folder)
    name = options.errors.stem.removeprefix("scores_")
    about = RecordedLook(f"mistakes of {name}", {"mistakes": table})
    send_look(folder, scorer.module.origin.run.get("id"), about)


def _explain_videos(
    reader: ClipReader,
    family: Family,
    paths: list[str],
    training: Embedding | None,
    broken: list[str],
    label: int | None,
    options: argparse.Namespace,
) -> list[str]:
    """Make a section for each video; note the names of those that cannot be read."""
    made = []
    stems = dict(zip(paths, file_stems(paths), strict=True))
    with progress_bar("videos", shown=sys.stderr.isatty()) as bar:
        found = reader.of_videos(paths)
        for clip in bar.track(found, total=len(paths), description="explaining"):
            if isinstance(clip, tuple):
                broken.append(clip[0])
                say(f"{clip[0]}: not explained, {clip[1]}")
                continue
            near = ""
            if training is not None:
                features = reader.scorer.pooled_features(clip.inputs).cpu()
                near = neighbours(features, training, family.class_names)
            stem = stems[clip.name]
            cards = explain_clip(
                family,
                clip,
                stem,
                label=label,
                layer=options.layer,
                method=options.method,
                more=near,
            )
            made.append(section(clip.name, cards))
    if not made:
        fail("none of the given videos could be read; see the lines above for each reason")
    return made


def _pass(
    reader: ClipReader, data: VideoDataModule, name: str, options: argparse.Namespace
) -> Iterator[Any]:
    """Go over a split, with a bar."""
    split = {"train": data.train_set, "val": data.val_set, "test": data.test_set}[name]
    total = min(options.limit, len(split.table.present))
    with progress_bar("videos", shown=sys.stderr.isatty()) as bar:
        task = bar.add_task(f"{name} split", total=total)
        for batch in reader.passes(split, options.limit):
            yield batch
            bar.advance(task, len(batch["label"]))


def _label(name: str | None, class_names: Sequence[str]) -> int | None:
    """Find the class that is explained."""
    if name is None:
        return None
    if name not in class_names:
        fail(f"--class {name} is no class of the checkpoint{nearest(name, class_names)}")
    return class_names.index(name)


def _check(options: argparse.Namespace, has_data: bool) -> None:
    """Refuse options that do not fit each other."""
    for name, least in _LEAST:
        if getattr(options, name) < least:
            fail(f"--{name} {getattr(options, name)} is too small; give at least {least}")
    if not options.videos and not has_data:
        fail("videos are required, or --data (all options: explain --help)")
    if options.errors is not None and (not has_data or options.videos):
        fail("--errors goes with --data, which has the videos of the score file, and without VIDEO")


def _refuse_ignored(options: argparse.Namespace, given: Sequence[str], has_data: bool) -> None:
    """Refuse options that say nothing about what is shown."""
    shown = {_ERRORS} if options.errors is not None else {_SPLIT}
    if options.videos:
        shown = {_VIDEO, _NEAR} if has_data else {_VIDEO}
    for key in given:
        if shown.isdisjoint(_GOES_WITH[key]):
            name = {"class_name": "class"}.get(key, key)
            fail(f"--{name} has no meaning here: it goes with {' or '.join(_GOES_WITH[key])}")


def _parser() -> ToolParser:
    parser = ToolParser(
        "explain",
        "Show what a network looks at: a page that needs no network, with PNGs and mp4s beside it. "
        "Give videos, or --data (or the --config of a fit) for statistics of a split, or both for "
        "the nearest training clips of each video. Exit codes: 0 done, 1 some videos could not be "
        "read, 2 none, or a mistake in the command. docs/explain.md shows the pictures.",
    )
    add = parser.add_argument
    add("--ckpt_path", required=True, help="checkpoint of a fit")
    text = "folder of page, PNGs, mp4s, CSVs"
    add("--out", type=Path, default=Path("runs/explain"), metavar="DIR", help=text)
    text = "class that the maps speak of (the likeliest of each video)"
    add("--class", dest="class_name", metavar="NAME", help=text)
    text = "layer whose maps are shown (the features in front of the classifier)"
    add("--layer", metavar="NAME", help=text)
    text = "how the maps of a layer are made, but for those of a linear classifier, which are exact"
    add("--method", choices=get_args(Method), default="grad_cam", help=text)
    add("--flow_method", choices=FLOW_METHODS, help=FLOW_METHOD_HELP)
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    split = parser.add_argument_group("statistics over a split, and the mistakes of a test")
    add = split.add_argument
    text = "a dataset, and any --data.KEY of a fit; its sampling and crops are the checkpoint's"
    add("--data", metavar="CLASS", help=text)
    add("--config", metavar="FILE", help="config of a fit, of which the data alone is read")
    add("--split", choices=("train", "val", "test"), default="test", help="split to go over")
    add("--limit", type=int, default=1000, help="most videos to go over, taken evenly")
    text = "how the features are laid out; tsne needs kinetoscope[analysis]"
    add("--embedding", choices=("pca", "tsne"), default="pca", help=text)
    text = "score file of `test`: show the worst videos of each confusion instead"
    add("--errors", type=Path, metavar="SCORES", help=text)
    text = "leave W&B alone, which gets the mistakes where the run that trained is there"
    add("--no_wandb", action="store_true", help=text)
    add("--batch_size", type=int, default=8, help="videos at a time")
    add("--num_workers", type=int, default=0, help="decoding processes")
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help=VIDEO_HELP)
    return parser

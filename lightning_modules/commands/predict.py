"""kinetoscope predict: labels of videos from nothing but a checkpoint and the files."""

import glob
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from datamodules.annotations.table import PackedStrings, VideoTable
from datamodules.annotations.video_lists import read_video_list
from datamodules.atomic import check_room, writing_text
from datamodules.augmentation.functional import normalize, normalize_flow
from datamodules.augmentation.mirrors import refuse_mirrored_views, told_by_names
from datamodules.augmentation.pipeline import Augmentation
from datamodules.batch import VideoBatch, collate_videos
from datamodules.clips.crops import count_mirrored
from datamodules.clips.input_spec import InputSpec
from datamodules.csv_tables import write_rows
from datamodules.dataset import VideoDataset
from datamodules.errors import UserError, as_storage_error
from datamodules.flow.methods import FlowMethodName, make_flow_method
from datamodules.flow.sources import ComputedFlow
from datamodules.jobs.devices import usable_device
from datamodules.jobs.progress import progress_bar
from datamodules.plugins.described import rebuild
from datamodules.samplers import EvaluationSampler
from datamodules.video.suffixes import is_video
from lightning_modules.base import VideoClassifier
from lightning_modules.checkpoints import open_checkpoint
from lightning_modules.console import ToolParser, fail, say
from lightning_modules.training.metrics import refuse_not_finite

ADVICE = "make room, or name another file with --out"
"""What helps where nothing can be written; the end of a sentence."""

INCOMPLETE = 1
"""Exit code where some of the videos could not be labelled."""

LIST_SUFFIXES = (".txt", ".csv", ".list")
FLOW_METHODS: tuple[FlowMethodName, ...] = ("tvl1", "dis")
"""Methods that need nothing but the frames."""


@dataclass(frozen=True)
class Prediction:
    """Labels of a video, or the reason why it has none.

    Attributes:
        video: The path as it was given or found.
        classes: Class names, most probable first.
        probabilities: Their probabilities.
        error: Reason why the video could not be read; empty if it was.
    """

    video: str
    classes: list[str]
    probabilities: list[float]
    error: str = ""

    def __str__(self) -> str:
        if self.error:
            return f"{self.video}: not labelled, {self.error}"
        pairs = zip(self.classes, self.probabilities, strict=True)
        return f"{self.video}: " + ", ".join(f"{name} {100 * p:.1f} %" for name, p in pairs)


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `predict` and its options.

    Raises:
        SystemExit: With code 1 if some videos could not be labelled, 2 if none could.
    """
    options = _parser().parse_args(words[1:])
    if Path(options.out).suffix not in {".csv", ".jsonl"}:
        fail(f"--out {options.out} is neither .csv nor .jsonl; choose one of these")
    for name, least in (("top", 1), ("num_clips", 1), ("batch_size", 1), ("num_workers", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            fail(f"--{name} {value} is too small; give at least {least}")
    paths = find_videos(options.videos)
    module = open_checkpoint(options.ckpt_path).to(usable_device(options.device))
    module.views_at_once = options.batch_size
    loader = _loader(module, paths, options)
    with as_storage_error(options.out, ADVICE):
        check_room(Path(options.out).parent)
    done: list[Prediction] = []
    labelled = 0
    try:
        with progress_bar("videos", shown=sys.stderr.isatty()) as bar:
            predictions = label(module, loader, options.top)
            for prediction in bar.track(predictions, total=len(paths), description="labelling"):
                say(str(prediction))
                done.append(prediction)
    finally:
        if done:
            with as_storage_error(options.out, ADVICE):
                write_predictions(Path(options.out), done, min(options.top, module.num_classes))
            labelled = sum(not prediction.error for prediction in done)
            say(f"{labelled} of {len(paths)} labelled, written to {options.out}")
    if not labelled:
        fail("none of the given videos could be read; see the lines above for each reason")
    if labelled < len(paths):
        without = f"{len(paths) - labelled} of {len(paths)} videos have no label"
        fail(f"{without}; see the lines above", INCOMPLETE)


def _parser() -> ToolParser:
    parser = ToolParser(
        "predict",
        "Label videos with a checkpoint; nothing else is needed. Exit codes: 0 all videos are "
        "labelled, 1 some are not, 2 none is, or a mistake in the command.",
    )
    parser.add_argument("--ckpt_path", required=True, help="checkpoint of a fit")
    parser.add_argument("--out", default="predictions.csv", help="table to write, .csv or .jsonl")
    parser.add_argument("--top", type=int, default=5, help="classes to show for each video")
    parser.add_argument("--num_clips", type=int, help="clips per video (the test protocol's)")
    parser.add_argument(
        "--num_crops", type=int, choices=(1, 2, 3, 10), help="crops per clip (the test protocol's)"
    )
    parser.add_argument(
        "--flow_method",
        choices=FLOW_METHODS,
        help="how two-stream networks' optical flow is computed (as in the training)",
    )
    parser.add_argument("--batch_size", type=int, default=8, help="videos at a time")
    parser.add_argument("--num_workers", type=int, default=0, help="decoding processes")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "videos",
        nargs="+",
        help="video files, frame folders, folders of videos, or list files (.txt, .csv)",
    )
    return parser


def find_videos(given: Sequence[str]) -> list[str]:
    """List every video that the words of a command line name, in order, each once.

    Args:
        given: Files, frame folders, folders (searched to any depth), list files, glob patterns. A
            path that does not exist stays, to be reported in its order.

    Raises:
        UserError: If a folder or a list holds no video.
    """
    found: dict[str, None] = {}
    for word in given:
        matches = [word] if os.path.exists(word) else sorted(glob.glob(word, recursive=True))
        for path in matches or [word]:
            found |= dict.fromkeys(_videos_at(Path(path)))
    return list(found)


def _videos_at(path: Path) -> list[str]:
    if path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
        return [str(path.parent / video.path) for video in read_video_list(path)]
    if not path.is_dir() or is_video(path):
        return [str(path)]
    inside = [p for p in sorted(path.rglob("*")) if is_video(p)]
    if not inside:
        raise UserError(f"the folder {path} holds no video at any depth; check the path")
    return [str(p) for p in inside if not (p.is_file() and p.parent in inside)]


def _loader(module: VideoClassifier, paths: list[str], options: Any) -> DataLoader[Any]:
    table = VideoTable(
        video_ids=PackedStrings(paths),
        paths=PackedStrings(paths),
        labels=np.zeros(len(paths), dtype=np.int64),
        present=np.arange(len(paths)),
    )
    spec = InputSpec.from_dict(module.input_spec)
    num_crops = options.num_crops or module.protocol["num_crops"]
    spec.crops.check_crops(num_crops)
    if count_mirrored(num_crops) and spec.augmentation is not None:
        trained = rebuild(spec.augmentation, Augmentation)
        classes = trained.mirrored(told_by_names(module.class_names))
        refuse_mirrored_views(f"--num_crops {num_crops}", classes)
    dataset = VideoDataset(
        table,
        Path(),
        spec,
        train=False,
        num_clips=options.num_clips or module.protocol["num_clips"],
        num_crops=num_crops,
        flow=_flow(module, spec, options.flow_method),
    )
    whole = num_crops in ("full", "full_flip")
    return DataLoader(
        dataset,
        batch_size=1 if whole else options.batch_size,
        sampler=EvaluationSampler(table.present),
        num_workers=options.num_workers,
        collate_fn=collate_videos,
    )


def _flow(
    module: VideoClassifier, spec: InputSpec, wanted: FlowMethodName | None
) -> ComputedFlow | None:
    """Choose the flow that a network needs, made as in its training or as asked.

    Raises:
        UserError: If that cannot be done here.
    """
    if "flow" not in module.network.modalities:
        if wanted is not None:
            raise UserError(
                f"--flow_method {wanted} has no meaning for {module.network_name}, which "
                "takes frames alone; leave it out"
            )
        return None
    assert spec.flow is not None, "a network of flow was trained on flow"
    method = wanted or spec.flow.method
    if method not in FLOW_METHODS:
        raise UserError(
            f"the checkpoint was trained on flow of the method {method}, which cannot be computed "
            f"from a video here; give --flow_method dis or tvl1 for flow that comes near"
        )
    if method != spec.flow.method:
        say(f"note: trained on flow of {spec.flow.method}, here it is computed by {method}")
    make_flow_method(method)  # where OpenCV is missing, it is better said before any video is read
    side = spec.flow.short_side or spec.crops.side
    return ComputedFlow(Path(), replace(spec.flow, method=method, short_side=side))


@torch.inference_mode()
def label(module: VideoClassifier, loader: DataLoader[Any], top: int) -> Iterator[Prediction]:
    """Label the videos of a loader, one at a time as they are ready.

    Args:
        module: The trained module, in evaluation mode.
        loader: Batches of evaluation views.
        top: Number of classes to name for each video.
    """
    spec = InputSpec.from_dict(module.input_spec)
    names = module.class_names
    for batch in loader:
        scores = _video_probabilities(module, batch, spec)
        reasons = dict(batch["broken"])
        for sentence in batch["waits"]:
            say(sentence)
        for row, video in enumerate(batch["video_id"]):
            if video in reasons:
                yield Prediction(video, [], [], reasons[video])
                continue
            best = scores[row].topk(min(top, len(names)))
            yield Prediction(video, [names[i] for i in best.indices], best.values.tolist())


def _video_probabilities(
    module: VideoClassifier, batch: VideoBatch, spec: InputSpec
) -> torch.Tensor:
    """Compute the probabilities of each video, (B, K), its views averaged as in the test.

    Raises:
        UserError: If a score is not finite.
    """
    clips = batch["clips"].to(module.device)
    dtype = next(module.parameters()).dtype
    batch["clips"] = normalize(clips, spec.normalization.mean, spec.normalization.std, dtype)
    if "flow" in batch:
        batch["flow"] = normalize_flow(batch["flow"].to(module.device), dtype)
    logits = module.view_logits(batch)
    read = batch["valid"].tolist()
    ids = [video for video, is_read in zip(batch["video_id"], read, strict=True) if is_read]
    refuse_not_finite(logits[torch.tensor(read)], ids)
    scores = module.video_scores(logits)
    averaged_logits = module.average == "logits"
    return (scores.softmax(dim=-1) if averaged_logits else scores).cpu()


def write_predictions(path: Path, predictions: Sequence[Prediction], top: int) -> None:
    """Write a table, one video a line, as CSV or JSON lines; the file appears whole or not at all.

    Args:
        path: The file, `.csv` or `.jsonl`.
        predictions: Predictions in the order of the lines.
        top: Number of classes per video, at most those that there are.
    """
    with writing_text(path, lone=True, newline="") as file:
        if path.suffix == ".jsonl":
            for prediction in predictions:
                file.write(json.dumps(vars(prediction), ensure_ascii=False) + "\n")
        else:
            columns = [
                f"{word}_{i}" for i in range(1, top + 1) for word in ("class", "probability")
            ]
            write_rows(file, [["video", *columns, "error"]])
            write_rows(file, (_cells(prediction, len(columns)) for prediction in predictions))


def _cells(prediction: Prediction, num_columns: int) -> list[str]:
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    cells = [cell for name, p in pairs for cell in (name, f"{p:.6f}")]
    return [prediction.video, *cells, *[""] * (num_columns - len(cells)), prediction.error]

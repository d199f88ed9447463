"""The worst clips of each confusion in a score file, playable, with what the network looked at."""

from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path

import torch

from datamodules.base import VideoDataModule
from datamodules.dataset import VideoDataset
from datamodules.errors import UserError
from lightning_modules.dashboards import items
from lightning_modules.dashboards.items import Table
from lightning_modules.evaluation.stored_scores import StoredScores, read_scores
from lightning_modules.explaining.cam import Method, activation_maps, spread
from lightning_modules.explaining.clip_report import file_stems
from lightning_modules.explaining.clips import Clip, ClipReader
from lightning_modules.explaining.families import Family
from lightning_modules.explaining.pictures import RATE, enlarge, heat, play, side_by_side
from lightning_modules.reports.html_page import answer_bar, section
from lightning_modules.reports.video_table import ScoredVideo, paths_below, worst_first

__all__ = ["Mistakes", "explain_errors", "worst_of_each"]

CONFUSIONS = 8
"""Pairs of classes that are shown, the most frequent ones."""

COLUMNS = ("clip", "video_id", "truth", "answer", "probability", "loss", "path")
"""Of the table for W&B."""

EACH = 3
"""Videos of a pair."""


@dataclass(frozen=True)
class Mistakes:
    """The worst mistakes of a test, as they are shown.

    Attributes:
        sections: A section of the page for each confusion.
        table: The same videos for W&B, with the clips.
    """

    sections: list[str]
    table: Table


def explain_errors(
    reader: ClipReader,
    family: Family,
    data: VideoDataModule,
    scores: Path,
    layer: str | None = None,
    method: Method = "grad_cam",
) -> Mistakes:
    """Show the worst mistakes of a test.

    Args:
        reader: Reader of the data.
        family: The network and the folder of the files.
        data: The data that was tested.
        scores: Score file of `kinetoscope test`.
        layer: See `activation_maps`.
        method: See `activation_maps`.

    Raises:
        UserError: If the scores are those of other weights or videos.
    """
    stored = read_scores(scores)
    made_with = stored.protocol.get("weights")
    if made_with != reader.scorer.weights:
        raise UserError(
            f"{scores} holds the scores of other weights ({made_with}) than the checkpoint's "
            f"({reader.scorer.weights}); give the checkpoint that was tested"
        )
    split = _split_of(stored, data)
    positions = {name: i for i, name in enumerate(split.video_ids)}
    paths = paths_below(split.root, list(split.video_ids), list(split.table.paths))
    groups = worst_of_each(worst_first(stored, paths))
    if not groups:
        none = section("Mistakes", "<p>none: every video of the score file is right</p>")
        return Mistakes([none], Table(COLUMNS, []))
    shown = [video.video_id for _, _, group in groups for video in group]
    stems = dict(zip(shown, file_stems(shown), strict=True))
    made, rows = [], []
    for title, count, group in groups:
        cards = ""
        for video in group:
            clip = next(reader.of_split(split, [positions[video.video_id]]), None)
            seen = None if clip is None else _seen(family, clip, video, layer, method)
            cards += _card(video, family.folder / f"{stems[video.video_id]}_error.mp4", seen)
            if seen is not None:
                rows.append(_row(video, seen))
        words = "video" if count == 1 else "videos"
        made.append(section(f"{title} ({count} {words})", f'<div class="clips">{cards}</div>'))
    return Mistakes(made, Table(COLUMNS, rows))


def worst_of_each(videos: list[ScoredVideo]) -> list[tuple[str, int, list[ScoredVideo]]]:
    """Group mistakes by confusion.

    Args:
        videos: The videos of a test, the worst first.

    Returns:
        Of the most frequent confusions: what is taken for what, how often, and the worst videos.
    """
    wrong = [video for video in videos if video.answers[0][0] != video.truth]
    pairs = Counter((video.truth, video.answers[0][0]) for video in wrong)
    return [
        (
            f"{truth} taken for {answer}",
            count,
            [v for v in wrong if (v.truth, v.answers[0][0]) == (truth, answer)][:EACH],
        )
        for (truth, answer), count in pairs.most_common(CONFUSIONS)
    ]


def _split_of(stored: StoredScores, data: VideoDataModule) -> VideoDataset:
    """Find the split that was tested, by the names of its videos."""
    tested = set(stored.video_ids)
    for split in (data.test_set, data.val_set):
        if tested <= set(split.video_ids):
            return split
    raise UserError(
        f"{stored.path} names videos that neither the test nor the validation list of the data has "
        f"(such as {stored.video_ids[0]}); give the --data that was tested"
    )


def _seen(
    family: Family, clip: Clip, video: ScoredVideo, layer: str | None, method: Method
) -> items.Clip:
    """Set a clip, the map of the wrong answer, and the map of the true class side by side."""
    names = [video.answers[0][0], video.truth]
    shown = enlarge(clip.frames)
    size = (len(shown), *shown.shape[1:3])
    panels = [shown]
    for name in names:
        label = torch.tensor([family.class_names.index(name)], device=clip.inputs[0].device)
        maps = activation_maps(family.network, clip.inputs, label, layer, method)
        panels.append(heat(shown, spread(maps.values, *size)[0], maps.largest))
    title = f"clip, map of {names[0]}, map of {names[1]}, from left to right"
    return items.Clip(side_by_side(*panels), title, RATE)


def _row(video: ScoredVideo, seen: items.Clip) -> list[str | float | items.Clip]:
    answer, share = video.answers[0]
    words = [video.video_id, video.truth, answer]
    return [seen, *words, round(share, 6), round(video.loss, 6), video.path]


def _card(video: ScoredVideo, target: Path, seen: items.Clip | None) -> str:
    """Make the card of a video, whose clip is written to a file, too."""
    shown = "<p>cannot be read any more</p>"
    if seen is not None:
        words = escape(f"{seen.caption}, each on a scale of its own")
        shown = f'{play(target, seen.frames, seen.caption)}<p class="caption">{words}</p>'
    listed = list(video.answers[:3])
    if all(name != video.truth for name, _ in listed):
        listed.append((video.truth, video.of_truth))
    lines = "".join(answer_bar(name, share, name == video.truth) for name, share in listed)
    return (
        f'<div class="card">{shown}<h3>{escape(video.video_id)}</h3>'
        f'<div class="answers">{lines}</div>'
        f'<p class="caption">loss {video.loss:.2f}, {escape(video.path)}</p></div>\n'
    )

"""Score files brought to one order of videos and classes."""

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.annotations.label_form import SINGLE, LabelForm
from datamodules.csv_tables import read_rows
from datamodules.errors import UserError
from lightning_modules.evaluation.provenance import notes_on_models, refuse_other_things
from lightning_modules.evaluation.stored_scores import (
    Floats,
    Integers,
    StoredScores,
    read_scores,
)

__all__ = [
    "COMMON_ADVICE",
    "Contender",
    "Contest",
    "Floats",
    "Integers",
    "positions",
    "read_contest",
    "read_external",
    "reading_notes",
]

COMMON_ADVICE = "compare tests of the same data, or the videos that all share with --common"
"""What helps where videos differ; the end of a sentence."""


@dataclass(frozen=True)
class Contender:
    """A model under a name, tested once or, with several seeds, several times.

    Attributes:
        name: Name in the report.
        scores: Probabilities of each video, averaged over its views as its protocol says; one
            array for each seed, (N, K).
        protocol: Protocol of the first of its tests.
        logits: The network's own outputs averaged over the views, for each seed, (N, K).
    """

    name: str
    scores: Sequence[Floats]
    protocol: Mapping[str, Any]
    logits: Sequence[Floats]


@dataclass(frozen=True)
class Contest:
    """Contenders that were tested on the same videos.

    Attributes:
        video_ids: Names of the N videos.
        labels: Their classes, (N,), or, where a video may have several, marks of them, (N, K).
        class_names: Names of the K classes.
        contenders: The models; all scores are in the order of `video_ids` and `class_names`.
        groups: The scene, source video or person of each video, as an index, (N,); a video of which
            none is known is a group of its own.
        left_out: Videos that some files hold and others do not.
        form: What a label is.
    """

    video_ids: Sequence[str]
    labels: Integers
    class_names: Sequence[str]
    contenders: Sequence[Contender]
    groups: Integers
    left_out: int = 0
    form: LabelForm = SINGLE


def read_contest(
    files: Mapping[str, Sequence[Path]],
    *,
    common: bool = False,
    external: Iterable[Path] = (),
) -> Contest:
    """Read score files and align them by video id and class name with the first one.

    Args:
        files: For each name the score files of its seeds.
        common: Take the videos that all files share, instead of refusing files of others.
        external: Files of other methods' scores that will be read for this contest.

    Raises:
        UserError: If a file is invalid, its videos, labels or classes are not those of the first,
            or the files of a name are not seeds of one thing.
    """
    opened: dict[str, list[StoredScores]] = {}
    for name, paths in files.items():
        opened[name] = [read_scores(path) for path in paths]
        refuse_other_things(name, paths, [file.protocol for file in opened[name]])
    everything = [file for seeds in opened.values() for file in seeds]
    first = everything[0]
    other = next((file for file in everything if file.form != first.form), None)
    if other is not None:
        raise UserError(
            f"{other.path} holds scores of {other.form}, and {first.path} of {first.form}; compare "
            "tests of the same data"
        )
    listed: list[Sequence[str]] = [file.video_ids for file in everything]
    ids: Sequence[str] = first.video_ids
    if common:
        listed += [_read_external(path)[0] for path in external]
        ids = _shared(listed)
    labels = first.labels[positions(first.video_ids, ids)]
    contenders = [
        _contender(name, seeds, first, ids, labels, common) for name, seeds in opened.items()
    ]
    left_out = len(set[str]().union(*listed)) - len(ids)
    groups = _groups(everything, ids)
    names, form = first.class_names, first.form
    return Contest(ids, labels, names, contenders, groups, left_out, form)


def reading_notes(contest: Contest) -> list[str]:
    """Write a line on videos left out, on how the models differ, and on what is not known."""
    notes = notes_on_models({c.name: c.protocol for c in contest.contenders})
    if contest.left_out:
        count = len(contest.video_ids)
        notes.insert(
            0, f"note: of {count + contest.left_out:,} videos, the {count:,} that all share"
        )
    return notes


def _contender(
    name: str,
    seeds: Sequence[StoredScores],
    first: StoredScores,
    ids: Sequence[str],
    labels: Integers,
    common: bool,
) -> Contender:
    """Bring the files of a name to the order of `ids` and of the first file's classes."""
    scores, logits = [], []
    for file in seeds:
        _refuse_others("classes", file.path, file.class_names, first.path, first.class_names)
        if not common:
            _refuse_others("videos", file.path, file.video_ids, first.path, ids, COMMON_ADVICE)
        rows = positions(file.video_ids, ids)
        columns = positions(file.class_names, first.class_names)
        if file.form.is_single:
            wrong = np.flatnonzero(file.labels[rows] != columns[labels])
        else:
            wrong = np.flatnonzero((file.labels[np.ix_(rows, columns)] != labels).any(axis=1))
        if len(wrong):
            raise UserError(
                f"{file.path} and {first.path} disagree on the class of {len(wrong)} videos, such "
                f"as {ids[wrong[0]]}; compare tests of one version of the annotation"
            )
        scores.append(_taken(file.scores, rows, columns))
        logits.append(_taken(file.logits, rows, columns))
    return Contender(name, scores, seeds[0].protocol, logits)


def _taken(values: Floats, rows: Integers, columns: Integers) -> Floats:
    """Take rows and columns in an order; the values themselves where it is theirs."""
    wanted = zip((rows, columns), values.shape, strict=True)
    if all(np.array_equal(order, np.arange(count)) for order, count in wanted):
        return values
    return values[np.ix_(rows, columns)]


def _shared(listed: Sequence[Sequence[str]]) -> list[str]:
    """List the videos that all files hold, in the first one's order."""
    shared = set(listed[0]).intersection(*listed[1:])
    if not shared:
        raise UserError("the files share no video; compare tests of the same data")
    return [name for name in listed[0] if name in shared]


def _groups(files: Sequence[StoredScores], ids: Sequence[str]) -> Integers:
    """Number the groups of videos from 0 on; each of which none is known is one of its own, (N,).

    Raises:
        UserError: If files name other groups.
    """
    names: dict[str, tuple[str, Path]] = {}
    for file in files:
        for video, group in zip(file.video_ids, file.groups, strict=True):
            if not group:
                continue
            known, path = names.setdefault(video, (group, file.path))
            if known != group:
                raise UserError(
                    f"{path} and {file.path} name other groups (scenes, source videos or persons) "
                    f"for {video}, {known} and {group}; test again with one rule for them"
                )
    numbers: dict[tuple[str, str], int] = {}
    keys = [("group", names[v][0]) if v in names else ("video", v) for v in ids]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def positions(names: Sequence[str], wanted: Sequence[str]) -> Integers:
    """Find the position of each wanted name among the names."""
    index = {name: position for position, name in enumerate(names)}
    return np.array([index[name] for name in wanted])


def _refuse_others(
    what: str,
    path: Path,
    names: Sequence[str],
    first: Path,
    wanted: Sequence[str],
    advice: str = "compare tests of the same data",
) -> None:
    extra, lacking = sorted(set(names) - set(wanted)), sorted(set(wanted) - set(names))
    if extra or lacking:
        example = (extra or lacking)[0]
        raise UserError(
            f"{path} and {first} were not tested on the same {what}: {len(extra)} are "
            f"only in the former, {len(lacking)} only in the latter, such as {example}; {advice}"
        )


def read_external(path: Path, contest: Contest, *, common: bool = False) -> Floats:
    """Read scores of another method, such as an SVM on hand-made features, in a contest's order.

    A CSV has the header `video_id,CLASS,CLASS,...` and a row for each video; a npz holds
    `video_ids` (N,), `class_names` (K,) and `scores` (N, K).

    Args:
        path: The file, .csv or .npz.
        contest: The models that it is to be fused with.
        common: Leave out videos that the contest does not have; it was read with this file as
            `external`.

    Returns:
        Scores in the contest's order of videos and classes, (N, K); of any scale.

    Raises:
        UserError: If the file cannot be read, or lacks videos or classes of the contest or has
            others.
    """
    ids, names, scores = _read_external(path)
    tested = Path("the tested models")
    _refuse_others("classes", path, names, tested, contest.class_names)
    if not common:
        _refuse_others("videos", path, ids, tested, contest.video_ids, COMMON_ADVICE)
    rows, columns = positions(ids, contest.video_ids), positions(names, contest.class_names)
    return np.asarray(scores[rows][:, columns])


def _read_external(path: Path) -> tuple[list[str], list[str], Floats]:
    """Read the video ids, the class names and the scores, (N, K), of another method."""
    if not path.is_file():
        raise UserError(f"there is no file of external scores {path}; give a .csv or .npz")
    try:
        ids, names, scores = (_external_npz if path.suffix == ".npz" else _external_csv)(path)
    except (ValueError, KeyError, OSError, EOFError, IndexError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} holds no external scores ({error}); give a CSV with the header "
            "video_id,CLASS,CLASS,... or a npz with video_ids, class_names and scores"
        ) from error
    if scores.shape != (len(ids), len(names)) or not np.isfinite(scores).all():
        raise UserError(
            f"{path} is damaged: {len(ids)} videos and {len(names)} classes do not fit scores of "
            f"the shape {scores.shape}, or some are not finite; write it again"
        )
    if len(set(ids)) < len(ids) or len(set(names)) < len(names):
        raise UserError(f"{path} names a video or a class twice; name each once")
    return ids, names, scores


def _external_npz(path: Path) -> tuple[list[str], list[str], Floats]:
    with np.load(path, allow_pickle=False) as stored:
        scores = stored["scores"].astype(np.float64)
        return stored["video_ids"].tolist(), stored["class_names"].tolist(), scores


def _external_csv(path: Path) -> tuple[list[str], list[str], Floats]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        heading, *rows = read_rows(file)
    if heading[0] != "video_id":
        raise UserError(f"its first column is {heading[0]!r}, not video_id")
    scores = [[float(cell) for cell in row[1:]] for row in rows]
    return [row[0] for row in rows], heading[1:], np.array(scores, dtype=np.float64)

"""Score files, read and brought to one order of videos and classes."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.csv_tables import read_rows
from datamodules.errors import UserError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FIELDS = ("video_ids", "labels", "logits", "class_names", "protocol")


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
        labels: Their classes, (N,).
        class_names: Names of the K classes.
        contenders: The models; all scores are in the order of `video_ids` and `class_names`.
        groups: The scene, source video or person of each video, as an index, (N,); a video of which
            none is known is a group of its own.
    """

    video_ids: Sequence[str]
    labels: Integers
    class_names: Sequence[str]
    contenders: Sequence[Contender]
    groups: Integers


@dataclass(frozen=True)
class _File:
    """The content of a score file."""

    path: Path
    video_ids: list[str]
    labels: Integers
    logits: Floats
    class_names: list[str]
    protocol: dict[str, Any]
    groups: list[str]


def read_contest(files: Mapping[str, Sequence[Path]]) -> Contest:
    """Read score files and align them by video id and class name with the first one.

    Args:
        files: For each name the score files of its seeds.

    Raises:
        UserError: If a file is invalid, its videos, labels or classes are not those of the first,
            or it was tested under another probe than another seed of its name.
    """
    first: _File | None = None
    contenders = []
    for name, paths in files.items():
        opened = [_read(path) for path in paths]
        if len({file.protocol.get("probe") for file in opened}) > 1:
            raise UserError(
                f"the files of {name} were not tested under one probe; give each probe's file a "
                "name of its own"
            )
        first = first or opened[0]
        logits = [_aligned(file, first) for file in opened]
        scores = [_averaged(views, file) for views, file in zip(logits, opened, strict=True)]
        means = [views.mean(axis=1) for views in logits]
        contenders.append(Contender(name, scores, opened[0].protocol, means))
    assert first is not None, "there is at least one name"
    groups = _numbered(first.groups)
    return Contest(first.video_ids, first.labels, first.class_names, contenders, groups)


def _numbered(groups: Sequence[str]) -> Integers:
    """Number groups from 0 on; each video of which none is known is one of its own, (N,)."""
    numbers: dict[tuple[str, int], int] = {}
    keys = [(group, -1) if group else ("", video) for video, group in enumerate(groups)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def probabilities(logits: Floats) -> Floats:
    """Take the softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def _read(path: Path) -> _File:
    if not path.is_file():
        raise UserError(
            f"there is no score file {path}; `kinetoscope test` writes one, named in its last lines"
        )
    try:
        with np.load(path, allow_pickle=False) as stored:
            missing = [field for field in FIELDS if field not in stored]
            if missing:
                raise UserError(f"it lacks {', '.join(missing)}")
            values = {field: stored[field] for field in FIELDS}
            groups = stored["groups"].tolist() if "groups" in stored else []
        protocol = json.loads(str(values["protocol"]))
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is not a score file of `kinetoscope test` ({error}); give one"
        ) from error
    ids, names = values["video_ids"].tolist(), values["class_names"].tolist()
    logits, labels = values["logits"].astype(np.float64), values["labels"].astype(np.int64)
    shape_fits = logits.ndim == 3 and logits.shape[::2] == (len(ids), len(names))
    if not (shape_fits and logits.size and labels.shape == (len(ids),)):
        raise UserError(
            f"{path} is damaged: {len(ids)} videos, {labels.size} labels, logits of the shape "
            f"{logits.shape} and {len(names)} classes do not fit together; test again"
        )
    if len(set(ids)) < len(ids) or not np.isfinite(logits).all():
        raise UserError(
            f"{path} names a video twice, or holds scores that are not finite; test again"
        )
    return _File(path, ids, labels, logits, names, protocol, groups or [""] * len(ids))


def _aligned(file: _File, first: _File) -> Floats:
    """Bring a file's logits to the first one's order of videos and classes, (N, V, K)."""
    _refuse_others("classes", file.path, file.class_names, first.path, first.class_names)
    _refuse_others("videos", file.path, file.video_ids, first.path, first.video_ids)
    rows = positions(file.video_ids, first.video_ids)
    columns = positions(file.class_names, first.class_names)
    wrong = np.flatnonzero(file.labels[rows] != columns[first.labels])
    if len(wrong):
        raise UserError(
            f"{file.path} and {first.path} disagree on the class of {len(wrong)} videos, such as "
            f"{first.video_ids[wrong[0]]}; compare tests of one version of the annotation"
        )
    return np.asarray(file.logits[rows][:, :, columns])


def _averaged(logits: Floats, file: _File) -> Floats:
    """Average probabilities over views, (N, V, K) to (N, K), as the file's protocol says."""
    if file.protocol.get("average", "probabilities") == "logits":
        return probabilities(logits.mean(axis=1))
    return np.asarray(probabilities(logits).mean(axis=1))


def positions(names: Sequence[str], wanted: Sequence[str]) -> Integers:
    """Find the position of each wanted name among the names."""
    index = {name: position for position, name in enumerate(names)}
    return np.array([index[name] for name in wanted])


def _refuse_others(
    what: str, path: Path, names: Sequence[str], first: Path, wanted: Sequence[str]
) -> None:
    extra, lacking = sorted(set(names) - set(wanted)), sorted(set(wanted) - set(names))
    if extra or lacking:
        example = (extra or lacking)[0]
        raise UserError(
            f"{path} and {first} were not tested on the same {what}: {len(extra)} are "
            f"only in the former, {len(lacking)} only in the latter, such as {example}; compare "
            "tests of the same data"
        )


def read_external(path: Path, contest: Contest) -> Floats:
    """Read scores of another method, such as an SVM on hand-made features, in a contest's order.

    A CSV has the header `video_id,CLASS,CLASS,...` and a row for each video; a npz holds
    `video_ids` (N,), `class_names` (K,) and `scores` (N, K).

    Args:
        path: The file, .csv or .npz.
        contest: The models that it is to be fused with.

    Returns:
        Scores in the contest's order of videos and classes, (N, K); of any scale.

    Raises:
        UserError: If the file cannot be read, or lacks videos or classes of the contest or has
            others.
    """
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
    tested = Path("the tested models")
    _refuse_others("classes", path, names, tested, contest.class_names)
    _refuse_others("videos", path, ids, tested, contest.video_ids)
    rows, columns = positions(ids, contest.video_ids), positions(names, contest.class_names)
    return np.asarray(scores[rows][:, columns])


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

"""Score files read back, brought to one order of videos and classes."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FIELDS = ("video_ids", "labels", "logits", "class_names", "protocol")


@dataclass(frozen=True)
class Contender:
    """A model under a name, tested once or, with several seeds, several times.

    Attributes:
        name: What it is called in the report.
        scores: Probabilities of each video, averaged over its views as its protocol says; one
            array for each seed, (N, K).
        protocol: How the first of them was tested.
    """

    name: str
    scores: Sequence[Floats]
    protocol: Mapping[str, Any]

    @property
    def mean_scores(self) -> Floats:
        """Probabilities averaged over the seeds, (N, K)."""
        return np.asarray(np.mean(self.scores, axis=0))


@dataclass(frozen=True)
class Contest:
    """Contenders that were tested on the same videos.

    Attributes:
        video_ids: Names of the N videos.
        labels: Their classes, (N,).
        class_names: Names of the K classes.
        contenders: The models; all scores are in the order of `video_ids` and `class_names`.
    """

    video_ids: Sequence[str]
    labels: Integers
    class_names: Sequence[str]
    contenders: Sequence[Contender]


@dataclass(frozen=True)
class _File:
    """What a score file holds."""

    path: Path
    video_ids: list[str]
    labels: Integers
    logits: Floats
    class_names: list[str]
    protocol: dict[str, Any]


def read_contest(files: Mapping[str, Sequence[Path]]) -> Contest:
    """Read score files and align them by video id and class name with the first one.

    Args:
        files: For each name the score files of its seeds.

    Raises:
        ValueError: If a file is none, or its videos, labels or classes are not those of the first.
    """
    first: _File | None = None
    contenders = []
    for name, paths in files.items():
        opened = [_read(path) for path in paths]
        first = first or opened[0]
        scores = [_aligned(file, first) for file in opened]
        contenders.append(Contender(name, scores, opened[0].protocol))
    assert first is not None, "there is at least one name"
    return Contest(first.video_ids, first.labels, first.class_names, contenders)


def probabilities(logits: Floats) -> Floats:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def _read(path: Path) -> _File:
    if not path.is_file():
        raise ValueError(
            f"there is no score file {path}; `kinetoscope test` writes one, named in its last lines"
        )
    try:
        with np.load(path, allow_pickle=False) as stored:
            missing = [field for field in FIELDS if field not in stored]
            if missing:
                raise ValueError(f"it lacks {', '.join(missing)}")
            values = {field: stored[field] for field in FIELDS}
        protocol = json.loads(str(values["protocol"]))
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a score file of `kinetoscope test` ({error}); give one"
        ) from error
    ids, names = values["video_ids"].tolist(), values["class_names"].tolist()
    logits, labels = values["logits"].astype(np.float64), values["labels"].astype(np.int64)
    shape_fits = logits.ndim == 3 and logits.shape[::2] == (len(ids), len(names))
    if not (shape_fits and logits.size and labels.shape == (len(ids),)):
        raise ValueError(
            f"{path} is damaged: {len(ids)} videos, {labels.size} labels, logits of the shape "
            f"{logits.shape} and {len(names)} classes do not fit together; test again"
        )
    if len(set(ids)) < len(ids) or not np.isfinite(logits).all():
        raise ValueError(
            f"{path} names a video twice, or holds scores that are not finite; test again"
        )
    return _File(path, ids, labels, logits, names, protocol)


def _aligned(file: _File, first: _File) -> Floats:
    """The video scores of a file, in the first one's order of videos and classes."""
    _refuse_others("classes", file, file.class_names, first, first.class_names)
    _refuse_others("videos", file, file.video_ids, first, first.video_ids)
    row_of = {name: row for row, name in enumerate(file.video_ids)}
    column_of = {name: column for column, name in enumerate(file.class_names)}
    rows = np.array([row_of[name] for name in first.video_ids])
    columns = np.array([column_of[name] for name in first.class_names])
    wrong = np.flatnonzero(file.labels[rows] != columns[first.labels])
    if len(wrong):
        raise ValueError(
            f"{file.path} and {first.path} disagree on the class of {len(wrong)} videos, such as "
            f"{first.video_ids[wrong[0]]}; compare tests of one version of the annotation"
        )
    logits = file.logits[rows][:, :, columns]
    if file.protocol.get("average", "probabilities") == "logits":
        return probabilities(logits.mean(axis=1))
    return np.asarray(probabilities(logits).mean(axis=1))


def _refuse_others(
    what: str, file: _File, names: Sequence[str], first: _File, wanted: Sequence[str]
) -> None:
    extra, lacking = sorted(set(names) - set(wanted)), sorted(set(wanted) - set(names))
    if extra or lacking:
        example = (extra or lacking)[0]
        raise ValueError(
            f"{file.path} and {first.path} were not tested on the same {what}: {len(extra)} are "
            f"only in the former, {len(lacking)} only in the latter, such as {example}; compare "
            "tests of the same data"
        )

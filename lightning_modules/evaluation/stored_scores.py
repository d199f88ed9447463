"""One score file, read a few videos at a time: its averages fit where its views do not.

N videos, V views, K classes.
"""

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from datamodules.annotations.label_form import SINGLE, LabelForm
from datamodules.errors import UserError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FIELDS = ("video_ids", "labels", "logits", "class_names", "protocol")
"""Fields of every score file; `groups` came later."""

_DAMAGE = (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a file raises that is something else, or was changed."""

_CHUNK_VALUES = 2_000_000
"""Logits that are held at a time."""


@dataclass(frozen=True)
class StoredScores:
    """The content of a score file, averaged over the views.

    Attributes:
        path: The file.
        video_ids: Names of the N videos.
        labels: Their classes, (N,), or, where a video may have several, marks of them, (N, K).
        groups: Scene, source video or person of each; empty where unknown.
        class_names: Names of the K classes.
        protocol: Protocol of the test.
        scores: Probabilities, with the views joined as the protocol says, (N, K).
        logits: The network's own outputs, averaged over the views, (N, K).
        form: What a label is.
    """

    path: Path
    video_ids: list[str]
    labels: Integers
    groups: list[str]
    class_names: list[str]
    protocol: dict[str, Any]
    scores: Floats
    logits: Floats
    form: LabelForm = SINGLE


def read_scores(path: Path) -> StoredScores:
    """Read a score file of `kinetoscope test`.

    Raises:
        UserError: If it is missing, damaged or something else, or holds scores that are not finite.
    """
    if not path.is_file():
        beside = sorted(other.name for other in path.parent.glob("scores_*.npz"))
        there = f"; beside it there is {', '.join(beside[:3])}" if beside else ""
        raise UserError(
            f"there is no score file {path}{there}; `kinetoscope test` writes one, named in its "
            "last lines"
        )
    try:
        with np.load(path, allow_pickle=False) as stored:
            missing = [field for field in FIELDS if field not in stored]
            if missing:
                raise UserError(f"it lacks {', '.join(missing)}")
            values = {field: stored[field] for field in FIELDS if field != "logits"}
            unknown = np.full(len(values["video_ids"]), "")
            values["groups"] = stored.get("groups", unknown)
        protocol = json.loads(str(values["protocol"]))
        sizes = [len(values[name]) for name in ("video_ids", "labels", "groups")]
        names: list[str] = values["class_names"].tolist()
        form = LabelForm.of(protocol.get("label_form"))
        shape = (sizes[0],) if form.is_single else (sizes[0], len(names))
        if values["labels"].shape != shape:
            raise UserError(f"labels of the shape {values['labels'].shape} are not {shape}")
        join = _joining(protocol.get("average"), form, names)
        with _opened_logits(path, sizes, len(names)) as chunks:
            scores, logits = _averaged(chunks, sizes[0], len(names), join)
    except _DAMAGE as error:
        raise UserError(
            f"{path} is not a whole score file of `kinetoscope test` ({error}); test again"
        ) from error
    ids = values["video_ids"].tolist()
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        raise UserError(
            f"{path} holds scores of {len(bad)} videos that are not finite, such as "
            f"{ids[bad[0]]}; test again, with weights or a precision that give finite ones"
        )
    if len(set(ids)) < len(ids):
        raise UserError(f"{path} names a video twice; test again")
    labels = values["labels"].astype(np.int64)
    groups = values["groups"].tolist()
    return StoredScores(path, ids, labels, groups, names, protocol, scores, logits, form)


def probabilities(logits: Floats, form: LabelForm, class_names: Sequence[str]) -> Floats:
    """Turn logits into probabilities, (..., K), as the labels are.

    Args:
        logits: (..., K).
        form: What a label is.
        class_names: Names of the K classes.
    """
    if form.kind == "multi":
        return np.asarray(expit(logits))
    found = np.empty_like(logits)
    columns = form.groups(class_names).values() if form.columns else [slice(None)]
    for column in columns:
        part = logits[..., column]
        shifted = np.exp(part - part.max(axis=-1, keepdims=True))
        found[..., column] = shifted / shifted.sum(axis=-1, keepdims=True)
    return found


def _joining(
    average: str | None, form: LabelForm, class_names: Sequence[str]
) -> Callable[[Floats], Floats]:
    """Choose how the views of videos become probabilities, (n, V, K) to (n, K)."""

    def of(logits: Floats) -> Floats:
        return probabilities(logits, form, class_names)

    if average == "logits":
        return lambda views: of(views.mean(axis=1))
    if average == "maximum":
        return lambda views: np.asarray(of(views).max(axis=1))
    return lambda views: np.asarray(of(views).mean(axis=1))


@contextmanager
def _opened_logits(path: Path, sizes: list[int], num_classes: int) -> Iterator[Iterator[Floats]]:
    """Open the logits of a score file as chunks of some videos each, (n, V, K).

    Args:
        path: The file.
        sizes: Numbers of video ids, labels and groups, which must be one.
        num_classes: K.
    """
    with zipfile.ZipFile(path) as archive, archive.open("logits.npy") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, by_column, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, by_column, dtype = np.lib.format.read_array_header_2_0(file)
        fits = len(shape) == 3 and {*sizes, shape[0]} == {shape[0]} and shape[2] == num_classes
        if not (fits and 0 not in shape):
            raise UserError(
                f"{', '.join(map(str, sizes))} video ids, labels and groups, logits of the shape "
                f"{shape} and {num_classes} classes do not fit together"
            )
        if by_column or dtype.kind != "f":
            raise UserError(f"its logits are {dtype}{' by column' if by_column else ''}")
        yield _chunks(file, shape, dtype)


def _chunks(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Floats]:
    num_videos, *row = shape
    at_once = max(1, _CHUNK_VALUES // (row[0] * row[1]))
    for start in range(0, num_videos, at_once):
        count = min(at_once, num_videos - start)
        content = file.read(count * row[0] * row[1] * dtype.itemsize)
        # a file that is cut is too short here; one that is changed fails its checksum at the end
        yield np.frombuffer(content, dtype).reshape(count, *row).astype(np.float64)
    if file.read(1):
        raise UserError("more logits than videos")


def _averaged(
    chunks: Iterator[Floats],
    num_videos: int,
    num_classes: int,
    join: Callable[[Floats], Floats],
) -> tuple[Floats, Floats]:
    """Join the views: probabilities as the protocol says, and mean logits, (N, K) each."""
    scores, logits = (np.empty((num_videos, num_classes)) for _ in range(2))
    done = 0
    with np.errstate(invalid="ignore"):  # of scores that are not finite, refused afterwards
        for views in chunks:
            rows = slice(done, done + len(views))
            logits[rows] = views.mean(axis=1)
            scores[rows] = join(views)
            done += len(views)
    return scores, logits

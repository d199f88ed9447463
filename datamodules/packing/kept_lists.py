"""Lists of large packed datasets, kept as arrays that processes map into memory.

Reading the lists of ten million videos takes a minute and gigabytes. A packed dataset does not
change, so what came of its lists holds as long as they, the settings and the code that reads them
are the same. It lies in the cache under a name made of all three.
"""

import hashlib
import inspect
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule

import datamodules
from datamodules.annotated import AnnotatedDataset
from datamodules.annotations.label_form import LabelForm
from datamodules.annotations.listed_videos import SPLITS
from datamodules.annotations.remarks import Remark
from datamodules.annotations.splits import Lists
from datamodules.annotations.table import PackedStrings, VideoTable, save_array
from datamodules.atomic import locked, write_atomically
from datamodules.storage.elsewhere.addresses import is_address
from datamodules.storage.elsewhere.remote_packs import cache_folder
from datamodules.storage.local import LocalPath
from datamodules.storage.packed import INDEX, MANIFEST, SHARDS, PackedPath

__all__ = ["kept_lists"]

LEAST = 100_000
"""Videos from which lists are kept: fewer are read in less than a second."""
MOST = 8
"""Datasets whose lists are kept, at most, each for the settings that decide about them."""
MOST_FILES = 10_000
"""Files that are looked at, whether they have changed."""
FOLDER, ABOUT = "lists", "about.json"
_SOURCES = ("sources.npy", "source_offsets.npy")
_IRRELEVANT = {
    *("augmentation", "evaluation", "flow", "loading", "probe", "spec"),  # what is made of videos
    *("max_broken_fraction", "remarks", "_resume_position"),
    "_columns",  # what was read already
    *vars(LightningDataModule()),
}
"""Attributes of a DataModule that its lists do not depend on."""


def kept_lists(dataset: AnnotatedDataset, read: Callable[[], Lists]) -> Lists:
    """Read the lists of a dataset, or what was kept of them.

    Args:
        dataset: The dataset.
        read: Reads the lists.
    """
    store = dataset.store
    if not isinstance(store, PackedPath):
        return read()
    try:
        settings = _settings(dataset)
        stamps = _stamps(dataset, settings)
        made_of = json.dumps([str(store.root), store.made, settings, stamps])
    except (OSError, TypeError):  # something does not tell what it is made of
        return read()
    folder = cache_folder() / FOLDER / hashlib.sha256(made_of.encode()).hexdigest()[:32]
    if (kept := _load(folder)) is not None:
        return kept
    lists = read()
    if sum(map(len, lists.tables.values())) >= LEAST:
        _write(folder, lists)
    return lists


def _settings(dataset: AnnotatedDataset) -> dict[str, Any]:
    """Give the settings that lists may depend on, in plain values.

    Raises:
        TypeError: If one of them has none.
    """
    return {
        name: _plain(value)
        for name, value in sorted(vars(dataset).items())
        if name not in _IRRELEVANT
        and not isinstance(getattr(type(dataset), name, None), cached_property)
    }


def _plain(value: object) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case PurePath():
            return str(value)
        case re.Pattern():
            return [str(value.pattern), value.flags]
        case list() | tuple():
            return [_plain(part) for part in value]
        case dict():
            return [[_plain(key), _plain(part)] for key, part in value.items()]
        case LabelForm():
            return str(value)
    raise TypeError(f"{value!r} is no setting of lists")


def _stamps(dataset: AnnotatedDataset, settings: Any) -> list[list[object]]:
    """List all files that the lists may come from, and the code that reads them, with their stamps.

    Args:
        dataset: The dataset.
        settings: Its settings, in plain values.

    Raises:
        OSError: A file cannot be looked at.
        TypeError: The code lies in no file.
    """
    folders, files = {dataset.root}, set[Path]()
    for word in _words(settings):
        if is_address(word):
            raise TypeError(f"{word} may change unseen")
        for place in (dataset.root / word, Path(word)):  # as lists and folders of lists are found
            (folders if place.is_dir() else files).add(place)
    package = Path(datamodules.__path__[0])
    files |= {*package.glob("annotations/*.py"), *package.glob("datasets/*.py")}
    files |= {Path(inspect.getfile(kind)) for kind in type(dataset).__mro__ if kind is not object}
    for folder in folders:
        files.update(islice(_files_below(folder), MOST_FILES))
    if len(files) >= MOST_FILES:
        raise TypeError(f"{len(files)} files are too many for lists")
    return [[str(file), *LocalPath(file).stamp()] for file in sorted(files) if file.is_file()]


def _words(value: Any) -> Iterator[str]:
    """Give every text within plain values that could name a file."""
    if isinstance(value, str):
        yield from (value,) if value and "\0" not in value else ()
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _words(part)


def _files_below(folder: Path) -> Iterator[Path]:
    """Find the files below a folder, but for those of a packed dataset's shards and index."""
    is_pack = (folder / MANIFEST).is_file()
    for place, names, files in os.walk(folder):
        if is_pack and Path(place) == folder:
            names[:] = [name for name in names if name not in (INDEX, SHARDS)]
        yield from (Path(place, name) for name in files)


def _write(folder: Path, lists: Lists) -> None:
    """Keep lists; what tells of them comes last. Where there is no room nothing is kept."""
    about = {
        "test_split_name": lists.test_split_name,
        "facts": lists.facts,
        "remarks": [[remark.subject, remark.sentence] for remark in lists.remarks],
        "digests": {split: table.digest for split, table in lists.tables.items()},
    }
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock", wait=True):
            for split, table in lists.tables.items():
                table.keep(folder, split)
            blob, offsets = lists.sources.arrays
            save_array(folder / _SOURCES[0], blob)
            save_array(folder / _SOURCES[1], offsets)
            write_atomically(folder / ABOUT, json.dumps(about))
        kept = sorted(folder.parent.iterdir(), key=lambda other: other.stat().st_mtime)
        for other in kept[:-MOST]:
            shutil.rmtree(other, ignore_errors=True)


def _load(folder: Path) -> Lists | None:
    """Load what is kept; None where there is nothing, or damage."""
    try:
        about = json.loads((folder / ABOUT).read_text())
        os.utime(folder)  # those used least lately are removed
        tables = {split: VideoTable.kept(folder, split) for split in SPLITS}
        sources = PackedStrings.of(*(np.load(folder / name, mmap_mode="c") for name in _SOURCES))
    except (OSError, ValueError):
        return None
    for split, table in tables.items():
        table.digest = about["digests"][split]
    remarks = [Remark(subject, sentence) for subject, sentence in about["remarks"]]
    return Lists(tables, sources, about["test_split_name"], about["facts"], remarks, True)

"""Lists of large packed datasets, kept as arrays that processes map into memory.

Reading the lists of ten million videos takes a minute and gigabytes. A packed dataset does not
change, so what came of its lists holds as long as they, the settings and the code that reads them
are the same; it lies in the cache, and costs neither when it is read again.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule

import datamodules
from datamodules.annotated import AnnotatedDataset
from datamodules.annotations.listed_videos import SPLITS, Split
from datamodules.annotations.remarks import Remark
from datamodules.annotations.table import PackedStrings, VideoTable, save_array
from datamodules.atomic import locked, write_atomically
from datamodules.storage.elsewhere.remote_packs import cache_folder
from datamodules.storage.local import LocalPath
from datamodules.storage.packed import PackedPath
from datamodules.storage.readings import readings
from datamodules.storage.source import as_source

__all__ = ["Lists", "kept_lists"]

LEAST = 100_000
"""Videos from which lists are kept: fewer are read in less than a second."""
ABOUT, _SOURCES = "about.json", ("sources.npy", "source_offsets.npy")
_IRRELEVANT = {
    *("augmentation", "evaluation", "flow", "loading", "probe", "spec"),  # what is made of videos
    *("max_broken_fraction", "remarks", "_resume_position"),
    *vars(LightningDataModule()),
}
"""Attributes of a DataModule that its lists do not depend on."""


@dataclass
class Lists:
    """Contents of the lists of a dataset.

    Attributes:
        tables: The videos of each split.
        sources: Scene, source video or person of each test video.
        test_split_name: What the test videos really are.
        facts: What else the dataset learned from its lists, as JSON has it.
        remarks: What was remarked on them.
        are_kept: Whether they come from the cache.
    """

    tables: dict[Split, VideoTable]
    sources: PackedStrings
    test_split_name: str
    facts: dict[str, Any] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    are_kept: bool = False


def kept_lists(dataset: AnnotatedDataset, read: Callable[[], Lists]) -> Lists:
    """Read the lists of a dataset, or what was kept of them.

    Args:
        dataset: The dataset.
        read: Reads the lists.
    """
    store = dataset.store
    if not isinstance(store, PackedPath):
        return read()
    made_of = _made_of(store, dataset)
    folder = cache_folder() / "lists" / hashlib.sha256(made_of.encode()).hexdigest()[:32]
    if (kept := _load(folder)) is not None:
        return kept
    with readings() as files:
        lists = read()
    is_large = sum(map(len, lists.tables.values())) >= LEAST
    if is_large and " object at 0x" not in made_of:  # a setting that does not say what it is
        _write(folder, lists, {str(file): list(file.stamp()) for file in files})
    return lists


def _made_of(store: PackedPath, dataset: AnnotatedDataset) -> str:
    """Write down all that lists depend on, but for what is in the files that are read."""
    kind = type(dataset)
    settings = {
        name: repr(value)
        for name, value in sorted(vars(dataset).items())
        if name not in _IRRELEVANT and not isinstance(getattr(kind, name, None), cached_property)
    }
    beside = sorted(path.name for path in store.root.iterdir())
    return json.dumps([str(store.root), store.made, settings, beside, _code_of(kind)])


def _code_of(kind: type) -> list[list[object]]:
    """List the files of the code that reads lists, with their stamps."""
    package = Path(datamodules.__path__[0])
    paths = {*package.glob("annotations/*.py"), *package.glob("datasets/*.py")}
    paths |= {Path(inspect.getfile(base)) for base in kind.__mro__ if base is not object}
    return [[str(path), *LocalPath(path).stamp()] for path in sorted(paths)]


def _write(folder: Path, lists: Lists, files: Mapping[str, list[int]]) -> None:
    """Keep lists; what tells of them comes last. Where there is no room nothing is kept."""
    about = {
        "files": files,
        "test_split_name": lists.test_split_name,
        "facts": lists.facts,
        "remarks": [[remark.subject, remark.sentence] for remark in lists.remarks],
        "digests": {split: table.digest for split, table in lists.tables.items()},
    }
    with suppress(OSError), _locked(folder):
        for split, table in lists.tables.items():
            table.keep(folder, split)
        blob, offsets = lists.sources.arrays
        save_array(folder / _SOURCES[0], blob)
        save_array(folder / _SOURCES[1], offsets)
        write_atomically(folder / ABOUT, json.dumps(about))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock", wait=True):
        yield


def _load(folder: Path) -> Lists | None:
    """Load what is kept; None where there is nothing, or a file that was read has changed."""
    try:
        about = json.loads((folder / ABOUT).read_text())
        if any(list(as_source(f).stamp()) != stamp for f, stamp in about["files"].items()):
            return None
        tables = {split: VideoTable.kept(folder, split) for split in SPLITS}
        sources = PackedStrings.of(*(np.load(folder / name, mmap_mode="c") for name in _SOURCES))
    except (OSError, ValueError):
        return None
    for split, table in tables.items():
        table.digest = about["digests"][split]
    remarks = [Remark(subject, sentence) for subject, sentence in about["remarks"]]
    return Lists(tables, sources, about["test_split_name"], about["facts"], remarks, True)

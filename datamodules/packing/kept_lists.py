"""What the lists of a large packed dataset say, kept as arrays that processes map into memory.

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
from pathlib import Path
from typing import Any

import numpy as np

import datamodules.annotations
import datamodules.datasets
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
_IRRELEVANT = frozenset(
    ("sampling", "crops", "augmentation", "normalization", "loading", "evaluation", "flow")
)
"""Arguments of a DataModule that its lists do not depend on."""


@dataclass
class Lists:
    """What the lists of a dataset say.

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


def kept_lists(
    dataset: AnnotatedDataset, given: Mapping[str, object], read: Callable[[], Lists]
) -> Lists:
    """Read the lists of a dataset, or what was kept of them.

    Args:
        dataset: The dataset.
        given: Arguments that it was made with.
        read: Reads the lists.
    """
    if not isinstance(dataset.store, PackedPath):
        return read()
    folder = _folder_of(dataset.store, type(dataset), given)
    if (kept := _load(folder)) is not None:
        return kept
    with readings() as files:
        lists = read()
    if sum(map(len, lists.tables.values())) >= LEAST:
        _write(folder, lists, {str(file): list(file.stamp()) for file in files})
    return lists


def _folder_of(store: PackedPath, kind: type, given: Mapping[str, object]) -> Path:
    """Name the folder by all that lists depend on, but for what is in the files that are read."""
    settings = {name: repr(given[name]) for name in sorted(given) if name not in _IRRELEVANT}
    beside = sorted(path.name for path in store.root.iterdir())
    made_of = [str(store.root), store.made, settings, beside, _code_of(kind)]
    name = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]
    return cache_folder() / "lists" / name


def _code_of(kind: type) -> list[list[object]]:
    """List the files of the code that reads lists, with their stamps."""
    folders = [Path(p) for m in (datamodules.annotations, datamodules.datasets) for p in m.__path__]
    paths = {path for folder in folders for path in folder.glob("*.py")}
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

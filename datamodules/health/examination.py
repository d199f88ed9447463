"""The examination of a dataset: its lists, files and videos, and the loader on this machine."""

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datamodules.annotations.listed_videos import ListedVideo, Split
from datamodules.annotations.remarks import Remark
from datamodules.annotations.table import VideoTable, write_missing
from datamodules.base import VideoDataModule
from datamodules.dataset import VideoDataset
from datamodules.errors import UserError
from datamodules.health.contact_sheet import CLASSES, SheetClip, draw_clips
from datamodules.health.decode_check import DecodeResult, Part, decode_all
from datamodules.health.decode_log import DecodeLog
from datamodules.health.division import Division, division_of_fit
from datamodules.health.findings import Finding, ListedSplit, count_of, read_lists
from datamodules.health.lists import check_classes, check_counts, check_leakage, check_missing
from datamodules.health.loading import (
    LoaderSpeed,
    batch_bytes,
    check_loader,
    check_shared_memory,
    check_storage,
    free_shared_memory,
    measure_loader,
    worker_counts,
)
from datamodules.health.near_pairs import NearPair, check_near_duplicates, find_near_pairs
from datamodules.health.stored_files import equal_files, unlisted_videos
from datamodules.health.videos import (
    check_broken_share,
    check_decoding,
    check_equal_files,
    check_shapes,
    check_unlisted,
)
from datamodules.jobs.dataset_jobs import Event, follow_pass, take_shard
from datamodules.jobs.processes import num_cores
from datamodules.jobs.progress import progress_bar

COMPARED = 20_000
"""Files up to which equal ones are looked for without `full`."""

_EXAMINED = ("counts", "missing")
"""Subjects of remarks that are looked at in more detail here."""

_WARNINGS = ("groups",)
"""Subjects of remarks that are no mere notes."""


@dataclass(frozen=True)
class ExaminationSettings:
    """Settings of an examination: its extent, its limits, its folder.

    Attributes:
        folder: Folder that its results are written to and found in again.
        sample: Videos of each list to decode; None for all.
        workers: Decoding processes.
        limit: Seconds that the decoding of one video may take.
        near_duplicates: If True, look for near-duplicates, and so decode all videos.
        measure: Seconds to measure the loader with each number of workers; 0 leaves it out.
        progress: If True, draw progress bars.
        shard: Index and number of the runs that share the decoding, in one folder.
    """

    folder: Path
    sample: int | None = 200
    workers: int = 1
    limit: float = 120.0
    near_duplicates: bool = False
    measure: float = 3.0
    progress: bool = False
    shard: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        for name, value, least in (
            ("sample", self.sample, 1),
            ("workers", self.workers, 1),
            ("measure", self.measure, 0),
        ):
            if value is not None and value < least:
                raise UserError(f"--{name} {value} is too small; give at least {least}")
        if self.limit <= 0:
            raise UserError(f"--limit {self.limit:g} is no time to decode in; give seconds above 0")


@dataclass
class Examination:
    """The results of an examination.

    Attributes:
        data: The dataset.
        splits: Its lists, with their decode results; none if they cannot be read.
        speeds: Speed of the loader by number of workers.
        equal_files: Sets of equal files, as paths relative to the root.
        near_pairs: Near-duplicates of training videos in other splits, the most alike first.
        division: Training, validation and test as a fit has them; none where it would not begin.
        sheet: Training clips of each class, by its name.
        findings: Everything worth saying, in the order it was found.
        left: Videos that other runs have to decode before there is a report; nothing else was
            looked at then.
    """

    data: VideoDataModule
    splits: list[ListedSplit] = field(default_factory=list)
    speeds: list[LoaderSpeed] = field(default_factory=list)
    equal_files: list[list[str]] = field(default_factory=list)
    near_pairs: list[NearPair] = field(default_factory=list)
    division: list[Division] = field(default_factory=list)
    sheet: dict[str, list[SheetClip]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    left: int = 0

    @property
    def is_fatal(self) -> bool:
        """True if a training would fail, or its result would be wrong."""
        return any(finding.level == "fatal" for finding in self.findings)

    @property
    def official(self) -> dict[Split, int]:
        """Number of videos in the official lists, where it is known."""
        return self.data.official_counts() if self.splits else {}

    @property
    def has_official_lists(self) -> bool:
        """True if the lists are as long as the official ones."""
        lengths = {split.name: len(split.table) for split in self.splits}
        return bool(self.official) and self.official.items() <= lengths.items()

    @property
    def results(self) -> dict[Part, DecodeResult]:
        """The decode results, each video once."""
        return {p.part: p for split in self.splits for p in split.decoded.values()}

    @property
    def broken(self) -> list[tuple[ListedSplit, int, DecodeResult]]:
        """Every listed video that cannot be decoded: its split, its position, its result."""
        return [(split, i, p) for split in self.splits for i, p in split.broken.items()]

    def as_dict(self) -> dict[str, Any]:
        """Convert to plain values, for other programs."""
        return {
            "dataset": type(self.data).__name__,
            "root": str(self.data.root),
            "fatal": self.is_fatal,
            "findings": [finding.as_dict() for finding in self.findings],
            "division": [vars(part) for part in self.division],
            "splits": [
                {
                    "split": split.name,
                    "listed": len(split.table),
                    "official": self.official.get(split.name),
                    "present": len(split.table.present),
                    "decoded": len(split.decoded),
                    "broken": len(split.broken),
                }
                for split in self.splits
            ],
            "broken": [
                {
                    "split": split.name,
                    "video_id": split.table.video_ids[index],
                    "path": split.table.paths[index],
                    "verdict": result.verdict,
                    "detail": result.detail,
                }
                for split, index, result in self.broken
            ],
            "near_duplicates": [pair.as_dict() for pair in self.near_pairs],
            "loader": [vars(speed) for speed in self.speeds],
        }


def examine(
    data: VideoDataModule, settings: ExaminationSettings, allow_missing: bool
) -> Examination:
    """Examine a dataset.

    Args:
        data: The dataset, not set up, made with `allow_missing`.
        settings: Extent and limits of the examination.
        allow_missing: True if its user allows missing videos.
    """
    found = Examination(data)
    try:
        with data.remarks.collected() as said:
            data.prepare_data()
            found.splits = read_lists(data)
            class_names = data.class_names
            data.remark_on_mirrors()
    except ValueError as error:
        text = f"The dataset cannot be read, so there is no video: {error}."
        found.findings.append(Finding("fatal", "no videos", text))
        return found
    found.findings += _notes(said)
    found.findings += check_counts(found.splits, found.official, len(class_names))
    found.findings += check_missing(found.splits, allow_missing)
    found.findings += check_leakage(found.splits, found.has_official_lists)
    _write_missing(found, settings.folder)
    results, found.left = _decode(found.splits, settings)
    if found.left:
        return found
    found.splits = [replace(split, results=results) for split in found.splits]
    found.findings += check_classes(found.splits, class_names)
    found.findings += check_decoding(found.splits)
    for split in found.splits:
        if split.name == "train":
            found.findings += check_broken_share(split, data.max_broken_fraction)
            found.findings += _measure(found, split, settings)
            found.sheet = _sheet(found, split, settings)
    found.findings += check_shapes(found.splits, data.spec)
    found.findings += _compare_files(found, settings)
    found.findings += _setup(found)
    if settings.near_duplicates:
        found.findings += _compare_contents(found, settings)
    return found


def _notes(remarks: Sequence[Remark]) -> list[Finding]:
    """List a dataset's remarks, each once, without those that are findings in other words."""
    told = dict.fromkeys(remark for remark in remarks if remark.subject not in _EXAMINED)
    return [
        Finding("warning", "leakage", f"{remark.sentence}.")
        if remark.subject in _WARNINGS
        else Finding("note", "dataset", f"{remark.sentence}.")
        for remark in told
    ]


def _write_missing(found: Examination, folder: Path) -> None:
    for split in found.splits:
        if split.table.missing:
            write_missing(folder / f"missing_{split.name}.csv", split.table, found.data.class_names)


def _decode(
    splits: Sequence[ListedSplit], settings: ExaminationSettings
) -> tuple[dict[Part, DecodeResult], int]:
    """Decode this run's videos without a result, and write down each result at once.

    Returns:
        The results, those of other runs too, and the number of videos that have none yet.
    """
    chosen: dict[Part, None] = {}
    for split in splits:
        sample = set(split.sample(None if settings.near_duplicates else settings.sample))
        chosen |= dict.fromkeys(part for i, part in enumerate(split.parts()) if i in sample)
    parts = take_shard([*chosen], *settings.shard)
    log = DecodeLog(settings.folder / "decoded.jsonl")
    results = log.still_true(parts, settings.limit, settings.near_duplicates)
    todo = [part for part in parts if part not in results]
    known = len(results)

    def decoded() -> Generator[Event[Part], None, None]:
        for result in decode_all(todo, settings.workers, settings.limit, settings.near_duplicates):
            log.add(result)
            results[result.part] = result
            yield Event(result.part, None)

    follow_pass("decoding", decoded(), len(parts), known=known, shown=settings.progress)
    others = [part for part in chosen if part not in results]
    if others:
        results |= log.still_true(others, settings.limit, settings.near_duplicates, True)
    return results, len(chosen) - len(results)


def _compare_files(found: Examination, settings: ExaminationSettings) -> list[Finding]:
    """Find equal files, and files that no list names."""
    root = found.data.store
    paths = {
        os.path.join(str(root), path): path
        for split in found.splits
        for path in split.present_paths().values()
    }
    findings = check_storage(found.results.values(), len(paths))
    with progress_bar("files", shown=settings.progress) as bar:
        bar.add_task("comparing files", total=None)
        listed = set(paths.values())
        findings += check_unlisted(unlisted_videos(root, listed))
        if settings.sample is not None and len(paths) > COMPARED:
            text = f"Equal files were not looked for among {len(paths):,}; --full does that."
            return [*findings, Finding("note", "equal files", text)]
        groups = equal_files([*paths], settings.workers)
    found.equal_files = [[paths[path] for path in group] for group in groups]
    return findings + check_equal_files(found.splits, found.equal_files, found.has_official_lists)


def _compare_contents(found: Examination, settings: ExaminationSettings) -> list[Finding]:
    """Find near-duplicates of training videos in what the dataset, set up, has beside them."""
    splits = _divided(found)
    equal = {path: number for number, paths in enumerate(found.equal_files) for path in paths}
    total = sum(len(split.decoded) for split in splits if split.name != "train")
    with progress_bar("videos", shown=settings.progress) as bar:
        task = bar.add_task("looking for near-duplicates", total=total)
        for count, pairs in find_near_pairs(splits, equal):
            found.near_pairs += pairs
            bar.update(task, advance=count)
    found.near_pairs.sort(key=lambda pair: (pair.is_one_group, -pair.likeness.score))
    return check_near_duplicates(splits, found.near_pairs)


def _divided(found: Examination) -> list[ListedSplit]:
    """Divide the dataset as a fit does, or as its lists do where a fit would refuse it."""
    data, results = found.data, found.results
    try:
        with data.remarks.collected():
            data.setup()
    except ValueError:  # a finding says it
        tables: dict[Split, VideoTable] = {split.name: split.table for split in found.splits}
    else:
        tables = {"train": data.train_set.table, "val": data.val_set.table}
        if data.test_split_name == "test":
            tables["test"] = data.test_set.table
    return [
        ListedSplit(name, data.store, table, _sources(data, table), results)
        for name, table in tables.items()
    ]


def _sources(data: VideoDataModule, table: VideoTable) -> list[str]:
    """Name the source of each video; empty where it is not known."""
    rows = zip(table.paths, table.video_ids, strict=True)
    return data.sources_of(ListedVideo(path, "", name) for path, name in rows)


def _measure(
    found: Examination, train: ListedSplit, settings: ExaminationSettings
) -> list[Finding]:
    """Load training clips with several numbers of workers."""
    data, cores = found.data, num_cores()
    per_batch = batch_bytes(data.spec, data.loading.batch_size)
    findings = check_shared_memory(free_shared_memory(), per_batch, data.loading.num_workers)
    good = _good(train)
    if not good or not settings.measure:
        return findings
    dataset = VideoDataset(
        train.table,
        train.root,
        data.spec,
        train=True,
        seed=data.seed,
        repeated_views=data.loading.repeated_views,
    )
    with progress_bar("settings", shown=settings.progress) as bar:
        counts = worker_counts(cores, data.loading.num_workers)
        for workers in bar.track(counts, description="measuring the loader"):
            try:
                batch, limit = data.loading.videos_per_batch, settings.limit
                speed = measure_loader(dataset, good, batch, workers, settings.measure, limit)
            except RuntimeError as error:  # how a loader says that a worker died or hangs
                text = f"The loader fails with {count_of(workers, 'worker')}: {error}; use fewer."
                findings.append(Finding("warning", "workers", text))
                break
            found.speeds.append(speed)
    return findings + check_loader(found.speeds, data.loading.num_workers, cores)


def _good(split: ListedSplit) -> list[int]:
    """List the positions of videos that are known to decode."""
    return [i for i, result in split.decoded.items() if result.verdict is None]


def _sheet(
    found: Examination, train: ListedSplit, settings: ExaminationSettings
) -> dict[str, list[SheetClip]]:
    """Draw clips of each class."""
    data, good = found.data, _good(train)
    dataset = VideoDataset(train.table, train.root, data.spec, train=True, seed=data.seed)
    with progress_bar("classes", shown=settings.progress) as bar:
        names = bar.track(data.class_names[:CLASSES], description="drawing clips")
        return {name: [*draw_clips(dataset, good, label)] for label, name in enumerate(names)}


def _setup(found: Examination) -> list[Finding]:
    """Set the dataset up as a fit does, and list its remarks that were not found already."""
    was_fatal = found.is_fatal
    try:
        with found.data.remarks.collected() as said:
            found.data.setup()
            found.division = division_of_fit(found.data, found.splits)
            if len(found.data.train_set.table.present) and not was_fatal:
                found.data.train_dataloader()  # refuses a batch larger than the dataset
    except ValueError as error:
        text = f"A fit does not begin with this dataset: {error}."
        return [] if was_fatal else [Finding("fatal", "setup", text)]
    return [note for note in _notes(said) if note not in found.findings]

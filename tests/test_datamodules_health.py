"""What the doctor finds: every check on small made-up lists and results."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.annotations.table import PackedStrings, VideoTable
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops
from datamodules.clips.input_spec import InputSpec
from datamodules.health.decode_check import VERDICTS, DecodeResult
from datamodules.health.findings import Finding, ListedSplit, count_of
from datamodules.health.lists import check_classes, check_counts, check_leakage, check_missing
from datamodules.health.loading import (
    LoaderSpeed,
    _speed,
    batch_bytes,
    check_loader,
    check_shared_memory,
    check_storage,
    readable_bytes,
    worker_counts,
)
from datamodules.health.stored_files import equal_files, unlisted_videos
from datamodules.health.videos import (
    ADVICE,
    check_broken_share,
    check_decoding,
    check_equal_files,
    check_shapes,
    check_unlisted,
    clip_span,
)
from datamodules.storage.source import LocalPath

ROOT = Path("/data")
SPEC = InputSpec(FrameSampler(num_frames=8, frame_stride=2), Crops(112, 128))


def split_of(
    ids: Sequence[str],
    *,
    name: Any = "train",
    labels: Sequence[int] | None = None,
    absent: Sequence[int] = (),
    groups: Sequence[str] | None = None,
    results: Mapping[int, Mapping[str, Any]] | None = None,
) -> ListedSplit:
    """A split of the given videos; `results` are changes to a good result, by position."""
    table = VideoTable(
        PackedStrings(ids),
        PackedStrings(ids),
        np.array(labels or [0] * len(ids), dtype=np.int64),
        np.array([i for i in range(len(ids)) if i not in absent], dtype=np.int64),
    )
    split = ListedSplit(name, ROOT, table, groups or list(ids))
    good = {"num_frames": 100, "frame_rate": 25.0, "height": 240, "width": 320, "nbytes": 1000}
    found, parts = {}, list(split.parts())
    for index, changes in (results or {}).items():
        part = parts[index]
        found[part] = DecodeResult(*part, 1, 1, **{**good, "decode_seconds": 0.5, **changes})
    return ListedSplit(name, ROOT, table, groups or list(ids), found)


def said(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """Level and check of each, and that each is a sentence."""
    for finding in findings:
        assert finding.sentence[0].isupper() or finding.sentence[0].isdigit()
        assert finding.sentence.endswith(".")
        assert "  " not in finding.sentence
    return [(finding.level, finding.check) for finding in findings]


def test_counts_differ_from_the_official_ones() -> None:
    split = split_of(["a", "b"])
    assert said(check_counts([split], {}, 2)) == [("note", "counts")]
    assert said(check_counts([split], {"train": 2}, 2)) == [("note", "counts")]
    (finding,) = check_counts([split], {"train": 3}, 2)
    assert finding.level == "warning"
    assert "2 videos, the official one 3" in finding.sentence


@pytest.mark.parametrize(
    ("absent", "allowed", "expected"),
    [
        ([], False, []),
        ([1], False, [("warning", "missing")]),
        ([0, 1, 2], False, [("fatal", "missing")]),
        ([0, 1, 2], True, [("warning", "missing")]),
    ],
)
def test_missing_videos_are_counted(
    absent: list[int], allowed: bool, expected: list[tuple[str, str]]
) -> None:
    splits = [split_of(["a", "b", "c"], name="test", absent=absent), split_of(["d"])]
    findings = check_missing(splits, allowed)
    assert said(findings) == expected
    assert [list(finding.examples) for finding in findings] == [["abc"[i] for i in absent]] * len(
        expected
    )


def test_no_video_at_all_is_fatal() -> None:
    splits = [split_of(["a"], absent=[0]), split_of(["b"], name="test", absent=[0])]
    assert said(check_missing(splits, allow_missing=True)) == [("fatal", "no videos")]


@pytest.mark.parametrize("train", [[], [split_of([])], [split_of(["b"], absent=[0])]])
def test_no_training_video_is_fatal_whatever_is_allowed(train: list[ListedSplit]) -> None:
    splits = [split_of(["a"], name="val"), *train]
    (finding,) = check_missing(splits, allow_missing=True)
    assert (finding.level, finding.check) == ("fatal", "missing")
    assert "can be tested on, not trained on" in finding.sentence


@pytest.mark.parametrize(
    ("name", "expected"),
    [("train", ("fatal", "empty class")), ("test", ("warning", "empty class"))],
)
def test_classes_without_usable_videos_are_named(name: str, expected: tuple[str, str]) -> None:
    broken = {2: {"verdict": "damaged"}}
    split = split_of(["a", "b", "c"], name=name, labels=[0, 1, 2], absent=[1], results=broken)
    findings = check_classes([split], ["run", "walk", "jump"])
    assert said(findings) == [expected]
    assert findings[0].examples == ("walk", "jump")


def test_unequal_classes_are_noted() -> None:
    ids = [str(i) for i in range(12)]
    labels = [0] * 10 + [1] * 2
    assert check_classes([split_of(ids, labels=labels)], ["often", "rare"]) == []
    split = split_of(ids[:11], labels=labels[:11])
    findings = check_classes([split], ["often", "rare"])
    assert said(findings) == [("note", "balance")]
    assert findings[0].examples == ("rare: 1", "often: 10")


@pytest.mark.parametrize("official", [False, True])
def test_shared_videos_are_fatal(official: bool) -> None:
    splits = [split_of(["a", "b"]), split_of(["b", "c"], name="test")]
    (finding,) = check_leakage(splits, official)
    assert said([finding]) == [("fatal", "leakage")]
    assert finding.examples == ("b",)
    assert check_leakage(splits[:1], official) == check_leakage(splits[1:], official) == []


@pytest.mark.parametrize(("official", "level"), [(False, "fatal"), (True, "warning")])
def test_shared_groups_weigh_less_in_official_lists(official: bool, level: str) -> None:
    train = split_of(["a", "b"], groups=["g1", "g2"])
    test = split_of(["c", "d"], name="test", groups=["g2", "g3"])
    (finding,) = check_leakage([train, test], official)
    assert said([finding]) == [(level, "leakage")]
    assert finding.examples == ("c (g2)",)


def test_every_verdict_has_advice_and_a_finding() -> None:
    assert set(ADVICE) == VERDICTS
    ids = list(ADVICE)
    split = split_of(ids, results={i: {"verdict": verdict} for i, verdict in enumerate(ids)})
    findings = check_decoding([split])
    assert {finding.check for finding in findings} == set(ids)
    assert {level for level, _ in said(findings)} == {"warning"}
    assert all(finding.examples == (finding.check,) for finding in findings)


def test_good_videos_are_noted_once() -> None:
    splits = [split_of(["a"], name=name, results={0: {}}) for name in ("val", "test")]
    (finding,) = check_decoding(splits)
    assert said([finding]) == [("note", "decoding")]
    assert "1 decoded video " in finding.sentence
    assert check_decoding([split_of(["a"])]) == []


@pytest.mark.parametrize(
    ("listed", "decoded", "broken", "allowed", "level"),
    [
        (100, 100, 0, 0.0, None),
        (100, 100, 1, 0.01, None),
        (100, 100, 2, 0.01, "fatal"),
        (1000, 100, 11, 0.01, "fatal"),  # certain already
        (10_000, 100, 12, 0.01, "fatal"),  # 12 % of a sample: surely above
        (10_000, 100, 2, 0.01, "warning"),  # 2 %: likely above
        (10_000, 100, 1, 0.02, None),
    ],
)
def test_broken_share_is_held_against_what_is_allowed(
    listed: int, decoded: int, broken: int, allowed: float, level: str | None
) -> None:
    results = {i: {"verdict": "damaged"} if i < broken else {} for i in range(decoded)}
    split = split_of([str(i) for i in range(listed)], results=results)
    findings = check_broken_share(split, allowed)
    assert said(findings) == ([] if level is None else [(level, "broken share")])


def test_slow_videos_are_not_counted_as_broken() -> None:
    split = split_of(["a", "b"], results={0: {"verdict": "time limit"}, 1: {}})
    assert check_broken_share(split, 0.0) == []


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({}, None),
        ({"num_frames": 15}, None),
        ({"num_frames": 14}, "short"),
        ({"num_frames": 1}, "single frame"),
        ({"height": 63, "width": 84}, "small"),
        ({"height": 1080, "width": 1920}, "large"),
        ({"height": 200, "width": 700}, "narrow"),
        ({"frame_rate": 12.0}, "frame rate"),
        ({"frame_rate": 1000.0}, "frame rate"),
        ({"frame_rate": 0.0}, None),
    ],
)
@pytest.mark.parametrize(("number", "level"), [(1, "note"), (2, "warning")])
def test_odd_videos_are_found(
    changes: dict[str, Any], check: str | None, number: int, level: str
) -> None:
    results = {i: changes if i < number else {} for i in range(20)}
    findings = check_shapes([split_of([f"v{i}" for i in range(20)], results=results)], SPEC)
    odd = [finding for finding in findings if finding.check != "sizes"]
    assert said(odd) == ([] if check is None else [(level, check)])
    for finding in odd:
        assert [example.split()[0] for example in finding.examples] == ["v0", "v1"][:number]
    resized = "height" in changes
    assert (("note", "sizes") in said(findings)) == resized


def test_frame_rates_matter_to_dense_clips_only() -> None:
    results = {i: {"frame_rate": 12.0} if i < 1 else {} for i in range(20)}
    split = split_of([str(i) for i in range(20)], results=results)
    spread = InputSpec(FrameSampler(num_segments=8), SPEC.crops)
    assert check_shapes([split], spread) == []


@pytest.mark.parametrize(
    ("sampler", "span"),
    [
        (FrameSampler(num_frames=8, frame_stride=8), 57),
        (FrameSampler(num_frames=8), 8),
        (FrameSampler(num_segments=3, frames_per_segment=5), 15),
    ],
)
def test_clip_span_is_what_repeats_no_frame(sampler: FrameSampler, span: int) -> None:
    spec = InputSpec(sampler, SPEC.crops)
    assert clip_span(spec) == span
    frames = sampler.test(span)[0]
    assert len(set(frames.tolist())) == len(frames)
    assert len(set(sampler.test(span - 1)[0].tolist())) < len(frames)


@pytest.mark.parametrize(
    ("group", "official", "expected"),
    [
        (["a", "c"], False, ("fatal", "equal files")),
        (["a", "c"], True, ("warning", "equal files")),
        (["a", "b"], False, ("warning", "equal files")),
        (["c", "d"], False, ("note", "equal files")),
    ],
)
def test_equal_files_are_judged_by_where_they_are(
    group: list[str], official: bool, expected: tuple[str, str]
) -> None:
    splits = [split_of(["a", "b"], labels=[0, 1]), split_of(["c", "d"], name="test")]
    findings = check_equal_files(splits, [group], official)
    assert said(findings) == [expected]
    assert findings[0].examples == (" = ".join(group),)
    assert check_equal_files(splits, [], official) == []


def test_unlisted_videos_are_counted_by_folder() -> None:
    (finding,) = check_unlisted({"a": 1, "b": 3})
    assert said([finding]) == [("note", "unlisted")]
    assert finding.sentence.startswith("4 videos ")
    assert finding.examples == ("b: 3", "a: 1")
    assert check_unlisted({}) == []


def test_equal_files_are_found_by_content(tmp_path: Path) -> None:
    block = bytes(range(256)) * 400
    middle = bytearray(block)
    middle[50_000] ^= 1  # the ends are equal
    contents = {
        "a": block,
        "b": block,
        "c": bytes(middle),
        "d": block[:-1],
        "e": b"",
        "f": b"",
        "g": b"x",
        "h": b"x",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    paths = [str(tmp_path / name) for name in [*contents, "folder", "absent", "a"]]
    groups = equal_files(paths, 2)
    assert [[Path(path).name for path in group] for group in groups] == [["a", "b"], ["g", "h"]]


def test_unlisted_videos_are_found(tmp_path: Path) -> None:
    for name in ("top.mp4", "a/x.mp4", "a/y.AVI", "a/notes.txt", ".hidden/z.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("f/listed/1.jpg", "f/other/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    found = unlisted_videos(LocalPath(tmp_path), {"a/x.mp4", "f/listed"})
    assert found == {".": 1, "a": 1, "f": 1}
    root = tmp_path / "a" / "links"
    root.mkdir()
    (root / "b").symlink_to(tmp_path / "f")
    (root / "round").symlink_to(root)
    assert unlisted_videos(LocalPath(root), {"b/listed"}) == {"b": 1}


def measured(workers: int, speed: float, batches: int = 40, around: float = 1.0) -> LoaderSpeed:
    return LoaderSpeed(workers, speed, batches, speed - around, speed + around)


def test_no_workers_are_never_advised() -> None:
    (finding,) = check_loader([measured(0, 90.0), measured(1, 50.0)], 1, num_cores=2)
    assert said([finding]) == [("note", "workers")]
    assert "50.0 clips/s with 1 worker " in finding.sentence


@pytest.mark.parametrize(
    ("configured", "expected", "sentence"),
    [
        (0, "warning", "set data.loading.num_workers=2"),
        (2, "note", "100.0 clips/s with 2 workers"),
        (4, "note", "100.0 clips/s with 2 workers"),
        (9, "warning", "more than the 4 that may be used here"),
    ],
)
def test_number_of_workers_is_advised(configured: int, expected: str, sentence: str) -> None:
    speeds = [measured(*pair) for pair in ((0, 40.0), (1, 70.0), (2, 100.0), (4, 103.0))]
    findings = check_loader(speeds, configured, num_cores=4)
    assert said(findings) == [(expected, "workers")]
    assert sentence in findings[0].sentence
    assert check_loader([], configured, 4) == []


def test_no_advice_from_too_few_batches_or_speeds_that_overlap() -> None:
    few = [measured(1, 40.0, batches=8), measured(4, 100.0, batches=15)]
    (finding,) = check_loader(few, 1, num_cores=4)
    assert said([finding]) == [("note", "workers")]
    assert "only 15 batches came from 4 workers" in finding.sentence
    enough = [measured(1, 40.0, batches=8), measured(4, 100.0, batches=16)]
    assert said(check_loader(enough, 1, num_cores=4)) == [("warning", "workers")]
    wide = [measured(1, 40.0, around=31.0), measured(4, 100.0, around=31.0)]
    assert said(check_loader(wide, 1, num_cores=4)) == [("note", "workers")]


def test_speed_of_a_measurement_and_of_its_parts() -> None:
    ends = [0.0, 1.0, 2.0, 2.5, 3.0, 5.0, 7.0, 7.5, 8.0]  # pairs take 2, 1, 4, 1 seconds
    speed = _speed(1, 6, ends)
    assert speed == LoaderSpeed(1, 6 * 8 / 8, 8, 6 * 2 / 4, 6 * 2 / 1)
    assert speed.is_enough
    assert not _speed(1, 6, ends[:-1]).is_enough
    assert _speed(0, 6, [0.0, 2.0]) == LoaderSpeed(0, 3.0, 1, 3.0, 3.0)


@pytest.mark.parametrize(
    ("cores", "configured", "expected"),
    [(1, 2, [0, 1, 2]), (2, 2, [0, 1, 2]), (6, 3, [0, 1, 2, 3, 4, 6]), (2, 64, [0, 1, 2, 4])],
)
def test_worker_counts_reach_the_cores(cores: int, configured: int, expected: list[int]) -> None:
    assert worker_counts(cores, configured) == expected


@pytest.mark.parametrize(
    ("free", "workers", "expected"),
    [(None, 2, []), (10, 0, []), (10**9, 2, ["note"]), (10**6, 2, ["warning"])],
)
def test_shared_memory_must_hold_the_batches(
    free: int | None, workers: int, expected: list[str]
) -> None:
    per_batch = batch_bytes(SPEC, 4)
    assert per_batch == 4 * 3 * 8 * 112 * 112
    findings = check_shared_memory(free, per_batch, workers)
    assert [level for level, _ in said(findings)] == expected


def test_storage_is_estimated_from_what_was_decoded() -> None:
    split = split_of(["a", "b", "c"], results={0: {}, 1: {"verdict": "damaged"}})
    (finding,) = check_storage(split.decoded.values(), 3)
    assert said([finding]) == [("note", "storage")]
    assert "about 3 kB" in finding.sentence
    assert "200 frames/s" in finding.sentence
    assert check_storage([], 3) == []


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e9, "2 GB"), (3e15, "3e+03 TB")],
)
def test_bytes_are_readable(count: float, text: str) -> None:
    assert readable_bytes(count) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 videos"), (1, "1 video"), (1200, "1,200 videos")]
)
def test_count_of_knows_the_plural(number: int, text: str) -> None:
    assert count_of(number, "video") == text


def test_sample_is_spread_and_grows() -> None:
    split = split_of([str(i) for i in range(1000)], absent=range(100))
    small, large = split.sample(50), split.sample(200)
    assert set(small) < set(large)
    assert len(small) == 50
    assert max(np.diff([99, *small, 1000])) < 3 * 900 / 50
    assert split.sample(None) == split.sample(5000) == list(range(100, 1000))


def test_parts_are_stretches_of_files() -> None:
    table = VideoTable(
        PackedStrings(["a", "b"]),
        PackedStrings(["x.mp4", "x.mp4"]),
        np.zeros(2, np.int64),
        np.arange(2),
        np.array([math.nan, 1.5], np.float32),
        np.array([math.nan, 2.0], np.float32),
    )
    split = ListedSplit("train", ROOT, table, ["a", "b"])
    assert list(split.parts()) == [("/data/x.mp4", None, None), ("/data/x.mp4", 1.5, 2.0)]

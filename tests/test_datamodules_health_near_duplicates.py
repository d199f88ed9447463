"""Near-duplicates: fingerprints, their comparison, and the pairs of a dataset's splits."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROJECT_ROOT
from numpy.typing import NDArray
from PIL import Image
from video_files import write

from datamodules.annotations.table import PackedStrings, VideoTable
from datamodules.health import examination
from datamodules.health.decode_check import DecodeResult, Part, decode_part
from datamodules.health.decode_log import DecodeLog
from datamodules.health.findings import ListedSplit
from datamodules.health.fingerprints import packed, sampled_frames, tiny_frames, unpacked
from datamodules.health.near_duplicates import Likeness, near_duplicates
from datamodules.health.near_pairs import NearPair, check_near_duplicates, find_near_pairs
from datamodules.video.reader import VideoReader
from lightning_modules.cli import main
from lightning_modules.reports.doctor.pairs import near_pairs

CONFIG = str(PROJECT_ROOT / "configs" / "data" / "video_folder.yaml")


def frames_of(seed: int, count: int = 40, room: int = 0) -> NDArray[np.uint8]:
    """A fingerprint of something that moves, at random, before the still picture of a room."""
    draws, still = np.random.default_rng(1000 + seed), np.random.default_rng(room)
    picture = np.kron(still.uniform(40, 200, (4, 4)), np.ones((2, 2)))
    place = np.cumsum(draws.normal(0, 0.6, (count, 2)), 0) % 8
    rows, columns = np.mgrid[:8, :8]
    distance = (rows - place[:, :1, None]) ** 2 + (columns - place[:, 1:, None]) ** 2
    return (picture + 50 * np.exp(-distance / 3)).round().astype(np.uint8)


def noisy(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same after another encoding."""
    noise = np.random.default_rng(7).normal(0, 1.0, frames.shape)
    return (frames + noise).round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "times",
    [np.arange(60) / 25, 3.5 + np.arange(60) / 29.97, np.array([0, 0.01, 0.6, 0.61, 1.0]), [2.0]],
)
def test_frames_of_a_fingerprint_are_those_shown_at_its_times(times: Any) -> None:
    times, expected = np.asarray(times), []
    for step in range(1000):
        moment = times[0] + step / 8
        if moment > times[-1] + 1e-9:
            break
        expected.append(max(i for i, time in enumerate(times) if time <= moment + 1e-6))
    assert sampled_frames(times).tolist() == expected


@pytest.mark.parametrize("size", [(16, 24), (27, 45), (5, 9)])
def test_tiny_frames_are_means_of_cells(size: tuple[int, int]) -> None:
    frames = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8)
    grey, tiny = frames.numpy().astype(float).mean(1), tiny_frames(frames)
    for row in range(8):
        for column in range(8):
            rows, columns = (
                slice(side * cell // 8, max(side * cell // 8 + 1, side * (cell + 1) // 8))
                for side, cell in zip(size, (row, column), strict=True)
            )
            cell = grey[:, rows, columns].mean((1, 2))
            assert abs(tiny[:, row, column] - cell).max() <= 0.5 + 1e-4
    assert np.array_equal(unpacked(packed([tiny, tiny[:1]])), np.concatenate([tiny, tiny[:1]]))
    assert unpacked("").shape == (0, 8, 8)


def slow_score(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[float, int]:
    """The best correlation of changes over all lags, frame by frame."""
    a, b = (x.reshape(len(x), -1).astype(float) for x in (first, second))
    least, best = max(4, round(0.5 * min(len(a), len(b)))), (-1.0, 0)
    for lag in range(-len(b), len(a)):
        shared = [t for t in range(len(a)) if 0 <= t - lag < len(b)]
        if len(shared) < least:
            continue
        changes = [(a[t] - a[t - 2], b[t - lag] - b[t - 2 - lag]) for t in shared[2:]]
        products = sum(float(x @ y) for x, y in changes)
        sizes = [sum(float(pair[i] @ pair[i]) for pair in changes) for i in (0, 1)]
        score = products / (np.sqrt(sizes[0] * sizes[1]) + 6.4 * len(changes))
        best = max(best, (score, lag))
    return best


def test_score_is_the_best_correlation_over_all_lags() -> None:
    whole = frames_of(1, 50)
    late = noisy(whole[6:40])
    ((_, _, found),) = near_duplicates([whole], [late])
    score, lag = slow_score(whole, late)
    assert lag == 6
    assert found.shift == 6 / 8
    assert found.score == pytest.approx(score, abs=1e-4)
    ((_, _, turned),) = near_duplicates([late[:, :, ::-1]], [whole])
    assert (turned.shift, turned.is_mirrored) == (-6 / 8, True)
    assert turned.score == pytest.approx(score, abs=1e-4)


def test_copies_are_found_and_others_of_one_room_are_not() -> None:
    theirs = [frames_of(seed) for seed in range(12)]
    ours = [
        noisy(theirs[3]),
        theirs[5][7:][:, :, ::-1],
        noisy(frames_of(99)),
        theirs[0][:3],  # under half a second
        np.full((40, 8, 8), 128, np.uint8),
        frames_of(4, room=1),  # moves alike, elsewhere
    ]
    found = {(i, j): like for i, j, like in near_duplicates(ours, theirs)}
    assert set(found) == {(0, 3), (1, 5)}
    assert not found[0, 3].is_mirrored
    assert found[1, 5].is_mirrored
    assert min(like.score for like in found.values()) > 0.9
    assert list(near_duplicates([], theirs)) == list(near_duplicates(ours, [])) == []


def split_of(
    name: Any, videos: dict[str, tuple[str, NDArray[np.uint8]]], broken: Sequence[str] = ()
) -> ListedSplit:
    """A decoded split of paths with their groups and fingerprints."""
    paths = [*videos, *broken]
    table = VideoTable(
        PackedStrings(paths),
        PackedStrings(paths),
        np.zeros(len(paths), np.int64),
        np.arange(len(paths), dtype=np.int64),
    )
    groups = [*(group for group, _ in videos.values()), *[""] * len(broken)]
    split = ListedSplit(name, Path("/data"), table, groups)
    results = {}
    for part, path in zip(split.parts(), paths, strict=True):
        result = DecodeResult(*part, 1, 1, num_frames=100)
        if path in videos:
            results[part] = replace(result, fingerprint=packed([videos[path][1]]))
        else:
            results[part] = replace(result, verdict="damaged")
    return replace(split, results=results)


def test_pairs_of_splits_are_told_apart_by_group() -> None:
    a, b, c = (frames_of(seed) for seed in range(3))
    train = split_of("train", {"a.mp4": ("s1", a), "b.mp4": ("s2", b), "c.mp4": ("", c)}, ["x.mp4"])
    val = split_of("val", {"late.mp4": ("s1", a[5:]), "own.mp4": ("s3", frames_of(9))})
    test = split_of("test", {"turned.mp4": ("s4", b[:, :, ::-1]), "equal.mp4": ("", c)})
    splits = [train, val, test]
    steps = list(find_near_pairs(splits, {"c.mp4": 0, "equal.mp4": 0}))
    assert [count for count, _ in steps] == [2, 2]
    pairs = [pair for _, some in steps for pair in some]
    assert [str(pair) for pair in pairs] == [
        "late.mp4 = a.mp4 (1.00 alike, 0.6 s apart, one group)",
        "turned.mp4 = b.mp4 (1.00 alike, mirrored)",
    ]
    # the middle of what both show: 35 frames, of which the first is the sixth in the other
    assert pairs[0].moments == (35 / 16, 35 / 16 + 5 / 8)
    ((_, unequal),) = list(find_near_pairs([train, test], {"c.mp4": 0}))
    assert {pair.video for pair in unequal} == {"turned.mp4", "equal.mp4"}
    findings = check_near_duplicates(splits, pairs)
    assert [(f.level, f.check) for f in findings] == [
        ("note", "near-duplicates"),
        ("warning", "near-duplicates"),
        ("note", "near-duplicates"),
    ]
    assert "1 pair of near-duplicates of one group" in findings[0].sentence
    assert "1 of 2 test videos show the same moments as a training video (1 mirrored)" in (
        findings[1].sentence
    )
    assert findings[1].examples == ("turned.mp4 = b.mp4 (1.00 alike, mirrored)",)
    assert "4 videos of other splits were held against 3 training videos; 1 other not" in (
        findings[2].sentence
    )
    (alone,) = check_near_duplicates([train, val], [])
    assert "none of them shows the same moments" in alone.sentence


def test_parts_of_one_file_are_one_group() -> None:
    frames, splits = frames_of(0), []
    for name, start in (("train", 0.0), ("val", 1.0)):
        split = split_of(name, {"v.mp4": ("", frames)})
        starts, ends = (np.array([x], np.float32) for x in (start, start + 5))
        table = VideoTable(
            *(split.table.video_ids, split.table.paths, split.table.labels, split.table.present),
            *(starts, ends),
        )
        split = replace(split, table=table)
        (part,) = split.parts()
        result = DecodeResult(*part, 1, 1, fingerprint=packed([frames]))
        splits.append(replace(split, results={part: result}))
    ((_, (found,)),) = find_near_pairs(splits, {})
    assert found.is_one_group


def test_fingerprint_is_taken_of_files_stretches_and_folders(
    motion_root: Path, tmp_path: Path
) -> None:
    video = str(next(motion_root.rglob("*.mp4")))
    plain, result = decode_part(Part(video)), decode_part(Part(video), with_fingerprint=True)
    assert plain.fingerprint == ""
    with VideoReader(video) as reader:
        chosen = sampled_frames(reader.timestamps)
        expected = tiny_frames(reader.get_frames(chosen))
    assert np.array_equal(unpacked(result.fingerprint), expected)
    assert replace(result, fingerprint="", decode_seconds=0.0) == replace(plain, decode_seconds=0.0)
    stretch = decode_part(Part(video, 0.2, 0.8), with_fingerprint=True)
    assert len(unpacked(stretch.fingerprint)) == 5
    for number in range(25):
        Image.new("RGB", (48, 40), (10 * number, 0, 0)).save(tmp_path / f"{number:05d}.png")
    folder = decode_part(Part(str(tmp_path)), with_fingerprint=True)
    assert unpacked(folder.fingerprint)[:, 0, 0].tolist() == [
        round(10 * (step * 25 // 8) / 3) for step in range(8)
    ]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(Path(video).read_bytes()[:2000])
    lost = decode_part(Part(str(broken)), with_fingerprint=True)
    assert lost.verdict is not None
    assert lost.fingerprint == ""


def test_known_results_count_only_with_a_fingerprint(motion_root: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.mp4", tmp_path / "bad.mp4"
    shutil.copy(next(motion_root.rglob("*.mp4")), good)
    bad.write_bytes(b"")
    log, parts = DecodeLog(tmp_path / "log"), [Part(str(good)), Part(str(bad))]
    for part in parts:
        log.add(decode_part(part))
    assert set(log.still_true(parts, 1)) == set(parts)
    assert set(log.still_true(parts, 1, with_fingerprints=True)) == {parts[1]}
    log.add(decode_part(parts[0], with_fingerprint=True))
    assert set(log.still_true(parts, 1, with_fingerprints=True)) == set(parts)


@pytest.fixture
def leaky(motion_root: Path, tmp_path: Path) -> Path:
    """Class folders whose test part holds a mirrored, shorter copy of a training clip."""
    root = tmp_path / "leaky"
    for split, first in (("train", 0), ("test", 4)):
        for name in ("grow", "move_up"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for video in sorted((motion_root / "train" / name).glob("*.mp4"))[first : first + 4]:
                shutil.copy(video, folder)
    source = min((root / "train" / "grow").iterdir())
    with VideoReader(source) as reader:
        frames = reader.get_frames(range(5, reader.num_frames)).permute(0, 2, 3, 1).numpy()
    write(root / "test" / "grow" / "copy.mp4", "libx264", frames[:, :, ::-1], options={"crf": "30"})
    (root / "test" / "grow" / "lost.mp4").write_text("<html>not found</html>")
    return root


def doctor(root: Path, out: Path, *words: str) -> int:
    """Run the command; its exit code."""
    where = [
        f"--data.root={root}",
        f"--out={out}",
        "--measure=0",
        "--data.loading.batch_size=2",
        *words,
    ]
    try:
        main(["doctor", "--config", CONFIG, *where])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.usefixtures("fork_server")
def test_doctor_finds_the_copy_goes_on_after_a_stop_and_shows_it(
    leaky: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, given = tmp_path / "report", list[int]()

    def some(parts: list[Part], _: int, __: float, with_fingerprints: bool) -> Any:
        given.append(len(parts))
        for number, part in enumerate(parts):
            if len(given) == 2 and number == 7:
                raise KeyboardInterrupt
            yield decode_part(part, with_fingerprints)

    monkeypatch.setattr(examination, "decode_all", some)
    assert doctor(leaky, out, "--full") == 0
    assert "near-duplicates" not in capsys.readouterr().out
    assert doctor(leaky, out, "--near_duplicates") == 130
    assert doctor(leaky, out, "--near_duplicates") == 0
    # the broken one is known; all others lacked a fingerprint, then seven had one
    assert given == [18, 17, 10]
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 of 10 test videos show the same moments" in printed
    found = json.loads((out / "findings.json").read_text())
    (pair,) = found["near_duplicates"]
    assert pair["video"] == "test/grow/copy.mp4"
    assert pair["mirrored"] is True
    assert pair["one_group"] is False
    assert abs(abs(pair["shift"]) - 5 / 25) < 0.1
    assert {row["verdict"] for row in found["broken"]} == {"not a video"}
    page = (out / "report.html").read_text()
    pairs = page[page.index('<div class="pairs">') : page.index("<h2>Broken videos")]
    assert pairs.count('<img alt="" src="data:image/jpeg;base64,') == 2
    assert "mirrored" in page


def test_picture_of_a_video_that_is_gone_is_left_out(motion_root: Path, tmp_path: Path) -> None:
    video = str(next(motion_root.rglob("*.mp4")))
    parts = Part(video), Part(str(tmp_path / "<gone>.mp4"))
    pair = NearPair(
        "test", "a & b.mp4", "<gone>.mp4", parts, (0.4, 0.4), Likeness(0.9, 1.0, 0.0), False
    )
    page = near_pairs([pair] * 41)
    assert page.count("<img") == page.count("cannot be read any more") == 40
    assert "a &amp; b.mp4" in page
    assert "<gone>" not in page
    assert "and 1 more, in findings.json" in page


def test_real_copies_are_found(test_data: Path, tmp_path: Path) -> None:
    clips = sorted((test_data / "ucf101_3class" / "videos" / "BabyCrawling").glob("*_c01.avi"))[:3]
    prints = [
        unpacked(decode_part(Part(str(path)), with_fingerprint=True).fingerprint) for path in clips
    ]
    with VideoReader(clips[1]) as reader:
        frames = reader.get_frames(range(14, reader.num_frames))[:, :, ::2, ::2]
    pixels = frames.permute(0, 2, 3, 1).numpy()
    copies = []
    for name, shown in (("half.mp4", pixels), ("turned.mp4", pixels[:, :, ::-1])):
        path = write(tmp_path / name, "libx264", shown, options={"crf": "28"})
        copies.append(unpacked(decode_part(Part(str(path)), with_fingerprint=True).fingerprint))
    found = [(i, j, like.is_mirrored) for i, j, like in near_duplicates(copies, prints)]
    assert found == [(0, 1, False), (1, 1, True)]
    assert [(i, j) for i, j, _ in near_duplicates(prints, prints) if i != j] == []

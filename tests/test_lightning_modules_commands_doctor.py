"""The command doctor: verdicts on real files, time limits, going on after a stop, the report."""

import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PROJECT_ROOT

from datamodules import VideoFolderDataModule
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops
from datamodules.dataset import VideoDataset
from datamodules.health import examination
from datamodules.health.contact_sheet import draw_clips
from datamodules.health.decode_check import DecodeResult, Part, decode_all, decode_part
from datamodules.health.decode_log import DecodeLog
from datamodules.health.findings import read_lists
from datamodules.samplers import SampleKey
from lightning_modules.cli import main

pytestmark = pytest.mark.usefixtures("fork_server")

CONFIG = str(PROJECT_ROOT / "configs" / "data" / "video_folder.yaml")
QUICK = ["--measure=0", "--workers=1", "--data.crops.size=32", "--data.crops.short_side=32"]

DAMAGED = {
    "FlashVideo.flv": "no frames",
    "Mpeg4.mp4": "no video stream",
    "audio_only.mp4": "no video stream",
    "bipbop_nonfragment_header.mp4": "truncated",
    "bit_flips.mp4": "damaged",
    "chunk_out_of_range.mp4": "damaged",
    "empty.mp4": "empty file",
    "no_timescale.mp4": "damaged",
    "truncated_half.mp4": "truncated",
    "truncated_half_faststart.mp4": "truncated",
    "video_with_failing_audio.mp4": None,
    "web_page.mp4": "not a video",
    "webm.webm": None,
    "zero_empty_stsc.mp4": "truncated",
}


class Deadly(str):
    """A path that ends the process it is sent to."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


def doctor(*words: str) -> int:
    """Run the command; its exit code."""
    try:
        main(["doctor", "--config", CONFIG, *QUICK, *words])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_every_damaged_file_gets_its_verdict(test_data: Path) -> None:
    parts = [Part(str(test_data / "damaged" / name)) for name in DAMAGED]
    results = {Path(result.path).name: result for result in decode_all(parts, 2, limit=60)}
    assert {name: result.verdict for name, result in results.items()} == DAMAGED
    assert all(result.detail for result in results.values() if result.verdict)


def test_deadly_video_gets_a_verdict(motion_root: Path) -> None:
    videos = [str(path) for path in sorted(motion_root.rglob("*.mp4"))[:3]]
    parts = [Part(videos[0]), Part(Deadly(videos[1])), Part(videos[2])]
    results = list(decode_all(parts, 1, limit=60))
    assert [result.verdict for result in results] == [None, "crash", None]
    assert results[1].detail == "decoding it ended the process, with exit code 3"
    assert list(decode_all([], 2, limit=1)) == []


def test_hanging_video_is_ended(motion_root: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.png")  # opening it waits for a writer, forever
    videos = [Part(str(path)) for path in sorted(motion_root.rglob("*.mp4"))[:2]]
    results = {result.part: result for result in decode_all([Part(str(tmp_path)), *videos], 1, 2.0)}
    assert [results[video].verdict for video in videos] == [None, None]
    hung = results[Part(str(tmp_path))]
    assert (hung.verdict, hung.decode_seconds) == ("time limit", 2.0)
    assert "ended after 2 s" in hung.detail


def test_result_describes_files_stretches_and_folders(motion_root: Path, tmp_path: Path) -> None:
    from PIL import Image

    video = str(next(motion_root.rglob("*.mp4")))
    whole = decode_part(Part(video))
    assert (whole.verdict, whole.height, whole.width) == (None, 64, 64)
    assert whole.nbytes == whole.size == os.path.getsize(video)
    assert whole.decode_seconds > 0
    second = 1 / whole.frame_rate
    stretch = decode_part(Part(video, 1.5 * second, 4.5 * second))
    assert stretch.num_frames == 3 < whole.num_frames
    assert decode_part(Part(video, 1000.0, 1001.0)).verdict == "empty segment"
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (1, 2):
        Image.new("RGB", (48, 40)).save(folder / f"{number}.png")
    images = decode_part(Part(str(folder)))
    assert (images.num_frames, images.height, images.width) == (2, 40, 48)
    assert images.frame_rate == 0
    assert images.nbytes == sum(path.stat().st_size for path in folder.iterdir())
    assert decode_part(Part(str(tmp_path / "absent.mp4"))).verdict == "missing"


def test_log_keeps_what_is_still_true(motion_root: Path, tmp_path: Path) -> None:
    videos = sorted(motion_root.rglob("*.mp4"))[:4]
    copies = [Path(shutil.copy(video, tmp_path / f"{i}.mp4")) for i, video in enumerate(videos)]
    log = DecodeLog(tmp_path / "log.jsonl")
    parts = [Part(str(path)) for path in copies]
    assert log.still_true(parts, 1) == {}
    results = [decode_part(part) for part in parts]
    results[2] = replace(results[2], verdict="time limit", decode_seconds=5.0)
    results[3] = replace(results[3], verdict="crash")
    log.add(results[0])
    with log.path.open("ab") as file:
        file.write(b'{"path": "/of a writer that di')
    for result in results[1:]:
        log.add(result)
    assert log.still_true(parts, 5) == {result.part: result for result in results[:3]}
    assert log.still_true(parts, 6) == {result.part: result for result in results[:2]}
    with copies[0].open("ab") as file:
        file.write(b"x")
    copies[1].unlink()
    assert log.still_true(parts, 1) == {parts[2]: results[2]}
    log.add(replace(results[2], decoder="another"))
    assert log.still_true(parts, 1) == {}


def test_healthy_dataset_passes_with_a_page_and_json(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    where = [f"--data.root={class_folders}", f"--out={out}"]
    assert doctor(*where, "--measure=0.01", "--data.loading.batch_size=2", "--json") == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found == json.loads((out / "findings.json").read_text())
    assert found["fatal"] is False
    assert found["splits"] == [
        {
            "split": "train",
            "listed": 18,
            "official": None,
            "present": 18,
            "decoded": 18,
            "broken": 0,
        }
    ]
    assert {finding["level"] for finding in found["findings"]} <= {"note", "warning"}
    assert found["broken"] == []
    assert all(speed["clips_per_second"] > 0 for speed in found["loader"])
    assert {0, 1} <= {speed["num_workers"] for speed in found["loader"]}
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 6
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    sheet = page[page.index("Clips as the network sees them") :]
    for name in ("grow", "move_up", "turn_clockwise"):
        assert f"<h3>{name}</h3>" in sheet
    assert sheet.count('class="strip"') == 9  # three videos of each class
    assert sheet.count("<img") == 36
    first, second = found["division"][:2]
    assert (first["split"], first["videos"], second["videos"]) == ("train", 15, 3)
    assert second["origin"] == "held out of the train list (data.val_fraction=0.1)"
    assert "url(http" not in page
    assert not re.search(r"#0[1-5]0[1-5]0[1-5]", page), "a colour that the page does not set"
    assert "prefers-color-scheme: dark" in page


def test_sick_dataset_fails_and_names_everything(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = sorted((class_folders / "grow").glob("*.mp4"))
    videos[0].write_text("<html>not found</html>")
    videos[1].write_bytes(videos[1].read_bytes()[:400])
    videos[2].with_name("<b>&[red].mp4").write_bytes(b"")
    shutil.copy(videos[3], class_folders / "move_up")
    out = tmp_path / "report"
    assert doctor(f"--data.root={class_folders}", f"--out={out}") == 1
    printed = capsys.readouterr().out
    assert "not ready for training" in printed
    found = json.loads((out / "findings.json").read_text())
    verdicts = {Path(row["path"]).name: row["verdict"] for row in found["broken"]}
    assert verdicts[videos[0].name] == "not a video"
    assert verdicts[videos[1].name] in ("truncated", "damaged")
    assert verdicts["<b>&[red].mp4"] == "empty file"
    levels = {(finding["level"], finding["check"]) for finding in found["findings"]}
    assert {("fatal", "broken share"), ("warning", "equal files")} <= levels
    page = (out / "report.html").read_text()
    assert "&lt;b&gt;&amp;[red].mp4" in page
    assert "<b>" not in page


def test_unreadable_dataset_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for root in (tmp_path / "absent", tmp_path):
        assert doctor(f"--data.root={root}", f"--out={tmp_path / 'report'}", "--json") == 1
        (finding,) = json.loads(capsys.readouterr().out)["findings"]
        assert (finding["level"], finding["check"]) == ("fatal", "no videos")
        assert str(root) in finding["sentence"]
        assert finding["sentence"].endswith(".")


def test_what_a_fit_refuses_is_fatal(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [f"--data.root={class_folders}", f"--out={tmp_path / 'report'}", "--json"]
    assert doctor(*where, "--data.loading.batch_size=400") == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    (fatal,) = [finding for finding in findings if finding["level"] == "fatal"]
    assert fatal["check"] == "setup"
    assert "set data.loading.batch_size to at most" in fatal["sentence"]


def test_scenes_that_names_tell_and_a_fit_would_divide_are_a_warning(
    motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, videos = tmp_path / "own", sorted((motion_root / "train").rglob("*.mp4"))
    for number in range(40):
        name = ("Punch", "PushUps")[number % 2]
        target = root / name / f"v_{name}_g{number // 8:02d}_c{number % 8:02d}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(videos[number], target)
    where = [f"--data.root={root}", f"--out={tmp_path / 'report'}", "--json", "--sample=1"]
    assert doctor(*where) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    (leak,) = [finding for finding in findings if finding["check"] == "leakage"]
    assert leak["level"] == "warning"
    assert "4 of 4 validation videos have theirs in training" in leak["sentence"]
    (pattern,) = re.findall(r"data\.group_pattern='(.+?)'\)", leak["sentence"])
    assert doctor(*where, "--data.group_pattern", pattern) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert not [finding for finding in findings if finding["check"] == "leakage"]


def test_nothing_to_train_on_is_not_ready(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        f"{path.relative_to(class_folders).as_posix()} {label}\n"
        for label, folder in enumerate(sorted(class_folders.iterdir()))
        for path in sorted(folder.iterdir())
    ]
    (tmp_path / "val.txt").write_text("".join(lines))
    (tmp_path / "train.txt").write_text("".join(f"elsewhere/{line}" for line in lines))
    where = [f"--data.root={class_folders}", f"--out={tmp_path / 'report'}"]
    lists = [f"--data.{name}_list={tmp_path / name}.txt" for name in ("train", "val")]
    assert doctor(*where, *lists, "--data.allow_missing=true", "--sample=1") == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "not ready for training: 1 fatal" in printed
    assert "can be tested on" in printed


def test_stopped_examination_goes_on(
    class_folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "report"
    where = [f"--data.root={class_folders}", f"--out={out}", "--full"]
    given: list[list[Part]] = []

    def stopped(parts: list[Part], *_: object) -> Iterator[DecodeResult]:
        given.append(parts)
        yield from map(decode_part, itertools.islice(parts, 5))
        raise KeyboardInterrupt

    def counted(parts: list[Part], *_: object) -> Iterator[DecodeResult]:
        given.append(parts)
        return map(decode_part, parts)

    monkeypatch.setattr(examination, "decode_all", stopped)
    assert doctor(*where) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not (out / "report.html").exists()
    monkeypatch.setattr(examination, "decode_all", counted)
    assert doctor(*where) == 0
    assert doctor(*where) == 0
    assert [len(parts) for parts in given] == [18, 13, 0]
    assert set(given[1]) == set(given[0][5:])


def test_runs_share_the_decoding_and_the_last_one_reports(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = sorted((class_folders / "grow").glob("*.mp4"))
    videos[0].write_text("<html>not found</html>")
    out, alone = tmp_path / "report", tmp_path / "alone"
    where = [f"--data.root={class_folders}", "--full", "--data.max_broken_fraction=0.5"]
    for shard in ("2/3", "0/3"):
        assert doctor(*where, f"--out={out}", f"--shard={shard}", "--json") == 0
        said = capsys.readouterr()
        assert re.search(r"\d+ videos? left for other runs; the last one writes", said.err)
        assert not said.out
    assert not (out / "findings.json").exists()
    assert doctor(*where, f"--out={out}", "--shard=1/3") == doctor(*where, f"--out={alone}") == 0
    told = [json.loads((folder / "findings.json").read_text()) for folder in (out, alone)]
    assert told[0]["splits"] == told[1]["splits"]
    assert told[0]["broken"] == told[1]["broken"]
    assert (out / "report.html").is_file()
    lines = (out / "decoded.jsonl").read_text().splitlines()
    parts = [json.loads(line)["path"] for line in lines]
    assert len(parts) == len(set(parts)) == told[0]["splits"][0]["decoded"] == 18


def test_run_that_reports_counts_what_may_pass(
    class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash is tried again by the same command, but keeps no other run from its report."""
    out = tmp_path / "report"
    where = [f"--data.root={class_folders}", f"--out={out}", "--full"]

    def crashing(parts: list[Part], *_: object) -> Iterator[DecodeResult]:
        return (replace(decode_part(part), verdict="crash") for part in parts)

    with monkeypatch.context() as patch:
        patch.setattr(examination, "decode_all", crashing)
        assert doctor(*where, "--shard=0/2") == 0
    assert doctor(*where, "--shard=1/2") == 1
    crashed = len(json.loads((out / "findings.json").read_text())["broken"])
    assert 0 < crashed < 18
    assert doctor(*where, "--shard=0/2") == 0
    assert json.loads((out / "findings.json").read_text())["broken"] == []


def test_clips_of_the_sheet_are_those_of_the_first_epoch(class_folders: Path) -> None:
    data = VideoFolderDataModule(
        str(class_folders),
        sampling=FrameSampler(num_frames=8, frame_stride=1),
        crops=Crops(size=32, short_side=40),
        seed=5,
    )
    (split,) = read_lists(data)
    dataset = VideoDataset(split.table, split.root, data.spec, train=True, seed=5)
    good = [index for index in range(18) if index != 7]
    clips = list(draw_clips(dataset, good, label=1))
    assert [clip.video_id for clip in clips] == [dataset.video_ids[i] for i in (6, 9, 11)]
    expected = dataset[SampleKey(0, 9)]["clips"][0]  # (C, T, H, W)
    middle = expected.shape[1] - 1
    times = [0, round(middle / 3), round(2 * middle / 3), middle]
    assert clips[1].frames.shape == (4, 32, 32, 3)
    for frame, time in zip(clips[1].frames, times, strict=True):
        assert np.array_equal(frame, expected[:, time].permute(1, 2, 0).numpy())
    assert list(draw_clips(dataset, [], label=1)) == []


def test_odd_videos_stand_beside_their_finding(class_folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    words = ["--data.crops.size=400", "--data.crops.short_side=400", "--sample=2"]
    assert doctor(f"--data.root={class_folders}", f"--out={out}", *words) == 0
    page = (out / "report.html").read_text()
    assert page.count('<div class="odd">') == 1
    part = page[page.index('<div class="odd">') :].split("</div>\n")[0]
    assert part.count("<figure>") == 2
    assert part.count("<img") == 6
    assert "(64x64)" in part


def test_words_of_a_fit_are_taken(
    motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        [
            *("doctor", "--config", str(PROJECT_ROOT / "configs" / "quickstart.yaml")),
            *("--model", "BaselineModule", "--model.network", "c2d_tiny", "--run.name=control"),
            *("--trainer.max_epochs", "3", f"--data.root={motion_root}", "--measure=0"),
            *("--data.num_train=64", "--data.num_val=16", "--data.num_test=16", "--json"),
            *("--sample=2", "--workers=1", f"--out={tmp_path}", "--trainer.logger", "false"),
        ]
    )
    found = json.loads(capsys.readouterr().out)
    assert [row["decoded"] for row in found["splits"]] == [2, 2, 2]
    assert [row["listed"] for row in found["splits"]] == [64, 16, 16]
    rows = [(row["videos"], row["origin"]) for row in found["division"]]
    assert rows == [(64, "the train list"), (16, "the validation list"), (16, "the test list")]


def test_network_of_a_config_is_tried_by_its_short_name(
    class_folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(
        "lightning_modules.commands.datasets.doctor._about_network",
        lambda network, *_: tried.append(type(network).__name__) or [],
    )
    config = tmp_path / "mine.yaml"
    config.write_text("model: {class_path: StNetModule, init_args: {network: stnet_tiny}}")
    words = [f"--data.root={class_folders}", f"--out={tmp_path / 'out'}", "--measure=0"]
    assert doctor(*words, f"--config={config}") == 0
    assert tried == ["StNet"]
    config.write_text("model: {class_path: StNetModule, init_args: {network: stnet_tini}}")
    assert doctor(*words, f"--config={config}") == 2
    assert "there is no network 'stnet_tini'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--sampel=3"], "has no option --sampel; did you mean --sample"),
        (["--data.roots=3"], "there is no key 'roots'; did you mean root"),
        (["--sample=0"], "--sample 0 is too small; give at least 1"),
        (["--workers=0"], "--workers 0 is too small; give at least 1"),
        (["--limit=0"], "--limit 0 is no time to decode in; give seconds above 0"),
        (["--data=os.system"], "the class os.system is refused"),
        (["--data.sampling.num_frames=0"], "num_frames"),
        (["--out=/dev/null/x"], "--out /dev/null/x cannot be made a folder (Not a directory)"),
    ],
)
def test_mistakes_end_with_a_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(f"--data.root={tmp_path}", f"--out={tmp_path}", *words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert sentence in lines[0]


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("--help") == 0
    text = capsys.readouterr().out
    for words in ("kinetoscope doctor --config data/", "fatal ", "Exit codes: 0", "--full"):
        assert words in text

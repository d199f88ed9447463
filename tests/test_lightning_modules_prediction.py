"""Labels along time from a checkpoint: the core, the tables, and what they are held against."""

import csv
import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from test_process_wide import state_of_the_process
from torch import Tensor
from video_files import whole

import lightning_modules
from datamodules import LiveFrames, UserError, VideoError, VideoReader
from datamodules.clips.input_spec import InputSpec
from lightning_modules import Labeller, LabelTable, VideoClassifier, load, open_checkpoint
from lightning_modules.cli import main
from lightning_modules.prediction.events import Event, find_events
from lightning_modules.prediction.stored_rows import read_stored_rows
from lightning_modules.prediction.table import Row
from lightning_modules.prediction.timelines import Timelines
from lightning_modules.prediction.unfinished import Unfinished

GOLDEN = Path(__file__).parent / "golden" / "checkpoints_of_835e51c"
CHECKPOINT = str(GOLDEN / "cost.ckpt")
FAMILIES = ("cost", "selfy", "stnet", "st_resnet", "tsm")
VIDEOS = sorted((GOLDEN / "videos").rglob("*.mp4"))
VIDEO = str(VIDEOS[0])


@pytest.fixture(scope="module")
def label() -> Labeller:
    return load(CHECKPOINT, device="cpu")


@pytest.fixture(scope="module")
def frames() -> Tensor:
    """The frames of the video, (T, H, W, 3)."""
    shown, _ = whole(Path(VIDEO))
    return torch.from_numpy(np.stack([shown[i] for i in range(len(shown))]))


def probabilities_of(table: LabelTable, names: Sequence[str]) -> np.ndarray:
    """Probabilities of all classes, (cells, K)."""
    cells: dict[float, dict[str, float]] = {}
    for row in table:
        cells.setdefault(row.start, {})[row.label] = row.probability
    return np.array([[cell[name] for name in names] for cell in cells.values()])


def by_hand(module: VideoClassifier, frames: Tensor, chosen: list[int]) -> Tensor:
    """Probabilities of one clip, step by step, (K,)."""
    spec = InputSpec.from_dict(module.input_spec)
    (clip,) = spec.crops.test(frames[chosen].permute(0, 3, 1, 2), 1)
    mean, std = torch.tensor(spec.normalization.mean), torch.tensor(spec.normalization.std)
    scaled = (clip.float() / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.no_grad():
        return module.network(scaled.transpose(0, 1)[None]).softmax(-1)[0]


def test_overlapping_windows_are_averaged_as_by_hand(label: Labeller, frames: Tensor) -> None:
    module = open_checkpoint(CHECKPOINT)
    sampling = InputSpec.from_dict(module.input_spec).sampling
    table = label(frames, 10.0, window="16f", step="4f", top=99)
    total = len(frames)
    starts = list(range(0, total - 15, 4))
    if starts[-1] + 16 < total:
        starts.append(total - 16)
    windows = {s: by_hand(module, frames, (s + sampling.test(16)[0]).tolist()) for s in starts}
    expected = []
    for low in range(0, total, 4):
        high = min(low + 4, total)
        expected.append(
            torch.stack([p for s, p in windows.items() if s <= low and high <= s + 16]).mean(0)
        )
    found = probabilities_of(table, module.class_names)
    np.testing.assert_allclose(found, torch.stack(expected).numpy(), atol=1e-5)
    spans = list(dict.fromkeys((row.start, row.end) for row in table))
    ends = [min(low + 4, total) / 10 for low in range(0, total, 4)]
    np.testing.assert_allclose(spans, list(zip([0.0, *ends], ends, strict=False)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_video_is_labelled_as_predict_and_test_do(
    family: str, tmp_path: Path, frames: Tensor
) -> None:
    if family == "st_resnet":
        pytest.importorskip("cv2", reason="needs the extra `flow`")
    checkpoint, out = GOLDEN / f"{family}.ckpt", tmp_path / "out.csv"
    main(["predict", f"--ckpt_path={checkpoint}", f"--out={out}", "--top=8", "--device=cpu", VIDEO])
    (row,) = csv.DictReader(out.read_text().splitlines())
    assert not list(tmp_path.glob("*.part"))
    label = load(checkpoint, device="cpu")
    with VideoReader(VIDEO) as reader:
        rate, end = reader.frame_rate, reader.timestamps[-1] + 1 / reader.frame_rate
    for table in (label(VIDEO, top=8), label(frames, rate, top=8)):
        assert [r.label for r in table] == [row[f"class_{i}"] for i in range(1, 9)]
        for i, r in enumerate(table, 1):
            assert r.probability == pytest.approx(float(row[f"probability_{i}"]), abs=2e-6)
            assert (r.start, r.end) == pytest.approx((0.0, end))
    windows = label(VIDEO, window="12f", step="6f")
    assert windows.best[-1].end == pytest.approx(end)
    features = label.features(VIDEO, window="12f", step="6f")
    assert features.values.shape == ((25 - 12) // 6 + 1, features.values.shape[1])


def test_three_lines_change_nothing_of_the_process(frames: Tensor) -> None:
    before = state_of_the_process()
    label = lightning_modules.load(CHECKPOINT)
    table = label(frames, 25.0, window=0.5)
    table.plot()
    str(table)
    after = state_of_the_process()
    assert {key: after[key] for key in before if after[key] != before[key]} == {}
    assert repr(label).startswith("Labeller(cost_a_tiny, 8 classes, c")


def test_table_prints_plots_and_becomes_a_dataframe(
    label: Labeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = label(VIDEO, window="12f", step="4f", top=3)
    assert str(table).splitlines()[0] == VIDEO
    assert "0.00 -     0.16 s" in str(table)
    assert len(table) == 7 * 3
    assert [row.start for row in table.best] == sorted({row.start for row in table})
    assert all(a.probability >= b.probability for a, b in zip(table.best, table.best, strict=True))
    axes = table.plot().axes[0]
    assert {text.get_text() for text in axes.get_legend().texts} == {r.label for r in table.best}
    with pytest.raises(UserError, match="has no video b"):
        table.plot("b.mp4")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="a dataframe needs pandas, which is not installed"):
        table.to_frame()
    seen: list[object] = []
    frame = types.SimpleNamespace(from_records=lambda *args, **more: seen.append((args, more)))
    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=frame))  # type: ignore[arg-type]
    table.to_frame()
    columns = ["video", "start", "end", "class", "probability"]
    assert seen == [(([row[:5] for row in table.rows],), {"columns": columns})]


def test_folder_is_labelled_and_its_broken_file_named(label: Labeller, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(VIDEOS[0].read_bytes())
    (tmp_path / "b.mp4").write_text("<html></html>")
    (tmp_path / "c.mp4").write_bytes(VIDEOS[1].read_bytes())
    table = label(tmp_path, top=1)
    assert [Path(row.video).name for row in table] == ["a.mp4", "c.mp4"]
    assert [Path(name).name for name in table.errors] == ["b.mp4"]
    assert "b.mp4: not labelled, not a video" in str(table)
    with pytest.raises(VideoError, match="not a video"):
        label(tmp_path / "b.mp4")


def test_live_source_is_followed_and_stopped(label: Labeller) -> None:
    with LiveFrames("lavfi:testsrc2=size=80x60:rate=20") as live:
        stretches = []
        for rows in label.follow(live, window=1, step=0.5):
            stretches.append((rows[0].start, rows[0].end))
            if len(stretches) == 6:
                break
    np.testing.assert_allclose(stretches, [(i / 2, i / 2 + 0.5) for i in range(6)])
    with LiveFrames("lavfi:testsrc2=size=80x60:rate=20:duration=2") as live:
        table = label(live, window=1, step=0.5)
    assert table.best[-1].end == pytest.approx(2.0)
    with LiveFrames("lavfi:testsrc2=size=80x60:rate=20") as live:
        assert label(live, window=1, step=0.5, seconds=1.5).best[-1].end == pytest.approx(1.5)
    with (
        LiveFrames("lavfi:testsrc2=size=80x60:rate=20") as live,
        pytest.raises(UserError, match="has no end, so it needs windows"),
    ):
        label(live)


def test_precision_is_chosen(frames: Tensor) -> None:
    exact = load(CHECKPOINT, device="cpu")(frames, 25.0, top=8)
    names = [row.label for row in exact]
    rough = load(CHECKPOINT, device="cpu", precision="bfloat16")(frames, 25.0, top=8)
    one, other = probabilities_of(exact, names), probabilities_of(rough, names)
    assert 0 < np.abs(one - other).max() < 0.05
    with pytest.raises(UserError, match="give float32, bfloat16, float16"):
        load(CHECKPOINT, precision="half")  # type: ignore[arg-type]


def rows(*stretches: tuple[float, float, float], label: str = "a", video: str = "v") -> list[Row]:
    return [Row(video, start, end, label, share) for start, end, share in stretches]


def test_events_merge_bridge_and_drop() -> None:
    shares = [0.9, 0.7, 0.2, 0.8, 0.1, 0.1, 0.6, 0.1]
    one = rows(*((i, i + 1, share) for i, share in enumerate(shares)))
    other = rows(*((i, i + 1, 1 - share) for i, share in enumerate(shares)), label="b")
    table = [row for pair in zip(one, other, strict=True) for row in pair]
    of_a = [e for e in find_events(table) if e.label == "a"]
    assert [(e.start, e.end) for e in of_a] == [(0, 2), (3, 4), (6, 7)]
    assert of_a[0].probability == pytest.approx(0.8)
    bridged = [e for e in find_events(table, max_gap=1) if e.label == "a"]
    assert [(e.start, e.end) for e in bridged] == [(0, 4), (6, 7)]
    assert bridged[0].probability == pytest.approx((0.9 + 0.7 + 0.8) / 3)
    long = [e for e in find_events(table, 0.5, 1.5) if e.label == "a"]
    assert [(e.start, e.end) for e in long] == [(0, 2)]
    assert [e.label for e in find_events(table, 0.85)] == ["a", "b", "b"]


def test_events_end_with_their_video() -> None:
    table = rows((0, 1, 1.0)) + rows((1, 2, 1.0), video="w")
    assert list(find_events(table)) == [Event("v", 0, 1, "a", 1.0), Event("w", 1, 2, "a", 1.0)]


def test_threshold_below_what_was_stored_is_refused() -> None:
    table = rows((0, 1, 0.4)) + rows((0, 1, 0.3), label="b")  # 0.3 is left to others
    assert [e.label for e in find_events(table, 0.35)] == ["a"]
    with pytest.raises(UserError, match=r"may have up to 0\.300"):
        list(find_events(table, 0.25))
    whole_cell = [*table, *rows((0, 1, 0.3), label="c")]
    assert len(list(find_events(whole_cell, 0.25))) == 3
    with pytest.raises(UserError, match="threshold=0, "):
        list(find_events(table, 0))


def predict(out: Path, *words: str) -> None:
    main(["predict", f"--ckpt_path={CHECKPOINT}", f"--out={out}", "--device=cpu", *words])


WINDOWS = ("--window=12f", "--step=4f", "--top=8")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_timelines_of_files_are_those_of_python(
    suffix: str, tmp_path: Path, label: Labeller, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bad = tmp_path / f"rows{suffix}", tmp_path / "bad.mp4"
    bad.write_text("nothing")
    with pytest.raises(SystemExit, match="1"):
        predict(out, *WINDOWS, VIDEO, str(bad), str(VIDEOS[1]))
    stored = list(read_stored_rows(out))
    expected = [*label(VIDEO, window="12f", step="4f", top=8)]
    expected += label(VIDEOS[1], window="12f", step="4f", top=8)
    assert [r for r in stored if not isinstance(r, Row)] == [(str(bad), stored[56][1])]
    found = [r for r in stored if isinstance(r, Row)]
    assert [(r.video, r.label) for r in found] == [(r.video, r.label) for r in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=1e-3)
        assert one.probability == pytest.approx(other.probability, abs=2e-6)
    said = capsys.readouterr()
    assert "2 of 3 videos done" in said.out
    assert "frames/s" in said.out
    assert f"{bad}: not labelled, not a video" in said.out
    assert "1 of 3 videos have no label" in said.err
    events = tmp_path / f"events{suffix}"
    main(["predict", f"--events={out}", f"--out={events}", "--threshold=0.2"])
    ours = list(find_events(found, 0.2))
    assert [r.label for r in read_stored_rows(events) if isinstance(r, Row)] == [
        e.label for e in ours
    ]


@pytest.mark.parametrize("after", [1, 5, 9])
def test_stopped_timeline_goes_on_where_it_was(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_out, out = tmp_path / "whole.csv", tmp_path / "rows.csv"
    words = [*WINDOWS, "--batch_size=1", VIDEO, str(VIDEOS[1])]
    predict(whole_out, *words)
    add, count = Unfinished.add, 0

    def stopping(self: Unfinished, result: dict[str, object]) -> None:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        add(self, result)

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "add", stopping)
        with pytest.raises(SystemExit, match="130"):
            predict(out, *words)
    part = tmp_path / "rows.csv.part"
    assert not out.exists()
    assert len(part.read_text().splitlines()) == after + 1
    with part.open("a") as file:
        file.write('{"video": "half a l')  # as a killed process leaves it
    with pytest.raises(SystemExit, match="2"):
        predict(out, *WINDOWS, "--precision=bfloat16", VIDEO)
    read = list[int]()
    frames = VideoReader.get_frames
    monkeypatch.setattr(
        VideoReader,
        "get_frames",
        lambda self, i, **m: read.extend(i) or frames(self, i, **m),  # type: ignore[func-returns-value]
    )
    predict(out, *words)
    assert out.read_text() == whole_out.read_text()
    assert not part.exists()
    assert len(read) < 2 * 25


def test_stopped_labelling_of_whole_videos_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "a.csv", ["--batch_size=1", *map(str, VIDEOS)]
    predict(tmp_path / "b.csv", *words)
    add = Unfinished.add

    def stopping(self: Unfinished, result: dict[str, object]) -> None:
        add(self, result)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "add", stopping)
        with pytest.raises(SystemExit, match="130"):
            predict(out, *words)
    assert "the same command goes on with the rest" in capsys.readouterr().out
    predict(out, *words)
    assert "1 of 2 videos were labelled before" in capsys.readouterr().out
    assert out.read_text() == (tmp_path / "b.csv").read_text()


def test_live_source_says_its_delay_and_writes_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "live.jsonl"
    source = "lavfi:testsrc2=size=80x60:rate=20:duration=3"
    predict(out, "--window=1", "--step=0.5", "--top=2", f"--source={source}")
    said = capsys.readouterr().out
    assert "a label comes 0.50 s after the end of its stretch" in said
    assert "6 stretches of 8 classes, 12 rows written" in said
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["start"] for r in records[::2]] == [0, 0.5, 1, 1.5, 2, 2.5]
    with pytest.raises(SystemExit, match="2"):
        predict(out, "--window=5", f"--source={source}")
    assert "ended before its first window was over" in capsys.readouterr().err


def test_rows_of_a_killed_live_run_are_not_mixed_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--window=1", "--source=lavfi:testsrc2=size=80x60:rate=20:duration=2"]
    with monkeypatch.context() as patch:
        patch.setattr(Timelines, "write", lambda *_: sys.exit(9))  # as if it were killed here
        with pytest.raises(SystemExit, match="9"):
            predict(tmp_path / "a.csv", *words)
    part = tmp_path / "a.csv.part"
    part.write_text(part.read_text().replace('"began": "20', '"began": "19'))
    with pytest.raises(SystemExit, match="2"):
        predict(tmp_path / "a.csv", *words)
    assert "with other settings (began 19" in capsys.readouterr().err


def test_annotated_video_shows_labels_in_their_time(tmp_path: Path) -> None:
    out, shown = tmp_path / "rows.csv", tmp_path / "shown"
    predict(out, "--window=12f", "--step=12f", f"--annotate={shown}", VIDEO)
    copy, _ = whole(shown / Path(VIDEO).name)
    original, _ = whole(Path(VIDEO))
    assert copy.keys() == original.keys()
    height = original[0].shape[0]
    assert copy[0].shape == (3 * height, 3 * original[0].shape[1], 3)  # 64 pixels are enlarged
    for number in (0, 12, 24):
        middle = copy[number][1::3, 1::3].astype(int)
        off = np.abs(middle - original[number].astype(int)).mean((1, 2))
        assert off[: height // 3].mean() < 8 < 20 < off[-height // 6 :].mean()
    with pytest.raises(SystemExit, match="2"):
        predict(out, "--window=12f", f"--annotate={Path(VIDEO).parent}", VIDEO)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "videos are required"),
        (["--step=1", VIDEO], "--step has no meaning without --window"),
        (["--window=0", VIDEO], "window=0 is no length"),
        (["--window=1", "--step=2", VIDEO], "step=2 is longer than window=1"),
        (["--source=camera:0"], "--source has no end, so it needs windows"),
        (["--window=1", "--source=lavfi:none"], "cannot be opened"),
        (["--window=1", "--frame_rate=0", VIDEO], "frame_rate=0"),
        (["--window=1", "--source=a", VIDEO], "videos are required, or --source, or --events"),
        (["--events=gone.csv"], "gone.csv is no table of rows"),
    ],
)
def test_mistakes_get_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        predict(tmp_path / "out.csv", *words)
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_rows_that_are_none_are_told_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("video,class\na,b\n")
    with pytest.raises(UserError, match="line 1 of"):
        list(read_stored_rows(path))
    path.write_text("video,start,end,class,score,error\na,0,1,b,0.5,\na,x,1,b,0.5,\n")
    with pytest.raises(UserError, match="line 3 of"):
        list(read_stored_rows(path))

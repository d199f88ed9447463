"""`kinetoscope transcode`: a folder of videos, stopped, continued, shared, with broken ones."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from command_line import fit, mistake
from PIL import Image
from video_files import cut, scene, write

from datamodules import FrameSampler, VideoFolderDataModule
from datamodules.motion_shapes.generation import MotionShapesSettings, generate_motion_shapes
from datamodules.transcoding.settings import TranscodeSettings
from datamodules.transcoding.work import read_records
from datamodules.video.reader import VideoReader
from lightning_modules.cli import main


@pytest.fixture
def source(motion_root: Path, tmp_path: Path) -> Path:
    """Six videos in two class folders, one of them an AVI with B-frames, and a list."""
    root = tmp_path / "videos"
    for name in ("grow", "move_up"):
        (root / name).mkdir(parents=True)
        for video in sorted((motion_root / "train" / name).glob("*.mp4"))[:2]:
            shutil.copy(video, root / name)
    write(root / "grow" / "wide.avi", "mpeg4", scene(40, 96, 130), options={"bf": "2"})
    write(root / "move_up" / "tall.mkv", "libx264", scene(15, 82, 40))
    lines = [f"{path.relative_to(root)} {path.parent.name}" for path in sorted(root.glob("*/*"))]
    (root / "lists").mkdir()
    (root / "lists" / "train.txt").write_text("\n".join(lines))
    return root


def run(source: Path, target: Path, *options: str) -> int:
    """Exit code of the command."""
    words = ["transcode", str(source), str(target), "--workers", "0", "--short_side", "48"]
    try:
        main([*words, *options])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_frames_times_and_names_stay(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "small"
    assert run(source, target) == 0
    assert "6 videos, 0 there already, 6 to do; 1 lists" in capsys.readouterr().out
    for old in source.glob("*/*.[am]*"):
        new = (target / old.relative_to(source)).with_suffix(".mp4")
        with VideoReader(old) as before, VideoReader(new) as after:
            np.testing.assert_allclose(after.timestamps, before.timestamps, atol=1 / 90_000)
            assert min(after.height, after.width) in {40, 48}
            assert after.height * before.width == pytest.approx(
                after.width * before.height, rel=0.05
            )
        with av.open(str(new)) as file:
            keys = [packet.is_keyframe for packet in file.demux(video=0) if packet.size]
            assert [i for i, key in enumerate(keys) if key] == list(range(0, len(keys), 4))
            assert len(file.streams) == 1
    records = read_records(target)
    assert len(records) == 6
    assert all(record.psnr > 15 for record in records)
    sizes = {str(r.file): (target / r.file).stat().st_size for r in records}
    assert sizes == {r.file: r.bytes_after for r in records}


def test_data_modules_find_the_new_files_by_the_old_lists(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "small"
    assert run(source, target) == 0
    sampling = FrameSampler(num_frames=2, frame_stride=1)
    lists = {"train_list": "lists/train.txt", "val_fraction": 0}
    data = VideoFolderDataModule(str(target), **lists, sampling=sampling)
    data.setup("fit")
    assert data.train_set.missing == []
    assert {Path(path).suffix for path in data.train_set.table.paths} == {".mp4"}


def test_a_test_says_that_the_videos_are_transcoded(
    motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "small"
    shutil.copytree(motion_root, tmp_path / "videos")
    assert run(tmp_path / "videos", target, "--short_side=64") == 0
    fit(motion_root, tmp_path / "runs", "--run.name=plain")
    checkpoint = tmp_path / "runs" / "plain" / "0" / "checkpoints" / "last.ckpt"
    config = ["--config", str(checkpoint.parents[1] / "config.yaml"), f"--ckpt_path={checkpoint}"]
    for root, said in ((motion_root, False), (target, True)):
        capsys.readouterr()
        main(["test", *config, f"--data.root={root}", "--trainer.limit_test_batches=1.0"])
        printed = capsys.readouterr().out
        assert ("videos transcoded to a short side of 64 at quality 20" in printed) is said
        assert ("note: transcoded differs: trained with None, now" in printed) is said
    assert len(list(checkpoint.parents[1].glob("scores_*.npz"))) == 2  # neither is the other's
    (target / "transcode.json").write_text("{}")
    words = ["test", *config, f"--data.root={target}"]
    assert "does not tell how the videos were transcoded" in mistake(capsys, *words)


def test_what_is_there_stays_and_broken_videos_are_named(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "small"
    good = sorted(source.glob("*/*.mp4"))[0]
    broken = cut(shutil.copy(source / "grow" / "wide.avi", source / "grow" / "broken.avi"), 0.01)
    assert run(source, target, "--shard", "0/2") in {0, 1}
    first = {path: path.stat().st_mtime_ns for path in target.glob("*/*.mp4")}
    assert run(source, target) == 1
    assert f"grow/{broken.name}" in capsys.readouterr().err
    found = {path: path.stat().st_mtime_ns for path in target.glob("*/*.mp4")}
    assert len(found) == 6
    assert found.items() >= first.items()
    assert list((target / ".partial").glob("*/*.mp4")) == []
    (target / good.relative_to(source)).unlink()
    assert run(source, target) == 1
    assert len(read_records(target)) == 6  # the last line of each
    assert run(target, tmp_path / "again", "--short_side=32") == 0
    assert len((tmp_path / "again" / "transcoded.jsonl").read_text().splitlines()) == 6


def test_variable_rates_and_late_starts_keep_their_times(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    path = tmp_path / "videos" / "late.mp4"
    ticks = [1001, 2002, 4004, 9009, 10010, 40040, 90090]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"bf": "0"})
        stream.width = stream.height = 64
        stream.codec_context.time_base = Fraction(1, 30_000)
        for time, pixels in zip(ticks, scene(len(ticks)), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 30_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert run(path.parent, tmp_path / "small") == 0
    with VideoReader(path) as before, VideoReader(tmp_path / "small" / "late.mp4") as after:
        np.testing.assert_allclose(after.timestamps, before.timestamps, atol=1 / 90_000)


def test_lossless_differs_by_the_colours_alone(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    generate_motion_shapes(
        root,
        MotionShapesSettings(num_train=8, num_val=8, num_test=8),
        num_workers=0,
        progress=False,
    )
    assert run(root, tmp_path / "small", "--short_side=64", "--quality=0") == 0
    assert min(record.psnr for record in read_records(tmp_path / "small")) > 35


MISTAKES = [
    ("transcode --short_side=8", "--short_side 8 is not possible; give 16 to 4320"),
    ("transcode --quality=60", "--quality 60 is not possible; give 0 to 51"),
    ("transcode --key_frames=0", "--key_frames 0 is not possible; give 1 to 250"),
    ("transcode --short_side=64 --config=quickstart", "both tell the short side"),
    ("transcode --workers=-1", "--workers -1 is too small"),
    ("transcode --shard=2/2", "--shard 2/2 is not possible"),
    ("transcode --short=9", "--short"),
    ("pack --short_side=64", "go with --transcode"),
    ("pack --small", "go with --transcode"),
    ("pack --config=quickstart", "go with --transcode"),
    ("pack --transcode --index_only", "leave it or --transcode out"),
    ("pack --shard_mb=nan", "--shard_mb nan is not possible"),
    ("pack --transcode --short_side=3", "--short_side 3 is not possible"),
    ("pack --transcode --short_side=64 --config=quickstart", "leave one of them out"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES)
def test_mistakes_are_told_in_a_sentence(
    words: str, sentence: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "small"
    command, *options = words.split()
    assert sentence in mistake(capsys, command, str(source), str(target), *options)
    assert not target.exists()


def test_folders_that_do_not_fit_are_told(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small"
    words = ["transcode", str(source)]
    assert "one lies in the other" in mistake(capsys, *words, str(source / "new"))
    assert "there is nothing at" in mistake(capsys, "transcode", str(tmp_path / "x"), str(small))
    assert run(source, small) == 0
    said = mistake(capsys, *words, str(small), "--short_side=32")
    assert "holds transcoded videos with short_side=48 where short_side=32 was asked" in said
    shutil.copy(source / "grow" / "wide.avi", source / "grow" / "wide.mp4")
    assert "would both become grow/wide.mp4" in mistake(capsys, *words, str(tmp_path / "other"))
    (source / "images").mkdir()
    Image.new("RGB", (32, 32)).save(source / "images" / "00001.jpg")
    assert "is a folder of images" in mistake(capsys, *words, str(tmp_path / "other"))


def test_recipe_gives_the_short_side(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["transcode", str(source), "--workers=0", "--config"]
    main([*words, "quickstart", str(tmp_path / "one")])  # 64 px crops of 8/7 of that
    assert '"short_side": 73' in (tmp_path / "one" / "transcode.json").read_text()
    crops = ["--data.crops.short_side=256", "--data.crops.max_short_side=300"]
    main([*words, "recipe/cost_kinetics400", str(tmp_path / "two"), *crops])
    assert '"short_side": 300' in (tmp_path / "two" / "transcode.json").read_text()
    assert "nowhere.yaml" in mistake(capsys, *words, "nowhere.yaml", str(tmp_path / "three"))


def test_fast_decoding_leaves_out_what_costs_most() -> None:
    assert TranscodeSettings().encoder_options["tune"] == "fastdecode"
    assert "tune" not in TranscodeSettings(fast_decode=False).encoder_options

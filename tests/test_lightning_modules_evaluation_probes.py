"""Probes: what they change, what they leave, and where they may be used."""

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROJECT_ROOT, QUIET
from lightning.pytorch import Trainer
from PIL import Image
from torch import Tensor
from video_files import scene, write

from datamodules import FlowInput, MotionShapesDataModule, VideoFolderDataModule
from datamodules.annotations.table import PackedStrings, VideoTable
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops
from datamodules.clips.figures import Figure, without_figure
from datamodules.clips.input_spec import InputSpec
from datamodules.clips.probes import GREY, PROBES, Probe
from datamodules.dataset import VideoDataset
from datamodules.errors import UserError
from datamodules.samplers import SampleKey
from datamodules.settings import Evaluation, Loading
from lightning_modules import BaselineModule
from lightning_modules.callbacks.score_file import ScoreFile
from lightning_modules.cli import main

ORDER = ["shuffled", "reversed", "frozen", "sparse(2)", "frame_drops(0.25)"]
PIXELS = ["occlusion(0.25)", "motion_blur(0.1)", "recompression(10)"]
CLIPS = np.array([[10, 12, 14, 16, 18, 20, 22, 24], [30, 32, 34, 36, 38, 40, 42, 44]])


def order(words: str, index: int = 0, seed: int = 0) -> list[list[int]]:
    shown: list[list[int]] = Probe.parse(words, seed).order(CLIPS, 60, f"video {index}").tolist()
    return shown


def changed_pixels(words: str, frames: Tensor, index: int = 0) -> Tensor:
    return Probe.parse(words).pixels(frames, np.arange(len(frames))[None], f"video {index}")


def noise(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_every_probe_is_tested_here() -> None:
    assert {words.partition("(")[0] for words in ORDER + PIXELS} | {"background"} == set(PROBES)


@pytest.mark.parametrize("words", ORDER + PIXELS)
def test_words_are_read_and_written_back(words: str) -> None:
    probe = Probe.parse(words)
    assert str(probe) == words
    assert Probe.parse(f" {words.replace('(', ' ( ')} ") == probe
    assert re.fullmatch(r"[a-z_]+(-[0-9.]+)?", probe.file_part)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "backwards",
            "data.evaluation.probe=backwards is no probe; choose one of shuffled, reversed, frozen",
        ),
        ("", "data.evaluation.probe= is no probe"),
        ("sparse(2", "is no probe"),
        ("reversed(2)", "reversed has no strength; set data.evaluation.probe=reversed"),
        ("sparse", "the strength of sparse is a whole number from 2 on; set, say, .*sparse(2)"),
        ("sparse(2.5)", "a whole number from 2 on"),
        ("sparse(1)", "a whole number from 2 on"),
        ("occlusion(1.5)", "a number from 0.01 up to 0.99"),
        ("occlusion(e)", "a number from 0.01 up to 0.99"),
        ("recompression(0)", "a whole number from 1 up to 95"),
        (
            "sparse(8)",
            "leaves one frame of 8; choose a smaller number, or data.evaluation.probe=frozen",
        ),
        ("frame_drops(0.05)", "changes nothing in clips of 8 frame"),
    ],
)
def test_probe_that_cannot_be_is_refused(words: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("(2)", r"\(2\)")):
        Probe.parse(words).check_clip(8)


def test_flow_of_the_unchanged_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.flow is that of the unchanged video"):
        MotionShapesDataModule(
            str(tmp_path), evaluation=Evaluation(probe="reversed"), flow=FlowInput()
        )


def test_order_probes_show_the_same_frames_in_a_stated_order() -> None:
    assert order("reversed") == [row[::-1] for row in CLIPS.tolist()]
    assert order("frozen") == [[18] * 8, [38] * 8]
    assert order("sparse(3)")[0] == [10, 10, 10, 16, 16, 16, 22, 22]
    for index in range(50):
        for shown, frames in zip(order("shuffled", index), CLIPS.tolist(), strict=True):
            assert sorted(shown) == frames
            assert shown != frames
    assert all(order(words) == CLIPS.tolist() for words in PIXELS)


def test_shuffled_reaches_every_order_equally_often() -> None:
    probe, frames = Probe.parse("shuffled"), np.array([[0, 1, 2]])
    drawn = [tuple(probe.order(frames, 3, str(index))[0].tolist()) for index in range(1000)]
    counts = {order: drawn.count(order) for order in set(drawn)}
    assert len(counts) == 5
    assert min(counts.values()) > 150


def test_frame_drops_hold_the_frame_before() -> None:
    places = set()
    for index in range(60):
        (shown, _) = order("frame_drops(0.25)", index)
        assert shown[0] == 10
        lost = [i for i in range(8) if shown[i] != CLIPS[0, i]]
        assert len(lost) == 2
        assert all(shown[i] == shown[i - 1] for i in lost)
        places.update(lost)
    assert places == set(range(1, 8))


@pytest.mark.parametrize("words", ["shuffled", "frame_drops(0.25)"])
def test_draws_depend_on_seed_video_and_clip_alone(words: str) -> None:
    first = order(words)
    assert first == order(words)
    assert first != order(words, index=1)
    assert first != order(words, seed=1)
    assert [n - 10 for n in first[0]] != [n - 30 for n in first[1]]


def test_occlusion_covers_a_share_of_the_frame_at_one_place() -> None:
    frames = noise(5, 3, 60, 80)
    places = set()
    for index in range(30):
        changed = changed_pixels("occlusion(0.25)", frames, index)
        differs = (changed != frames).any(dim=(0, 1))
        rows, columns = (torch.where(differs.any(dim))[0] for dim in (1, 0))
        box = (slice(None), slice(None), slice(rows[0], rows[-1] + 1))
        assert (len(rows), len(columns)) == (30, 40)
        assert (changed[box][..., columns] == GREY).all()
        assert torch.equal(changed[:, :, ~differs], frames[:, :, ~differs])
        places.add((int(rows[0]), int(columns[0])))
    assert len(places) > 20


def test_motion_blur_smears_a_dot_into_a_line() -> None:
    dot = torch.zeros(1, 3, 100, 120, dtype=torch.uint8)
    dot[:, :, 50, 60] = 250
    angles = set()
    for index in range(20):
        changed = changed_pixels("motion_blur(0.1)", dot, index)
        rows, columns = torch.where(changed[0, 0] > 0)
        assert 8 <= len(rows) <= 10
        assert changed[0, 0].sum() == pytest.approx(250, abs=10)
        assert 7 <= max(np.ptp(rows.numpy()), np.ptp(columns.numpy()) * 1.0) * 2**0.5 <= 14
        angles.add((int(np.ptp(rows.numpy())), int(np.ptp(columns.numpy()))))
    assert len(angles) > 5
    grey = torch.full((2, 3, 30, 40), 77, dtype=torch.uint8)
    assert torch.equal(changed_pixels("motion_blur(0.5)", grey), grey)


def test_recompression_is_a_jpeg_of_that_quality() -> None:
    frames = torch.from_numpy(scene(3, 62, 71)).permute(0, 3, 1, 2)
    error = {}
    for quality in (5, 20, 80):
        changed = changed_pixels(f"recompression({quality})", frames)
        for frame, got in zip(frames, changed, strict=True):
            file = io.BytesIO()
            picture = Image.fromarray(frame.permute(1, 2, 0).numpy())
            picture.save(file, "JPEG", quality=quality)
            expected = np.array(Image.open(file))
            np.testing.assert_array_equal(got.permute(1, 2, 0).numpy(), expected)
        error[quality] = float((changed.float() - frames.float()).abs().mean())
    assert error[5] > error[20] > error[80] > 0


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probes") / "a.mkv"
    return write(path, "ffv1", scene(40, 48, 64), pix_fmt="bgr0")


def views(video: Path, probe: str | None, *, train: bool = False, index: int = 0) -> Tensor:
    """All views of one video, 2 clips x 3 crops, (6, C, T, H, W)."""
    table = VideoTable(
        PackedStrings(["video 0", "video 1"]),
        PackedStrings([video.name] * 2),
        np.zeros(2, int),
        np.arange(2),
    )
    spec = InputSpec(FrameSampler(8, 2), Crops(size=32, short_side=48))
    dataset = VideoDataset(
        table,
        video.parent,
        spec,
        train=train,
        num_clips=2,
        num_crops=3,
        probe=None if probe is None else Probe.parse(probe),
    )
    return dataset[SampleKey(0, index)]["clips"]


def test_dataset_shows_probed_views(video: Path) -> None:
    plain = views(video, None)
    assert plain.shape == (6, 3, 8, 32, 32)
    assert torch.equal(views(video, "reversed"), plain.flip(2))
    assert torch.equal(views(video, "frozen"), plain[:, :, [4] * 8])
    assert torch.equal(views(video, "sparse(2)"), plain[:, :, [0, 0, 2, 2, 4, 4, 6, 6]])
    shuffled = views(video, "shuffled")
    for clip in (0, 1):
        plain_order = np.arange(8)[None].repeat(2, 0)
        order = Probe.parse("shuffled").order(plain_order, 8, "video 0")[clip]
        assert torch.equal(shuffled[3 * clip : 3 * clip + 3], plain[3 * clip :][:3, :, order])
    assert not torch.equal(shuffled, views(video, "shuffled", index=1))


def test_dataset_changes_whole_frames_before_it_crops(video: Path) -> None:
    # the box of the whole frame (24 x 32 of 48 x 64), seen by each crop where it lies in it
    whole = torch.from_numpy(scene(40, 48, 64)).permute(0, 3, 1, 2)
    changed = changed_pixels("occlusion(0.25)", whole)
    got = views(video, "occlusion(0.25)")
    starts = (0, 25)
    for clip, crop in np.ndindex(2, 3):
        frames = changed[starts[clip] :: 2][:8, :, 8:40, 16 * crop : 16 * crop + 32]
        assert torch.equal(got[3 * clip + crop], frames.transpose(0, 1))
    assert torch.equal(views(video, "reversed", train=True), views(video, None, train=True))


def run_test(
    root: Path, folder: Path, probe: str | None, capsys: pytest.CaptureFixture[str]
) -> tuple[Any, str]:
    """The score file of a probed test of a TSN, and what was said."""
    torch.manual_seed(0)
    sizes = {"num_train": 64, "num_val": 16, "num_test": 16}
    data = MotionShapesDataModule(
        str(root),
        **sizes,
        crops=Crops(size=32),
        loading=Loading(batch_size=8, num_workers=0),
        sampling=FrameSampler(num_frames=4, frame_stride=2),
        evaluation=Evaluation(probe=probe),
    )
    module = BaselineModule("tsn_tiny", num_classes=8)
    torch.nn.init.normal_(module.network.fc.weight)
    module.has_weights = True
    trainer = Trainer(callbacks=[ScoreFile(folder)], enable_checkpointing=False, **QUIET)
    trainer.test(module, data, verbose=False)
    part = "" if data.probe is None else f"_{data.probe.file_part}"
    return np.load(folder / f"scores_test_1x1{part}.npz"), capsys.readouterr().out


def test_probed_test_has_its_own_files_and_says_so(
    motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, said = run_test(motion_root, tmp_path, None, capsys)
    assert ", probe " not in said
    assert json.loads(str(plain["protocol"]))["probe"] is None
    change = {}
    for words, part in (("reversed", "reversed"), ("occlusion(0.25)", "occlusion-0.25")):
        scores, said = run_test(motion_root, tmp_path, words, capsys)
        assert f"probe {words}, 32 px" in said
        assert json.loads(str(scores["protocol"]))["probe"] == words
        change[words] = np.abs(scores["logits"] - plain["logits"]).max()
        assert (tmp_path / f"per_class_test_1x1_{part}.csv").exists()
        assert (tmp_path / f"confusion_test_1x1_{part}.png").exists()
    assert change["reversed"] < 1e-5  # a mean of frames has no order
    assert change["occlusion(0.25)"] > 1e-2
    names = {path.name for path in tmp_path.glob("scores*")}
    ends = ("", "_reversed", "_occlusion-0.25")
    assert names == {f"scores_test_1x1{end}.npz" for end in ends}


@pytest.mark.parametrize("words", ["shuffled", "occlusion(0.25)", "gaussian_noise@2", "jumbling@3"])
def test_every_run_is_shown_the_same_changed_clips(motion_root: Path, words: str) -> None:
    """Whatever its own seed, which used to decide what a probe draws."""

    def shown(seed: int, probe_seed: int = 0) -> Tensor:
        data = MotionShapesDataModule(
            str(motion_root),
            num_train=64,
            num_val=16,
            num_test=16,
            crops=Crops(size=64),
            sampling=FrameSampler(num_frames=6, frame_stride=3),
            evaluation=Evaluation(probe=words, probe_seed=probe_seed),
            seed=seed,
        )
        data.setup("test")
        return torch.stack([data.test_set[index]["clips"] for index in range(4)])

    assert torch.equal(shown(seed=1), shown(seed=2))
    assert not torch.equal(shown(seed=1), shown(seed=1, probe_seed=5))


def motion_shapes(root: Path, **evaluation: Any) -> MotionShapesDataModule:
    sizes = {"num_train": 64, "num_val": 16, "num_test": 16}
    data = MotionShapesDataModule(str(root), **sizes, evaluation=Evaluation(**evaluation))
    data.setup("test")
    return data


def test_background_leaves_a_scene_at_rest_and_nothing_of_the_shape(motion_root: Path) -> None:
    """So all that tells the classes is gone: frames are equal, whatever moved before."""
    plain, alone = (motion_shapes(motion_root, probe=probe) for probe in (None, "background"))
    for index in range(16):
        before = plain.test_set[index]["clips"][0].int()  # (C, T, H, W)
        after = alone.test_set[index]["clips"][0].int()
        path = alone.test_set.table.paths[index]
        seen = torch.from_numpy(~alone.figures.read(path).mask.any(axis=0))
        assert (before - before[:, :1]).abs().max() > 40
        assert torch.equal(after, after[:, :1].expand_as(after))
        # the colours are those of the clip, where its shape never is
        assert (after - before)[..., seen].abs().float().mean() < 1


def test_unknown_background_is_filled_with_the_mean_colour_around() -> None:
    frames = torch.full((2, 3, 30, 30), 100, dtype=torch.uint8)
    frames[:, :, :, 15:] = 200
    mask = np.zeros((3, 30, 30), dtype=np.bool_)
    mask[1, 10:12, 2:5] = True
    got = without_figure(frames, Figure(mask), np.array([[0, 1]]))
    assert torch.equal(got[0], frames[0])
    covered = torch.zeros(30, 30, dtype=torch.bool)
    covered[6:16, :9] = True  # four pixels around
    assert torch.equal(got[1][:, ~covered], frames[1][:, ~covered])
    counts = (450 - 90, 450)
    mean = (100 * counts[0] + 200 * counts[1]) / sum(counts)
    assert (got[1][:, covered] == round(mean)).all()


def test_background_needs_masks(class_folders: Path) -> None:
    data = VideoFolderDataModule(
        str(class_folders), sampling=FrameSampler(8, 2), evaluation=Evaluation(probe="background")
    )
    with pytest.raises(UserError, match="takes out what moves, and nothing marks that in VideoFol"):
        data.setup("test")


def test_mask_that_cannot_be_read_is_a_broken_video(motion_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(motion_root, root)
    data = motion_shapes(root, probe="background")
    (root / data.test_set.table.paths[0]).with_suffix(".npz").unlink()
    item = data.test_set[0]
    assert (item["valid"], item["broken"]) == (False, [(item["video_id"], "unreadable")])


def test_evaluation_is_one_thing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="corruptions=noise are two tests; give one of them"):
        Evaluation(probe="reversed", corruptions="noise")
    with pytest.raises(UserError, match=r"data.evaluation.probe_seed=-1 is too small"):
        Evaluation(probe_seed=-1)
    with pytest.raises(UserError, match="'fog' is no corruption"):
        Evaluation(corruptions="fog")
    with pytest.raises(UserError, match=r"corruptions=all changes frames, and data.flow is that"):
        MotionShapesDataModule(
            str(tmp_path), evaluation=Evaluation(corruptions="all"), flow=FlowInput()
        )
    data = MotionShapesDataModule(str(tmp_path), evaluation=Evaluation(corruptions="blur"))
    for stage in ("fit", "validate"):
        with pytest.raises(UserError, match=r"corruptions=blur is a series of tests; leave it out"):
            data.setup(stage)


def test_fit_is_not_probed(
    motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quickstart = str(PROJECT_ROOT / "configs" / "quickstart.yaml")
    sizes = ["--data.num_train=64", "--data.num_val=16", "--data.num_test=16"]
    words = ["fit", "--config", quickstart, f"--data.root={motion_root}", *sizes]
    words += [f"--run.folder={tmp_path}", "--trainer.logger=false", "--trainer.accelerator=cpu"]
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--data.evaluation.probe=sparse(2)"])
    error = capsys.readouterr().err
    assert "data.evaluation.probe=sparse(2) changes the clips of an evaluation" in error
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--data.evaluation.probe=sparse(8)"])
    assert "data.evaluation.probe=sparse(8) leaves one frame of 8" in capsys.readouterr().err

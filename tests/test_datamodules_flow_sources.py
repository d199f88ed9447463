"""Optical flow beside the frames: layouts, crops, flips, and what does not fit together."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUIET
from grouped import augmented, data_settings, module_settings
from lightning.pytorch import Trainer
from PIL import Image
from torch import Tensor

from datamodules import MotionShapesDataModule, VideoFolderDataModule
from datamodules.augmentation.functional import flip_flow, normalize_flow
from datamodules.clips.input_spec import FlowSpec
from datamodules.flow.coding import FlowCoding
from datamodules.flow.sources import FlowInput, read_stacks
from datamodules.motion_shapes.generation import read_motion
from datamodules.motion_shapes.motion import flow_from_motion
from lightning_modules import STResNetModule

NUM_FRAMES = 24
SIDE = 48
CLIP: dict[str, Any] = {"num_frames": 3, "frame_stride": 2, "size": 32, "short_side": 40}
OWN: dict[str, Any] = {"num_workers": 0, "val_fraction": 0, **CLIP}


def codes(number: int) -> tuple[int, int]:
    """Codes of a field, the same everywhere in it."""
    return 20 + 4 * number, 220 - 4 * number


def save(path: Path, code: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((SIDE, SIDE), code, np.uint8)).save(path, quality=95)


def common(root: Path, video: Path, number: int, code: tuple[int, int]) -> None:
    for axis, value in zip("xy", code, strict=True):
        save(root / video / f"flow_{axis}_{number + 1:05d}.jpg", value)


def separate(root: Path, video: Path, number: int, code: tuple[int, int]) -> None:
    for axis, value in zip("uv", code, strict=True):
        save(root / axis / video.name / f"frame{number + 1:06d}.jpg", value)


def prefixed(root: Path, video: Path, number: int, code: tuple[int, int]) -> None:
    for axis, value in zip("xy", code, strict=True):
        name = f"{int(video.name):06d}"
        save(root / name / f"{name}-{axis}_{number + 1:05d}.jpg", value)


Layout = Callable[[Path, Path, int, tuple[int, int]], None]


@pytest.fixture
def frames_root(tmp_path: Path) -> Path:
    """Two classes of two frame folders each; a pixel is its column in red, its row in green."""
    root = tmp_path / "frames"
    row, column = np.mgrid[:SIDE, :64]
    for number in range(4):
        folder = root / "ab"[number // 2] / str(number)
        folder.mkdir(parents=True)
        for frame in range(NUM_FRAMES):
            pixels = np.stack([2 * column, 2 * row, np.full_like(row, 8 * frame)], axis=2)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{frame + 1:05d}.png")
    return root


def store(root: Path, layout: Layout, fields: int = NUM_FRAMES - 1) -> Path:
    for number in range(4):
        for field in range(fields):
            layout(root, Path("ab"[number // 2]) / str(number), field, codes(field))
    return root


SAID: dict[str, Any] = {"method": "tvl1", "bound": 20}


def data_of(root: Path, flow: FlowInput | None, **options: Any) -> VideoFolderDataModule:
    data = VideoFolderDataModule(str(root), flow=flow, **data_settings(**{**OWN, **options}))
    data.setup()
    return data


def frame_numbers(clips: Tensor) -> list[int]:
    """Which frames a clip (C, T, H, W) shows."""
    return [round(float(frame[2].float().mean()) / 8) for frame in clips.unbind(1)]


def assert_stacks_fit(clips: Tensor, flow: Tensor, length: int, mirrored: bool = False) -> None:
    """The channels of flow (2L, T, H, W) are the fields around the frames of the clip."""
    assert flow.dtype == torch.uint8
    for t, frame in enumerate(frame_numbers(clips)):
        fields = [frame - length // 2 + i for i in range(length)]
        wanted = [code for field in fields for code in codes(field)]
        if mirrored:
            wanted[::2] = [255 - code for code in wanted[::2]]
        found = flow[:, t].float().mean((-2, -1))
        torch.testing.assert_close(found, torch.tensor(wanted).float(), atol=1.0, rtol=0)


@pytest.mark.parametrize(
    ("layout", "pattern"),
    [
        (common, "{path}"),
        (common, "{folder}/{name}"),
        (separate, "{name}"),
        (prefixed, "{number:06d}"),
    ],
)
def test_every_layout_gives_the_fields_around_the_frames(
    layout: Layout, pattern: str, frames_root: Path, tmp_path: Path
) -> None:
    flow = FlowInput(str(store(tmp_path / "flow", layout)), pattern, length=4, **SAID)
    data = data_of(frames_root, flow, batch_size=4, num_clips=2, num_crops=10)
    (batch,) = data.train_dataloader()
    assert batch["clips"].shape == (4, 1, 3, 3, 32, 32)
    assert batch["flow"].shape == (4, 1, 8, 3, 32, 32)
    for clips, stacks in zip(batch["clips"], batch["flow"], strict=True):
        assert_stacks_fit(clips[0], stacks[0], 4)
    data.test_set = data.train_set
    data.test_set.train, data.test_set.num_clips, data.test_set.num_crops = False, 2, 10
    batch = next(iter(data.test_dataloader()))
    assert batch["flow"].shape == (1, 20, 8, 3, 32, 32)
    for view in range(20):
        mirrored = view % 10 >= 5
        assert_stacks_fit(batch["clips"][0, view], batch["flow"][0, view], 4, mirrored)


def test_frames_and_flow_have_the_same_crop(frames_root: Path, tmp_path: Path) -> None:
    """Flow of half the size shows the same columns and rows as the frames."""
    row, column = np.mgrid[: SIDE // 2, :32]
    for number in range(4):
        for field in range(NUM_FRAMES - 1):
            for axis, place in (("x", column), ("y", row)):
                name = f"flow_{axis}_{field + 1:05d}.png"
                path = tmp_path / "flow" / "ab"[number // 2] / str(number) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((4 * place + 1).astype(np.uint8)).save(path)
    flow = FlowInput(str(tmp_path / "flow"), length=2, **SAID)
    for crop in ("short_side", "random_resized", "multi_scale", "corners", "border"):
        data = data_of(frames_root, flow, batch_size=4, train_crop=crop)
        (batch,) = data.train_dataloader()
        frames, stacks = batch["clips"].float(), batch["flow"].float()
        inner = (..., slice(2, -2), slice(2, -2))  # the border is made up by resizing
        for t in range(3):
            for channel in range(2):
                off = (stacks[:, :, channel, t] - frames[:, :, channel, t])[inner].abs()
                assert off.max() <= 4, crop  # a pixel of the frames is 2 codes
    assert data.spec.crops.train_crop == "border"
    views = data.train_set.spec.crops.test(batch["clips"][0, 0].transpose(0, 1), "full_flip")
    assert torch.equal(views[1], views[0].flip(-1))


def test_flips_mirror_both_and_turn_the_motion_across(frames_root: Path, tmp_path: Path) -> None:
    flow = FlowInput(str(store(tmp_path / "flow", common)), length=4, **SAID)
    data = data_of(frames_root, flow, batch_size=4, flip_probability=0.5)
    (batch,) = data.train_dataloader()
    clips, stacks = batch["clips"].clone(), batch["flow"].clone()
    stacks[..., 0] = 7  # tell left from right
    batch["flow"] = stacks.clone()
    mirrored = augmented(data, batch)
    flipped = (mirrored["clips"] != clips).flatten(1).any(1)
    assert 0 < int(flipped.sum()) < 4
    for i, flip in enumerate(flipped.tolist()):
        wanted = stacks[i].flip(-1) if flip else stacks[i].clone()
        if flip:
            wanted[:, ::2] = 255 - wanted[:, ::2]
        assert torch.equal(mirrored["flow"][i], wanted)
    everyone = torch.ones(4, dtype=torch.bool)
    assert torch.equal(flip_flow(flip_flow(stacks, everyone), everyone), stacks)


def test_flow_is_normalized_by_the_code_of_no_motion(motion_root: Path) -> None:
    flow = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 1, 1, 1, 1, 3)
    assert normalize_flow(flow).flatten().tolist() == [-128, 0, 127]
    data = motion_shapes(motion_root)
    (batch, *_) = data.train_dataloader()
    codes_before = batch["flow"].clone()
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        training=False, lightning_module=SimpleNamespace(dtype=torch.float64)
    )
    batch = data.on_after_batch_transfer(batch, 0)
    assert torch.equal(batch["flow"], codes_before.double() - 128)


class Numbers:
    """Flow whose fields are their own numbers."""

    spec = FlowSpec(4, "tvl1", 20, None)

    def open(self, path: str, num_frames: int) -> "Numbers":
        assert (path, num_frames) == ("a.mp4", 25)
        return self

    def check(self, table: Any) -> None:
        """There is flow."""

    def get_flow(self, indices: Any) -> Tensor:
        return torch.tensor(list(indices))

    def __enter__(self) -> "Numbers":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


def test_stacks_of_a_segment_count_from_where_it_begins(motion_root: Path) -> None:
    """Of 25 frames, 25 a second, the segment shows 5 to 14; stacks do not leave it."""
    place = next((motion_root / "test" / "grow").glob("*.mp4"))
    chosen = np.array([2, 9])
    found = read_stacks(Numbers(), "a.mp4", place, chosen, 10, (0.2, 0.6))
    assert found.tolist() == [5, 6, 7, 8, 12, 13, 13, 13]
    whole = read_stacks(Numbers(), "a.mp4", place, chosen, 25, (float("nan"), float("nan")))
    assert whole.tolist() == [0, 1, 2, 3, 7, 8, 9, 10]


SIZES = {"num_train": 64, "num_val": 16, "num_test": 16}


def motion_shapes(root: Path, flow: FlowInput | None = None, **options: Any) -> Any:
    given = {"num_workers": 0, "num_frames": 2, "frame_stride": 2, "batch_size": 8, **options}
    flow = flow or FlowInput(length=4)
    data = MotionShapesDataModule(str(root), **SIZES, flow=flow, **data_settings(**given))
    data.setup()
    return data


def test_motion_shapes_has_its_exact_flow(motion_root: Path) -> None:
    data = motion_shapes(motion_root, FlowInput(length=4, bound=5))
    assert data.input_spec()["flow"] == {
        "length": 4,
        "method": "rendered",
        "bound": 5,
        "short_side": 64,
    }
    item = next(iter(data.test_dataloader()))
    name = item["video_id"][0]
    path = motion_root / data.test_set.table.paths[0]
    assert name in str(path)
    mask, motion = read_motion(path)
    exact = FlowCoding(5).encode(flow_from_motion(motion, mask))
    chosen = data.spec.sampling.test(25 - 4)[0] + 2
    for t, frame in enumerate(chosen.tolist()):
        wanted = exact[frame - 2 : frame + 2].reshape(8, 64, 64)
        assert np.array_equal(item["flow"][0, 0, :, t].numpy(), wanted)


def test_workers_do_not_change_the_flow(motion_root: Path) -> None:
    options = {"size": 48, "short_side": 64, "max_frame_stride": 4}
    batches = [
        next(iter(motion_shapes(motion_root, num_workers=workers, **options).train_dataloader()))
        for workers in (0, 1)
    ]
    assert torch.equal(batches[0]["flow"], batches[1]["flow"])
    assert torch.equal(batches[0]["clips"], batches[1]["clips"])


@pytest.mark.parametrize(("fields", "broken"), [(NUM_FRAMES, 0), (NUM_FRAMES - 2, 2)])
def test_number_of_flow_images_follows_the_rule(
    fields: int, broken: int, frames_root: Path, tmp_path: Path
) -> None:
    """As many as frames: the last is left aside. Fewer than one less: the video is broken."""
    store(tmp_path / "flow", common)
    for number in (2, 3):
        folder = tmp_path / "flow" / "b" / str(number)
        shutil.rmtree(folder)
        for field in range(fields):
            common(tmp_path / "flow", Path("b") / str(number), field, codes(field))
    flow = FlowInput(str(tmp_path / "flow"), length=4, **SAID)
    data = data_of(frames_root, flow, batch_size=4)
    data.train_set.train = False
    batch = next(iter(data._evaluation_loader(data.train_set, 4)))
    assert [reason for _, reason in batch["broken"]] == ["missing frame"] * broken
    assert int(batch["valid"].sum()) == 4 - broken
    assert batch["flow"].shape == (4, 1, 8, 3, 32, 32)


def manifest(root: Path, **settings: Any) -> None:
    held = {"method": "dis", "short_side": 48, "bound": 10.0, "storage": "jpeg", **settings}
    root.mkdir(parents=True, exist_ok=True)
    content = {"content": "optical flow", "format": 1, "settings": held}
    (root / "manifest.json").write_text(json.dumps(content))


def test_what_flow_noted_goes_into_the_specification(frames_root: Path, tmp_path: Path) -> None:
    manifest(store(tmp_path / "flow", common))
    data = data_of(frames_root, FlowInput(str(tmp_path / "flow"), length=4))
    wanted = {"length": 4, "method": "dis", "bound": 10.0, "short_side": 48}
    assert data.input_spec()["flow"] == wanted
    plain = data_of(frames_root, None, batch_size=4)
    assert plain.input_spec()["flow"] is None
    assert "flow" not in next(iter(plain.train_dataloader()))


@pytest.mark.parametrize(
    ("flow", "sentence"),
    [
        (FlowInput(), "data.flow.root is not given; make optical flow with `kinetoscope flow"),
        (FlowInput("nowhere"), "there is no folder of optical flow nowhere"),
        (FlowInput("plain", method="dis"), "set data.flow.bound"),
        (FlowInput("plain", bound=20), "set data.flow.method"),
        (FlowInput("noted", bound=20), "data.flow.bound=20 is not what noted holds, bound=10.0"),
        (FlowInput("noted", method="tvl1"), "method=tvl1 is not what noted holds, method=dis"),
        (FlowInput("noted", "{name}"), "none of 4 videos .* expected as noted/0 .missing.*pattern"),
    ],
)
def test_flow_that_does_not_fit_is_refused(
    flow: FlowInput,
    sentence: str,
    frames_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").mkdir()
    manifest(tmp_path / "noted")
    common(tmp_path / "noted", Path("a/0"), 0, (1, 2))
    with pytest.raises(ValueError, match=sentence):
        data_of(frames_root, flow)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"length": 0}, "data.flow.length=0 is too small"),
        ({"bound": -1}, "bound=-1 is not possible"),
        ({"path": "{video}"}, "data.flow.path='{video}' is no pattern"),
    ],
)
def test_impossible_flow_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FlowInput(**options)


def test_probe_of_frames_beside_flow_is_refused(frames_root: Path) -> None:
    with pytest.raises(
        ValueError, match=r"data\.evaluation\.probe=reversed changes frames, and data.flow is"
    ):
        data_of(frames_root, FlowInput(), probe="reversed")


def quiet_trainer(**options: Any) -> Trainer:
    return Trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1, **QUIET, **options)


def test_fit_remembers_its_flow_and_a_test_on_other_flow_is_refused(
    motion_root: Path, tmp_path: Path
) -> None:
    options = {"num_frames": 5, "frame_stride": 1, "max_frame_stride": 3, "test_frames": 7}
    same = {"flip_exempt": [], "flip_pairs": [], "flip_probability": 0.0}
    data = motion_shapes(motion_root, size=32, batch_size=4, num_crops=2, **same, **options)
    module = STResNetModule(
        "st_resnet_tiny",
        num_classes=8,
        flow_length=4,
        star=True,
        **module_settings(STResNetModule, lr=0.01),
    )
    trainer = quiet_trainer(default_root_dir=tmp_path)
    trainer.fit(module, data)
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    assert content["input_spec"]["flow"]["method"] == "rendered"
    assert content["input_spec"]["sampling"]["init_args"]["test_frames"] == 7
    tester = quiet_trainer(limit_test_batches=1, enable_checkpointing=False)
    tester.test(module, data, verbose=False)
    assert "test/top1" in tester.callback_metrics
    for flow, sentence in (
        (FlowInput(length=4, bound=10), "trained on 4 fields of rendered, bound 20.*bound 10"),
        (FlowInput(length=5), "data.flow.length=5 does not fit .* stacks of 4"),
    ):
        other = motion_shapes(motion_root, flow, size=32, batch_size=4, **options)
        for run in (tester.test, tester.validate):
            with pytest.raises(ValueError, match=sentence):
                run(module, other, verbose=False)

"""The views of a test: which pixels they hold, and that batching them changes no score."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUIET
from grouped import data_settings
from lightning.pytorch import Trainer
from numpy.typing import NDArray
from torch import Tensor
from video_files import scene, write

import lightning_modules
from datamodules import VideoBatch, VideoFolderDataModule
from datamodules.annotations.table import PackedStrings, VideoTable
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops, NumCrops
from datamodules.clips.input_spec import InputSpec
from datamodules.dataset import VideoDataset
from datamodules.samplers import SampleKey
from datamodules.settings import Evaluation, Loading
from lightning_modules import VideoClassifier
from lightning_modules.callbacks.score_file import ScoreFile
from models import list_models

TOLERANCE = 1e-5
"""Of logits; convolutions sum in another order in batches of another size."""

TINY = [name for name in list_models() if name.endswith("_tiny")]


def views(path: Path, sampler: FrameSampler, short_side: int, **how: Any) -> NDArray[np.uint8]:
    """All views of a video, (V, C, T, H, W)."""
    table = VideoTable(
        PackedStrings(["a"]), PackedStrings([path.name]), np.zeros(1, int), np.arange(1)
    )
    spec = InputSpec(sampler, Crops(size=32, short_side=short_side))
    dataset = VideoDataset(table, path.parent, spec, train=False, **how)
    pixels: NDArray[np.uint8] = dataset[SampleKey(0, 0)]["clips"].numpy()
    return pixels


# Top and left of each crop of 32 pixels in frames of 40 x 60 and of 60 x 40.
WIDE: dict[NumCrops, list[tuple[int, int]]] = {
    1: [(4, 14)],
    3: [(4, 0), (4, 14), (4, 28)],
    10: [(0, 0), (0, 28), (8, 0), (8, 28), (4, 14)] * 2,
}
HIGH: dict[NumCrops, list[tuple[int, int]]] = {
    1: [(14, 4)],
    3: [(0, 4), (14, 4), (28, 4)],
    10: [(0, 0), (0, 8), (28, 0), (28, 8), (14, 4)] * 2,
}


@pytest.mark.parametrize("num_crops", [1, 3, 10, "full"])
@pytest.mark.parametrize(("height", "width", "places"), [(40, 60, WIDE), (60, 40, HIGH)])
def test_views_are_cut_from_the_video_clip_by_clip(
    height: int, width: int, places: dict[NumCrops, Any], num_crops: NumCrops, tmp_path: Path
) -> None:
    pixels = scene(30, height, width)
    video = write(tmp_path / "a.mkv", "ffv1", pixels, pix_fmt="bgr0")
    got = views(video, FrameSampler(4, 3), 40, num_clips=3, num_crops=num_crops)
    expected = []
    for first in (0, 10, 20):  # the last clip ends with the video's last frame, 29
        clip = pixels[[first, first + 3, first + 6, first + 9]]
        if num_crops == "full":
            expected.append(clip)
            continue
        for number, (top, left) in enumerate(places[num_crops]):
            crop = clip[:, top : top + 32, left : left + 32]
            mirrored = number >= 5  # only of ten
            expected.append(crop[:, :, ::-1] if mirrored else crop)
    # (V, T, H, W, C) -> (V, C, T, H, W)
    np.testing.assert_array_equal(got, np.stack(expected).transpose(0, 4, 1, 2, 3))


SHORT = [
    # dense: looped from the first frame
    (FrameSampler(8, 2), 5, 1, [[0, 2, 4, 1, 3, 0, 2, 4]]),
    (FrameSampler(8, 2), 5, 2, [[0, 2, 4, 1, 3, 0, 2, 4]] * 2),
    (FrameSampler(4, 8), 1, 3, [[0, 0, 0, 0]] * 3),
    (FrameSampler(4, 1), 3, 1, [[0, 1, 2, 0]]),
    # segments: evenly spread, each frame as often as the parts' centres fall on it
    (FrameSampler(num_segments=8), 3, 1, [[0, 0, 0, 1, 1, 2, 2, 2]]),
    (FrameSampler(num_segments=8), 3, 2, [[0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, 1, 2, 2]]),
    (FrameSampler(num_segments=4), 1, 2, [[0, 0, 0, 0]] * 2),
    # uniform: the same rule
    (FrameSampler(8), 3, 1, [[0, 0, 0, 1, 1, 2, 2, 2]]),
    # super-images: part k starts at frame k, runs on and wraps round
    (FrameSampler(num_segments=3, frames_per_segment=2), 2, 1, [[0, 1, 1, 0, 0, 1]]),
    (FrameSampler(num_segments=3, frames_per_segment=2), 4, 1, [[0, 1, 1, 2, 2, 3]]),
    (
        FrameSampler(num_segments=2, frames_per_segment=5),
        7,
        2,
        [[0, 1, 2, 3, 4, 3, 4, 5, 6, 0]] * 2,
    ),
]


@pytest.mark.parametrize(("sampler", "length", "num_clips", "expected"), SHORT)
def test_short_videos_are_looped_or_spread_as_stated(
    sampler: FrameSampler,
    length: int,
    num_clips: int,
    expected: Sequence[Sequence[int]],
    tmp_path: Path,
) -> None:
    numbered = (
        np.zeros((length, 32, 32, 3), np.uint8)
        + np.arange(length, dtype=np.uint8)[:, None, None, None] * 20
    )
    video = write(tmp_path / "a.mkv", "ffv1", numbered, pix_fmt="bgr0")
    got = views(video, sampler, 32, num_clips=num_clips)
    assert (got[:, 0, :, 0, 0] // 20).tolist() == list(expected)
    assert (got == got[:, :1, :, :1, :1]).all()


def module_of(network: str, num_classes: int = 8, **arguments: Any) -> VideoClassifier:
    """A network whose scores are not all alike, in evaluation mode."""
    torch.manual_seed(0)
    for name in lightning_modules.__all__:
        kind = getattr(lightning_modules, name)
        if network.rpartition("_")[0] in getattr(kind, "families", ()):
            module: VideoClassifier = kind(network, num_classes=num_classes, **arguments)
            for layer in module.network.modules():
                if isinstance(layer, torch.nn.Linear) and layer.out_features == num_classes:
                    torch.nn.init.normal_(layer.weight)
            return module.eval()
    raise AssertionError(network)


def batch_of(module: VideoClassifier, num_views: int, height: int, width: int) -> VideoBatch:
    """Two videos of random pixels, as the network takes them."""
    torch.manual_seed(1)
    keys = {"clip": "clips", "flow": "flow"}
    examples = module.network.example_inputs(1, 8, 32)
    batch: Any = {
        keys[modality]: torch.rand(2, num_views, *example.shape[1:3], height, width)
        for modality, example in zip(module.network.modalities, examples, strict=True)
    }
    return {**batch, "label": torch.zeros(2, dtype=torch.long)}


@pytest.mark.parametrize("network", TINY)
def test_micro_batches_of_views_change_no_score(network: str) -> None:
    module = module_of(network)
    batch = batch_of(module, 3, 32, 32)
    found = []
    with torch.inference_mode():
        for at_once in (None, 1, 4, 30):  # the second batch of four is a smaller one
            module.views_at_once = at_once
            found.append(module.view_logits(batch))
    assert found[0].shape == (2, 3, 8)
    assert float(found[0].std(dim=1).min()) > 100 * TOLERANCE
    for logits in found[1:]:
        torch.testing.assert_close(logits, found[0], atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("network", TINY)
def test_every_network_takes_the_full_frame(network: str) -> None:
    module = module_of(network)
    with torch.inference_mode():
        for height, width in ((32, 43), (57, 32)):
            batch = batch_of(module, 1, height, width)
            logits = module.view_logits(batch)
            assert logits.shape == (2, 1, 8)
            assert torch.isfinite(logits).all()
            # the whole width counts, not a square in its middle
            batch["clips" if "clips" in batch else "flow"][..., -4:] += 1
            assert (module.view_logits(batch) - logits).abs().max() > 1e-4


def run_test(module: VideoClassifier, data: Any, folder: Path) -> Any:
    module.has_weights = True
    trainer = Trainer(callbacks=[ScoreFile(folder)], enable_checkpointing=False, **QUIET)
    trainer.test(module, data, verbose=False)
    (path,) = folder.glob("scores_*.npz")
    return np.load(path)


def test_full_frames_of_different_sizes_are_tested_one_video_at_a_time(tmp_path: Path) -> None:
    sizes = {"a": [(32, 48), (48, 32), (36, 40)], "b": [(32, 64), (40, 40), (32, 32)]}
    for name, shapes in sizes.items():
        (tmp_path / "videos" / name).mkdir(parents=True)
        for number, (height, width) in enumerate(shapes):
            path = tmp_path / "videos" / name / f"{number}.mkv"
            write(path, "ffv1", scene(12, height, width), pix_fmt="bgr0")
    data = VideoFolderDataModule(
        str(tmp_path / "videos"),
        sampling=FrameSampler(num_frames=4, frame_stride=2),
        crops=Crops(size=32, short_side=32),
        loading=Loading(batch_size=4, num_workers=0),
        evaluation=Evaluation(num_clips=2, num_crops="full"),
        val_fraction=0.5,
    )
    module = module_of("c2d_tiny", num_classes=2)
    shapes: list[tuple[int, ...]] = []
    module.network.register_forward_hook(
        # the protocol counts multiply-adds with a clip of its own, on the meta device
        lambda _, inputs, __: inputs[0].is_meta or shapes.append(inputs[0].shape)
    )
    scores = run_test(module, data, tmp_path / "scores")
    assert scores["logits"].shape == (len(data.test_set), 2, 2)
    assert len(shapes) == len(data.test_set)
    assert {shape[0] for shape in shapes} == {2}
    heights_and_widths = {shape[-2:] for shape in shapes}
    assert len(heights_and_widths) > 1
    assert all(min(shape) == 32 for shape in heights_and_widths)


def test_thirty_views_are_averaged_as_the_protocol_says(
    class_folders: Path, tmp_path: Path
) -> None:
    files = {}
    for average, batch_size in (("probabilities", 1), ("probabilities", 30), ("logits", 4)):
        module = module_of("tsm_tiny", num_classes=3, average=average)
        clips = {"num_frames": 4, "frame_stride": 2, "size": 32, "num_clips": 10, "num_crops": 3}
        data = VideoFolderDataModule(
            str(class_folders),
            **data_settings(**clips, batch_size=batch_size, num_workers=0),
            val_fraction=0.3,
        )
        scores = run_test(module, data, tmp_path / str(batch_size))
        assert module.views_at_once == batch_size
        logits, labels = scores["logits"], scores["labels"]
        assert logits.shape == (len(data.test_set), 30, 3)
        exponents = np.exp(logits - logits.max(-1, keepdims=True))
        shares = exponents / exponents.sum(-1, keepdims=True)
        means = (shares if average == "probabilities" else logits).mean(axis=1)
        np.testing.assert_allclose(
            module.classes.scores(torch.from_numpy(logits)), means, rtol=1e-5, atol=1e-6
        )
        counts = np.zeros((3, 3), int)
        np.add.at(counts, (labels, means.argmax(1)), 1)
        np.testing.assert_array_equal(module.classes.test_by_class.compute().numpy(), counts)
        files[batch_size] = logits
    scale = np.abs(files[1]).max()
    for batch_size in (4, 30):
        assert np.abs(files[batch_size] - files[1]).max() <= TOLERANCE * max(1, scale)


def peak_megabytes(work: Any) -> float:
    """How much more memory a piece of work needs at its peak than before it, in MB (Linux)."""

    def status(key: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(key))

    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = status("VmRSS")
    work()
    return status("VmHWM") - before


@pytest.mark.slow
@pytest.mark.one_slow_case
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak")
def test_memory_falls_with_the_micro_batch() -> None:
    module = module_of("cost_a_tiny")
    clips = torch.rand(1, 30, 3, 16, 112, 112)
    batch: VideoBatch = {"clips": clips, "label": torch.zeros(1, dtype=torch.long)}
    peaks: dict[int, float] = {}
    found: dict[int, Tensor] = {}

    def score(at_once: int) -> None:
        module.views_at_once = at_once
        with torch.inference_mode():
            found[at_once] = module.view_logits(batch)

    score(1)  # whatever is allocated once
    for at_once in (1, 4, 30):
        peaks[at_once] = peak_megabytes(lambda at_once=at_once: score(at_once))
        torch.testing.assert_close(found[at_once], found[1], atol=TOLERANCE, rtol=TOLERANCE)
    print({at_once: f"{peak:.0f} MB" for at_once, peak in peaks.items()})  # noqa: T201
    assert peaks[1] < peaks[4] < peaks[30]
    assert peaks[30] > 2 * peaks[1]

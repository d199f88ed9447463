"""kinetoscope features: the grid of localisation tools, resumed, shared; what is in the file."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from video_files import scene, whole, write

from datamodules.clips.input_spec import InputSpec
from lightning_modules import load, open_checkpoint
from lightning_modules.cli import main
from lightning_modules.evaluation.protocol import digest_of_weights
from lightning_modules.prediction.features import PRESETS, FeatureExtraction

GOLDEN = Path(__file__).parent / "golden" / "checkpoints_of_835e51c"
CHECKPOINT = str(GOLDEN / "cost.ckpt")
WINDOWS = ("--window=16f", "--step=8f")


def features(out: Path, *words: str) -> None:
    main(["features", f"--ckpt_path={CHECKPOINT}", f"--out={out}", "--device=cpu", *words])


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos in folders, of 60 frames at 25 and of 50 at 30 frames per second."""
    root = tmp_path_factory.mktemp("videos")
    for name, count, rate in (("a/one.mp4", 60, 25), ("b/two.mp4", 50, 30)):
        (root / name).parent.mkdir()
        times = [round(90_000 / rate * i) for i in range(count)]
        write(root / name, "libx264", scene(count), times=times, time_base=Fraction(1, 90_000))
    return root


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_the_grid_of_localisation_tools(
    preset: str, videos: Path, tmp_path: Path
) -> None:
    features(tmp_path, f"--preset={preset}", str(videos))
    step, rate = (8 if "x8" in preset else 4), (25 if "25" in preset else 30)
    for name, seconds in (("a/one", 60 / 25), ("b/two", 50 / 30)):
        with np.load(tmp_path / f"{name}.npz") as file:
            total = int(file["num_frames"])
            assert total == round(seconds * rate)
            assert len(file["features"]) == (total - 16) // step + 1
            assert (file["frame_rate"], file["window"], file["step"]) == (rate, 16, step)
            # the time that such tools give feature i: (i step + window / 2) / rate
            centres = (np.arange(len(file["start"])) * step + 8) / rate
            np.testing.assert_allclose((file["start"] + file["end"]) / 2, centres, atol=2e-4)
            assert file["features"].dtype == np.float32


def test_features_are_pooled_as_by_hand(videos: Path, tmp_path: Path) -> None:
    path = videos / "a/one.mp4"
    module = open_checkpoint(CHECKPOINT)
    spec = InputSpec.from_dict(module.input_spec)
    shown, _ = whole(path)
    frames = torch.from_numpy(np.stack([shown[i] for i in range(60)])).permute(0, 3, 1, 2)
    mean, std = torch.tensor(spec.normalization.mean), torch.tensor(spec.normalization.std)

    def by_hand(chosen: np.ndarray) -> torch.Tensor:
        (clip,) = spec.crops.test(frames[chosen], 1)
        scaled = (clip.float() / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        with torch.no_grad():
            maps = module.network.forward_features(scaled.transpose(0, 1)[None])
        return maps.flatten(2).mean(2)[0]

    features(tmp_path / "windows", *WINDOWS, str(path))
    with np.load(tmp_path / "windows" / "one.npz") as file:
        values = file["features"]
        made = {name: file[name][()] for name in ("video", "network", "weights", "settings")}
    expected = torch.stack([by_hand(s + spec.sampling.test(16)[0]) for s in range(0, 45, 8)])
    np.testing.assert_allclose(values, expected.numpy(), atol=1e-4)
    assert made["video"] == str(path)
    assert made["network"] == "cost_a_tiny"
    assert made["weights"] == digest_of_weights(module.state_dict())
    assert json.loads(str(made["settings"]))["spacing"] == {"window": "16f", "step": "8f"}

    features(tmp_path / "whole", "--num_clips=2", str(path))
    with np.load(tmp_path / "whole" / "one.npz") as file:
        pooled = file["features"]
        assert (file["start"], file["end"]) == (0.0, pytest.approx(60 / 25, abs=1e-4))
    clips = torch.stack([by_hand(chosen) for chosen in spec.sampling.test(60, 2)])
    np.testing.assert_allclose(pooled, clips.mean(0, keepdim=True).numpy(), atol=1e-4)
    alone = load(CHECKPOINT, device="cpu").features(path, window="16f", step="8f")
    np.testing.assert_allclose(alone.values, values, atol=1e-6)


def test_every_family_has_features(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="needs the extra `flow`")
    video = str(next((GOLDEN / "videos").rglob("*.mp4")))
    for family in ("selfy", "stnet", "st_resnet", "tsm"):
        found = load(GOLDEN / f"{family}.ckpt", device="cpu").features(video, window="12f")
        assert found.values.shape[0] == (25 - 12) // 6 + 1
        assert np.isfinite(found.values).all()
        assert found.values.std(0).max() > 0  # windows differ


def test_pass_is_shared_resumed_and_held_to_its_settings(
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, out = tmp_path / "videos", tmp_path / "out"
    root.mkdir()
    for i in range(6):
        shutil.copy(videos / "a/one.mp4", root / f"{i}.mp4")
    for shard in ("0/2", "1/2"):
        features(out, *WINDOWS, f"--shard={shard}", str(root))
    said = capsys.readouterr().out
    assert "in part 0/2, 0 there already" in said
    assert sorted(path.name for path in out.iterdir()) == [f"{i}.npz" for i in range(6)]
    (out / "3.npz").unlink()
    work, done = FeatureExtraction.__call__, list[str]()

    def noted(self: FeatureExtraction, job: object) -> object:
        done.append(str(job))
        return work(self, job)  # type: ignore[arg-type]

    monkeypatch.setattr(FeatureExtraction, "__call__", noted)
    features(out, *WINDOWS, str(root))
    assert done == ["3"]
    assert "6 videos, 5 there already, 1 to do" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        features(out, "--window=16f", "--step=4f", str(root))
    assert "holds features made otherwise (spacing" in capsys.readouterr().err


def test_mistakes_and_broken_files_are_told(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("nothing")
    with pytest.raises(SystemExit, match="1"):
        features(tmp_path / "out", *WINDOWS, str(bad), str(videos / "a/one.mp4"))
    assert "1 video(s) have no features" in capsys.readouterr().err
    assert (tmp_path / "out" / "one.npz").exists()
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(videos / "a/one.mp4", other / "one.mp4")
    for words, sentence in (
        (["--preset=i3d", str(bad)], "there is no preset 'i3d'; give one of i3d-16x8-25fps"),
        (["--preset=i3d-16x8-25fps", "--step=3f", str(bad)], "leave these out"),
        (["--step=3f", str(bad)], "--step has no meaning without --window"),
        (["--shard=2/2", str(bad)], "--shard 2/2 is not possible"),
        ([str(videos / "a/one.mp4"), str(other / "one.mp4")], "their features in one file, one"),
    ):
        with pytest.raises(SystemExit, match="2"):
            features(tmp_path / "new", *words)
        assert sentence in capsys.readouterr().err

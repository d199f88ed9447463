"""The life of a checkpoint: learn, move to other classes, label, be handed on, label the same."""

import csv
import shutil
from pathlib import Path

import pytest
from test_lightning_modules_exporting import run_onnx

from lightning_modules import open_checkpoint
from lightning_modules.cli import main
from lightning_modules.exporting.clips import read_clips

pytest.importorskip("onnxruntime", reason="needs the extra `export`")

FAMILIES = {
    "tsm": ["--model=BaselineModule", "--model.network=tsm_tiny", "--data.sampling.num_segments=4"],
    "cost": [
        *("--model=CoSTModule", "--model.network=cost_b_tiny"),
        "--data.sampling={num_frames: 8, frame_stride: 2}",
    ],
    "selfy": [
        *("--model=SELFYModule", "--model.network=selfy_tsm_tiny"),
        "--data.sampling.num_segments=4",
    ],
    "stnet": [
        *("--model=StNetModule", "--model.network=stnet_tiny"),
        "--data.sampling={num_segments: 3, frames_per_segment: 2}",
    ],
    "st_resnet": [
        *("--model=STResNetModule", "--model.network=st_resnet_tiny", "--model.flow_length=4"),
        "--data.sampling={num_frames: 4, frame_stride: 3}",
    ],
}
SHORT = [
    *("--data.crops.size=56", "--data.loading={batch_size: 4, num_workers: 0}"),
    *("--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.max_epochs=1"),
    *("--trainer.limit_train_batches=4", "--trainer.limit_val_batches=1"),
    "--trainer.enable_progress_bar=false",
]


def flow_of(family: str, videos: Path, target: Path) -> list[str]:
    """Options of the flow that a network of two streams needs, made here."""
    if family != "st_resnet":
        return []
    words = ["--method=dis", "--short_side=64", "--storage=jpeg", "--workers=0"]
    main(["flow", str(videos), str(target), *words])
    return [f"--data.flow.root={target}", "--data.flow.length=4"]


@pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=[] if f == "tsm" else pytest.mark.slow) for f in FAMILIES],
)
def test_checkpoint_of_each_family_goes_all_the_way(
    family: str,
    motion_root: Path,
    test_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if family == "st_resnet":
        pytest.importorskip("cv2", reason="needs the extra `flow`")
    words = [*FAMILIES[family], *SHORT, f"--run.folder={tmp_path / 'runs'}"]
    made = ["--data=MotionShapesDataModule", f"--data.root={motion_root}", "--data.num_train=64"]
    made += ["--data.num_val=16", "--data.num_test=16", "--run.name=made"]
    main(["fit", *made, *words, *flow_of(family, motion_root, tmp_path / "flow")])
    first = tmp_path / "runs" / "made" / "0" / "checkpoints" / "last.ckpt"

    clips = tmp_path / "clips"
    for folder in sorted((test_data / "ucf101_3class" / "videos").iterdir()):
        (clips / folder.name).mkdir(parents=True)
        for video in sorted(folder.iterdir())[:4]:
            shutil.copy(video, clips / folder.name)
    real = ["--data=VideoFolderDataModule", f"--data.root={clips}"]
    real += ["--data.val_fraction=0.3", "--run.name=real", f"--model.init_from={first}"]
    main(["fit", *real, *words, *flow_of(family, clips, tmp_path / "real_flow")])
    assert f"weights from {first}" in caplog.text
    assert "skipped" in caplog.text
    assert "classifier of other classes" in caplog.text
    checkpoint = tmp_path / "runs" / "real" / "0" / "checkpoints" / "last.ckpt"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    videos = [str(v) for v in sorted(clips.rglob("*.avi"))[::4]]
    main(["predict", f"--ckpt_path={checkpoint}", "--top=3", "--device=cpu", *videos])
    rows = list(csv.DictReader(Path("predictions.csv").read_text().splitlines()))
    assert len(rows) == len(videos) == 3

    for form in ("onnx", "pt2"):
        capsys.readouterr()
        words = [f"--ckpt_path={checkpoint}", f"--format={form}", f"--out=net.{form}"]
        main(["export", *words, *videos[:2]])
        said = capsys.readouterr().out
        assert float(said.split("video(s): ")[1].split()[0]) <= 1e-4

    module = open_checkpoint(checkpoint)
    shares = run_onnx(Path("net.onnx"), *read_clips(module, videos)).softmax(-1)
    for row, share in zip(rows, shares, strict=True):
        for i in (1, 2, 3):
            index = module.class_names.index(row[f"class_{i}"])
            assert float(share[index]) == pytest.approx(float(row[f"probability_{i}"]), abs=1e-4)
        assert module.class_names[int(share.argmax())] == row["class_1"]

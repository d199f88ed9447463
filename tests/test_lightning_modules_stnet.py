"""StNetModule: the data's segments and the network's super-images agree, or nothing is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT_ROOT, QUIET
from grouped import network_of
from lightning.pytorch import Trainer
from test_configs import DEBUG

from datamodules import MotionShapesDataModule
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops
from datamodules.data_spec import DataSpec
from datamodules.settings import Loading
from lightning_modules import StNetModule, open_checkpoint
from lightning_modules.cli import main
from lightning_modules.training.initialization import initialize


def data_of(root: Path, frames_per_segment: int) -> MotionShapesDataModule:
    return MotionShapesDataModule(
        str(root),
        num_train=64,
        num_val=16,
        num_test=16,
        sampling=FrameSampler(
            num_segments=4,
            frames_per_segment=frames_per_segment,
        ),
        crops=Crops(size=32),
        loading=Loading(batch_size=8, num_workers=0),
    )


def trainer_of(folder: Path) -> Trainer:
    return Trainer(
        max_steps=1,
        limit_val_batches=0,
        default_root_dir=folder,
        enable_checkpointing=False,
        **QUIET,
    )


def test_segments_of_another_length_are_refused(motion_root: Path, tmp_path: Path) -> None:
    module = StNetModule("stnet_tiny", num_classes=8, frames_per_segment=3)
    sentence = r"data\.sampling\.frames_per_segment=2 does not fit super-images of 3 frames"
    with pytest.raises(ValueError, match=sentence):
        trainer_of(tmp_path).fit(module, data_of(motion_root, 2))
    module.has_weights = True
    with pytest.raises(ValueError, match=sentence):
        trainer_of(tmp_path).test(module, data_of(motion_root, 2), verbose=False)


@pytest.mark.parametrize(
    "options", [{}, {"temporal_block": "paper"}, {"temporal_xception": False, "head_pool": "mean"}]
)
def test_trained_network_opens_with_its_options(
    motion_root: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    module = StNetModule("stnet_tiny", num_classes=8, frames_per_segment=2, **options)
    trainer, data = trainer_of(tmp_path), data_of(motion_root, 2)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    other = "released" if "temporal_block" in options else "paper"
    fresh = StNetModule("stnet_tiny", num_classes=8, frames_per_segment=2, temporal_block=other)
    kept = options.get("temporal_block", "released")
    with pytest.raises(ValueError, match=rf"set --model\.temporal_block {kept}"):
        initialize(fresh.network, str(tmp_path / "x.ckpt"), data.class_names, data.data_spec())
    opened = open_checkpoint(tmp_path / "x.ckpt")
    assert str(opened.network) == str(module.network)
    clip = torch.randn(1, 3, 8, 32, 32)
    torch.testing.assert_close(opened(clip), module.eval()(clip))


def test_blocks_that_a_run_lacks_may_have_either_form(tmp_path: Path) -> None:
    bare = StNetModule("stnet_tiny", num_classes=2, temporal_modeling=[], temporal_xception=False)
    parts = {"state_dict": bare.state_dict(), "class_names": ["a", "b"]}
    parts |= {"network": network_of(bare), "protocol": {"dataset": "x"}}
    torch.save(parts, tmp_path / "bare.ckpt")
    network = StNetModule(
        "stnet_tiny", num_classes=2, temporal_block="paper", temporal_xception=False
    ).network

    report = initialize(network, str(tmp_path / "bare.ckpt"), ["a", "b"], DataSpec())

    assert {name.split(".")[0] for name in report.new} == {"temporal_modeling"}


def test_options_of_a_run_are_read_from_its_checkpoint(
    motion_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    words = ["--config", "configs/quickstart.yaml", "--config", DEBUG, "--model", "StNetModule"]
    words += [
        "--model.network=stnet_tiny",
        "--data.sampling.num_segments=4",
        "--data.sampling.frames_per_segment=2",
    ]
    words += [
        "--data.sampling.num_frames=null",
        "--data.sampling.frame_stride=null",
        "--data.crops.size=32",
    ]
    words += ["--data.num_train=64", "--data.num_val=16", "--data.num_test=16"]
    words += [f"--data.root={motion_root}", f"--run.folder={tmp_path}", "--run.name=first"]
    main(["fit", *words, "--model.temporal_modeling=[2]"])
    source = tmp_path / "first" / "0" / "checkpoints" / "last.ckpt"
    words += [f"--model.init_from={source}", "--model.temporal_modeling=[2]"]

    with pytest.raises(SystemExit, match=r"^2$"):
        main(["fit", *words, "--model.temporal_block=paper"])
    assert "set --model.temporal_block released" in " ".join(capsys.readouterr().err.split())
    main(["fit", *words, "--model.temporal_block=released", "--run.name=second"])
    assert (tmp_path / "second" / "0" / "checkpoints" / "last.ckpt").exists()

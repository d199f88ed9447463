"""StNetModule: the data's segments and the network's super-images agree, or nothing is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from datamodules import MotionShapesDataModule
from lightning_modules import StNetModule, open_checkpoint


def data_of(root: Path, frames_per_segment: int) -> MotionShapesDataModule:
    return MotionShapesDataModule(
        str(root),
        num_train=64,
        num_val=16,
        num_test=16,
        num_frames=None,
        frame_stride=None,
        num_segments=4,
        frames_per_segment=frames_per_segment,
        size=32,
        batch_size=8,
        num_workers=0,
    )


def trainer_of(folder: Path) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_steps=1,
        limit_val_batches=0,
        logger=False,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def test_segments_of_another_length_are_refused(motion_root: Path, tmp_path: Path) -> None:
    module = StNetModule("stnet_tiny", num_classes=8, frames_per_segment=3)
    sentence = r"data\.frames_per_segment=2 does not fit super-images of 3 frames"
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
    trainer = trainer_of(tmp_path)
    trainer.fit(module, data_of(motion_root, 2))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    opened = open_checkpoint(tmp_path / "x.ckpt")
    assert str(opened.network) == str(module.network)
    clip = torch.randn(1, 3, 8, 32, 32)
    torch.testing.assert_close(opened(clip), module.eval()(clip))

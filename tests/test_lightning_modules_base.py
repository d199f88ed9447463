"""The module that every family shares, and the callbacks that watch it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from datamodules import MotionShapesDataModule, VideoFolderDataModule
from lightning_modules import BaselineModule, CoSTModule, open_checkpoint
from lightning_modules.callbacks import BrokenVideos

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
}
SIZES = {"num_train": 64, "num_val": 16, "num_test": 16}


def data_of(root: Path, **kwargs: Any) -> MotionShapesDataModule:
    defaults = {"batch_size": 16, "num_workers": 0, "num_frames": 4, "size": 32}
    return MotionShapesDataModule(str(root), **SIZES, **{**defaults, **kwargs})


def test_same_seed_gives_the_same_weights(motion_root: Path, tmp_path: Path) -> None:
    ends = []
    for workers in (0, 1):
        torch.manual_seed(0)
        module = CoSTModule("cost_a_tiny", num_classes=8, lr=0.1)
        trainer = Trainer(max_epochs=1, limit_val_batches=0, enable_checkpointing=False, **QUIET)
        trainer.fit(module, data_of(motion_root, num_workers=workers, flip_probability=0.5))
        ends.append(module.network.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_validation_does_not_change_training(motion_root: Path) -> None:
    ends = []
    for validate in (0, 1.0):
        torch.manual_seed(0)
        module = CoSTModule("cost_a_tiny", num_classes=8, dropout=0.5)
        trainer = Trainer(
            max_epochs=2, limit_val_batches=validate, enable_checkpointing=False, **QUIET
        )
        trainer.fit(module, data_of(motion_root))
        ends.append(module.network.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_clip_accuracy_equals_a_plain_loop(motion_root: Path) -> None:
    torch.manual_seed(0)
    module = BaselineModule("tsm_tiny", num_classes=8)
    data = data_of(motion_root, batch_size=3)
    trainer = Trainer(enable_checkpointing=False, **QUIET)
    (found,) = trainer.validate(module, data, verbose=False)
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in (data.spec.mean, data.spec.std))
    right, losses = 0, []
    module.eval()
    for key in data.val_dataloader().sampler:  # type: ignore[union-attr]
        item = data.val_set[key]
        with torch.inference_mode():
            logits: Tensor = module((item["clips"].float() / 255 - mean) / std)[0]
        right += int(logits.argmax()) == item["label"]
        losses.append(-float(logits.log_softmax(0)[item["label"]]))
    assert found["val/top1"] == pytest.approx(right / 16)
    assert found["val/loss"] == pytest.approx(sum(losses) / 16, rel=1e-4)


def test_random_classifier_is_not_tested(motion_root: Path) -> None:
    trainer = Trainer(enable_checkpointing=False, **QUIET)
    with pytest.raises(ValueError, match="the classifier is random"):
        trainer.test(CoSTModule("cost_a_tiny", num_classes=8), data_of(motion_root), verbose=False)


def test_checkpoint_from_python_opens_as_its_class(motion_root: Path, tmp_path: Path) -> None:
    module = CoSTModule("cost_b_tiny", num_classes=8, shared=False, pools="paper")
    trainer = Trainer(
        max_epochs=1, limit_train_batches=1, limit_val_batches=0, default_root_dir=tmp_path, **QUIET
    )
    trainer.fit(module, data_of(motion_root))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    opened = open_checkpoint(tmp_path / "x.ckpt")
    assert type(opened) is CoSTModule
    assert opened.class_names == data_of(motion_root).class_names
    weights = opened.network.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in module.network.state_dict().items())


def test_learning_rate_is_scaled_by_the_batch(motion_root: Path) -> None:
    module = CoSTModule("cost_a_tiny", num_classes=8, lr=0.02, reference_batch=64)
    trainer = Trainer(max_steps=1, accumulate_grad_batches=2, enable_checkpointing=False, **QUIET)
    trainer.fit(module, data_of(motion_root, batch_size=8))
    assert module.optimizers().param_groups[0]["initial_lr"] == pytest.approx(0.02 * 16 / 64)


@pytest.mark.parametrize("limit", [0.06, 0.05])
def test_too_many_broken_videos_stop_the_run(class_folders: Path, limit: float) -> None:
    (class_folders / "grow" / "bad.mp4").write_text("not a video")
    data = VideoFolderDataModule(
        str(class_folders),
        num_frames=4,
        frame_stride=2,
        size=32,
        batch_size=19,
        num_workers=0,
        val_fraction=0,
        max_broken_fraction=limit,
    )
    module = CoSTModule("cost_a_tiny", num_classes=3)
    watcher = BrokenVideos()
    quiet = {**QUIET, "callbacks": [watcher], "limit_val_batches": 0}
    trainer = Trainer(max_epochs=1, enable_checkpointing=False, **quiet)
    if limit > 1 / 19:
        trainer.fit(module, data)
    else:
        with pytest.raises(ValueError, match=r"1 of 19 training videos cannot be read"):
            trainer.fit(module, data)
    assert watcher.reasons == {"grow/bad.mp4": "not a video"}


@pytest.mark.parametrize(
    ("network", "sentence"),
    [("c2d_tiny", "CoSTModule trains cost networks"), ("cost_a_tinny", "did you mean cost_a_tiny")],
)
def test_network_of_another_family_is_refused(network: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        CoSTModule(network, num_classes=8)

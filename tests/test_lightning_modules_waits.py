"""A training step asks a device for nothing that the process would have to wait for."""

from pathlib import Path

import pytest
from command_line import DEBUG, QUICKSTART
from waits_plugin import Watch

from lightning_modules.cli import main

IN_MAIN_MEMORY = {
    "datamodules/annotations/table.py",
    "datamodules/augmentation/functional.py",
    "datamodules/augmentation/reversals.py",
}
"""Files that ask the list of videos, or labels, which `transfer_batch_to_device` leaves there."""

SETTINGS = {
    "reversals": ["--data.augmentation.reversals=true", "--data.augmentation.flip_probability=0.5"],
    "mixing": [
        "--data.augmentation.reversals=false",
        "--data.augmentation.mixup_alpha=0.5",
        "--data.augmentation.cutmix_alpha=0.5",
        "--data.augmentation.color=0.3",
        "--data.augmentation.rand_augment=2",
        "--data.augmentation.erase_probability=0.5",
    ],
}


@pytest.mark.parametrize("name", SETTINGS)
def test_training_steps_ask_the_device_nothing(
    name: str, motion_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_PLUGINS", "waits_plugin")
    monkeypatch.setattr(Watch, "asked", None)
    words = ["fit", "--config", QUICKSTART, "--config", DEBUG, *SETTINGS[name]]
    where = [f"--data.root={motion_root}", f"--run.folder={tmp_path}", "--data.crops.size=32"]
    sizes = ["--data.num_train=64", "--data.num_val=16", "--data.num_test=16"]
    steps = ["--trainer.limit_train_batches=4", "--trainer.log_every_n_steps=100"]
    average = ["--model.optimization.ema_decay=0.9", "--trainer.callbacks=waits_plugin.Watch"]
    main([*words, *where, *sizes, *steps, *average])
    assert Watch.asked is not None
    assert Watch.asked - IN_MAIN_MEMORY == set()

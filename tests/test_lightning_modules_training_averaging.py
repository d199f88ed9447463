"""The moving average of the weights: what it is, where it is used, and that it resumes exactly."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUIET
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from datamodules import MotionShapesDataModule
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops
from datamodules.settings import Loading
from lightning_modules import BaselineModule, open_checkpoint
from lightning_modules.training.averaging import AveragedWeights
from lightning_modules.training.optim import Optimization

DECAY = 0.8


class Record(Callback):
    """Keeps the weights after each step, and the weights that were validated."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    @staticmethod
    def _weights(module: LightningModule) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in module.state_dict().items()}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        self.steps.append(self._weights(pl_module))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        self.validated.append(self._weights(pl_module))


def data_of(root: Path) -> MotionShapesDataModule:
    sizes = {"num_train": 64, "num_val": 16, "num_test": 16}
    return MotionShapesDataModule(
        str(root),
        **sizes,
        loading=Loading(batch_size=16, num_workers=0),
        sampling=FrameSampler(num_frames=2, frame_stride=2),
        crops=Crops(size=32),
    )


def fit(
    root: Path,
    folder: Path,
    epochs: int,
    ckpt_path: str | None = None,
    callbacks: Sequence[Callback] = (),
) -> tuple[BaselineModule, Record, Trainer]:
    torch.manual_seed(0)
    module = BaselineModule(
        "tsn_tiny",
        num_classes=8,
        optimization=Optimization(lr=0.1, schedule="constant", ema_decay=DECAY),
        dropout=0.0,
    )
    record = Record()
    every = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    trainer = Trainer(max_epochs=epochs, callbacks=[record, every, *callbacks], **QUIET)
    trainer.fit(module, data_of(root), ckpt_path=ckpt_path, weights_only=True)
    return module, record, trainer


def equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    assert ours.keys() == theirs.keys()
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.fixture(scope="module")
def whole(
    motion_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BaselineModule, Record, Trainer, Path]:
    """Two epochs in one go."""
    folder = tmp_path_factory.mktemp("whole")
    return *fit(motion_root, folder, 2), folder


def test_average_equals_its_formula(whole: tuple[BaselineModule, Record, Trainer, Path]) -> None:
    _, record, _, folder = whole
    saved = torch.load(folder / "epoch=1.ckpt", weights_only=True)
    assert equal(saved["current_model_state"], record.steps[-1])
    average = {name: value.double() for name, value in record.steps[0].items()}
    for step in record.steps[1:]:
        for name, value in step.items():
            average[name] = DECAY * average[name] + (1 - DECAY) * value
    assert len(record.steps) == 8
    for name, value in saved["state_dict"].items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value.double(), average[name], atol=1e-6, rtol=1e-4)
    assert not equal(saved["state_dict"], saved["current_model_state"])


def test_average_is_what_is_validated_and_kept(
    whole: tuple[BaselineModule, Record, Trainer, Path],
) -> None:
    module, record, _, folder = whole
    saved = torch.load(folder / "epoch=1.ckpt", weights_only=True)
    assert equal(saved["state_dict"], record.validated[-1])
    assert equal(saved["state_dict"], module.state_dict())
    assert equal(saved["state_dict"], open_checkpoint(folder / "epoch=1.ckpt").state_dict())


def test_later_test_uses_what_it_loads(
    whole: tuple[BaselineModule, Record, Trainer, Path], motion_root: Path
) -> None:
    _, _, trainer, folder = whole
    path = folder / "epoch=0.ckpt"
    module = BaselineModule("tsn_tiny", num_classes=8, optimization=Optimization(ema_decay=DECAY))
    trainer.test(module, data_of(motion_root), ckpt_path=path, weights_only=True, verbose=False)
    assert equal(module.state_dict(), torch.load(path, weights_only=True)["state_dict"])
    trainer.validate(module, data_of(motion_root), ckpt_path=path, weights_only=True, verbose=False)
    assert equal(module.state_dict(), torch.load(path, weights_only=True)["state_dict"])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_resumed_average_goes_on_exactly(
    whole: tuple[BaselineModule, Record, Trainer, Path], motion_root: Path, tmp_path: Path
) -> None:
    unbroken = torch.load(whole[-1] / "epoch=1.ckpt", weights_only=True)
    fit(motion_root, tmp_path, 1)
    fit(motion_root, tmp_path, 2, ckpt_path=str(tmp_path / "epoch=0.ckpt"))
    resumed = torch.load(tmp_path / "epoch=1.ckpt", weights_only=True)
    for part in ("state_dict", "current_model_state"):
        assert equal(resumed[part], unbroken[part])
    assert unbroken["averaging_state"] == resumed["averaging_state"]


def test_checkpoint_of_a_validation_names_both_sets_of_weights(
    whole: tuple[BaselineModule, Record, Trainer, Path], motion_root: Path, tmp_path: Path
) -> None:
    class SaveInValidation(Callback):
        def on_validation_batch_end(self, trainer: Trainer, *args: Any) -> None:
            trainer.save_checkpoint(tmp_path / "within.ckpt")

    fit(motion_root, tmp_path, 1, callbacks=[SaveInValidation()])
    within = torch.load(tmp_path / "within.ckpt", weights_only=True)
    after = torch.load(whole[-1] / "epoch=0.ckpt", weights_only=True)
    for part in ("state_dict", "current_model_state"):
        assert equal(within[part], after[part])


def test_average_begins_with_what_is_loaded() -> None:
    module = BaselineModule("tsn_tiny", num_classes=8, optimization=Optimization(ema_decay=DECAY))
    callback = AveragedWeights(DECAY)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    callback.setup(trainer, module, "fit")
    torch.nn.init.ones_(module.network.fc.weight)  # type: ignore[union-attr, arg-type]

    callback.on_fit_start(trainer, module)
    callback.on_validation_epoch_start(trainer, module)

    assert torch.equal(module.network.fc.weight, torch.ones(8, module.network.num_features))


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_decay_is_checked(decay: float) -> None:
    with pytest.raises(
        ValueError, match=r"model\.optimization\.ema_decay=.* must lie between 0 and 1"
    ):
        BaselineModule("tsn_tiny", num_classes=8, optimization=Optimization(ema_decay=decay))


def test_average_refuses_weights_of_16_bits(motion_root: Path) -> None:
    module = BaselineModule("tsn_tiny", num_classes=8, optimization=Optimization(ema_decay=DECAY))
    trainer = Trainer(accelerator="cpu", precision="bf16-true", logger=False, fast_dev_run=True)
    with pytest.raises(ValueError, match=r"ema_decay needs weights of 32 bits.* to bf16-mixed"):
        trainer.fit(module, data_of(motion_root))

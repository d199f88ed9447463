"""A trunk that stays as it is while its classifier learns."""

from pathlib import Path

import pytest
import torch
from conftest import QUIET
from lightning.pytorch import Trainer

from datamodules import Loading, MotionShapesDataModule, UserError
from lightning_modules import BaselineModule, BatchNorm
from lightning_modules.training.frozen import freeze_trunk
from models.adapted import AdaptedNetwork


@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")
def test_nothing_but_the_classifier_changes(motion_root: Path) -> None:
    module = BaselineModule("tsm_tiny", num_classes=8, frozen="trunk", dropout=0.0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    sizes = {"num_train": 64, "num_val": 16, "num_test": 16}
    data = MotionShapesDataModule(
        str(motion_root), loading=Loading(batch_size=4, num_workers=0), **sizes
    )
    trainer = Trainer(**QUIET, max_epochs=1, limit_train_batches=2, enable_checkpointing=False)

    trainer.fit(module, datamodule=data)

    after = module.state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {"network.fc.weight", "network.fc.bias"}


def test_the_trunk_stays_in_evaluation_mode() -> None:
    module = BaselineModule("c2d_tiny", num_classes=8, frozen="trunk")
    assert _training(module) == ["fc"]
    module.eval()
    assert _training(module) == []
    module.train()
    assert _training(module) == ["fc"]
    assert len(_training(BaselineModule("c2d_tiny", num_classes=8))) > 10


def _training(module: BaselineModule) -> list[str]:
    return [name for name, part in module.network.named_modules() if part.training]


def test_what_has_no_effect_on_it_is_refused() -> None:
    for setting in (BatchNorm(frozen="all"), BatchNorm(momentum=0.2)):
        with pytest.raises(UserError, match=r"as model\.frozen=trunk freezes every batch norm"):
            BaselineModule("tsm_tiny", num_classes=8, frozen="trunk", batch_norm=setting)
    with pytest.raises(UserError, match=r"model\.frozen=trunk would leave nothing to learn"):
        freeze_trunk(AdaptedNetwork(torch.nn.Conv3d(3, 5, 3), 5))

"""Modules with parts and data that are not this project's, from Python."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT_ROOT, QUIET
from grouped import data_settings
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from warm_python import run_script

from datamodules import MotionShapesDataModule, UserError
from lightning_modules import (
    BaselineModule,
    CoSTModule,
    Optimization,
    VideoClassifier,
    open_checkpoint,
)
from models import get_model

SMALL = data_settings(num_frames=4, frame_stride=2, size=32, batch_size=16, num_workers=0)


def data_of(root: Path) -> MotionShapesDataModule:
    return MotionShapesDataModule(str(root), num_train=64, num_val=16, num_test=16, **SMALL)


def saved(module: VideoClassifier, data: LightningDataModule, folder: Path) -> Path:
    """A checkpoint of one step."""
    trainer = Trainer(max_steps=1, limit_val_batches=0, enable_checkpointing=False, **QUIET)
    trainer.fit(module, data)
    trainer.save_checkpoint(folder / "x.ckpt")
    return folder / "x.ckpt"


class MyTSM(VideoClassifier):
    """A family in a user's own file, which hands an option to its network."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("tsm_tiny", network_kwargs={"shift_div": 2}, **kwargs)


def logits_of(module: VideoClassifier) -> Tensor:
    inputs = module.network.example_inputs(2, 4, 32)
    with torch.inference_mode():
        logits: Tensor = module.eval()(*inputs)
    return logits


def test_options_of_an_own_family_are_kept(
    motion_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = MyTSM(num_classes=8)
    path = saved(module, data_of(motion_root), tmp_path)
    content = torch.load(path, weights_only=True)
    assert content["network"]["options"] == {"shift_div": 2}
    with pytest.raises(UserError, match=rf"{__name__}\.MyTSM is part of a plugin"):
        VideoClassifier.load_from_checkpoint(path)
    monkeypatch.setenv("KINETOSCOPE_PLUGINS", __name__)
    opened = VideoClassifier.load_from_checkpoint(path)
    assert type(opened) is MyTSM
    assert torch.equal(logits_of(opened), logits_of(module))
    plain = get_model("tsm_tiny", 8)
    plain.load_state_dict(opened.network.state_dict())  # fits, and means something else
    with torch.inference_mode():
        assert not torch.allclose(plain.eval()(*plain.example_inputs(2, 4, 32)), logits_of(opened))


SLOW = Optimization(lr=0.02)


class Narrow(VideoClassifier):
    """A family that takes arguments of its own alone, and makes Lightning's own call too."""

    def __init__(
        self,
        num_classes: int,
        shift_div: int = 4,
        optimization: Optimization = SLOW,
        loss: nn.Module | None = None,
    ) -> None:
        options = {"shift_div": shift_div}
        super().__init__(
            "tsm_tiny", num_classes, optimization=optimization, loss=loss, network_kwargs=options
        )
        self.save_hyperparameters(ignore=["loss"])


def test_arguments_of_a_narrow_family_are_stored_once(
    motion_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_PLUGINS", __name__)
    module = Narrow(num_classes=8, shift_div=2, loss=nn.CrossEntropyLoss(label_smoothing=0.1))
    path = saved(module, data_of(motion_root), tmp_path)
    content = torch.load(path, weights_only=True)
    assert content["module"] == f"{__name__}.Narrow"
    stored = content["hyper_parameters"]
    assert (stored["num_classes"], stored["shift_div"], stored["loss"]) == (8, 2, None)
    assert stored["optimization"]["lr"] == 0.02
    assert len(stored) == 4
    opened = open_checkpoint(path)
    assert type(opened) is Narrow
    assert opened.class_names == module.class_names
    assert torch.equal(logits_of(opened), logits_of(module))
    other = nn.MultiMarginLoss()
    assert Narrow.load_from_checkpoint(path, loss=other).criterion is other


def test_network_options_of_the_base_are_kept(motion_root: Path, tmp_path: Path) -> None:
    module = VideoClassifier("tsm_tiny", num_classes=8, network_kwargs={"shift_div": 2})
    opened = open_checkpoint(saved(module, data_of(motion_root), tmp_path))
    assert opened.network_options == {"shift_div": 2}
    assert torch.equal(logits_of(opened), logits_of(module))


class Flat(nn.Module):
    """A whole network of somebody else's."""

    def __init__(self, num_classes: int, width: int = 3) -> None:
        super().__init__()
        self.head = nn.Linear(3, num_classes)
        self.width = width

    def forward(self, clip: Tensor) -> Tensor:
        logits: Tensor = self.head(clip.mean((2, 3, 4)))
        return logits[:, : self.width] if self.width == 2 else logits


def test_whole_network_trains_and_opens(
    motion_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="part of a plugin that was not named"):
        VideoClassifier(f"{__name__}.Flat", num_classes=8)
    monkeypatch.setenv("KINETOSCOPE_PLUGINS", __name__)
    module = VideoClassifier(f"{__name__}.Flat", num_classes=8)
    opened = open_checkpoint(saved(module, data_of(motion_root), tmp_path))
    assert torch.equal(logits_of(opened), logits_of(module))
    wrong = VideoClassifier(f"{__name__}.Flat", num_classes=8, network_kwargs={"width": 2})
    with pytest.raises(UserError, match=r"returned \(2, 2\) .* must return logits of shape \(2, 8"):
        logits_of(wrong)
    for options, sentence in (({"depth": 3}, "does not take the arguments num_classes, depth"),):
        with pytest.raises(UserError, match=sentence):
            VideoClassifier(f"{__name__}.Flat", num_classes=8, network_kwargs=options)
    with pytest.raises(UserError, match=r"makes a list, not a torch\.nn\.Module"):
        VideoClassifier(f"{__name__}.no_network", num_classes=8)
    with pytest.raises(UserError, match=rf"there is no {__name__}\.Missing"):
        VideoClassifier(f"{__name__}.Missing", num_classes=8)


def no_network(num_classes: int) -> list[int]:
    """What is no network."""
    return [num_classes]


def test_optimizers_given_as_callables_are_stored_by_name(
    motion_root: Path, tmp_path: Path
) -> None:
    settings = Optimization(
        optimizer=functools.partial(torch.optim.RMSprop, lr=0.02, weight_decay=0.1),
        schedule=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1),
        head_lr_multiplier=3.0,
        decay_bias=False,
    )
    module = CoSTModule("cost_a_tiny", num_classes=8, optimization=settings)
    path = saved(module, data_of(motion_root), tmp_path)
    groups = {g["name"]: g for g in module.optimizers().param_groups}  # type: ignore[union-attr]
    assert groups["weights"]["initial_lr"] == pytest.approx(0.02)
    assert groups["head_weights"]["initial_lr"] == pytest.approx(0.06)
    assert groups["weights"]["weight_decay"] == pytest.approx(0.1)
    assert groups["head_biases"]["weight_decay"] == 0
    assert groups["weights"]["lr"] == pytest.approx(0.002)  # the schedule was stepped
    stored = torch.load(path, weights_only=True)["hyper_parameters"]["optimization"]
    assert stored["optimizer"] == {
        "class_path": "torch.optim.rmsprop.RMSprop",
        "init_args": {"lr": 0.02, "weight_decay": 0.1},
    }
    assert stored["schedule"]["class_path"].endswith("<lambda>")
    opened = open_checkpoint(path)
    assert torch.equal(logits_of(opened), logits_of(module))
    with pytest.raises(UserError, match=r"model\.optimization\.lr=0\.5 is for sgd and adamw"):
        CoSTModule(
            "cost_a_tiny",
            num_classes=8,
            optimization=Optimization(optimizer=torch.optim.RMSprop, lr=0.5),
        )


class Noise(LightningDataModule):
    """A DataModule of somebody else's, whose batches have the right form and nothing more."""

    def loader(self, train: bool) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(0)
        batches = [
            {
                "clips": torch.randn(4, 1, 3, 4, 32, 32, generator=generator),
                "label": torch.arange(4) % 3,
                "video_id": list("abcd"),
                "valid": torch.ones(4, dtype=torch.bool),
                "train": train,
            }
            for _ in range(5)
        ]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader(train=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader(train=False)


def test_module_trains_with_any_datamodule() -> None:
    settings = Optimization(lr=0.1)
    module = BaselineModule(
        "tsm_tiny", num_classes=3, class_names=["x", "y", "z"], optimization=settings
    )
    trainer = Trainer(max_epochs=2, enable_checkpointing=False, **QUIET)
    trainer.fit(module, Noise())
    assert trainer.global_step == 10
    assert module.class_names == ["x", "y", "z"]
    assert {"val/top1", "val/loss"} <= set(trainer.callback_metrics)
    rate = module.lr_schedulers().get_last_lr()[0]  # type: ignore[union-attr]
    assert rate == pytest.approx(0.0, abs=1e-9)  # the cosine's end
    scaled = BaselineModule("tsm_tiny", num_classes=3, optimization=Optimization(reference_batch=8))
    with pytest.raises(UserError, match="reference_batch needs the batch size"):
        Trainer(max_epochs=1, enable_checkpointing=False, **QUIET).fit(scaled, Noise())


@pytest.mark.usefixtures("fork_server")
def test_opening_a_checkpoint_leaves_the_parser_as_it_was(tmp_path: Path) -> None:
    script = (
        "import jsonargparse, lightning_modules, sys\n"
        "class Own: pass\n"
        "for name in sys.argv[1:]:\n"
        "    try: lightning_modules.open_checkpoint(name)\n"
        "    except ValueError as error: print(type(error).__name__)\n"
        "parser = jsonargparse.ArgumentParser()\n"
        "parser.add_argument('--own', type=Own)\n"
        "print(parser.parse_args(['--own=__main__.Own']).own.class_path)\n"
    )
    golden = PROJECT_ROOT / "tests" / "golden" / "checkpoints_of_835e51c" / "tsm.ckpt"
    done = run_script(script, str(tmp_path / "none.ckpt"), str(golden), folder=tmp_path)
    assert done.stdout.split() == ["UserError", "__main__.Own"], done.stderr

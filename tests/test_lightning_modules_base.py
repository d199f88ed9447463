"""The module that every family shares, and the callbacks that watch it."""

import inspect
import itertools
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUIET
from grouped import data_settings, module_settings
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from datamodules import MotionShapesDataModule, UserError, VideoFolderDataModule
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops
from datamodules.settings import Loading
from lightning_modules import (
    BaselineModule,
    CoSTModule,
    SELFYModule,
    StNetModule,
    STResNetModule,
    VideoClassifier,
    open_checkpoint,
)
from lightning_modules.callbacks.broken_videos import BrokenVideos
from lightning_modules.cli import main
from lightning_modules.training.optim import BatchNorm, Optimization
from models import list_models
from models.registry import MODELS

SIZES = {"num_train": 64, "num_val": 16, "num_test": 16}


def data_of(root: Path, **kwargs: Any) -> MotionShapesDataModule:
    defaults = {"batch_size": 16, "num_workers": 0, "num_frames": 4, "frame_stride": 2, "size": 32}
    return MotionShapesDataModule(str(root), **SIZES, **data_settings(**{**defaults, **kwargs}))


def test_same_seed_gives_the_same_weights(motion_root: Path, tmp_path: Path) -> None:
    ends = []
    for workers in (0, 1):
        torch.manual_seed(0)
        module = CoSTModule("cost_a_tiny", num_classes=8, optimization=Optimization(lr=0.1))
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
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in (vars(data.spec.normalization).values()))
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
    module = CoSTModule(
        "cost_a_tiny", num_classes=8, optimization=Optimization(lr=0.02, reference_batch=64)
    )
    trainer = Trainer(max_steps=1, accumulate_grad_batches=2, enable_checkpointing=False, **QUIET)
    trainer.fit(module, data_of(motion_root, batch_size=8))
    assert module.optimizers().param_groups[0]["initial_lr"] == pytest.approx(0.02 * 16 / 64)


def test_a_cosine_without_an_end_is_refused_before_it_becomes_1000_epochs() -> None:
    module = CoSTModule("cost_a_tiny", num_classes=8)
    trainer = Trainer(enable_checkpointing=False, **QUIET)
    with pytest.raises(UserError, match=r"needs an end; set trainer\.max_epochs or"):
        trainer.fit(module, train_dataloaders=[])
    assert trainer.max_epochs is None


@pytest.mark.parametrize("given", [{"max_epochs": 1000}, {"max_steps": 5}, {"fast_dev_run": True}])
def test_an_end_that_was_given_is_taken(given: dict[str, Any]) -> None:
    trainer = Trainer(enable_checkpointing=False, **QUIET, **given)
    trainer.state.fn = TrainerFn.FITTING
    CoSTModule("cost_a_tiny", num_classes=8).trainer = trainer


@pytest.mark.parametrize("limit", [0.06, 0.05])
def test_too_many_broken_videos_stop_the_run(class_folders: Path, limit: float) -> None:
    (class_folders / "grow" / "bad.mp4").write_text("not a video")
    data = VideoFolderDataModule(
        str(class_folders),
        sampling=FrameSampler(num_frames=4, frame_stride=2),
        crops=Crops(size=32),
        loading=Loading(batch_size=19, num_workers=0),
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
    [
        ("c2d_tiny", "CoSTModule trains cost_a and cost_b networks, got c2d_tiny"),
        ("cost_a_tinny", "did you mean cost_a_tiny"),
    ],
)
def test_network_of_another_family_is_refused(network: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        CoSTModule(network, num_classes=8)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"lr": -1}, r"model\.optimization\.lr=-1 must be at least 0"),
        (
            {"head_lr_multiplier": -2},
            r"model\.optimization\.head_lr_multiplier=-2 must be at least 0",
        ),
        ({"label_smoothing": 1}, r"model\.label_smoothing=1 must lie in \[0, 1\)"),
        ({"bn_momentum": 0}, r"model\.batch_norm\.momentum=0 must lie between 0 and 1"),
        ({"bn_batch": 0}, r"model\.batch_norm\.batch_size=0 must be at least 1"),
        ({"schedule": "step"}, r"`step` needs milestones"),
        ({"schedule": "step", "milestones": [3, 2]}, r"must be epochs from 1 on, in order"),
        ({"schedule": "step", "milestones": [0]}, r"must be epochs from 1 on, in order"),
        (
            {"schedule": "step", "milestones": [3], "warmup_epochs": 4},
            r"milestones=\[3\] begin before the warm-up ends",
        ),
        ({"reference_batch": 0}, r"model\.optimization\.reference_batch=0 must be at least 1"),
        ({"gamma": 0}, r"model\.optimization\.gamma=0 must lie in \(0, 1\]"),
        ({"momentum": 1.0}, r"model\.optimization\.momentum=1\.0 must lie in \[0, 1\)"),
        ({"optimizer": "adamw", "nesterov": True}, r"nesterov=True is for sgd, and the opt"),
        ({"optimizer": "adamw", "momentum": 0.5}, r"model\.optimization\.momentum=0\.5 is for sgd"),
        ({"frozen_bn": "all", "bn_batch": 4}, r"model\.batch_norm\.batch_size=4 has no effect"),
        (
            {"frozen_bn": "all", "bn_momentum": 0.3},
            r"model\.batch_norm\.momentum=0\.3 has no effect",
        ),
        ({"shift_div": 4}, r"tsn_tiny has no option shift_div; its options are dropout"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        BaselineModule("tsn_tiny", num_classes=8, **module_settings(BaselineModule, **arguments))


def test_every_network_has_one_module() -> None:
    modules = [CoSTModule, SELFYModule, StNetModule, STResNetModule, BaselineModule]
    families = [family for module in modules for family in module.families]
    assert sorted(families) == sorted({name.rpartition("_")[0] for name in list_models()})


@pytest.mark.parametrize(
    "module", [CoSTModule, SELFYModule, StNetModule, STResNetModule, BaselineModule]
)
def test_every_network_option_is_an_argument(module: type[VideoClassifier]) -> None:
    options: set[str] = set()
    for name, factory in MODELS.items():
        if name.rpartition("_")[0] in module.families:
            package, _, attribute = factory.partition(":")
            parameters = inspect.signature(getattr(import_module(package), attribute)).parameters
            options |= {p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
    general = set(inspect.signature(VideoClassifier).parameters)
    arguments = set(inspect.signature(module).parameters) - general - {"kwargs"}
    of_the_loss = {"joint_softmax"} if module is STResNetModule else set()
    assert arguments == (options - {"dropout"}) | of_the_loss


def test_command_line_shows_the_papers_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--model.help", "STResNetModule"])
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"Weight decay\. \(type: float, default: 0\.0005\)", shown)
    assert re.search(r"Decay biases\. \(type: bool, default: False\)", shown)
    assert re.search(r"--model\.optimization\.schedule .*default: cosine", shown)


def test_batch_is_normalised_a_few_videos_at_a_time(motion_root: Path) -> None:
    torch.manual_seed(0)
    module = BaselineModule(
        "tsn_tiny",
        num_classes=8,
        batch_norm=BatchNorm(batch_size=4),
        dropout=0.0,
        optimization=Optimization(lr=0.0),
    )
    data = data_of(motion_root, batch_size=8, flip_probability=0.0)
    trainer = Trainer(max_steps=1, limit_val_batches=0, enable_checkpointing=False, **QUIET)
    trainer.fit(module, data)
    reference = BaselineModule("tsn_tiny", num_classes=8, dropout=0.0).network
    weights = {
        n: p
        for n, p in module.network.state_dict().items()
        if n in dict(reference.named_parameters())
    }
    reference.load_state_dict(weights, strict=False)
    (batch,) = [data.on_after_batch_transfer(b, 0) for b in itertools.islice(loader_of(data), 1)]
    for half in batch["clips"][:, 0].split(4):
        reference(half)
    for name, value in reference.named_buffers():
        torch.testing.assert_close(module.network.get_buffer(name), value)


def loader_of(data: MotionShapesDataModule) -> Any:
    """The batches of the first epoch again."""
    data.trainer.fit_loop.epoch_progress.reset()  # type: ignore[union-attr]
    return data.train_dataloader()


def test_batch_that_cannot_be_divided_is_refused(motion_root: Path) -> None:
    module = BaselineModule("tsn_tiny", num_classes=8, batch_norm=BatchNorm(batch_size=3))
    trainer = Trainer(max_steps=1, enable_checkpointing=False, **QUIET)
    with pytest.raises(
        ValueError, match=r"16 videos cannot be divided .*model\.batch_norm\.batch_size=3"
    ):
        trainer.fit(module, data_of(motion_root))


@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")
def test_frozen_layers_stay_as_loaded(motion_root: Path) -> None:
    module = BaselineModule(
        "tsn_tiny",
        num_classes=8,
        batch_norm=BatchNorm(frozen="all"),
        optimization=Optimization(lr=0.1),
    )
    before = {name: value.clone() for name, value in module.network.state_dict().items()}
    trainer = Trainer(max_epochs=2, enable_checkpointing=False, **QUIET)
    trainer.fit(module, data_of(motion_root))
    changed = {n for n, v in module.network.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {n for n in before if "bn" not in n and "downsample.1" not in n}


@pytest.mark.parametrize("arguments", [{"frozen_bn": "all"}, {"bn_batch": 4}])
def test_synchronised_layers_are_not_controlled(arguments: dict[str, Any]) -> None:
    given = module_settings(BaselineModule, **arguments)
    module = BaselineModule("tsn_tiny", num_classes=8, **given)
    module.on_train_start()
    module.network = nn.SyncBatchNorm.convert_sync_batchnorm(module.network)
    with pytest.raises(ValueError, match=r"trainer\.sync_batchnorm=true would undo"):
        module.on_train_start()


def test_compiled_network_keeps_its_names(motion_root: Path) -> None:
    names, ends = [], []
    with torch.compiler.set_stance("force_eager"):
        for wanted in (False, True):
            torch.manual_seed(0)
            module = BaselineModule(
                "tsn_tiny", num_classes=8, compile=wanted, optimization=Optimization(ema_decay=0.9)
            )
            trainer = Trainer(max_steps=1, enable_checkpointing=False, **QUIET)
            trainer.fit(module, data_of(motion_root))
            assert (module.network._compiled_call_impl is not None) == wanted
            names.append(list(module.state_dict()))
            ends.append(module.network.fc.weight)
    assert names[0] == names[1]
    assert torch.equal(*ends)


@pytest.mark.slow
def test_compiled_and_checkpointed_network_trains_alike(motion_root: Path) -> None:
    ends = []
    for wanted in (False, True):
        torch.manual_seed(0)
        module = BaselineModule(
            "tsm_tiny", num_classes=8, compile=wanted, checkpoint_activations=wanted, dropout=0.0
        )
        trainer = Trainer(max_steps=2, enable_checkpointing=False, **QUIET)
        trainer.fit(module, data_of(motion_root))
        ends.append(module.network.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, atol=1e-4, rtol=1e-3, msg=name)


def test_missing_modality_is_named() -> None:
    module = STResNetModule("flow_stream_tiny", num_classes=8)
    with pytest.raises(ValueError, match="flow_stream_tiny needs flow, but the batches hold none"):
        module.inputs({"clips": torch.zeros(2, 1, 3, 2, 32, 32), "label": torch.zeros(2)})

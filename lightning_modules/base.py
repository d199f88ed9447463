"""VideoClassifier: the LightningModule from which every family derives.

B batch, V views (clips x crops of one video), C channels, T frames, H, W, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric

from datamodules import VideoBatch
from datamodules.annotations.label_form import LabelForm
from datamodules.data_spec import DataSpec
from datamodules.errors import UserError, as_user_error
from datamodules.plugins.described import Described, class_path_of, plain
from lightning_modules.labels.classes import Average, Classes
from lightning_modules.labels.heads import check_form, make_loss
from lightning_modules.labels.metrics import refuse_not_finite
from lightning_modules.resume.checkpoint_io import read_checkpoint
from lightning_modules.runs.origin import Origin
from lightning_modules.runs.versions import library_versions
from lightning_modules.training.arguments import (
    check_network_name,
    looked_up,
    plain_arguments,
    refuse_without_effect,
)
from lightning_modules.training.averaging import AveragedWeights
from lightning_modules.training.batch_norm import divide_batch, refuse_sync_batch_norm
from lightning_modules.training.checkpoint_content import check_content
from lightning_modules.training.frozen import Frozen, evaluate_trunk
from lightning_modules.training.initialization import build_network, initialize, prepare_network
from lightning_modules.training.length import count_steps, rate_scale, refuse_endless
from lightning_modules.training.loading import load_module
from lightning_modules.training.optim import (
    BatchNorm,
    Optimization,
    make_optimizer,
    make_scheduler,
)
from models import VideoNetwork, WeightReport

_BATCH_KEYS: Mapping[str, Literal["clips", "flow"]] = {"clip": "clips", "flow": "flow"}


class VideoClassifier(Described, LightningModule):
    """Training and evaluation of one network on batches of clips.

    A family lists its own network arguments and overrides at most `inputs` and `loss`.

    Args:
        network: Name in `models.list_models()`; `LIBRARY:NAME` of torchvision, timm or
            transformers; or the import path of a plugin's network.
        num_classes: Number of classes; linked from the data, never written in a config.
        class_names: Class names in label order; linked from the data, never written in a config.
        init_from: Weights to start a fit from: `imagenet` (torchvision's 2D weights), `library`
            (what the library of a `LIBRARY:NAME` network publishes), or the path of a 2D state dict
            or of another run's checkpoint (classes matched by name; also `hf://OWNER/NAME`), or a
            list of checkpoints that hold different parts, such as two streams. Read once, at the
            start of a fit that does not resume.
        dropout: Dropout before the classifier; the network's own default where null.
        classifier_std: Standard deviation of the classifier's first weights; the network's own
            where null. Those are small, for a trunk that is trained already; without one, 0.1.
        batch_norm: Training of batch normalization.
        frozen: `trunk` to train the classifier alone, on the features of a trunk that stays as it
            is, in evaluation mode (a linear probe); `none` to train all.
        compile: If True, a fit compiles the network with `torch.compile`.
        checkpoint_activations: If True, the inside of each residual block is computed again in the
            backward pass, to save memory; the gradients are the same.
        optimization: Optimizer, rate, decay, schedule, moving average.
        label_form: What a label is; linked from the data, never written in a config.
        loss: Loss of the training, called with logits (B, K) and labels (B,), or targets (B, K)
            where clips are mixed or videos may have several classes; null for cross-entropy, of
            any number of classes for binary cross-entropy.
        label_smoothing: Of cross-entropy: share of the target spread over all classes.
        metrics: Metrics of your own beside the accuracies, by name: updated with scores (N, K) and
            labels (N,), or marks of the classes (N, K), logged as `val/<name>` and `test/<name>`.
        average: What is made of the views of a video: the mean of their `probabilities` or
            `logits`, or, of any number of classes, the `maximum` of each one's probabilities.
        network_kwargs: Options of the network that no argument of the module stands for. Those that
            are null keep the network's own default.

    Attributes:
        data: Facts about the data, from `setup` on.
        origin: Where the weights come from, if they were loaded from a checkpoint.

    Raises:
        UserError: If the network does not belong to the family or an argument does not fit.
    """

    families: ClassVar[tuple[str, ...]] = ()
    """First parts of the network names (`<family>_<architecture>`) that the class trains."""

    def __init__(
        self,
        network: str,
        num_classes: int,
        class_names: Sequence[str] = (),
        label_form: dict[str, Any] | None = None,
        init_from: list[str] | str | None = None,
        dropout: float | None = None,
        classifier_std: float | None = None,
        batch_norm: BatchNorm = BatchNorm(),
        frozen: Frozen = "none",
        compile: bool = False,
        checkpoint_activations: bool = False,
        optimization: Optimization = Optimization(),
        loss: nn.Module | None = None,
        label_smoothing: float = 0.0,
        metrics: dict[str, Metric] | None = None,
        average: Average = "probabilities",
        network_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_network_name(network, self.families, type(self))
        refuse_without_effect(optimization, batch_norm, frozen, type(self))
        self.network_name = network
        options = {"dropout": dropout, **(network_kwargs or {})}
        self.network_options = {name: v for name, v in options.items() if v is not None}
        self.network: VideoNetwork = build_network(network, num_classes, self.network_options)
        self.network_options |= self.network.stored_options
        self.frozen = frozen
        prepare_network(self.network, batch_norm, checkpoint_activations, classifier_std, frozen)
        self.num_classes = num_classes
        form = LabelForm.of(label_form)
        self.classes = Classes(class_names, num_classes, form, average, metrics)
        self.criterion = make_loss(loss, label_smoothing, form, self.classes.columns)
        self.init_from = init_from
        self.batch_norm = batch_norm
        self.optimization = optimization
        self.compiles = compile
        self.data = DataSpec(tuple(class_names), label_form=form)
        self.input_spec: dict[str, Any] = {}
        self.protocol: dict[str, Any] = {}
        self.origin = Origin()
        self.has_weights = False
        self.views_at_once: int | None = None
        self._fits = False
        self._loaded: WeightReport | None = None
        self._stored_arguments: dict[str, Any] = {}

    def describe_as(self, arguments: Mapping[str, Any]) -> None:
        """Set the arguments that checkpoints and loggers store for this module.

        Done at the start of a fit with the arguments themselves, unless it was done before: by the
        command line, which knows them as the config has them, or by `open_checkpoint`.

        Args:
            arguments: Plain values, of which the module can be made again; the classes, which come
                from the data, need not be among them.

        Raises:
            UserError: If one is no plain value.
        """
        classes = {"num_classes": self.num_classes, "class_names": self.class_names}
        classes["label_form"] = self.label_form.as_dict()
        own = {name: value for name, value in classes.items() if name in self.given}
        own |= looked_up(self.network, arguments, self.given, type(self))
        self._stored_arguments = plain({**arguments, **own}, "model")
        self.save_hyperparameters(self._stored_arguments)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes in the order of the data, and of `view_logits`."""
        return self.classes.names

    @property
    def label_form(self) -> LabelForm:
        """Form of the labels: one class, several, or columns."""
        return self.classes.form

    @property
    def trainer(self) -> Trainer:
        """The trainer of the module; `fit` sets it before 1,000 epochs stand for none given."""
        return super().trainer

    @trainer.setter
    def trainer(self, trainer: Trainer | None) -> None:
        if trainer is not None and trainer.state.fn == "fit":
            refuse_endless(self.optimization, trainer.max_epochs, trainer.max_steps)
        vars(LightningModule)["trainer"].__set__(self, trainer)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen trunk stays in evaluation mode."""
        super().train(mode)
        if mode and self.frozen == "trunk":
            evaluate_trunk(self.network)
        return self

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the logits of normalized inputs, (B, K).

        Raises:
            UserError: If the network cannot take inputs of this shape.
        """
        with as_user_error():
            logits: Tensor = self.network(*inputs)
        return logits

    def inputs(self, batch: VideoBatch) -> tuple[Tensor, ...]:
        """Arrange a batch as inputs of the network, every view a sample of its own.

        Args:
            batch: A normalized batch, clips (B, V, C, T, H, W) and perhaps flow
                (B, V, 2L, T, H, W).

        Returns:
            The network's arguments, one tensor for each of its modalities, (B*V, C, T, H, W), with
            channels last in memory: networks run about 1.4 times faster so, and fold time away
            without a copy.

        Raises:
            UserError: If the batch lacks a modality.
        """
        views = []
        for modality in self.network.modalities:
            key = _BATCH_KEYS[modality]
            if key not in batch:
                raise UserError(
                    f"{self.network_name} needs {key}, but the batches hold none; set "
                    f"data.{key}, or choose another --model.network"
                )
            views.append(batch[key].flatten(0, 1).contiguous(memory_format=torch.channels_last_3d))
        return tuple(views)

    def loss(self, batch: VideoBatch) -> tuple[Tensor, Tensor]:
        """Compute the training loss of a batch.

        Returns:
            The loss, a scalar, and the logits it was taken from, (B, K).
        """
        logits = self(*self.inputs(batch)).float()
        return self.criterion(logits, self.target(batch)), logits

    def target(self, batch: VideoBatch) -> Tensor:
        """Return the target of the loss: labels (B,), or marks or mixed shares, (B, K) float32."""
        if "target" in batch:
            return batch["target"]
        return batch["label"] if self.label_form.is_single else batch["label"].float()

    def view_logits(self, batch: VideoBatch) -> Tensor:
        """Compute the logits of every view of every video, (B, V, K) float32.

        The classes are in the order of `class_names`, which may differ from that of the training.
        """
        num_videos = len(batch["label"])
        inputs = self.inputs(batch)
        at_once = self.views_at_once or len(inputs[0])
        parts = zip(*(torch.split(x, at_once) for x in inputs), strict=True)
        logits = torch.cat([self(*part) for part in parts]).float()
        logits = self.classes.in_data_order(logits)
        return logits.view(num_videos, -1, logits.shape[-1])

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch, log `train/loss`, count for the accuracy of the epoch."""
        if self.batch_norm.batch_size is not None:
            divide_batch(self.network, len(batch["label"]), self.batch_norm.batch_size)
        loss, logits = self.loss(batch)
        self.classes.train_metrics.update(logits.detach(), batch["label"])
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log `train/top1`: here, as an epoch may be resumed after its last batch."""
        self.log_dict(dict(self.classes.train_metrics.items()))

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Count clip accuracy and loss over the valid part of a batch."""
        logits = self.view_logits(batch)[batch["valid"]]
        labels = batch["label"][batch["valid"]]
        self.classes.count_validation(logits, labels)
        self.log("val/loss", self.classes.val_loss, on_epoch=True, prog_bar=True)
        self.log_dict(dict(self.classes.val_metrics.items()), on_epoch=True, prog_bar=True)

    def test_step(self, batch: VideoBatch, batch_idx: int) -> dict[str, Any]:
        """Count video accuracy over the valid part of a batch; hand the scores to the callbacks.

        Returns:
            `video_id` (list), `label` (N,) or (N, K), and `logits` (N, V, K) of the valid videos.

        Raises:
            UserError: If a score is not finite.
        """
        valid = batch["valid"]
        logits, labels = self.view_logits(batch)[valid], batch["label"][valid]
        ids = [name for name, keep in zip(batch["video_id"], valid.tolist(), strict=True) if keep]
        refuse_not_finite(logits, ids)
        self.classes.count_test(logits, labels)
        self.log_dict(dict(self.classes.test_metrics.items()), on_epoch=True)
        return {"video_id": ids, "label": labels.cpu(), "logits": logits.cpu()}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make the optimizer over parameter groups, and a schedule stepped with it."""
        self.data = self._ask_for_data_spec()  # a resumed run has its files of before only now
        settings, network = self.optimization, self.network
        scale = rate_scale(self.trainer, settings.reference_batch, self.data.batch_size)
        optimizer = make_optimizer(settings, network, network.classifiers, scale)
        steps = count_steps(self.trainer, self.data.batches_per_epoch)
        scheduler = make_scheduler(settings, optimizer, *steps)
        if isinstance(scheduler, ReduceLROnPlateau):
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"},
            }
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def configure_callbacks(self) -> list[Callback]:
        """Return the moving average of the weights, if one is wanted."""
        decay = self.optimization.ema_decay
        if decay is None or self.trainer.state.fn != "fit":
            return []
        return [AveragedWeights(decay=decay)]

    def setup(self, stage: str) -> None:
        """Take over the facts that a checkpoint stores of the data; read `init_from`; compile."""
        self.data = self._ask_for_data_spec()
        check_form(self.label_form, self.data.label_form)
        self._fits = stage == "fit"
        names = self.data.class_names
        trained = self.classes.of_logits if self.has_weights else []
        self.classes.name(names, trained or names, fits=self._fits)  # without names: the data's
        if self._fits:
            if not self._stored_arguments:
                self.describe_as(plain_arguments(self.given))
            self.input_spec = dict(self.data.input)
            cut = self.trainer.limit_val_batches != 1.0
            self.protocol = self.data.protocol(self.classes.average, cut)
            self._read_init_from()
            if self.compiles:
                self.compile_network()

    def _ask_for_data_spec(self) -> DataSpec:
        """Return the DataModule's own spec; the classes alone if it has no `data_spec`."""
        describe = getattr(getattr(self.trainer, "datamodule", None), "data_spec", None)
        spec = DataSpec(label_form=self.label_form) if describe is None else describe()
        assert isinstance(spec, DataSpec)
        return spec if spec.class_names else replace(spec, class_names=tuple(self.class_names))

    def compile_network(self) -> None:
        """Compile the network of a training step; keys of the state dict stay as they are."""
        self.network.compile()

    def _read_init_from(self) -> None:
        source = self.init_from
        if source is None:
            return
        if self.trainer.ckpt_path is not None:
            rank_zero_info(f"init_from={source} is not read: the run goes on from its checkpoint")
            return
        report = self._loaded or self.load_init_from(self.data)
        self._loaded = None  # another fit of this module reads them anew
        rank_zero_info(f"weights from {source}\n{report}")

    def load_init_from(self, data: DataSpec) -> WeightReport:
        """Load the starting weights ahead of the fit, whose `setup` then need not.

        Args:
            data: Classes and name of what the fit will train on.

        Returns:
            The use of every weight.

        Raises:
            UserError: If the weights cannot be had, do not fit, or have seen test videos.
        """
        assert self.init_from is not None
        self._loaded = initialize(self.network, self.init_from, data.class_names, data)
        return self._loaded

    def on_train_start(self) -> None:
        """Note that the classifier is no longer random, nor what a checkpoint held.

        Raises:
            UserError: If the trainer took layers away that the arguments set up.
        """
        refuse_sync_batch_norm(self.network, self.batch_norm)
        self.has_weights = True
        self.origin = Origin()

    def on_test_start(self) -> None:
        """Refuse to test a classifier that nothing was loaded into; limit the views at once.

        Raises:
            UserError: If neither a checkpoint was given nor a fit came before.
        """
        if not self.has_weights:
            raise UserError(
                "the classifier is random: nothing was trained or loaded; give the checkpoint to "
                "test with --ckpt_path"
            )
        self.views_at_once = self.data.batch_size
        self.classes.test_by_class.reset()  # of an earlier test of the same trainer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `predict`, `explain` and `export` need to work from the file alone."""
        checkpoint["module"] = class_path_of(type(self))
        checkpoint["hyper_parameters"] = self._stored_arguments
        checkpoint["network"] = {
            "name": self.network_name,
            "num_classes": self.num_classes,
            "options": plain(self.network_options, "model.network_kwargs"),
        }
        checkpoint["class_names"] = self.classes.of_logits
        checkpoint["label_form"] = self.label_form.as_dict()
        checkpoint["input_spec"] = self.input_spec
        checkpoint["protocol"] = self.protocol
        checkpoint["library_versions"] = library_versions()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the class names and the input specification from the file."""
        trained = list(checkpoint["class_names"])
        check_form(self.label_form, LabelForm.of(checkpoint.get("label_form")))
        self.classes.name(self.data.class_names or trained, trained, fits=self._fits)
        self.input_spec = dict(checkpoint["input_spec"])
        self.protocol = dict(checkpoint["protocol"])
        self.origin = Origin.of(checkpoint)
        self.has_weights = True

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, **arguments: Any
    ) -> Self:
        """Make the module of a checkpoint: of the family and with the options of its training.

        Lightning's own would make an instance of the class that it is called on.

        Args:
            checkpoint_path: A checkpoint of this project, a local file.
            **arguments: Arguments of the module to be changed.

        Raises:
            UserError: If the path is an address, is missing or is not such a checkpoint, if its
                class is part of a plugin that is not there, or not one of this class.
        """
        content = read_checkpoint(checkpoint_path)
        check_content(content, checkpoint_path)
        return load_module(content, cls, arguments)

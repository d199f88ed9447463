"""VideoClassifier: the one LightningModule that every family specialises.

B batch, V views (clips x crops of one video), C channels, T frames, H, W, K classes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from datamodules import VideoBatch, VideoDataModule
from datamodules.errors import UserError, as_user_error
from lightning_modules.runs.versions import library_versions
from lightning_modules.training.arguments import check_arguments
from lightning_modules.training.averaging import AveragedWeights
from lightning_modules.training.initialization import initialize, prepare_network
from lightning_modules.training.metrics import accuracy_metrics, confusion_matrix, mean_metric
from lightning_modules.training.optim import Schedule, lr_factor, parameter_groups
from models import VideoNetwork, get_model
from models.norm import split_batch_norm

Average = Literal["probabilities", "logits"]
FrozenNorms = Literal["none", "all", "all_but_first"]

_BATCH_KEYS: Mapping[str, Literal["clips", "flow"]] = {"clip": "clips", "flow": "flow"}


class VideoClassifier(LightningModule):
    """Trains and evaluates one network on batches of clips.

    A family lists its own network arguments and overrides at most `inputs` and `loss`.

    Args:
        network: Name in `models.list_models()`.
        num_classes: Number of classes; linked from the data, never written in a config.
        class_names: Class names in label order; linked from the data, never written in a config.
        init_from: Weights to start a fit from: `imagenet` (torchvision's 2D weights), or the path
            of a 2D state dict or of another run's checkpoint (classes matched by name), or a list
            of checkpoints that hold different parts, such as two streams. Read once, at the start
            of a fit that does not resume.
        dropout: Dropout before the classifier; the network's own default where null.
        frozen_bn: Batch normalization layers whose statistics and affine parameters stay as they
            are: `none`, `all`, or `all_but_first` (TSN's partial BN).
        bn_momentum: Weight of a new batch in the running statistics; torch's 0.1 where null.
        bn_batch: Videos whose activations are normalised together in training; null for the
            device's whole batch, which must else be a multiple of it.
        compile: Whether a fit compiles the network with `torch.compile`.
        checkpoint_activations: Whether the inside of each residual block is computed again in the
            backward pass, to save memory; the gradients are the same.
        optimizer: `sgd` or `adamw`.
        lr: Base learning rate, for `reference_batch` clips a step where that is given.
        reference_batch: Clips per optimizer step that `lr` is meant for; the rate is scaled by the
            batch really used (devices x batch size x accumulation). Null: `lr` as it is.
        momentum: Momentum of SGD.
        nesterov: Whether SGD uses Nesterov's form.
        weight_decay: Weight decay.
        schedule: `cosine`, `step` or `constant`, per optimizer step.
        milestones: Epochs at which `step` lowers the rate.
        gamma: Factor of each milestone.
        warmup_epochs: Length of the linear warm-up, in epochs.
        label_smoothing: Share of the target spread over all classes.
        bias_lr_multiplier: Factor on the learning rate of biases; those of normalization layers
            are not meant.
        norm_scale_lr_multiplier: Factor on the learning rate of the scales of normalization layers.
        head_lr_multiplier: Factor on the learning rate of the classifier.
        decay_bias: Whether biases decay.
        decay_norm: Whether the affine parameters of normalization layers decay.
        ema_decay: Decay per step of a moving average of weights and running statistics, which is
            then what is validated and tested; a checkpoint holds both. Null for none. Refused where
            the precision keeps weights in 16 bits.
        average: What is averaged over the views of a video: `probabilities` or `logits`.
        network_kwargs: Arguments of the network; filled by the family's own arguments. Those that
            are null keep the network's own default.

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
        init_from: list[str] | str | None = None,
        dropout: float | None = None,
        frozen_bn: FrozenNorms = "none",
        bn_momentum: float | None = None,
        bn_batch: int | None = None,
        compile: bool = False,
        checkpoint_activations: bool = False,
        optimizer: Literal["sgd", "adamw"] = "sgd",
        lr: float = 0.01,
        reference_batch: int | None = None,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 1e-4,
        schedule: Schedule = "cosine",
        milestones: Sequence[int] = (),
        gamma: float = 0.1,
        warmup_epochs: float = 0.0,
        label_smoothing: float = 0.0,
        bias_lr_multiplier: float = 1.0,
        norm_scale_lr_multiplier: float = 1.0,
        head_lr_multiplier: float = 1.0,
        decay_bias: bool = True,
        decay_norm: bool = True,
        ema_decay: float | None = None,
        average: Average = "probabilities",
        network_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["network_kwargs"])
        # linked from the data, so not among what the command line keeps for the checkpoint
        self.hparams["num_classes"] = num_classes
        self.hparams["class_names"] = list(class_names)
        check_arguments(self.hparams, self.families, type(self))
        options = {"dropout": dropout, **(network_kwargs or {})}
        given = {name: value for name, value in options.items() if value is not None}
        with as_user_error():
            self.network: VideoNetwork = get_model(network, num_classes, **given)
            prepare_network(self.network, self.hparams)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.class_names = list(class_names)
        self.input_spec: dict[str, Any] = {}
        self.protocol: dict[str, Any] = {}
        self.has_weights = False
        self.views_at_once: int | None = None
        self._build_metrics(num_classes)

    def _build_metrics(self, num_classes: int) -> None:
        self.train_metrics = accuracy_metrics(num_classes, "train/")
        self.val_metrics = accuracy_metrics(num_classes, "val/")
        self.test_metrics = accuracy_metrics(num_classes, "test/")
        self.val_loss = mean_metric()
        self.val_confusion = confusion_matrix(num_classes)
        self.test_confusion = confusion_matrix(num_classes)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits of normalized inputs, (B, K).

        Raises:
            UserError: If the network cannot take inputs of this shape.
        """
        with as_user_error():
            logits: Tensor = self.network(*inputs)
        return logits

    def inputs(self, batch: VideoBatch) -> tuple[Tensor, ...]:
        """What enters the network: every view as a sample of its own.

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
                    f"{self.hparams['network']} needs {key}, but the batches hold none; set "
                    f"data.{key}, or choose another --model.network"
                )
            views.append(batch[key].flatten(0, 1).contiguous(memory_format=torch.channels_last_3d))
        return tuple(views)

    def loss(self, batch: VideoBatch) -> tuple[Tensor, Tensor]:
        """Training loss of a batch.

        Returns:
            The loss, a scalar, and the logits it was taken from, (B, K).
        """
        logits = self(*self.inputs(batch)).float()
        return self.criterion(logits, self.target(batch)), logits

    def target(self, batch: VideoBatch) -> Tensor:
        """What the loss compares with: the mixed target, (B, K), where there is one, or (B,)."""
        return batch["target"] if "target" in batch else batch["label"]

    def view_logits(self, batch: VideoBatch) -> Tensor:
        """Logits of every view of every video, (B, V, K) float32."""
        num_videos = len(batch["label"])
        inputs = self.inputs(batch)
        at_once = self.views_at_once or len(inputs[0])
        parts = zip(*(torch.split(x, at_once) for x in inputs), strict=True)
        logits = torch.cat([self(*part) for part in parts]).float()
        return logits.view(num_videos, -1, logits.shape[-1])

    def video_scores(self, logits: Tensor) -> Tensor:
        """Average the views of each video, (B, V, K) -> (B, K), as `average` says."""
        views = logits.softmax(dim=-1) if self.hparams["average"] == "probabilities" else logits
        return views.mean(dim=1)

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """Loss of one batch; logs `train/loss`, and counts for the accuracy of the epoch."""
        if self.hparams["bn_batch"] is not None:
            self._divide_batch(len(batch["label"]))
        loss, logits = self.loss(batch)
        self.train_metrics.update(logits.detach(), batch["label"])
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log `train/top1`: here, as an epoch may be resumed after its last batch."""
        self.log_dict(dict(self.train_metrics.items()))

    def _divide_batch(self, num_videos: int) -> None:
        """Tell batch normalization how many videos it gets, to be normalised a few at a time."""
        together = self.hparams["bn_batch"]
        if num_videos % together:
            raise UserError(
                f"a batch of {num_videos} videos cannot be divided into groups of "
                f"model.bn_batch={together}; make data.batch_size a multiple of it"
            )
        split_batch_norm(self.network, num_videos // together)

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Clip accuracy and loss over the valid part of a batch."""
        logits = self.view_logits(batch)[batch["valid"]]
        labels = batch["label"][batch["valid"]]
        if len(labels):
            scores = self.video_scores(logits)
            losses = nn.functional.cross_entropy(
                logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1]), reduction="none"
            )
            self.val_loss.update(losses)
            self.val_metrics.update(scores, labels)
            self.val_confusion.update(scores, labels)
        self.log("val/loss", self.val_loss, on_epoch=True, prog_bar=True)
        self.log_dict(dict(self.val_metrics.items()), on_epoch=True, prog_bar=True)

    def test_step(self, batch: VideoBatch, batch_idx: int) -> dict[str, Any]:
        """Video accuracy over the valid part of a batch; hands the scores to the callbacks.

        Returns:
            `video_id` (list), `label` (N,) and `logits` (N, V, K) of the valid videos.
        """
        valid = batch["valid"]
        logits, labels = self.view_logits(batch)[valid], batch["label"][valid]
        if len(labels):
            self.test_metrics.update(self.video_scores(logits), labels)
            self.test_confusion.update(self.video_scores(logits), labels)
        self.log_dict(dict(self.test_metrics.items()), on_epoch=True)
        ids = [name for name, keep in zip(batch["video_id"], valid.tolist(), strict=True) if keep]
        return {"video_id": ids, "label": labels.cpu(), "logits": logits.cpu()}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Optimizer over parameter groups, and a schedule stepped with it."""
        hparams = self.hparams
        groups = parameter_groups(
            self.network,
            self._scaled_lr(),
            hparams["weight_decay"],
            classifiers=self.network.classifiers,
            bias_lr_multiplier=hparams["bias_lr_multiplier"],
            norm_scale_lr_multiplier=hparams["norm_scale_lr_multiplier"],
            head_lr_multiplier=hparams["head_lr_multiplier"],
            decay_bias=hparams["decay_bias"],
            decay_norm=hparams["decay_norm"],
        )
        optimizer: Optimizer
        if hparams["optimizer"] == "sgd":
            optimizer = SGD(groups, momentum=hparams["momentum"], nesterov=hparams["nesterov"])
        else:
            optimizer = AdamW(groups)
        total_steps, steps_per_epoch = self._count_steps()
        if math.isinf(total_steps) and hparams["schedule"] == "cosine":
            raise UserError(
                "the cosine schedule needs an end; set trainer.max_epochs or trainer.max_steps, or "
                "another model.schedule"
            )
        factor = lr_factor(
            hparams["schedule"],
            total_steps,
            steps_per_epoch,
            milestones=hparams["milestones"],
            gamma=hparams["gamma"],
            warmup_epochs=hparams["warmup_epochs"],
        )
        scheduler = LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def configure_callbacks(self) -> list[Callback]:
        """The moving average of the weights, where one is wanted."""
        decay = self.hparams["ema_decay"]
        if decay is None or self.trainer.state.fn != "fit":
            return []
        return [AveragedWeights(decay=decay)]

    def _count_steps(self) -> tuple[float, int]:
        """Optimizer steps of the whole training, and of one epoch.

        Lightning's own estimate starts the loader's workers, on a resumed run before the trainer
        knows its epoch: they would prepare clips of epoch 0.
        """
        trainer = self.trainer
        batches, limit = len(self.data_module.train_dataloader()), trainer.limit_train_batches
        used = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        per_epoch = max(1, math.ceil(used / trainer.accumulate_grad_batches))
        epochs = trainer.max_epochs
        total = math.inf if epochs is None or epochs < 0 else float(epochs * per_epoch)
        return (min(total, trainer.max_steps) if trainer.max_steps >= 0 else total), per_epoch

    def _scaled_lr(self) -> float:
        lr = float(self.hparams["lr"])
        reference = self.hparams["reference_batch"]
        if reference is None:
            return lr
        per_device = self.data_module.batch_size
        batch = per_device * self.trainer.world_size * self.trainer.accumulate_grad_batches
        return lr * batch / int(reference)

    @property
    def data_module(self) -> VideoDataModule:
        """The DataModule of the running trainer."""
        data: VideoDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        return data

    def setup(self, stage: str) -> None:
        """Take over what a checkpoint tells about the data; read `init_from`; compile."""
        if stage == "fit":
            self.class_names = list(self.data_module.class_names)
            self.input_spec = self.data_module.input_spec()
            self.protocol = {
                "dataset": self.data_module.dataset_name,
                "num_clips": self.data_module.num_clips,
                "num_crops": self.data_module.num_crops,
                "average": self.hparams["average"],
            }
            self._read_init_from()
            if self.hparams["compile"]:
                self.compile_network()

    def compile_network(self) -> None:
        """Compile what a training step calls; keys of the state dict stay as they are."""
        self.network.compile()

    def _read_init_from(self) -> None:
        source = self.hparams["init_from"]
        if source is None:
            return
        if self.trainer.ckpt_path is not None:
            rank_zero_info(f"init_from={source} is not read: the run goes on from its checkpoint")
            return
        report = initialize(self.network, source, self.class_names, self.data_module)
        rank_zero_info(f"weights from {source}\n{report}")

    def on_train_start(self) -> None:
        """From here on the classifier is no longer random.

        Raises:
            UserError: If the trainer took layers away that the arguments set up.
        """
        controlled = self.hparams["frozen_bn"] != "none" or self.hparams["bn_batch"] is not None
        if controlled and any(isinstance(m, nn.SyncBatchNorm) for m in self.network.modules()):
            raise UserError(
                "trainer.sync_batchnorm=true would undo model.frozen_bn and model.bn_batch; leave "
                "it false, or give neither"
            )
        self.has_weights = True

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
        self.views_at_once = self.data_module.batch_size

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `predict`, `explain` and `export` need to work from the file alone."""
        checkpoint["module_class"] = f"{type(self).__module__}.{type(self).__name__}"
        checkpoint["class_names"] = self.class_names
        checkpoint["input_spec"] = self.input_spec
        checkpoint["protocol"] = self.protocol
        checkpoint["library_versions"] = library_versions()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the class names and the input specification from the file."""
        self.class_names = list(checkpoint["class_names"])
        self.input_spec = dict(checkpoint["input_spec"])
        self.protocol = dict(checkpoint["protocol"])
        self.has_weights = True

"""The protocol of a test: everything a reader needs to know to compare its number."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from lightning.pytorch import Trainer
from torch import Tensor

from datamodules import VideoDataModule
from datamodules.clips.crops import NumCrops, count_crops, count_mirrored
from datamodules.clips.input_spec import Normalization
from datamodules.plugins.described import class_path_of, plain
from lightning_modules.base import VideoClassifier
from lightning_modules.runs.versions import code_commit, library_versions
from lightning_modules.training.arguments import plain_arguments
from models import count_macs
from models.weights_file import digest_of_tensors

_ELSEWHERE = ("num_classes", "class_names", "label_form", "average")
"""Arguments of a module that stand elsewhere in a score file; the average may be another."""


@dataclass(frozen=True)
class Protocol:
    """The protocol of a test. No two tests that may give other scores have an equal one.

    Attributes:
        dataset: The dataset and its version, label set or official split.
        split: The videos that were tested: `test`, or what was tested in its place.
        videos_used: Videos that were scored.
        videos_listed: Videos that the annotation lists.
        video_list: Digest of the listed videos, their classes, segments and groups.
        chosen_on_these: True if the checkpoint was chosen as the best on the listed videos.
        missing: Video ids whose file was not found.
        broken: Video id and reason of each file that could not be read.
        data_root: Folder of the videos.
        flow_input: What flow was read, and from where; None for none.
        sampling: Frames x stride, or segments.
        num_clips: Clips of each video.
        num_crops: Crops of each clip.
        never_mirrored: Classes that training shows in no mirror; no view is a mirror image then.
        mirror_pairs: Classes that training mirrors with the label of the other; likewise.
        probe: Change of the clips; None for a plain test.
        probe_seed: Seed of what the change draws; None for a plain test.
        size: Side of a crop in pixels; of the whole frame its short side, which the multiply-adds
            are then counted for as if it were square.
        label_form: What a label is: `LabelForm.as_dict()`.
        average: What is made of the views: the mean of `probabilities` or `logits`, or `maximum`.
        precision: Precision of the arithmetic.
        network: Name of the network.
        network_options: Its options that were given.
        module: Class of the module that it was trained by.
        arguments: Arguments of the module, as it was trained.
        input: Sampling, crops, normalization and flow of the test.
        weights: Digest of the network's weights.
        step: Optimizer steps behind them; None where that is not known, as below.
        epoch: Epoch that they were saved in, from 0 on.
        chosen: How they were chosen: `last`, or `best` and what was the best.
        chosen_on: The videos that the best was the best on: their number and digest, and whether
            only a part of them was validated.
        run: Id of the run, and its name and version.
        seed: Seed of the run.
        trained_on: The dataset and the clips of the training.
        trained_with: Library versions of the training.
        logits_dtype: Precision that the logits are stored in.
        macs: Multiply-adds of one view.
        commit: Commit of this code.
        versions: Library versions.
    """

    dataset: str
    split: str
    videos_used: int
    videos_listed: int
    video_list: str
    chosen_on_these: bool
    missing: list[str]
    broken: list[tuple[str, str]]
    data_root: str
    flow_input: dict[str, Any] | None
    sampling: str
    num_clips: int
    num_crops: NumCrops
    never_mirrored: list[str]
    mirror_pairs: list[tuple[str, str]]
    probe: str | None
    probe_seed: int | None
    size: int
    label_form: dict[str, Any]
    average: str
    precision: str
    network: str
    network_options: dict[str, Any]
    module: str
    arguments: dict[str, Any]
    input: dict[str, Any]
    weights: str
    step: int | None
    epoch: int | None
    chosen: str | None
    chosen_on: dict[str, Any]
    run: dict[str, Any]
    seed: int | None
    trained_on: dict[str, Any]
    trained_with: dict[str, str]
    logits_dtype: str
    macs: int
    commit: str
    versions: dict[str, str]

    def as_json(self) -> str:
        """Write it as JSON."""
        return json.dumps(asdict(self))

    @property
    def digest(self) -> str:
        """The test in 8 hexadecimal digits."""
        return digest_of(asdict(self))

    def __str__(self) -> str:
        views = self.num_clips * count_crops(self.num_crops)
        mirrored = count_mirrored(self.num_crops)
        return (
            f"{self.network} ({self._origin()}) on {self.dataset} {self.split}, "
            f"{self.videos_used} / {self.videos_listed} videos, {self.sampling}, "
            f"{self.num_clips} clip(s) x {self.num_crops} crop(s)"
            f"{f', {mirrored} of them mirrored' if mirrored else ''} ({self._joined()}), "
            f"{f'probe {self.probe}, ' if self.probe else ''}"
            f"{self._pixels()}, {self.precision}, {self.macs / 1e9:.3f} GMACs x {views}, "
            f"commit {self.commit}, test {self.digest}"
        )

    def _joined(self) -> str:
        """Write what is made of the views."""
        if self.average == "maximum":
            return "the highest of each class's probabilities"
        return f"{self.average} averaged"

    def _origin(self) -> str:
        """Write where the weights come from, in a few words."""
        chosen = self.chosen or "chosen in an unknown way"
        if "videos" in self.chosen_on:
            part = "a part of " if self.chosen_on.get("in_part") else ""
            these = "these" if self.chosen_on_these else "validation"
            chosen += f" of {part}{self.chosen_on['videos']} {these} videos"
        known = {"step": self.step, "run": self.run.get("name"), "seed": self.seed}
        parts = [f"{name} {value}" for name, value in known.items() if value is not None]
        return ", ".join([chosen, *parts, f"weights {self.weights[:8]}"])

    def _pixels(self) -> str:
        """Write the size of the clips, and scale of colours and videos where they are unusual."""
        text = f"{self.size} px of short side {self.input['crops']['short_side']}"
        usual = plain(Normalization(), "normalization")
        scale = self.input["normalization"]
        if scale != usual:
            text += f", mean {scale['mean']}, std {scale['std']}"
        made = self.input.get("transcoded")
        if made:
            text += f", videos transcoded to a short side of {made['short_side']}"
            text += f" at quality {made['quality']}"
        return text


def digest_of(protocol: Mapping[str, Any]) -> str:
    """Digest a protocol, as a score file holds it, in 8 hexadecimal digits."""
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:8]


def digest_of_weights(state: Mapping[str, Tensor]) -> str:
    """Digest the network's weights in a module's state dict, in 16 hexadecimal digits."""
    return digest_of_tensors({k: v for k, v in state.items() if k.startswith("network.")})


def describe_protocol(
    trainer: Trainer,
    module: VideoClassifier,
    data: VideoDataModule,
    scores: Mapping[str, Any],
    weights: str,
) -> Protocol:
    """Describe the test that a trainer has just run.

    Args:
        trainer: Trainer that ran it.
        module: Module that was tested.
        data: Data that it was tested on.
        scores: What came out, as it is to be stored: `video_ids`, `logits`, and `broken`, id and
            reason of each file that could not be read.
        weights: Digest of the network's weights.
    """
    spec, classes, origin = data.spec, data.mirrored_classes, module.origin
    size = spec.crops.side if data.evaluation.whole_frames else spec.crops.crop_size
    arguments = dict(module.hparams) or plain_arguments(module.given)
    listed = data.test_set.table.digest
    return Protocol(
        dataset=data.dataset_name,
        split=data.test_split_name,
        videos_used=len(scores["video_ids"]),
        videos_listed=len(data.test_set),
        video_list=_digest_of_list(data),
        chosen_on_these=origin.chosen_on.get("list") == listed,
        missing=data.test_set.missing,
        broken=scores["broken"],
        data_root=plain(data.place, "data.root"),
        flow_input=plain(data.flow, "data.flow"),
        sampling=spec.sampling.describe(),
        num_clips=data.evaluation.num_clips,
        num_crops=data.evaluation.num_crops,
        never_mirrored=list(classes.never_mirrored),
        mirror_pairs=list(classes.mirror_pairs),
        probe=None if data.probe is None else str(data.probe),
        probe_seed=None if data.probe is None else data.evaluation.probe_seed,
        size=size,
        label_form=module.label_form.as_dict(),
        average=module.classes.average,
        precision=str(trainer.precision),
        network=module.network_name,
        network_options=plain(module.network_options, "model.network_kwargs"),
        module=class_path_of(type(module)),
        arguments={k: v for k, v in arguments.items() if k not in _ELSEWHERE},
        input=dict(data.input_spec()),
        weights=weights,
        step=origin.step,
        epoch=origin.epoch,
        chosen=origin.chosen,
        chosen_on=origin.chosen_on,
        run=origin.run,
        seed=origin.seed,
        trained_on=origin.trained_on,
        trained_with=origin.versions,
        logits_dtype=np.dtype(scores["logits"].dtype).name,
        macs=count_macs(module.network, spec.sampling.test_len, size),
        commit=code_commit(),
        versions=library_versions(),
    )


def _digest_of_list(data: VideoDataModule) -> str:
    """Digest the listed test videos, in 16 hexadecimal digits."""
    hashed = hashlib.sha256(data.test_set.table.digest.encode())
    for part in data.test_set.groups.arrays:
        hashed.update(np.ascontiguousarray(part).data)
    return hashed.hexdigest()[:16]

"""The protocol of a test: everything a reader needs to know to compare its number."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import torch
from lightning.pytorch import Trainer

from datamodules import VideoDataModule
from datamodules.clips.crops import NumCrops, count_crops, count_mirrored
from datamodules.plugins.described import class_path_of, plain
from lightning_modules.base import VideoClassifier
from lightning_modules.runs.versions import code_commit, library_versions
from models import count_macs


@dataclass(frozen=True)
class Protocol:
    """The protocol of a test.

    Attributes:
        dataset: The dataset and its version, label set or official split.
        split: Split that was tested.
        videos_used: Videos that were scored.
        videos_listed: Videos that the annotation lists.
        missing: Video ids whose file was not found.
        broken: Video id and reason of each file that could not be read.
        sampling: Frames x stride, or segments.
        num_clips: Clips of each video.
        num_crops: Crops of each clip.
        never_mirrored: Classes that training shows in no mirror; no view is a mirror image then.
        mirror_pairs: Classes that training mirrors with the label of the other; likewise.
        probe: Change of the clips; None for a plain test.
        probe_seed: Seed of what the change draws; None for a plain test.
        size: Side of a crop in pixels; of the whole frame its short side, which the multiply-adds
            are then counted for as if it were square.
        average: Quantity that is averaged over views: `probabilities` or `logits`.
        precision: Precision of the arithmetic.
        weights: Digest of the weights.
        network: Name of the network.
        network_options: Its options that were given.
        module: Class of the module that it was trained by.
        input: Sampling, crops, normalization and flow, as the checkpoint describes them.
        macs: Multiply-adds of one view.
        commit: Commit of this code.
        versions: Library versions.
    """

    dataset: str
    split: str
    videos_used: int
    videos_listed: int
    missing: list[str]
    broken: list[tuple[str, str]]
    sampling: str
    num_clips: int
    num_crops: NumCrops
    never_mirrored: list[str]
    mirror_pairs: list[tuple[str, str]]
    probe: str | None
    probe_seed: int | None
    size: int
    average: str
    precision: str
    weights: str
    network: str
    network_options: dict[str, Any]
    module: str
    input: dict[str, Any]
    macs: int
    commit: str
    versions: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Describe it in plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        views = self.num_clips * count_crops(self.num_crops)
        mirrored = count_mirrored(self.num_crops)
        return (
            f"{self.network} on {self.dataset} {self.split}, "
            f"{self.videos_used} / {self.videos_listed} videos, {self.sampling}, "
            f"{self.num_clips} clip(s) x {self.num_crops} crop(s)"
            f"{f', {mirrored} of them mirrored' if mirrored else ''} ({self.average} averaged), "
            f"{f'probe {self.probe}, ' if self.probe else ''}"
            f"{self.size} px, {self.precision}, {self.macs / 1e9:.3f} GMACs x {views}, "
            f"commit {self.commit}"
        )


def describe_protocol(
    trainer: Trainer,
    module: VideoClassifier,
    data: VideoDataModule,
    videos_used: int,
    broken: list[tuple[str, str]],
) -> Protocol:
    """Describe the test that a trainer has just run.

    Args:
        trainer: Trainer that ran it.
        module: Module that was tested.
        data: Data that it was tested on.
        videos_used: Videos that were scored.
        broken: Video id and reason of each file that could not be read.
    """
    spec, classes = data.spec, data.mirrored_classes
    size = spec.crops.side if data.evaluation.whole_frames else spec.crops.crop_size
    return Protocol(
        dataset=data.dataset_name,
        split="test",
        videos_used=videos_used,
        videos_listed=len(data.test_set),
        missing=data.test_set.missing,
        broken=broken,
        sampling=spec.sampling.describe(),
        num_clips=data.evaluation.num_clips,
        num_crops=data.evaluation.num_crops,
        never_mirrored=list(classes.never_mirrored),
        mirror_pairs=list(classes.mirror_pairs),
        probe=None if data.probe is None else str(data.probe),
        probe_seed=None if data.probe is None else data.evaluation.probe_seed,
        size=size,
        average=module.average,
        precision=str(trainer.precision),
        weights=_digest_of(module),
        network=module.network_name,
        network_options=plain(module.network_options, "model.network_kwargs"),
        module=class_path_of(type(module)),
        input=dict(data.input_spec()),
        macs=count_macs(module.network, spec.sampling.test_len, size),
        commit=code_commit(),
        versions=library_versions(),
    )


def _digest_of(module: VideoClassifier) -> str:
    """Digest the network's weights and statistics by name, 16 hex digits."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(module.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()

"""Real clips that an exported file is held against."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.annotations.table import PackedStrings, VideoTable
from datamodules.clips.input_spec import InputSpec
from datamodules.dataset import VideoDataset
from datamodules.errors import UserError
from datamodules.flow.methods import FlowMethodName, make_flow_method
from datamodules.flow.sources import ComputedFlow
from lightning_modules.base import VideoClassifier


def read_clips(module: VideoClassifier, videos: Sequence[str]) -> tuple[Tensor, ...]:
    """Read the middle clip of each video, as an evaluation cuts it.

    Args:
        module: The trained module.
        videos: Paths of videos.

    Returns:
        For each modality of the network, (B, C, T, H, W) uint8.

    Raises:
        UserError: If none is given, one cannot be read, or flow cannot be computed.
    """
    if not videos:
        raise UserError(
            "no video is given to hold the exported file against the network on; name one or more "
            "behind the options"
        )
    paths = PackedStrings(list(videos))
    count = len(videos)
    table = VideoTable(paths, paths, np.zeros(count, np.int64), np.arange(count))
    spec = InputSpec.from_dict(module.input_spec)
    dataset = VideoDataset(table, Path(), spec, train=False, flow=_flow(module, spec))
    items = [dataset[index] for index in range(count)]
    for item in items:
        for video, reason in item["broken"]:
            raise UserError(f"{video} cannot be read ({reason}); give other videos to check with")
    views = {"clip": [item["clips"] for item in items]}
    if "flow" in module.network.modalities:
        views["flow"] = [item["flow"] for item in items]
    return tuple(torch.cat(views[name]) for name in module.network.modalities)


def _flow(module: VideoClassifier, spec: InputSpec) -> ComputedFlow | None:
    if "flow" not in module.network.modalities:
        return None
    assert spec.flow is not None, "a network of flow was trained on flow"
    # any flow shows whether two computations are equal
    method: FlowMethodName = "tvl1" if spec.flow.method == "tvl1" else "dis"
    make_flow_method(method)  # where OpenCV is missing, it is better said before a video is read
    side = spec.flow.short_side or spec.crops.side
    return ComputedFlow(Path(), replace(spec.flow, method=method, short_side=side))

"""Real clips that an exported file is held against."""

from collections.abc import Sequence

import torch
from torch import Tensor

from datamodules.clips.input_spec import InputSpec
from datamodules.errors import UserError
from datamodules.flow.methods import FlowMethodName
from lightning_modules.base import VideoClassifier
from lightning_modules.console import say
from lightning_modules.prediction.inputs import FLOW_METHODS, NetworkInput


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
    flow = InputSpec.from_dict(module.input_spec).flow
    # any flow shows whether two computations are equal
    method: FlowMethodName | None = None if flow is None or flow.method in FLOW_METHODS else "dis"
    shown = NetworkInput.of(module, num_clips=1, num_crops=1, flow_method=method, say=say)
    views: dict[str, list[Tensor]] = {"clip": [], "flow": []}
    for batch in shown.loader(list(videos), batch_size=1, num_workers=0):
        for video, reason in batch["broken"]:
            raise UserError(f"{video} cannot be read ({reason}); give other videos to check with")
        views["clip"].append(batch["clips"].flatten(0, 1))
        if "flow" in batch:
            views["flow"].append(batch["flow"].flatten(0, 1))
    return tuple(torch.cat(views[name]) for name in module.network.modalities)

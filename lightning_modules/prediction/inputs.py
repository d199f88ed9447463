"""The input of a trained network: the views of a whole video, or of windows that slide over it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from datamodules.annotations.table import PackedStrings, VideoTable
from datamodules.augmentation.mirrors import refuse_mirrored_views, told_by_names
from datamodules.augmentation.pipeline import Augmentation
from datamodules.batch import collate_videos
from datamodules.clips.crops import NumCrops, count_mirrored
from datamodules.clips.input_spec import FlowSpec, InputSpec
from datamodules.dataset import VideoDataset
from datamodules.errors import UserError
from datamodules.flow.methods import FlowMethodName, make_flow_method
from datamodules.flow.sources import ComputedFlow
from datamodules.plugins.described import rebuild
from datamodules.samplers import EvaluationSampler
from datamodules.storage.source import Here
from datamodules.streaming.sliding import WindowViews
from datamodules.streaming.sources import FrameSource
from datamodules.streaming.windows import Spacing, WindowGrid
from datamodules.video.errors import VideoError
from lightning_modules.base import VideoClassifier

__all__ = ["FLOW_METHODS", "FLOW_METHOD_HELP", "NetworkInput"]

FLOW_METHODS: tuple[FlowMethodName, ...] = ("tvl1", "dis")
"""Methods that need nothing but the frames."""

FLOW_METHOD_HELP = "how two-stream networks' optical flow is computed (as in the training)"
"""What `--flow_method` of the tools says."""


@dataclass(frozen=True)
class NetworkInput:
    """The views that a network is shown, of a whole video or of each window.

    Attributes:
        spec: Sampling and crops, as the checkpoint has them.
        num_clips: Clips of a video or window.
        num_crops: Crops of a clip.
        spacing: Length and distance of windows; None for the whole video.
        flow: How flow is computed; None for a network without.
    """

    spec: InputSpec
    num_clips: int
    num_crops: NumCrops
    spacing: Spacing | None = None
    flow: FlowSpec | None = None

    @classmethod
    def of(
        cls,
        module: VideoClassifier,
        spacing: Spacing | None = None,
        *,
        num_clips: int | None = None,
        num_crops: NumCrops | None = None,
        flow_method: FlowMethodName | None = None,
        say: Callable[[str], None],
    ) -> "NetworkInput":
        """Choose the input as the checkpoint and a user say.

        Args:
            module: The trained module.
            spacing: See the class.
            num_clips: Clips; None for those of the test protocol, of a window for one.
            num_crops: Crops; None for those of the test protocol, of a window for the centre.
            flow_method: How a two-stream network's flow is computed; None for as in the training.
            say: Writes a line about what differs from the training.

        Raises:
            UserError: If that cannot be done with this network.
        """
        spec = InputSpec.from_dict(module.input_spec)
        usual: dict[str, Any] = {"num_clips": 1, "num_crops": 1} if spacing else module.protocol
        crops: NumCrops = num_crops or usual["num_crops"]
        spec.crops.check_crops(crops)
        if count_mirrored(crops) and spec.augmentation is not None:
            trained = rebuild(spec.augmentation, Augmentation)
            classes = trained.mirrored(told_by_names(module.class_names))
            refuse_mirrored_views(f"--num_crops {crops}", classes)
        flow = _flow(module, spec, flow_method, say)
        return cls(spec, num_clips or usual["num_clips"], crops, spacing, flow)

    @property
    def is_whole_frames(self) -> bool:
        """True if views are as large as the frames, so that two videos fit in no batch."""
        return self.num_crops in ("full", "full_flip")

    def loader(self, paths: list[str], batch_size: int, num_workers: int) -> DataLoader[Any]:
        """Make the batches of whole videos, which are those of a test.

        Args:
            paths: The videos.
            batch_size: Videos of a batch.
            num_workers: Decoding processes.
        """
        table = VideoTable(
            video_ids=PackedStrings(paths),
            paths=PackedStrings(paths),
            labels=np.zeros(len(paths), dtype=np.int64),
            present=np.arange(len(paths)),
        )
        dataset = VideoDataset(
            table,
            Here(),
            self.spec,
            train=False,
            num_clips=self.num_clips,
            num_crops=self.num_crops,
            flow=None if self.flow is None else ComputedFlow(Here(), self.flow),
        )
        return DataLoader(
            dataset,
            batch_size=1 if self.is_whole_frames else batch_size,
            sampler=EvaluationSampler(table.present),
            num_workers=num_workers,
            collate_fn=collate_videos,
        )

    @property
    def views(self) -> WindowViews:
        """The settings of what is made of the frames of a window."""
        return WindowViews(self.spec.crops, self.num_crops, self.flow)

    def windows(self, source: FrameSource, *, to_the_end: bool = True) -> WindowGrid:
        """Lay windows over a source; one over all of it where no spacing is given.

        Args:
            source: The frames.
            to_the_end: Whether one more window ends with the video, if the last one does not.

        Raises:
            UserError: If a length does not fit, or a source without end is to be taken whole.
            VideoError: If the source has a single frame, of which there is no flow.
        """
        if self.spacing is not None:
            lengths = self.spacing.in_frames(source.frame_rate, self.spec.sampling)
        elif source.num_frames is not None:
            lengths = source.num_frames, source.num_frames
        else:
            raise UserError(
                f"{source.name} has no end, so it needs windows; give window, such as 2"
            )
        if self.flow is not None and min(lengths[0], source.num_frames or lengths[0]) < 2:
            raise VideoError(source.name, "no frames", "a single frame, flow needs two")
        return WindowGrid.of(
            self.spec.sampling,
            lengths,
            num_frames=source.num_frames,
            frame_rate=source.frame_rate,
            num_clips=self.num_clips,
            flow_length=None if self.flow is None else self.flow.length,
            to_the_end=to_the_end,
        )


def _flow(
    module: VideoClassifier,
    spec: InputSpec,
    wanted: FlowMethodName | None,
    say: Callable[[str], None],
) -> FlowSpec | None:
    """Choose the flow that a network needs, made as in its training or as asked."""
    if "flow" not in module.network.modalities:
        if wanted is not None:
            raise UserError(
                f"--flow_method {wanted} has no meaning for {module.network_name}, which "
                "takes frames alone; leave it out"
            )
        return None
    assert spec.flow is not None, "a network of flow was trained on flow"
    method = wanted or spec.flow.method
    if method not in FLOW_METHODS:
        raise UserError(
            f"the checkpoint was trained on flow of the method {method}, which cannot be computed "
            f"from a video here; give --flow_method dis or tvl1 for flow that comes near"
        )
    if method != spec.flow.method:
        say(f"note: trained on flow of {spec.flow.method}, here it is computed by {method}")
    make_flow_method(method)  # where OpenCV is missing, it is better said before any video is read
    side = spec.flow.short_side or spec.crops.side
    return replace(spec.flow, method=method, short_side=side)

"""Report of a test beside its scores: the table of videos, their page, and both for W&B."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from datamodules import VideoDataModule
from datamodules.annotations.label_form import LabelForm
from datamodules.clips.crops import count_crops
from lightning_modules.dashboards.items import Clip, Item, Table
from lightning_modules.dashboards.wandb_beside import RecordedTest
from lightning_modules.evaluation.protocol import Protocol
from lightning_modules.evaluation.result_files import ResultFiles
from lightning_modules.evaluation.stored_scores import read_scores
from lightning_modules.reports.classes import items_of_classes
from lightning_modules.reports.test_page import (
    Frames,
    confusion_section,
    precision_section,
    worst_frames,
    write_page,
)
from lightning_modules.reports.video_table import (
    ScoredVideo,
    headings,
    paths_below,
    row_of,
    worst_first,
    write_videos,
)


@dataclass(frozen=True)
class ReportedTest:
    """The videos of a test.

    Attributes:
        files: The files of the test.
        protocol: Its protocol.
        videos: The videos, the worst first.
        frames: Frames of the worst ones, by name.
        class_names: Names of the K classes.
    """

    files: ResultFiles
    protocol: Protocol
    videos: Sequence[ScoredVideo]
    frames: dict[str, Frames]
    class_names: Sequence[str]

    def record(
        self, figures: Mapping[str, float], by_class: Tensor, checkpoint: Path
    ) -> RecordedTest:
        """Describe the test for W&B.

        Args:
            figures: Its results by name.
            by_class: What it tells of each class, see `class_metric`.
            checkpoint: The checkpoint that was tested.
        """
        form = LabelForm.of(self.protocol.label_form)
        metrics = {**figures, "loss": float(np.mean([video.loss for video in self.videos]))}
        items: dict[str, Item] = {
            "videos": Table(headings(self.videos), [row_of(video) for video in self.videos]),
            **items_of_classes(self.files.confusion, form, self.class_names, by_class),
        }
        if self.frames:
            items["worst"] = self._worst()
        protocol = asdict(self.protocol)
        return RecordedTest(
            self.files.stem, metrics, protocol, items, checkpoint, self.files.scores
        )

    def _worst(self) -> Table:
        """List the worst videos with their middle clip, which can be played."""
        columns = ["clip", "video_id", "truth", "answer", "probability", "loss", "path"]
        rows: list[list[str | float | Clip]] = []
        for video in self.videos:
            if video.video_id in self.frames:
                answer, share = video.answers[0]
                words = "taken for" if len(video.truths) == 1 else "likeliest"
                clip = Clip(self.frames[video.video_id], f"{video.truth}, {words} {answer}")
                rows.append(
                    [
                        clip,
                        *(video.video_id, video.truth, answer),
                        *(round(share, 6), round(video.loss, 6)),
                        video.path,
                    ]
                )
        return Table(columns, rows)


def write_report(
    files: ResultFiles, data: VideoDataModule, protocol: Protocol, said: str, by_class: Tensor
) -> ReportedTest:
    """Write the table of videos and the page of a test whose scores are written.

    Args:
        files: The files of the test.
        data: Data of the test.
        protocol: Its protocol.
        said: Its results in a sentence.
        by_class: What it tells of each class, see `class_metric`.
    """
    stored, table = read_scores(files.scores), data.test_set.table
    videos = worst_first(stored, paths_below(data.store, table.video_ids, table.paths))
    write_videos(files.videos, videos)
    frames = worst_frames(videos, data.test_set, count_crops(data.evaluation.num_crops))
    if stored.form.kind == "multi":
        classes = precision_section(by_class.numpy(), stored.class_names)
    else:
        classes = confusion_section(by_class.numpy().astype(np.int64), stored.class_names)
    write_page(files.page, str(protocol), said, classes, videos, frames)
    return ReportedTest(files, protocol, videos, frames, stored.class_names)

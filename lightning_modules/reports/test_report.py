"""Report of a test beside its scores: the table of videos, their page, and both for W&B."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from torch import Tensor

from datamodules import VideoDataModule
from datamodules.clips.crops import count_crops
from lightning_modules.evaluation.protocol import Protocol
from lightning_modules.evaluation.result_files import ResultFiles
from lightning_modules.evaluation.stored_scores import read_scores
from lightning_modules.reports.test_page import Frames, worst_frames, write_page
from lightning_modules.reports.video_table import (
    ScoredVideo,
    headings,
    paths_below,
    row_of,
    worst_first,
    write_videos,
)
from lightning_modules.runs.wandb_tests import RecordedTest
from lightning_modules.training.metrics import per_class_accuracy


@dataclass(frozen=True)
class ReportedTest:
    """The videos of a test.

    Attributes:
        files: The files of the test.
        protocol: Its protocol.
        videos: The videos, the worst first.
        frames: Frames of the worst ones, by name.
    """

    files: ResultFiles
    protocol: Protocol
    videos: Sequence[ScoredVideo]
    frames: dict[str, Frames]

    def record(self, confusion: Tensor) -> RecordedTest:
        """Describe the test for W&B.

        Args:
            confusion: Counts, (K, K), true class in rows.
        """
        worst = [
            (_caption(video), np.concatenate([*self.frames[video.video_id]], axis=1))
            for video in self.videos
            if video.video_id in self.frames
        ]
        metrics = {
            "top1": float(confusion.trace() / confusion.sum()),
            "mean_class": float(per_class_accuracy(confusion).nanmean()),
            "loss": float(np.mean([video.loss for video in self.videos])),
        }
        protocol, picture = asdict(self.protocol), self.files.confusion
        columns, rows = headings(self.videos), [row_of(video) for video in self.videos]
        return RecordedTest(self.files.stem, metrics, protocol, columns, rows, picture, worst)


def write_report(
    files: ResultFiles, data: VideoDataModule, protocol: Protocol, confusion: Tensor
) -> ReportedTest:
    """Write the table of videos and the page of a test whose scores are written.

    Args:
        files: The files of the test.
        data: Data of the test.
        protocol: Its protocol.
        confusion: Counts, (K, K), true class in rows.
    """
    stored, table = read_scores(files.scores), data.test_set.table
    videos = worst_first(stored, paths_below(data.root, table.video_ids, table.paths))
    write_videos(files.videos, videos)
    frames = worst_frames(videos, data.test_set, count_crops(data.evaluation.num_crops))
    counts = confusion.numpy().astype(np.int64)
    write_page(files.page, str(protocol), counts, stored.class_names, videos, frames)
    return ReportedTest(files, protocol, videos, frames)


def _caption(video: ScoredVideo) -> str:
    answer, share = video.answers[0]
    return f"{video.video_id}: {video.truth}, taken for {answer} ({100 * share:.0f} %)"

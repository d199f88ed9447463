"""The index of a dataset's videos, made before it is trained on."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

from datamodules.jobs.dataset_jobs import Report, Step, follow_pass, process_videos
from datamodules.storage.source import Source
from datamodules.video.reader import open_video

VIDEOS_PER_WORKER = 200
"""Videos for which a process of their own pays."""


@dataclass(frozen=True)
class _Opening:
    """Opens one video of a dataset, which writes its index where that was costly to make."""

    root: Source

    def __call__(self, path: str) -> Generator[Step, None, None]:
        with open_video(self.root / path) as video:
            yield Step(video.num_frames, 1.0)


def index_videos(
    root: Source, paths: Iterable[str], num_workers: int, say: Callable[[str], None]
) -> Report[str]:
    """Open every video once: what cannot be read is found, and costly indices are kept.

    Args:
        root: Folder of the dataset.
        paths: Paths of videos below it; each is opened once.
        num_workers: Processes at most; 0 for this one.
        say: Writes a line about what is done.

    Returns:
        The report of the pass; videos that cannot be read by name.
    """
    items = list(dict.fromkeys(paths))
    num_workers = min(num_workers, len(items) // VIDEOS_PER_WORKER)
    events = process_videos(_Opening(root), items, num_workers)
    return follow_pass("index of videos", events, len(items), say=say)

"""One pass over the videos of a dataset, with progress from inside a video."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from datamodules.jobs.processes import Advanced, Done, Lost, run_jobs
from datamodules.video.errors import VideoError

__all__ = ["Event", "Step", "VideoWork", "process_videos"]

Video = TypeVar("Video")


class Step(NamedTuple):
    """A part of a video that was done.

    Attributes:
        frames: Number of frames.
        share: Their share of the video.
    """

    frames: int
    share: float


VideoWork: TypeAlias = Callable[[Video], Generator[Step, None, None]]


class Event(NamedTuple, Generic[Video]):
    """News of a video.

    Attributes:
        video: The video.
        step: The part that was done now; None at the video's end.
        error: Reason of a failure, at the end; empty for none.
    """

    video: Video
    step: Step | None
    error: str = ""


@dataclass(frozen=True)
class _Attempt(Generic[Video]):
    """Work that returns a video's own errors in words, and those of the disk as exceptions."""

    work: VideoWork[Video]

    def __call__(self, video: Video) -> Generator[Step, None, str | OSError]:
        try:
            with closing(self.work(video)) as steps:
                yield from steps
        except VideoError as error:
            return f"{error.reason}: {error.detail}"
        except OSError as error:
            return error
        return ""


def process_videos(
    work: VideoWork[Video], videos: Sequence[Video], num_workers: int
) -> Generator[Event[Video], None, None]:
    """Process videos, in this process or in others; see `run_jobs`.

    A video that cannot be read, or takes its process along with it, is reported, and the rest goes
    on.

    Args:
        work: Work on one video, step by step; a function or object that can be pickled.
        videos: Arguments of `work`, one after another; can be pickled.
        num_workers: Processes, 0 for this one.

    Yields:
        The steps and the end of each video, as they happen.

    Raises:
        OSError: `work` raised it: not a video's fault.
        RuntimeError: In a process `work` raised something else; with its traceback.
    """
    with closing(run_jobs(_Attempt(work), videos, num_workers)) as jobs:
        for news in jobs:
            match news:
                case Advanced(video, step):
                    yield Event(video, step)
                case Lost(video, reason):
                    yield Event(video, None, reason)
                case Done(video, OSError() as error):
                    raise error
                case Done(video, str(error)):
                    yield Event(video, None, error)

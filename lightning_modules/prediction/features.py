"""Features of videos, per window or of the whole video, in one npz file each.

`features` (n, C) float32, `start` and `end` (n,) in seconds, and what they were made with:
`frame_rate`, `window` and `step` in frames, `num_frames` at that rate, `video`, `network`,
`weights` (a digest of the weights), `settings` (JSON of all of it).

The grid is that of localisation tools: of N frames, window i has the frames
[i step, i step + window), so there are (N - window) // step + 1, and none is moved or padded; a
video that is shorter than a window has one.
"""

import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.atomic import writing_binary
from datamodules.errors import UserError
from datamodules.jobs.dataset_jobs import Step
from datamodules.streaming.sliding import Window, slide
from datamodules.streaming.sources import FileFrames, FrameSource
from datamodules.streaming.windows import Spacing
from datamodules.video.suffixes import stem_of
from lightning_modules.prediction.inputs import NetworkInput
from lightning_modules.prediction.scoring import Scorer, as_batch

__all__ = [
    "PRESETS",
    "FeatureExtraction",
    "FeatureJob",
    "Features",
    "extract",
    "plan_jobs",
    "read_preset",
]

PRESETS = tuple(f"i3d-16x{step}-{rate}fps" for step in (8, 4) for rate in (25, 30))
"""Windows of 16 frames every 8 or 4, at 25 or 30 frames per second."""


def read_preset(name: str) -> tuple[Spacing, float]:
    """Get the windows and the frame rate of a preset.

    Args:
        name: One of `PRESETS`.

    Raises:
        UserError: If there is none of that name.
    """
    found = re.fullmatch(r"i3d-(\d+)x(\d+)-(\d+)fps", name)
    if name not in PRESETS or found is None:
        raise UserError(f"there is no preset {name!r}; give one of {', '.join(PRESETS)}")
    return Spacing(f"{found[1]}f", f"{found[2]}f"), float(found[3])


@dataclass(frozen=True)
class Features:
    """Features of a video along time.

    Attributes:
        values: (n, C) float32.
        start: Begin of each window, in seconds, (n,).
        end: End of each window, in seconds, (n,).
        frame_rate: Frames per second.
        num_frames: Frames of the video at that rate.
        window: Frames of a window.
        step: Frames from one window to the next.
    """

    values: np.ndarray
    start: np.ndarray
    end: np.ndarray
    frame_rate: float
    num_frames: int
    window: int
    step: int


def extract(
    scorer: Scorer, source: FrameSource, network_input: NetworkInput, batch_size: int = 8
) -> Generator[Step, None, Features]:
    """Extract the features of each window of a source with an end.

    Args:
        scorer: The trained module.
        source: The frames.
        network_input: Windows, and what is shown of them.
        batch_size: Windows that the network sees together.

    Yields:
        A step for each batch.

    Returns:
        The features.

    Raises:
        VideoError: The source cannot be read to its end.
        UserError: If the windows do not fit, the network has no features, or the source no end.
    """
    grid = network_input.windows(source, to_the_end=False)
    assert source.num_frames is not None
    assert grid.num_windows is not None
    rows, times = [], []
    windows = slide(source, grid, network_input.views)
    for batch in _batches(windows, batch_size):
        rows.append(scorer.features(as_batch([window.views for window in batch])).numpy())
        times += [(window.times[0], window.times[-1]) for window in batch]
        yield Step(len(batch) * grid.step, len(batch) / grid.num_windows)
    start, end = np.array(times, np.float64).T
    values = np.concatenate(rows).astype(np.float32, copy=False)
    rate, total = source.frame_rate, source.num_frames
    return Features(values, start, end, rate, total, grid.length, grid.step)


def _batches(windows: Iterator[Window], size: int) -> Iterator[list[Window]]:
    while batch := list(islice(windows, size)):
        yield batch


@dataclass(frozen=True)
class FeatureJob:
    """A video and the file for its features, relative to the folder of all.

    Attributes:
        video: Path of the video.
        file: Its name without suffix, with the folders that it lies in.
    """

    video: str
    file: str

    def __str__(self) -> str:
        return self.file


def plan_jobs(videos: Sequence[str], roots: Mapping[str, str]) -> list[FeatureJob]:
    """Name the file of each video.

    Args:
        videos: Paths of the videos.
        roots: The folder that a video was found in, of those that a folder was given for.

    Raises:
        UserError: If two videos would have the same file.
    """
    jobs: dict[str, FeatureJob] = {}
    for video in videos:
        inside = Path(video).relative_to(roots[video]) if video in roots else Path(video).name
        job = FeatureJob(video, stem_of(Path(inside).as_posix()))
        other = jobs.setdefault(job.file, job)
        if other != job:
            raise UserError(
                f"{other.video} and {video} would have their features in one file, {job.file}.npz; "
                "give the folder that holds both, or name one of them otherwise"
            )
    return list(jobs.values())


class FeatureExtraction:
    """The work on one video of a pass: its features, in a file that appears whole or not at all.

    Args:
        scorer: The trained module.
        network_input: Windows, or whole videos.
        folder: Folder of the files.
        batch_size: Windows that the network sees together.
        frame_rate: Frames per second to take; None for each file's own.
    """

    def __init__(
        self,
        scorer: Scorer,
        network_input: NetworkInput,
        folder: Path,
        *,
        batch_size: int,
        frame_rate: float | None,
    ) -> None:
        self._scorer = scorer
        self._input = network_input
        self._folder = folder
        self._batch_size = batch_size
        self._frame_rate = frame_rate

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the features depend on, in plain values."""
        given = self._input
        flow = None if given.flow is None else vars(given.flow)
        spacing = None if given.spacing is None else vars(given.spacing)
        return {
            "network": self._scorer.module.network_name,
            "weights": self._scorer.weights,
            "precision": self._scorer.precision,
            "frame_rate": self._frame_rate,
            "spacing": spacing,
            "num_clips": given.num_clips,
            "num_crops": given.num_crops,
            "flow": flow,
        }

    def path(self, job: FeatureJob) -> Path:
        """The file of a video."""
        return self._folder / f"{job.file}.npz"

    def is_done(self, job: FeatureJob) -> bool:
        """Check that the features of a video are there, made in the same way.

        Raises:
            UserError: If they were made otherwise, or the file is something else.
        """
        path = self.path(job)
        if not path.exists():
            return False
        try:
            with np.load(path) as file:
                made = json.loads(str(file["settings"]))
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} holds no features of this tool ({error}); move it, or give another --out"
            ) from error
        wanted = json.loads(json.dumps(self.settings))
        different = [f"{n} {made.get(n)}, now {v}" for n, v in wanted.items() if made.get(n) != v]
        if different:
            raise UserError(
                f"{path} holds features made otherwise ({'; '.join(different)}); give another --out"
            )
        return True

    def __call__(self, job: FeatureJob) -> Generator[Step, None, None]:
        """Extract the features of a video, and write them."""
        with FileFrames(job.video, self._frame_rate) as source:
            found = yield from extract(self._scorer, source, self._input, self._batch_size)
        path = self.path(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing_binary(path) as file:
            np.savez(
                file,
                features=found.values,
                start=found.start,
                end=found.end,
                frame_rate=found.frame_rate,
                num_frames=found.num_frames,
                window=found.window,
                step=found.step,
                video=job.video,
                network=self._scorer.module.network_name,
                weights=self._scorer.weights,
                settings=json.dumps(self.settings),
            )

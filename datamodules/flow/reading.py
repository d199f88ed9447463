"""Readers of stored optical flow by number, in any form and naming.

`open_flow(folder)` reads, as the folder of one video,

- `flow_x.mp4` and `flow_y.mp4`, as `kinetoscope flow` writes them;
- `flow_x_00001.jpg` and `flow_y_00001.jpg`, or `<id>-x_00001.jpg` and `<id>-y_00001.jpg`, also
  beside the frames themselves;
- `u/<id>/frame000001.jpg` and `v/<id>/frame000001.jpg`, given as `<id>`, which is not there itself
  (or `<class>/<id>`); or `<id>/u/` and `<id>/v/`.

Field i, counted from 0, is the flow from frame i to frame i + 1. The last frame has none: a video
of N frames has N - 1 fields. Where N are stored, as some tools do, the last is left aside. A stack
of L = 10 at offsets -5..4 around a frame therefore fits frames 5 to N - 6, counted from 0.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from datamodules.flow.storage import AXES, video_name
from datamodules.storage.source import Place, Source, as_source
from datamodules.video.errors import VideoError, as_unreadable
from datamodules.video.frame_folder import FrameFolderReader, Indices, check_indices
from datamodules.video.reader import VideoReader
from datamodules.video.suffixes import IMAGE_SUFFIXES

__all__ = ["FlowReader", "open_flow"]

_SUFFIX = "|".join(re.escape(suffix) for suffix in sorted(IMAGE_SUFFIXES))
_COMPONENT = re.compile(rf"((?:.*[_-])?)([xy])_(\d+)({_SUFFIX})", re.IGNORECASE)


class FlowReader:
    """The stored flow of one video.

    Args:
        source: The video's folder.
        components: The horizontal and the vertical component.
        num_frames: Frames of the video; None where that is not known.

    Raises:
        VideoError: The components differ in number or size, or their number does not fit the
            video's.
    """

    def __init__(
        self,
        source: Source,
        components: tuple[VideoReader | FrameFolderReader, VideoReader | FrameFolderReader],
        num_frames: int | None = None,
    ) -> None:
        self.source = source
        self._components = components
        x, y = components
        if x.num_frames != y.num_frames:
            detail = f"{x.num_frames} horizontal and {y.num_frames} vertical flow images"
            raise VideoError(source, "missing frame", detail)
        self.height, self.width = x.height, x.width
        if (y.height, y.width) != (self.height, self.width):
            detail = f"flow is {x.width}x{x.height} across and {y.width}x{y.height} down"
            raise VideoError(source, "changing size", detail)
        self.num_fields = x.num_frames if num_frames is None else num_frames - 1
        if x.num_frames not in (self.num_fields, self.num_fields + 1):
            detail = f"{x.num_frames} flow images for {num_frames} frames, one less is needed"
            raise VideoError(source, "missing frame", detail)

    def get_flow(self, indices: Indices) -> Tensor:
        """Read fields.

        Args:
            indices: Numbers of the frames that the motion starts from, from 0, in any order,
                repeated or not.

        Returns:
            Codes as `flow.coding` has them, (N, 2, H, W), uint8: to the right, then down.

        Raises:
            IndexError: A number outside the flow.
            VideoError: A file is damaged.
        """
        wanted = check_indices(indices, self.num_fields, self.source)
        return torch.stack([part.get_frames(wanted)[:, 0] for part in self._components], dim=1)

    def close(self) -> None:
        """Close the files."""
        for component in self._components:
            component.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_flow(path: Place, num_frames: int | None = None) -> FlowReader:
    """Open the stored flow of a video.

    Args:
        path: The video's folder, see the text of this module.
        num_frames: Frames of the video, to check the number of fields by.

    Raises:
        VideoError: There is no flow, it is damaged or incomplete, or has not one field less than
            frames (or as many).
    """
    folder = as_source(path)
    with as_unreadable(folder):
        components = _components(folder)
    try:
        return FlowReader(folder, components, num_frames)
    except BaseException:
        for component in components:
            component.close()
        raise


def _components(
    folder: Source,
) -> tuple[VideoReader | FrameFolderReader, VideoReader | FrameFolderReader]:
    """Open readers of the horizontal and the vertical component."""
    if (folder / video_name("x")).exists():
        x = VideoReader(folder / video_name("x"))
        try:
            return x, VideoReader(folder / video_name("y"))
        except BaseException:
            x.close()
            raise
    for across, down in _separate_folders(folder):
        if across.is_folder():
            return FrameFolderReader(across), FrameFolderReader(down)
    try:
        names = folder.names()
    except FileNotFoundError as error:
        raise VideoError(folder, "missing", "there is no such folder of optical flow") from error
    except OSError as error:
        raise VideoError(folder, "unreadable", str(error)) from error
    return _FlowImages(folder, names, "x"), _FlowImages(folder, names, "y")


def _separate_folders(folder: Source) -> Iterator[tuple[Source, Source]]:
    """Yield the pairs of folders in which the two components may lie."""
    yield folder / "u", folder / "v"
    above, inside = folder.parent, folder.name
    for _ in range(2):
        if above is not None:
            yield above / "u" / inside, above / "v" / inside
            inside = f"{above.name}/{inside}"
            above = above.parent


class _FlowImages(FrameFolderReader):
    """One component, among the other images of a folder.

    Args:
        folder: The folder.
        names: Names of everything in it.
        axis: The component, `x` or `y`.
    """

    def __init__(self, folder: Source, names: list[str], axis: str) -> None:
        assert axis in AXES, axis
        self.source = folder
        self.frame_rate = 1.0
        self._names = _series(folder, names, axis)


def _series(folder: Source, names: list[str], axis: str) -> list[str]:
    """List the image names of a component by their numbers, which begin with 0 or 1."""
    numbered: dict[int, list[str]] = defaultdict(list)
    for name in names:
        match = _COMPONENT.fullmatch(name)
        if match is not None and match[2].lower() == axis:
            numbered[int(match[3])].append(name)
    if not numbered:
        detail = f"none of its {len(names)} files is a flow image such as flow_{axis}_00001.jpg"
        raise VideoError(folder, "no frames", detail)
    first = 0 if 0 in numbered else 1
    for number in range(first, first + len(numbered)):
        if number not in numbered:
            raise VideoError(folder, "missing frame", f"flow image {number} of {axis} is missing")
        if len(numbered[number]) > 1:
            found = " and ".join(sorted(numbered[number]))
            raise VideoError(folder, "not a video", f"it holds several series of flow: {found}")
    return [numbered[number][0] for number in sorted(numbered)]

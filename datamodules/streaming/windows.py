"""Windows that slide over frames, and the cells between their beginnings; integers only.

Windows are W frames long and begin every S frames; the last one of a video is moved back to end
with it, if asked for. A cell is the stretch from one beginning to the next: cell k has the frames
[k S, (k + 1) S), the last cell of a video those that are left. A window covers the cells that lie
wholly within it, and every cell of a video of at least W frames is covered.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from datamodules.clips.chunks import stack_centres, stack_fields
from datamodules.clips.clip_sampler import ClipSampler
from datamodules.clips.sampling import FrameIndices, segment_test_clips
from datamodules.errors import UserError

__all__ = ["Spacing", "WindowGrid", "clip_span", "clips_of_window", "covered_cells", "read_length"]


@dataclass(frozen=True)
class Spacing:
    """Length of windows and the distance between their beginnings, as a user gives them.

    Attributes:
        window: Seconds (`2` or `2s`), frames (`16f`), or `clip`: the span of one clip.
        step: Likewise; None for half a window.
    """

    window: str
    step: str | None = None

    def in_frames(self, frame_rate: float, sampling: ClipSampler) -> tuple[int, int]:
        """Compute the frames of a window and of a step.

        Args:
            frame_rate: Frames per second.
            sampling: The rule that chooses the frames of a clip.

        Raises:
            UserError: If a length is none, or windows would leave gaps.
        """
        window = read_length("window", self.window, frame_rate, clip_span(sampling))
        if self.step is None:
            return window, max(1, window // 2)
        step = read_length("step", self.step, frame_rate, clip_span(sampling))
        if step > window:
            raise UserError(
                f"step={self.step} is longer than window={self.window}, so frames between windows "
                "would have no label; give a step up to the window"
            )
        return window, step


def read_length(name: str, text: str, frame_rate: float, span: int | None) -> int:
    """Parse a length in frames, at least 1.

    Args:
        name: Name of the option, for the message.
        text: Seconds (`2` or `2s`), frames (`16f`), or `clip`.
        frame_rate: Frames per second.
        span: Frames that a clip spans; None where that is not fixed.

    Raises:
        UserError: If it is no length.
    """
    if text == "clip":
        if span is None:
            raise UserError(
                f"{name}=clip has no meaning here: the clips of this network spread over whatever "
                f"they are taken from; give {name} in seconds, such as 4"
            )
        return span
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(s|f|)", text.strip())
    amount = float(found[1]) if found else 0.0
    if found is None or amount <= 0 or (found[2] == "f" and amount != int(amount)):
        raise UserError(
            f"{name}={text} is no length; give seconds above 0 (2.5), frames (16f), or clip"
        )
    return max(1, int(amount) if found[2] == "f" else int(amount * frame_rate + 0.5))


def clip_span(sampling: ClipSampler) -> int | None:
    """Count the frames from the first to the last of an evaluation's clip; None if not fixed."""
    if sampling.frame_stride is None or getattr(sampling, "test_frames", None) is not None:
        return None
    return (sampling.test_len - 1) * sampling.frame_stride + 1


def clips_of_window(
    sampling: ClipSampler, length: int, num_clips: int, frame_rate: float, flow_length: int | None
) -> FrameIndices:
    """Choose the frames of the clips of a window, which is sampled like a video of its own.

    A clip that is longer than the window is not looped: its frames are spread over the window.

    Args:
        sampling: The rule of the network's evaluation.
        length: Frames of the window, W.
        num_clips: Clips of a window, N.
        frame_rate: Frames per second.
        flow_length: Fields of a stack of flow, which has to fit around each frame; None without.

    Returns:
        Frame indices in [0, W), (N, T), int64.

    Raises:
        UserError: If the rule chooses frames that are not there.
    """
    first, count = (0, length) if flow_length is None else stack_centres(length, flow_length)
    span = clip_span(sampling)
    if span is not None and span > count:
        return segment_test_clips(count, sampling.test_len, num_clips) + first
    chosen = sampling.test(count, num_clips, frame_rate)
    is_inside = chosen.size > 0 and chosen.min() >= 0 and chosen.max() < count
    if chosen.shape != (num_clips, sampling.test_len) or not is_inside:
        raise UserError(
            f"{type(sampling).__name__} chose frames {chosen.tolist()} of a window of {count}; it "
            f"must choose {sampling.test_len} from 0 to {count - 1} for each of {num_clips} clips"
        )
    return chosen + first


@dataclass(frozen=True)
class WindowGrid:
    """The places of windows, and what is read of each.

    Attributes:
        length: Frames of a window, W.
        step: Frames from one beginning to the next, S.
        chosen: Frames of a window's clips, counted from its first frame, (N, T).
        fields: Fields of flow around these, field i from frame i to i + 1, (N, T, L); None without.
        num_frames: Frames of the video; None where its end is not known.
        to_the_end: Whether one more window ends with the video, if the last one does not.
        first: Number of the first window; those before it are left out.
    """

    length: int
    step: int
    chosen: FrameIndices
    fields: FrameIndices | None = None
    num_frames: int | None = None
    to_the_end: bool = True
    first: int = 0

    @classmethod
    def of(
        cls,
        sampling: ClipSampler,
        lengths: tuple[int, int],
        *,
        num_frames: int | None,
        frame_rate: float,
        num_clips: int = 1,
        flow_length: int | None = None,
        to_the_end: bool = True,
    ) -> "WindowGrid":
        """Lay windows over a video; over one that is shorter than a window, a single one.

        Args:
            sampling: The rule of the network's evaluation.
            lengths: Frames of a window and of a step.
            num_frames: See the class.
            frame_rate: Frames per second.
            num_clips: Clips of a window.
            flow_length: Fields of a stack of flow; None without flow.
            to_the_end: See the class.
        """
        length, step = lengths
        if num_frames is not None and num_frames < length:
            length = step = num_frames
        chosen = clips_of_window(sampling, length, num_clips, frame_rate, flow_length)
        fields = None if flow_length is None else stack_fields(chosen, length, flow_length)
        return cls(length, step, chosen, fields, num_frames, to_the_end)

    @property
    def num_regular(self) -> int | None:
        """Windows that begin on a multiple of the step: (N - W) // S + 1 of N frames."""
        if self.num_frames is None:
            return None
        return max(0, (self.num_frames - self.length) // self.step + 1)

    @property
    def num_windows(self) -> int | None:
        """All windows, also one that is moved back to end with the video."""
        count, total = self.num_regular, self.num_frames
        if count is None or total is None:
            return None
        ends = (count - 1) * self.step + self.length
        return count + (self.to_the_end and count > 0 and ends < total)

    def start(self, number: int) -> int | None:
        """Find the first frame of a window; None where there is no such window."""
        regular = number * self.step
        if self.num_frames is None:
            return regular
        assert self.num_regular is not None
        assert self.num_windows is not None
        if number >= self.num_windows:
            return None
        return regular if number < self.num_regular else self.num_frames - self.length

    def starts_reaching(self, begin: int, end: int) -> npt.NDArray[np.int64]:
        """List the beginnings of the windows that have a frame in [begin, end)."""
        low = max(self.first, (begin - self.length) // self.step + 1)
        starts = [self.start(number) for number in range(low, (end - 1) // self.step + 1)]
        last = None if self.num_windows is None else self.start(self.num_windows - 1)
        starts.append(last)  # moved back, it may reach where its number does not tell
        found = {s for s in starts if s is not None and begin - self.length < s < end}
        return np.array(sorted(found), np.int64)

    def frames_to_read(self, begin: int, end: int) -> npt.NDArray[np.bool_]:
        """Tell which of the frames [begin, end) are part of a clip, (end - begin,)."""
        return self._marked(self._frame_offsets, begin, end)

    def frames_for_flow(self, begin: int, end: int) -> npt.NDArray[np.bool_]:
        """Tell which of the frames [begin, end) flow is computed from, (end - begin,)."""
        if self.fields is None:
            return np.zeros(end - begin, np.bool_)
        return self._marked(self._flow_offsets, begin, end)

    @cached_property
    def _frame_offsets(self) -> npt.NDArray[np.int64]:
        return np.unique(self.chosen)

    @cached_property
    def _flow_offsets(self) -> npt.NDArray[np.int64]:
        assert self.fields is not None
        return np.unique([self.fields, self.fields + 1])

    def _marked(
        self, offsets: npt.NDArray[np.int64], begin: int, end: int
    ) -> npt.NDArray[np.bool_]:
        marks = np.zeros(end - begin, np.bool_)
        starts = self.starts_reaching(begin, end)
        numbers = (starts[:, None] + offsets[None]).ravel() - begin
        marks[numbers[(numbers >= 0) & (numbers < len(marks))]] = True
        return marks


def covered_cells(start: int, grid: WindowGrid) -> range:
    """List the cells that lie wholly within a window.

    Args:
        start: Its first frame.
        grid: The windows.
    """
    end = start + grid.length
    first = -(-start // grid.step)
    if end == grid.num_frames:
        return range(first, -(-end // grid.step))
    return range(first, end // grid.step)

"""Frames that a container promises, against those that can be read from it.

MP4 and AVI list their packets, which are counted. Matroska lists none: there the times tell, by a
gap, or by an end before the declared one. Neither is a proof, since frames may be shown for any
time: so the elements of the container are then followed from one to the next, which ends at a hole.
A video that lasts clearly less than its Matroska header says is incomplete without this proof, as
is an AVI that has lost its list.
"""

from typing import NamedTuple, Self

import av
import numpy as np
from numpy.typing import NDArray

from datamodules.formats.containers import holds_chunks, torn_at
from datamodules.video.errors import VideoError, as_unreadable
from datamodules.video.indices.packets import NO_TIME, Headers, PacketLog
from datamodules.video.stream import VideoStream, is_cut

SHORTER_BY = 0.05
"""Share of the declared duration that a video has to lack to be called incomplete by that alone."""
SHORTER_BY_FRAMES = 3
"""Frames, at the usual distance, that it has to lack as well."""

_SUSPICIOUS = 1.5  # distances between frames that call for a look


def damage_of(stream: VideoStream, error: av.FFmpegError, count: int, what: str) -> VideoError:
    """Make the exception for a file that cannot be read to its end.

    Args:
        stream: The file.
        error: What FFmpeg says.
        count: How far it was read.
        what: What is counted.
    """
    if is_cut(stream.source):
        return VideoError(stream.source, "truncated", f"it ends early; {count} {what}")
    return VideoError(stream.source, "damaged", f"{count} {what}, then {error}")


def check_complete(stream: VideoStream, log: PacketLog, headers: Headers, listed: int) -> None:
    """Refuse a file that lacks packets its container promises.

    Args:
        stream: The file, read to its end.
        log: All packets of it.
        headers: Their headers.
        listed: Number of packets that its container listed when it was opened.

    Raises:
        VideoError: It is truncated or incomplete.
    """
    _check_end(stream, log)
    if stream.container_name == "avi":
        _check_avi(stream, headers, listed)
    elif stream.container_name == "matroska,webm":
        _check_matroska(stream, headers)


def _check_end(stream: VideoStream, log: PacketLog) -> None:
    """Refuse a file that ends within the packets it lists.

    A frame count in a header is no proof: intact AVI files announce more frames than they hold. So
    frame data, or the list itself, must also reach past the end of the file.
    """
    source, name, entries = stream.source, stream.container_name, stream.stream.index_entries
    listed = stream.stream.frames if name == "avi" else max(len(entries), stream.stream.frames)
    lists_no_packets = name in ("matroska,webm", "asf")
    if not (lists_no_packets or log.is_corrupt or len(log) < listed):
        return
    size = source.size()
    if is_cut(source) or any(entry.pos + entry.size > size for entry in entries):
        found = f"{len(log)} packets" if lists_no_packets else f"{len(log)} of {listed} packets"
        raise VideoError(source, "truncated", f"it ends early, with {found}")


def _check_avi(stream: VideoStream, headers: Headers, listed: int) -> None:
    """Refuse an AVI with a hole, or one that is too short and lists other packets than it holds."""
    found = len(headers.size)
    if found < listed:
        chunks = {(entry.pos, entry.size) for entry in stream.stream.index_entries}
        chunks -= set(zip((headers.position - 8).tolist(), headers.size.tolist(), strict=True))
        with as_unreadable(stream.source), stream.source.open() as file:
            if not holds_chunks(file, chunks):
                raise VideoError(
                    stream.source,
                    "incomplete",
                    f"{found} of the {listed} packets that its index lists are there",
                )
    elif found > listed:  # the list is lost
        _check_duration(stream, _Shown.measured(headers))


def _check_matroska(stream: VideoStream, headers: Headers) -> None:
    """Refuse a Matroska or WebM file with a hole, or one that is too short."""
    shown = _Shown.measured(headers)
    waits = np.diff(shown.times, prepend=np.minimum(shown.times[:1], 0))
    longest, allowed = stream.longest_seconds, _SUSPICIOUS * shown.step
    if np.any(waits > allowed) or (longest and shown.lacking(stream, longest) > allowed):
        with as_unreadable(stream.source), stream.source.open() as file:
            position = torn_at(file)
        if position is not None:
            detail = f"it is torn at byte {position}; {len(headers.size)} packets read"
            raise VideoError(stream.source, "incomplete", detail)
    _check_duration(stream, shown)


def _check_duration(stream: VideoStream, shown: "_Shown") -> None:
    """Refuse a file whose frames end clearly before its header says."""
    declared, base = stream.declared_seconds, float(stream.stream.time_base or 0)
    if not declared:
        return
    lacking = shown.lacking(stream, declared) * base
    if lacking > max(SHORTER_BY * declared, SHORTER_BY_FRAMES * shown.step * base):
        raise VideoError(
            stream.source,
            "incomplete",
            f"its {len(shown.times)} frames end at {declared - lacking:.2f} s of the "
            f"{declared:.2f} s that its header declares",
        )


class _Shown(NamedTuple):
    """The times at which packets are shown, in the stream's time base.

    Attributes:
        times: Those of all, without repetition, in order.
        step: The usual time from one to the next; 0 where nothing tells.
        end: The end of the last one; None where nothing tells.
    """

    times: NDArray[np.int64]
    step: float
    end: float | None

    @classmethod
    def measured(cls, headers: Headers) -> Self:
        """Measure the packets of a file."""
        stamped, lasting = (
            np.maximum(headers.pts, headers.dts),
            headers.duration,
        )  # some AVI: dts alone
        times = np.unique(stamped[stamped != NO_TIME])
        told = lasting[lasting > 0]
        steps = told if len(told) else np.diff(times)
        if not len(steps):  # one frame, which may be shown for any time
            return cls(times, 0.0, None)
        step = float(np.median(steps))
        return cls(times, step, float(np.max(stamped + np.maximum(lasting, step))))

    def lacking(self, stream: VideoStream, declared: float) -> float:
        """Find how far the end is from the declared one; 0 where nothing tells.

        Args:
            stream: The file.
            declared: The end that its header declares, in seconds.
        """
        base = float(stream.stream.time_base or 0)
        return declared / base - self.end if base and self.end is not None else 0.0

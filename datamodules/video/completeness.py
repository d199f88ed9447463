"""Frames that a container promises, against those that can be read from it.

MP4 and AVI list their packets, which are counted. Matroska lists none: there the times tell, by a
gap, or by an end before the declared one. Neither is a proof, since frames may be shown for any
time: so the elements of the container are then followed from one to the next, which ends at a hole.
A video that lasts clearly less than its Matroska header says is incomplete without this proof, as
is an AVI that has lost its list.
"""

import av
import numpy as np

from datamodules.video.containers import holds_chunks, torn_at
from datamodules.video.errors import VideoError, as_unreadable
from datamodules.video.packets import NO_TIME, PacketLog
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


def check_complete(stream: VideoStream, log: PacketLog, listed: int) -> None:
    """Refuse a file that lacks packets its container promises.

    Args:
        stream: The file, read to its end.
        log: All packets of it.
        listed: Number of packets that its container listed when it was opened.

    Raises:
        VideoError: It is truncated or incomplete.
    """
    _check_end(stream, log)
    if stream.container_name == "avi":
        _check_avi(stream, log, listed)
    elif stream.container_name == "matroska,webm":
        _check_matroska(stream, log)


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


def _check_avi(stream: VideoStream, log: PacketLog, listed: int) -> None:
    """Refuse an AVI with a hole, or one that is too short and lists other packets than it holds."""
    if len(log) < listed:
        chunks = {(entry.pos, entry.size) for entry in stream.stream.index_entries}
        chunks -= set(zip((log.position - 8).tolist(), log.size.tolist(), strict=True))
        with as_unreadable(stream.source), stream.source.open() as file:
            if not holds_chunks(file, chunks):
                raise VideoError(
                    stream.source,
                    "incomplete",
                    f"{len(log)} of the {listed} packets that its index lists are there",
                )
    elif len(log) > listed:  # the list is lost
        _check_duration(stream, log)


def _check_matroska(stream: VideoStream, log: PacketLog) -> None:
    """Refuse a Matroska or WebM file with a hole, or one that is too short."""
    times = np.unique(log.pts[log.pts != NO_TIME])
    waits = np.diff(times, prepend=np.minimum(times[:1], 0))
    longest, step = stream.longest_seconds, _step(log)
    lacking = _lacking(stream, log, longest) if longest else 0.0
    if np.any(np.append(waits, lacking) > _SUSPICIOUS * step):
        with as_unreadable(stream.source), stream.source.open() as file:
            position = torn_at(file)
        if position is not None:
            detail = f"it is torn at byte {position}; {len(log)} packets read"
            raise VideoError(stream.source, "incomplete", detail)
    _check_duration(stream, log)


def _check_duration(stream: VideoStream, log: PacketLog) -> None:
    """Refuse a file whose frames end clearly before its header says."""
    declared, base = stream.declared_seconds, stream.stream.time_base
    if not declared or not base:
        return
    lacking = float(_lacking(stream, log, declared) * base)
    if lacking > max(SHORTER_BY * declared, float(SHORTER_BY_FRAMES * _step(log) * base)):
        raise VideoError(
            stream.source,
            "incomplete",
            f"its {len(log)} packets end at {declared - lacking:.2f} s of the {declared:.2f} s "
            "that its header declares",
        )


def _lacking(stream: VideoStream, log: PacketLog, declared: float) -> float:
    """Find how far the end of the last frame is from the declared one; 0 where nothing tells.

    Returns:
        Time in the stream's time base.
    """
    times, base, step = np.maximum(log.pts, log.dts), stream.stream.time_base, _step(log)
    if not base or not step or not np.any(times != NO_TIME):
        return 0.0
    return declared / float(base) - float(np.max(times + np.maximum(log.duration, step)))


def _step(log: PacketLog) -> float:
    """Find the usual time from frame to frame, in the stream's time base; 0 where nothing tells."""
    told = log.duration[log.duration > 0]
    between = np.diff(np.unique(log.pts[log.pts != NO_TIME]))
    for steps in (told, between):
        if len(steps):
            return float(np.median(steps))
    return 0.0  # one frame, which may be shown for any time

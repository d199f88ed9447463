"""Frames decoded on the device against the CPU's: the same ones, and how fast."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from datamodules.storage.source import as_source
from datamodules.video.indices.cache import forget
from datamodules.video.on_device.reader import DeviceReader
from datamodules.video.reader import VideoReader
from gpu_pieces.feeding import videos
from gpu_pieces.setting import Cell, Setting

CLIPS = {"8 frames, stride 8": range(60, 124, 8), "25 frames, evenly": range(5, 250, 10)}


def cells(setting: Setting) -> list[Cell]:
    """A row for each way of sampling."""
    return [Cell(name, partial(_both, name, setting), 60) for name in CLIPS]


def _both(name: str, setting: Setting) -> dict[str, Any]:
    """Decode clips of some videos in both ways; they must be equal."""
    paths = sorted(videos(setting).rglob("*.mp4"))[: 2 if setting.tiny else 16]
    wanted = {}
    for path in paths:
        forget(as_source(path))
        with VideoReader(path) as reader:
            wanted[path] = [number for number in CLIPS[name] if number < reader.num_frames]
    cpu = [_seconds(partial(VideoReader, path), wanted[path], setting) for path in paths]
    device = []
    for path in paths:  # last: they leave an index with checksums, which the others then check too
        make = partial(DeviceReader, path, setting.device)
        with VideoReader(path) as reader, make() as other:
            same = torch.equal(
                reader.get_frames(wanted[path]), other.get_frames(wanted[path]).cpu()
            )
        if not same:
            raise RuntimeError(f"frames of {path} differ")
        device.append(_seconds(make, wanted[path], setting))
    return {
        "videos with equal frames": len(paths),
        "one CPU core, ms": round(1e3 * statistics.median(cpu), 2),
        "device with its checksums, ms": round(1e3 * statistics.median(device), 2),
    }


def _seconds(make: Callable[[], VideoReader], wanted: list[int], setting: Setting) -> float:
    """Open a video whose index is kept, and decode a clip."""
    begun = time.perf_counter()
    with make() as reader:
        frames = reader.get_frames(wanted)
        setting.finish()
    seconds = time.perf_counter() - begun
    assert len(frames) == len(wanted)
    return seconds

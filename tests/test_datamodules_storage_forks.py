"""What a forked process must leave alone."""

import gc
import multiprocessing
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from datamodules.storage import forks


class Ring:
    """Something that only the collector frees."""

    def __init__(self) -> None:
        self.ring = self
        self.converter: Any = VideoReformatter()


def leave_a_converter_with_threads() -> None:
    frame = av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8), format="rgb24")
    Ring().converter.reformat(frame, width=320, height=240, format="yuv420p", threads=4)


def test_garbage_of_a_parent_is_not_freed_in_a_forked_process() -> None:
    """Without `forks` the child waits for ever for threads that only its parent has."""
    assert forks.after_fork
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            leave_a_converter_with_threads()
        process = multiprocessing.get_context("fork").Process(target=gc.collect)
        process.start()
        process.join(30)
        exitcode = process.exitcode
        process.kill()
        assert exitcode == 0
        assert gc.get_freeze_count() == 0
        assert gc.collect() >= 5
    finally:
        gc.enable()

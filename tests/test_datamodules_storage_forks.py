"""What a forked process must leave alone."""

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from datamodules.storage import forks


class Ring:
    """Something that only the collector frees."""

    def __init__(self, content: Any) -> None:
        self.ring, self.content = self, content


def leave_a_converter_with_threads() -> None:
    frame = av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8), format="rgb24")
    converter = VideoReformatter()
    converter.reformat(frame, width=320, height=240, format="yuv420p", threads=4)
    Ring(converter)


FORK = multiprocessing.get_context("fork")


def ends(process: Any) -> bool:
    process.start()
    process.join(30)
    exitcode = process.exitcode
    process.kill()
    return bool(exitcode == 0)


def collect_after_a_fork() -> None:
    assert ends(FORK.Process(target=gc.collect))
    gc.collect()


@pytest.fixture
def litter() -> Iterator[None]:
    """Garbage that a forked process would wait for for ever."""
    assert forks.after_fork
    gc.collect()
    gc.disable()
    for _ in range(5):
        leave_a_converter_with_threads()
    yield
    gc.enable()
    assert gc.collect() >= 5


@pytest.mark.parametrize("work", [gc.collect, collect_after_a_fork], ids=["child", "its child"])
@pytest.mark.usefixtures("litter")
def test_garbage_of_a_parent_is_not_freed_in_a_forked_process(work: Callable[[], object]) -> None:
    """Without `forks` the child waits for ever for threads that only its parent has."""
    assert ends(FORK.Process(target=work))
    assert not gc.isenabled()


def test_parent_collects_as_before() -> None:
    """What it has frozen stays so, and garbage between forks does not pile up."""
    gc.collect()
    gc.freeze()
    frozen = gc.get_freeze_count()
    try:
        for _ in range(30):
            for _ in range(300):
                Ring(None)
            if (child := os.fork()) == 0:
                os._exit(0)
            os.waitpid(child, 0)
        assert sum(type(thing) is Ring for thing in gc.get_objects()) < 3000  # of 9000
        assert abs(gc.get_freeze_count() - frozen) < 1000
        assert gc.isenabled()
    finally:
        gc.unfreeze()

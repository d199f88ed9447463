"""Videos in processes: broken ones named, faults raised, processes that end with their parent."""

import os
import time
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest

from datamodules.processes import Event, Step, process_videos
from datamodules.video.errors import VideoError


def work(video: str) -> Generator[Step, None, None]:
    """What the name of a video says, after half of it was done."""
    what, _, place = video.partition(" ")
    yield Step(5, 0.5)
    match what:
        case "broken":
            raise VideoError(video, "damaged", "so it is")
        case "dies":
            os._exit(7)
        case "full":
            raise OSError(28, "No space left on device")
        case "wrong":
            raise TypeError("a defect")
        case "slow":
            try:
                time.sleep(60)
            finally:
                Path(place).write_text("tidied up")
    yield Step(5, 0.5)


def ends(events: Iterable[Event[str]]) -> dict[str, str]:
    return {event.video: event.error for event in events if event.step is None}


def test_broken_videos_are_named_and_the_rest_is_done() -> None:
    events = list(process_videos(work, ["good 1", "broken 2", "good 3"], 0))

    assert ends(events) == {"good 1": "", "broken 2": "damaged: so it is", "good 3": ""}
    assert [event.step for event in events if event.video == "good 3"][:2] == [Step(5, 0.5)] * 2


def test_video_that_takes_its_process_along_is_named() -> None:
    events = list(process_videos(work, ["broken 1", "dies 2", "good 3"], 1))

    died = "its process ended with exit code 7"
    assert ends(events) == {"broken 1": "damaged: so it is", "dies 2": died, "good 3": ""}


def test_fault_that_is_not_a_videos_ends_the_work(tmp_path: Path) -> None:
    """One process has a defect while the other is busy, and is made to tidy up."""
    place = tmp_path / "tidy"
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="TypeError: a defect"):
        ends(process_videos(work, [f"slow {place}", "wrong"], 2))

    assert place.read_text() == "tidied up"
    assert time.monotonic() - begin < 50


@pytest.mark.parametrize("num_workers", [0, 1])
def test_full_disk_is_no_videos_fault(num_workers: int) -> None:
    with pytest.raises(OSError, match="No space left"):
        ends(process_videos(work, ["full 1", "good 2"], num_workers))

"""Videos in processes: broken ones named, faults raised, processes that end with their parent."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from datamodules.jobs.dataset_jobs import Event, Step, process_videos
from datamodules.jobs.processes import Advanced, Done, Lost, News, num_cores, run_jobs
from datamodules.video.errors import VideoError

pytestmark = pytest.mark.usefixtures("fork_server")


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


def serve(item: str) -> Generator[int, None, str]:
    """What an item asks for, after a step."""
    what, _, place = item.partition(" ")
    yield 1
    match what:
        case "dies":
            os._exit(7)
        case "hangs":
            time.sleep(60)
        case "wrong":
            raise OSError("a defect")
        case "slow":
            try:
                yield 2
                time.sleep(60)
            finally:
                Path(place).write_text(str(os.getpid()))
    return f"{item}: done"


def told(news: Iterable[News[str, int, str]]) -> dict[str, str]:
    """The end of each item."""
    found = {}
    for one in news:
        match one:
            case Done(item, result):
                found[item] = result
            case Lost(item, reason, code):
                found[item] = f"{reason}, {code}"
    return found


PRELOADS = pytest.mark.parametrize("preload", [None, "datamodules.health.decode_check"])


@PRELOADS
def test_new_worker_takes_the_place_of_one_that_dies_or_hangs(preload: str | None) -> None:
    items = ["a", "dies", "b", "hangs", "c"]
    found = told(run_jobs(serve, items, 1, time_limit=3.0, preload=preload, grace=0.0))

    assert found == {
        **{item: f"{item}: done" for item in "abc"},
        "dies": "its process ended with exit code 7, 7",
        "hangs": "it was ended after 3 s, None",
    }
    assert list(found) == items


@pytest.mark.parametrize("num_workers", [0, 2])
def test_steps_come_before_the_end(num_workers: int) -> None:
    news = [one for one in run_jobs(serve, ["a", "b"], num_workers) if one.item == "b"]

    assert news == [Advanced("b", 1), Done("b", "b: done")]
    assert list(run_jobs(serve, [], num_workers)) == []


def test_time_limit_counts_from_when_the_item_is_given() -> None:
    """The caller takes longer than the limit, and the worker to start does, too."""
    found = []
    for one in run_jobs(serve, ["a", "b"], 1, time_limit=1.0):
        time.sleep(1.1)
        found.append(one)

    assert [one.item for one in found if isinstance(one, Done)] == ["a", "b"]


def test_fault_of_the_work_is_told_with_its_traceback_and_exit_code() -> None:
    with pytest.raises(RuntimeError, match=r"exit code 1:\n(.*\n)*OSError: a defect"):
        told(run_jobs(serve, ["wrong", "a"], 1))
    with pytest.raises(OSError, match="a defect"):
        told(run_jobs(serve, ["wrong", "a"], 0))


def refuse_to_arrive() -> None:
    raise RuntimeError("cannot be unpickled")


class Foreign:
    """Work that does not arrive in another process."""

    def __call__(self, item: str) -> Generator[int, None, str]:
        yield from ()
        return item

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return refuse_to_arrive, ()


def test_worker_that_cannot_start_is_told_once() -> None:
    with pytest.raises(RuntimeError, match="ended with exit code 1 before its first item"):
        told(run_jobs(Foreign(), ["a", "b", "c"], 1))


@PRELOADS
def test_workers_end_when_the_caller_stops_asking(tmp_path: Path, preload: str | None) -> None:
    items = [f"slow {tmp_path / name}" for name in "ab"]
    jobs = run_jobs(serve, items, 2, preload=preload)
    seen = set[str]()
    while seen != set(items):
        news = next(jobs)
        assert isinstance(news, Advanced)
        seen |= {news.item} if news.step == 2 else set()

    jobs.close()

    pids = [int((tmp_path / name).read_text()) for name in "ab"]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


STOPPED = """
import sys
from pathlib import Path
from datamodules.jobs.processes import run_jobs
from test_datamodules_jobs_processes import serve
if __name__ == "__main__":
    for news in run_jobs(serve, [f"slow {sys.argv[1]}"], 1):
        if news.step == 2:
            Path(sys.argv[2]).touch()
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_workers_tidy_up_and_end_when_the_caller_is_ended(
    tmp_path: Path, ending: signal.Signals
) -> None:
    script, tidy, begun = tmp_path / "run.py", tmp_path / "tidy", tmp_path / "begun"
    script.write_text(STOPPED)
    command = [sys.executable, str(script), str(tidy), str(begun)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        command, start_new_session=True, stderr=subprocess.PIPE, env=environment
    ) as job:
        wait_for(begun)
        if ending is signal.SIGINT:
            os.killpg(job.pid, ending)
        else:
            job.send_signal(ending)
        _, said = job.communicate(timeout=120)
    wait_for(tidy)
    pid = int(tidy.read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert said.decode().count("Traceback") == (ending is signal.SIGINT)


@PRELOADS
def test_interrupt_while_a_worker_starts_is_not_lost(
    preload: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[BaseProcess]()
    start = BaseProcess.start

    def interrupted(process: BaseProcess) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        start(process)
        os.kill(os.getpid(), signal.SIGINT)
        started.append(process)

    monkeypatch.setattr(BaseProcess, "start", interrupted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            told(run_jobs(serve, ["a", "b"], 1, preload=preload))
    finally:
        signal.signal(signal.SIGINT, handler)

    assert len(started) == 1
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    wait_until(lambda: not multiprocessing.active_children())


def wait_for(path: Path) -> None:
    wait_until(lambda: path.exists() and (path.name != "tidy" or path.read_text() != ""))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_cores_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    assert num_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert num_cores() == 7

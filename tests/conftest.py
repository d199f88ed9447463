"""What every test shares: where the real test data is, and quiet, single-threaded torch."""

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import sleeping_threads  # noqa: F401  (before torch)
import torch
from command_line import MESSENGER, PROJECT_ROOT, fit

from datamodules.motion_shapes.generation import MotionShapesSettings, generate_motion_shapes
from datamodules.video import segment

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
}
"""Settings of a trainer that writes nothing, on the terminal or to a log."""


@pytest.fixture(scope="session", autouse=True)
def _nothing_kept(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is known of videos outlives no test run, nor is it shared on this machine."""
    os.environ["KINETOSCOPE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["KINETOSCOPE_NODE_CACHE_GB"] = "0"


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    """Tests run on two cores; more threads only fight each other."""
    torch.set_num_threads(2)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell's background jobs ignore Ctrl-C, and would hand that on to what tests start."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For work in so small steps that threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def fork_server() -> None:
    """One fork server for all tests that use one, with what any of them needs imported."""
    needed = ["datamodules.health.decode_check", "lightning_modules.resume.checkpoint_io"]
    multiprocessing.get_context("forkserver").set_forkserver_preload(needed)
    forkserver.ensure_running()


TEST_DATA = Path(os.environ.get("KINETOSCOPE_TEST_DATA", PROJECT_ROOT.parent / "shared" / "data"))
REAL_DATA = ("data", "real")
"""Property of the tests that were given the real data."""
real_data_tests: list[str] = []
"""Names of those that ran."""


@pytest.fixture(scope="session")
def real_data_folder() -> Path:
    """Folder of real clips and lists; skips with a reason where there is none."""
    if not TEST_DATA.is_dir():
        pytest.skip(f"no real test data at {TEST_DATA}; set KINETOSCOPE_TEST_DATA to its folder")
    return TEST_DATA


@pytest.fixture
def test_data(real_data_folder: Path, request: pytest.FixtureRequest) -> Path:
    """Folder of real clips and lists (`KINETOSCOPE_TEST_DATA`, default `../shared/data`)."""
    request.node.user_properties.append(REAL_DATA)
    return real_data_folder


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the tests that were given the real data, whichever process ran them."""
    if REAL_DATA in map(tuple, report.user_properties):
        real_data_tests.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, fail a whole run that had the real data and used none of it."""
    if hasattr(session.config, "workerinput"):  # one of several processes; the first one counts
        return
    option = session.config.option
    complete = option.markexpr == "not slow and not slurm" and not option.keyword
    if "CI" in os.environ and complete and TEST_DATA.is_dir() and not real_data_tests:
        sys.stderr.write(f"\nno test ran on the real data in {TEST_DATA}\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def motion_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small MotionShapes dataset: 64 training, 16 validation and 16 test clips."""
    root = tmp_path_factory.mktemp("data") / "motion_shapes"
    settings = MotionShapesSettings(num_train=64, num_val=16, num_test=16)
    generate_motion_shapes(root, settings, num_workers=0, progress=False)
    return root


@pytest.fixture(scope="session")
def run_folder(motion_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished little fit, with the CSV and the offline W&B logger, and a callback's secrets."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINETOSCOPE_PLUGINS", "secret_plugin")
        patch.setattr(sys, "argv", ["kinetoscope", "fit", *MESSENGER])  # which W&B stores
        small = ["--trainer.logger=true", "--trainer.max_epochs=2", "--run.name=small"]
        fit(motion_root, runs, *small, *MESSENGER)
    return runs / "small" / "0"


@pytest.fixture
def class_folders(motion_root: Path, tmp_path: Path) -> Path:
    """Three classes of six own videos each, as a newcomer has them."""
    root = tmp_path / "own videos"
    for name in ("grow", "move_up", "turn_clockwise"):
        (root / name).mkdir(parents=True)
        for video in sorted((motion_root / "train" / name).glob("*.mp4"))[:6]:
            shutil.copy(video, root / name / f"clip [{video.stem}].mp4")
    return root


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that this process opens."""
    seen: list[str] = []
    open_video = segment.open_video

    def noted(path: Path) -> Any:
        seen.append(path.name)
        return open_video(path)

    monkeypatch.setattr(segment, "open_video", noted)
    return seen

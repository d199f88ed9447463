"""Library functions change nothing that the whole process shares; commands, which own it, may."""

import ast
import fnmatch
import gc
import logging
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROJECT_ROOT
from grouped import data_settings
from matplotlib import rcParams

from datamodules import VideoFolderDataModule
from datamodules.health.examination import ExaminationSettings, examine
from lightning_modules.reports.doctor.page import write_page

pytestmark = pytest.mark.usefixtures("fork_server")

PROCESS_WIDE = (
    *("os.environ", "os.environ.*", "os.putenv", "os.chdir", "os.umask", "os.nice"),
    *("torch.set_*", "torch.manual_seed", "torch.use_deterministic_algorithms"),
    *("torch.backends.*", "torch.multiprocessing.set_*", "multiprocessing.set_start_method"),
    *("warnings.filterwarnings", "warnings.simplefilter", "logging.basicConfig", "logging.disable"),
    *("*.setLevel", "*.addHandler", "matplotlib.use", "*.rcParams", "*.rcParams.*"),
    *("*.MAX_IMAGE_PIXELS", "av.logging.*", "socket.setdefaulttimeout", "*.setNumThreads"),
    *("signal.signal", "signal.pthread_sigmask", "atexit.*", "gc.*", "sys.set*", "sys.path.*"),
    *("random.seed", "random.setstate", "np.random.seed", "np.random.set_state", "np.seterr"),
    *("locale.setlocale", "resource.setrlimit", "faulthandler.enable", "jsonargparse.set_*"),
)
"""What is called or assigned."""

READING = ("os.environ.get", "gc.isenabled", "signal.getsignal", "torch.backends.cudnn.version")

ALLOWED = {
    "datamodules/annotations/splits.py": ("gc.disable", "gc.enable"),  # put back
    "datamodules/flow/extraction.py": ("torch.set_num_threads",),  # of a worker process
    "datamodules/flow/methods.py": ("self._cv2.setNumThreads",),  # OpenCV's own threads alone
    "datamodules/health/decode_check.py": ("torch.set_num_threads",),  # of a worker process
    # put back; of a worker process
    "datamodules/jobs/processes.py": ("signal.signal", "signal.pthread_sigmask"),
    "datamodules/plugins/trusted.py": ("sys.path.append",),  # a plugin that a user named
    # put back; of a forked process for good, which must not free what it inherits
    "datamodules/storage/forks.py": ("gc.disable", "gc.enable", "gc.freeze"),
    "datamodules/transcoding/work.py": ("torch.set_num_threads",),  # of a worker process
    "lightning_modules/benchmarking/runs.py": ("signal.signal",),  # put back
    "lightning_modules/reports/fonts.py": ("warnings.filterwarnings",),  # put back
    # what `fit` runs within: put back when it ends, but for the end of its workers
    "lightning_modules/resume/stop_signals.py": (
        *("signal.signal", "signal.pthread_sigmask", "atexit.register", "atexit.unregister"),
    ),
    # a resumed run goes on with the random states of the checkpoint: that is its purpose
    "lightning_modules/resume/exact_resume.py": (
        *("random.setstate", "np.random.set_state", "torch.set_rng_state"),
    ),
}
"""What library files may do, and why."""

LOGGERS = ("", "lightning", "lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "wandb")

COMMANDS = tuple(
    f"lightning_modules/{place}" for place in ("commands/*", "parsing/*", "session/*", "cli.py")
)


def dotted(node: ast.AST) -> str:
    """A name with its dots; empty for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else f"?.{node.attr}"
    return ""


def changes(tree: ast.AST) -> Iterator[str]:
    """What a file calls or assigns that is process-wide."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Call):
            names = [dotted(node.func)]
        elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            names = [dotted(node.value if isinstance(node, ast.Subscript) else node)]
        for name in names:
            wide = any(fnmatch.fnmatchcase(name, pattern) for pattern in PROCESS_WIDE)
            if wide and name not in READING:
                yield name


def test_library_files_leave_the_process_alone() -> None:
    found: dict[str, set[str]] = {}
    for package in ("models", "datamodules", "lightning_modules"):
        for path in (PROJECT_ROOT / package).rglob("*.py"):
            name = path.relative_to(PROJECT_ROOT).as_posix()
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in COMMANDS):
                names = set(changes(ast.parse(path.read_text(encoding="utf-8"))))
                found |= {name: names} if names else {}
    assert found == {name: set(names) for name, names in ALLOWED.items()}


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("os.environ['A'] = 'b'", "os.environ"),
        ("del os.environ['A']", "os.environ"),
        ("os.environ.setdefault('A', 'b')", "os.environ.setdefault"),
        ("torch.backends.cudnn.benchmark = True", "torch.backends.cudnn.benchmark"),
        ("logging.getLogger('a').setLevel(3)", "?.setLevel"),
        ("Image.MAX_IMAGE_PIXELS = None", "Image.MAX_IMAGE_PIXELS"),
        ("os.environ.get('A') or os.environ['B']", None),
    ],
)
def test_changes_are_found(source: str, change: str | None) -> None:
    assert list(changes(ast.parse(source))) == ([] if change is None else [change])


def state_of_the_process() -> dict[str, Any]:
    """What a library function might change and forget."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    return {
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "loggers": {log.name: (log.level, list(log.handlers), log.propagate) for log in loggers},
        "threads": torch.get_num_threads(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "collector": gc.isenabled(),
        "figures": dict(rcParams),
        "folder": os.getcwd(),
        "torch random": torch.get_rng_state().tolist(),
        "numpy random": np.random.get_state(legacy=True)[1].tolist(),  # type: ignore[index,union-attr] # noqa: NPY002
        "dtype": torch.get_default_dtype(),
        "precision": torch.get_float32_matmul_precision(),
    }


def test_an_examination_and_its_page_leave_the_process_as_it_was(
    class_folders: Path, tmp_path: Path
) -> None:
    data = VideoFolderDataModule(
        str(class_folders),
        **data_settings(num_frames=4, frame_stride=2, batch_size=2, num_workers=0),
    )
    before = state_of_the_process()
    found = examine(data, ExaminationSettings(tmp_path, sample=2, measure=0), allow_missing=False)
    write_page(found, tmp_path / "page.html")
    after = state_of_the_process()
    assert {key: after[key] for key in before if after[key] != before[key]} == {}


def test_loading_batches_leaves_the_process_as_it_was(class_folders: Path) -> None:
    data = VideoFolderDataModule(
        str(class_folders),
        **data_settings(num_frames=4, frame_stride=2, batch_size=2, num_workers=1),
    )
    before = state_of_the_process()
    data.setup("fit")
    next(iter(data.train_dataloader()))
    after = state_of_the_process()
    assert {key: after[key] for key in before if after[key] != before[key]} == {}

"""Disks that fail under a command: said before the work where that is possible, and no mistake."""

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_line import DEBUG, QUICKSTART, SMALL, fit

from datamodules import atomic
from lightning_modules.cli import main


@pytest.mark.parametrize("when", ["no access", "no room", "at the end"])
def test_test_that_cannot_write_says_so_before_the_first_batch_or_after_the_accuracy(
    run_folder: Path,
    motion_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    opened: list[str],
    when: str,
) -> None:
    def no_access(dir: Path) -> None:
        assert dir == tmp_path / "out"
        raise OSError(errno.EROFS, "Read-only file system")

    def no_room(file: Any, **_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if when == "no access":
        monkeypatch.setattr(atomic, "TemporaryFile", no_access)
    elif when == "no room":
        monkeypatch.setattr(atomic.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    else:
        monkeypatch.setattr(np, "savez", no_room)
    words = ["--ckpt_path", str(run_folder / "checkpoints" / "best.ckpt"), "--out"]
    words += [str(tmp_path / "out"), f"--data.root={motion_root}", *SMALL]
    with pytest.raises(SystemExit) as ended:
        main(["test", "--config", QUICKSTART, "--config", DEBUG, *words])
    assert ended.value.code == 74
    printed = capsys.readouterr()
    assert "cannot be written (" in printed.err
    assert "or name another folder with --out" in printed.err
    assert "Traceback" not in printed.err
    assert bool(opened) == ("video accuracy" in printed.out) == (when == "at the end")


def test_disk_that_fails_a_fit_is_no_mistake_in_the_command(
    motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    full = tmp_path / "small" / "0"
    full.mkdir(parents=True)
    (full / ".run.json.tmp").symlink_to("/dev/full")
    for folder in (tmp_path / "file", tmp_path):
        with pytest.raises(SystemExit) as ended:
            fit(motion_root, folder, "--run.name=small", "--run.version=0")
        assert ended.value.code == 74
        said = capsys.readouterr().err
        assert "cannot be written (" in said
        assert "name another with --run.folder" in said

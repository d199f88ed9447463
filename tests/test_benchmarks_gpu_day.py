"""`benchmarks/gpu_day.py` measures each thing once, stops in time, and goes on."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import PROJECT_ROOT

CLAIMS = {"first": 10.0, "second": 10.0, "too long": 1000.0}


@pytest.fixture
def gpu_day(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, and its folder among those that are imported from."""
    monkeypatch.syspath_prepend(str(PROJECT_ROOT / "benchmarks"))
    import gpu_day as script

    return script


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path, *more: str) -> int:
    """Its exit code."""
    words = ["gpu_day.py", "--device=cpu", "--tiny", f"--out={out}", "--pieces=agreement", *more]
    monkeypatch.setattr(sys, "argv", words)
    try:
        script.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_it_measures_once_and_goes_on(
    gpu_day: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def measure(name: str) -> dict[str, Any]:
        done.append(name)
        if name == "second":
            raise RuntimeError("the device is on fire\nand more")
        return {"clips/s": 12.5}

    cell = gpu_day.Cell
    cells = [cell(name, lambda name=name: measure(name), took) for name, took in CLAIMS.items()]
    monkeypatch.setattr(gpu_day.agreement, "cells", lambda setting: cells)
    assert run(gpu_day, monkeypatch, tmp_path, "--seconds=100") == gpu_day.AGAIN
    assert done == ["first", "second"]
    assert run(gpu_day, monkeypatch, tmp_path, "--seconds=100") == gpu_day.AGAIN
    assert run(gpu_day, monkeypatch, tmp_path, "--seconds=2000") == 0
    assert done == ["first", "second", "too long"]
    tables = (tmp_path / "tables.md").read_text()
    assert "| second |" in tables.replace("the device is on fire", "")
    assert "the device is on fire |" in tables
    assert tables.count("12.5") == 2


def test_every_piece_lists_its_measurements(gpu_day: ModuleType, tmp_path: Path) -> None:
    import torch

    for tiny in (True, False):
        setting = gpu_day.Setting(torch.device("cpu"), tiny, tmp_path)
        for piece in gpu_day.PIECES:
            names = [cell.name for cell in piece.cells(setting)]
            assert names
            assert len(set(names)) == len(names)

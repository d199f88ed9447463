"""docs/labels.md, command by command, on lists of the two forms that it shows."""

import csv
import re
from pathlib import Path

import pytest
from command_line import DEBUG
from conftest import PROJECT_ROOT
from doc_pages import commands_of
from label_lists import write_label_lists

from lightning_modules.cli import main

TEXT = (PROJECT_ROOT / "docs" / "labels.md").read_text(encoding="utf-8")
COMMANDS = commands_of("labels.md")
LISTS = re.findall(r"^```\n(path,.*?)```", TEXT, re.MULTILINE | re.DOTALL)


def test_page_is_done_from_its_first_command_to_its_last(
    motion_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kitchen").symlink_to(motion_root)
    write_label_lists(motion_root, tmp_path)
    assert [text.splitlines()[0] for text in LISTS] == ["path,verb,noun", "path,labels"]
    for command in COMMANDS:
        kind = "columns" if "columns" in " ".join(command) else "multi"
        if command[0] == "fit":
            for split in ("train", "val"):
                text = (tmp_path / f"{kind}_{split}.csv").read_text()
                (tmp_path / f"{split}.csv").write_text(text.replace(",verb,way", ",verb,noun"))
        words = [str(next(motion_root.rglob("*.mp4"))) if w == "kitchen" else w for w in command]
        if command[0] in ("fit", "test"):
            words = [*command, "--config", DEBUG]
        main(words if command[0] != "fit" else [*words, f"--run.name={kind}", "--run.version=0"])
    assert [command[0] for command in COMMANDS].count("predict") == 4
    for name in ("columns.csv", "multi.csv", "rows.csv"):
        with Path(name).open() as file:
            assert len(list(csv.DictReader(file))) >= 1
    assert Path("events.csv").is_file()

"""Batch scripts of `configs/slurm`: what they ask Slurm for, and the words that they start.

`test_lightning_modules_resume_slurm.py` runs them on a real Slurm.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import PROJECT_ROOT

from lightning_modules.cli import main

FOLDER = PROJECT_ROOT / "configs" / "slurm"
EVERY = ("--requeue", "--time=", "--open-mode=append", "--cpus-per-task=")
RANKS = (*EVERY, "--ntasks-per-node=4", "--gpus-per-node=4", "--nodes=")
FIT = (*RANKS, "--signal=USR1@180")
PASS = (*EVERY, "--array=0-", "--ntasks=1\n", "--output=slurm-%A_%a.out")
ASKED = {
    "single_node": FIT,
    "multi_node": FIT,
    "seeds": (*FIT, "--array=0-", "--output=slurm-%A_%a.out"),
    "test": RANKS,
    "doctor": PASS,
    "flow": PASS,
    "pack": PASS,
}
"""What each script promises."""

SLURM = {
    "SLURM_CPUS_PER_TASK": "8",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_NNODES": "1",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_ARRAY_TASK_COUNT": "16",
}
"""What a job's environment holds."""

GUIDE, TABLE = PROJECT_ROOT / "docs" / "scale.md", FOLDER / "README.md"
PRINTED = [
    line
    for line in re.findall(
        r"^(?:\w+=\S+ )?((?:sbatch|srun|kinetoscope) .*)$",
        GUIDE.read_text(encoding="utf-8").replace("\\\n", " "),
        re.MULTILINE,
    )
    if "$" not in line  # of a loop, or of an array
]
"""Commands of the guide, each in a line."""


def started(script: Path, words: Sequence[str], folder: Path) -> tuple[list[str], list[str]]:
    """The options that a script gives to `srun`, and the words after `kinetoscope`."""
    (folder / "srun").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (folder / "srun").chmod(0o755)
    environ = {**os.environ, **SLURM, "PATH": f"{folder}:{os.environ['PATH']}"}
    environ.pop("KINETOSCOPE", None)
    command = ["bash", str(script), *words]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return divided(done.stdout.splitlines())


def divided(words: list[str]) -> tuple[list[str], list[str]]:
    """Divide words at the program's name."""
    place = words.index("kinetoscope")
    return words[:place], words[place + 1 :]


def assert_taken(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Assert that a command takes its words: by its config, or by what it says of no videos."""
    of_a_config = words[0] in ("fit", "test", "doctor", "prepare")
    with pytest.raises(SystemExit) as ended:
        main([*words, "--print_config"] if of_a_config else words)
    said = capsys.readouterr().err
    if of_a_config:
        assert not ended.value.code, said
    else:
        assert re.search("there is nothing at|is no folder", said), said


def test_every_script_stands_in_the_guides() -> None:
    assert {path.stem for path in FOLDER.glob("*.sbatch")} == set(ASKED)
    for page in (GUIDE, TABLE):
        text = page.read_text(encoding="utf-8")
        assert all(f"{name}.sbatch" in text for name in ASKED), page


@pytest.mark.parametrize("name", ASKED)
def test_scripts_ask_for_what_they_promise(name: str) -> None:
    text = (FOLDER / f"{name}.sbatch").read_text()
    assert subprocess.run(["bash", "-n", str(FOLDER / f"{name}.sbatch")]).returncode == 0
    for word in ASKED[name]:
        assert f"#SBATCH {word}" in text
    assert ("--kill-on-bad-exit=1" in text) == (RANKS[-1] in ASKED[name])


@pytest.mark.parametrize("name", ASKED)
def test_scripts_start_a_command_that_takes_their_words(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    given = ["--config", "configs/quickstart.yaml"]
    if name in ("flow", "pack"):
        given = [str(tmp_path / "absent"), str(tmp_path / "target")]
    options, words = started(FOLDER / f"{name}.sbatch", given, tmp_path)
    assert "--cpus-per-task=8" in options
    if ASKED[name] is PASS:
        assert words[-2:] == ["--shard", "3/16"]
    if name == "seeds":
        assert words[words.index("--seed_everything") + 1] == "3"
    assert_taken(words, capsys)


@pytest.mark.parametrize("line", PRINTED)
def test_guide_gives_words_that_are_taken(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    words = shlex.split(line.replace("/shared/", f"{tmp_path}/shared/"))
    if words[0] == "sbatch":
        place = next(i for i, word in enumerate(words) if word.endswith(".sbatch"))
        _, words = started(PROJECT_ROOT / words[place], words[place + 1 :], tmp_path)
    else:
        _, words = divided(words)
    assert_taken(words, capsys)


def test_guide_has_commands() -> None:
    named = {word for line in PRINTED for word in re.findall(r"(\w+)\.sbatch", line)}
    assert named == set(ASKED)
    assert len(PRINTED) >= 11

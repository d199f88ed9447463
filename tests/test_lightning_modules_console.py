"""Every command refuses what it does not know in the same way."""

import pytest

from lightning_modules.cli import main
from lightning_modules.console import COMMAND, ToolParser
from lightning_modules.parsing.parser import VideoParser

COMPLETE = {
    "flow": ["videos", "flow"],
    "models": [],
    "compare": ["a=a.npz"],
    "predict": ["--ckpt_path=a.ckpt", "a.mp4"],
    "features": ["--ckpt_path=a.ckpt", "--out=a", "a.mp4"],
    "doctor": ["--data=VideoFolderDataModule"],
    "fit": ["--data=VideoFolderDataModule", "--model=CoSTModule"],
    "test": ["--data=VideoFolderDataModule", "--model=CoSTModule"],
}
NUMBERS = {
    "flow": "--workers",
    "models": "--frames",
    "compare": "--weights",
    "predict": "--top",
    "features": "--num_clips",
    "doctor": "--sample",
    "fit": "--seed_everything",
    "test": "--seed_everything",
}


def mistake(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence that a command ends with, and its exit code of a mistake."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("kinetoscope: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize("command", COMPLETE)
def test_unknown_option_gets_the_nearest(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = NUMBERS[command][:-1] + "Z"
    said = mistake(capsys, command, *COMPLETE[command], f"{wrong}=3")
    assert f"kinetoscope {command} has no option {wrong}; did you mean {NUMBERS[command]}" in said


@pytest.mark.parametrize("command", COMPLETE)
def test_abbreviations_are_no_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    short = NUMBERS[command][:-1]
    said = mistake(capsys, command, *COMPLETE[command], f"{short}=3")
    assert f"has no option {short}; did you mean {NUMBERS[command]}" in said


@pytest.mark.parametrize("command", [name for name in COMPLETE if name != "compare"])
def test_value_of_another_type_is_told(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    option = NUMBERS[command]
    said = mistake(capsys, command, *COMPLETE[command], f"{option}=many")
    assert f"kinetoscope: {option[2:]}=many does not fit: it must be " in said
    assert "int" in said


@pytest.mark.parametrize("command", COMPLETE)
def test_option_without_its_value_is_told(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, command, *COMPLETE[command], NUMBERS[command])
    needs = f"{NUMBERS[command]} needs a value (all options: kinetoscope {command} --help)"
    assert said == f"kinetoscope: {needs}\n"


@pytest.mark.parametrize("command", ["flow", "doctor", "fit"])
def test_word_too_many_is_told(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, command, *COMPLETE[command], "more")
    assert "the word 'more' belongs to no option" in said


def test_what_is_required_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "required and not given: SRC, DST (all" in mistake(capsys, "flow")
    assert "data must be given" in mistake(capsys, "doctor")


@pytest.mark.parametrize("command", ["flow", "models", "compare", "predict", "doctor"])
def test_help_shows_defaults_that_are_some(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert said.startswith(f"usage: kinetoscope {command} ")
    assert "(None)" not in said
    assert "(False)" not in said
    assert "default:" not in said
    shown = {"flow": "(256)", "predict": "(0.5)", "doctor": "(200)"}
    assert shown.get(command, "") in said


@pytest.mark.parametrize("parser", [ToolParser("tool", "a\nb\n\n  c\n  d"), VideoParser()])
def test_foreign_message_is_one_line(
    parser: ToolParser | VideoParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser.error("something\n  of   another library")
    said = capsys.readouterr().err
    assert said.startswith(f"{COMMAND}: something of another library (all options: ")

"""Configs that expand without bound: refused at once, before anything is made of them."""

import time
from pathlib import Path

import pytest
import yaml

from datamodules import UserError
from lightning_modules.cli import main
from lightning_modules.parsing.yaml_limits import load_limited, refuse_expansion

BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
"""Four hundred million nodes in nine lines."""


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]", "x" * 10_000_001, "a: &a {b: [1, *a]}"])
def test_what_expands_past_the_limit_is_refused_at_once(text: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(UserError, match="expands past 10 MB"):
        refuse_expansion(text)
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    "text", ["a: &a [1, 2]\nb: *a\nc: {d: *a}", "a: '*b'", "x: &x 3\ny: [*x, *x]", "{}"]
)
def test_other_configs_are_loaded_as_ever(text: str) -> None:
    assert load_limited(text) == yaml.safe_load(text)
    with pytest.raises(yaml.YAMLError):
        load_limited("a: *unknown")


@pytest.mark.parametrize("words", [["fit", "--config"], ["doctor", "--config"], ["fit", "--data"]])
def test_commands_refuse_it_in_a_sentence(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "bomb.yaml"
    config.write_text(BOMB)
    begin = time.process_time()
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*words, str(config)])
    assert time.process_time() - begin < 10  # with the imports of the command
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "expands past 10 MB" in lines[0]

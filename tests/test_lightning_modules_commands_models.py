"""`kinetoscope models`: the table, its check, and wrong input."""

from dataclasses import replace

import pytest

from lightning_modules.cli import main
from lightning_modules.commands.about import models
from models.documented import DOCUMENTED_SIZES


@pytest.mark.parametrize("row", DOCUMENTED_SIZES, ids=lambda row: f"{row.network}-{row.frames}")
def test_network_has_its_documented_size(row: models.DocumentedSize) -> None:
    measured = models.measure(row)

    assert measured.documented
    assert measured.parameters == row.parameters
    if row.gmacs is not None:
        decimals = len(str(round(row.gmacs, 6)).partition(".")[2])
        assert round(measured.macs / 1e9, decimals) == pytest.approx(row.gmacs, rel=1e-9)
        assert measured.macs / 1e9 == pytest.approx(row.gmacs, rel=1e-3)


def test_table_shows_figures_and_differences(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "tsm_r18", "cost_a_tiny", "--classes", "174"])

    out = capsys.readouterr().out
    assert "11,265,774" in out
    assert "same" in out
    assert "8 x 64" in out


def test_check_ends_with_1_on_a_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(row for row in DOCUMENTED_SIZES if row.network == "tsm_r18")
    main(["models", "tsm_r18", "--check"])
    wrong = replace(row, parameters=row.parameters + 1)
    monkeypatch.setattr(models, "DOCUMENTED_SIZES", (wrong,))

    with pytest.raises(SystemExit) as stopped:
        main(["models", "tsm_r18", "--check"])

    assert stopped.value.code == 1
    shown = capsys.readouterr()
    assert "-1" in shown.out
    assert "1 row(s) differ" in shown.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tsm_r17"], "did you mean tsm_r18"),
        (["tsm_r18", "--frames", "0"], "--frames 0 is too small"),
        (["tsm_r18", "--check", "--size", "64"], "leave out --frames"),
        (["tsm_tiny", "--check"], "nothing is documented for tsm_tiny"),
        (
            ["stnet_tiny", "--frames", "5"],
            "frames_per_segment=2 frames; make num_frames a multiple",
        ),
    ],
)
def test_wrong_input_gets_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["models", *words])

    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1

"""What tests of the command line share: a small fit, and the sentence of a mistake."""

from pathlib import Path

import pytest

from lightning_modules.cli import main

PROJECT_ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = str(PROJECT_ROOT / "configs" / "quickstart.yaml")
DEBUG = str(PROJECT_ROOT / "configs" / "override" / "debug.yaml")
MESSENGER = [
    "--trainer.callbacks=secret_plugin.Messenger",
    "--trainer.callbacks.api_key=SESAME-1",
    '--trainer.callbacks.accounts=[{"name": "me", "auth": "SESAME-2"}]',
    "--trainer.callbacks.address=https://me:SESAME-3@chat.example/",
]
SMALL = ["--data.num_train=64", "--data.num_val=16", "--data.num_test=16"]


def fit(root: Path, runs: Path, *more: str) -> None:
    """A fit of one epoch of two steps."""
    where = [f"--data.root={root}", f"--run.folder={runs}", *SMALL]
    main(["fit", "--config", QUICKSTART, "--config", DEBUG, *where, *more])


def mistake(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The sentence that a mistaken command ends with."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    lines = [line for line in printed.splitlines() if line.startswith("kinetoscope: ")]
    assert len(lines) == 1, printed
    assert "Traceback" not in printed
    assert "usage" not in printed.lower()
    return lines[0]

"""docs/explain.md: its Python block runs as it stands there, and its pictures are small."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "explain.md"
GOLDEN = Path(__file__).parent / "golden" / "checkpoints_of_835e51c"


def test_the_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shutil.copy(GOLDEN / "cost.ckpt", tmp_path / "best.ckpt")
    shutil.copy(min((GOLDEN / "videos").rglob("*.mp4")), tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block, "explain.md", "exec"), names)
    values, steps, channels = names["maps"].values, names["steps"], names["channels"]
    assert values.shape[:2] == steps.shape == (1, 4)
    assert channels.shape[::2] == (1, 4)
    bias = names["module"].network.fc.bias[names["label"]]
    with torch.no_grad():
        logit = names["module"].network(*names["clip"].inputs)[0, names["label"]]
    torch.testing.assert_close(values.mean() + bias.detach()[0], logit[0])
    # every analysis that the page names is a name of the package
    named = set(re.findall(r"`([a-z_]+|ViewShares)(?=`|\()", text.split("The families' own")[1]))
    import lightning_modules

    ours = {"similarities", "motion_field", "logits_without_block", "channels_won"}
    ours |= {"injected_motion", "ViewShares"}
    assert ours <= named & set(lightning_modules.__all__)


def test_pictures_are_there_and_small() -> None:
    text = PAGE.read_text(encoding="utf-8")
    named = {PAGE.parent / name for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)}
    assert named == {p for p in (PAGE.parent / "pictures").iterdir() if "explain" in p.name}
    assert sum(picture.stat().st_size for picture in named) < 300_000

"""Score files: read in parts, held against each other, and brought to the videos they share."""

import csv
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightning_modules.cli import main
from lightning_modules.evaluation import stored_scores
from lightning_modules.evaluation.score_files import read_contest, read_external
from lightning_modules.evaluation.stored_scores import read_scores

Array = NDArray[Any]

CLASSES = ["walk", "run", "jump"]
IDS = [f"v{i}" for i in range(9)]
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
PROTOCOL: dict[str, Any] = {
    "network": "cost_a_tiny",
    "module": "lightning_modules.CoSTModule",
    "arguments": {"optimization": {"lr": 0.1}, "init_from": None},
    "chosen": "last",
    "dataset": "MotionShapes",
    "num_clips": 2,
    "num_crops": 1,
    "size": 64,
    "average": "probabilities",
    "precision": "32-true",
    "probe": None,
    "input": {"crops": {"short_side": 64}, "normalization": {"mean": [0.5, 0.5, 0.5]}},
    "weights": "a" * 16,
    "run": {"id": "abc", "name": "r/0"},
}


def write(path: Path, protocol: dict[str, Any] | None = None, **changed: Any) -> Path:
    """A score file of nine videos; parts of its protocol and fields may be others."""
    logits = np.random.default_rng(len(path.name)).normal(size=(9, 2, 3)).astype(np.float32)
    values = {
        "video_ids": np.array(IDS),
        "labels": LABELS,
        "groups": np.array([""] * 9),
        "logits": logits,
        "class_names": np.array(CLASSES),
        "protocol": np.array(json.dumps(PROTOCOL | (protocol or {}))),
    }
    np.savez(path, **(values | changed))
    return path


def seed_of(number: int, **parts: Any) -> dict[str, Any]:
    """Another run's protocol, of the same thing but for some parts."""
    return {"weights": f"{number:016}", "run": {"id": f"run{number}", "name": "r/1"}, **parts}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4"])
@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("at_once", [1, 4 * 6, 10**6])
def test_averages_over_views_are_those_of_the_whole(
    dtype: Any, average: str, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_scores, "_CHUNK_VALUES", at_once)
    logits = np.random.default_rng(0).normal(size=(9, 2, 3), scale=5).astype(dtype)
    for save in (np.savez, np.savez_compressed):
        path = write(tmp_path / "a.npz", {"average": average}, logits=logits)
        with np.load(path) as stored:
            save(path, **dict(stored))
        found = read_scores(path)
        views = logits.astype(np.float64)
        shares = np.exp(views if average == "probabilities" else views.mean(1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        np.testing.assert_allclose(found.scores, shares.mean(1), rtol=1e-12)
        np.testing.assert_allclose(found.logits, views.mean(1), rtol=1e-12)


def test_a_few_videos_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_scores, "_CHUNK_VALUES", 12)
    sizes = []
    softmax = stored_scores.probabilities

    def noted(logits: Array, *of: Any) -> Array:
        sizes.append(logits.shape)
        return softmax(logits, *of)

    monkeypatch.setattr(stored_scores, "probabilities", noted)
    read_scores(write(tmp_path / "a.npz"))
    assert sizes == [(2, 2, 3)] * 4 + [(1, 2, 3)]


def test_damaged_and_infinite_logits_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz")
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("logits.npy")
    content = bytearray(path.read_bytes())
    content[info.header_offset + 300] ^= 1
    (tmp_path / "changed.npz").write_bytes(content)
    with pytest.raises(ValueError, match="Bad CRC-32"):
        read_scores(tmp_path / "changed.npz")
    logits = np.zeros((9, 2, 3), np.float32)
    logits[4, 1, 2] = np.inf
    with pytest.raises(ValueError, match="1 videos that are not finite, such as v4"):
        read_scores(write(tmp_path / "b.npz", logits=logits))
    with pytest.raises(ValueError, match="by column"):
        read_scores(write(tmp_path / "c.npz", logits=np.asfortranarray(logits)))
    with pytest.raises(ValueError, match="do not fit together"):
        read_scores(write(tmp_path / "d.npz", groups=np.array(["a"] * 8)))


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"network": "c2d_tiny"}, "network differs: {a} cost_a_tiny, {b} c2d_tiny"),
        ({"dataset": "UCF101 split 2"}, "dataset differs: {a} MotionShapes, {b} UCF101 split 2"),
        ({"num_clips": 10}, "num_clips differs: {a} 2, {b} 10"),
        ({"size": 48}, "size differs: {a} 64, {b} 48"),
        ({"precision": "bf16-mixed"}, "precision differs: {a} 32-true, {b} bf16-mixed"),
        ({"average": "logits"}, "average differs"),
        ({"chosen": "best val/top1"}, "chosen differs: {a} last, {b} best val/top1"),
        ({"arguments": {"optimization": {"lr": 0.2}}}, "arguments.optimization.lr differs"),
        (
            {"input": {**PROTOCOL["input"], "crops": {"short_side": 72}}},
            "input.crops.short_side differs: {a} 64, {b} 72",
        ),
        (
            {"input": {**PROTOCOL["input"], "normalization": {"mean": [0.4, 0.5, 0.5]}}},
            "input.normalization.mean differs",
        ),
        ({"weights": "a" * 16}, "tests of the same weights aaaaaaaaaaaaaaaa, which net would"),
        ({"run": {"id": "abc", "name": "r/0"}}, "tests of the same run abc, which net would"),
    ],
)
def test_what_is_no_other_seed_of_one_thing_is_refused(
    parts: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    a, b = write(tmp_path / "a.npz"), write(tmp_path / "b.npz", seed_of(2, **parts))
    with pytest.raises(ValueError, match=re.escape(sentence.format(a=a, b=b))):
        read_contest({"net": [a, b]})
    assert len(read_contest({"net": [a], "other": [b]}).contenders) == 2


def test_seeds_may_differ_in_what_makes_them_seeds(tmp_path: Path) -> None:
    parts = {"arguments": {"optimization": {"lr": 0.1}, "init_from": "other.ckpt"}, "step": 7}
    files = [write(tmp_path / "a.npz"), write(tmp_path / "b.npz", seed_of(2, **parts))]
    assert len(read_contest({"net": files}).contenders[0].scores) == 2


def test_differences_between_names_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {"network": "c2d_tiny", "input": {**PROTOCOL["input"], "crops": {"short_side": 72}}}
    a, b = write(tmp_path / "a.npz"), write(tmp_path / "b.npz", seed_of(2, **other))
    main(["compare", f"a={a}", f"b={b}", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out.splitlines()
    assert "note: input.crops.short_side differs: a 64, b 72" in said
    assert "note: of the models, network differs: a cost_a_tiny, b c2d_tiny" in said
    early = tmp_path / "c.npz"
    np.savez(early, **{**np.load(a), "protocol": np.array('{"average": "logits"}')})
    main(["compare", f"a={a}", f"c={early}", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out.splitlines()
    assert any("which weights, run and seed c had is unknown" in line for line in said)
    assert "note: average differs: a probabilities, c logits" in said


def test_shared_videos_are_compared_and_counted_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = write(
        tmp_path / "full.npz", groups=np.array(["a", "a", "b", "b", "", "c", "c", "d", ""])
    )
    stored = dict(np.load(full))
    kept = np.array([8, 3, 2, 1, 0, 4, 6])  # without v5 and v7, in another order
    fewer = tmp_path / "fewer.npz"
    rows = {name: stored[name][kept] for name in ("video_ids", "labels", "groups", "logits")}
    np.savez(fewer, **{**stored, **rows})
    with pytest.raises(ValueError, match=r"2 are only in .* such as v5; .* with --common"):
        read_contest({"fewer": [fewer], "full": [full]})
    contest = read_contest({"full": [full], "fewer": [fewer]}, common=True)
    assert list(contest.video_ids) == ["v0", "v1", "v2", "v3", "v4", "v6", "v8"]
    assert contest.labels.tolist() == [0, 1, 2, 0, 1, 0, 2]
    assert contest.groups.tolist() == [0, 0, 1, 1, 2, 3, 4]
    assert contest.left_out == 2
    first, second = contest.contenders
    np.testing.assert_array_equal(first.scores[0], second.scores[0])
    np.testing.assert_array_equal(first.logits[0], read_scores(full).logits[[0, 1, 2, 3, 4, 6, 8]])

    table = tmp_path / "idt.csv"
    scored = ["v8", "v0", "v1", "v2", "v3", "v7"]
    with table.open("w", newline="") as file:
        rows = [[name, *np.eye(3)[LABELS[int(name[1])]]] for name in scored]
        csv.writer(file).writerows([["video_id", *CLASSES], *rows])
    words = ["compare", f"full={full}", f"fewer={fewer}", "--external", f"idt={table}"]
    words += ["--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "--common" in capsys.readouterr().err
    main([*words, "--common"])
    printed = capsys.readouterr().out
    assert "note: of 9 videos, the 5 that all share" in printed
    assert "idt alone 100.00 %" in printed
    shared = read_contest({"full": [full]}, common=True, external=[table])
    assert sorted(shared.video_ids) == ["v0", "v1", "v2", "v3", "v7", "v8"]
    np.testing.assert_array_equal(
        read_external(table, shared, common=True), np.eye(3)[shared.labels]
    )
    with pytest.raises(ValueError, match="share no video"):
        read_contest({"a": [full], "b": [_renamed(full, tmp_path / "x.npz")]}, common=True)


def _renamed(path: Path, target: Path) -> Path:
    stored = dict(np.load(path))
    np.savez(target, **{**stored, "video_ids": np.array([f"w{i}" for i in range(9)])})
    return target


def test_files_of_other_groups_are_refused(tmp_path: Path) -> None:
    names = np.array(["a", "a", "", "", "", "", "", "", ""])
    known = write(tmp_path / "a.npz", groups=names)
    unknown = write(tmp_path / "b.npz", seed_of(2))
    assert read_contest({"a": [known], "b": [unknown]}).groups[:3].tolist() == [0, 0, 1]
    assert read_contest({"b": [unknown], "a": [known]}).groups[:3].tolist() == [0, 0, 1]
    names[1] = "b"
    other = write(tmp_path / "c.npz", seed_of(3), groups=names)
    with pytest.raises(ValueError, match=r"name other groups .* for v1, a and b"):
        read_contest({"a": [known], "c": [other]})

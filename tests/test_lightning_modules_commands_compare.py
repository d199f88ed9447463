"""The command `compare`: tables, pictures and page, probes, and scores of others."""

import csv
import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_scores import write_scores

from lightning_modules.cli import main
from lightning_modules.evaluation.comparison import compare
from lightning_modules.evaluation.fusion import fuse_external
from lightning_modules.evaluation.probe_drops import ClassDrop, class_drops, probed_contenders
from lightning_modules.evaluation.score_files import read_contest, read_external


def test_command_writes_tables_picture_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["walk", "run", "jump"]
    a = write_scores(tmp_path / "a.npz", np.arange(8), usual)
    b = write_scores(tmp_path / "b.npz", np.arange(8), usual, logits=np.ones((8, 2, 3)))
    out = tmp_path / "out"
    main(["compare", f"<a>={a}", f"b={b},{a}", "--out", str(out), "--weights", "1,1"])
    printed = capsys.readouterr().out
    assert "against <a>" in printed
    assert "late fusion of probabilities (<a> 0.5, b 0.5; weights as given, mean of 2" in printed
    rows = list(csv.DictReader((out / "compare.csv").read_text().splitlines()))
    assert [row["model"] for row in rows] == ["<a>", "b"]
    # all of b's first seed is called "walk", which 3 of 8 videos are
    own = float(rows[0]["top1"])
    assert float(rows[1]["top1"]) == pytest.approx((3 / 8 + own) / 2)
    assert (rows[0]["interval_over"], rows[1]["interval_over"]) == ("videos", "videos and runs")
    assert rows[1]["mcnemar_p"] == rows[1]["methods_p"] == ""  # <a> is one run
    page = (out / "compare.html").read_text()
    assert "&lt;a&gt;" in page
    assert "<a>" not in page
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "classes.csv").read_text().startswith("class,videos,<a>,b,b_gain,b_gain_low,")


def test_command_says_what_one_run_and_groups_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, usual = np.random.default_rng(10), ["walk", "run", "jump"]
    groups = np.array(["g1", "g1", "g2", "g2", "", "", "g3", "g3"])
    protocol = json.dumps({"macs": 3e8, "num_clips": 2, "num_crops": 1})
    files = [
        write_scores(
            tmp_path / f"{i}.npz",
            np.arange(8),
            usual,
            groups=groups,
            protocol=np.array(protocol),
            logits=rng.normal(size=(8, 2, 3)),
        )
        for i in range(5)
    ]
    words = [f"one={files[0]}", f"a={files[1]},{files[2]}", f"b={files[3]},{files[4]}"]
    out = tmp_path / "out"
    main(["compare", *words, "--out", str(out), "--fuse", "logits"])
    said, page = capsys.readouterr().out, (out / "compare.html").read_text()
    for sentence in (
        "the 8 videos are of 5 groups",
        "one run stands for one; another run would score otherwise",
        "adjusted over the 2 models by Holm&#x27;s method (family-wise)",
        "Benjamini and Hochberg&#x27;s (false discovery rate)",
        "late fusion of logits (one 0.333, a 0.333, b 0.333; weights as given, mean of 2",
    ):
        assert sentence in page
        assert html.unescape(sentence) in said
    assert said.count("one run cannot know") == page.count("one run cannot know") == 2
    for heading in ("Reliability", "Accuracy against cost", "Calibration (15 bins) and cost"):
        assert f">{heading}<" in page
    rows = list(csv.DictReader((out / "compare.csv").read_text().splitlines()))
    assert {row["gmacs_of_all_views"] for row in rows} == {"0.6"}
    bins = list(csv.DictReader((out / "reliability.csv").read_text().splitlines()))
    assert sum(float(row["share_of_videos"]) for row in bins) == pytest.approx(3)
    main(["compare", words[1], words[2], "--out", str(out)])
    assert "one run" not in capsys.readouterr().out.replace("one run each", "")


def test_runs_that_cannot_be_fused_one_by_one_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        write_scores(tmp_path / f"{i}.npz", np.arange(8), ["walk", "run", "jump"]) for i in range(5)
    ]
    a, b = (",".join(map(str, part)) for part in (files[:2], files[2:]))
    words = ["compare", f"a={a}", f"b={b}", "--out", str(tmp_path)]
    main(words)
    assert "late fusion" not in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--weights", "1,1"])
    assert "their runs are a 2, b 3; give as many files for each" in capsys.readouterr().err


def plain_and_reversed(folder: Path) -> tuple[Path, Path]:
    """Score files of eight videos: all right; and with each `walk` called `run`."""
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    right = np.eye(3)[labels][:, None].repeat(2, 1)
    swapped = np.eye(3)[np.array([1, 1, 2])[labels]][:, None].repeat(2, 1)
    protocol = {"average": "logits", "network": "cost_a_tiny", "weights": "5a", "probe": None}
    usual = ["walk", "run", "jump"]
    plain, other = folder / "plain.npz", folder / "reversed.npz"
    write_scores(plain, np.arange(8), usual, logits=right, protocol=np.array(json.dumps(protocol)))
    probed = np.array(json.dumps({**protocol, "probe": "reversed"}))
    # in another order of videos, which is aligned
    write_scores(other, np.arange(8)[::-1], usual, logits=swapped[::-1], protocol=probed)
    return plain, other


def test_probe_is_shown_by_what_it_costs_each_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, other = plain_and_reversed(tmp_path)
    contest = read_contest({"plain": [plain], "reversed": [other]})
    assert list(probed_contenders(contest)) == [1]
    assert class_drops(contest, compare(contest), 1) == [
        ClassDrop("walk", 3, 1.0, 0.0, "run", 1.0),
        ClassDrop("run", 3, 1.0, 1.0, "", 0.0),
        ClassDrop("jump", 2, 1.0, 1.0, "", 0.0),
    ]
    out = tmp_path / "out"
    main(["compare", f"plain={plain}", f"reversed={other}", "--out", str(out)])
    printed = capsys.readouterr().out
    assert "what reversed costs each class" in printed
    assert "note: probe differs: plain none, reversed reversed" in printed
    assert "late fusion" not in printed
    rows = list(csv.DictReader((out / "drops.csv").read_text().splitlines()))
    assert (rows[0]["class"], rows[0]["called"], rows[0]["probe"]) == ("walk", "run", "reversed")
    assert float(rows[0]["drop"]) == 1.0
    assert "What reversed costs each class" in (out / "compare.html").read_text()
    assert not list(probed_contenders(read_contest({"b": [other], "a": [plain]})))
    with pytest.raises(ValueError, match="not seeds of one thing: probe differs"):
        read_contest({"a": [plain, other]})


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"weights": "6b"}, "weights"), ({"size": 112}, "size"), ({"weights": None}, "weights")],
)
def test_probe_of_other_weights_or_clips_costs_nothing(
    changed: dict[str, Any], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name of the network was all that was looked at."""
    plain, other = plain_and_reversed(tmp_path)
    with np.load(other) as stored:
        values = dict(stored)
    protocol = json.loads(str(values["protocol"]))
    values["protocol"] = np.array(json.dumps({**protocol, **changed}))
    np.savez(other, **values)
    if changed == {"weights": None}:  # both of an earlier version
        with np.load(plain) as stored:
            values = dict(stored)
        values["protocol"] = np.array(str(values["protocol"]).replace('"5a"', "null"))
        np.savez(plain, **values)
    assert not list(probed_contenders(read_contest({"plain": [plain], "reversed": [other]})))
    out = tmp_path / "out"
    main(["compare", f"plain={plain}", f"reversed={other}", "--out", str(out)])
    printed = capsys.readouterr().out
    assert "costs each class" not in printed
    assert f"note: reversed is not plain under a probe: {named} differ, or are not known" in printed


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_external_scores_are_fused_at_unit_length(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(6)
    usual, labels = ["walk", "run", "jump"], np.array([0, 1, 2, 0, 1, 2, 0, 1])
    logits = rng.normal(size=(8, 2, 3)) + np.eye(3)[labels][:, None]
    file = write_scores(tmp_path / "net.npz", np.arange(8), usual, logits=logits)
    svm = 1000 * (rng.normal(size=(8, 3)) + np.eye(3)[labels])
    order, columns = rng.permutation(8), [2, 0, 1]
    names = np.array(usual)[columns]
    ids, shuffled = np.array([f"v{i}" for i in order]), svm[order][:, columns]
    path = tmp_path / f"idt.{kind}"
    if kind == "npz":
        np.savez(path, video_ids=ids, class_names=names, scores=shuffled)
    else:
        rows = [["video_id", *names], *([v, *r] for v, r in zip(ids, shuffled, strict=True))]
        with path.open("w", newline="") as target:
            csv.writer(target).writerows(rows)
    contest = read_contest({"net": [file]})
    np.testing.assert_allclose(read_external(path, contest), svm)
    network = logits.mean(axis=1).astype(np.float32)
    both = [s / np.sqrt((s**2).sum(1, keepdims=True)) for s in (network, svm)]
    (found,) = fuse_external(contest, read_external(path, contest))
    assert found.alone == np.mean(network.argmax(1) == labels)
    assert found.external == np.mean(svm.argmax(1) == labels)
    assert found.fused == np.mean((both[0] + both[1]).argmax(1) == labels)
    assert found.fused != found.external  # or the length of the scores would not matter
    words = ["compare", f"net={file}", "--external", f"idt={path}", "--out", str(tmp_path / "o")]
    main(words)
    sentence = f"top-1 {100 * found.fused:.2f} %, alone {100 * found.alone:.2f} %"
    assert sentence in capsys.readouterr().out
    assert sentence in (tmp_path / "o" / "compare.html").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a.npz"], "is no NAME=FILE"),
        (["a=a.npz", "a=b.npz"], "given twice"),
        (["a=a.npz,a.npz"], "names a file twice"),
        (["a=absent.npz"], "there is no score file"),
        (["a={file}", "--weights", "search"], "needs a second model"),
        (["a={file}", "b={file}", "--weights", "1"], "not one number from 0 on for each of 2"),
        (["a={file}", "--external", "idt.csv"], "--external 'idt.csv' is no NAME=FILE"),
    ],
)
def test_command_refuses_in_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_scores(tmp_path / "a.npz", np.arange(8), ["walk", "run", "jump"])
    with pytest.raises(SystemExit, match="2"):
        main(["compare", *(word.format(file=file) for word in words), "--out", str(tmp_path)])
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1

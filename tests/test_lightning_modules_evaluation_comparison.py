"""Comparing score files: alignment, intervals and paired tests whose answers are known."""

import csv
import html
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from lightning_modules.cli import main
from lightning_modules.evaluation.comparison import compare
from lightning_modules.evaluation.fusion import fuse_external
from lightning_modules.evaluation.multiplicity import holm
from lightning_modules.evaluation.probe_drops import ClassDrop, class_drops, probed_contenders
from lightning_modules.evaluation.score_files import (
    Contender,
    Contest,
    read_contest,
    read_external,
)

Array = NDArray[Any]


def contest_of(labels: Array, num_classes: int, *models: list[Array]) -> Contest:
    """A contest of models whose guesses are given, a list of seeds for each."""
    contenders = [
        Contender(f"model {i}", [np.eye(num_classes)[guess] for guess in seeds], {}, [])
        for i, seeds in enumerate(models)
    ]
    ids = [f"video {i}" for i in range(len(labels))]
    names = [f"class {k}" for k in range(num_classes)]
    return Contest(ids, labels, names, contenders, np.arange(len(labels)))


def guesses(rng: np.random.Generator, labels: Array, right: Array, num_classes: int) -> Array:
    """The label where right, else another class."""
    other = (labels + rng.integers(1, num_classes, size=len(labels))) % num_classes
    return np.where(right, labels, other)


def test_planted_gain_is_found() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(20, size=2000)
    right = rng.random(2000) < 0.7
    better = right.copy()
    # 10 % of the answers differ, 3 points more of them for the better
    wrong, correct = np.flatnonzero(~right), np.flatnonzero(right)
    better[rng.choice(wrong, 130, replace=False)] = True
    better[rng.choice(correct, 70, replace=False)] = False
    contest = contest_of(
        labels, 20, [guesses(rng, labels, right, 20)], [guesses(rng, labels, better, 20)]
    )
    found = compare(contest)
    (paired,) = found.against_first
    gain = paired.gains["top1"]
    assert gain.estimate.value == pytest.approx(0.03)
    assert gain.estimate.low > 0
    assert gain.runs_p < 1e-4
    assert gain.methods_p is None
    assert paired.tests.mcnemar is not None
    assert paired.tests.mcnemar < 1e-4
    assert (paired.only_first, paired.only_other) == (70, 130)
    assert found.accuracy[1]["top1"].value == pytest.approx(better.mean())


def test_metrics_equal_a_plain_oracle() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(7, size=200)
    labels[labels == 3] = 4  # a class without videos
    scores = rng.random((200, 7))
    scores[::5] = 0.5  # ties
    model = Contender("a", [scores], {}, [])
    ids = [str(i) for i in range(200)]
    contest = Contest(ids, labels, list("abcdefg"), [model], np.arange(200))
    found = compare(contest)
    order = np.argsort(-scores, axis=1, kind="stable")
    top5 = np.mean([label in row[:5] for label, row in zip(labels, order, strict=True)])
    recall = [np.mean(order[labels == k, 0] == k) for k in (0, 1, 2, 4, 5, 6)]
    assert found.accuracy[0]["top1"].value == pytest.approx(np.mean(order[:, 0] == labels))
    assert found.accuracy[0]["top5"].value == pytest.approx(top5)
    assert found.accuracy[0]["mean_class"].value == pytest.approx(np.mean(recall))
    assert np.isnan(found.per_class[0, 3])


def test_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(7, size=300), rng.random((300, 7))
    ids = [str(i) for i in range(300)]
    model = Contender("a", [scores], {}, [])
    found = compare(Contest(ids, labels, list("abcdefg"), [model], np.arange(300)))
    (values,), called = found.accuracy, scores.argmax(axis=1)
    assert values["top1"].value == pytest.approx(metrics.accuracy_score(labels, called))
    expected = metrics.top_k_accuracy_score(labels, scores, k=5)
    assert values["top5"].value == pytest.approx(expected)
    expected = metrics.balanced_accuracy_score(labels, called)
    assert values["mean_class"].value == pytest.approx(expected)


def test_classes_of_equal_models_are_seldom_called_different() -> None:
    """Of 40 classes the best and worst look significant; adjusted, in few contests any does."""
    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(40), 20)
    looked, alarms = 0, 0
    for _ in range(30):
        first, other = (guesses(rng, labels, rng.random(800) < 0.7, 40) for _ in range(2))
        (paired,) = compare(contest_of(labels, 40, [first], [other])).against_first
        looked += min(gain.runs_p for gain in paired.classes if gain) < 0.05
        alarms += bool((paired.class_p < 0.05).any())
    assert looked > 20
    assert alarms <= 5


def test_p_of_several_models_are_adjusted_together() -> None:
    rng = np.random.default_rng(8)
    labels = np.repeat(np.arange(4), 100)
    models = [[guesses(rng, labels, rng.random(400) < share, 4)] for share in (0.6, 0.7, 0.7, 0.6)]
    found = compare(contest_of(labels, 4, *models)).against_first
    alone = [paired.tests.runs for paired in found]
    assert [paired.adjusted.runs for paired in found] == holm(alone)
    exact = [paired.tests.mcnemar for paired in found]
    assert [paired.adjusted.mcnemar for paired in found] == holm(
        [p for p in exact if p is not None]
    )
    assert [paired.adjusted.methods for paired in found] == [None] * 3


def test_mcnemar_is_silent_on_groups_and_on_several_runs() -> None:
    rng = np.random.default_rng(9)
    labels = np.zeros(60, int)
    models = [[guesses(rng, labels, rng.random(60) < 0.6, 3)] for _ in range(2)]
    alone = contest_of(labels, 3, *models)
    assert compare(alone).against_first[0].tests.mcnemar is not None
    grouped = replace(alone, groups=np.arange(60) // 3)
    assert compare(grouped).against_first[0].tests.mcnemar is None
    more = contest_of(labels, 3, models[0] * 2, models[1])
    assert compare(more).against_first[0].tests.mcnemar is None


def write_scores(path: Path, order: Array, classes: list[str], **changed: Any) -> Path:
    """A score file of eight videos in some order, over classes in some order."""
    names = np.array(["walk", "run", "jump"])
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    logits = np.random.default_rng(5).normal(size=(8, 2, 3))
    columns = [list(names).index(name) if name in names else 0 for name in classes]
    values = {
        "video_ids": np.array([f"v{i}" for i in range(8)])[order],
        "labels": np.array([columns.index(label) for label in labels])[order],
        "logits": logits[order][:, :, columns].astype(np.float32),
        "class_names": np.array(classes),
        "protocol": np.array(json.dumps({"average": "probabilities"})),
    }
    np.savez(path, **(values | changed))
    return path


def test_files_are_aligned_by_video_and_class(tmp_path: Path) -> None:
    usual = ["walk", "run", "jump"]
    first = write_scores(tmp_path / "a.npz", np.arange(8), usual)
    other = write_scores(tmp_path / "b.npz", np.arange(8)[::-1], ["jump", "walk", "run"])
    contest = read_contest({"a": [first], "b": [other]})
    a, b = contest.contenders
    np.testing.assert_allclose(a.scores[0], b.scores[0])
    assert list(contest.video_ids) == [f"v{i}" for i in range(8)]
    (paired,) = compare(contest).against_first
    assert paired.agreement == 1
    assert paired.gains["top1"].estimate.value == 0


def test_groups_are_numbered_and_unknown_ones_are_alone(tmp_path: Path) -> None:
    usual = ["walk", "run", "jump"]
    names = np.array(["g1", "", "g2", "", "g1", "g2", "7", ""])
    known = write_scores(tmp_path / "a.npz", np.arange(8), usual, groups=names)
    assert read_contest({"a": [known]}).groups.tolist() == [0, 1, 2, 3, 0, 2, 4, 5]
    without = write_scores(tmp_path / "b.npz", np.arange(8), usual)
    assert read_contest({"b": [without]}).groups.tolist() == list(range(8))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"class_names": np.array(["walk", "run", "hop"])}, "not tested on the same classes"),
        ({"video_ids": np.array([f"w{i}" for i in range(8)])}, "not tested on the same videos"),
        ({"video_ids": np.array(["v0"] * 8)}, "names a video twice"),
        ({"labels": np.array([1, 1, 2, 0, 1, 2, 0, 1])}, "disagree on the class of 1 videos"),
        ({"logits": np.full((8, 2, 3), np.nan)}, "not finite"),
        ({"logits": np.zeros((7, 2, 3))}, "do not fit together"),
    ],
)
def test_files_that_cannot_be_compared_are_refused(
    changed: dict[str, Array], sentence: str, tmp_path: Path
) -> None:
    usual = ["walk", "run", "jump"]
    first = write_scores(tmp_path / "a.npz", np.arange(8), usual)
    other = write_scores(tmp_path / "b.npz", np.arange(8), usual, **changed)
    with pytest.raises(ValueError, match=sentence):
        read_contest({"a": [first], "b": [other]})


def test_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no scores")
    with pytest.raises(ValueError, match="is not a whole score file"):
        read_contest({"a": [tmp_path / "text.npz"]})
    with pytest.raises(ValueError, match=r"absent.npz; `kinetoscope test` writes one"):
        read_contest({"a": [tmp_path / "absent.npz"]})
    write_scores(tmp_path / "scores_val_5x1.npz", np.arange(8), ["walk", "run", "jump"])
    with pytest.raises(ValueError, match=r"absent.npz; beside it there is scores_val_5x1.npz"):
        read_contest({"a": [tmp_path / "absent.npz"]})


def test_no_interval_of_a_log_loss_ends_below_zero() -> None:
    """Of two groups of videos nobody knows more than that it is not negative."""
    labels = np.array([0, 1, 0, 1])
    scores = [np.array([[0.6, 0.4], [0.4, 0.6], [0.5, 0.5], [0.9, 0.1]])]
    contender = Contender("one", scores, {}, scores)
    groups = np.array([0, 0, 1, 1])
    contest = Contest(["a", "b", "c", "d"], labels, ["x", "y"], [contender], groups)
    (loss,) = compare(contest).log_loss
    assert loss.low == 0
    assert loss.high > loss.value > 0


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
    ("text", "sentence"),
    [
        ("video_id,walk,run,hop\nv0,1,2,3\n", "not tested on the same classes"),
        ("video_id,walk,run,jump\nv0,1,2,3\n", "not tested on the same videos"),
        ("video_id,walk,run,jump\nv0,1,2\n", "do not fit scores of the shape"),
        ("video_id,walk,run,jump\nv0,1,2,nan\n", "some are not finite"),
        ("video_id,walk,run,jump\nv0,1,2,x\n", "holds no external scores"),
        ("v0,1,2,3\n", "its first column is 'v0', not video_id"),
        ("", "holds no external scores"),
        ("video_id,walk,run,jump\nv0,1,2,3\nv0,1,2,3\n", "names a video or a class twice"),
    ],
)
def test_external_scores_that_do_not_fit_are_refused(
    text: str, sentence: str, tmp_path: Path
) -> None:
    usual = ["walk", "run", "jump"]
    contest = read_contest({"a": [write_scores(tmp_path / "a.npz", np.arange(8), usual)]})
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_external(tmp_path / "b.csv", contest)
    with pytest.raises(ValueError, match="there is no file of external scores"):
        read_external(tmp_path / "c.csv", contest)


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

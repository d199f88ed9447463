"""Comparing score files: alignment, intervals and paired tests whose answers are known."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightning_modules.cli import main
from lightning_modules.evaluation.comparison import compare, mcnemar_p
from lightning_modules.evaluation.fusion import Fusion, fuse, fuse_external, search_fusion
from lightning_modules.evaluation.probe_drops import ClassDrop, class_drops, probed_contenders
from lightning_modules.evaluation.score_files import (
    Contender,
    Contest,
    probabilities,
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


def test_interval_of_equal_models_holds_zero_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(500):
        labels = rng.integers(10, size=200)
        first, other = (guesses(rng, labels, rng.random(200) < 0.7, 10) for _ in range(2))
        contest = contest_of(labels, 10, [first], [other])
        (paired,) = compare(contest, replicates=300, seed=trial).against_first
        interval = paired.difference["top1"]
        held += interval.low <= 0 <= interval.high
    assert 460 <= held <= 490  # 92-98 %


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
    assert paired.difference["top1"].value == pytest.approx(0.03)
    assert paired.difference["top1"].low > 0
    assert paired.bootstrap_p < 0.01
    assert paired.mcnemar_p is not None
    assert paired.mcnemar_p < 1e-4
    assert (paired.only_first, paired.only_other) == (70, 130)
    assert found.accuracy[1]["top1"].value == pytest.approx(better.mean())


def test_mcnemar_is_the_binomial_tail() -> None:
    # 2 * (1 + 10 + 45) / 2**10, by hand
    assert mcnemar_p(2, 8) == pytest.approx(112 / 1024)
    assert mcnemar_p(8, 2) == mcnemar_p(2, 8)
    assert mcnemar_p(5, 5) == 1.0
    assert mcnemar_p(0, 0) == 1.0
    assert 0 < mcnemar_p(2000, 2200) < 0.01


def test_metrics_equal_a_plain_oracle() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(7, size=200)
    labels[labels == 3] = 4  # a class without videos
    scores = rng.random((200, 7))
    scores[::5] = 0.5  # ties
    model = Contender("a", [scores], {}, [])
    ids = [str(i) for i in range(200)]
    contest = Contest(ids, labels, list("abcdefg"), [model], np.arange(200))
    found = compare(contest, replicates=50)
    order = np.argsort(-scores, axis=1, kind="stable")
    top5 = np.mean([label in row[:5] for label, row in zip(labels, order, strict=True)])
    recall = [np.mean(order[labels == k, 0] == k) for k in (0, 1, 2, 4, 5, 6)]
    assert found.accuracy[0]["top1"].value == pytest.approx(np.mean(order[:, 0] == labels))
    assert found.accuracy[0]["top5"].value == pytest.approx(top5)
    assert found.accuracy[0]["mean_class"].value == pytest.approx(np.mean(recall))
    assert np.isnan(found.per_class[0, 3])


def test_seeds_widen_the_interval_by_their_own_spread() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(5, size=1000)
    rights = [rng.random(1000) < share for share in (0.6, 0.7, 0.8)]
    seeds = [guesses(rng, labels, right, 5) for right in rights]
    spread = compare(contest_of(labels, 5, seeds)).accuracy[0]["top1"]
    same = compare(contest_of(labels, 5, [seeds[1]] * 3)).accuracy[0]["top1"]
    assert spread.high - spread.low > 3 * (same.high - same.low)
    # the mean of three has the standard error 0.1 / sqrt(3), of which the interval is 3.9
    assert spread.high - spread.low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(3), rel=0.2)
    assert spread.value == pytest.approx(np.mean(rights))


def test_fusion_reports_on_videos_that_the_weights_never_saw() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(6, size=600)
    noise = [rng.normal(size=(600, 6)) for _ in range(2)]
    scores = [probabilities(2 * np.eye(6)[labels] + n) for n in noise]
    contenders = [Contender(f"m{i}", [s], {}, []) for i, s in enumerate(scores)]
    ids = [f"v{i}" for i in range(600)]
    contest = Contest(ids, labels, list("abcdef"), contenders, np.arange(600))
    found = search_fusion(contest)
    assert found.videos + found.searched_on == 600
    assert 0.35 < found.videos / 600 < 0.65
    assert found.top1 > found.best_single
    assert sum(found.weights) == pytest.approx(1)
    by_hand = np.mean((0.75 * scores[0] + 0.25 * scores[1]).argmax(1) == labels)
    assert fuse(contest, [3, 1]) == Fusion(
        (0.75, 0.25),
        by_hand,
        pytest.approx(max(np.mean(s.argmax(1) == labels) for s in scores)),
        600,
        0,
    )


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
    (paired,) = compare(contest, replicates=100).against_first
    assert paired.agreement == 1
    assert paired.difference["top1"].value == 0


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
    with pytest.raises(ValueError, match="not a score file"):
        read_contest({"a": [tmp_path / "text.npz"]})
    with pytest.raises(ValueError, match="there is no score file"):
        read_contest({"a": [tmp_path / "absent.npz"]})


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
    assert "late fusion (<a> 0.5, b 0.5; weights as given)" in printed
    rows = list(csv.DictReader((out / "compare.csv").read_text().splitlines()))
    assert [row["model"] for row in rows] == ["<a>", "b"]
    # all of b's first seed is called "walk", which 3 of 8 videos are
    own = float(rows[0]["top1"])
    assert float(rows[1]["top1"]) == pytest.approx((3 / 8 + own) / 2)
    assert rows[1]["mcnemar_p"] == ""
    page = (out / "compare.html").read_text()
    assert "&lt;a&gt;" in page
    assert "<a>" not in page
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "classes.csv").read_text().startswith("class,videos,<a>,b\nwalk,3,")


def plain_and_reversed(folder: Path) -> tuple[Path, Path]:
    """Score files of eight videos: all right; and with each `walk` called `run`."""
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    right = np.eye(3)[labels][:, None].repeat(2, 1)
    swapped = np.eye(3)[np.array([1, 1, 2])[labels]][:, None].repeat(2, 1)
    protocol = {"average": "logits", "network": "cost_a_tiny", "probe": None}
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
    assert class_drops(contest, compare(contest, 100), 1) == [
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
    with pytest.raises(ValueError, match="files of a were not tested under one probe"):
        read_contest({"a": [plain, other]})


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
        (["a={file}", "b={file}", "--replicates", "0"], "--replicates 0"),
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

"""Videos with several classes, from the loss to score files, `predict`, `compare` and exports."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import DEBUG, PROJECT_ROOT, mistake
from label_lists import COLUMNS, MULTI, write_label_lists
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score

from datamodules import LabelForm, UserError
from lightning_modules import BaselineModule, load
from lightning_modules.checkpoints import open_checkpoint
from lightning_modules.cli import main
from lightning_modules.evaluation.score_files import Contender, Contest
from lightning_modules.evaluation.several_labels.comparison import (
    compare_several,
    mean_average_precision,
)
from lightning_modules.evaluation.several_labels.figures import column_hits, figures_of_scores
from lightning_modules.evaluation.stored_scores import read_scores
from lightning_modules.prediction.answers import Answers, read_thresholds
from lightning_modules.training.label_heads import ColumnLoss, LabelHead, make_loss
from lightning_modules.training.metrics import make_metrics
from lightning_modules.training.several_labels import (
    ClassPrecision,
    ColumnConfusion,
    MeanAveragePrecision,
    average_precisions,
)

Array = NDArray[Any]
MANY = LabelForm("multi")
VERB_NOUN = LabelForm("columns", ("verb", "noun"))
GROUPS = {"verb": [0, 1, 2], "noun": [3, 4, 5, 6, 7, 8, 9]}


def charades_precision(scores: Array, marks: Array) -> float:
    """AP of a class as `Charades_v1_classify.m` goes through the ranking, video by video."""
    right, total = 0, 0.0
    for rank, video in enumerate(sorted(range(len(scores)), key=lambda i: -scores[i]), 1):
        if marks[video]:
            right += 1
            total += right / rank
    return total / right


def drawn(seed: int, videos: int = 40, classes: int = 10) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    marks = (rng.random((videos, classes)) < 0.2).astype(np.uint8)
    marks[:, 3] = 0  # of which there is no video
    marks[:5] = 0
    return rng.normal(size=(videos, classes)).astype(np.float32), marks


def test_average_precision_is_that_of_charades_and_of_scikit_learn() -> None:
    for seed in range(20):
        scores, marks = drawn(seed)
        found = average_precisions(scores, marks)
        there = np.flatnonzero(marks.any(axis=0))
        assert np.isnan(np.delete(found, there)).all()
        slow = [charades_precision(scores[:, k], marks[:, k]) for k in there]
        np.testing.assert_allclose(found[there], slow, rtol=1e-12)
        tied = np.round(scores)  # many equal scores
        other = [average_precision_score(marks[:, k], tied[:, k]) for k in there]
        np.testing.assert_allclose(average_precisions(tied, marks)[there], other, rtol=1e-12)


def test_mean_average_precision_does_not_depend_on_batches() -> None:
    scores, marks = drawn(0)
    scores[:10] = np.abs(scores[:10]) % 1  # logits of a batch that all look like probabilities
    for skips, rows in ((False, slice(None)), (True, marks.any(axis=1))):
        mean, each = MeanAveragePrecision(10, skips), ClassPrecision(10, skips)
        for batch in np.split(np.arange(40), [10, 10, 13]):  # one of them empty
            given = torch.from_numpy(scores[batch]), torch.from_numpy(marks[batch])
            mean.update(*given)
            each.update(*given)
        expected = average_precisions(scores[rows], marks[rows])
        assert float(mean.compute()) == pytest.approx(np.nanmean(expected), rel=1e-6)
        np.testing.assert_allclose(each.compute()[:, 0], expected, rtol=1e-6)
        np.testing.assert_array_equal(each.compute()[:, 1], marks.sum(axis=0))
    nothing = MeanAveragePrecision(3, False)
    nothing.update(torch.zeros(0, 3), torch.zeros(0, 3))
    assert torch.isnan(nothing.compute())


def columns_drawn(seed: int) -> tuple[Array, Array]:
    """Scores and marks of a class of each column, or of none."""
    rng = np.random.default_rng(seed)
    scores, marks = rng.normal(size=(30, 10)).astype(np.float32), np.zeros((30, 10), np.uint8)
    for labels in GROUPS.values():
        for row in np.flatnonzero(rng.random(30) < 0.8):
            marks[row, rng.choice(labels)] = 1
    return scores, marks


def test_column_metrics_equal_loops_over_videos() -> None:
    scores, marks = columns_drawn(0)
    metrics = make_metrics(VERB_NOUN, GROUPS, 10, "val/")
    confusion = ColumnConfusion(list(GROUPS.values()), 10)
    for batch in np.split(np.arange(30), [7, 20]):
        metrics.update(torch.from_numpy(scores[batch]), torch.from_numpy(marks[batch]))
        confusion.update(torch.from_numpy(scores[batch]), torch.from_numpy(marks[batch]))
    right: dict[str, list[bool]] = {"verb": [], "noun": [], "noun5": [], "action": []}
    counts = np.zeros((10, 10), int)
    for row, marked in zip(scores, marks, strict=True):
        hits = []
        for column, labels in GROUPS.items():
            own = [k for k in labels if marked[k]]
            ranked = sorted(labels, key=lambda k, row=row: -row[k])
            if own:
                hits.append(ranked[0] == own[0])
                right[column].append(hits[-1])
                counts[own[0], ranked[0]] += 1
                if column == "noun":
                    right["noun5"].append(own[0] in ranked[:5])
        if len(hits) == 2:
            right["action"].append(all(hits))
    expected = {name: np.mean(values) for name, values in right.items()}
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert found == pytest.approx(
        {
            "val/verb_top1": expected["verb"],
            "val/noun_top1": expected["noun"],
            "val/noun_top5": expected["noun5"],
            "val/action_top1": expected["action"],
        }
    )
    np.testing.assert_array_equal(confusion.compute(), counts)


def test_losses_equal_loops_over_classes() -> None:
    scores, marks = columns_drawn(1)
    logits, targets = torch.from_numpy(scores), torch.from_numpy(marks).float()
    each, of_columns = [], {column: list[float]() for column in GROUPS}
    for row, marked in zip(scores.astype(float), marks, strict=True):
        losses = []
        for column, labels in GROUPS.items():
            own = [k for k in labels if marked[k]]
            if own:
                losses.append(np.log(np.exp(row[labels]).sum()) - row[own[0]])
                of_columns[column].append(losses[-1])
        each.append(np.mean(losses) if losses else 0.0)
    head = LabelHead(VERB_NOUN, GROUPS)
    np.testing.assert_allclose(head.losses(logits, targets), each, rtol=1e-5)
    expected = np.mean([np.mean(losses) for losses in of_columns.values()])
    loss = make_loss(None, 0.0, VERB_NOUN, GROUPS)
    assert float(loss(logits, targets)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(logits, torch.zeros_like(targets))) == 0  # nothing is labelled
    shares = 1 / (1 + np.exp(-scores.astype(float)))
    binary = -np.where(marks > 0, np.log(shares), np.log(1 - shares))
    found_each = LabelHead(MANY, {}).losses(logits, targets)
    np.testing.assert_allclose(found_each, binary.mean(axis=1), rtol=1e-5)
    found = float(make_loss(None, 0.0, MANY, {})(logits, targets))
    assert found == pytest.approx(binary.mean(), rel=1e-5)


def test_columns_of_fully_labelled_mixed_clips_have_the_usual_cross_entropy() -> None:
    scores, marks = columns_drawn(2)
    rows = np.flatnonzero(marks.sum(axis=1) == 2)
    logits, marked = torch.from_numpy(scores[rows]), torch.from_numpy(marks[rows]).float()
    mixed = torch.lerp(marked.roll(-1, 0), marked, 0.7)
    found = float(ColumnLoss(GROUPS, 0.1)(logits, mixed))
    usual = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    parts = [float(usual(logits[:, k], mixed[:, k])) for k in GROUPS.values()]
    assert found == pytest.approx(np.mean(parts), rel=1e-5)


def test_settings_without_meaning_are_refused() -> None:
    def module(**more: Any) -> BaselineModule:
        return BaselineModule("c2d_tiny", num_classes=4, class_names=list("abcd"), **more)

    many = MANY.as_dict()
    with pytest.raises(UserError, match=r"label_smoothing=0\.1 spreads one class"):
        module(label_form=many, label_smoothing=0.1)
    with pytest.raises(UserError, match="average=maximum takes each class by itself"):
        module(average="maximum")
    with pytest.raises(UserError, match="'a' belongs to none of the columns"):
        module(label_form=VERB_NOUN.as_dict())
    assert module(label_form=many, average="maximum").label_form == MANY


def test_columns_follow_the_order_of_the_classes() -> None:
    names = ["verb:a", "verb:b", "noun:c", "noun:d", "noun:e"]
    more: dict[str, Any] = {"label_form": VERB_NOUN.as_dict(), "label_smoothing": 0.1}
    ours, theirs = (
        BaselineModule("c2d_tiny", num_classes=5, class_names=order, **more)
        for order in (names, names[::-1])
    )
    theirs._name_classes(names)
    logits = torch.randn(6, 5)
    marks = torch.eye(5)[[0, 1, 1, 0, 1, 0]] + torch.eye(5)[[2, 3, 4, 2, 3, 4]]
    torch.testing.assert_close(theirs.criterion(logits, marks), ours.criterion(logits, marks))
    losses = (module.head.losses(logits, marks) for module in (ours, theirs))
    torch.testing.assert_close(*losses)
    for module in (ours, theirs):
        module.val_metrics.update(logits, marks)
    assert theirs.val_metrics.compute() == ours.val_metrics.compute()


def test_views_are_joined_as_said() -> None:
    logits = torch.randn(2, 3, 4)
    shares = logits.double().sigmoid()
    for average, expected in (
        ("probabilities", shares.mean(1)),
        ("maximum", shares.amax(1)),
        ("logits", logits.double().mean(1)),
    ):
        more: dict[str, Any] = {"label_form": MANY.as_dict(), "average": average}
        module = BaselineModule("c2d_tiny", num_classes=4, class_names=list("abcd"), **more)
        torch.testing.assert_close(module.video_scores(logits).double(), expected)


def test_answers_name_classes_as_labels_are() -> None:
    shares = torch.tensor([0.2, 0.7, 0.1, 0.4, 0.6])
    names = ["verb:a", "verb:b", "verb:c", "noun:d", "noun:e"]
    best = Answers(LabelForm(), names, 2).choose(shares)
    assert [(a.label, a.unlisted) for a in best] == [("verb:b", None), ("noun:e", None)]
    each = Answers(VERB_NOUN, names).choose(shares)
    assert [a.label for a in each] == ["verb:b", "noun:e"]
    assert [a.unlisted for a in each] == pytest.approx([0.2, 0.4])
    above = Answers(MANY, names, threshold=0.3, thresholds={"noun:e": 0.65}).choose(shares)
    assert [a.label for a in above] == ["verb:b", "noun:d"]
    assert above[0].unlisted == pytest.approx(0.6)
    none = Answers(MANY, names, threshold=0.9)
    assert none.choose(shares) == []
    assert [a.label for a in none.choose(shares, at_least_one=True)] == ["verb:b"]
    for wrong, said in (
        ({"threshold": 0.0}, "above 0"),
        ({"thresholds": {"x": 0.5}}, "'x'"),
        ({"top": 0}, "at least 1"),
    ):
        with pytest.raises(UserError, match=said):
            Answers(MANY, names, **wrong)
    with pytest.raises(UserError, match="no meaning for labels of one class"):
        Answers(LabelForm(), names, threshold=0.5)


def test_thresholds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.csv"
    path.write_text('class,threshold\n"run, fast",0.25\nwalk,0.75\n')
    assert read_thresholds(path) == {"run, fast": 0.25, "walk": 0.75}
    for text in ("walk\n", "walk,high\n", "walk,0.1\nwalk,0.2\n"):
        path.write_text(text)
        with pytest.raises(UserError, match="no class and its threshold"):
            read_thresholds(path)


@pytest.fixture(scope="module")
def runs(motion_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two little fits, `multi` and `columns`, and their tests."""
    folder = tmp_path_factory.mktemp("several")
    write_label_lists(motion_root, folder)
    for kind, option in (("multi", "--data.multi_label=true"), ("columns", COLUMN_OPTION)):
        lists = [f"--data.{s}_list={folder / f'{kind}_{s}.csv'}" for s in ("train", "val", "test")]
        where = [f"--data.root={motion_root}", f"--run.folder={folder}", f"--run.name={kind}"]
        more = [option, *(MIXED if kind == "columns" else [])]
        main(["fit", *LAYERS, *where, *lists, *more])
        checkpoint = folder / kind / "0" / "checkpoints" / "last.ckpt"
        average = ["--model.average=maximum"] if kind == "multi" else []
        config = str(folder / kind / "0" / "config.yaml")
        views = ["--data.evaluation.num_clips=2", "--trainer.limit_test_batches=1.0"]
        main(["test", "--config", config, f"--ckpt_path={checkpoint}", *views, *average])
    return folder


LAYERS = ["--config", "data/video_folder", "--config", "model/cost_a_tiny", "--config", DEBUG]
COLUMN_OPTION = "--data.label_columns=[verb,way]"
MIXED = ["--data.augmentation.mixup_alpha=0.4", "--model.label_smoothing=0.1"]


def test_fit_reports_every_class(runs: Path) -> None:
    metrics = (runs / "multi" / "0" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"val/mAP", "val/loss", "train/loss"} <= set(metrics)
    assert "val/top1" not in metrics
    metrics = (runs / "columns" / "0" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"val/verb_top1", "val/way_top1", "val/action_top1", "train/verb_top1"} <= set(metrics)
    rows = list(csv.DictReader((runs / "multi" / "0" / "per_class.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == MULTI
    assert list(rows[0]) == ["class", "videos", "average_precision"]
    for kind in ("multi", "columns"):
        content = torch.load(runs / kind / "0" / "checkpoints" / "best.ckpt", weights_only=True)
        assert LabelForm.of(content["label_form"]).kind == kind
        (best,) = [s for s in content["callbacks"].values() if s.get("monitor")]
        assert best["monitor"] == f"val/{LabelForm.of(content['label_form']).headline}"


def test_score_file_holds_marks_and_gives_the_number(runs: Path) -> None:
    stored = read_scores(runs / "multi" / "0" / "scores_test_2x1.npz")
    assert (stored.labels.shape, stored.class_names) == ((16, 10), MULTI)
    with np.load(stored.path) as file:
        assert file["labels"].dtype == np.uint8
        highest = (1 / (1 + np.exp(-file["logits"].astype(float)))).max(axis=1)
    np.testing.assert_allclose(stored.scores, highest, rtol=1e-12)
    expected = average_precision_score(stored.labels, highest, average="macro")
    assert figures_of_scores(stored) == pytest.approx({"mAP": expected})
    text = (runs / "multi" / "0" / "per_class_test_2x1.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert np.mean([float(r["average_precision"]) for r in rows]) == pytest.approx(
        expected, abs=1e-5
    )
    assert not (runs / "multi" / "0" / "confusion_test_2x1.png").exists()
    page = (runs / "multi" / "0" / "videos_test_2x1.html").read_text()
    assert f"mAP of the videos: {100 * expected:.2f} %" in page
    text = (runs / "multi" / "0" / "videos_test_2x1.csv").read_text()
    losses = [float(row["loss"]) for row in csv.DictReader(text.splitlines())]
    marks = stored.labels > 0
    binary = -np.where(marks, np.log(highest), np.log(1 - highest)).mean(axis=1)
    np.testing.assert_allclose(losses, sorted(binary, reverse=True), atol=1e-6)


def test_columns_are_tested_each_and_together(runs: Path) -> None:
    stored = read_scores(runs / "columns" / "0" / "scores_test_2x1.npz")
    with np.load(stored.path) as file:
        logits = file["logits"].astype(float)
    hits = []
    for part in (slice(0, 4), slice(4, 10)):
        exps = np.exp(logits[:, :, part])
        shares = (exps / exps.sum(axis=2, keepdims=True)).mean(axis=1)
        np.testing.assert_allclose(stored.scores[:, part], shares, rtol=1e-10)
        marks = stored.labels[:, part]
        hits.append((marks.any(axis=1), marks[np.arange(16), shares.argmax(axis=1)] > 0))
    (_, verb), (has_way, way) = hits
    figures = {
        "verb": verb.mean(),
        "way": way[has_way].mean(),
        "action": (verb & way)[has_way].mean(),
    }
    assert figures_of_scores(stored) == pytest.approx(figures)
    page = (runs / "columns" / "0" / "videos_test_2x1.html").read_text()
    assert f"all columns {100 * figures['action']:.2f} %" in page
    assert (runs / "columns" / "0" / "confusion_test_2x1.png").exists()


def checkpoint_of(runs: Path, kind: str) -> str:
    return str(runs / kind / "0" / "checkpoints" / "last.ckpt")


def test_predict_names_all_classes_above_their_thresholds(
    runs: Path, motion_root: Path, tmp_path: Path
) -> None:
    video = str(next((motion_root / "test" / "move_left").glob("*.mp4")))
    given = tmp_path / "thresholds.csv"
    given.write_text("move,0.001\nleft,0.999\n")
    out = tmp_path / "labels.jsonl"
    main(["predict", "--ckpt_path", checkpoint_of(runs, "multi"), f"--out={out}", video,
          "--threshold=0.0001", f"--thresholds={given}", "--device=cpu"])  # fmt: skip
    (row,) = map(json.loads, out.read_text().splitlines())
    assert set(row["classes"]) == set(MULTI) - {"left"}
    assert row["probabilities"] == sorted(row["probabilities"], reverse=True)
    assert sum(row["probabilities"]) > 1.5  # no softmax
    main(["predict", "--ckpt_path", checkpoint_of(runs, "columns"), f"--out={out}", video])
    (row,) = map(json.loads, out.read_text().splitlines())
    assert [name.partition(":")[0] for name in row["classes"]] == ["verb", "way"]


def test_timelines_tell_which_thresholds_they_are_good_for(
    runs: Path, motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = str(next((motion_root / "test" / "move_left").glob("*.mp4")))
    label = load(checkpoint_of(runs, "multi"), device="cpu")
    table = label(video, window="8f", threshold=0.999)
    assert all(row.unlisted is not None for row in table)
    assert len(table) == len(table.best)  # the most probable one of each stretch
    with pytest.raises(UserError, match="too low for these rows"):
        table.events(threshold=0.01)
    everything = label(video, window="8f", threshold=1e-6)
    assert {row.label for row in everything} == set(MULTI)
    found = everything.events(threshold=1e-6)
    assert {event.label for event in found} == set(MULTI)
    rows, events = tmp_path / "rows.csv", tmp_path / "events.csv"
    main(["predict", "--ckpt_path", checkpoint_of(runs, "columns"), f"--out={rows}",
          "--window=8f", "--top=9", video])  # fmt: skip
    main(["predict", f"--events={rows}", f"--out={events}", "--threshold=0.001"])
    with events.open() as file:
        assert {row["class"] for row in csv.DictReader(file)} == set(COLUMNS)
    words = ["predict", f"--events={rows}", f"--out={events}", f"--thresholds={rows}"]
    assert "no meaning with --events" in mistake(capsys, *words)


def test_other_labels_are_refused(
    runs: Path, motion_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(runs / "columns" / "0" / "config.yaml")
    said = mistake(capsys, "test", "--config", config, "--ckpt_path", checkpoint_of(runs, "multi"))
    assert "the network is for any number of classes of a video, and the data has a class" in said
    config = str(runs / "multi" / "0" / "config.yaml")
    words = ["test", "--config", config, "--ckpt_path", checkpoint_of(runs, "multi")]
    said = mistake(capsys, *words, "--data.evaluation.corruptions=noise@1")
    assert "sums up top-1 accuracies" in said


def test_form_is_never_set_by_hand(capsys: pytest.CaptureFixture[str], motion_root: Path) -> None:
    words = ["fit", *LAYERS, f"--data.root={motion_root}", "--model.label_form.kind=multi"]
    assert "cannot be set, as the labels come from the data" in mistake(capsys, *words)


def test_weights_find_their_classes_by_name(runs: Path, tmp_path: Path) -> None:
    source = open_checkpoint(checkpoint_of(runs, "columns"))
    names = ["way:left", "way:new", "verb:turn", "verb:other"]
    form = LabelForm("columns", ("way", "verb")).as_dict()
    module = type(source)("cost_a_tiny", num_classes=4, class_names=names, label_form=form)
    module.init_from = checkpoint_of(runs, "columns")
    report = module.load_init_from(module.data)
    assert report.matched_classes == 2
    ours, theirs = (m.network.get_submodule("fc").weight for m in (module, source))
    for row, name in ((0, "way:left"), (2, "verb:turn")):
        torch.testing.assert_close(ours[row], theirs[COLUMNS.index(name)])


def several_contest(kind: str, seed: int = 0, videos: int = 60, models: int = 2) -> Contest:
    """Models of which each is better than the one before, on videos in groups of three."""
    rng = np.random.default_rng(seed)
    names = MULTI if kind == "multi" else COLUMNS
    form = MANY if kind == "multi" else LabelForm("columns", ("verb", "way"))
    marks = (rng.random((videos, 10)) < 0.3).astype(np.int64)
    if kind == "columns":
        marks[:] = 0
        marks[np.arange(videos), rng.integers(4, size=videos)] = 1
        way = rng.random(videos) < 0.8
        marks[way, rng.integers(4, 10, size=way.sum())] = 1
    noise = rng.normal(size=(videos, 10))
    scores = [np.round(noise + (1 + model) * marks, 1) for model in range(models)]
    contenders = [Contender(f"m{i}", [run], {}, [run]) for i, run in enumerate(scores)]
    ids = [str(i) for i in range(videos)]
    return Contest(ids, marks, names, contenders, np.arange(videos) // 3, 0, form)


def test_what_a_video_adds_to_precision_is_the_derivative_by_its_weight() -> None:
    for seed in range(5):
        contest = several_contest("multi", seed)
        (scores,) = contest.contenders[0].scores
        found = mean_average_precision([scores], contest.labels)
        expected = np.nanmean(average_precisions(scores, contest.labels))
        assert found.values[0] == pytest.approx(expected, rel=1e-12)
        assert found.influence.sum() == pytest.approx(0, abs=1e-12)
        weight = 100  # each video a hundred times, and one of them once more
        for video in (0, 17, 59):
            rows = np.append(np.repeat(np.arange(60), weight), video)
            more = np.nanmean(average_precisions(scores[rows], contest.labels[rows]))
            step = (more - expected) * weight
            assert step == pytest.approx(found.influence[video, 0], rel=0.05, abs=1e-5)


@pytest.mark.parametrize("kind", ["multi", "columns"])
def test_better_model_gains_and_an_equal_one_does_not(kind: str) -> None:
    contest = several_contest(kind, models=3)
    same = replace(contest, contenders=[*contest.contenders, contest.contenders[0]])
    found = compare_several(same)
    for values in found.results:
        assert all(0 <= value.low < value.value < value.high <= 1 for value in values.values())
    for name, gain in found.gains[1].items():
        assert gain.estimate.low > 0, name
        assert gain.runs_p < 0.05
        expected = found.results[2][name].value - found.results[0][name].value
        assert gain.estimate.value == pytest.approx(expected)
    assert all((gain.estimate.value, gain.runs_p) == (0, 1) for gain in found.gains[2].values())


@pytest.mark.slow
def test_intervals_of_precision_hold_the_mean_over_datasets() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        marks = (rng.random((300, 20)) < 0.05).astype(np.int64)
        shared = rng.normal(size=(300, 20))
        runs = [shared + rng.normal(size=(300, 20)) + gain * marks for gain in (1.4, 1.9)]
        models = [Contender(str(i), [run], {}, [run]) for i, run in enumerate(runs)]
        ids, names = [str(i) for i in range(300)], [str(i) for i in range(20)]
        result = compare_several(Contest(ids, marks, names, models, np.arange(300), 0, MANY))
        values = (result.results[0]["mAP"], result.gains[0]["mAP"].estimate)
        found.append([[value.value, value.low, value.high] for value in values])
    value, low, high = np.array(found).transpose(2, 0, 1)
    truth = value.mean(axis=0)
    covered = ((low <= truth) & (truth <= high)).mean(axis=0)
    sys.stdout.write(f"mAP {100 * covered[0]:.1f} %, gain {100 * covered[1]:.1f} %\n")
    assert (covered > 0.9).all()


def test_columns_have_the_intervals_of_accuracies() -> None:
    contest = several_contest("columns", videos=90)
    contest = replace(contest, groups=np.arange(90))
    found = compare_several(contest).results[0]
    hits = column_hits(contest.form, COLUMNS, contest.labels, contest.contenders[0].scores[0])
    for name, values in hits.items():
        known = values[~np.isnan(values)]
        usual = binomtest(int(known.sum()), len(known)).proportion_ci(method="wilson")
        assert found[name].value == pytest.approx(known.mean())
        assert found[name].low == pytest.approx(usual.low, abs=0.01)
        assert found[name].high == pytest.approx(usual.high, abs=0.01)


@pytest.mark.parametrize("kind", ["multi", "columns"])
def test_score_files_are_compared(
    kind: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = runs / kind / "0" / "scores_test_2x1.npz"
    with np.load(one) as file:
        content = dict(file)
    order = np.argsort(content["class_names"])[::-1]
    marks = content["labels"][:, order].astype(np.float32)
    content |= {"labels": content["labels"][:, order], "class_names": content["class_names"][order]}
    content["logits"] = content["logits"][:, :, order] + 9 * marks[:, None]  # always right
    np.savez(tmp_path / "other.npz", **content)
    words = ["compare", f"one={one}", f"right={tmp_path / 'other.npz'}", f"--out={tmp_path}"]
    main(words)
    said = capsys.readouterr().out
    assert ("mAP" if kind == "multi" else "action top-1") in said
    with (tmp_path / "compare.csv").open() as file:
        first, second = csv.DictReader(file)
    name = "mAP" if kind == "multi" else "action"
    assert float(first[name]) == pytest.approx(figures_of_scores(read_scores(one))[name])
    assert float(second[name]) == pytest.approx(1)
    assert float(second[f"{name}_gain"]) == pytest.approx(1 - float(first[name]))
    with (tmp_path / "classes.csv").open() as file:
        assert [float(row["right"]) for row in csv.DictReader(file)] == pytest.approx([1] * 10)
    assert "are for scores of one class" in mistake(capsys, *words, "--weights=search")
    other = runs / ("columns" if kind == "multi" else "multi") / "0" / "scores_test_2x1.npz"
    assert "holds scores of" in mistake(capsys, "compare", f"a={one}", f"b={other}")


@pytest.mark.parametrize("kind", ["multi", pytest.param("columns", marks=pytest.mark.slow)])
def test_exports_say_what_a_label_is(
    kind: str, runs: Path, motion_root: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    video = str(next((motion_root / "test" / "grow").glob("*.mp4")))
    graph = tmp_path / "network.onnx"
    where = ["export", "--ckpt_path", checkpoint_of(runs, kind)]
    main([*where, "--format=onnx", f"--out={graph}", video])
    script = str(PROJECT_ROOT / "docs" / "onnx_labels.py")
    words = [sys.executable, "-I", script, str(graph), video]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    shares = {line.split(" %  ")[1]: float(line.split(" %  ")[0]) for line in said.splitlines()}
    more: dict[str, Any] = {"threshold": 1e-6} if kind == "multi" else {"top": 5}
    table = load(checkpoint_of(runs, kind), device="cpu")(video, **more)
    expected = {row.label: 100 * row.probability for row in table}
    assert len(shares) == (5 if kind == "multi" else 9)
    assert shares == pytest.approx({name: expected[name] for name in shares}, abs=0.3)
    card = tmp_path / "card.md"
    main([*where, "--format=card", f"--out={card}"])
    assert ("mAP %" if kind == "multi" else "verb top-1 % | way top-1 %") in card.read_text()

"""Videos with several classes, from a fit to score files, `predict`, `compare` and exports."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import DEBUG, PROJECT_ROOT, mistake
from label_lists import COLUMNS, MULTI, write_label_lists
from sklearn.metrics import average_precision_score

from datamodules import LabelForm, UserError
from lightning_modules import load
from lightning_modules.checkpoints import open_checkpoint
from lightning_modules.cli import main
from lightning_modules.evaluation.several_labels.figures import figures_of_scores
from lightning_modules.evaluation.stored_scores import read_scores
from lightning_modules.prediction.answers import Answers, read_thresholds

MANY = LabelForm("multi")
VERB_NOUN = LabelForm("columns", ("verb", "noun"))


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

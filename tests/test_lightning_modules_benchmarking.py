"""The benchmark: what is known beforehand, which runs it makes, and what they come to."""

import json
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import SMALL, mistake

from datamodules import MotionShapesDataModule
from datamodules.motion_shapes.motion import Motion
from datamodules.motion_shapes.rendering import CLASS_NAMES, Scene, render_clip
from lightning_modules.benchmarking import runs
from lightning_modules.benchmarking.entries import Entry, read_entries
from lightning_modules.benchmarking.known_answers import class_of_motion, read_known_answers
from lightning_modules.benchmarking.plan import Plan, recipe
from lightning_modules.benchmarking.report import tables
from lightning_modules.benchmarking.results import NO_BETTER, UNKNOWN, USES_ORDER, verdict
from lightning_modules.benchmarking.thresholds import AXES, HALF_WAY, Curve, fit_curve
from lightning_modules.cli import main
from lightning_modules.evaluation.intervals import Estimate
from lightning_modules.resume.checkpoint_io import read_checkpoint
from models import list_models

TINY = [*SMALL, "--data.loading.num_workers=0", "--trainer.accelerator=cpu"]
TINY += ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.logger=false"]
TINY += ["--trainer.enable_progress_bar=false", "--trainer.limit_val_batches=0"]


@pytest.mark.parametrize("scene", [Scene(), Scene(look="noise", camera=6, speed=0.2)])
def test_the_oracle_reads_every_class_off_its_motion(scene: Scene) -> None:
    for label in range(len(CLASS_NAMES)):
        for number in range(4):
            rng = np.random.default_rng([label, number])
            assert class_of_motion(render_clip(rng, label, scene=scene).motion) == label


def test_known_answers_of_test_clips(motion_root: Path) -> None:
    shapes = read_known_answers(motion_root, "shapes")
    assert (shapes.oracle, shapes.blind_oracle, shapes.frames) == (1.0, 0.5, 0.5)
    assert read_known_answers(motion_root, "noise").frames == 0.125


def test_a_motion_played_backwards_is_its_partner_to_the_oracle() -> None:
    motion = render_clip(np.random.default_rng(3), 4).motion
    assert class_of_motion(Motion.reversed(motion)) == 5


def plan(out: Path, words: Sequence[str] = (), **changes: object) -> Plan:
    entries = read_entries(["tsm_tiny", "st=stnet_tiny"])
    settings = {
        "entries": entries,
        "looks": ["shapes", "noise"],
        "ways": ["train"],
        "seeds": [0, 1],
        **changes,
    }
    return Plan(out, out / "data", words=words, **settings)  # type: ignore[arg-type]


def test_every_look_and_network_has_its_first_seed_before_the_second(tmp_path: Path) -> None:
    told = [str(job) for job in plan(tmp_path).jobs()]
    assert told[:6] == [
        "c2d_tiny, shapes, train, seed 0",
        "tsm_tiny, shapes, train, seed 0",
        "st, shapes, train, seed 0",
        "c2d_tiny, noise, train, seed 0",
        "tsm_tiny, noise, train, seed 0",
        "st, noise, train, seed 0",
    ]
    assert len(told) == len(set(told)) == 12


def test_a_named_control_is_trained_once_and_probed_when_asked(tmp_path: Path) -> None:
    entries = read_entries(["c2d_tiny"])
    jobs = plan(tmp_path, entries=entries, ways=["train", "probe"], looks=["noise"], seeds=[0])
    assert [str(job) for job in jobs.jobs()] == [
        "c2d_tiny, noise, train, seed 0",
        "c2d_tiny, noise, probe, seed 0",
    ]


def test_every_family_has_its_module() -> None:
    own = {name: Entry(name, name).model["class_path"] for name in list_models()}
    assert "lightning_modules.VideoClassifier" not in own.values()
    assert own["st_resnet_tiny"] == own["rgb_stream_tiny"] == "lightning_modules.STResNetModule"


@pytest.mark.parametrize(
    ("network", "learned", "data"),
    [
        ("flow_stream_tiny", {"flow": {"length": 10}}, "--data.flow.length=10"),
        (
            "stnet_tiny",
            {"sampling": {"init_args": {"num_segments": 7, "frames_per_segment": 5}}},
            "--data.sampling.frames_per_segment=5",
        ),
    ],
)
def test_a_checkpoint_sees_the_kind_of_clips_it_learned_from(
    network: str, learned: dict[str, Any], data: str
) -> None:
    content = {"input_spec": learned, "class_names": ["a", "b"]}
    entry = Entry("mine", network, Path("last.ckpt"), content)
    assert data in entry.data_words
    assert entry.takes_flow == (network == "flow_stream_tiny")
    assert not any("last_scale" in word or "flow_length" in word for word in entry.model_words)
    assert not entry.knows_the_classes


def test_families_get_what_the_recipe_cannot_say() -> None:
    stnet, selfy, plugin = (
        Entry(name, name) for name in ("stnet_tiny", "selfy_tsm_tiny", "my_lab.Net")
    )
    assert "--data.sampling.frames_per_segment=2" in stnet.data_words
    assert "--model.last_scale=1" in selfy.model_words
    assert Entry("two_stream_tiny", "two_stream_tiny").takes_flow
    assert not selfy.takes_flow
    assert plugin.model_words == plugin.data_words == ()
    assert plugin.model["class_path"] == "lightning_modules.VideoClassifier"
    assert stnet.model["class_path"] == "lightning_modules.StNetModule"


@pytest.mark.parametrize(
    ("estimate", "said"),
    [
        (Estimate(0.62, 0.51, 0.7, runs=True), USES_ORDER),
        (Estimate(0.55, 0.49, 0.6, runs=True), NO_BETTER),
        (Estimate(0.99, 0.98, 1.0, runs=False), UNKNOWN),
    ],
)
def test_verdict_needs_several_runs_and_the_whole_interval(estimate: Estimate, said: str) -> None:
    assert verdict(estimate) == said


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run trainings and tests here, and note them; a process each would take most of the time."""
    done: list[str] = []

    def call(words: Sequence[str], title: str) -> None:
        done.append(f"{words[0]}: {title}")
        main(list(words))

    monkeypatch.setattr(runs, "_call", call)
    return done


@pytest.fixture(scope="module")
def out(motion_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a benchmark of two networks and two seeds, on shapes alone."""
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "data").mkdir()
    (folder / "data" / "shapes").symlink_to(motion_root)
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        benchmark(folder, "tsm_tiny", seeds="0 1")
    return folder


def benchmark(folder: Path, *networks: str, seeds: str = "0", ways: str = "train") -> None:
    asked = ["--out", str(folder), "--looks", "shapes", "--seeds", *seeds.split()]
    main(["benchmark", *networks, *asked, "--ways", *ways.split(), "--", *TINY])


def test_results_hold_every_run_the_known_answers_and_a_verdict(out: Path) -> None:
    found = json.loads((out / "benchmark.json").read_text())["looks"]["shapes"]
    assert found["known"] == {"oracle": 1.0, "blind_oracle": 0.5, "frames": 0.5}
    control, tsm = found["rows"]
    assert (control["name"], control["gain"], control["p"]) == ("c2d_tiny", None, None)
    assert (tsm["name"], tsm["seeds"]) == ("tsm_tiny", [0, 1])
    for row in (control, tsm):
        for scores, top1 in zip(row["scores"], row["top1"], strict=True):
            with np.load(out / scores) as stored:
                guesses = stored["logits"].mean(1).argmax(1)
                assert np.mean(guesses == stored["labels"]) == top1
    assert tsm["gain"]["value"] == pytest.approx(np.mean(tsm["top1"]) - np.mean(control["top1"]))
    assert (out / "shapes" / "compare" / "compare.html").is_file()


def test_table_is_drawn_from_the_json(out: Path) -> None:
    text = (out / "benchmark.md").read_text()
    assert text == tables(json.loads((out / "benchmark.json").read_text()))
    assert "| tsm_tiny | train | 2 |" in text
    assert f"Every training with `{' '.join(TINY)}`." in text


def test_finished_runs_are_not_done_again(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = in_this_process(monkeypatch)
    benchmark(out, "tsm_tiny", seeds="0 1")
    assert done == []


def test_a_checkpoint_is_probed_and_tested_as_it_is(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = in_this_process(monkeypatch)
    trained = out / "shapes" / "train" / "tsm_tiny" / "seed_1" / "checkpoints" / "last.ckpt"
    benchmark(out, f"mine={trained}", ways="probe as_is")
    assert done == [
        "fit: mine, shapes, probe, seed 0",
        "test: mine, shapes, probe, seed 0",
        "test: mine, shapes, as_is",
    ]
    rows = json.loads((out / "benchmark.json").read_text())["looks"]["shapes"]["rows"]
    as_is = next(row for row in rows if row["way"] == "as_is")
    probed = out / "shapes" / "probe" / "mine" / "seed_0" / "checkpoints" / "last.ckpt"
    before, after = (read_checkpoint(path)["state_dict"] for path in (trained, probed))
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed <= {"network.fc.weight", "network.fc.bias"}
    assert changed, "the probe learned nothing"
    with np.load(out / "shapes/train/tsm_tiny/seed_1/scores_test_1x1.npz") as own:
        guesses = own["logits"].mean(1).argmax(1)
        assert as_is["top1"] == [float(np.mean(guesses == own["labels"]))]
    assert UNKNOWN in capsys.readouterr().out.replace("\n", " ") or as_is["verdict"] == UNKNOWN


def test_a_network_of_another_library_is_trained_and_probed(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    benchmark(out, "timm:test_resnet", ways="train probe")
    rows = json.loads((out / "benchmark.json").read_text())["looks"]["shapes"]["rows"]
    found = {(row["name"], row["network"], row["way"]) for row in rows}
    assert ("timm_test_resnet", "timm:test_resnet", "train") in found
    assert ("timm_test_resnet", "timm:test_resnet", "probe") in found


def test_a_stopped_run_ends_the_benchmark_and_loses_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = runs.subprocess.Popen
    codes = iter([75, 3])

    def started(_: object) -> Any:
        return own([sys.executable, "-c", f"raise SystemExit({next(codes)})"])

    monkeypatch.setattr(runs.subprocess, "Popen", started)
    with pytest.raises(SystemExit) as ended:
        benchmark(out, "c3d_tiny")
    assert ended.value.code == 75
    printed = capsys.readouterr()
    assert "the same command goes on" in printed.err
    assert "run 1 of 1: c3d_tiny, shapes, train, seed 0" in printed.out
    words = ["benchmark", "c3d_tiny", "--out", str(out), "--looks", "shapes", "--seeds", "0"]
    said = mistake(capsys, *words, "--", *TINY)
    assert "the run c3d_tiny, shapes, train, seed 0 failed with exit code 3" in said


def test_a_signal_reaches_the_run_and_the_benchmark_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its process tells when it is ready, saves for a while once asked, and ends with its code."""
    saves = (
        "import os, signal, sys, time\n"
        "def save(*_):\n    time.sleep(0.3); print('saved', flush=True); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "time.sleep(30)\n"
    )
    own = runs.subprocess.Popen
    monkeypatch.setattr(runs.subprocess, "Popen", lambda _: own([sys.executable, "-c", saves]))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        runs._call(["fit"], "a run")
    assert ended.value.code == 75
    assert "saved" in capfd.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tsm_tin"], "'tsm_tin' is neither a network nor a file; did you mean"),
        (["tsm_tiny", "tsm_tiny"], "the name tsm_tiny is given twice"),
        (["c2d_tiny=tsm_tiny"], "c2d_tiny names the control beside which all others stand"),
        (["gone.ckpt"], "gone.ckpt"),
        (["tsm_tiny", "--seeds", "1", "1"], "--seeds names a seed twice"),
        (["tsm_tiny", "--looks", "lines"], "--looks"),
        (["st_resnet_tiny"], "st_resnet_tiny takes optical flow, and the exact flow of noise is"),
        (["tsm_tiny", "--", "--seed_everything=3"], "'--seed_everything=3' behind -- is no option"),
    ],
)
def test_mistakes_are_said(
    tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--out", str(tmp_path / "out")]
    assert sentence in mistake(capsys, "benchmark", *where, *words)
    assert not (tmp_path / "out").exists()


def test_a_name_stands_for_one_network(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["benchmark", "tsm_tiny=c3d_tiny", "--out", str(out), "--", *TINY]
    assert "tsm_tiny stands for another network" in mistake(capsys, *words)


def test_a_checkpoint_is_named_as_its_run(out: Path, tmp_path: Path) -> None:
    trained = out / "shapes" / "train" / "tsm_tiny" / "seed_1" / "checkpoints" / "last.ckpt"
    copied = shutil.copy(trained, tmp_path / "mine.ckpt")
    assert [read_entries([str(path)])[0].name for path in (trained, copied)] == ["tsm_tiny", "mine"]


def test_settings_that_cannot_be_read_are_named(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.json").write_text((out / "settings.json").read_text()[:-20])
    said = mistake(capsys, "benchmark", "tsm_tiny", "--out", str(tmp_path))
    assert "settings.json does not say what the runs beside it have in common" in said


def test_results_need_the_clips(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--looks", "shapes", "--seeds", "0", "--data", str(tmp_path / "gone")]
    said = mistake(capsys, "benchmark", "tsm_tiny", "--out", str(out), *words, "--", *TINY)
    assert "manifest.json is missing, and the known answers" in said


def test_runs_of_other_words_are_refused_in_the_same_folder(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = mistake(capsys, "benchmark", "tsm_tiny", "--out", str(out))
    assert "holds a benchmark with words=" in said
    assert "give another --out" in said


@pytest.mark.parametrize("axis", AXES)
def test_levels_go_from_easy_to_hard_and_back(axis: str) -> None:
    difficulty = AXES[axis].difficulty(AXES[axis].levels)
    assert difficulty[0] == 0
    assert (np.diff(difficulty) > 0).all()
    levels = [AXES[axis].level(value) for value in difficulty]
    assert levels == pytest.approx(AXES[axis].levels)
    data = MotionShapesDataModule("nowhere")
    owner = data.settings.scene if axis != "length" else data.settings
    name = AXES[axis].key.removeprefix("scene.").replace("video_frames", "num_frames")
    assert getattr(owner, name) == AXES[axis].levels[0], "the first level is what is trained on"


@pytest.mark.parametrize("top", [1.0, 0.9])
def test_threshold_of_a_known_curve_is_found(top: float) -> None:
    known = Curve(top, middle=2.0, steepness=3.0, reach=4.0)
    difficulty = np.linspace(0, 4, 9)
    found = fit_curve(difficulty, known.accuracy(difficulty), videos=400)
    assert known.threshold is not None
    assert known.accuracy(np.array([known.threshold]))[0] == pytest.approx(HALF_WAY)
    assert found.threshold == pytest.approx(known.threshold, abs=0.02)
    assert found.top == pytest.approx(top, abs=0.01)


def test_no_threshold_outside_what_was_tested() -> None:
    difficulty = np.linspace(0, 4, 5)
    assert fit_curve(difficulty, np.full(5, 0.99), 400).threshold is None
    assert fit_curve(difficulty, np.full(5, 0.5), 400).threshold is None
    rng = np.random.default_rng(0)
    known = Curve(0.98, 1.5, 4.0, 4.0)
    found = [
        fit_curve(difficulty, rng.binomial(400, known.accuracy(difficulty)) / 400, 400).threshold
        for _ in range(20)
    ]
    assert np.std([value for value in found if value is not None]) < 0.1
    assert np.mean([value for value in found if value is not None]) == pytest.approx(
        known.threshold, abs=0.06
    )


def test_harder_clips_of_a_trained_network_are_tested_and_drawn(
    out: Path, motion_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The score files are copies of the easy test's: what counts here is what is asked and read."""
    asked: list[list[str]] = []

    def call(words: Sequence[str], title: str) -> None:
        asked.append(list(words))
        easy = Path(words[words.index("--ckpt_path") + 1]).parents[1] / "scores_test_1x1.npz"
        target = Path(words[-1])
        target.mkdir(parents=True)
        shutil.copy(easy, target)

    monkeypatch.setattr(runs, "_call", call)
    asked_for = ["--looks", "shapes", "--seeds", "0", "--axes", "camera", "speed"]
    main(["benchmark", "tsm_tiny", "--out", str(out), *asked_for, "--", *TINY])
    assert len(asked) == 2 * 6 + 2 * 6
    assert asked[0][0] == "test"
    assert "--data.scene.camera=1" in asked[0]
    assert f"--data.root={out / 'data' / 'shapes_camera_1'}" in asked[0]
    axes = json.loads((out / "benchmark.json").read_text())["looks"]["shapes"]["axes"]
    assert [len(axes[axis][1]["top1"][0]) for axis in ("camera", "speed")] == [7, 7]
    assert axes["camera"][1]["thresholds"] == [None]
    assert (out / "shapes" / "thresholds.png").stat().st_size > 10_000
    assert "| camera motion, pixels | tsm_tiny | none within the range |" in (
        (out / "benchmark.md").read_text()
    )


def test_recipe_is_the_quickstarts_training() -> None:
    """One is what the other was tuned on; whoever changes one decides about the other."""
    paths = (recipe(), recipe().with_name("quickstart.yaml"))
    own, quick = (yaml.safe_load(path.read_text()) for path in paths)
    for config in (own, quick):  # the network, the seed and where the run lies are the user's
        del config["run"], config["seed_everything"]
        del config["model"]["class_path"], config["model"]["init_args"]["network"]
    assert own == quick

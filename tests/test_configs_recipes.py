"""Every recipe in configs/recipe: parsed, held against the papers, built, and some of them run."""

import contextlib
import functools
import inspect
import io
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from conftest import PROJECT_ROOT
from grouped import data_settings, flat, module_settings
from test_configs import DEBUG, FORMS

from datamodules.samplers import TrainSampler
from lightning_modules.cli import main
from models import count_parameters

RECIPES = sorted((PROJECT_ROOT / "configs" / "recipe").glob("*.yaml"))
NAMES = [recipe.stem for recipe in RECIPES]
CLASSES = {
    "KineticsDataModule": {"k400": 400, "k600": 600},
    "MomentsInTimeDataModule": {"v1": 339},
    "SomethingSomethingV1DataModule": 174,
    "SomethingSomethingV2DataModule": 174,
    "Diving48DataModule": 48,
    "FineGymDataModule": {99: 99, 288: 288},
    "UCF101DataModule": 101,
    "HMDB51DataModule": 51,
}
"""Classes of each dataset, or of each of its versions."""
RUN = {
    "cost_kinetics400": "kinetics",
    "selfy_gym99": "fine_gym",
    "stnet_kinetics400": "kinetics",
    "tsm_something_something_v2": "something_something_v2",
}
"""Recipes that train here, and the form of their data; ST-ResNet's: test_*_two_streams.py."""
VIDEOS = {"ucf101": 9537, "hmdb51": 3570}
"""Training videos of split 1 (the official lists)."""
ITERATIONS = {
    "motion": [30_000, 40_000],
    "appearance": [10_000, 20_000],
    "": [30_000, 60_000, 80_000],
    "star": [2_000, 4_000],
}
"""Of each phase of ST-ResNet: after which iteration a rate ends (table 2 of the paper)."""


class Settings(NamedTuple):
    """What a paper, or its authors' code, says about a recipe."""

    lr: float
    batch: int
    weight_decay: float
    clips: int
    crops: int | str
    milestones: list[int] | None = None  # None: by iterations
    epochs: int | None = None
    clipping: float | None = None
    dropout: float | None = 0.5
    nesterov: bool = False
    test_size: int | None = None


COST = Settings(0.01, 64, 1e-4, 10, 3, [80, 120], 160, 40.0, test_size=256)
SELFY = Settings(0.01, 64, 5e-4, 1, 1, [30, 40], 50, 20.0, nesterov=True)
STNET = Settings(0.01, 128, 1e-4, 1, 1, [20, 40], 60, dropout=None, test_size=256)
PHASE = Settings(0.01, 256, 5e-4, 1, "full_flip", dropout=None)
TSM = Settings(0.01, 64, 5e-4, 1, 1, [20, 40], 50, 20.0)
FINE_TUNED = COST._replace(lr=0.001)  # the released 8-frame schedule from its second rate on
SOURCES = {
    "cost_kinetics400": COST,
    "cost_kinetics400_32_frames": FINE_TUNED._replace(milestones=[12], epochs=16),
    "cost_moments_in_time": COST._replace(milestones=[24, 36], epochs=48),
    "cost_moments_in_time_32_frames": FINE_TUNED._replace(milestones=[4], epochs=5),
    "selfy_diving48": SELFY,
    "selfy_gym288": SELFY,
    "selfy_gym99": SELFY,
    "selfy_kinetics400": SELFY._replace(clips=10),
    "selfy_something_something_v1": SELFY,
    "selfy_something_something_v1_16_frames": SELFY,
    "selfy_something_something_v2": SELFY,
    "selfy_something_something_v2_16_frames": SELFY,
    "st_resnet_hmdb51": PHASE._replace(lr=0.001, batch=128),
    "st_resnet_hmdb51_appearance": PHASE,
    "st_resnet_hmdb51_motion": PHASE,
    "st_resnet_hmdb51_star": PHASE._replace(lr=1e-4, batch=128),
    "st_resnet_ucf101": PHASE._replace(lr=0.001, batch=128),
    "st_resnet_ucf101_appearance": PHASE,
    "st_resnet_ucf101_motion": PHASE,
    "st_resnet_ucf101_star": PHASE._replace(lr=1e-4, batch=128),
    "stnet_kinetics400": STNET,
    "stnet_kinetics600": STNET._replace(test_size=331),
    "stnet_ucf101": STNET._replace(lr=0.001, milestones=[10, 20], epochs=30, test_size=331),
    "tsm_kinetics400": TSM._replace(lr=0.02, batch=128, weight_decay=1e-4),
    "tsm_something_something_v1": TSM,
    "tsm_something_something_v2": TSM._replace(clips=2, crops=3, test_size=256),
}
"""By recipe; what no source says is ours, and said to be so in the recipe."""
MULTIPLIERS = {
    "cost": (1.0, 1.0, 1.0, True, True),
    "selfy": (2.0, 1.0, 1.0, False, False),
    "st_resnet": (2.0, 2.0, 1.0, False, False),
    "stnet": (1.0, 1.0, 1.0, True, True),
    "tsm": (2.0, 1.0, 5.0, False, False),
}
"""Of each family: rates of biases, of scales of norms and of the classifier; what else decays."""


def text_of(name: str) -> str:
    return (PROJECT_ROOT / "configs" / "recipe" / f"{name}.yaml").read_text()


def commands_of(name: str) -> tuple[list[str], list[str]]:
    """The words after `kinetoscope` in a recipe's first two lines: fit and test."""
    start = "# uv run kinetoscope "
    fit, test = text_of(name).splitlines()[:2]
    assert fit.startswith(start + "fit ")
    assert test.startswith(start + "test ")
    return shlex.split(fit.removeprefix(start)), shlex.split(test.removeprefix(start))


@functools.cache
def parsed(*words: str) -> dict[str, Any]:
    """The resolved config of a command; tests do not change it."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as shown,
        pytest.raises(SystemExit, match=r"^0$"),
    ):
        main([*words, "--print_config"])
    config: dict[str, Any] = yaml.safe_load(shown.getvalue())
    return config


def parts_of(name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Trainer, data and model of a recipe's fit."""
    config = parsed(*commands_of(name)[0])
    data, model = (flat(config[part]["init_args"]) for part in ("data", "model"))
    return config["trainer"], data, model


def clips_of_a_step(name: str) -> int:
    trainer, data, _ = parts_of(name)
    devices = int(trainer["devices"])
    return int(devices * data["batch_size"] * trainer["accumulate_grad_batches"])


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT_ROOT)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_begins_with_its_commands(name: str) -> None:
    fit, test = commands_of(name)
    config = parsed(*fit)
    assert config["run"]["name"] == name
    assert config["run"]["keep_best"] is False
    assert "arget" in text_of(name)
    tested = parsed(*test)
    assert tested["ckpt_path"] == f"runs/{name}/0/checkpoints/last.ckpt"
    for part in (config, tested):
        assert part["data"]["init_args"]["root"] == "YOUR_FOLDER"


@pytest.mark.parametrize("name", NAMES)
def test_recipe_is_what_its_sources_say(name: str) -> None:
    trainer, data, model = parts_of(name)
    wanted = SOURCES[name]
    assert model["reference_batch"] == wanted.batch
    # ST-ResNet's motion stream: 3 x 86 videos for 256
    assert clips_of_a_step(name) == pytest.approx(wanted.batch, rel=0.02)
    assert (model["lr"], model["momentum"], model["schedule"]) == (wanted.lr, 0.9, "step")
    assert (model["weight_decay"], model["nesterov"]) == (wanted.weight_decay, wanted.nesterov)
    assert (trainer["gradient_clip_val"], model["dropout"]) == (wanted.clipping, wanted.dropout)
    tested = flat(parsed(*commands_of(name)[1])["data"]["init_args"])
    for part in (data, tested):
        assert (part["num_clips"], part["num_crops"]) == (wanted.clips, wanted.crops)
        assert part["test_size"] == wanted.test_size
    if wanted.milestones is not None:
        assert (model["milestones"], trainer["max_epochs"]) == (wanted.milestones, wanted.epochs)
    keys = ("bias_lr_multiplier", "norm_scale_lr_multiplier", "head_lr_multiplier")
    family = next(family for family in MULTIPLIERS if name.startswith(f"{family}_"))
    given = tuple(model[key] for key in (*keys, "decay_bias", "decay_norm"))
    assert given == MULTIPLIERS[family]
    probabilities = family in ("cost", "stnet")
    assert model["average"] == ("probabilities" if probabilities else "logits")


def test_every_recipe_has_its_sources() -> None:
    assert list(SOURCES) == NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("st_resnet_")])
def test_st_resnet_has_the_iterations_of_table_2(name: str) -> None:
    trainer, data, model = parts_of(name)
    dataset, _, phase = name.removeprefix("st_resnet_").partition("_")
    accumulated = trainer["accumulate_grad_batches"]
    sampler = TrainSampler(
        np.arange(VIDEOS[dataset]),
        data["batch_size"],
        seed=0,
        position=lambda: (0, 0),
        world_size=int(trainer["devices"]),
        accumulated=accumulated,
    )
    steps, remainder = divmod(sampler.num_batches, accumulated)
    assert remainder == 0
    assert f": {steps} whole steps an epoch" in " ".join(re.split(r"\s#?\s?", text_of(name)))
    reached = [steps * epoch for epoch in (*model["milestones"], trainer["max_epochs"])]
    assert reached == pytest.approx(ITERATIONS[phase], rel=0.01)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.startswith(("st_resnet_", "stnet_ucf101"))]
)
def test_recipe_says_how_another_split_is_run(name: str) -> None:
    start = "#  --data.split 2 "
    lines = [line for line in text_of(name).splitlines() if line.startswith(start)]
    fit, test = (
        parsed(*words, *shlex.split(line.removeprefix("# ")))
        for words, line in zip(commands_of(name), lines, strict=True)
    )
    assert fit["data"]["init_args"]["split"] == test["data"]["init_args"]["split"] == 2
    assert fit["run"]["version"] == "2"
    assert test["ckpt_path"] == f"runs/{name}/2/checkpoints/last.ckpt"
    first, second = (
        config["model"]["init_args"]["init_from"] for config in (parsed(*commands_of(name)[0]), fit)
    )
    dataset = next(dataset for dataset in VIDEOS if dataset in name)
    if dataset in str(first):  # of the same dataset: of the same split
        assert second == (
            [source.replace("/0/", "/2/") for source in first]
            if isinstance(first, list)
            else first.replace("/0/", "/2/")
        )
        assert "/2/" in str(second)
    else:
        assert second == first


@pytest.mark.parametrize("name", NAMES)
def test_network_of_recipe_builds_on_meta(name: str) -> None:
    if "stnet_irv2" in text_of(name):
        pytest.importorskip("timm", reason="stnet_irv2 needs the extra timm")
    config = parsed(*commands_of(name)[0])
    data = flat(config["data"]["init_args"])
    module = import_module("datamodules")
    dataset = config["data"]["class_path"].rpartition(".")[2]
    count = CLASSES[dataset]
    if isinstance(count, dict):
        count = count[data.get("classes", data.get("version"))]
    given = {name: value for name, value in data.items() if value is not None}
    getattr(module, dataset)(**data_settings(**given))
    family = config["model"]["class_path"].rpartition(".")[2]
    with torch.device("meta"):
        owner = getattr(import_module("lightning_modules"), family)
        arguments = flat(config["model"]["init_args"]) | {"num_classes": count}
        model = owner(**module_settings(owner, **arguments))
    assert count_parameters(model.network) > 1e7
    frames = data.get("num_frames") or data["num_segments"] * data["frames_per_segment"]
    inputs = model.network.example_inputs(1, frames, data["size"])
    assert inputs[0].is_meta
    assert model.eval()(*inputs).shape == (1, count)
    if "flow" in model.network.modalities:
        assert 2 * data["flow"]["length"] == inputs[-1].shape[1]


@pytest.mark.parametrize("name", RUN)
def test_recipe_trains_at_64_pixels(name: str, class_folders: Path, tmp_path: Path) -> None:
    FORMS[RUN[name]](class_folders)
    words = ["fit", "--config", f"configs/recipe/{name}.yaml", "--config", DEBUG]
    words += [f"--data.root={class_folders}", "--model.init_from=null", "--data.crops.aspect=null"]
    # full networks are built on the meta device above; here their tiny kin learns
    network = yaml.safe_load(text_of(name))["model"]["init_args"]["network"]
    tiny = re.sub(r"_(r\d+|irv2)$", "_tiny", network)
    words += [f"--run.folder={tmp_path}", f"--model.network={tiny}"]
    main([*words, "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"])
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    assert content["global_step"] >= 1
    assert all(value.isfinite().all() for value in content["state_dict"].values())
    groups = content["optimizer_states"][0]["param_groups"]
    rates = {group["name"]: group["initial_lr"] for group in groups}
    base = SOURCES[name].lr * 2 / SOURCES[name].batch  # 2 clips a step in the debug layer
    biases, _, head, *_ = next(MULTIPLIERS[f] for f in MULTIPLIERS if name.startswith(f"{f}_"))
    assert rates["weights"] == pytest.approx(base)
    assert rates["head_weights"] == pytest.approx(base * head)
    assert rates["head_biases"] == pytest.approx(base * head * biases)


def test_recipes_start_from_runs_of_recipes() -> None:
    chained = {}
    for name in NAMES:
        source = yaml.safe_load(text_of(name))["model"]["init_args"].get("init_from")
        runs = [source] if isinstance(source, str) else source or []
        chained[name] = {run.split("/")[1] for run in runs if run.startswith("runs/")}
    assert set().union(*chained.values()) <= set(chained)
    assert chained["st_resnet_hmdb51_motion"] == {"st_resnet_ucf101_motion"}
    for name in ("ucf101", "hmdb51"):
        streams = {f"st_resnet_{name}_motion", f"st_resnet_{name}_appearance"}
        assert chained[f"st_resnet_{name}"] == streams
        assert chained[f"st_resnet_{name}_star"] == {f"st_resnet_{name}"}


def test_recipes_mention_only_recipes_and_runs_that_exist() -> None:
    mentioned: set[str] = set()
    for name in NAMES:
        for named in re.findall(r"\b[\w.]+\.yaml", text_of(name)):
            found = list((PROJECT_ROOT / "configs").rglob(named))
            assert found, f"{name} names {named}"
            mentioned.add(named)
        runs = re.findall(r"runs/(\w+)/", text_of(name))
        assert set(runs) <= set(NAMES), f"{name} names {set(runs) - set(NAMES)}"
        mentioned.update(runs)
    assert mentioned >= {"gpu.yaml", "st_resnet_ucf101_motion"}


def test_roots_are_the_defaults_of_the_datamodules() -> None:
    compared = set()
    for path in [*(PROJECT_ROOT / "configs" / "data").glob("*.yaml"), *RECIPES]:
        data = yaml.safe_load(path.read_text())["data"]
        module = getattr(import_module("datamodules"), data["class_path"].rpartition(".")[2])
        signature = inspect.signature(module).parameters
        default = signature["root"].default
        other = data["init_args"].get("version") == "k600"  # beside Kinetics-400
        if default is not inspect.Parameter.empty and not other:
            assert data["init_args"]["root"] == default, path.name
            compared.add(data["class_path"].rpartition(".")[2])
    assert compared >= {"KineticsDataModule", "UCF101DataModule", "SomethingSomethingV1DataModule"}

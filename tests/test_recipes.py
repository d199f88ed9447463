"""Every recipe in configs/recipe: parsed, its network built, and one of each family run."""

import math
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import PROJECT_ROOT
from test_configs import DEBUG, kinetics_form

from lightning_modules.cli import main
from models import count_parameters

RECIPES = sorted((PROJECT_ROOT / "configs" / "recipe").glob("*.yaml"))
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
RUN = ["cost_kinetics400", "selfy_kinetics400", "stnet_kinetics400", "tsm_kinetics400"]


def commands_of(recipe: Path) -> list[list[str]]:
    """The words after `kinetoscope` in a recipe's first lines, one list a command."""
    start = "# uv run kinetoscope "
    lines = recipe.read_text().splitlines()
    return [shlex.split(line.removeprefix(start)) for line in lines if line.startswith(start)]


def parsed(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The resolved config of a command."""
    with pytest.raises(SystemExit, match=r"^0$"):
        main([*words, "--print_config"])
    config: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return config


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT_ROOT)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_recipe_says_its_command_and_the_batch_it_is_for(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit, test = commands_of(recipe)
    assert (fit[0], test[0]) == ("fit", "test")
    config = parsed(fit, capsys)
    assert config["run"]["name"] == recipe.stem
    assert config["run"]["keep_best"] is False
    trainer, data, model = (config[part] for part in ("trainer", "data", "model"))
    clips = int(trainer["devices"]) * data["init_args"]["batch_size"]
    assert clips * trainer["accumulate_grad_batches"] == model["init_args"]["reference_batch"]
    assert "arget" in recipe.read_text()
    tested = parsed(test, capsys)
    assert tested["ckpt_path"] == f"runs/{recipe.stem}/0/checkpoints/last.ckpt"
    assert tested["data"]["init_args"]["root"] == "YOUR_FOLDER"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_network_of_recipe_builds_on_meta(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "stnet_irv2" in recipe.read_text():
        pytest.importorskip("timm", reason="stnet_irv2 needs the extra timm")
    config = parsed(commands_of(recipe)[0], capsys)
    data = config["data"]["init_args"]
    module = import_module("datamodules")
    name = config["data"]["class_path"].rpartition(".")[2]
    count = CLASSES[name]
    if isinstance(count, dict):
        count = count[data.get("classes", data.get("version"))]
    getattr(module, name)(**data)
    family = config["model"]["class_path"].rpartition(".")[2]
    with torch.device("meta"):
        model = getattr(import_module("lightning_modules"), family)(
            **config["model"]["init_args"], num_classes=count
        )
    assert count_parameters(model.network) > 1e7
    frames = data["num_frames"] or data["num_segments"] * data["frames_per_segment"]
    inputs = model.network.example_inputs(1, frames, data["size"])
    assert inputs[0].is_meta
    assert model.eval()(*inputs).shape == (1, count)
    if "flow" in model.network.modalities:
        assert 2 * data["flow"]["length"] == inputs[-1].shape[1]


@pytest.mark.parametrize("name", RUN)
def test_recipe_trains_at_64_pixels(name: str, class_folders: Path, tmp_path: Path) -> None:
    kinetics_form(class_folders)
    recipe = f"configs/recipe/{name}.yaml"
    words = ["fit", "--config", recipe, "--config", DEBUG, f"--data.root={class_folders}"]
    words += ["--model.init_from=null", "--data.aspect=null", f"--run.folder={tmp_path}"]
    main([*words, "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"])
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    assert content["global_step"] >= 1
    assert all(value.isfinite().all() for value in content["state_dict"].values())
    groups = content["optimizer_states"][0]["param_groups"]
    config = yaml.safe_load(Path(recipe).read_text())["model"]["init_args"]
    share = 2 / config["reference_batch"]  # clips of a step of the debug layer
    rates = {group["initial_lr"] for group in groups}
    assert any(math.isclose(rate, config["lr"] * share) for rate in rates)


def test_recipes_start_from_runs_of_recipes() -> None:
    chained = {}
    for recipe in RECIPES:
        source = yaml.safe_load(recipe.read_text())["model"]["init_args"].get("init_from")
        runs = [source] if isinstance(source, str) else source or []
        chained[recipe.stem] = {run.split("/")[1] for run in runs if run.startswith("runs/")}
    assert set().union(*chained.values()) <= set(chained)
    assert chained["st_resnet_hmdb51_motion"] == {"st_resnet_ucf101_motion"}
    for name in ("ucf101", "hmdb51"):
        streams = {f"st_resnet_{name}_motion", f"st_resnet_{name}_appearance"}
        assert chained[f"st_resnet_{name}"] == streams
        assert chained[f"st_resnet_{name}_star"] == {f"st_resnet_{name}"}


def test_recipes_mention_only_recipes_that_exist() -> None:
    for recipe in RECIPES:
        for named in re.findall(r"\b[\w.]+\.yaml", recipe.read_text()):
            found = list((PROJECT_ROOT / "configs").rglob(named))
            assert found, f"{recipe.name} names {named}"

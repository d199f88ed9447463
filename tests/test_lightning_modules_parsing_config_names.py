"""Configs by their names, in any folder; and the built package, which carries them."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import PROJECT_ROOT

import lightning_modules
from lightning_modules.cli import main, overview
from lightning_modules.parsing.config_names import config_names, with_configs_found

CONFIGS = PROJECT_ROOT / "configs"
QUICKSTART = str(CONFIGS / "quickstart.yaml")


def test_every_config_has_a_name() -> None:
    names = config_names()
    assert {"quickstart", "recipe/cost_kinetics400", "data/ucf101", "override/debug"} <= set(names)
    assert len(names) == len(list(CONFIGS.rglob("*.yaml")))


@pytest.mark.parametrize("word", ["quickstart", "configs/quickstart.yaml", "quickstart.yaml"])
def test_name_is_found_in_any_folder(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()  # a folder is no config
    expected = ["fit", "--config", QUICKSTART, "--config", "my.yaml"]
    assert with_configs_found(["fit", f"--config={word}", "--config", "my.yaml"]) == expected
    assert with_configs_found(["fit", "--config", word])[2] == QUICKSTART
    assert f"reading {QUICKSTART}, of kinetoscope" in capsys.readouterr().err


def test_file_on_disk_comes_first_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "recipe" / "cost_kinetics400.yaml"
    own.parent.mkdir()
    shutil.copy(QUICKSTART, own)
    words = ["fit", "--config", "recipe/cost_kinetics400.yaml"]
    assert with_configs_found(words) == words
    assert "reading the file recipe/cost_kinetics400.yaml, not" in capsys.readouterr().err
    assert with_configs_found(["fit", "--config", "recipe/cost_kinetics400"])[2] != words[2]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("quickstrat", "there is no config file quickstrat; did you mean quickstart?"),
        ("broken.yaml", "the config broken.yaml is not valid YAML: line 1"),
    ],
)
def test_wrong_config_ends_before_the_long_imports(
    name: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.yaml").write_text("model: ]")
    code = (
        "import sys; from lightning_modules.cli import main\n"
        f"try: main(['fit', '--config', '{name}'])\n"
        "finally: print('torch' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "False\n"), ended.stderr
    assert sentence in ended.stderr


def test_plain_paths_stay_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    words = ["fit", "--config", "configs/quickstart.yaml", "--config", "no.yaml", "--config"]
    assert with_configs_found(words) == words
    assert not capsys.readouterr().err


@pytest.mark.parametrize("name", ["quickstart", "recipe/cost_kinetics400"])
def test_commands_take_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "kinetoscope fit --config quickstart\n" in overview()
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", name, "--data.root=here", "--print_config"])
    assert not ended.value.code
    shown = yaml.safe_load(capsys.readouterr().out)
    shipped = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert shown["model"]["init_args"]["network"] == shipped["model"]["init_args"]["network"]


def test_misspelt_name_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--config", "recipe/cost_kinetic400"])
    assert "did you mean recipe/cost_kinetics400" in capsys.readouterr().err


def test_packaged_configs_come_before_the_repositorys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lightning_modules"
    (package / "configs" / "data").mkdir(parents=True)
    (package / "configs" / "data" / "lab.yaml").touch()
    monkeypatch.setattr(lightning_modules, "__path__", [str(package)])
    assert config_names() == ["data/lab"]


@pytest.mark.slow
@pytest.mark.one_slow_case
def test_wheel_trains_from_an_empty_folder(tmp_path: Path) -> None:
    words = ["-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run([sys.executable, *words], check=True, cwd=PROJECT_ROOT, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    tops = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == {"models", "datamodules", "lightning_modules"}
    carried = {p.relative_to(site / "lightning_modules") for p in site.rglob("*.yaml")}
    assert carried == {path.relative_to(PROJECT_ROOT) for path in CONFIGS.rglob("*.yaml")}
    words = ["fit", "--config", "quickstart", "--config", "override/debug"]
    words += [f"--data.num_{split}=16" for split in ("train", "val", "test")]
    words += ["--data.loading.batch_size=8", "--data.loading.num_workers=0"]
    done = subprocess.run(
        [sys.executable, "-c", "from lightning_modules.cli import main; main()", *words],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"reading {site / 'lightning_modules' / 'configs' / 'quickstart.yaml'}" in done.stderr
    assert (empty / "runs" / "debug" / "0" / "checkpoints" / "last.ckpt").exists()

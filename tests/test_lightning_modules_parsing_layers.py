"""Config layers: options win over them in any order, and a message names the one it is about."""

from pathlib import Path

import pytest
import yaml
from command_line import DEBUG, QUICKSTART

from datamodules.errors import UserError
from lightning_modules.cli import main
from lightning_modules.parsing.layers import (
    configs_first,
    layer_of,
    read_layer,
    searched_layers,
)


def test_configs_stand_before_options_in_their_order() -> None:
    words = ["fit", "--run.name=x", "-c", "a.yaml", "--trainer.max_epochs", "3", "--config=b.yaml"]
    rest = ["--run.name=x", "--trainer.max_epochs", "3"]
    assert configs_first(words) == ["fit", "--config", "a.yaml", "--config", "b.yaml", *rest]
    assert configs_first(["fit", "--config"]) == ["fit", "--config"]
    assert configs_first(["doctor", "-c=a.yaml"]) == ["doctor", "--config", "a.yaml"]
    assert configs_first([]) == []


def test_options_win_over_configs_in_any_order(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--run.name=mine", "--model", "BaselineModule", "--model.network=c2d_tiny"]
    layers = ["--config", QUICKSTART, "--config", DEBUG]
    for words in ([*own, *layers], [*layers[:2], *own, *layers[2:]], [*layers, *own]):
        with pytest.raises(SystemExit) as ended:
            main(["fit", *words, "--print_config"])
        assert not ended.value.code
        shown = yaml.safe_load(capsys.readouterr().out)
        assert shown["run"]["name"] == "mine"
        assert shown["model"]["class_path"] == "lightning_modules.BaselineModule"
        assert shown["model"]["init_args"]["network"] == "c2d_tiny"
        assert shown["trainer"]["max_epochs"] == 1  # of the second layer


def test_layer_of_a_key_is_the_last_that_sets_it_so(tmp_path: Path) -> None:
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("model: {init_args: {optimization: {lr: 0.1}}}\ntrainer: {logger: A}")
    second.write_text("trainer: {logger: B}\nseed_everything: 1")
    words = ["--config", str(first), "--config", str(second), "--config", "gone.yaml"]
    with searched_layers(words):
        assert layer_of("trainer.logger") == str(second)
        assert layer_of("trainer.logger", "A") == str(first)
        assert layer_of("trainer.logger", "C") is None
        assert layer_of("lr") == layer_of("model.init_args.optimization.lr") == str(first)
        assert layer_of("lr", known=["model.optimization.lr"]) is None  # an option's, then
        assert layer_of("r") is None
    assert layer_of("trainer.logger") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"trainer:\n  a: [1", "is not valid YAML: line 2, column 8"),
        ("a: b".encode("utf-16"), "is not UTF-8 text; save it as UTF-8"),
        (b"just words", "holds a str, not keys"),
    ],
)
def test_layer_that_cannot_be_read_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_layer(tmp_path / "a.yaml")
    assert str(caught.value).startswith(f"the config {tmp_path / 'a.yaml'} {said}")
    (tmp_path / "a.yaml").write_text("# nothing\n")
    assert read_layer(tmp_path / "a.yaml") is None

"""Help by topic, the list of configs, and completion: whole, true and quick."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import PROJECT_ROOT

from lightning_modules.cli import COMMANDS, main
from lightning_modules.guidance.config_list import KINDS, list_configs, read_note
from lightning_modules.guidance.first_screen import SCREENS, TOPICS, asked_topic, first_screen
from lightning_modules.guidance.keys import keys_of
from lightning_modules.parsing import parser
from lightning_modules.parsing.config_names import config_names
from lightning_modules.parsing.parser import allow_known_classes, known_keys

PACKAGES = ("datamodules", "lightning_modules")
ANY_KEY = {"data.help", "model.help", "print_config", "help", "config", "out"}


def every_key() -> set[str]:
    allow_known_classes()
    return {f"{group}.{key}".lstrip(".") for group, keys in known_keys().items() for key in keys}


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(list(words))
    return capsys.readouterr().out


@pytest.mark.parametrize("command", SCREENS)
def test_first_screen_names_what_there_is(command: str) -> None:
    text = first_screen(command)
    assert max(map(len, text.splitlines())) <= 100
    assert len(text.splitlines()) < 60
    named = set(re.findall(r"--([a-z][\w.]*)", text))
    assert named <= every_key() | ANY_KEY
    configs = set(re.findall(r"--config ((?:data|model|recipe|trainer)/\w+|quickstart)", text))
    assert configs <= set(config_names())
    assert all(f"--help={topic} " in text for topic in TOPICS)


def test_first_screen_needs_no_torch() -> None:
    script = "import sys; from lightning_modules.cli import main; main(sys.argv[1:])"
    for words in (["fit", "--help"], ["configs"]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", script, *words],
            capture_output=True,
            text=True,
            check=True,
            cwd=PROJECT_ROOT,
        )
        modules = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
        assert not modules & {"torch", "lightning"}


@pytest.mark.parametrize(
    ("words", "topic"),
    [
        ([], None),
        (["--config", "a"], None),
        (["--config", "a", "--help"], ""),
        (["-h"], ""),
        (["--help=data"], "data"),
        (["--help", "crop"], "crop"),
        (["--help", "--config", "a"], ""),
    ],
)
def test_topic_is_found_among_the_words(words: list[str], topic: str | None) -> None:
    assert asked_topic(words) == topic


def test_topics_hold_every_key_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    below = parser.subclasses_of

    def ours(base: type) -> list[type]:  # and none that another test defined
        return [kind for kind in below(base) if kind.__module__.split(".")[0] in PACKAGES]

    monkeypatch.setattr(parser, "subclasses_of", ours)
    told = {key.name for topic in TOPICS for key in keys_of(topic)}
    groups = {key.rpartition(".")[0] for key in told}
    linked = {"data.seed", "model.num_classes", "model.class_names", "model.label_form"}
    missing = every_key() - told - groups - linked
    assert {key for key in missing if "." in key} == set()
    for key in [key for topic in TOPICS for key in keys_of(topic)]:
        assert key.meaning, key.name


def test_topic_and_word_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    data = shown(capsys, "fit", "--help=data")
    assert re.search(r"--data\.loading\.batch_size\s+Clips per device in training; .*", data)
    assert "\nUCF101DataModule:\n  --data.split " in data
    rates = shown(capsys, "test", "--help", "learning")
    assert "--model.optimization.lr " in rates
    assert "--data.root" not in rates
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--help=all"])
    assert not ended.value.code
    assert "--trainer.gradient_clip_val" in capsys.readouterr().out


def test_every_config_is_listed_with_its_purpose_and_target() -> None:
    text = list_configs(100)
    assert max(map(len, text.splitlines())) <= 100
    for name in config_names():
        assert f"\n  {name}\n" in text
        assert name.rpartition("/")[0] in KINDS
        note = read_note(name)
        assert len(note.purpose) > 20, name
        assert bool(note.target) == name.startswith("recipe/"), name
    note = read_note("recipe/tsm_something_something_v2")
    assert note.purpose == "TSM-R50 (Lin et al., ICCV 2019), Something-Something V2"
    assert "8 segments 61.2" in note.target
    assert read_note("recipe/cost_kinetics400").target == (
        "validation top-1 / top-5, 10 clips: 74.1 / 91.2 (as it is) CoST(b) R50"
    )


def test_configs_shows_one_whole(capsys: pytest.CaptureFixture[str]) -> None:
    text = (PROJECT_ROOT / "configs" / "data" / "ucf101.yaml").read_text()
    assert shown(capsys, "configs", "configs/data/ucf101.yaml") == text


COMPLETED = [
    (["mo"], ["models"]),
    (["fit", "--config", "recipe/tsm_k"], ["recipe/tsm_kinetics400"]),
    (["fit", "--data.loading.n"], ["--data.loading.num_workers"]),
    (["fit", "--model.network", "=", "stnet_t"], ["stnet_tiny"]),
    (["fit", "--data", "MotionS"], ["MotionShapesDataModule"]),
    (["test", "--trainer.max_e"], ["--trainer.max_epochs"]),
    (["prepare", "--no"], ["--no_index"]),
    (["predict", "--to"], ["--top"]),
    (["fit", "--data.see"], []),  # is linked, and so refused
]


def test_bash_completes_commands_keys_and_names(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "k.bash").write_text(shown(capsys, "completion", "bash"))
    lines = [f"source {tmp_path / 'k.bash'}"]
    for words, _ in COMPLETED:
        quoted = " ".join(f"'{word}'" for word in ["kinetoscope", *words])
        lines += [
            f"COMP_WORDS=({quoted}); COMP_CWORD={len(words)}",
            '_kinetoscope; echo "${COMPREPLY[@]}"',
        ]
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert [line.split() for line in done.stdout.splitlines()] == [found for _, found in COMPLETED]
    assert not done.stderr
    text = (tmp_path / "k.bash").read_text()
    assert all(f"    {command}) options=" in text for command in COMMANDS)
    zsh = shown(capsys, "completion", "zsh")
    assert zsh.startswith("autoload -U +X compinit")

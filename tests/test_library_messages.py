"""What libraries say, where it is matched as text: each message comes from the library itself."""

import datetime
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest
import torch
from lightning.pytorch.cli import LightningArgumentParser
from torch import distributed
from torch.utils.data import DataLoader, Dataset

from datamodules import VideoDataModule
from datamodules.errors import StorageError, UserError
from lightning_modules.callbacks.watchdog import explain
from lightning_modules.cli import told_in_a_sentence
from lightning_modules.parsing.parser import (
    EXPLANATIONS,
    allow_known_classes,
    explain_parser_error,
)

DATA = "--data=UCF101DataModule"


class ParserError(Exception):
    """The message of jsonargparse, as it is."""


class PlainParser(LightningArgumentParser):
    """Lightning's parser, which raises its messages."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise ParserError(message)


def parser_of_a_fit() -> PlainParser:
    parser = PlainParser(prog="plain")
    parser.add_argument("--config", action="config")
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--choice", type=int | Literal["a", "b"] | None, default=0)
    parser.add_lightning_class_args(VideoDataModule, "data", subclass_mode=True, required=True)
    return parser


def parser_error(parser: LightningArgumentParser, words: list[str]) -> str:
    allow_known_classes()
    with pytest.raises(ParserError) as caught:
        parser.parse_args(words)
    return str(caught.value)


def pattern_of(message: str) -> str | None:
    """The first pattern that a message matches, which is the one that explains it."""
    patterns = (pattern for pattern, _ in EXPLANATIONS)
    return next((p for p in patterns if re.search(p, message, re.DOTALL)), None)


UNKNOWN_OPTION = r"unrecognized arguments: (.*)"
NOT_ACCEPTED = r"Option '([^']*)' is not accepted"
NOT_A_CLASS = (
    r"class_path '([^']*)':\s+(?:module .* has no attribute|No module named|No \w+ attribute)"
)
NOT_A_TYPE = r'Parser key "([^"]*)":\s+Expected an? (.*?)\. Got value: ([^\n]*)'
NOT_A_UNION = (
    r'Parser key "([^"]*)":((?:(?!Parser key).)*?)Given value type:.*?Given value: ([^\n]*)'
)
PARSER_ERRORS: list[tuple[str, list[str], str]] = [
    (UNKNOWN_OPTION, [DATA, "--numbr=3"], "there is no key 'numbr'"),
    (UNKNOWN_OPTION, [DATA, "stray"], "the word 'stray' belongs to no option; write"),
    (NOT_ACCEPTED, [DATA, "--data.roots=3"], "there is no key 'roots'; did you mean root"),
    (NOT_ACCEPTED, [DATA, "--config=strange.yaml"], "there is no key 'strange'"),
    (r"arguments are required: (.*)", [], "data must be given; begin with a config"),
    (
        r"File does not exist: '?([^'\n]*)",
        ["--config=gone.yaml"],
        "there is no config file {folder}/gone.yaml",
    ),
    (
        r"Path is not a file: '?([^'\n]*)",
        ["--config={folder}"],
        "{folder} is a folder, not a config file",
    ),
    (r"Importing '([^']*)' is not allowed", ["--data=os.system"], "the class os.system is refused"),
    (
        r"Expected a dot import path string: (\S+)",
        ["--data=UCF101"],
        "there is no class UCF101; did you mean UCF101DataModule?",
    ),
    (
        r"Expected a dot import path string: (\S+)",
        [DATA, "--data.flow=nowhere"],
        "there is no class nowhere",
    ),
    (
        NOT_A_CLASS,
        ["--data=datamodules.UCF"],
        "there is no class datamodules.UCF; there are datamodules.CharadesDataModule, ",
    ),
    (NOT_A_CLASS, ["--data=datamodules.no.X"], "there is no class datamodules.no.X; there are "),
    (NOT_A_CLASS, ["--data=torch.no.X"], "there is no class torch.no.X; there are "),
    (
        r"a subclass of (\w+)\n.*Given value: (\S+)",
        ["--data=lightning_modules.CoSTModule"],
        "lightning_modules.CoSTModule is not a VideoDataModule, which --data needs",
    ),
    (NOT_A_TYPE, [DATA, "--number=x"], "number=x does not fit: it must be int"),
    (NOT_A_TYPE, [DATA, "--data.val_fraction=x"], "val_fraction=x does not fit: it must be float"),
    (
        NOT_A_UNION,
        [DATA, "--choice=x"],
        "choice=x does not fit: it must be int or one of 'a', 'b' or null",
    ),
    (
        NOT_A_UNION,
        [DATA, "--data.sampling.num_frames=x"],
        "num_frames=x does not fit: it must be int or null",
    ),
    (
        NOT_A_TYPE,
        [DATA, "--data.loading.batch_size=x"],
        "loading.batch_size=x does not fit: it must be int",
    ),
]
"""The pattern, the words that jsonargparse refuses, and how our sentence begins."""

GROUP = (r"does not accept option '([^']*)'", "there is no key 'numbr'")


@pytest.mark.parametrize(("pattern", "words", "sentence"), PARSER_ERRORS)
def test_errors_of_the_parser_are_explained(
    pattern: str,
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("strange.yaml").write_text("strange: 3\n")
    message = parser_error(parser_of_a_fit(), [word.format(folder=tmp_path) for word in words])
    assert pattern_of(message) == pattern, message
    told = explain_parser_error(message)
    assert told.startswith(sentence.format(folder=tmp_path))
    assert "\n" not in told


def test_errors_of_a_subcommand_are_explained(tmp_path: Path) -> None:
    (tmp_path / "strange.yaml").write_text("numbr: 3\n")
    outer = PlainParser(prog="outer")
    outer.add_subcommands().add_subcommand("fit", parser_of_a_fit())
    message = parser_error(outer, ["fit", f"--config={tmp_path / 'strange.yaml'}", DATA])
    assert pattern_of(message) == GROUP[0], message
    assert explain_parser_error(message).startswith(GROUP[1])


def test_every_explanation_is_tested() -> None:
    tested = {pattern for pattern, *_ in PARSER_ERRORS} | {GROUP[0]}
    assert {pattern for pattern, _ in EXPLANATIONS} == tested


class Failing(Dataset[int]):
    """Does something in a loader's worker instead of giving an item."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        self.act()
        return index


def loading_error(act: Callable[[], object]) -> BaseException:
    with pytest.raises((RuntimeError, OSError, ValueError)) as caught:
        list(DataLoader(Failing(act), num_workers=1, timeout=20))
    return caught.value


def refuse() -> None:
    raise UserError("data.root=x is wrong:\ngive another")


def refuse_because_of_a_cause() -> None:
    try:
        raise KeyError("ValueError: the cause")
    except KeyError as cause:
        raise StorageError("the disk is full; make room") from cause


def fail() -> None:
    raise ValueError("a defect")


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (refuse, "data.root=x is wrong:\ngive another"),
        (refuse_because_of_a_cause, "the disk is full; make room"),
        (fail, None),
    ],
)
def test_errors_in_loader_workers_keep_their_sentence(
    act: Callable[[], object], sentence: str | None
) -> None:
    error = loading_error(act)
    assert "in DataLoader worker process 0" in str(error)
    assert told_in_a_sentence(error) == sentence


@pytest.mark.parametrize(
    "act",
    [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(1)],
    ids=["killed", "left"],
)
def test_a_loader_worker_that_died_is_explained(act: Callable[[], object]) -> None:
    assert "a loader worker died" in str(explain(loading_error(act)))


def test_a_loader_worker_that_hangs_is_explained() -> None:
    with pytest.raises(RuntimeError) as caught:
        list(DataLoader(Failing(lambda: time.sleep(5)), num_workers=1, timeout=0.5))
    assert "a loader worker died or gave no clip in time" in str(explain(caught.value))


def lose_a_rank(rank: int, end: str, path: str, told: Any) -> None:
    """Rank 1 ends or hangs, and rank 0 tells what error it gets."""
    limit = datetime.timedelta(seconds=2 if end == "hang" else 60)
    distributed.init_process_group(
        "gloo", init_method=f"file://{path}", rank=rank, world_size=2, timeout=limit
    )
    distributed.all_reduce(torch.ones(1))
    if rank == 1:
        if end == "hang":
            told.poll(60)
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        while True:
            distributed.all_reduce(torch.ones(1))
    except RuntimeError as error:
        told.send((type(error).__name__, str(error)))


@pytest.mark.slow
@pytest.mark.parametrize("end", [pytest.param("die", marks=pytest.mark.one_slow_case), "hang"])
def test_a_lost_rank_is_explained(end: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (end, str(tmp_path / "ranks"), theirs)
    ranks = [context.Process(target=lose_a_rank, args=(i, *arguments)) for i in range(2)]
    for rank in ranks:
        rank.start()
    try:
        assert ours.poll(120), "rank 0 was told nothing"
        kind, message = ours.recv()
    finally:
        for rank in ranks:
            rank.kill()
            rank.join()
    assert "another rank died or hangs" in str(explain(RuntimeError(message))), (kind, message)


def key_that_never_comes(store: distributed.TCPStore) -> None:
    store.get("nothing")


def connection_to_nobody(store: distributed.TCPStore) -> None:
    limit = datetime.timedelta(seconds=1)
    distributed.TCPStore("127.0.0.1", free_port(), None, False, timeout=limit)


def free_port() -> int:
    store = distributed.TCPStore("127.0.0.1", 0, 1, True, wait_for_workers=False)
    return int(store.port)


@pytest.mark.parametrize("ask", [key_that_never_comes, connection_to_nobody])
def test_waiting_for_the_first_rank_in_vain_is_explained(
    ask: Callable[[distributed.TCPStore], None],
) -> None:
    limit = datetime.timedelta(milliseconds=300)
    store = distributed.TCPStore("127.0.0.1", 0, 1, True, timeout=limit, wait_for_workers=False)
    with pytest.raises(RuntimeError) as caught:
        ask(store)
    assert "another rank died or hangs" in str(explain(caught.value)), str(caught.value)


def ask_until_it_fails(store: distributed.TCPStore) -> None:
    for _ in range(3):  # what is asked first may go into the system's buffer
        store.get("nothing")


def serve_a_store(told: Any) -> None:
    store = distributed.TCPStore("127.0.0.1", 0, 1, True, wait_for_workers=False)
    told.send(int(store.port))
    told.poll(60)


@pytest.mark.slow
@pytest.mark.parametrize("waits", [pytest.param(True, marks=pytest.mark.one_slow_case), False])
def test_a_first_rank_that_died_is_explained(waits: bool) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve_a_store, args=(theirs,))
    server.start()
    limit = datetime.timedelta(seconds=30)
    store = distributed.TCPStore("127.0.0.1", ours.recv(), None, False, timeout=limit)
    death = threading.Timer(1 if waits else 0, server.kill)
    death.start()
    if not waits:
        server.join()
    with pytest.raises(RuntimeError) as caught:
        ask_until_it_fails(store)
    server.join()
    assert "another rank died or hangs" in str(explain(caught.value)), str(caught.value)

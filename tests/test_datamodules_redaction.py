"""What is secret is known by its name, wherever it stands, and nothing else is taken away."""

from dataclasses import dataclass
from typing import Any

import pytest

from datamodules.plugins.described import Described, plain, rebuild
from datamodules.redaction import is_secret, shown_words, without_pairs, without_secrets


@pytest.mark.parametrize(
    "name",
    [
        *["api_key", "apiKey", "X-API-Key", "AWS_SECRET_ACCESS_KEY", "hub_token", "authtoken"],
        *["auth", "basic_auth", "Authorization", "password", "passwd", "pwd", "webhook_url"],
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret(name, "x")
    assert is_secret(name, ["x"])
    assert not is_secret(name, None)
    assert not is_secret(name, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, "x") for name in ("author", "authors", "tokenizer", "monitor", "key", "compass")],
        *[("num_tokens", 196), ("token_dim", 64), ("passes", 2)],
    ],
)
def test_other_names_are_left_alone(name: str, value: object) -> None:
    assert not is_secret(name, value)


def test_secrets_are_taken_out_of_every_depth() -> None:
    config = {
        "lr": 0.1,
        "logger": [{"class_path": "X", "init_args": {"token": "t", "tags": ["a"], "pin": 3}}],
        "password": 1234,
        "auth": {"user": "u", "word": "w"},
        "roots": ["https://user:p@ss@host/a@2.mp4?sig=s&part=2", "s3://bucket/a", "mail@host"],
    }
    assert without_secrets(config) == {
        "lr": 0.1,
        "logger": [
            {"class_path": "X", "init_args": {"token": "(not stored)", "tags": ["a"], "pin": 3}}
        ],
        "password": "(not stored)",
        "auth": "(not stored)",
        "roots": [
            "https://(not stored)@host/a@2.mp4?sig=(not stored)&part=2",
            "s3://bucket/a",
            "mail@host",
        ],
    }


def test_command_lines_are_shown_without_secrets() -> None:
    words = ["--a.api_key=k", "--a.token", "t", "--auth", "--lr", "0.3"]
    words += ['--logger={"init_args": {"token": "t 1", "n": 1}}', "--loggers=[{token: t, n: 1}]"]
    assert shown_words(words) == [
        "--a.api_key=(not stored)",
        "--a.token",
        "(not stored)",
        "--auth",
        "--lr",
        "0.3",
        '--logger={"init_args": {"token": (not stored), "n": 1}}',
        "--loggers=[{token: (not stored), n: 1}]",
    ]


def test_sentences_are_told_without_secrets() -> None:
    said = "no answer (Authorization: Bearer abc) from ftp://me:pw@host/x, api_key='a b', lr=0.1"
    assert without_pairs(said) == (
        "no answer (Authorization: (not stored) from ftp://(not stored)@host/x, "
        "api_key=(not stored), lr=0.1"
    )


@dataclass
class Account:
    user: str
    token: str = ""


class Remote(Described):
    def __init__(self, address: str, api_key: str | None = None, size: int = 3) -> None:
        self.api_key, self.size = api_key, size


def test_descriptions_in_checkpoints_leave_secrets_out(monkeypatch: pytest.MonkeyPatch) -> None:
    description: dict[str, Any] = Remote("https://me:pw@host/", "SESAME", size=4).description()
    assert description["init_args"] == {"address": "https://(not stored)@host/", "size": 4}
    given = {"loss": {"init_args": {"auth": "SESAME", "k": [{"token": "SESAME"}]}}, "n": 1}
    assert plain(given, "model") == {"loss": {"init_args": {"k": [{}]}}, "n": 1}
    assert plain(Account("me", "SESAME"), "model") == {"user": "me"}
    monkeypatch.setattr("datamodules.plugins.described.resolve", lambda path, base: Remote)
    made = rebuild(description, Remote)
    assert (made.api_key, made.size) == (None, 4)

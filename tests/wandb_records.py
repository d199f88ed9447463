"""Offline runs of W&B read back, record by record, with W&B's own description of its records.

W&B 0.31 has no reader in Python any more; its files are LevelDB logs behind a header of 7 bytes.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

HEADER, BLOCK = 7, 32_768
WHOLE, LAST = 1, 4


@dataclass
class Recorded:
    """What an offline run holds."""

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, Any] = field(default_factory=dict)

    def values(self, name: str) -> list[Any]:
        """What was logged under a name, in order."""
        return [row[name] for row in self.rows if name in row]


def records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    at, whole = HEADER, b""
    while at + HEADER <= len(content):
        left = BLOCK - at % BLOCK
        _, size, kind = struct.unpack("<IHB", content[at : at + 7]) if left >= 7 else (0, 0, 0)
        if not kind:
            at += left
            continue
        whole += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def read_wandb(path: Path) -> Recorded:
    """Read an offline run."""
    found = Recorded()
    for record in records(path):
        match record.WhichOneof("record_type"):
            case "run":
                found.run = found.run or record.run
                _update(found.config, record.run.config.update)
            case "config":
                _update(found.config, record.config.update)
            case "history":
                row: dict[str, Any] = {}
                _update(row, record.history.item)
                found.rows.append(row)
            case "summary":
                _update(found.summary, record.summary.update)
            case "artifact":
                for alias in record.artifact.aliases:
                    found.artifacts[f"{record.artifact.name}:{alias}"] = record.artifact
    return found


def _update(target: dict[str, Any], items: Any) -> None:
    for item in items:
        inside = target
        *way, key = list(item.nested_key) or [item.key]
        for word in way:
            inside = inside.setdefault(word, {})
        inside[key] = json.loads(item.value_json)

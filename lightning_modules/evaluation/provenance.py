"""Provenance of scores: whether files belong under one name, and what tells names apart."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datamodules.errors import UserError

Protocol = Mapping[str, Any]

OF_THE_MODEL = ("network", "module", "arguments", "trained_on", "chosen")
"""Parts of a protocol that say how the model was made."""

OF_THE_TEST = (
    *("dataset", "split", "sampling", "num_clips", "num_crops", "never_mirrored", "mirror_pairs"),
    *("probe", "size", "average", "precision", "input"),
)
"""Parts of a protocol that say how it was tested."""

_LEFT_OUT = (
    # weights to start from, which seeds may have their own of, and what changes no result
    *("arguments.init_from", "arguments.compile", "arguments.checkpoint_activations"),
    # said by another part
    *("arguments.network", "arguments.average", "input.augmentation"),
)

_NAMED = 6
"""Differences that a sentence lists."""

_LONGEST = 60
"""Characters of a value that a sentence holds."""


def refuse_other_things(name: str, paths: Sequence[Path], protocols: Sequence[Protocol]) -> None:
    """Refuse files under one name that are not seeds of one thing, or hold one run twice.

    Args:
        name: The name.
        paths: Its score files.
        protocols: Their protocols.

    Raises:
        UserError: If they are not; the sentence says what differs.
    """
    for i, other in enumerate(protocols[1:], 1):
        pair = {str(paths[0]): protocols[0], str(paths[i]): other}
        found = _differences(pair, (*OF_THE_MODEL, *OF_THE_TEST))
        if found:
            raise UserError(
                f"the files of {name} are not seeds of one thing: {_listed(found)}; give each a "
                "name of its own"
            )
        for k, earlier in enumerate(protocols[:i]):
            for part in ("weights", "run"):
                same = _identity(earlier, part)
                if same and same == _identity(other, part):
                    raise UserError(
                        f"{paths[k]} and {paths[i]} are tests of the same {part} {same}, which "
                        f"{name} would count twice; give one file of each run"
                    )


def _identity(protocol: Protocol, part: str) -> str:
    """Name the weights or the run of a test; empty where its protocol does not tell."""
    value = protocol.get(part)
    return str((value.get("id") if isinstance(value, Mapping) else value) or "")


def notes_on_tests(protocols: Mapping[str, Protocol]) -> list[str]:
    """Write a line for each part in which the tests of different names differ."""
    return [f"note: {found}" for found in _differences(protocols, OF_THE_TEST)]


def notes_on_models(protocols: Mapping[str, Protocol]) -> list[str]:
    """Write a line on how the models of different names differ, and on what is not known."""
    found = _differences(protocols, OF_THE_MODEL)
    notes = [f"note: of the models, {_listed(found)}"] if found else []
    untold = [name for name, protocol in protocols.items() if "weights" not in protocol]
    if untold:
        notes.append(
            f"note: which weights, run and seed {', '.join(untold)} had is unknown, as an earlier "
            "version tested them; test again to have it in the file"
        )
    return notes


def _differences(protocols: Mapping[str, Protocol], parts: Sequence[str]) -> list[str]:
    """List in words the parts in which protocols differ, `PART differs: NAME VALUE, ...`."""
    flat = {
        name: dict(_flat({part: protocol[part] for part in parts if part in protocol}))
        for name, protocol in protocols.items()
    }
    keys = dict.fromkeys(key for values in flat.values() for key in values)
    found = []
    for key in keys:
        if key.startswith(_LEFT_OUT):
            continue
        words = {name: _word(flat[name], key, protocols[name]) for name in flat}
        if len(set(words.values())) > 1:
            found.append(f"{key} differs: " + ", ".join(f"{n} {word}" for n, word in words.items()))
    return found


def _listed(found: Sequence[str]) -> str:
    rest = [f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
    return "; ".join([*found[:_NAMED], *rest])


def _word(values: Mapping[str, Any], key: str, protocol: Protocol) -> str:
    """Write a value; `unknown` where an earlier version did not store that part at all."""
    if values.get(key) is None:
        return "none" if key.partition(".")[0] in protocol else "unknown"
    text = str(values[key])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _flat(values: Protocol, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

"""Groups of own videos (scene, person, source video), guessed from their file names."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from datamodules.errors import UserError

__all__ = ["GroupGuess", "compiled_pattern", "group_in", "guess_groups"]

EXPLAINED = 0.95
"""Share of the videos, and of the classes, that a rule has to fit."""

LEAST_GROUPS = 5
"""Groups that a weak rule needs, so that two words such as left and right are none."""


@dataclass(frozen=True)
class _Rule:
    """A way in which names tell groups.

    Attributes:
        name: Its name, a noun phrase in the plural.
        pattern: Regular expression of `group_in`.
        is_weak: True if names that tell no groups may look like this too.
    """

    name: str
    pattern: str
    is_weak: bool = False


_PEOPLE = "person|subject|subj|actor|user|player|participant|signer|volunteer|patient"
_PLACES = "session|match|game|movie|film"
_PARTS = "part|seg|segment|chunk|clip|cut|scene|shot|split|piece|take|trial"

RULES = (
    _Rule("scenes gNN of a class, as in UCF101", r"([^/]+_g\d+)_c\d+"),
    _Rule("person codes, as in NTU RGB+D", r"S\d{3}C\d{3}(P\d{3})R\d{3}A\d{3}"),
    _Rule("person codes between action and trial", r"[Aa]\d+_?([PpSs]\d+)_?[TtEe]\d+"),
    _Rule("numbered people, as in KTH", rf"(?:^|[/_.\- ])((?i:{_PEOPLE})[_-]?\d+)"),
    _Rule("numbered sessions", rf"(?:^|[/_.\- ])((?i:{_PLACES})[_-]?\d+)"),
    _Rule(
        "YouTube ids before times, as in Kinetics",
        r"(?:^|/)(?:v_)?([\w-]{11})_(?:E_)?\d+(?:\.\d+)?[_-]\d+(?:\.\d+)?(?![^/]*/)",
    ),
    _Rule(
        "words before the class, as in Weizmann and HMDB51",
        r"(?:^|/)([^/]+)/(?P<group>[^/]*[A-Za-z][^/]*?)_\1(?![^/]*/)",
    ),
    _Rule("numbered parts of a video", rf"([^/]+?)[_.\- ]+(?i:{_PARTS})[_.\- ]?\d+(?![^/]*/)"),
    _Rule("numbers behind a name", r"([^/]+)[_-]\d+(?:\.\w+)?$", is_weak=True),
)
"""Tried in this order."""


@dataclass(frozen=True)
class GroupGuess:
    """A rule that explains the names of a dataset's videos.

    Attributes:
        name: Name of the rule, such as "scenes gNN of a class, as in UCF101".
        pattern: The regular expression for `data.group_pattern`.
    """

    name: str
    pattern: str

    def group_of(self, path: str) -> str:
        """Find the group of a video; one that the rule does not fit is a group of its own."""
        return group_in(self._compiled, path) or path

    def count_shared(self, paths: Iterable[str], training: Iterable[str]) -> int:
        """Count the videos whose group training has too.

        Args:
            paths: Path of each video, relative to the root.
            training: Paths of the training videos.
        """
        trained = set(map(self.group_of, training))
        return sum(self.group_of(path) in trained for path in paths)

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern)


def compiled_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a `data.group_pattern`.

    Raises:
        UserError: If it is no regular expression.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"data.group_pattern={pattern!r} is not a regular expression: {error}"
        ) from error


def group_in(pattern: re.Pattern[str], path: str) -> str | None:
    """Find a video's group in its path; None where the pattern finds nothing.

    Args:
        pattern: Its group called `group` is taken, else the first of its groups that takes part in
            the match, else the match.
        path: The path, relative to the root.
    """
    found = pattern.search(path)
    if found is None:
        return None
    named = found.groupdict().get("group")
    parts = (part for part in (named, *found.groups()) if part is not None)
    return next(parts, found[0])


def guess_groups(paths: Sequence[str], labels: Sequence[int]) -> GroupGuess | None:
    """Guess the groups of a dataset's videos from their names, or rather not.

    A rule has to fit nearly all names and give several groups, some of several videos, and nearly
    every class has to have several: else nothing could be held out by it.

    Args:
        paths: Path of each video, relative to the root, N of them.
        labels: Class of each.

    Returns:
        The first rule that does; None where there is none.
    """
    for rule in RULES:
        pattern = re.compile(rule.pattern)
        found = _groups_in(pattern, paths)
        if found is not None and _is_plausible(found, labels, rule.is_weak):
            complete = None not in found
            # whole names for the others, at the same position, so that the rule comes first
            return GroupGuess(rule.name, rule.pattern if complete else _or_whole(rule.pattern))
    return None


def _groups_in(pattern: re.Pattern[str], paths: Sequence[str]) -> list[str | None] | None:
    """Find the group of every path; None once the pattern does not fit too many of them."""
    found, allowed = list[str | None](), (1 - EXPLAINED) * len(paths)
    for path in paths:
        found.append(group_in(pattern, path))
        if found[-1] is None:
            allowed -= 1
            if allowed < 0:
                return None
    return found


def _or_whole(pattern: str) -> str:
    """Extend a pattern so that a path it does not fit is a group of its own."""
    return rf"^(?:.*?(?:{pattern})|(.*))"


def _is_plausible(found: Sequence[str | None], labels: Sequence[int], is_weak: bool) -> bool:
    """Check the groups that a rule gives; None for a video that it does not fit."""
    explained = [pair for pair in zip(found, labels, strict=True) if pair[0] is not None]
    sizes = Counter(group for group, _ in explained)
    in_company = sum(size for size in sizes.values() if size > 1)
    if len(sizes) < (LEAST_GROUPS if is_weak else 2) or not in_company:
        return False
    if is_weak and in_company < len(found) / 2:
        return False
    classes = defaultdict[int, Counter[str | None]](Counter)
    for group, label in explained:
        classes[label][group] += 1
    several = [len(groups) > 1 for groups in classes.values() if groups.total() > 1]
    return sum(several) >= EXPLAINED * len(several)

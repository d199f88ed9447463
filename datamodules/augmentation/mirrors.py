"""Classes that a mirror turns into each other: found by name, kept out of mirrored views."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from datamodules.errors import UserError

__all__ = [
    "ClassInfo",
    "mirror_pairs_in",
    "mirror_sentences",
    "refuse_mirrored_views",
    "told_by_names",
]

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SIDE = re.compile(r"(left|right)(hand|handed|side|sided|ward|wards)?")
_TURNS = {"clockwise": "anticlockwise", "anticlockwise": "clockwise"}
_SPELLINGS = (
    (re.compile(r"\b(?:anti|counter) ?clock ?wise\b|\bccw\b"), "anticlockwise"),
    (re.compile(r"\bclock wise\b|\bcw\b"), "clockwise"),
)


@dataclass(frozen=True)
class ClassInfo:
    """A dataset's classes, as far as augmentations need them.

    Attributes:
        names: Names of the classes in label order.
        mirror_pairs: Pairs of classes that are each other's mirror image.
        never_mirrored: Classes whose mirror image is not to be shown under their name.
        reverse_pairs: Pairs of classes that show each other when they are played backwards; a class
            with itself where it looks alike.
    """

    names: Sequence[str]
    mirror_pairs: Sequence[tuple[str, str]] = ()
    never_mirrored: Sequence[str] = ()
    reverse_pairs: Sequence[tuple[str, str]] = ()

    @property
    def differ_in_a_mirror(self) -> list[str]:
        """Classes of which a mirror makes another class, or none."""
        return list(dict.fromkeys([*chain.from_iterable(self.mirror_pairs), *self.never_mirrored]))


def mirror_pairs_in(names: Sequence[str]) -> list[tuple[str, str]]:
    """Find the classes whose names differ in left and right, or in the sense of a turn.

    Args:
        names: Names of the classes, in words, `snake_case` or `CamelCase`.

    Returns:
        Pairs, such as ("Swiping Left", "Swiping Right"), in the order of `names`.
    """
    known = {_words(name): name for name in names}
    partners = ((name, known.get(tuple(map(_mirrored, _words(name))))) for name in names)
    pairs = [(a, b) for a, b in partners if b is not None and a != b]
    return [(a, b) for i, (a, b) in enumerate(pairs) if (b, a) not in pairs[:i]]


def told_by_names(names: Sequence[str]) -> ClassInfo:
    """Take those classes for never mirrored whose names differ in a direction.

    Args:
        names: Names of the classes in label order.
    """
    return ClassInfo(names, never_mirrored=list(chain.from_iterable(mirror_pairs_in(names))))


def _words(name: str) -> tuple[str, ...]:
    text = " ".join(_WORD.findall(name)).lower()
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    return tuple(text.split())


def _mirrored(word: str) -> str:
    side = _SIDE.fullmatch(word)
    if side is None:
        return _TURNS.get(word, word)
    return ("right" if side[1] == "left" else "left") + (side[2] or "")


def mirror_sentences(classes: ClassInfo) -> list[str]:
    """Say what training does with classes that a mirror changes, without full stops.

    Args:
        classes: The classes, as the augmentation treats them.
    """
    told = set(classes.differ_in_a_mirror)
    others = [pair for pair in mirror_pairs_in(classes.names) if not told.issuperset(pair)]
    sentences = []
    if classes.never_mirrored:
        sentences.append(
            f"never mirrored, as they differ in a mirror: {', '.join(classes.never_mirrored)} "
            "(data.augmentation.flip_pairs: mirrored, with the label of the other; "
            "data.augmentation.flip_exempt=[]: mirrored like all others)"
        )
    for pairs, what in (
        (classes.mirror_pairs, "mirrored with the label of the other"),
        (others, "mirrored, though their names differ in a direction"),
    ):
        if pairs:
            sentences.append(f"{what}: {', '.join(' / '.join(pair) for pair in pairs)}")
    return sentences


def refuse_mirrored_views(option: str, classes: ClassInfo) -> None:
    """Refuse an evaluation of mirror images, where a mirror makes another class of some.

    Args:
        option: The option that asks for them, and its value.
        classes: The classes, as the augmentation treats them.

    Raises:
        UserError: If there are such classes.
    """
    found = classes.differ_in_a_mirror
    if found:
        more = f" and {len(found) - 6} more" if len(found) > 6 else ""
        raise UserError(
            f"{option} tests mirror images too, and in a mirror {', '.join(found[:6])}{more} are "
            "other classes; choose 1, 3 or full, or train with data.augmentation.flip_exempt=[] "
            "and data.augmentation.flip_pairs=[] if they are not"
        )

"""Fonts for class names in any script: the usual one, and installed ones for what it lacks."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.axis import Axis
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

_PREFERRED = ("Sans", "CJK", "")
"""Parts of the names of the fonts that are tried first: those that look like the usual one."""


_BOXES = "Last Resort"
"""A font that comes with matplotlib, and has a box for every sign."""

_USUAL = (400, "normal", "regular")
"""Names of the usual weight."""


def name_ticks(axis: Axis, names: Sequence[str], **kwargs: Any) -> None:
    """Set names at the ticks 0, 1, ... of an axis; a dollar sign begins no formula.

    Args:
        axis: The axis.
        names: The names.
        kwargs: Properties of the text.
    """
    axis.set_ticks(range(len(names)), list(names), parse_math=False, **kwargs)


@contextmanager
def fonts_for(texts: Iterable[str]) -> Iterator[None]:
    """Let matplotlib write texts in the installed fonts that have their signs.

    A sign that no font has is drawn as a box, without a warning for each.

    Args:
        texts: The texts.
    """
    families = list(rcParams["font.family"])
    wanted = {ord(sign) for text in texts for sign in text if not sign.isspace()}
    with warnings.catch_warnings(), rc_context({"font.family": families + _further(wanted)}):
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from")
        yield


def _further(wanted: set[int]) -> list[str]:
    """Choose installed fonts, one after the other, for what those before them lack."""
    missing = wanted - _signs(findfont(FontProperties()))
    chosen: list[str] = []
    for name, path in _installed() if missing else ():
        if missing & _signs(path):
            chosen.append(name)
            missing -= _signs(path)
        if not missing:
            break
    return chosen


def _installed() -> list[tuple[str, str]]:
    """List name and file of the upright fonts of usual weight, the plainest first."""
    upright = (f for f in fontManager.ttflist if f.style == "normal" and f.weight in _USUAL)
    fonts = {f.name: f.fname for f in upright if not f.name.startswith(_BOXES)}

    def rank(name: str) -> int:
        return next(i for i, part in enumerate(_PREFERRED) if part in name)

    return sorted(fonts.items(), key=lambda font: (rank(font[0]), font[0]))


@cache
def _signs(path: str) -> frozenset[int]:
    """Read which signs a font has; none of a file that cannot be read."""
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()

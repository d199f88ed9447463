"""Formulas between `$$` as MathML, which browsers show without a script or a font."""

import re

from latex2mathml.converter import convert

from pages.links import outside_code

_FORMULA = re.compile(r"^\$\$\n?(.*?)\n?\$\$$", re.DOTALL | re.MULTILINE)


def with_formulas(text: str) -> str:
    """Turn each formula, which stands in lines of its own, into MathML.

    Args:
        text: Markdown.
    """

    def turned(found: re.Match[str]) -> str:
        return f'<div class="formula">{convert(found[1].strip(), display="block")}</div>'

    return outside_code(text, lambda part: _FORMULA.sub(turned, part))

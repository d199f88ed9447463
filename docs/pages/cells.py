"""Tables in Markdown whose cells may hold anything."""

import re
from collections.abc import Iterable, Sequence


def cell(text: str) -> str:
    """Write a text as the cell of a table: in one line, with pipes and brackets that stay.

    Args:
        text: Words, with code between backticks.
    """
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else _plain(part) for part in parts)


def _plain(text: str) -> str:
    escaped = text.replace("|", "&#124;").replace("<", "&lt;")
    return re.sub(r"(?<!\\)([*_])", r"\\\1", escaped)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table.

    Args:
        heads: Headings of the columns.
        rows: Cells, as they are to stand in Markdown.

    Returns:
        Lines that end with an empty one; nothing where there are no rows.
    """
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines, "", ""])


def sections(*parts: str) -> str:
    """Put parts of a page together, an empty line between them; empty ones are left out."""
    return "".join(f"{part.strip(chr(10))}\n\n" for part in parts if part.strip())


def fence(text: str, language: str = "") -> str:
    """Write a block of code, with an empty line behind it."""
    return f"```{language}\n{text.strip(chr(10))}\n```\n\n"

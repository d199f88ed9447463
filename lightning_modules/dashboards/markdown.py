"""Tables in Markdown, for files and pages that show it."""

from collections.abc import Iterable, Sequence


def markdown_table(headings: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Write a table in Markdown; what would end a cell or a row in a cell is escaped.

    Args:
        headings: Of the columns.
        rows: Cells, as many in each row as there are headings.
    """
    first, *others = (f"| {' | '.join(map(_cell, line))} |" for line in (headings, *rows))
    return "\n".join([first, f"|{'---|' * len(headings)}", *others])


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")

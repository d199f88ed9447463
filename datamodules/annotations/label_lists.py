"""List files of videos with several labels each, as CSV with a header line."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from datamodules.annotations.class_files import read_class_list
from datamodules.annotations.label_form import COLUMN_END, SEPARATOR, LabelForm
from datamodules.annotations.listed_videos import ListedVideos
from datamodules.annotations.text_files import read_columns
from datamodules.errors import UserError

PATH = "path"
"""Column of the videos' paths."""


def read_label_list(path: Path, columns: Sequence[str], form: LabelForm) -> ListedVideos:
    """Read a CSV file with a header, a video a line: `path,verb,noun` or `path,labels`.

    Args:
        path: The file.
        columns: Names of the columns that hold labels.
        form: `columns` for one class, or none, in each cell; `multi` for any number of classes in a
            cell, with `;` between them.

    Returns:
        The videos; labels hold all their classes with `;` between them, those of columns as
        `verb:open`.

    Raises:
        UserError: If the file is missing or empty, lacks a column, or has two classes in the cell
            of a column.
    """
    names = [name.strip().lower() for name in (PATH, *columns)]
    paths, *cells = read_columns(path, names, headerless=())
    if not paths:
        raise UserError(f"the list file {path} names no video; it needs one a line")
    if form.kind == "columns":
        cells = [_in_column(path, name, cell) for name, cell in zip(columns, cells, strict=True)]
    labels = [SEPARATOR.join(filter(None, row)) for row in zip(*cells, strict=True)]
    return ListedVideos(paths, labels)


def _in_column(path: Path, column: str, cells: Sequence[str]) -> list[str]:
    """Name the class of each cell after its column."""
    several = next((cell for cell in cells if SEPARATOR in cell), None)
    if several is not None:
        raise UserError(
            f"{path} has {several!r} in the column {column}, which holds one class of a video; "
            "name one, or set data.multi_label=true for any number of classes"
        )
    return [f"{column}{COLUMN_END}{name}" if (name := cell.strip()) else "" for cell in cells]


def read_form_classes(path: Path, form: LabelForm) -> dict[str, str]:
    """Read the classes of labels of several from a class file, see `read_class_list`.

    Returns:
        Id of a class, or number of its line -> its name, in label order.

    Raises:
        UserError: If a name cannot stand in a list, or belongs to no column.
    """
    numbered = read_class_list(path)
    wrong = next((name for name in numbered.values() if SEPARATOR in name), None)
    if wrong is not None:
        raise UserError(
            f"the class {wrong!r} of {path} holds {SEPARATOR!r}, which stands between the classes "
            "of a video; rename it there and in the lists"
        )
    if form.kind == "columns":
        form.groups(list(numbered.values()))
    return numbered


def classes_listed(lists: Sequence[ListedVideos], form: LabelForm) -> dict[str, str]:
    """List the classes that labels of several name: sorted, those of a column together.

    Raises:
        UserError: If a column has fewer than two.
    """
    labels = set(chain.from_iterable(videos.labels for videos in lists))
    found = set(chain.from_iterable(map(form.classes_in, labels)))
    columns = {column: position for position, column in enumerate(form.columns)}
    ordered = sorted(found, key=lambda name: (columns.get(name.partition(COLUMN_END)[0], 0), name))
    if form.kind == "columns":
        form.groups(ordered)
    return {name: name for name in ordered}

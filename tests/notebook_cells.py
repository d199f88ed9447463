"""Notebooks without Jupyter: the cells of one, run in order, and what they show.

    python tests/notebook_cells.py docs/labelling.ipynb

runs it in the folder that it is called in, and stores what its cells show.
"""

import ast
import base64
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def code_of(path: Path) -> list[str]:
    """The code of each cell that has some."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run_cells(codes: list[str]) -> list[list[dict[str, Any]]]:
    """Run cells one after another, and give the outputs of each as a notebook stores them."""
    names: dict[str, Any] = {"__name__": "__main__"}
    return [_run(code, names, number) for number, code in enumerate(codes, 1)]


def _run(code: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        lines = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": lines})
    if value is not None:
        shown = {"text/plain": repr(value).splitlines(keepends=True), **_picture(value)}
        result = {"output_type": "execute_result", "data": shown, "metadata": {}}
        outputs.append({**result, "execution_count": number})
    return outputs


def _picture(value: object) -> dict[str, str]:
    if not isinstance(value, Figure):
        return {}
    file = io.BytesIO()
    value.savefig(file, format="png", dpi=80)
    return {"image/png": base64.b64encode(file.getvalue()).decode()}


def store_outputs(path: Path) -> None:
    """Run a notebook, and write what its cells show into it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, (cell, outputs) in enumerate(zip(cells, run_cells(code_of(path)), strict=True), 1):
        cell |= {"outputs": outputs, "execution_count": number}
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    store_outputs(Path(sys.argv[1]))

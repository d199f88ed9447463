"""The notebook as a page: words, code, and what the code printed."""

import json
from pathlib import Path

from pages.cells import fence


def notebook_page(path: Path) -> str:
    """Write the cells of a notebook.

    Args:
        path: A notebook.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = ""
    for cell in cells:
        source = "".join(cell["source"])
        text += f"{source}\n\n" if cell["cell_type"] == "markdown" else fence(source, "python")
        printed = [out["text"] for out in cell.get("outputs", []) if out["output_type"] == "stream"]
        text += "".join(fence("".join(lines), "text") for lines in printed)
    return f"{text}The notebook itself: [{path.name}]({path.name}).\n"

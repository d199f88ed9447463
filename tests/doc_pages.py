"""What a page of the guides prints, for tests that do it."""

import re
import shlex

from command_line import PROJECT_ROOT

PRINTED = re.compile(r"^(?:uv run )?kinetoscope (.*)$", re.MULTILINE)


def commands_of(page: str) -> list[list[str]]:
    """The words of each command that begins a line of a page in `docs`."""
    text = (PROJECT_ROOT / "docs" / page).read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in PRINTED.findall(text)]

"""Refusal to start where another folder's packages stand before this project's own."""

from importlib.util import find_spec
from pathlib import Path

from lightning_modules.console import fail

PACKAGES = ("models", "datamodules", "lightning_modules")


def refuse_foreign_packages() -> None:
    """End with a sentence if a package of ours would be imported from somewhere else.

    Raises:
        SystemExit: With code 2; the sentence names the folder in the way.
    """
    home = Path(__file__).resolve().parents[1]
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            fail(f"the package {name} is missing from {home}; install the project again")
        found = Path(spec.origin).resolve()
        if home not in found.parents:
            place = found.parent.parent if found.name == "__init__.py" else found.parent
            fail(
                f"{found} hides this project's own package {name}; start the command in another "
                f"folder, or take {place} off PYTHONPATH"
            )

"""The project as a package: what is installed, what imports what, what the docs promise."""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from conftest import PROJECT_ROOT

from lightning_modules.cli import main

PACKAGES = ("models", "datamodules", "lightning_modules")
ALLOWED = {
    "models": {"models"},
    "datamodules": {"datamodules"},
    "lightning_modules": set(PACKAGES),
}


def python_files(package: str) -> list[Path]:
    return sorted((PROJECT_ROOT / package).rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    for path in python_files(package):
        own = {name.split(".")[0] for name in imported_modules(path)} & set(PACKAGES)
        assert own <= ALLOWED[package], f"{path} imports {own - ALLOWED[package]}"


def imported_lines(path: Path, package: str) -> list[tuple[str, int]]:
    """What a file imports of its package, below it, and the line: `video.reader.open_video`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    start = f"{package}."
    return [(name.removeprefix(start), line) for name, line in found if name.startswith(start)]


def homes_of_public_names(folder: Path) -> dict[str, str]:
    """The module below the package that each name of its stub comes from."""
    stub = folder / "__init__.pyi"
    if not stub.exists():
        return {}
    imports = [n for n in ast.parse(stub.read_text()).body if isinstance(n, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


def room_arrows(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Which room of a package imports which other one, and on what lines.

    A room is a sub-folder or a single file at the top; the package's face belongs to none, and a
    name that is imported through it comes from the room that the stub says.
    """
    rooms = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    homes = homes_of_public_names(folder)
    arrows: dict[str, dict[str, list[str]]] = {}
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        own = inside.parts[0].removesuffix(".py")
        for name, line in imported_lines(path, folder.name) if own != "__init__" else []:
            other = homes.get(name, name).split(".")[0]
            assert other in rooms, f"{inside}:{line} imports {name}, which no room of ours holds"
            if other != own:
                arrows.setdefault(own, {}).setdefault(other, []).append(f"{inside}:{line}")
    return arrows


def circle_of_rooms(folder: Path) -> str | None:
    """A circle of rooms that import each other, in words; None where there is none."""
    arrows = room_arrows(folder)
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]  # graphlib names the imported one first
        steps = [
            f"{one} imports {other} ({', '.join(arrows[one][other])})"
            for one, other in pairwise(circle)
        ]
        return f"rooms of {folder.name} import each other in a circle: {'; '.join(steps)}"
    return None


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_of_a_package_stand_on_floors(package: str) -> None:
    circle = circle_of_rooms(PROJECT_ROOT / package)
    assert circle is None, circle
    assert len(room_arrows(PROJECT_ROOT / package)) > 5


def test_circle_of_rooms_is_named(tmp_path: Path) -> None:
    house = tmp_path / "house"
    (house / "attic").mkdir(parents=True)
    (house / "__init__.py").write_text("from house.attic.box import Box")
    (house / "__init__.pyi").write_text("from .attic.box import Box as Box")
    (house / "attic" / "box.py").write_text("def open():\n    from house import cellar\n")
    (house / "attic" / "lid.py").write_text("import house.attic.box")
    (house / "cellar.py").write_text("import house.ground")
    (house / "ground.py").write_text("import os")
    assert room_arrows(house) == {
        "attic": {"cellar": ["attic/box.py:2"]},
        "cellar": {"ground": ["cellar.py:1"]},
    }
    assert circle_of_rooms(house) is None
    (house / "ground.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house import Box\n"
    )
    words = circle_of_rooms(house)
    assert words is not None
    for step in (
        "attic imports cellar (attic/box.py:2)",
        "cellar imports ground (cellar.py:1)",
        "ground imports attic (ground.py:3)",
    ):
        assert step in words


CATALOGUES = {"models", "datamodules/datasets"}
"""Folders in which every file is of one kind."""


def test_no_folder_is_a_drawer() -> None:
    sizes: dict[str, int] = {}
    for package in PACKAGES:
        for path in python_files(package):
            folder = str(path.parent.relative_to(PROJECT_ROOT))
            sizes[folder] = sizes.get(folder, 0) + 1
    assert set(sizes) >= CATALOGUES | set(PACKAGES)
    full = {folder: size for folder, size in sizes.items() if size > 14}
    assert set(full) <= CATALOGUES, f"more than 14 python files in {full}; make rooms of them"


QUESTION_WORDS = {"What", "Which", "Where", "Whether", "How", "Who", "Why"}


def asking_docstrings(path: Path) -> list[str]:
    """The first lines of the docstrings in a file that begin with a question word."""
    nodes = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = [(ast.get_docstring(node) or "").partition("\n")[0] for node in nodes]
    return [line for line in lines if re.split(r"\W", line)[0] in QUESTION_WORDS]


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_begin_with_a_noun_or_an_imperative(package: str) -> None:
    asking: set[str] = set()
    for path in python_files(package):
        inside = path.relative_to(PROJECT_ROOT)
        asking |= {f"{inside}: {line}" for line in asking_docstrings(path)}
    assert not asking


@pytest.mark.parametrize(
    ("package", "foreign"),
    [
        ("models", {"lightning", "av", "torchmetrics", "wandb", "jsonargparse"}),
        ("datamodules", {"timm", "torchmetrics", "wandb", "jsonargparse"}),
    ],
)
def test_models_and_data_do_not_know_the_trainer(package: str, foreign: set[str]) -> None:
    found = {
        name.split(".")[0] for path in python_files(package) for name in imported_modules(path)
    }
    assert "torch" in found
    assert not found & foreign


def test_only_the_decoder_and_the_generator_touch_av() -> None:
    users = {
        str(path.relative_to(PROJECT_ROOT))
        for package in PACKAGES
        for path in python_files(package)
        if any(name.split(".")[0] == "av" for name in imported_modules(path))
    }
    assert users == {
        "datamodules/clips/corruptions/digital.py",
        "datamodules/flow/storage.py",
        "datamodules/motion_shapes/generation.py",
        "datamodules/streaming/live.py",
        "datamodules/streaming/writing.py",
        "datamodules/video/indices/building.py",
        "datamodules/video/indices/cache.py",
        "datamodules/video/indices/completeness.py",
        "datamodules/video/indices/index.py",
        "datamodules/video/indices/packets.py",
        "datamodules/video/indices/stored.py",
        "datamodules/video/on_device/colours.py",
        "datamodules/video/on_device/reader.py",
        "datamodules/video/on_device/stream.py",
        "datamodules/video/packet_stream.py",
        "datamodules/video/reader.py",
        "datamodules/video/stored_stream.py",
        "datamodules/video/stream.py",
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_resolve_in_this_checkout(package: str) -> None:
    module = import_module(package)
    assert module.__file__ is not None
    assert Path(module.__file__).parent == PROJECT_ROOT / package


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_are_sorted_into_all(package: str) -> None:
    module = import_module(package)
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"No {package} attribute nothing"):
        _ = module.nothing


def listed_names(package: str) -> list[str]:
    """What a package's stub imports."""
    imported: list[str] = []
    for node in ast.parse((PROJECT_ROOT / package / "__init__.pyi").read_text()).body:
        assert isinstance(node, ast.ImportFrom), f"the stub of {package} is more than a list"
        assert node.level == 1, f"the stub of {package} imports {node.module}"
        for alias in node.names:
            assert alias.asname == alias.name, f"{alias.name} is private without `as`"
            imported.append(alias.name)
    return imported


@pytest.mark.parametrize("package", PACKAGES)
def test_stub_is_the_one_list_of_public_names(package: str) -> None:
    names = listed_names(package)
    assert sorted(names) == import_module(package).__all__
    assert len(set(names)) == len(names)
    face = ast.parse((PROJECT_ROOT / package / "__init__.py").read_text())
    words = {node.value for node in ast.walk(face) if isinstance(node, ast.Constant)}
    words |= {node.name for node in ast.walk(face) if isinstance(node, ast.alias)}
    assert not words & set(names), f"{package}/__init__.py names them again"


@pytest.mark.parametrize("package", PACKAGES)
def test_import_of_a_package_imports_neither_torch_nor_numpy(package: str) -> None:
    script = f"import sys, {package}; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT_ROOT)
    loaded = set(done.stdout.split())
    assert package in loaded
    assert not loaded & {"torch", "lightning", "numpy"}


def test_every_module_imports_alone() -> None:
    names = [
        ".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts)
        for package in PACKAGES
        for path in python_files(package)
        if path.name not in {"__init__.py", "__main__.py"}
    ]
    for name in names:
        assert import_module(name).__doc__, f"{name} has no docstring"


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "lightning_modules"],
        ["-c", "from lightning_modules.cli import main; main()"],
    ],
)
def test_help_lists_commands_without_importing_torch(command: list[str]) -> None:
    script = [sys.executable, "-X", "importtime", *command, "--help"]
    done = subprocess.run(script, capture_output=True, text=True, check=True, cwd=PROJECT_ROOT)
    for word in ("fit", "validate", "test", "predict"):
        assert f"\n  {word} " in done.stdout
    modules = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not modules & {"torch", "lightning", "numpy"}


def test_wheel_lists_exactly_three_packages_and_the_configs() -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["only-include"] == [*PACKAGES, "configs"]
    assert wheel["sources"] == {"configs": "lightning_modules/configs"}
    assert project["project"]["scripts"] == {"kinetoscope": "lightning_modules.cli:main"}


def test_no_test_folder_shadows_a_package() -> None:
    assert not list((PROJECT_ROOT / "tests").rglob("__init__.py"))
    inner = {path.name for path in (PROJECT_ROOT / "tests").iterdir() if path.is_dir()}
    assert not inner & set(PACKAGES)


def test_version_line_names_what_a_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    (line,) = capsys.readouterr().out.splitlines()
    for name in ("kinetoscope", "torch", "lightning", "av", "Python"):
        assert re.search(rf"\b{name} \d", line), name


def test_release_files_agree() -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((PROJECT_ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert re.search(r"^## (Unreleased|\d)", (PROJECT_ROOT / "CHANGELOG.md").read_text(), re.M)
    for path in (PROJECT_ROOT / ".github").rglob("*.yml"):
        assert yaml.safe_load(path.read_text())["name"], path

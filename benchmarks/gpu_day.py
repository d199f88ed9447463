"""What can only be known on a GPU, in one command that stops by itself and goes on.

Pieces, the most telling ones first:

- `agreement`: every family's scores and gradients on the device, in float32, bfloat16, float16 and
  compiled, against the same network in float64 on the CPU; convolutions in bfloat16;
- `steps`: clips per second of a training step at the papers' sizes, peak memory and the share of
  the rate of a plain matrix product, beside the operations as one writes them down and
  torchvision's video networks;
- `operations`: forms of the CoST and self-similarity operations by shape and batch;
- `resume`: a training that is killed and goes on ends with the same weights;
- `feeding`: files to gradient, with the loader's and the step's own rates beside it;
- `decoding`: frames decoded on the device are the CPU's, and how fast they come;
- `trainings`: the quickstart with several seeds.

Each measurement is a line of `rows.jsonl` as soon as it is done, with date and versions; the same
command goes on behind the last. It begins none that its time is too short for, and then ends with
75; 0 means that all are there. `tables.md` is written anew each time.

    uv run python benchmarks/gpu_day.py                      # again, until it ends with 0
    uv run python benchmarks/gpu_day.py --device cpu --tiny  # all of it on small networks
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from gpu_pieces import agreement, decoding, feeding, operations, resume, steps, trainings
from gpu_pieces.setting import Cell, Setting

from datamodules.atomic import write_atomically

PIECES = (agreement, steps, operations, resume, feeding, decoding, trainings)
AGAIN = 75


def main() -> None:
    """Measure what is missing, and write the tables."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    setting = Setting(torch.device(options.device), options.tiny, options.out.resolve())
    path, about = options.out / "rows.jsonl", _about(setting)
    rows = read_rows(path)
    if options.retry:
        rows = [row for row in rows if "error" not in row]
    end = time.monotonic() + options.seconds
    unfinished = False
    for name, cell in _wanted(setting, options.pieces):
        if any(_is_done(row, name, cell, about) for row in rows):
            continue
        if time.monotonic() + cell.seconds > end:
            unfinished = True
            continue
        row = {**about, "piece": name, "cell": cell.name, **_measured(cell, setting)}
        rows.append(row)
        write_atomically(path, "".join(f"{json.dumps(row)}\n" for row in rows))
        shown = {k: v for k, v in row.items() if k not in about and k not in ("piece", "cell")}
        print(f"{name}: {cell.name}: {shown}", flush=True)
    (options.out / "tables.md").write_text(tables(rows))
    print(f"written: {options.out / 'tables.md'}")
    if unfinished:
        print("not all is measured; the same command goes on")
        sys.exit(AGAIN)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and clips")
    parser.add_argument(
        "--seconds", type=float, default=500.0, help="begin nothing that ends later"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/gpu_day"))
    text = "measure once more what failed"
    parser.add_argument("--retry", action="store_true", help=text)
    names = [_name(piece) for piece in PIECES]
    parser.add_argument("--pieces", nargs="+", choices=names, default=names)
    return parser.parse_args()


def _name(piece: Any) -> str:
    return str(piece.__name__).rpartition(".")[2]


def _wanted(setting: Setting, names: Sequence[str]) -> list[tuple[str, Cell]]:
    """List the measurements of the pieces that are asked for."""
    pieces = [piece for piece in PIECES if _name(piece) in names]
    return [(_name(piece), cell) for piece in pieces for cell in piece.cells(setting)]


def _about(setting: Setting) -> dict[str, str]:
    """Describe the machine."""
    is_gpu = setting.device.type == "cuda"
    device = torch.cuda.get_device_name(setting.device) if is_gpu else platform.machine()
    return {
        "device": f"{device}{', tiny' if setting.tiny else ''}",
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": version("torchvision"),
        "lightning": version("lightning"),
        "av": version("av"),
    }


def _is_done(row: dict[str, Any], piece: str, cell: Cell, about: dict[str, str]) -> bool:
    same = all(row.get(key) == value for key, value in about.items())
    return same and (row["piece"], row["cell"]) == (piece, cell.name)


def _measured(cell: Cell, setting: Setting) -> dict[str, Any]:
    """Run a measurement; one that fails has its error in the place of values."""
    begun = time.monotonic()
    try:
        values = cell.run()
    except (RuntimeError, ValueError, OSError) as error:  # out of memory, or the device's own
        values = {"error": str(error).strip().splitlines()[0][:200]}
    finally:
        setting.clean()
    took = round(time.monotonic() - begun, 1)
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "took": took, **values}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read what was measured."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """Write a table for each machine, piece and kind of row."""
    text = []
    machine = ("device", "cores", "python", "torch", "torchvision", "lightning", "av")
    skipped = {*machine, "piece", "took"}
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        columns = [key for key in row if key not in skipped]
        groups.setdefault((row["piece"], *(row[k] for k in machine), *columns), []).append(row)
    for key, members in groups.items():
        columns = list(key[1 + len(machine) :])
        about = ", ".join(f"{name} {row}" for name, row in zip(machine, key[1:], strict=False))
        text += [f"## {key[0]}", "", about, "", f"| {' | '.join(columns)} |"]
        text.append("|---" * len(columns) + "|")
        text += [f"| {' | '.join(str(row[name]) for name in columns)} |" for row in members]
        text.append("")
    return "\n".join(text)


if __name__ == "__main__":
    main()

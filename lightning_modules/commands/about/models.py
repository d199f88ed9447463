"""kinetoscope models: parameters and multiply-adds of the networks, beside the documented ones."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from rich.console import Console
from rich.table import Table

from datamodules.errors import as_user_error
from datamodules.jobs.progress import progress_bar
from lightning_modules.console import ToolParser, fail, nearest
from models import count_macs, count_parameters, get_model, list_models
from models.adapters import is_library_name
from models.documented import DOCUMENTED_SIZES, DocumentedSize

TOLERANCE = 1e-3
"""Share by which multiply-adds may differ from a documented figure, which is rounded."""


@dataclass(frozen=True)
class Measured:
    """One row of the table.

    Attributes:
        setting: The network, its classes and its clip; the documented figures are those of a row
            of `DOCUMENTED_SIZES`, or 0 and None where this setting has none.
        documented: True if the setting is documented.
        parameters: Parameters counted.
        macs: Multiply-adds counted, of one clip.
    """

    setting: DocumentedSize
    documented: bool
    parameters: int
    macs: int

    @property
    def agrees(self) -> bool:
        """True if parameters are equal and multiply-adds within the tolerance."""
        gmacs = self.setting.gmacs
        if not self.documented:
            return True
        close = gmacs is None or abs(self.macs / 1e9 - gmacs) <= TOLERANCE * gmacs
        return close and self.parameters == self.setting.parameters


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `models` and its options.

    Raises:
        SystemExit: With code 1 if `--check` finds a difference, 2 on a user's mistake.
    """
    options = _parser().parse_args(words[1:])
    settings = _settings(options)
    rows = []
    with progress_bar("networks", shown=sys.stderr.isatty()) as bar:
        for setting in bar.track(settings, description="counting"):
            rows.append(measure(setting))
    _print(rows)
    wrong = [row for row in rows if not row.agrees]
    if wrong:
        names = ", ".join(sorted({row.setting.network for row in wrong}))
        sys.stderr.write(
            f"kinetoscope: {len(wrong)} row(s) differ from what is documented: {names}\n"
        )
    if wrong and options.check:
        raise SystemExit(1)


def _parser() -> ToolParser:
    parser = ToolParser(
        "models",
        "Parameters and multiply-adds (GMACs of one clip) of the networks, the figure documented "
        "for the paper's own setting, and the difference. Nothing is computed or downloaded.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="networks; all where none is named"
    )
    parser.add_argument("--frames", type=int, default=None, help="frames of the clip (of chunks)")
    parser.add_argument("--size", type=int, default=None, help="height and width, in pixels")
    parser.add_argument("--classes", type=int, default=None, help="number of classes")
    parser.add_argument(
        "--check",
        action="store_true",
        help="measure every documented setting and variant, and exit with 1 if one differs",
    )
    return parser


def _settings(options: argparse.Namespace) -> list[DocumentedSize]:
    """Choose the rows to measure."""
    for name in options.names:
        if not is_library_name(name) and name not in list_models():
            fail(f"there is no network {name!r}{nearest(name, list_models())}")
    changed = {"frames": options.frames, "size": options.size, "num_classes": options.classes}
    changed = {key: value for key, value in changed.items() if value is not None}
    for key, value in changed.items():
        if value < 1:
            fail(f"--{key.removeprefix('num_')} {value} is too small; give at least 1")
    names = options.names or list_models()
    if not options.check:
        return [replace(_usual_setting(name), **changed) for name in names]
    if changed:
        fail(
            "--check measures at the documented settings; leave out --frames, --size and --classes"
        )
    rows = [row for row in DOCUMENTED_SIZES if row.network in names]
    if not rows:
        fail(f"nothing is documented for {', '.join(names)}; leave out --check to list them")
    return rows


def _usual_setting(name: str) -> DocumentedSize:
    """Find the first documented setting of a network, or the usual one of its family."""
    for row in DOCUMENTED_SIZES:
        if row.network == name:
            return row
    family, _, arch = name.rpartition("_")
    if arch == "tiny":
        return DocumentedSize(name, 8, 8, 64, 0, None, "ours")
    kin = next((row for row in DOCUMENTED_SIZES if row.network.startswith(f"{family}_r")), None)
    if kin is None:
        return DocumentedSize(name, 400, 8, 224, 0, None, "")
    return replace(kin, network=name, options={})


@as_user_error()
def measure(setting: DocumentedSize) -> Measured:
    """Count the parameters and multiply-adds of a network at one setting.

    Raises:
        UserError: The network cannot be built, or does not take such a clip.
    """
    with torch.device("meta"):
        network = get_model(setting.network, setting.num_classes, **setting.options)
    macs = count_macs(network, setting.frames, setting.size)
    known = _documented(setting)
    return Measured(known or setting, known is not None, count_parameters(network), macs)


def _documented(setting: DocumentedSize) -> DocumentedSize | None:
    """Find the documented row of a setting."""

    def key(row: DocumentedSize) -> tuple[object, ...]:
        return row.network, row.num_classes, row.frames, row.size, dict(row.options)

    return next((row for row in DOCUMENTED_SIZES if key(row) == key(setting)), None)


def _print(rows: Iterable[Measured]) -> None:
    table = Table(caption="multiply-adds of one clip; 'same' within 0.1 %", caption_justify="left")
    for heading in ("network", "clip", "classes"):
        table.add_column(heading, no_wrap=True)
    for heading in ("parameters", "documented", "difference", "GMACs", "documented", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("source", no_wrap=True)
    for row in rows:
        setting = row.setting
        options = " ".join(f"{key}={value}" for key, value in setting.options.items())
        table.add_row(
            f"{setting.network} {options}".rstrip(),
            f"{setting.frames} x {setting.size}",
            str(setting.num_classes),
            f"{row.parameters:,}",
            *_parameter_cells(row),
            f"{row.macs / 1e9:.3f}",
            *_mac_cells(row),
            setting.source,
        )
    # a table is wider than a pipe's assumed 80 columns; cutting it would hide figures
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)


def _parameter_cells(row: Measured) -> tuple[str, str]:
    if not row.documented:
        return "", ""
    difference = row.parameters - row.setting.parameters
    return f"{row.setting.parameters:,}", f"{difference:+,}" if difference else "same"


def _mac_cells(row: Measured) -> tuple[str, str]:
    gmacs = row.setting.gmacs
    if not row.documented or gmacs is None:
        return "", ""
    share = row.macs / 1e9 / gmacs - 1
    return f"{gmacs:g}", "same" if abs(share) <= TOLERANCE else f"{100 * share:+.2f} %"

"""kinetoscope export: a checkpoint as ONNX, torch.export, safetensors, a card, or on the Hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datamodules.atomic import check_room, write_atomically
from datamodules.errors import as_storage_error
from datamodules.storage.hub import SCHEME, local_checkpoint
from lightning_modules.base import VideoClassifier
from lightning_modules.checkpoints import open_checkpoint
from lightning_modules.console import ToolParser, fail, say
from lightning_modules.exporting.clips import read_clips
from lightning_modules.exporting.graph_files import write_onnx, write_program
from lightning_modules.exporting.hub_folder import push, write_hub_folder
from lightning_modules.exporting.model_card import model_card
from lightning_modules.exporting.weights_file import write_safetensors
from lightning_modules.resume.checkpoint_io import read_checkpoint
from lightning_modules.runs.folder import folder_of_checkpoint

_GRAPHS = {"onnx": write_onnx, "pt2": write_program}
_SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2", "safetensors": ".safetensors", "card": ".md"}
_ADVICE = "make room, or name another with --out"

_DESCRIPTION = """\
Hand a trained network on.

  onnx, pt2     a graph with pixels in and logits out, checked on the given videos before it is kept
  safetensors   the weights, with all that a checkpoint says of them; predict and test take it
  card          a model card in Markdown
  hub           a folder with the last two, as the Hugging Face Hub has it; --push uploads it
"""


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `export` and its options.
    """
    parser = ToolParser("export", _DESCRIPTION)
    parser.add_argument("--ckpt_path", required=True, help="checkpoint of a fit, or imported")
    parser.add_argument("--format", required=True, choices=(*_SUFFIXES, "hub"), help="see above")
    parser.add_argument("--out", type=Path, help="file or folder to write (the checkpoint's name)")
    parser.add_argument("--push", metavar="OWNER/NAME", help="hub: upload it, private at first")
    parser.add_argument("videos", nargs="*", help="onnx, pt2: real videos to check the file on")
    options = parser.parse_args(words[1:])
    if options.push is not None and options.format != "hub":
        fail(f"--push goes with --format hub, not {options.format}")
    suffix = _SUFFIXES.get(options.format, "")
    on_hub = options.ckpt_path.startswith(SCHEME)  # whose cache is no place to write to
    named = Path(Path(options.ckpt_path).name if on_hub else options.ckpt_path)
    out = options.out or named.with_suffix(suffix or ".hub")
    if suffix and out.suffix != suffix:
        fail(f"--out {out} does not end in {suffix}, by which {options.format} is known")
    options.ckpt_path = str(local_checkpoint(options.ckpt_path))
    module = open_checkpoint(options.ckpt_path)
    with as_storage_error(out, _ADVICE):
        check_room(out.parent)
        if options.format in _GRAPHS:
            _write_graph(module, options, out)
        else:
            _write_weights(module, options, out)
    say(f"written: {out}")
    if options.push is not None:
        say(f"uploaded: {push(out, options.push)}")


def _write_graph(module: VideoClassifier, options: Any, out: Path) -> None:
    views = read_clips(module, options.videos)
    made = _GRAPHS[options.format](module, views, out)
    say(
        f"{module.network_name}: {made.folded} normalizations went into convolutions; any size of "
        f"{' and '.join(made.free)}"
    )
    say(f"largest difference of a logit on {len(options.videos)} video(s): {made.error:.1e}")


def _write_weights(module: VideoClassifier, options: Any, out: Path) -> None:
    content = read_checkpoint(options.ckpt_path)
    scores = folder_of_checkpoint(options.ckpt_path)
    if options.format == "safetensors":
        write_safetensors(content, out)
    elif options.format == "card":
        name = Path(options.ckpt_path).name
        write_atomically(out, model_card(module, content, scores, [name]))
    else:
        write_hub_folder(module, content, scores, out)

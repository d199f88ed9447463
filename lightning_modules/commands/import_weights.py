"""kinetoscope import: other people's weights as a checkpoint that test and predict take."""

from collections.abc import Sequence
from pathlib import Path

from datamodules.annotations.class_files import read_label_map
from datamodules.clips.input_spec import InputSpec
from datamodules.errors import UserError
from lightning_modules.console import COMMAND, ToolParser, fail, say
from lightning_modules.weights.imported import import_weights
from lightning_modules.weights.recipe import make_from_recipe
from models import count_parameters

OF_THE_DATA = "data"
"""Value of --classes that means the data's own order."""

_DESCRIPTION = """\
Make a checkpoint of a file of weights: of TSN, TSM or SELFY (.pth.tar), of mmaction2 or CoST's code
on top of it (.pth), of torchvision or timm, or under our own names. Every weight has to fit.

What a file of weights does not say, is said here and never guessed: the network with --network, the
classes with --classes, and sampling, size, views and options of the network with --config RECIPE
and any option of fit behind it, such as --data.root FOLDER.
"""


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `import` and its options.
    """
    parser = ToolParser("import", _DESCRIPTION)
    parser.usage = (
        f"{COMMAND} import WEIGHTS --network NAME --classes LIST|data --config RECIPE [--key value]"
    )
    parser.add_argument("weights", metavar="WEIGHTS", help="file of weights")
    parser.add_argument("--network", required=True, help="its network, of `kinetoscope models`")
    parser.add_argument(
        "--classes",
        required=True,
        metavar="LIST|data",
        help="file of class names in the order of the classifier's rows (a name a line, or JSON), "
        "or `data` for the order of the recipe's dataset, which --data.root has to hold",
    )
    parser.add_argument("--out", type=Path, help="checkpoint to write (WEIGHTS with .ckpt, here)")
    options, recipe = parser.parse_known_args(list(words[1:]))
    if not any(word == "--config" or word.startswith("--config=") for word in recipe):
        fail(
            "no --config: sampling, size and views of the weights have to be said; give the recipe "
            "that they were trained by, such as --config recipe/tsm_kinetics400"
        )
    class_names = None if options.classes == OF_THE_DATA else _read_classes(options.classes)
    module, data = make_from_recipe(recipe, options.network, class_names)
    out = options.out or Path(f"{Path(options.weights).name.split('.')[0]}.ckpt")
    facts = import_weights(options.weights, module, data, out)
    spec = InputSpec.from_dict(module.input_spec)
    say(
        f"{module.network_name}: {count_parameters(module.network):,} parameters and all buffers "
        f"of {facts['file']}, written by {facts['code']}"
    )
    names = module.class_names
    say(f"{len(names)} classes, the first {names[0]}, the last {names[-1]}")
    say(
        f"clips of {spec.sampling.describe()}, {spec.crops.crop_size} of {spec.crops.side} px, "
        f"{data.evaluation.num_clips} clip(s) x {data.evaluation.num_crops} crop(s)"
    )
    say(f"checkpoint: {out}")
    say(f"test it:    {COMMAND} test {' '.join(recipe)} --ckpt_path {out}")


def _read_classes(given: str) -> list[str]:
    path = Path(given)
    if not path.is_file():
        raise UserError(
            f"--classes {given} is no file; give a file of class names in the order of the "
            f"classifier's rows, or `{OF_THE_DATA}` for the order of the recipe's dataset"
        )
    return read_label_map(path)

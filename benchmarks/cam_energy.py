"""Does a network look at what moves? Energy of class activation maps inside the moving shape.

MotionShapes stores where the shape of each clip is. The share of a map's energy (its positive
values) that lies there, over the shape's share of the area, is 1 for a map that is the same
everywhere, and larger the more a network looks at the shape. Beside each trained network stands the
same network with random weights, mean over three seeds, a uniform map, and the best map that the
same number of cells can hold.

    uv run python benchmarks/cam_energy.py runs/quickstart/0/checkpoints/last.ckpt ...
        [--data data/motion_shapes] [--clips 100] [--maps default layer2 layer1:hires_cam]

Maps are those that `kinetoscope explain` shows for the true class, spread over the frames as there.
Their cells are 16 pixels wide at the last layer of a tiny network, of which the clip has 4 x 4, and
the shape is often smaller than one; those of layer2 are 8 pixels wide, of layer1 4.
"""

import argparse
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool3d

from datamodules import MotionShapesDataModule
from datamodules.clips.chunks import stack_centres
from datamodules.flow.sources import FlowInput
from lightning_modules import VideoClassifier, open_checkpoint
from lightning_modules.explaining.cam import Method, activation_maps, spread
from lightning_modules.explaining.clips import ClipReader
from lightning_modules.prediction.scoring import Scorer
from models import VideoNetwork, get_model

RANDOM_SEEDS = 3


@dataclass(frozen=True)
class Batch:
    """Clips of the test split, what enters the network, and what moves in them.

    `covered` holds the pixels of the shape, (B, T, H, W) bool.
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor
    covered: Tensor


@dataclass(frozen=True)
class Energy:
    """Energy inside the shape over the shape's area, mean over clips; what the maps are.

    Beside the network's maps stand, on as many cells, uniform ones, and ideal ones: how much of
    each cell and step the shape covers, the most that their size allows.
    """

    kind: str
    cells: str
    trained: float
    uniform: float
    ideal: float


def main() -> None:
    """Measure each checkpoint and print a table in Markdown."""
    options = _options()
    print("| network | accuracy | maps | cells | trained | random weights | uniform | ideal |")
    print("|---|---|---|---|---|---|---|---|")
    for checkpoint in options.checkpoints:
        module = open_checkpoint(checkpoint)
        batches = list(read(module, options))
        right = np.mean(np.concatenate([_right(module, batch) for batch in batches]))
        others = [_random(module, seed).network for seed in range(RANDOM_SEEDS)]
        for layer, method in map(_chosen, options.maps):
            found = energy(module.network, batches, layer, method)
            random = [energy(network, batches, layer, method).trained for network in others]
            print(
                f"| `{module.network_name}` | {100 * right:.0f} % | {found.kind} | {found.cells} | "
                f"{found.trained:.2f} | {np.mean(random):.2f} | {found.uniform:.2f} | "
                f"{found.ideal:.2f} |",
                flush=True,
            )


def read(module: VideoClassifier, options: argparse.Namespace) -> Iterator[Batch]:
    """Read clips of the test split as the network sees them."""
    flow = FlowInput(length=_flow_length(module)) if "flow" in module.network.modalities else None
    data = MotionShapesDataModule(str(options.data), flow=flow)
    data.setup("test")
    reader = ClipReader.of_data(Scorer(module, "cpu"), data, 8, 0)
    for batch in reader.passes(data.test_set, options.clips):
        masks = []
        for index in batch["index"].tolist():
            figure = data.figures.read(data.test_set.table.paths[index])
            first, count = _centres(len(figure.mask), flow)
            chosen = reader.given.spec.sampling.test(count, 1)[0] + first
            masks.append(torch.from_numpy(figure.mask[chosen]))
        yield Batch(reader.scorer.inputs(batch), batch["label"], torch.stack(masks))


def energy(
    network: VideoNetwork, batches: list[Batch], layer: str | None, method: Method
) -> Energy:
    """Measure the maps of one kind; see `activation_maps` for the arguments."""
    ratios: dict[str, list[float]] = {"maps": [], "uniform": [], "ideal": []}
    for batch in batches:
        maps = activation_maps(network, batch.inputs, batch.labels, layer, method)
        values = {
            "maps": maps.values,
            "uniform": torch.ones_like(maps.values),
            "ideal": adaptive_avg_pool3d(batch.covered.float(), maps.values.shape[1:]),
        }
        for name, value in values.items():
            drawn = spread(value, *batch.covered.shape[1:]).clamp(min=0)
            ratios[name] += map(ratio, drawn, batch.covered)
    means = [float(np.nanmean(found)) for found in ratios.values()]
    cells = f"{maps.values.shape[2]} x {maps.values.shape[3]}"
    return Energy(f"{maps.kind} of {maps.layer}", cells, *means)


def ratio(energy: Tensor, mask: Tensor) -> float:
    """Share of the energy inside a mask over the mask's share of the area, both (T, H, W).

    A map without any energy says nothing, and gives NaN.
    """
    return float((energy * mask).sum() / energy.sum() / mask.float().mean())


def _centres(num_frames: int, flow: FlowInput | None) -> tuple[int, int]:
    """First frame that a clip may have, and their number."""
    return (0, num_frames) if flow is None else stack_centres(num_frames, flow.length)


def _right(module: VideoClassifier, batch: Batch) -> np.ndarray:
    with torch.no_grad():
        return (module.network(*batch.inputs).argmax(1) == batch.labels).numpy()


def _flow_length(module: VideoClassifier) -> int:
    return int(module.input_spec["flow"]["length"])


def _random(module: VideoClassifier, seed: int) -> VideoClassifier:
    """The same module with the first weights of a seed."""
    torch.manual_seed(seed)
    fresh = deepcopy(module)
    fresh.network = get_model(module.network_name, module.num_classes, **module.network_options)
    return fresh.eval()


def _chosen(word: str) -> tuple[str | None, Method]:
    """Layer and method of a word of `--maps`."""
    layer, _, method = word.partition(":")
    return None if layer == "default" else layer, "hires_cam" if method else "grad_cam"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data/motion_shapes"))
    parser.add_argument("--clips", type=int, default=100)
    text = "default (those that `explain` shows), or LAYER, or LAYER:hires_cam"
    parser.add_argument("--maps", nargs="*", default=["default"], help=text)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Does a network look at what moves? Energy of class activation maps inside the moving shape.

MotionShapes stores where the shape of each clip is. The share of a map's energy (its positive
values) that lies there, over the shape's share of the area, is 1 for a map that is the same
everywhere, and larger the more a network looks at the shape. Beside each trained network stands the
same network with random weights, mean over three seeds.

    uv run python benchmarks/cam_energy.py runs/quickstart/0/checkpoints/last.ckpt ...
        [--data data/motion_shapes] [--clips 100]

Maps are those that `kinetoscope explain` shows for the true class, spread over the frames as there.
Their cells are 16 pixels wide at the last layer of a tiny network, of which the clip has 4 x 4, and
the shape is often smaller than one: `--layer layer2` measures cells of 8 pixels.
"""

import argparse
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules import MotionShapesDataModule
from datamodules.clips.chunks import stack_centres
from datamodules.flow.sources import FlowInput
from lightning_modules import VideoClassifier, open_checkpoint
from lightning_modules.explaining.cam import activation_maps, spread
from lightning_modules.explaining.clips import ClipReader
from lightning_modules.prediction.scoring import Scorer
from models import get_model

RANDOM_SEEDS = 3


def main() -> None:
    """Measure each checkpoint and print a table in Markdown."""
    options = _options()
    print("| network | layer | accuracy, % | trained | random weights | uniform map |")
    print("|---|---|---|---|---|---|")
    for checkpoint in options.checkpoints:
        module = open_checkpoint(checkpoint)
        for layer in options.layer or [None]:
            trained, right, where = measure(module, options, layer)
            others = [_random(module, seed) for seed in range(RANDOM_SEEDS)]
            random = [measure(other, options, layer)[0] for other in others]
            uniform = measure(module, options, layer, uniform=True)[0]
            print(
                f"| `{module.network_name}` | {where} | {100 * right:.0f} | {trained:.2f} | "
                f"{np.mean(random):.2f} | {uniform:.2f} |",
                flush=True,
            )


def measure(
    module: VideoClassifier, options: argparse.Namespace, layer: str | None, uniform: bool = False
) -> tuple[float, float, str]:
    """Energy inside over area, mean over clips; the share of clips that is right; the layer.

    Args:
        module: The network.
        options: Of the command.
        layer: Layer of the maps; None for the one that `explain` chooses.
        uniform: Measure a map that is the same everywhere instead.
    """
    flow = FlowInput(length=_flow_length(module)) if "flow" in module.network.modalities else None
    data = MotionShapesDataModule(str(options.data), flow=flow)
    data.setup("test")
    reader = ClipReader.of_data(Scorer(module, "cpu"), data, 8, 0)
    spec = reader.given.spec
    ratios: list[float] = []
    right, where = 0, ""
    for batch in reader.passes(data.test_set, options.clips):
        inputs = reader.scorer.inputs(batch)
        maps = activation_maps(module.network, inputs, batch["label"], layer)
        where = maps.layer
        answers = reader.scorer.scores(batch, batch["video_id"]).argmax(1)
        right += int((answers == batch["label"]).sum())
        frames, *size = batch["clips"].shape[3:]
        values = torch.ones_like(maps.values) if uniform else maps.values
        energy = spread(values, frames, *size).clamp(min=0)
        for row, index in enumerate(batch["index"].tolist()):
            figure = data.figures.read(data.test_set.table.paths[index])
            first, count = _centres(len(figure.mask), flow)
            chosen = spec.sampling.test(count, 1)[0] + first
            ratios.append(ratio(energy[row], torch.from_numpy(figure.mask[chosen])))
    return float(np.nanmean(ratios)), right / len(ratios), where


def ratio(energy: Tensor, mask: Tensor) -> float:
    """Share of the energy inside a mask over the mask's share of the area, both (T, H, W).

    A map without any energy says nothing, and gives NaN.
    """
    return float((energy * mask).sum() / energy.sum() / mask.float().mean())


def _centres(num_frames: int, flow: FlowInput | None) -> tuple[int, int]:
    """First frame that a clip may have, and their number."""
    return (0, num_frames) if flow is None else stack_centres(num_frames, flow.length)


def _flow_length(module: VideoClassifier) -> int:
    return int(module.input_spec["flow"]["length"])


def _random(module: VideoClassifier, seed: int) -> VideoClassifier:
    """The same module with the first weights of a seed."""
    torch.manual_seed(seed)
    fresh = deepcopy(module)
    fresh.network = get_model(module.network_name, module.num_classes, **module.network_options)
    return fresh.eval()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data/motion_shapes"))
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--layer", nargs="*", help="layers whose maps are measured")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""How much larger is what ST-ResNet's first convolution gives on flow than on colours?

Colours enter divided by their deviation, flow as codes minus 128, divided by nothing; and the
kernels on flow are the mean of those on colours, once for each of its 20 channels. Where batch
normalization normalises by its batch the scale goes away again. Statistics of colours that are
kept, as by `model.batch_norm.frozen=all`, leave it in.

    uv run --extra flow python benchmarks/flow_scale.py
    uv run --extra flow python benchmarks/flow_scale.py --weights resnet50.pth

Three real clips, read from `KINETOSCOPE_TEST_DATA` (default `../shared/data`), with DIS. Without
--weights the kernels are random, of `--seeds` draws: these average a picture less than trained ones
do. Prints a Markdown table of standard deviations, and their ratio over the draws.
"""

import argparse
import os
import platform
from pathlib import Path

import numpy as np
import torch
from flow import Frames, real_frames
from torch import Tensor

import models
from datamodules import Normalization
from datamodules.augmentation.functional import normalize, normalize_flow
from datamodules.flow.coding import FlowCoding
from datamodules.flow.methods import make_flow_method
from models.stream import Stream
from models.two_stream import StreamNetwork
from models.weights_file import read_weights_file

LENGTH = 10
"""Flow fields of a stack, L."""


def main() -> None:
    """Measure and print."""
    options = _options()
    pairs = [_kernels(options.weights, seed) for seed in options.seeds]
    print("| clip | colours | flow | conv1 of colours | conv1 of flow | flow over colours |")
    print("|---|---|---|---|---|---|")
    for name, frames in real_frames(options.data, 256).items():
        colours, flow = _inputs(frames)
        after = [(rgb.conv1(colours), motion.conv1(flow)) for rgb, motion in pairs]
        sizes = [(_size(a), _size(b)) for a, b in after]
        ratios = [b / a for a, b in sizes]
        means = np.mean(sizes, axis=0)
        print(
            f"| {name} | {float(colours.std()):.2f} | {float(flow.std()):.1f} | {means[0]:.2f} | "
            f"{means[1]:.1f} | {np.mean(ratios):.0f} ({min(ratios):.0f}-{max(ratios):.0f}) |"
        )
    print(f"\n{platform.machine()}, torch {torch.__version__}, {len(pairs)} set(s) of kernels")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    root = Path(os.environ.get("KINETOSCOPE_TEST_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=root)
    parser.add_argument("--weights", type=Path, help="a ResNet-50's state dict; default: random")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    if options.weights is not None:
        options.seeds = options.seeds[:1]
    return options


def _kernels(weights: Path | None, seed: int) -> tuple[Stream, Stream]:
    """An appearance stream, and the motion stream that starts from the same 2D weights."""
    torch.manual_seed(seed)
    networks = [models.get_model(f"{name}_stream_r50", 8) for name in ("rgb", "flow")]
    state = {k.removeprefix("rgb."): v for k, v in networks[0].state_dict().items()}
    if weights is not None:
        state = read_weights_file(weights)
    streams = []
    for network in networks:
        models.load_weights(network, state)
        assert isinstance(network, StreamNetwork)
        streams += network.eval().requires_grad_(False).streams()
    return streams[0], streams[1]


def _inputs(frames: Frames) -> tuple[Tensor, Tensor]:
    """What enters the streams: frames (1, 3, T, H, W), and the stack around each (1, 2L, ...)."""
    codes = FlowCoding().encode(make_flow_method("dis").estimate(frames))  # (N, 2, H, W)
    half, size = LENGTH // 2, codes.shape[2:]
    middles = range(half, len(codes) - half + 1, LENGTH)
    stacks = [codes[n - half : n + half].reshape(-1, *size) for n in middles]
    clip = torch.from_numpy(frames[list(middles)]).permute(3, 0, 1, 2)[None, None]
    flow = torch.from_numpy(np.stack(stacks, axis=1))[None, None]
    scale = Normalization()
    return normalize(clip, scale.mean, scale.std)[0], normalize_flow(flow)[0]


def _size(maps: Tensor) -> float:
    """Standard deviation of each channel over chunks and places, (1, C, T, H, W), averaged."""
    return float(maps[0].flatten(1).std(1).mean())


if __name__ == "__main__":
    main()

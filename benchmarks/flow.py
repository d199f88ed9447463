"""Optical flow: how right the methods are, how fast, and what storing their flow costs.

    uv run --extra flow python benchmarks/flow.py
    uv run --extra flow python benchmarks/flow.py --picture flow.png

Prints Markdown tables: end-point errors on generated videos whose motion is known, frames per
second of one core (processor time, so that other jobs do not count), and bytes, error and reading
time of both forms of storage. Real clips are read from `KINETOSCOPE_TEST_DATA` (default
`../shared/data`). RAFT is timed with random weights: its time does not depend on them.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torchvision.models.optical_flow import raft_large, raft_small
from torchvision.transforms.v2.functional import resize
from torchvision.utils import flow_to_image

from datamodules.clips.boxes import working_size
from datamodules.flow.coding import ZERO_CODE, FlowCoding
from datamodules.flow.extraction import FlowExtraction, FlowJob, FlowSettings
from datamodules.flow.methods import FlowMethod, make_flow_method
from datamodules.flow.reading import open_flow
from datamodules.flow.storage import FlowStorage, open_flow_writer
from datamodules.motion_shapes.motion import flow_from_motion
from datamodules.motion_shapes.rendering import CLASS_NAMES, render_clip
from datamodules.video.reader import VideoReader

Floats = npt.NDArray[np.float64]
Frames = npt.NDArray[np.uint8]
Motion = Callable[[Floats, Floats], tuple[Floats, Floats]]

SIDE = 128  # of generated videos, in pixels
BORDER = 16  # pixels at the edges, where motion brings in what the first frame does not show
CLIPS = ("Punch", "PushUps", "BabyCrawling")  # of the real data, one video each
PAIRS = {"dis": 48, "tvl1": 12}  # of consecutive frames of each clip


def translation(right: float, down: float) -> Motion:
    """The same displacement everywhere, in pixels."""
    return lambda x, y: (np.full_like(x, right), np.full_like(y, down))


def similarity(degrees: float, factor: float) -> Motion:
    """A turn around the middle, clockwise on the screen, and a magnification."""
    cosine, sine = factor * np.cos(np.radians(degrees)), factor * np.sin(np.radians(degrees))
    return lambda x, y: (cosine * x - sine * y - x, sine * x + cosine * y - y)


MOTIONS: dict[str, Motion] = {
    "still": translation(0, 0),
    "3 px right": translation(3, 0),
    "0.4 px left, 0.3 px down": translation(-0.4, 0.3),
    "8.5 px right, 4.25 px up": translation(8.5, -4.25),
    "turn by 3 degrees": similarity(3, 1),
    "zoom by 1.05": similarity(0, 1.05),
}


def textured_pair(motion: Motion, seed: int) -> tuple[Frames, Floats]:
    """Two frames of a textured plane, (2, H, W, 3), and its motion between them, (2, H, W)."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    from_x, from_y = x, y
    for _ in range(30):  # where the points of the second frame come from
        right, down = motion(from_x, from_y)
        from_x, from_y = x - right, y - down
    frames = np.stack([_texture(x, y, seed), _texture(from_x, from_y, seed)])
    return frames, np.stack(motion(x, y))


def _texture(x: Floats, y: Floats, seed: int) -> Frames:
    """Waves of many directions and lengths at any points, as RGB, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    value = np.zeros((*x.shape, 3))
    for _ in range(60):
        angle, length = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(np.log(4), np.log(40)))
        place = np.cos(angle) * x + np.sin(angle) * y
        wave = np.sin(2 * np.pi * (place / length + rng.random()))
        value += wave[..., None] * (rng.standard_normal(3) + 2) * length**0.5
    frame: Frames = np.clip(128 + 45 * value / value.std(), 0, 255).astype(np.uint8)
    return frame


def end_point_error(flow: npt.NDArray[np.floating], truth: npt.NDArray[np.floating]) -> Floats:
    """Distance between two flows in pixels, (..., 2, H, W) -> (..., H, W)."""
    off = (flow - truth).astype(np.float64)
    distance: Floats = np.hypot(off[..., 0, :, :], off[..., 1, :, :])
    return distance


def accuracy_rows(methods: dict[str, FlowMethod]) -> Iterator[list[str]]:
    """Mean end-point errors: textured planes inside the border, MotionShapes inside the shape."""
    for name, motion in MOTIONS.items():
        errors: dict[str, list[float]] = {key: [] for key in methods}
        for seed in range(3):
            frames, truth = textured_pair(motion, seed)
            for key, method in methods.items():
                off = end_point_error(method.estimate(frames)[0], truth)
                errors[key].append(float(off[BORDER:-BORDER, BORDER:-BORDER].mean()))
        yield [name, *(f"{np.mean(errors[key]):.3f}" for key in methods)]
    for pair in range(0, len(CLASS_NAMES), 2):
        yield _shape_row(pair, methods)


def _shape_row(label: int, methods: dict[str, FlowMethod]) -> list[str]:
    cells, lengths = dict.fromkeys(methods, 0.0), list[float]()
    for seed in range(3):
        clip = render_clip(np.random.default_rng(seed), label, size=SIDE)
        frames, mask = clip.frames[8:13], clip.mask[8:12]
        truth = flow_from_motion(clip.motion, clip.mask)[8:12]
        lengths.append(float(np.hypot(truth[:, 0], truth[:, 1])[mask].mean()))
        for key, method in methods.items():
            cells[key] += float(end_point_error(method.estimate(frames), truth)[mask].mean()) / 3
    name = f"MotionShapes `{CLASS_NAMES[label]}`, {np.mean(lengths):.2f} px"
    return [name, *(f"{cells[key]:.3f}" for key in methods)]


def coding_rows() -> Iterator[list[str]]:
    """What the 8-bit coding loses."""
    for bound in (20.0, 8.0):
        coding = FlowCoding(bound)
        flow = np.linspace(-bound, bound, 1_000_001)
        loss = float(np.abs(coding.decode(coding.encode(flow)) - flow).max())
        zero = int(coding.encode(np.zeros(1))[0])
        assert zero == ZERO_CODE, zero
        yield [f"{bound:g}", f"{coding.step:.4f}", f"{loss:.4f}", str(zero)]


def real_frames(root: Path, short_side: int) -> dict[str, Frames]:
    """The first frames of one clip of each class, (T, H, W, 3)."""
    found = {}
    for name in CLIPS:
        with VideoReader(_clip(root, name)) as reader:
            size = working_size(reader.height, reader.width, short_side)
            frames = reader.get_frames(range(min(max(PAIRS.values()) + 1, reader.num_frames)))
        resized = resize(frames, list(size), antialias=True).permute(0, 2, 3, 1)
        found[name] = resized.contiguous().numpy()
    return found


def _clip(root: Path, name: str) -> Path:
    """The first clip of a class."""
    return sorted((root / "ucf101_3class" / "videos" / name).glob("*.avi"))[0]


def timed_flow(method: FlowMethod, frames: Frames) -> tuple[npt.NDArray[np.float32], float]:
    """Flow, and the frames per second of one core."""
    begin = time.process_time()
    flow = method.estimate(frames)
    return flow, len(flow) / (time.process_time() - begin)


def command_rows(root: Path, short_side: int) -> Iterator[list[str]]:
    """Frames per second of one core for all that the command does: decoding, DIS, storing."""
    video = _clip(root, CLIPS[0])
    for storage in get_args(FlowStorage):
        with tempfile.TemporaryDirectory() as name:
            settings = FlowSettings("dis", short_side, storage=storage)
            extraction = FlowExtraction(video.parent, Path(name), Path(name), settings)
            begin = time.process_time()
            count = sum(step.frames for step in extraction(FlowJob(video.name, video.stem)))
            rate = count / (time.process_time() - begin)
        yield [f"dis, whole command, {storage}", f"{rate:.1f}"]


def raft_rows(frames: Frames) -> Iterator[list[str]]:
    """Frames per second of RAFT on one core."""
    with tempfile.TemporaryDirectory() as folder:
        for factory in (raft_small, raft_large):
            weights = Path(folder) / "weights.pth"
            torch.save(factory(weights=None).state_dict(), weights)
            _, rate = timed_flow(make_flow_method("raft", weights), frames[:3])
            yield [factory.__name__, f"{rate:.2f}"]


def storage_row(storage: FlowStorage, codes: list[Frames]) -> list[str]:
    """What it costs to store the codes of some clips, each (N, 2, H, W), and to read them."""
    sizes, errors, stacks, whole, fields = 0, list[Frames](), list[float](), 0.0, 0
    for clip in codes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with open_flow_writer(storage, folder, *clip.shape[2:]) as writer:
                writer.write(clip)
            sizes += sum(path.stat().st_size for path in folder.iterdir())
            begin = time.process_time()
            with open_flow(folder) as reader:
                read = reader.get_flow(range(len(clip))).numpy()
            whole += time.process_time() - begin
            for start in range(max(0, len(clip) - 9)):
                begin = time.process_time()
                with open_flow(folder) as reader:
                    reader.get_flow(range(start, start + 10))
                stacks.append(time.process_time() - begin)
        errors.append(np.abs(read.astype(np.int16) - clip).astype(np.uint8))
        fields += len(clip)
    flat = np.concatenate([error.ravel() for error in errors])
    stack = f"{1000 * np.mean(stacks):.0f}" if stacks else ""
    error = [f"{flat.mean():.3f}", f"{np.percentile(flat, 99.9):.0f}", f"{flat.max()}"]
    return [storage, f"{sizes / fields:,.0f}", *error, f"{1000 * whole / fields:.2f}", stack]


def table(heading: list[str], rows: Iterator[list[str]] | list[list[str]]) -> None:
    """Print a Markdown table."""
    print()
    for row in (heading, ["---"] * len(heading), *rows):
        print(f"| {' | '.join(row)} |", flush=True)


def picture(frames: dict[str, Frames], methods: dict[str, FlowMethod]) -> Figure:
    """Flow as it is stored, in the usual colours, and its length, where each clip moves most."""
    coding, rows = FlowCoding(), 1 + 2 * len(methods)
    figure, axes = plt.subplots(
        rows, len(frames) + 1, figsize=(13, 2.5 * rows), layout="constrained"
    )
    for column, (name, clip) in enumerate(frames.items()):
        moves = np.abs(methods["dis"].estimate(clip)).mean(axis=(1, 2, 3))
        at = int(moves.argmax())
        axes[0, column].imshow(clip[at])
        axes[0, column].set_title(f"{name}, frame {at}")
        flows = [method.estimate(clip[at : at + 2])[0] for method in methods.values()]
        stored = np.stack([coding.decode(coding.encode(flow)) for flow in flows])
        colours = flow_to_image(torch.from_numpy(stored)).permute(0, 2, 3, 1)
        for row, method in enumerate(methods):
            axes[1 + 2 * row, column].imshow(colours[row])
            axes[1 + 2 * row, column].set_title(f"{method}, flow to frame {at + 1}")
            length = np.hypot(*stored[row])
            shown = axes[2 + 2 * row, column].imshow(length, cmap="magma", vmin=0, vmax=28)
            axes[2 + 2 * row, column].set_title(f"{method}, length")
    figure.colorbar(shown, ax=axes[2, -1], location="left", label="pixels")
    y, x = np.mgrid[-1:1:201j, -1:1:201j].astype(np.float32)
    wheel = flow_to_image(torch.from_numpy(np.stack([x, y]) * (np.hypot(x, y) <= 1)))
    axes[1, -1].imshow(wheel.permute(1, 2, 0))
    axes[1, -1].set_title("colour of a direction")
    for axis in axes.flat:
        axis.set_axis_off()
    return figure


def measure(
    root: Path, short_side: int, frames: dict[str, Frames], methods: dict[str, FlowMethod]
) -> None:
    """Print every table."""
    table(["motion", *(f"{name}, px" for name in methods)], accuracy_rows(methods))
    table(["bound, px", "step, px", "largest loss, px", "code of zero"], coding_rows())
    coding, flows, rates = FlowCoding(), dict[str, list[Frames]](), list[list[str]]()
    for name, method in methods.items():
        timed = [timed_flow(method, clip[: PAIRS[name] + 1]) for clip in frames.values()]
        flows[name] = [coding.encode(flow) for flow, _ in timed]
        rates.append([name, f"{np.mean([rate for _, rate in timed]):.2f}"])
    rates += [*command_rows(root, short_side), *raft_rows(frames[CLIPS[0]])]
    table(["method", "frames/s of a core"], rates)
    costs = [
        "bytes per field",
        "mean error",
        "99.9 %",
        "largest",
        "in order, ms",
        "stack of 10, ms",
    ]
    rows = [
        [name, *storage_row(storage, codes)]
        for name, codes in flows.items()
        for storage in ("jpeg", "video")
    ]
    table(["flow of", "storage", *costs], rows)


def main() -> None:
    """Measure and print, or draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short_side", type=int, default=256, help="of real frames, in pixels")
    parser.add_argument("--picture", type=Path, help="draw three clips into this file instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("KINETOSCOPE_TEST_DATA", default))
    frames = real_frames(root, options.short_side)
    methods = {name: make_flow_method(name) for name in ("tvl1", "dis")}
    if options.picture is not None:
        picture(frames, methods).savefig(options.picture, dpi=80)
        return
    height, width = frames[CLIPS[0]].shape[1:3]
    versions = f"opencv {methods['dis'].version}, torch {torch.__version__}"
    print(f"{versions}; {platform.machine()}, {os.cpu_count()} cores; real frames {width}x{height}")
    measure(root, options.short_side, frames, methods)


if __name__ == "__main__":
    main()

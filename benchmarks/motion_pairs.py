"""Draw what each network says of motions that are each other's exact reversal.

Left are frames of the first test clip of one class of each pair; read from right to left they are a
clip of the other class. Right is what the networks make of all test clips of the pair, over all
runs that `kinetoscope benchmark --out OUT` has left: the share that is given its class, that of
its reversal, and one of another pair.

    uv run python benchmarks/motion_pairs.py --benchmark OUT
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from repeated_runs import PAIRS

from datamodules import open_video

TITLES = ("left / right", "up / down", "clockwise / anticlockwise", "grow / shrink")
NETWORKS = {
    "C2D, blind to order": "c2d_tiny",
    "TSM": "tsm_tiny",
    "SELFY on TSM": "selfy_tsm_tiny",
    "StNet": "stnet_tiny",
    "CoST(b)": "cost_b_tiny",
}
PARTS = {"its class": "#1b7837", "its reversal": "#c51b7d", "another pair": "#bdbdbd"}
FRAMES = 6


def main() -> None:
    """Read the score files and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--benchmark", type=Path, required=True, help="folder of its runs")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/motion_pairs.png"))
    options = parser.parse_args()
    runs = options.benchmark / "shapes" / "train"
    shares = {name: shares_of(runs / run) for name, run in NETWORKS.items()}
    figure = draw(shares, options.benchmark / "data" / "shapes" / "test")
    figure.savefig(options.out, dpi=90, facecolor="white", pil_kwargs={"optimize": True})
    print(f"written: {options.out}")


def shares_of(folder: Path) -> NDArray[np.float64]:
    """Divide the answers of all runs of a network, (pairs, parts); each row sums to 1.

    Raises:
        SystemExit: There is no run.
    """
    files = sorted(folder.glob("seed_*/scores_test_1x1.npz"))
    if not files:
        raise SystemExit(f"no scores below {folder}; run kinetoscope benchmark first")
    counts = np.zeros((len(PAIRS), len(PARTS)))
    for file in files:
        with np.load(file) as scores:
            names = scores["class_names"].tolist()
            best = scores["logits"].mean(axis=1).argmax(axis=1)
            for row, pair in enumerate(PAIRS):
                members = [names.index(name) for name in pair]
                own = np.isin(scores["labels"], members)
                right = best[own] == scores["labels"][own]
                known = np.isin(best[own], members)
                counts[row] += [right.sum(), (known & ~right).sum(), (~known).sum()]
    shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return shares


def draw(shares: dict[str, NDArray[np.float64]], clips: Path) -> Figure:
    """Draw a row for each pair: frames of a clip, and a bar for each network."""
    figure, axes = plt.subplots(
        len(PAIRS), 2, figsize=(10, 6.4), width_ratios=(1.15, 1), layout="constrained"
    )
    for row, (title, (name, _)) in enumerate(zip(TITLES, PAIRS, strict=True)):
        _film(axes[row, 0], min((clips / name).glob("*.mp4")), title)
        _bars(axes[row, 1], {network: share[row] for network, share in shares.items()})
    axes[0, 1].set_title("share of the pair's test clips that is given ...", fontsize=10)
    handles, labels = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(PARTS), loc="outside lower right", frameon=False)
    return figure


def _film(axes: Axes, path: Path, title: str) -> None:
    """Show frames of a clip side by side."""
    with open_video(path) as video:
        numbers = np.linspace(0, video.num_frames - 1, FRAMES).round().astype(int)
        frames = video.get_frames(numbers.tolist()).permute(0, 2, 3, 1).numpy()
    gap = np.full((frames.shape[1], 3, 3), 255, np.uint8)
    parts = [part for frame in frames for part in (frame, gap)]
    axes.imshow(np.concatenate(parts[:-1], axis=1))
    axes.set_axis_off()
    axes.set_title(title, loc="left", fontsize=10)


def _bars(axes: Axes, shares: dict[str, NDArray[np.float64]]) -> None:
    """Draw a bar for each network, the first one on top."""
    left = np.zeros(len(shares))
    names = list(shares)
    for part, (label, colour) in enumerate(PARTS.items()):
        widths = np.array([shares[name][part] for name in names])
        axes.barh(names, widths, left=left, color=colour, label=label, height=0.78)
        left += widths
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=8)
    axes.tick_params(axis="y", labelsize=8, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


if __name__ == "__main__":
    main()

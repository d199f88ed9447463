"""Time and peak memory of `kinetoscope compare` on two score files of Kinetics-400's size.

The files hold made-up scores of 19,906 videos, 30 views and 400 classes in half precision, as a
test of that size stores them: 478 MB each, and they are made a few videos at a time.
"""

import argparse
import json
import resource
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

from lightning_modules.cli import main as kinetoscope

VIDEOS_AT_ONCE = 200


def make_scores(path: Path, videos: int, views: int, classes: int, seed: int) -> None:
    """Write a score file, of which no more than some videos are ever held.

    Args:
        path: The file.
        videos: N.
        views: V.
        classes: K.
        seed: Seed of the scores; labels and names do not depend on it.
    """
    labels = np.random.default_rng(0).integers(classes, size=videos)
    rng = np.random.default_rng(seed)
    fields = {
        "video_ids": np.array([f"video_{i:06d}" for i in range(videos)]),
        "labels": labels,
        "groups": np.array([f"source_{i // 3:06d}" for i in range(videos)]),
        "class_names": np.array([f"class {k}" for k in range(classes)]),
        "protocol": np.array(json.dumps({"average": "probabilities", "weights": str(seed)})),
    }
    np.savez(path, **fields)
    header = {"descr": "<f2", "fortran_order": False, "shape": (videos, views, classes)}
    with zipfile.ZipFile(path, "a") as archive, archive.open("logits.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, videos, VIDEOS_AT_ONCE):
            own = labels[start : start + VIDEOS_AT_ONCE]
            logits = rng.normal(size=(len(own), 1, classes), scale=2.0)
            logits = logits + rng.standard_normal((len(own), views, classes), dtype=np.float32)
            logits[np.arange(len(own)), :, own] += 4.0
            file.write(logits.astype("<f2").tobytes())


def main() -> None:
    """Make the files, compare them in this process, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the score files and the page")
    parser.add_argument("--videos", type=int, default=19_906)
    parser.add_argument("--views", type=int, default=30)
    parser.add_argument("--classes", type=int, default=400)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    paths = [options.folder / f"{name}.npz" for name in ("first", "second")]
    for seed, path in enumerate(paths, 1):
        if not path.exists():
            make_scores(path, options.videos, options.views, options.classes, seed)
    made = _peak()
    begun, worked = time.perf_counter(), time.process_time()
    names = [f"{path.stem}={path}" for path in paths]
    kinetoscope(["compare", *names, "--out", str(options.folder / "page")])
    took, worked = time.perf_counter() - begun, time.process_time() - worked
    sizes = ", ".join(f"{path.stat().st_size / 1e6:.0f} MB" for path in paths)
    sys.stdout.write(
        f"files of {sizes}: peak {_peak():.0f} MB (before: {made:.0f} MB), {took:.0f} s, of "
        f"which {worked:.0f} s on a processor\n"
    )


def _peak() -> float:
    """Read the most memory that this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()

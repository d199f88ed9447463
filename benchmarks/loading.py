"""Training clips from files to batches, against loaders as users write them.

A clip is 8 frames with stride 8 of a video at random, a random resized crop of 224 px, half of them
mirrored; a batch is 8 of them. Ours is `VideoFolderDataModule`. The others are a dataset of a page:
TorchCodec (its exact seeks, which are its default, and its approximate ones) or decord, then
`torchvision.transforms.v2`; once as uint8, as ours, and once as float32 in the workers, which is
how torchvision's own scripts do it. Every file stands in the list `--copies` times.

First all loaders run an epoch each with nothing known of the files, then epochs in turns. The table
gives our clips per second and the others' time over ours: the median of the rounds, and their
range. With no worker one more table divides our time into its parts, and a last one gives our clips
per second where several clips are taken of each opened video (`--data.loading.repeated_views`).

    uv run --group bench python benchmarks/loading.py CLIPS/kinetics --workers 0 1 2
    uv run python benchmarks/loading.py --growth 20000
"""

import argparse
import importlib
import importlib.metadata
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from datamodules import (
    Crops,
    FrameSampler,
    Loading,
    MotionShapesDataModule,
    StandardAugmentation,
    VideoFolderDataModule,
)
from datamodules.stopwatch import PARTS
from datamodules.video.indices import cache as index_cache

FRAMES, STRIDE, SIZE, BATCH = 8, 8, 224, 8
SCALE = (0.4, 1.0)
OURS = "ours"
DENSE = FrameSampler(num_frames=FRAMES, frame_stride=STRIDE)
SEGMENTS = FrameSampler(num_segments=FRAMES)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Open = Callable[[str], tuple[int, Callable[[list[int]], Tensor]]]
"""Opens a file: its number of frames, and what fetches some of them as uint8 (T, C, H, W)."""


def open_torchcodec(path: str, seek_mode: str = "exact") -> Any:
    """Open a file with TorchCodec on one thread."""
    decoders = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(path, num_ffmpeg_threads=1, seek_mode=seek_mode)
    return decoder.metadata.num_frames, lambda wanted: decoder.get_frames_at(wanted).data


def open_approximately(path: str) -> Any:
    """Open a file with TorchCodec, which seeks by the frame rate: wrong where it varies.

    Its last frames are left alone: of some files it counts frames that it then does not find.
    """
    count, fetch = open_torchcodec(path, "approximate")
    return max(1, count - 3), fetch


def open_decord(path: str) -> Any:
    """Open a file with decord on one thread."""
    reader = importlib.import_module("decord").VideoReader(path, num_threads=1)

    def fetch(wanted: list[int]) -> Tensor:
        return torch.from_numpy(reader.get_batch(wanted).asnumpy()).permute(0, 3, 1, 2)

    return len(reader), fetch


OTHERS: dict[str, tuple[Open, bool]] = {
    "TorchCodec": (open_torchcodec, False),
    "TorchCodec, float32": (open_torchcodec, True),
    "TorchCodec approximate": (open_approximately, False),
    "decord": (open_decord, False),
}
"""Name to what opens a file, and whether its clips become float32."""


class PlainVideos(Dataset[tuple[Tensor, int]]):
    """Training clips of a list of files, as users write it."""

    def __init__(self, paths: list[str], opened: Open, floats: bool) -> None:
        self.paths, self.opened = paths, opened
        changes: list[Any] = [
            v2.RandomResizedCrop(SIZE, scale=SCALE, antialias=True),
            v2.RandomHorizontalFlip(),
        ]
        if floats:
            changes += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        self.transform = v2.Compose(changes)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        count, fetch = self.opened(self.paths[index])
        span = (FRAMES - 1) * STRIDE
        start = int(torch.randint(max(1, count - span), ()))
        wanted = [min(start + STRIDE * i, count - 1) for i in range(FRAMES)]
        clip: Tensor = self.transform(fetch(wanted))
        return clip, index % 2


def plain_loader(paths: list[str], name: str, workers: int) -> DataLoader[tuple[Tensor, int]]:
    """Make the loader of a page."""
    opened, floats = OTHERS[name]
    return DataLoader(
        PlainVideos(paths, opened, floats),
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def our_loader(
    root: Path, listing: Path, workers: int, views: int = 1, sampling: FrameSampler = DENSE
) -> DataLoader[Any]:
    """Make ours of the same files, with some clips of each opened video."""
    data = VideoFolderDataModule(
        str(root),
        train_list=str(listing),
        val_fraction=0,
        sampling=sampling,
        crops=Crops(size=SIZE, train_crop="random_resized", scale=SCALE),
        augmentation=StandardAugmentation(),
        loading=Loading(batch_size=BATCH, num_workers=workers, repeated_views=views),
    )
    data.setup("fit")
    return data.train_dataloader()


def main() -> None:
    """Print the tables."""
    options = _options()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["KINETOSCOPE_CACHE"] = os.environ["KINETOSCOPE_NODE_CACHE"] = cache
        if options.growth:
            _growth(options.growth, Path(cache))
            return
        _versions()
        for folder in options.folders:
            _compare_folder(folder, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, help="folders of videos")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--copies", type=int, default=16, help="of each file in the list")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each loader")
    parser.add_argument("--growth", type=int, help="load that many clips, and watch the memory")
    options = parser.parse_args()
    if not options.folders and not options.growth:
        parser.error("give folders of videos, or --growth")
    return options


def _versions() -> None:
    named = [f"Python {platform.python_version()}", f"PyAV {av.__version__}"]
    for name in ("torch", "torchvision", "torchcodec", "decord"):
        try:
            named.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            named.append(f"no {name}")
    print(f"{', '.join(named)}; {platform.machine()}, {os.cpu_count()} cores\n")


def _compare_folder(folder: Path, options: argparse.Namespace) -> None:
    """Print the rows of one folder's files."""
    with tempfile.TemporaryDirectory() as made:
        root, listing, paths = _copies(folder, Path(made), options.copies)
        names = _usable(paths[0])
        print(f"| {folder.name}: {len(paths)} clips an epoch | workers | ours, clips/s |", end="")
        print("".join(f" {name} |" for name in names))
        print("|---|---|---|" + "---|" * len(names))
        for workers in options.workers:
            index_cache.recent.clear()
            for variable in ("KINETOSCOPE_CACHE", "KINETOSCOPE_NODE_CACHE"):
                os.environ[variable] = f"{made}/cache_{workers}"
            loaders = {name: plain_loader(paths, name, workers) for name in names}
            loaders = {OURS: our_loader(root, listing, workers), **loaders}
            cold = {name: [_epoch(loader)] for name, loader in loaders.items()}
            clips = BATCH * len(loaders[OURS])
            _row("first epoch", workers, clips, cold)
            warm: dict[str, list[float]] = {name: [] for name in loaders}
            for number in range(options.rounds):
                for name in list(loaders)[:: 1 if number % 2 else -1]:
                    warm[name].append(_epoch(loaders[name]))
            _row("later", workers, clips, warm)
        print()
        _parts(root, listing)
        for name, sampling in (("dense clips", DENSE), ("segments", SEGMENTS)):
            _views(root, listing, options.rounds, name, sampling)


def _copies(folder: Path, made: Path, copies: int) -> tuple[Path, Path, list[str]]:
    """Copy each file several times, and list the copies with labels in turns."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise SystemExit(f"no videos below {folder}; give folders that hold some")
    root, lines = made / "videos", list[str]()
    root.mkdir()
    for number in range(copies):
        for path in files:
            name = f"{number}_{path.name}"
            shutil.copyfile(path, root / name)
            lines.append(f"{name} {len(lines) % 2}")
    listing = made / "list.txt"
    listing.write_text("\n".join([*lines, ""]))
    return root, listing, [str(root / line.split()[0]) for line in lines]


def _usable(path: str) -> list[str]:
    """Name the others that work here; say of the rest why not."""
    names = []
    for name, (opened, _) in OTHERS.items():
        try:
            opened(path)[1]([0])
        except (ImportError, OSError, RuntimeError) as error:
            print(f"without {name}: {str(error).strip().splitlines()[0]}")
        else:
            names.append(name)
    return names


def _epoch(loader: DataLoader[Any]) -> float:
    """Load an epoch, and return the seconds that it took."""
    begun = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - begun


def _row(label: str, workers: int, clips: int, times: dict[str, list[float]]) -> None:
    ours = times[OURS]
    cells = [label, str(workers), f"{clips / statistics.median(ours):.0f}"]
    for name in (name for name in times if name != OURS):
        ratios = [theirs / own for theirs, own in zip(times[name], ours, strict=True)]
        spread = f" ({min(ratios):.2f}-{max(ratios):.2f})" if len(ratios) > 1 else ""
        cells.append(f"{statistics.median(ratios):.2f}{spread}")
    print(f"| {' | '.join(cells)} |", flush=True)


def _parts(root: Path, listing: Path) -> None:
    """Print what our time is spent on, in milliseconds of a clip."""
    loader = our_loader(root, listing, 0)
    _epoch(loader)
    seconds: dict[str, float] = defaultdict(float)
    clips = 0
    for batch in loader:
        clips += len(batch["label"])
        for part, spent in batch["seconds"].items():
            seconds[part] += float(spent)
    parts = [part for part in PARTS if seconds[part]]
    print(f"| {' | '.join(parts)} | all |")
    print("|---" * (len(parts) + 1) + "|")
    values = [f"{1e3 * seconds[part] / clips:.2f}" for part in parts]
    print(f"| {' | '.join(values)} | {1e3 * sum(seconds.values()) / clips:.2f} |\n")


def _views(root: Path, listing: Path, rounds: int, name: str, sampling: FrameSampler) -> None:
    """Print our clips per second by the number of clips of each opened video."""
    loaders = {views: our_loader(root, listing, 0, views, sampling) for views in (1, 2, 4)}
    rates: dict[int, list[float]] = {views: [] for views in loaders}
    for number in range(rounds):
        for views in list(loaders)[:: 1 if number % 2 else -1]:
            clips = BATCH * len(loaders[views])
            rates[views].append(clips / _epoch(loaders[views]))
    print(f"| {name} of each opened video | clips/s | of one clip's |\n|---|---|---|")
    for views, found in rates.items():
        ratios = [ours / one for ours, one in zip(found, rates[1], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"| {views} | {statistics.median(found):.0f} | {spread} |")
    print()


def _growth(clips: int, folder: Path) -> None:
    """Load clips of MotionShapes with two workers, and print the memory on the way."""
    data = MotionShapesDataModule(
        str(folder / "motion_shapes"),
        num_train=200,
        num_val=8,
        num_test=8,
        crops=Crops(size=64, short_side=64),
        loading=Loading(batch_size=BATCH, num_workers=2),
    )
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    marks, loaded = list[tuple[int, int]](), 0
    step = clips // 10
    for batch in _endless(loader):
        loaded += len(batch["label"])
        if loaded // step > len(marks):
            marks.append((loaded, _private_bytes()))
            print(f"{loaded} clips: {marks[-1][1] / 2**20:.1f} MiB private", flush=True)
        if loaded >= clips:
            break
    (first, before), (last, after) = marks[1], marks[-1]
    print(f"{(after - before) / (last - first):.0f} bytes a clip from the {first}th clip on")


def _endless(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _private_bytes() -> int:
    """Memory that this process and its children have to themselves."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    total = 0
    for process in (str(own), *children):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_"):
                total += 1024 * int(line.split()[1])
    return total


if __name__ == "__main__":
    main()

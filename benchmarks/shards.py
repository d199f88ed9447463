"""Training clips of a packed dataset: from its files, its shards, and a server far away.

    uv run python benchmarks/shards.py CLIPS/kinetics --copies 40 --workers 2

Every file is copied `--copies` times, and the folder is packed. The server is one of this machine
that answers each request after `--latency` seconds. Whole epochs are timed in turns: from files,
from shards on disk, and from the server with nothing kept, without and with reading ahead, then
once more with all kept. A clip is 8 frames with stride 8, cropped to 224 px, a batch is 8 of them.
The table gives clips per second, the share of the files' rate in the same round, and the bytes that
the server sent over what the packets weigh that the clips are decoded from: the medians of the
rounds, and their range.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import re
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av
import numpy as np
import torch
from torch.utils.data import DataLoader

from datamodules import Crops, FrameSampler, Loading, VideoFolderDataModule
from datamodules.batch import VideoItem
from datamodules.packing.dataset import pack_dataset
from datamodules.storage.elsewhere.node_cache import FOLDER_VARIABLE
from datamodules.video.segment import VideoSegment
from datamodules.video.suffixes import VIDEO_SUFFIXES

FRAMES, STRIDE, SIZE, BATCH = 8, 8, 224, 8
FILES, SHARDS = "files", "shards on disk"
COLD, AHEAD, AGAIN = "server, not ahead", "server, first epoch", "server, second epoch"


class Server:
    """A web server that gives files of a folder, whole or in parts, after a while.

    Written here because Python's own takes a millisecond of the same two cores for each answer.

    Args:
        folder: The folder.
        latency: Seconds before each answer.
        sent: Counts the bytes that were sent of files.
    """

    def __init__(self, folder: Path, latency: float, sent: Any) -> None:
        self._folder, self._latency, self._sent = folder, latency, sent

    async def run(self, port: Any) -> None:
        """Serve until the process is ended."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                await asyncio.sleep(self._latency)
                writer.write(self._answer(request))
                await writer.drain()

    def _answer(self, request: str) -> bytes:
        method, path, _ = request.split(" ", 2)
        file = self._folder / unquote(path).lstrip("/")
        if not file.is_file():
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        size, status = file.stat().st_size, "200 OK"
        first, last, extra = 0, size - 1, ""
        if wanted := re.search(r"range: bytes=(\d+)-(\d+)", request, re.IGNORECASE):
            first, last = int(wanted[1]), min(int(wanted[2]), size - 1)
            status, extra = "206 Partial Content", f"Content-Range: bytes {first}-{last}/{size}\r\n"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {last + 1 - first}\r\n{extra}\r\n".encode()
        if method == "HEAD":
            return head
        with file.open("rb") as opened:
            opened.seek(first)
            content = opened.read(last + 1 - first)
        with self._sent.get_lock():
            self._sent.value += len(content)
        return head + content


def serve(folder: Path, latency: float, sent: Any, port: Any) -> None:
    """Serve a folder until the process is ended."""
    asyncio.run(Server(folder, latency, sent).run(port))


@contextmanager
def serving(folder: Path, latency: float) -> Iterator[tuple[str, Any]]:
    """Serve a folder from a process; give its address, and the bytes that it sent so far."""
    sent, port = multiprocessing.Value("q", 0), multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=serve, args=(folder, latency, sent, port), daemon=True)
    process.start()
    while not port.value:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port.value}", sent
    finally:
        process.terminate()


def data_of(root: str, workers: int) -> VideoFolderDataModule:
    """Make the data of a folder or address."""
    data = VideoFolderDataModule(
        root,
        sampling=FrameSampler(num_frames=FRAMES, frame_stride=STRIDE),
        crops=Crops(size=SIZE),
        loading=Loading(batch_size=BATCH, num_workers=workers),
        val_fraction=0.05,
    )
    data.setup("fit")
    return data


def timed(loader: DataLoader[VideoItem], epoch: int, data: VideoFolderDataModule) -> float:
    """Clips per second of an epoch, from the first batch that is asked for."""
    data.go_on_at(epoch, 0)
    begun, clips = time.perf_counter(), 0
    for batch in loader:
        clips += len(batch["clips"])
    return clips / (time.perf_counter() - begun)


def needed_bytes(data: VideoFolderDataModule, epoch: int) -> int:
    """Weigh the packets that the clips of an epoch are decoded from."""
    dataset, total = data.train_set, 0
    data.go_on_at(epoch, 0)
    for key in data._train_sampler():
        with dataset._open(key.index) as video:
            frames = dataset._draw(video, dataset._generators(key.epoch, key.index))
            total += _weight(video, np.unique(frames))
    return total


def _weight(video: VideoSegment, frames: Any) -> int:
    index: Any = video._video.index  # type: ignore[union-attr]
    entries = index.entries_for(frames)
    last = {entry: index.packet[frames[entries == entry]].max() for entry in np.unique(entries)}
    return sum(int(index.size[entry : end + 1].sum()) for entry, end in last.items())


def one_round(
    files: Path, packed: Path, address: str, sent: Any, workers: int, number: int
) -> dict[str, tuple[float, float]]:
    """Time an epoch of each; clips per second, and bytes over those that are needed."""
    found = {}
    plain = data_of(str(files), workers)
    timed(plain.train_dataloader(), 0, plain)  # indices of the files
    needed = needed_bytes(plain, number)
    found[FILES] = timed(plain.train_dataloader(), number, plain), 0.0
    local = data_of(str(packed), workers)
    timed(local.train_dataloader(), 0, local)
    found[SHARDS] = timed(local.train_dataloader(), number, local), 0.0
    for name in (COLD, AHEAD):
        with tempfile.TemporaryDirectory() as cache:
            os.environ[FOLDER_VARIABLE] = cache
            data = data_of(f"{address}/{packed.name}", workers)
            loader = data.train_dataloader()
            if name == COLD:
                sampler, videos = data._train_sampler(), data.loading.videos_per_batch
                loader = data.loading.loader(data.train_set, sampler, videos, data.seed)
            before = sent.value
            rate = timed(loader, number, data)
            found[name] = rate, (sent.value - before) / needed
            if name == AHEAD:
                before = sent.value
                rate = timed(loader, number, data)
                found[AGAIN] = rate, (sent.value - before) / needed
            del loader
    return found


def main() -> None:
    """Measure, and write a table and the numbers behind it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("videos", type=Path, help="folder of video files")
    parser.add_argument("--copies", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    versions = (
        f"torch {torch.__version__}, PyAV {av.__version__}, Python {platform.python_version()}"
    )
    print(f"{versions}, {options.workers} workers, {1e3 * options.latency:g} ms")
    rows = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KINETOSCOPE_CACHE"] = f"{folder}/cache"
        files, packed = Path(folder, "files"), Path(folder, "packed")
        paths = [p for p in sorted(options.videos.rglob("*")) if p.suffix in VIDEO_SUFFIXES]
        for place, path in enumerate(paths):
            for copy in range(options.copies):
                (files / "ab"[place % 2]).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, files / "ab"[place % 2] / f"{copy:04d}_{place}{path.suffix}")
        pack_dataset(files, packed, shard_bytes=10**8, num_workers=2, say=print)
        with serving(Path(folder), options.latency) as (address, sent):
            for number in range(1, options.rounds + 1):
                found = one_round(files, packed, address, sent, options.workers, number)
                for name, (rate, share) in found.items():
                    rows[name].append((rate, rate / found[FILES][0], share))
                print(json.dumps({name: rows[name][-1] for name in rows}), flush=True)
    print("\n| clips from | clips/s | of the files' | bytes sent / needed |\n|---|---|---|---|")
    for name, values in rows.items():
        columns = [[value[i] for value in values] for i in range(3)]
        cells = [f"{statistics.median(c):.2f} ({min(c):.2f}-{max(c):.2f})" for c in columns]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

"""What `kinetoscope transcode` gains: training clips from original and from transcoded files.

The files of each folder are transcoded; then clips are read as training reads them, from either
file in turn: opened (index in memory), decoded, converted, resized and cropped. Dense clips are 8
frames with stride 8, segments 8 frames over the whole video; 224 px, short side 256. Processor time
on one thread; the table gives the medians, the median of the paired ratios, sizes, and PSNR and
SSIM of frames against the resized originals.

    uv run python benchmarks/transcoding.py CLIPS/kinetics CLIPS/ucf101 CLIPS/hmdb51
"""

import argparse
import itertools
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure
from torchvision.transforms.v2 import functional as tvf

from datamodules import Crops, FrameSampler
from datamodules.clips.clip_sampler import ClipSampler
from datamodules.transcoding.dataset import transcode_dataset
from datamodules.transcoding.settings import TranscodeSettings
from datamodules.transcoding.work import read_records
from datamodules.video.reader import VideoReader

SAMPLINGS = {
    "dense": FrameSampler(num_frames=8, frame_stride=8),
    "segments": FrameSampler(num_segments=8),
}
FORMS = {"default": TranscodeSettings(), "--small": TranscodeSettings(fast_decode=False)}


@dataclass(frozen=True)
class Row:
    """Times of one sampling on the files of one folder, in milliseconds of processor time."""

    old: float
    new: float
    ratio: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=30, help="clips of each file and sampling")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| files | form | clips | original, ms | transcoded, ms | ratio | size | PSNR | SSIM |")
    print("|---|---|---|---|---|---|---|---|---|")
    for folder, (form, settings) in itertools.product(options.folders, FORMS.items()):
        with tempfile.TemporaryDirectory() as made:
            target = Path(made) / "videos"
            transcode_dataset(folder, target, settings, say=lambda _: None)
            pairs = [
                (path, (target / path.relative_to(folder)).with_suffix(".mp4"))
                for path in sorted(folder.rglob("*"))
            ]
            pairs = [pair for pair in pairs if pair[1].is_file()]
            quality = _quality(target, pairs, settings.short_side)
            for name, sampling in SAMPLINGS.items():
                row = _measure(pairs, sampling, options.rounds)
                print(
                    f"| {folder.name}, {len(pairs)} | {form} | {name} | {row.old:.1f} | "
                    f"{row.new:.1f} | {row.ratio:.2f} | {quality} |",
                    flush=True,
                )


def _measure(pairs: list[tuple[Path, Path]], sampling: ClipSampler, rounds: int) -> Row:
    """Time clips of the old and the new files in turn."""
    times: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        for files in pairs:
            order = files if number % 2 else files[::-1]
            spent = {path: _clip(path, sampling, number) for path in order}
            if number:  # the first ones build the indices
                times.append((spent[files[0]], spent[files[1]]))
    old, new = zip(*times, strict=True)
    ratio = statistics.median(a / b for a, b in times)
    return Row(1e3 * statistics.median(old), 1e3 * statistics.median(new), ratio)


def _clip(path: Path, sampling: ClipSampler, seed: int) -> float:
    """Read a training clip, and return the seconds that it took."""
    rng = np.random.default_rng(seed)
    begun = time.process_time()
    with VideoReader(path) as video:
        (indices,) = sampling.train(video.num_frames, rng, video.frame_rate)
        video.get_frames(indices, Crops().draw(video.height, video.width, rng))
    return time.process_time() - begun


def _quality(target: Path, pairs: list[tuple[Path, Path]], side: int) -> str:
    """Say how large the new files are, and how like the old ones."""
    records, likeness = read_records(target), []
    for old, new in pairs:
        with VideoReader(old) as before, VideoReader(new) as after:
            numbers = np.linspace(0, after.num_frames - 1, 4).round().astype(int)
            wanted = tvf.resize(
                before.get_frames(numbers), [after.height, after.width], antialias=True
            )
            frames = after.get_frames(numbers)
        values = structural_similarity_index_measure(
            frames.float(), wanted.float(), data_range=255.0
        )
        likeness.append(float(values))
    size = sum(r.bytes_after for r in records) / sum(r.bytes_before for r in records)
    psnr = statistics.mean(record.psnr for record in records)
    return f"{size:.2f} | {psnr:.1f} dB | {statistics.mean(likeness):.3f}"


if __name__ == "__main__":
    main()

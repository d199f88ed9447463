"""From files to gradient: what a fit reaches, and what its loader and its steps would alone."""

import csv
import os
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from datamodules.transcoding.dataset import transcode_dataset
from datamodules.transcoding.settings import TranscodeSettings
from gpu_pieces.commands import finish
from gpu_pieces.setting import Cell, Setting

NETWORKS = {
    "cost_a_r50": ("--model=CoSTModule", "--model.network=cost_a_r50"),
    "tsm_r50": ("--model=BaselineModule", "--model.network=tsm_r50"),
}
FILES, COPIES = 16, 64
FORMS = {"originals": 1, "transcoded": 1, "transcoded, 2 views": 2}


def cells(setting: Setting) -> list[Cell]:
    """A fit for each network and form of the files."""
    names = list(NETWORKS)[:1] if setting.tiny else list(NETWORKS)
    return [
        Cell(f"{name}, {form}", partial(_fed, name, form, setting), 100)
        for name in names
        for form in FORMS
    ]


def _fed(name: str, form: str, setting: Setting) -> dict[str, Any]:
    """Train for some steps on files, and read what the fit says of them."""
    original = videos(setting)
    root = original
    if form.startswith("transcoded"):
        root = setting.out / "transcoded"
        transcode_dataset(original, root, TranscodeSettings(), say=lambda _: None)
    folder = setting.out / "feeding"
    version = form.replace(",", "").replace(" ", "_")
    workers = max(1, len(os.sched_getaffinity(0)) - 2)
    network = ("--model=CoSTModule", "--model.network=cost_a_tiny") if setting.tiny else ()
    batch, steps, size = (4, 60, 32) if setting.tiny else (32, 80, 224)
    words = ["fit", *(network or NETWORKS[name]), "--data=VideoFolderDataModule"]
    words += [f"--data.root={root}", "--data.val_fraction=0", "--data.sampling.num_frames=8"]
    words += ["--data.sampling.frame_stride=8", f"--data.crops.size={size}"]
    words += [f"--data.loading.batch_size={batch}", f"--data.loading.num_workers={workers}"]
    words += [f"--data.loading.repeated_views={FORMS[form]}", "--model.optimization.lr=0.001"]
    words += [f"--trainer.max_steps={steps}", "--trainer.max_epochs=-1", "--trainer.devices=1"]
    accelerator, precision = ("gpu", "bf16-mixed") if setting.is_gpu else ("cpu", "32-true")
    words += [f"--trainer.accelerator={accelerator}", f"--trainer.precision={precision}"]
    words += ["--trainer.log_every_n_steps=5", "--run.keep_best=false"]
    words += [f"--run.folder={folder}", f"--run.name={name}", f"--run.version={version}"]
    finish(words, folder / f"{name}_{version}.log")
    found = _last_values(folder / name / version / "metrics.csv")
    return {"workers": workers, "batch": batch, **found}


def _last_values(path: Path) -> dict[str, float]:
    """Read the last rates that were logged."""
    shown = {
        "train/clips_per_second": "clips/s",
        "train/headroom": "clips/s without waiting",
        "train/data_wait": "share of waiting",
    }
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    values = {}
    for key, name in shown.items():
        logged = [row[key] for row in rows if row.get(key)]
        values[name] = round(float(logged[-1]), 3) if logged else float("nan")
    return values


def videos(setting: Setting) -> Path:
    """Make videos like Kinetics': H.264, 340 x 256, ten seconds, a key frame every 250."""
    root = setting.out / "videos"
    files, copies, frames = (4, 4, 70) if setting.tiny else (FILES, COPIES, 250)
    if not root.is_dir():
        made = setting.out / "encoded"
        made.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(partial(_encode, made, frames), range(files)))
        for number in range(files * copies):
            target = root / f"class_{number % 2}" / f"{number}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(made / f"{number % files}.mp4", target)
    return root


def _encode(folder: Path, frames: int, seed: int) -> None:
    """Write a video of smooth noise that moves, with noise of a camera on it."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (64, 80, 3)).astype(np.float32)
    scene = small.repeat(8, 0).repeat(8, 1)
    with av.open(folder / f"{seed}.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "23", "g": "250"})
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
        stream.time_base = Fraction(1, 25)
        for number in range(frames):
            top, left = (int(100 + 90 * f(number / 40 + seed)) for f in (np.sin, np.cos))
            picture = scene[top : top + 256, left : left + 340]
            picture = (picture + rng.normal(0, 4, picture.shape)).clip(0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

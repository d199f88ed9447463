"""MotionShapes: a generated dataset of real video files in which only motion tells the classes.

Eight classes in four pairs that are each other's exact reversal (`rendering.py`). A network
that averages frames can tell the pair but not the member; one that models time can tell both. It is
the quickstart, the tests' data and a scientific control in one.

    root/manifest.json                     settings, versions, completeness, digest
    root/lists/{train,val,test}.txt        "split/class/name.mp4 label", labels from 0
    root/lists/classes.txt                 "label class"
    root/{train,val,test}/<class>/<name>.mp4 and .npz

The `.npz` beside each video holds its mask and motion, which optical flow and explanations are
measured against, and a digest of the clip as it was painted. The folder's digest is one of all of
them; that of the benchmark's sets is fixed (`FROZEN`), so that all machines have the same clips.
Every frame is coded by itself with one constant quantizer, so that neither the
quality nor the coding of a frame depends on its position in time: the file of a reversed clip
decodes to exactly the reversed frames.
"""

import hashlib
import io
import json
import platform
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Never, cast

import av
import numpy as np
import numpy.typing as npt

from datamodules.annotations.listed_videos import SPLITS, Split
from datamodules.atomic import write_atomically
from datamodules.errors import UserError
from datamodules.jobs.processes import Lost, num_cores, run_jobs
from datamodules.jobs.progress import progress_bar
from datamodules.motion_shapes.motion import Motion
from datamodules.motion_shapes.painting import CELLS, draw_background
from datamodules.motion_shapes.rendering import CLASS_NAMES, RenderedClip, Scene, render_clip

__all__ = [
    "MotionShapesSettings",
    "draw_background_of",
    "encode_frames",
    "generate_motion_shapes",
    "read_motion",
]


FORMAT = 2
FRAME_RATE = 25
# Each frame an IDR picture with the same quantizer: no memory from frame to frame.
ENCODER_OPTIONS = {
    "preset": "veryfast",
    "qp": "20",
    "x264-params": "keyint=1:scenecut=0:bframes=0:aq-mode=0:mbtree=0:rc-lookahead=0:threads=1",
}
# Fewer do not pay for the start of a process.
CLIPS_PER_WORKER = 20


@dataclass(frozen=True)
class MotionShapesSettings:
    """Settings of a MotionShapes folder; equal settings give equal clips.

    Attributes:
        seed: Seed of all clips, 0 <= seed < 2**32. The splits are draws of different seeds.
        num_train: Training clips, a multiple of the number of classes (8).
        num_val: Validation clips, likewise.
        num_test: Test clips, likewise.
        num_frames: Frames of a clip. An odd number lets a middle window lie exactly in the middle,
            so that it shows reversed clips the same frames.
        size: Height and width, in pixels; of noise a multiple of 32.
        scene: What the motion is seen in: its look, and what makes it hard to see.

    Raises:
        UserError: If a number is out of its range.
    """

    seed: int = 0
    num_train: int = 2400
    num_val: int = 400
    num_test: int = 400
    num_frames: int = 25
    size: int = 64
    scene: Scene = field(default_factory=Scene)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed={self.seed} is not possible; seed must lie in [0, 2**32)")
        for split in SPLITS:
            count = self.num_clips(split)
            if count < 1 or count % len(CLASS_NAMES):
                raise UserError(
                    f"num_{split}={count} cannot be shared evenly by {len(CLASS_NAMES)} classes; "
                    f"set num_{split} to a multiple of {len(CLASS_NAMES)}"
                )
        if not 8 <= self.num_frames <= 64:
            raise UserError(
                f"num_frames={self.num_frames} is not possible; with fewer than 8 or more than 64 "
                "frames the motion is too fast or too slow to see, change num_frames"
            )
        if not 32 <= self.size <= 512 or self.size % 2:
            raise UserError(
                f"size={self.size} is not possible; size must be an even number from 32 to 512"
            )
        if self.scene.look == "noise" and self.size % CELLS:
            raise UserError(
                f"size={self.size} is not possible for noise; size must be a multiple of {CELLS}"
            )

    def num_clips(self, split: Split) -> int:
        """Count the clips of a split."""
        return {"train": self.num_train, "val": self.num_val, "test": self.num_test}[split]


FROZEN: dict[MotionShapesSettings, str] = {
    MotionShapesSettings(): "f35d2630937b086f10744c27a927355cad6e59d4d16ddb8624bb1fd6058d1ea9",
    MotionShapesSettings(scene=Scene(look="noise")): (
        "4bc943478db999dc08dd07516745eb6d915d0baea8374255d46cb869bdaacfd7"
    ),
}
"""Digests of the sets of MotionShapes v1, by their settings."""


class _ClipId(NamedTuple):
    """One clip of the dataset: the `number`-th of its class in its split."""

    split: Split
    label: int
    number: int

    @property
    def path(self) -> str:
        """Path of the video below the root, as in the lists."""
        name = CLASS_NAMES[self.label]
        return f"{self.split}/{name}/{name}_{self.number:05d}.mp4"

    def generator(self, seed: int) -> np.random.Generator:
        """Make the source of its look and speed; a sequence of numbers seeds a stream of its own.

        Args:
            seed: Seed of the dataset.
        """
        return np.random.default_rng([seed, SPLITS.index(self.split), self.label, self.number])


def generate_motion_shapes(
    root: Path,
    settings: MotionShapesSettings,
    num_workers: int | None = None,
    progress: bool = True,
) -> int:
    """Write the dataset into a folder, or complete it there.

    A folder that is complete is left as it is; one whose generation was interrupted is continued.
    Files appear whole or not at all. The clips do not depend on `num_workers`.

    Args:
        root: Folder to write into; made where it does not exist.
        settings: Settings of the dataset.
        num_workers: Processes to render in, 0 for this one; one per core, at most 8, where not
            given.
        progress: Show a progress bar on stderr.

    Returns:
        Number of clips that were written.

    Raises:
        UserError: If the folder holds something else, or MotionShapes of other settings, or
            `num_workers` is negative.
    """
    if num_workers is None:
        num_workers = min(8, num_cores())
    if num_workers < 0:
        raise UserError(
            f"num_workers={num_workers} is not possible; num_workers must be at least 0"
        )
    manifest = root / "manifest.json"
    if _check_folder(root, settings):
        return 0
    root.mkdir(parents=True, exist_ok=True)
    _write_manifest(manifest, settings, None)
    _write_lists(root, settings)
    missing = [clip for clip in _all_clips(settings) if not (root / clip.path).exists()]
    for split in SPLITS:
        for name in CLASS_NAMES:
            (root / split / name).mkdir(parents=True, exist_ok=True)
    with progress_bar("clips", shown=progress) as bar:
        task = bar.add_task("MotionShapes", total=len(missing))
        for _ in _write_clips(root, settings, missing, num_workers):
            bar.advance(task)
    absent = [clip.path for clip in missing if not (root / clip.path).exists()]
    if absent:
        raise RuntimeError(f"{len(absent)} clips were not written, for instance {absent[0]}")
    digest = digest_of_folder(root, settings)
    _write_manifest(manifest, settings, digest)
    if digest != FROZEN.get(settings, digest):
        warnings.warn(
            f"the clips in {root} are not MotionShapes v1's: this machine paints others (digest "
            f"{digest[:12]}, not {FROZEN[settings][:12]}); do not compare results on them with "
            "those of other machines",
            stacklevel=2,
        )
    return len(missing)


def read_motion(video: Path) -> tuple[npt.NDArray[np.bool_], Motion]:
    """Read the mask and motion of a MotionShapes video.

    Args:
        video: Path of the video; its `.npz` lies beside it.

    Returns:
        Mask of the shape, (T, H, W), and its motion.
    """
    with np.load(video.with_suffix(".npz"), allow_pickle=False) as arrays:
        shape = tuple(arrays["mask_shape"].tolist())
        mask = np.unpackbits(arrays["mask_bits"], count=int(np.prod(shape))).reshape(shape)
        motion = Motion(*(arrays[name] for name in ("center", "angle", "scale", "camera")))
    return mask.astype(np.bool_), motion


def digest_of(clip: RenderedClip) -> bytes:
    """Compute the SHA-256 of the pixels and the mask of a clip as it was painted, not coded yet.

    Args:
        clip: The clip.
    """
    content = np.ascontiguousarray(clip.frames).data, np.packbits(clip.mask).data
    return hashlib.sha256(b"".join(content)).digest()


def digest_of_folder(root: Path, settings: MotionShapesSettings) -> str:
    """Compute the SHA-256 of the digests of all clips, in the order of the lists, as hexadecimals.

    Args:
        root: Folder of the dataset, complete.
        settings: Its settings.
    """
    found = hashlib.sha256()
    for clip in _all_clips(settings):
        with np.load((root / clip.path).with_suffix(".npz"), allow_pickle=False) as arrays:
            found.update(clip.path.encode() + arrays["digest"].tobytes())
    return found.hexdigest()


def draw_background_of(path: str, settings: MotionShapesSettings) -> npt.NDArray[np.uint8]:
    """Draw the background of a clip anew, and code it as the clip is.

    So it has the colours of the decoded clip, where no shape is.

    Args:
        path: Path of the video below the root.
        settings: Settings of the dataset.

    Returns:
        The background, (H, W, 3).

    Raises:
        ValueError: If the path is not one of the dataset's.
    """
    split, name, file = path.split("/")
    number = int(file.removeprefix(f"{name}_").removesuffix(".mp4"))
    clip = _ClipId(cast(Split, split), CLASS_NAMES.index(name), number)
    background = draw_background(clip.generator(settings.seed), settings.size)
    coded = encode_frames(np.rint(background * 255).astype(np.uint8)[None])
    with av.open(io.BytesIO(coded), "r") as container:
        (frame,) = container.decode(video=0)
        return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def encode_frames(frames: npt.NDArray[np.uint8]) -> bytes:
    """Code frames as H.264 in mp4, each frame alike and by itself.

    Args:
        frames: RGB frames, (T, H, W, 3), with even H and W.

    Returns:
        The content of the file.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE, options=ENCODER_OPTIONS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _check_folder(root: Path, settings: MotionShapesSettings) -> bool:
    """Check that a folder holds this dataset and nothing else.

    Returns:
        True if the dataset is complete.

    Raises:
        UserError: If it holds something else.
    """
    manifest = root / "manifest.json"
    if root.is_file():
        raise UserError(f"{root} is a file; give a new or empty folder as root")
    if not manifest.exists():
        if root.is_dir() and any(path.suffix != ".tmp" for path in root.iterdir()):
            raise UserError(
                f"{root} is not empty and holds no MotionShapes manifest; "
                "give a new or empty folder as root"
            )
        return False
    found = _read_manifest(manifest)
    wanted = {"format": FORMAT, **asdict(settings)}
    held = {"format": found.get("format"), **found.get("settings", {})}
    differing = [name for name in wanted if held.get(name) != wanted[name]]
    if differing:
        there = ", ".join(f"{name}={held.get(name)}" for name in differing)
        asked = ", ".join(f"{name}={wanted[name]}" for name in differing)
        raise UserError(
            f"{root} holds MotionShapes with {there} where {asked} was asked; "
            "give another root, delete that folder, or ask for what it holds"
        )
    return bool(found["complete"])


def _read_manifest(manifest: Path) -> dict[str, Any]:
    """Read the manifest's content, if MotionShapes wrote it."""
    try:
        content = json.loads(manifest.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError):
        content = None
    if not isinstance(content, dict) or content.get("dataset") != "MotionShapes":
        raise UserError(
            f"{manifest} was not written by MotionShapes; give a new or empty folder as root"
        )
    return content


def _write_manifest(manifest: Path, settings: MotionShapesSettings, digest: str | None) -> None:
    """Write what the folder holds; it is complete when its digest is known."""
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "av": av.__version__,
        "libavcodec": ".".join(str(part) for part in av.library_versions["libavcodec"]),
    }
    content = {
        "dataset": "MotionShapes",
        "format": FORMAT,
        "settings": asdict(settings),
        "versions": versions,
        "complete": digest is not None,
        "digest": digest,
    }
    write_atomically(manifest, json.dumps(content, indent=2) + "\n")


def _write_lists(root: Path, settings: MotionShapesSettings) -> None:
    """Write lists with the classes taking turns, so that any run of lines is balanced."""
    (root / "lists").mkdir(exist_ok=True)
    classes = "".join(f"{label} {name}\n" for label, name in enumerate(CLASS_NAMES))
    write_atomically(root / "lists" / "classes.txt", classes)
    for split in SPLITS:
        clips = [clip for clip in _all_clips(settings) if clip.split == split]
        lines = "".join(f"{clip.path} {clip.label}\n" for clip in clips)
        write_atomically(root / "lists" / f"{split}.txt", lines)


def _all_clips(settings: MotionShapesSettings) -> list[_ClipId]:
    return [
        _ClipId(split, label, number)
        for split in SPLITS
        for number in range(settings.num_clips(split) // len(CLASS_NAMES))
        for label in range(len(CLASS_NAMES))
    ]


def _write_clips(
    root: Path, settings: MotionShapesSettings, clips: Sequence[_ClipId], num_workers: int
) -> Iterator[_ClipId]:
    """Write clips in this process or in others; yields each clip that is done."""
    num_workers = min(num_workers, len(clips) // CLIPS_PER_WORKER)
    with closing(run_jobs(_ClipWriter(root, settings), clips, num_workers)) as jobs:
        for news in jobs:
            if isinstance(news, Lost):
                raise RuntimeError(f"{news.item.path} was not written: {news.reason}")
            yield news.item


@dataclass(frozen=True)
class _ClipWriter:
    """A writer of clips; a video is written after its mask and motion, so it stands for all."""

    root: Path
    settings: MotionShapesSettings

    def __call__(self, clip: _ClipId) -> Generator[Never, None, None]:
        yield from ()  # no steps within a clip
        rng = clip.generator(self.settings.seed)
        settings = self.settings
        rendered = render_clip(rng, clip.label, settings.num_frames, settings.size, settings.scene)
        video = self.root / clip.path
        write_atomically(video.with_suffix(".npz"), _encode_truth(rendered))
        write_atomically(video, encode_frames(rendered.frames))


def _encode_truth(clip: RenderedClip) -> bytes:
    """Code mask and motion as an `.npz` file."""
    file = io.BytesIO()
    np.savez_compressed(
        file,
        mask_bits=np.packbits(clip.mask),
        mask_shape=np.array(clip.mask.shape),
        center=clip.motion.center,
        angle=clip.motion.angle,
        scale=clip.motion.scale,
        camera=clip.motion.camera,
        digest=np.frombuffer(digest_of(clip), np.uint8),
    )
    return file.getvalue()

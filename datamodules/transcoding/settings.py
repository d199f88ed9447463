"""Settings of transcoding."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.errors import UserError

__all__ = ["MANIFEST", "TranscodeSettings", "read_transcoding"]

MANIFEST = "transcode.json"
"""Name of the manifest of a folder that was transcoded, whose dataset may have one of its own."""

LEAST_SIDE = 16


@dataclass(frozen=True)
class TranscodeSettings:
    """Settings by which videos are encoded once more, as H.264 without B-frames.

    Attributes:
        short_side: Short side of the frames, in pixels; smaller ones stay as they are.
        key_frames: Frames from one key frame to the next: what is decoded at most in front of a
            wanted frame. Small ones make larger files that are entered sooner.
        quality: x264's constant rate factor, from 0 (lossless) to 51.
        fast_decode: Leave out what costs the decoder most, the loop filter and arithmetic coding.

    Raises:
        UserError: If a number is out of its range.
    """

    short_side: int = 256
    key_frames: int = 4
    quality: int = 20
    fast_decode: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (
            ("short_side", LEAST_SIDE, 4320),
            ("key_frames", 1, 250),
            ("quality", 0, 51),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"--{name} {value} is not possible; give {low} to {high}")

    @property
    def encoder_options(self) -> dict[str, str]:
        """Options of libx264."""
        parameters = (
            f"keyint={self.key_frames}:min-keyint={self.key_frames}:scenecut=0:open-gop=0:bframes=0"
        )
        tune = {"tune": "fastdecode"} if self.fast_decode else {}
        return {"crf": str(self.quality), "x264-params": parameters, **tune}


def read_transcoding(root: Path) -> dict[str, Any] | None:
    """Read how the videos of a folder were encoded once more; None where they were not.

    Args:
        root: Folder of a dataset.

    Raises:
        UserError: If its manifest cannot be read.
    """
    manifest = root / MANIFEST
    if not manifest.is_file():
        return None
    try:
        settings: dict[str, Any] = json.loads(manifest.read_text())["settings"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{manifest} does not tell how the videos were transcoded ({error!r}); give the folder "
            "as `kinetoscope transcode` made it"
        ) from error
    return settings

"""The files of a test: named so that no test replaces those of another."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules import VideoDataModule
from lightning_modules.console import say
from lightning_modules.evaluation.protocol import Protocol, digest_of


@dataclass(frozen=True)
class ResultFiles:
    """The files of a test in a folder, all named alike.

    Attributes:
        folder: The folder.
        stem: Their common name.
    """

    folder: Path
    stem: str

    @property
    def scores(self) -> Path:
        """The score file."""
        return self.folder / f"scores_{self.stem}.npz"

    @property
    def per_class(self) -> Path:
        """The table of accuracies by class."""
        return self.folder / f"per_class_{self.stem}.csv"

    @property
    def confusion(self) -> Path:
        """The picture of the confusion matrix."""
        return self.folder / f"confusion_{self.stem}.png"

    @property
    def not_tested(self) -> Path:
        """The table of listed videos that were not tested."""
        return self.folder / f"not_tested_{self.stem}.csv"

    @property
    def videos(self) -> Path:
        """The table of the tested videos, the worst first."""
        return self.folder / f"videos_{self.stem}.csv"

    @property
    def page(self) -> Path:
        """The page of the test."""
        return self.folder / f"videos_{self.stem}.html"

    @property
    def exist(self) -> bool:
        """True if one of them is there."""
        paths = (self.scores, self.per_class, self.confusion, self.not_tested, self.videos)
        return any(path.exists() for path in paths)


def choose_files(folder: Path, name: str, protocol: Protocol) -> ResultFiles:
    """Choose the files of a test, so that it replaces none of another test.

    Args:
        folder: Folder of the files.
        name: Their name where no other test has it; else the protocol's digest comes behind.
        protocol: Protocol of the test.
    """
    files = ResultFiles(folder, name)
    if not files.exist or _digest_in(files.scores) == protocol.digest:
        return files
    say(f"note: {files.scores.name} holds another test, which stays as it is")
    return ResultFiles(folder, f"{name}_{protocol.digest}")


def _digest_in(path: Path) -> str | None:
    """Digest the protocol in a score file; None where it is missing, or cannot be read."""
    try:
        with np.load(path) as stored:
            return digest_of(json.loads(str(stored["protocol"])))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def name_of_test(data: VideoDataModule) -> str:
    """Name the files of a test by its split, its views and its probe."""
    split = "test" if data.test_split_name == "test" else "val"
    probe = "" if data.probe is None else f"_{data.probe.file_part}"
    return f"{split}_{data.evaluation.num_clips}x{data.evaluation.num_crops}{probe}"

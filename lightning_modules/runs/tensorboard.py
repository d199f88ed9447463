"""TensorBoard beside `metrics.csv`, in the run folder."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray

from datamodules.errors import UserError, as_storage_error
from lightning_modules.runs.folder import GO_ON

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(Logger):
    """A logger that writes event files to `tensorboard/` in the run folder.

    A resumed run logs the steps after its checkpoint once more. TensorBoard is told to forget what
    the interrupted run had written of them, but for the first, which has other values beside.
    `resumes` counts along the steps, and tells where the run was resumed.

    Raises:
        UserError: If TensorBoard is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        if find_spec("tensorboard") is None:
            raise UserError(
                "TensorBoard is not installed; install the extra `tensorboard` (uv sync --extra "
                "tensorboard), or leave it out of trainer.logger"
            )
        self._folder = Path("tensorboard")
        self._resume_count = 0
        self._writer: SummaryWriter | None = None

    def place(self, folder: Path, resume_count: int) -> None:
        """Write to the folder of a run, which was resumed so many times."""
        self._folder = folder / "tensorboard"
        self._resume_count = resume_count

    @property
    def name(self) -> str:
        """Name of the run."""
        return self._folder.parent.parent.name

    @property
    def version(self) -> str:
        """Version of the run."""
        return self._folder.parent.name

    @property
    def save_dir(self) -> str:
        """The folder of the event files."""
        return str(self._folder)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `config.yaml` holds the hyper-parameters."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write one point of each curve."""
        with as_storage_error(self._folder, GO_ON):
            writer = self._opened(step or 0)
            for name, value in {**metrics, "resumes": self._resume_count}.items():
                writer.add_scalar(name, value, step)

    @rank_zero_only
    def log_pixels(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """Write a picture.

        Args:
            name: Its name.
            pixels: RGB, (H, W, C).
            step: Step that it belongs to.
        """
        with as_storage_error(self._folder, GO_ON):
            self._opened(step).add_image(name, pixels, step, dataformats="HWC")

    @rank_zero_only
    def log_text(self, name: str, text: str, step: int) -> None:
        """Write a text.

        Args:
            name: Its name.
            text: Markdown.
            step: Step that it belongs to.
        """
        with as_storage_error(self._folder, GO_ON):
            self._opened(step).add_text(name, text, step)

    @rank_zero_only
    def save(self) -> None:
        """Write what waits."""
        if self._writer is not None:
            with as_storage_error(self._folder, GO_ON):
                self._writer.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()

    def _opened(self, step: int) -> "SummaryWriter":
        """Open the files at the first step that is logged; older ones are void after that step."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)
        return self._writer

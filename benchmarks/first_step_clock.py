"""Plugin of `first_step.py`: when was the first training step done?"""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback


class FirstStep(Callback):
    """Write the time of the end of the first batch to a file.

    Args:
        file: The file.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_batch_end(self, *args: Any) -> None:
        """See `FirstStep`."""
        self.file.write_text(str(time.time()))

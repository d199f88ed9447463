"""Imported weights as a checkpoint that says of itself what a fit's says."""

from pathlib import Path
from typing import Any

import lightning

from datamodules import VideoDataModule
from datamodules.data_spec import DataSpec
from datamodules.errors import UserError
from lightning_modules.base import VideoClassifier
from lightning_modules.evaluation.protocol import digest_of_weights
from lightning_modules.resume.checkpoint_io import AtomicCheckpointIO
from lightning_modules.weights.foreign import load_foreign, read_foreign

IMPORTED = "imported"
"""Key of a checkpoint: the file that its weights are of, and who wrote it."""


def import_weights(
    source: str, module: VideoClassifier, data: VideoDataModule, target: Path
) -> dict[str, Any]:
    """Write a checkpoint of other people's weights, for `test`, `predict` and `init_from`.

    Args:
        source: The file of weights.
        module: A module of the right network and classes; gets the weights.
        data: The data whose clips and views the weights are for; it need not be on the disk.
        target: The checkpoint.

    Returns:
        Facts of the import, as the checkpoint holds them: `file`, `code` and `weights`, a digest.

    Raises:
        UserError: If the file does not hold just the network's weights, or the target is the file.
        StorageError: If the checkpoint cannot be written.
    """
    if target.resolve() == Path(source).resolve():
        raise UserError(f"--out {target} is the file of weights itself; name another")
    weights = read_foreign(source)
    code = load_foreign(module.network, weights, module.network_name, source)
    spec = data.input_spec()
    module.input_spec = spec
    views = data.evaluation
    about = DataSpec(
        dataset=data.dataset_name, num_clips=views.num_clips, num_crops=views.num_crops
    )
    module.protocol = {**about.protocol(module.classes.average, False), "validation": {}}
    state = module.state_dict()
    facts = {"file": Path(source).name, "code": code.name, "weights": digest_of_weights(state)}
    content: dict[str, Any] = {
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": state,
        IMPORTED: facts,
    }
    module.on_save_checkpoint(content)
    AtomicCheckpointIO().save_checkpoint(content, target)
    return facts

"""Checks of what a fit needs of its data and weights, before it makes a folder or a W&B run."""

import os

from datamodules import VideoDataModule
from datamodules.data_spec import DataSpec
from datamodules.errors import UserError
from lightning_modules.base import VideoClassifier
from lightning_modules.resume.slurm import started_by_srun
from lightning_modules.runs.folder import VERSION_VARIABLE
from models import WeightReport


def check_before_fit(module: VideoClassifier, data: VideoDataModule, *, resumes: bool) -> None:
    """Check that data and starting weights are there and fit the network.

    Data are read by the process that starts the ranks, once for all: where a launcher started
    several ranks, they read them together, at the start of the fit.

    Args:
        module: A module that is not trained yet.
        data: The data, not set up.
        resumes: True if the fit goes on from a checkpoint, and so reads no starting weights.

    Raises:
        UserError: If something is missing or does not fit.
    """
    check_modalities(module, data)
    if module.init_from is not None and not resumes:
        check_weights(module, data)
    if VERSION_VARIABLE in os.environ or "RANK" in os.environ or started_by_srun():
        return
    data.prepare_data()
    data.setup("fit")
    data.data_spec()  # refuses a batch that the videos do not fill


def check_modalities(module: VideoClassifier, data: VideoDataModule) -> None:
    """Check that the data hold optical flow where a network takes it.

    Raises:
        UserError: If they do not.
    """
    if "flow" in module.network.modalities and data.flow_source is None:
        raise UserError(
            f"{module.network_name} needs flow, but the data hold none; set data.flow (`kinetoscope"
            " flow` makes it), or choose another --model.network"
        )


def check_weights(module: VideoClassifier, data: VideoDataModule) -> WeightReport:
    """Load the starting weights of a fit, fetched where they are not there yet.

    Args:
        module: A module with `init_from`; its network holds the weights afterwards.
        data: What it will be trained on.

    Returns:
        The use of every weight.

    Raises:
        UserError: If the weights cannot be had, do not fit, or have seen test videos.
    """
    names = tuple(data.class_names)
    return module.load_init_from(DataSpec(names, dataset=data.dataset_name, seen_by=data.seen_by))

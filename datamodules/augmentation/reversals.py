"""Reversals: each training clip once more, backwards, under the name of what it then shows.

Classes such as opening and closing are each other's reversal, so that a clip of one played
backwards is a clip of the other (Price and Damen, Retro-Actions, ICCV workshops 2019, arXiv
1909.09422). Ours: both stand in one batch. What they share, all but the order of the frames, then
cancels in the gradient, whose noise is what a network that is to find the order has to overcome.

B batch, V views, C channels, T frames, H, W.
"""

import torch

from datamodules.augmentation.mirrors import ClassInfo
from datamodules.batch import VideoBatch

_TIME = 3


def with_reversals(batch: VideoBatch, classes: ClassInfo) -> VideoBatch:
    """Add the reversals of a batch's clips behind them.

    Args:
        batch: A batch, clips (B, V, C, T, H, W), labels in main memory; it is changed in place.
        classes: Classes; clips of those that are in none of its `reverse_pairs` stay single.

    Returns:
        The batch, of B to 2B clips.
    """
    index, labels = classes.names.index, batch["label"]
    partners = torch.full((len(classes.names),), -1)
    for one, other in classes.reverse_pairs:
        partners[index(one)], partners[index(other)] = index(other), index(one)
    wanted = partners[labels]
    rows = torch.nonzero(wanted >= 0).flatten()
    batch["clips"] = torch.cat([batch["clips"], batch["clips"][rows].flip(_TIME)])
    batch["label"] = torch.cat([labels, wanted[rows]])
    batch["index"] = torch.cat([batch["index"], batch["index"][rows]])
    batch["repeat"] = torch.cat([batch["repeat"], batch["repeat"][rows]])
    batch["valid"] = torch.cat([batch["valid"], batch["valid"][rows]])
    batch["video_id"] = batch["video_id"] + [batch["video_id"][row] for row in rows.tolist()]
    return batch

"""Clips of a split beside each other: features on a plane, and nearest neighbours.

N clips, C features.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.batch import VideoBatch
from datamodules.errors import UserError
from lightning_modules.prediction.scoring import Scorer

__all__ = ["Embedding", "collect", "nearest_clips", "on_a_plane"]

Method = Literal["pca", "tsne"]

FEWEST = 4
"""Clips that a picture of them needs."""


@dataclass(frozen=True)
class Embedding:
    """Features of clips, and what is needed to look at them.

    Attributes:
        features: (N, C) float32.
        labels: Their classes, (N,); -1 where unknown.
        answers: The likeliest classes, (N,).
        names: Names of the videos.
        thumbnails: The middle frame of each, (H, W, 3) uint8.
    """

    features: Tensor
    labels: NDArray[np.int64]
    answers: NDArray[np.int64]
    names: list[str]
    thumbnails: list[NDArray[np.uint8]]


def collect(scorer: Scorer, batches: Iterator[VideoBatch]) -> Embedding:
    """Compute the features of a pass.

    Raises:
        UserError: If the network has none, or there are no clips.
    """
    features, labels, answers = [], [], []
    names: list[str] = []
    thumbnails: list[NDArray[np.uint8]] = []
    for batch in batches:
        features.append(scorer.features(batch))
        labels.append(batch["label"].numpy())
        answers.append(scorer.scores(batch, batch["video_id"]).argmax(1).numpy())
        names += batch["video_id"]
        clips = batch["clips"]
        middle = clips[:, 0, :, clips.shape[3] // 2].permute(0, 2, 3, 1).numpy()
        thumbnails += list(middle)
    if not names:
        raise UserError("none of the videos of this split can be read; check data.root")
    return Embedding(
        torch.cat(features), np.concatenate(labels), np.concatenate(answers), names, thumbnails
    )


def on_a_plane(features: Tensor, method: Method = "pca") -> NDArray[np.float64]:
    """Lay features onto a plane.

    Args:
        features: (N, C).
        method: `pca`, the two directions of largest variance, the same on every run; `tsne`
            (van der Maaten and Hinton, 2008), which keeps neighbours together and nothing else.

    Returns:
        Positions, (N, 2).

    Raises:
        UserError: If there are too few clips, or `tsne` is wanted without scikit-learn.
    """
    if len(features) < FEWEST:
        raise UserError(f"{len(features)} clips make no picture; give at least {FEWEST}")
    centred = (features - features.mean(0)).double()
    if method == "pca":
        left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
        places = left[:, :2] * sizes[:2]
        return np.asarray(places * torch.where(places.sum(0) < 0, -1.0, 1.0))
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise UserError(
            "--embedding tsne needs scikit-learn; install kinetoscope[analysis], or take "
            "--embedding pca"
        ) from error
    perplexity = min(30.0, (len(features) - 1) / 3)
    placed = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(centred.numpy())
    return np.asarray(placed, np.float64)


def nearest_clips(features: Tensor, of: Tensor, count: int = 5) -> tuple[Tensor, Tensor]:
    """Find the clips whose features point into the most similar direction.

    Args:
        features: Of the clips to choose from, (N, C).
        of: Of the clips whose neighbours are wanted, (M, C).
        count: Neighbours of each.

    Returns:
        Cosine similarities, the largest first, and positions, (M, count) each.
    """
    unit = torch.nn.functional.normalize
    found = (unit(of, dim=1) @ unit(features, dim=1).T).topk(min(count, len(features)), dim=1)
    return found.values, found.indices

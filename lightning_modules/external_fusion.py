"""Late fusion of models with the scores of another method.

N videos, K classes. Pure functions of arrays.
"""

from dataclasses import dataclass

import numpy as np

from lightning_modules.score_files import Contest, Floats


@dataclass(frozen=True)
class ExternalFusion:
    """A model averaged with the scores of another method, as ST-ResNet's with those of IDT.

    Attributes:
        name: The model.
        alone: Its top-1 accuracy.
        external: That of the other method.
        fused: That of both.
    """

    name: str
    alone: float
    external: float
    fused: float


def fuse_external(contest: Contest, external: Floats) -> list[ExternalFusion]:
    """Fuse each model with external scores: the mean of both, each scaled to length 1 per video.

    Of the model those are the network's own outputs before softmax, averaged over views and seeds.
    Source: Feichtenhofer et al., Spatiotemporal Residual Networks, Table 4 ("with IDT").

    Args:
        contest: The models.
        external: Scores of the other method in the contest's order, (N, K).
    """
    labels = contest.labels
    found = []
    for contender in contest.contenders:
        logits = np.mean(contender.logits, axis=0)
        fused = unit_rows(logits) + unit_rows(external)
        tops = [float((s.argmax(1) == labels).mean()) for s in (logits, external, fused)]
        found.append(ExternalFusion(contender.name, *tops))
    return found


def unit_rows(scores: Floats) -> Floats:
    """Scale each row to Euclidean length 1; a row of zeros stays, (N, K)."""
    lengths = np.linalg.norm(scores, axis=1, keepdims=True)
    return np.asarray(scores / np.where(lengths > 0, lengths, 1.0))

"""Extraction of SELFY: from the similarities of a position to one frame to a vector.

Kwon, Kim, Kwak, Cho, ICCV 2021 (arXiv 2102.07092), section 3.2. Layers follow the authors' code,
which has the convolutions only; the others are the paper's, in the form chosen here.

Axes: N positions, U rows and V columns of the window.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from models.norm import BatchNorm2d

Extraction = Literal["convolution", "mlp", "soft_argmax"]

TEMPERATURE = 0.01
"""Temperature of the soft-argmax, as in the authors' earlier MotionSqueeze."""

DENSE_WINDOW = 5
"""Largest window whose convolutions are matrix products on the CPU."""


class SimilarityConvolution(nn.Sequential):
    """Convolutions over (u, v) that end in one vector: (N, 1, U, V) to (N, features, 1, 1).

    The last kernel covers whatever extent remains, 3 x 3 for the paper's window of 9.

    On the CPU, where the gradient of a convolution of tens of thousands of tiny maps takes many
    times its arithmetic, training takes products with the matrix of the whole layer for small
    windows. It has a weight for each pair of an input and an output, most of them zero: a window of
    5 then takes a third of the time, one of 9 as much as before (`benchmarks/self_similarity.py`).

    Args:
        window: U = V.
        features: Channels of the vector.
    """

    def __init__(self, window: int, features: int) -> None:
        remains = -(-window // 4)
        plan = (
            (1, features // 16, 3, 1, 1),
            (features // 16, features // 4, 3, 2, 1),
            (features // 4, features, 3, 2, 1),
            (features, features, remains, 1, 0),
        )
        layers: list[nn.Module] = []
        for inside, outside, kernel, stride, padding in plan:
            conv = nn.Conv2d(inside, outside, kernel, stride, padding, bias=False)
            layers += [conv, BatchNorm2d(outside), nn.ReLU()]
        super().__init__(*layers)

    def forward(self, similarities: Tensor) -> Tensor:
        """Reduce each map of similarities."""
        is_small = similarities.shape[-1] <= DENSE_WINDOW
        if self.training and is_small and similarities.device.type == "cpu":
            return self._by_matrices(similarities)
        maps: Tensor = super().forward(similarities)  # type: ignore[no-untyped-call]
        return maps

    def _by_matrices(self, similarities: Tensor) -> Tensor:
        """Reduce each map of similarities; positions are last in memory, in groups of a norm."""
        layers = list(self)
        assert isinstance(layers[1], BatchNorm2d)
        groups = layers[1].num_groups
        # (N, 1, U, V) -> (G, U * V, N / G)
        maps = similarities.reshape(groups, -1, similarities[0].numel()).mT.contiguous()
        shape = similarities.shape[1:]
        for conv, norm, relu in zip(layers[::3], layers[1::3], layers[2::3], strict=True):
            matrix, shape = layer_matrix(conv, shape)
            maps = matrix @ maps
            maps = relu(norm(maps.view(groups, shape[0], -1, maps.shape[2]))).flatten(1, 2)
        return maps.mT.reshape(-1, *shape)


def layer_matrix(layer: nn.Module, shape: torch.Size) -> tuple[Tensor, torch.Size]:
    """Write a convolution without bias as a matrix, whose gradient reaches its weights.

    Args:
        layer: The convolution.
        shape: Of its input, (C, H, W).

    Returns:
        The matrix, (C' * H' * W', C * H * W), and the shape of its output, (C', H', W').
    """
    weight = next(layer.parameters())
    basis = torch.eye(shape.numel(), dtype=weight.dtype, device=weight.device)
    columns: Tensor = layer(basis.view(-1, *shape))
    return columns.flatten(1).t(), columns.shape[1:]


class SimilarityMLP(nn.Sequential):
    """Two shared layers on the flattened window: (N, 1, U, V) to (N, features, 1, 1).

    Args:
        window: U = V.
        features: Channels of either layer.
    """

    def __init__(self, window: int, features: int) -> None:
        super().__init__(
            nn.Conv2d(1, features, window, bias=False),
            BatchNorm2d(features),
            nn.ReLU(),
            nn.Conv2d(features, features, 1, bias=False),
            BatchNorm2d(features),
            nn.ReLU(),
        )


class SoftArgmax(nn.Module):
    """Expected displacement and best similarity: (N, 1, U, V) to (N, 3, 1, 1).

    The channels are rows and columns as shares of the window's radius, and the maximum. No
    parameters.
    """

    def forward(self, similarities: Tensor) -> Tensor:
        """Reduce each map of similarities."""
        window = similarities.shape[-1]
        position = torch.linspace(-1.0, 1.0, window).to(similarities)
        maps = similarities.flatten(2)
        chances = (maps / TEMPERATURE).softmax(-1).view_as(similarities)
        rows = (chances.sum(3) * position).sum(2)
        columns = (chances.sum(2) * position).sum(2)
        return torch.stack([rows, columns, maps.amax(2)], dim=1).unsqueeze(-1)


def make_extractor(extraction: Extraction, window: int, features: int) -> nn.Module:
    """Make the layers of an extraction.

    Args:
        extraction: Its name.
        window: U = V.
        features: Channels of the vector.
    """
    if extraction == "convolution":
        return SimilarityConvolution(window, features)
    if extraction == "mlp":
        return SimilarityMLP(window, features)
    return SoftArgmax()

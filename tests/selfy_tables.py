"""SELFY's block written out by hand, from the paper and the table of the authors' code."""

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.selfy import SELFYBlock


def slow_similarity(features: Tensor, offsets: tuple[int, ...], window: int) -> Tensor:
    """Section 3.1 of the paper by nested loops: cosine, zeros beyond clip and border."""
    batch, _, frames, height, width = features.shape
    radius = window // 2
    out = features.new_zeros(batch, frames, height, width, len(offsets), window, window)
    places = itertools.product(range(batch), range(frames), range(height), range(width))
    for b, t, y, x in places:
        query = features[b, :, t, y, x]
        query = query / math.sqrt(float(query @ query) + 1e-6)
        for index, offset in enumerate(offsets):
            for u, v in itertools.product(range(window), range(window)):
                at = (t + offset, y + u - radius, x + v - radius)
                inside = all(0 <= p < n for p, n in zip(at, (frames, height, width), strict=True))
                if inside:
                    key = features[b, :, at[0], at[1], at[2]]
                    key = key / math.sqrt(float(key @ key) + 1e-6)
                    out[b, t, y, x, index, u, v] = query @ key
    return out


class TableBlock:
    """The whole block in the five- and six-dimensional shapes of the authors' code.

    Written from the table of the default block, layer by layer; the paper's other extractions and
    integrations likewise. Weights are taken in the order of the table.

    Args:
        block: Where the weights come from; batch normalization follows its mode.
        extraction: As of the block.
        integration: As of the block.
    """

    def __init__(self, block: SELFYBlock, extraction: str, integration: str) -> None:
        self.block = block
        self.extraction, self.integration = extraction, integration
        self.convs = [m.weight.detach() for m in block.modules() if hasattr(m, "kernel_size")]
        norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
        self.norms = [
            tuple(v.detach().clone() for v in (m.running_mean, m.running_var, m.weight, m.bias))
            for m in norms
        ]

    def conv(self, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        """The next convolution, with a kernel of size 1 along the first axis of three."""
        kernel = self.convs.pop(0)[:, :, None]
        return F.conv3d(x, kernel, stride=(1, stride, stride), padding=(0, padding, padding))

    def norm(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, *self.norms.pop(0), training=self.block.training)

    def extract(self, s: Tensor) -> Tensor:
        """(N, 1, L, U, V) to (N, c, L)."""
        if self.extraction == "convolution":  # E0 to E3
            for stride, padding in ((1, 1), (2, 1), (2, 1), (1, 0)):
                s = self.norm(self.conv(s, stride, padding)).relu()
            return s.flatten(2)
        flat = s[:, 0].flatten(2)  # (N, L, U * V)
        if self.extraction == "mlp":
            for _ in range(2):
                x = F.linear(flat, self.convs.pop(0).flatten(1))
                flat = self.norm(x.transpose(1, 2)).relu().transpose(1, 2)
            return flat.transpose(1, 2)
        chances, radius = (flat / 0.01).softmax(2).view_as(s[:, 0]), s.shape[4] // 2
        rows, columns = torch.zeros(2, *flat.shape[:2], dtype=s.dtype)
        for u, v in itertools.product(range(s.shape[3]), range(s.shape[4])):
            rows += chances[:, :, u, v] * (u - radius) / radius
            columns += chances[:, :, u, v] * (v - radius) / radius
        return torch.stack([rows, columns, flat.max(2).values], dim=1)

    def integrate(self, x: Tensor) -> Tensor:
        """(B, L, c, T, h, w) to (B, c', T, h, w)."""
        if self.integration == "mean":
            return torch.stack([x[:, i] for i in range(x.shape[1])]).mean(0)
        if self.integration == "convolution":  # I0 to I2, each offset by itself
            rows = torch.cat([x[:, i] for i in range(x.shape[1])])
            for _ in range(3):
                rows = self.norm(self.conv(rows)).relu()
            x = torch.stack(rows.chunk(x.shape[1]), dim=1)
        merged = torch.cat([x[:, i] for i in range(x.shape[1])], dim=1)  # I3a, offset-major
        padding = 1 if self.integration == "convolution" else 0
        return self.norm(self.conv(merged, padding=padding)).relu()  # I3b

    def __call__(self, x: Tensor) -> Tensor:
        f = self.norm(self.conv(x, stride=2)).relu()  # T1
        s = slow_similarity(f, self.block.offsets, self.block.window)  # (B, T, h, w, L, U, V)
        vectors = self.extract(s.flatten(0, 3)[:, None])
        vectors = vectors.view(*s.shape[:4], -1, s.shape[4])  # (B, T, h, w, c, L)
        y = self.integrate(torch.einsum("bthwcl->blcthw", vectors))
        rest = tuple(1 - size % 2 for size in x.shape[3:])
        upsample = self.convs.pop(0)[:, :, None]
        y = F.conv_transpose3d(y, upsample, stride=(1, 2, 2), output_padding=(0, *rest))  # I4
        y = (x + self.norm(y)).relu()
        assert not self.convs
        assert not self.norms
        return y


def random_block(extraction: str, integration: str, offsets: tuple[int, ...], window: int) -> Any:
    """A block in float64 whose every parameter and running statistic is random."""
    block = SELFYBlock(
        4,
        offsets,
        window,
        hidden=3,
        features=16,
        extraction=extraction,  # type: ignore[arg-type]
        integration=integration,  # type: ignore[arg-type]
    ).double()
    for name, value in block.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif value.is_floating_point():
            value.normal_(std=0.5)
    return block

"""Optical flow as bytes: the 8-bit coding of the two-stream literature, and its inverse.

A displacement of d pixels becomes q = round(255 (d + bound) / (2 bound)), halves rounded up and
clipped to 0..255 (Feichtenhofer, Pinz, Wildes, Spatiotemporal Residual Networks for Video Action
Recognition, NIPS 2016, as in the authors' flow extraction; bound = 20 pixels). So zero motion is
128, one code is 2 bound / 255 pixels, and what is longer than the bound is cut to it. The inverse
is d = 2 bound q / 255 - bound: 128 reads as half a code to the right or down, which is how the
literature has it. A mirrored clip's horizontal code is 255 - q.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from datamodules.errors import UserError

__all__ = ["ZERO_CODE", "FlowCoding"]

Codes: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]

ZERO_CODE = 128
"""Code of zero motion, whatever the bound."""


@dataclass(frozen=True)
class FlowCoding:
    """The mapping of displacements in pixels to bytes, and back.

    Attributes:
        bound: Longest displacement along an axis that is kept, in pixels.

    Raises:
        UserError: If `bound` is not above 0.
    """

    bound: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.bound < float("inf"):
            raise UserError(
                f"bound={self.bound} is not possible; bound must be a number of pixels above 0"
            )

    @property
    def step(self) -> float:
        """Distance between two codes, in pixels."""
        return 2 * self.bound / 255

    def encode(self, flow: npt.NDArray[np.floating]) -> Codes:
        """Compute the codes of displacements, uint8 of the same shape.

        Args:
            flow: Displacements in pixels, of any shape; finite.
        """
        codes = np.floor((flow + self.bound) * (255 / (2 * self.bound)) + 0.5)
        clipped: Codes = np.clip(codes, 0, 255).astype(np.uint8)
        return clipped

    def decode(self, codes: Codes) -> Floats:
        """Compute displacements in pixels, float32 of the same shape; `encode` inverts this.

        Args:
            codes: Codes of any shape.
        """
        return (codes * np.float64(self.step) - self.bound).astype(np.float32)

    def clipped_share(self, flow: npt.NDArray[np.floating]) -> float:
        """Compute the part of the displacements that the bound cuts.

        Args:
            flow: Displacements in pixels, of any shape, not empty.
        """
        return float(np.mean(np.abs(flow) > self.bound))

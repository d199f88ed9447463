"""Pictures in packets, and headers read bit by bit: what all parsers of bitstreams share."""

from collections.abc import Callable
from dataclasses import dataclass

from datamodules.errors import UserError

__all__ = ["Bits", "Picture", "PictureParser"]


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture in a packet.

    Args:
        order: Sort key of the time of showing among all pictures of the stream, from the bitstream;
            None: shown in decoding order.
        entry: Decoding may begin here and gives the same frames as decoding from the start of the
            file.
        shown: False for a picture that only serves as a reference, and for none.
        lends: Bytes at the end of the packet that are the picture of the next one.
    """

    order: tuple[int, int] | None
    entry: bool
    shown: bool = True
    lends: int = 0


PictureParser = Callable[[bytes], Picture | None]
"""Finds the picture in the next packet; None where it cannot tell for certain."""


class Bits:
    """A header, read bit by bit.

    Args:
        data: The bytes, without emulation prevention.
    """

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def u(self, count: int) -> int:
        """Read an unsigned number of `count` bits.

        Raises:
            UserError: The data ends.
        """
        self._left -= count
        if self._left < 0:
            raise UserError("header ends early")
        return (self._value >> self._left) & ((1 << count) - 1)

    def ue(self) -> int:
        """Read an unsigned Exp-Golomb number (H.264 9.1)."""
        rest = self._value & ((1 << self._left) - 1)
        self._left = 2 * rest.bit_length() - self._left - 1  # n zeros are followed by n + 1 bits
        if self._left < 0:
            raise UserError("header ends early")
        return (rest >> self._left) - 1

    def se(self) -> int:
        """Read a signed Exp-Golomb number (H.264 9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)

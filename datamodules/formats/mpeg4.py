"""Pictures of MPEG-4 Visual (ISO/IEC 14496-2 6.2), found in packet headers.

The AVIs of UCF101 and HMDB51 pack B-VOPs: a packet holds a P-VOP and the B-VOP shown before it,
which the decoder keeps for the next packet. That one holds another B-VOP, which waits in its turn,
or a VOP that is not coded, in its place.

FFmpeg's decoder decides what comes out, so doubts are its own: it drops a B-VOP whose time is not
between those of its references, and remembers more than the references of interlaced ones.
"""

import re
from dataclasses import dataclass
from typing import Self

from datamodules.errors import UserError
from datamodules.formats.pictures import Bits, Picture

__all__ = ["MPEG4Parser"]

_START = b"\0\0\1"
_VOP, _GOV = _START + b"\xb6", _START + b"\xb3"
_GOVS = re.compile(_GOV + b"(?:(?!" + _START + b").)*", re.DOTALL)
_LAYER = re.compile(_START + b"[\x20-\x2f]((?:(?!" + _START + b").)*)", re.DOTALL)
_MARK = re.compile(_START + b"\xb2(DivX[^\0]*)")
_PACKS = re.compile(b"DivX[0-9]{1,9}(?:Build|b)[0-9]{1,9}p")
"""Mark of an encoder that packs B-VOPs."""
_NO_VOP = b"\x7f"
"""Packet of such an encoder that has no picture yet."""
_MAX_PLACEHOLDER = 24
"""Bytes; smaller VOPs may be "not coded" and give no frame."""


class MPEG4Parser:
    """A parser for each packet's video object plane.

    Decoding may begin at an I-VOP that repeats the headers of the first packet: among them is the
    name of the encoder, which decides the inverse transform.

    Args:
        extradata: Headers before the first packet.
    """

    def __init__(self, extradata: bytes) -> None:
        self._extradata = extradata
        self._headers: bytes | None = None
        self._clock: _Clock | None = None
        self._packs = False
        self._references = self._between = 0  # VOPs of the kind I or P, B-VOPs since the last one
        self._is_waiting = False  # a B-VOP came with the packet before
        self._waiting_vop = b""

    def picture(self, data: bytes) -> Picture | None:
        """Find the picture of the next packet.

        Args:
            data: The packet.
        """
        headers, *vops = data.split(_VOP)
        try:
            if self._headers is None:
                self._begin(headers)
            if self._is_waiting:
                return self._waiting_picture(headers, vops)
            if data == _NO_VOP and self._packs:
                return Picture(None, entry=False, shown=False)
            return self._own_picture(headers, vops)
        except UserError:  # a header ends early, or is none
            return None

    def _begin(self, headers: bytes) -> None:
        """Take the settings of the stream from the headers of its first packet."""
        self._headers = _GOVS.sub(b"", headers)
        known = self._extradata + headers
        marks = set(_MARK.findall(known))
        self._packs = len(marks) == 1 and _PACKS.match(marks.pop()) is not None
        self._clock = _Clock.of(known)

    def _own_picture(self, headers: bytes, vops: list[bytes]) -> Picture | None:
        """Find the picture of a packet that no other lends one to."""
        coded = [vop for vop in vops if len(vop) + len(_VOP) > _MAX_PLACEHOLDER]
        kinds = "".join(["IPBS"[vop[0] >> 6] for vop in coded])
        repeated = _GOVS.sub(b"", headers) if headers else headers
        if coded != vops or repeated not in (b"", self._headers):
            return None
        if self._clock is not None:
            self._clock.begin_groups(headers)
        if kinds == "B":
            return self._b_picture(vops[0])
        self._references, self._between = self._references + 1, 0
        self._is_waiting = kinds in ("IB", "PB") and self._packs and _START not in vops[0]
        if not self._is_waiting and kinds not in ("I", "P", "S"):
            return None
        self._count_reference(vops[0])
        self._waiting_vop = vops[-1]
        lends = len(_VOP) + len(vops[1]) if self._is_waiting else 0
        entry = kinds[0] == "I" and repeated == self._headers
        return Picture((self._references, 0), entry, lends=lends)

    def _count_reference(self, vop: bytes) -> None:
        """Move the clock on to an I-, P- or S-VOP; without one B-VOPs leave a doubt."""
        if self._clock is None:
            return
        try:
            self._clock.count_reference(vop)
        except UserError:
            self._clock = None
        if vop[0] >> 6 == 3:
            self._clock = None  # sprites and B-VOPs were never seen together

    def _waiting_picture(self, headers: bytes, vops: list[bytes]) -> Picture | None:
        """Find the picture of a packet whose own VOP waits, or stands for the one that waited."""
        if headers or len(vops) != 1 or not vops[0]:
            return None
        kind, is_small = vops[0][0] >> 6, len(vops[0]) + len(_VOP) <= _MAX_PLACEHOLDER
        self._is_waiting = kind == 2 and not is_small
        if not self._is_waiting and not (kind == 1 and is_small):
            return None
        lends = len(_VOP) + len(vops[0]) if self._is_waiting else 0
        waiting, self._waiting_vop = self._waiting_vop, vops[0]
        return self._b_picture(waiting, lends)

    def _b_picture(self, vop: bytes, lends: int = 0) -> Picture | None:
        """Place a B-VOP between the two last references; None where the decoder may drop it."""
        self._between += 1
        if self._references < 2 or self._clock is None or not self._clock.is_between(vop):
            return None
        return Picture((self._references - 1, self._between), entry=False, lends=lends)


@dataclass
class _Clock:
    """The times of VOPs, as FFmpeg's decoder counts them; of progressive video alone.

    Attributes:
        resolution: Ticks of a second.
        base: Seconds of the last reference.
        base_before: Seconds on which the B-VOPs shown before it build.
        last: Ticks of the last reference.
        step: Ticks from the reference before it to the last one.
    """

    resolution: int
    base: int = 0
    base_before: int = 0
    last: int = 0
    step: int = 0

    @classmethod
    def of(cls, headers: bytes) -> Self | None:
        """Read the headers of a stream; None where they tell no times, or of interlaced video.

        Args:
            headers: All that comes before the first VOP.

        Raises:
            UserError: A header ends early.
        """
        layers = set(_LAYER.findall(headers))
        if len(layers) != 1:
            return None
        bits = Bits(layers.pop())
        bits.u(1 + 8)
        if bits.u(1):
            bits.u(4 + 3)
        if bits.u(4) == 15:
            bits.u(8 + 8)
        if bits.u(1):  # vol_control_parameters
            bits.u(2 + 1)
            if bits.u(1):
                bits.u(79)
        if bits.u(2) != 0 or not bits.u(1):  # not rectangular
            return None
        resolution = bits.u(16)
        clock = cls(resolution)
        if resolution == 0 or not bits.u(1):
            return None
        if bits.u(1):  # fixed_vop_rate
            bits.u(clock._bits)
        markers = bits.u(1), bits.u(13) and bits.u(1), bits.u(13) and bits.u(1)  # around the sides
        is_interlaced = bits.u(1)
        return clock if all(markers) and not is_interlaced else None

    @property
    def _bits(self) -> int:
        """Bits of a time within a second."""
        return max(1, (self.resolution - 1).bit_length())

    def begin_groups(self, headers: bytes) -> None:
        """Set the seconds to those of the last group of VOPs that headers begin."""
        for group in _GOVS.finditer(headers):
            bits = Bits(group[0][len(_GOV) :][:3])
            hours, minutes, marker, seconds = bits.u(5), bits.u(6), bits.u(1), bits.u(6)
            if hours or minutes or marker or seconds:
                self.base = seconds + 60 * (minutes + 60 * hours)

    def count_reference(self, vop: bytes) -> None:
        """Move on to a VOP that B-VOPs may refer to; a `UserError` where its header is none."""
        seconds, ticks = self._time(vop)
        self.base_before, self.base = self.base, self.base + seconds
        now = self.base * self.resolution + ticks
        self.step, self.last = now - self.last, now

    def is_between(self, vop: bytes) -> bool:
        """Check that a B-VOP lies between its references, so that the decoder does not drop it."""
        seconds, ticks = self._time(vop)
        now = (self.base_before + seconds) * self.resolution + ticks
        return 0 < self.last - now < self.step < 2**16

    def _time(self, vop: bytes) -> tuple[int, int]:
        """Read the seconds that a VOP adds, and its ticks within the second.

        Raises:
            UserError: The header is none.
        """
        bits, seconds = Bits(vop[:32]), 0
        bits.u(2)
        while bits.u(1):
            seconds += 1
        before, ticks, after, is_coded = bits.u(1), bits.u(self._bits), bits.u(1), bits.u(1)
        if not (before and after and is_coded):
            raise UserError("no header of a coded VOP")
        return seconds, ticks

"""Facts about a video that its bytes tell without decoding.

Two questions, both answered by reading headers only. Of a file: does its container end before the
frames it announces (`ends_early`)? Of a packet: which picture is in it (`picture_parser`)? A parser
answers None where it cannot tell for certain; the caller then finds out by decoding.

Sources: ISO/IEC 14496-12 (boxes), RIFF/AVI, RFC 8794 and 9559 (EBML, Matroska), ASF 3.2; ITU-T
H.264 7.3 and 8.2.1, the VP9 bitstream specification 6.2 and Annex B, ISO/IEC 14496-2 6.2 (MPEG-4
Visual).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from datamodules.errors import UserError
from datamodules.formats.mpeg4 import MPEG4Parser
from datamodules.formats.pictures import Bits, Picture, PictureParser


def picture_parser(codec: str, extradata: bytes) -> PictureParser | None:
    """Choose the function that finds the picture in each packet.

    Args:
        codec: FFmpeg's name of the decoder.
        extradata: The codec's out-of-band headers.

    Returns:
        The parser, which is to be given every packet in order, or None for a codec that is not
        parsed here.
    """
    if codec == "h264":
        return H264Parser(extradata).picture
    if codec == "mpeg4":
        return MPEG4Parser(extradata).picture
    return vp9_picture if codec == "vp9" else None


def _unescaped(data: bytes) -> bytes:
    """Remove the emulation prevention bytes of a NAL unit (H.264 7.4.1)."""
    return data.replace(b"\0\0\3", b"\0\0") if b"\0\0\3" in data else data


@dataclass(frozen=True, slots=True)
class _SPS:
    """The fields of an H.264 sequence parameter set that slice headers depend on (7.3.2.1.1)."""

    frame_num_bits: int
    poc_type: int
    poc_bits: int
    frames_only: bool
    separate_planes: bool


def _skip_scaling_lists(bits: Bits, count: int) -> None:
    for i in range(count):
        if not bits.u(1):
            continue
        last = following = 8
        for _ in range(16 if i < 6 else 64):
            if following:
                following = (last + bits.se()) % 256
            last = following or last


def _parse_sps(nal: bytes) -> _SPS:
    bits = Bits(_unescaped(nal[1:]))
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    separate_planes = False
    if profile in (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135):
        chroma = bits.ue()
        separate_planes = chroma == 3 and bool(bits.u(1))
        bits.ue()
        bits.ue()
        bits.u(1)
        if bits.u(1):
            _skip_scaling_lists(bits, 12 if chroma == 3 else 8)
    frame_num_bits = bits.ue() + 4
    poc_type, poc_bits = bits.ue(), 0
    if poc_type == 0:
        poc_bits = bits.ue() + 4
    elif poc_type == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(bits.ue()):
            bits.se()
    bits.ue()
    bits.u(1)
    bits.ue()
    bits.ue()
    return _SPS(frame_num_bits, poc_type, poc_bits, bool(bits.u(1)), separate_planes)


class H264Parser:
    """A parser for each packet's picture and its picture order count (H.264 8.2.1.1).

    Certain only for progressive streams with one picture per packet and unchanging parameter sets.

    Args:
        extradata: `avcC` box, or parameter sets with start codes.
    """

    def __init__(self, extradata: bytes) -> None:
        self._sps_bytes: bytes | None = None
        self._sps: _SPS | None = None
        self._pps: dict[int, bytes] = {}
        self._certain = True
        self._length_size = 0
        self._period, self._count = -1, 0
        self._poc_msb, self._poc_lsb = 0, 0
        if extradata[:1] == b"\1" and len(extradata) >= 7:
            self._length_size = (extradata[4] & 3) + 1
            self._read_avcc(extradata)
        elif extradata:
            for nal in _start_code_units(extradata):
                self._parameter_set(nal)

    def _read_avcc(self, extradata: bytes) -> None:
        position = 5
        for mask in (31, 255):
            count = extradata[position] & mask if position < len(extradata) else 0
            position += 1
            for _ in range(count):
                length = int.from_bytes(extradata[position : position + 2], "big")
                self._parameter_set(extradata[position + 2 : position + 2 + length])
                position += 2 + length

    def _parameter_set(self, nal: bytes) -> None:
        """Record a parameter set; a stream that changes one is no longer certain."""
        nal = nal.rstrip(b"\0")
        if len(nal) < 2:
            self._certain = False
        elif nal[0] & 31 == 7:
            self._certain &= self._sps_bytes in (None, nal)
            if self._sps is None:
                self._sps_bytes, self._sps = nal, _parse_sps(nal)
        elif nal[0] & 31 == 8:
            name = Bits(_unescaped(nal[1:9])).ue()
            self._certain &= self._pps.setdefault(name, nal) == nal

    def _units(self, data: bytes) -> Iterator[bytes]:
        if not self._length_size:
            yield from _start_code_units(data)
            return
        position, size = 0, self._length_size
        while position < len(data):
            end = position + size + int.from_bytes(data[position : position + size], "big")
            if end > len(data):
                raise UserError("NAL unit reaches past its packet")
            yield data[position + size : end]
            position = end

    def picture(self, data: bytes) -> Picture | None:
        """Find the picture of the next packet.

        Args:
            data: The packet.
        """
        try:
            first = None
            for nal in self._units(data):
                kind = nal[0] & 31 if nal else 0
                if kind in (7, 8):
                    self._parameter_set(nal)
                elif kind in (2, 3, 4, 10):
                    self._certain = False
                elif kind in (1, 5) and len(nal) > 1 and nal[1] & 0x80:  # first_mb_in_slice = 0
                    self._certain &= first is None
                    first = nal
            if first is None or not self._certain or self._sps is None:
                return None
            return self._order(first, self._sps)
        except ValueError:
            return None

    def _order(self, nal: bytes, sps: _SPS) -> Picture | None:
        if not sps.frames_only or sps.poc_type == 1:
            return None
        idr = nal[0] & 31 == 5
        if idr:
            self._period, self._count = self._period + 1, 0
            self._poc_msb = self._poc_lsb = 0
        self._count += 1
        if sps.poc_type == 2:
            return Picture((self._period, self._count), idr)
        bits = Bits(_unescaped(nal[1:24]))
        bits.u(1)  # first_mb_in_slice = 0
        bits.ue()  # slice_type
        bits.ue()  # pic_parameter_set_id
        bits.u((2 if sps.separate_planes else 0) + sps.frame_num_bits)
        if idr:
            bits.ue()
        lsb, half = bits.u(sps.poc_bits), 1 << (sps.poc_bits - 1)
        msb = self._poc_msb
        if lsb < self._poc_lsb and self._poc_lsb - lsb >= half:
            msb += 2 * half
        elif lsb > self._poc_lsb and lsb - self._poc_lsb > half:
            msb -= 2 * half
        if nal[0] & 0x60:
            self._poc_msb, self._poc_lsb = msb, lsb
        return Picture((self._period, msb + lsb), idr)


def _start_code_units(data: bytes) -> Iterator[bytes]:
    """Split a byte stream into its units, between start codes 00 00 01 (H.264 Annex B)."""
    at = data.find(b"\0\0\1")
    while at >= 0:
        following = data.find(b"\0\0\1", at + 3)
        yield data[at + 3 : following if following >= 0 else len(data)]
        at = following


def vp9_picture(data: bytes) -> Picture | None:
    """Find the picture of a VP9 packet or superframe: hidden frames and one shown (Annex B).

    Args:
        data: The packet.
    """
    frames, marker = [data], data[-1] if data else 0
    if marker & 0xE0 == 0xC0:
        count, width = (marker & 7) + 1, ((marker >> 3) & 3) + 1
        index = data[-2 - count * width :]
        if index[0] == marker and len(index) == 2 + count * width:
            sizes = [int.from_bytes(index[1 + i * width :][:width], "little") for i in range(count)]
            starts = [sum(sizes[:i]) for i in range(count)]
            frames = [data[a : a + n] for a, n in zip(starts, sizes, strict=True)]
    headers = [header for frame in frames if (header := _vp9_header(frame)) is not None]
    num_shown = sum(shown for _, shown in headers)
    if len(headers) < len(frames) or num_shown > 1:
        return None
    return Picture(None, entry=headers[0][0], shown=num_shown == 1)


def _vp9_header(frame: bytes) -> tuple[bool, bool] | None:
    """Read from a VP9 frame's header if it is a key frame, and if it is shown (6.2)."""
    try:
        bits = Bits(frame[:4])
        if bits.u(2) != 2:
            return None
        profile = bits.u(1) + 2 * bits.u(1)
        if profile == 3:
            bits.u(1)
        if bits.u(1):  # show_existing_frame
            return False, True
        return bits.u(1) == 0, bool(bits.u(1))
    except ValueError:
        return None

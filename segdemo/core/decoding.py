"""What decoding a picture may cost: refusals before it is decoded, and a clock that stops it while it is.

A JPEG of 2 MB may hold 24,000 scans, each of which goes through all of its pixels again; a file of a few kilobytes may
claim any size. The first two functions see that from the header. Pillow reads JPEG, PNG, GIF, BMP and PPM in blocks, so
a file that looks at the clock whenever it is read from stops these. Decoders that work in one call cannot be stopped
like that: see ``apart``.
"""

import io
import re
import time

MAX_SCANS = 100  # of a JPEG; encoders that try hard write about twenty
MAX_SCANNED_PIXELS = 1_600_000_000  # scans times pixels: 25 scans of 64 megapixels
DEFLATE_GAIN = 1032  # bytes that one byte of Deflate can stand for, at most
_SCAN = b"\xff\xda"
# In entropy-coded data, which has 0xFF as FF 00, and restarts
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by a PNG's colour type


class OutOfTimeError(Exception):
    """A picture that takes longer than its clock allows."""


class Clock:
    """Processor time of this thread since it was made.

    Args:
        seconds: how much there is.
    """

    def __init__(self, seconds: float):
        self._end = time.thread_time() + seconds

    def check(self) -> None:
        """Raise OutOfTimeError if the time is over."""
        if time.thread_time() > self._end:
            raise OutOfTimeError


class TimedFile(io.BytesIO):
    """Bytes to decode; reading from them raises OutOfTimeError when the time is over."""

    def __init__(self, data: bytes, clock: Clock):
        super().__init__(data)
        self._clock = clock

    def read(self, size: int | None = -1, /) -> bytes:
        self._clock.check()
        return super().read(size)

    def readline(self, size: int | None = -1, /) -> bytes:
        self._clock.check()
        return super().readline(size)


def objection(data: bytes, width: int, height: int) -> str | None:
    """Why a picture is not decoded, to go on after the file's name, without a dot; None if it may be.

    Only what no whole JPEG or PNG of that size can be is refused: one with less data than its pixels take at the very
    least; and JPEGs with more scans than any encoder has a use for.

    Args:
        data: bytes of the file.
        width, height: as its header says, pixels.
    """
    short = f"is cut short: it claims {width}x{height} pixels and has no data for them, so download it again"
    if data.startswith(b"\xff\xd8"):
        return (
            short if len(data) < _least_jpeg(data, width * height) else _too_many_scans(data, width * height)
        )
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 29:
        # of an interlaced one as well, whose passes round every row up
        row = (width * _SAMPLES.get(data[25], 1) * data[24] + 7) // 8 + 1
        return short if len(data) * DEFLATE_GAIN < row * height else None
    return None


def webp_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of the canvas of a WebP, pixels, before memory is asked for it; None for anything else."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    sides = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
    return sides[0] & 0x3FFF, sides[1] & 0x3FFF


def _least_jpeg(data: bytes, pixels: int) -> int:
    """Bytes that one band's blocks of 8x8 take at the very least: two codes of a bit each, or one if progressive."""
    place = 2
    for _ in range(1000):  # segments; that many may come before a frame in no file of a camera
        if place + 4 > len(data) or data[place] != 0xFF or data[place + 1] == 0xDA:
            break
        marker = data[place + 1]
        if marker in _HUFFMAN_FRAMES:
            return pixels // 64 * (1 if marker == 0xC2 else 2) // 8
        # Arithmetic coding may take less than a bit for a code.
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0


def _too_many_scans(data: bytes, pixels: int) -> str | None:
    most = min(MAX_SCANS, max(12, MAX_SCANNED_PIXELS // max(1, pixels)))
    if data.count(_SCAN) <= most:  # which may also stand in a preview, or in what follows the picture
        return None
    scans, place = 0, 2
    while (found := _MARKER.search(data, place)) is not None:
        marker, place = found.group()[1], found.end()
        if marker == 0xD9:
            return None
        scans += marker == 0xDA
        if scans > most:
            return f"is a JPEG of more than {most} scans, which would take too long: save it again as a usual JPEG"
        if marker not in (0x01, 0xD8):
            place += int.from_bytes(data[place : place + 2], "big")
    return None

"""Clips, drawn and written by the tests."""

from fractions import Fraction

import av
import numpy as np


def draw_clip(path, frames, rate=10, codec="mpeg4", rotation=0):
    """Write RGB frames uint8 (H, W, 3) as a clip; ``rotation`` is how a player turns it, degrees."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 8_000_000
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def colours(*values, height=64, width=96):
    """Frames of one colour each: (R, G, B) triples."""
    return [np.full((height, width, 3), value, np.uint8) for value in values]


def read_clip(path):
    """The frames of a clip, as uint8 (N, H, W, 3)."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])

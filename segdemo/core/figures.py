"""A figure of Matplotlib's that notebooks show as it is, whether or not ``pyplot`` has been imported."""

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A ``Figure`` that makes its own PNG when a notebook asks how to show it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()

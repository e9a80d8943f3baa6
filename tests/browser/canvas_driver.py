"""How a person and a test reach into a mask canvas on a page."""

import base64

import numpy as np


class CanvasDriver:
    """One mask canvas.

    Args:
        page: the Playwright page.
        root: locator of the canvas's ``.sc`` element.
    """

    def __init__(self, page, root):
        self.page, self.root = page, root
        self.stage = root.locator(".sc-stage")

    def js(self, expression, argument=None):
        """The value of a JavaScript expression of ``canvas``, its ``node`` and ``argument``."""
        return self.page.evaluate(_function(expression), [self.root.element_handle(), argument])

    def wait(self, expression, argument=None):
        """Wait until such an expression is true."""
        self.page.wait_for_function(_function(expression), arg=[self.root.element_handle(), argument])

    def labels(self, layer="yours"):
        """The label map the browser holds."""
        return self.map("canvas.state.maps[argument]", layer)

    def map(self, expression, argument=None):
        """A map of the photo's size that the browser holds, by way of base64: lists of millions of numbers are slow."""
        width, height, data = self.js(
            f"""new Promise((done) => {{
              const {{ state }} = canvas, reader = new FileReader();
              reader.onload = () => done([state.width, state.height, reader.result.split(",")[1] ?? ""]);
              reader.readAsDataURL(new Blob([{expression}]));
            }})""",
            argument,
        )
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width)

    def at(self, x, y):
        """Page coordinates of the centre of image pixel (x, y)."""
        self.stage.scroll_into_view_if_needed()
        box = self.stage.bounding_box()
        scale, tx, ty, dpr = self.js("[canvas.view.scale, canvas.view.tx, canvas.view.ty, canvas.view.dpr]")
        return box["x"] + 1 + ((x + 0.5) * scale + tx) / dpr, box["y"] + 1 + ((y + 0.5) * scale + ty) / dpr

    def click(self, x, y, **options):
        self.page.mouse.click(*self.at(x, y), **options)

    def drag(self, *points):
        """Press at the first image pixel, move over the others, let go at the last."""
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=4)
        self.page.mouse.up()

    def press(self, *keys):
        self.stage.focus()
        for key in keys:
            self.page.keyboard.press(key)


def _function(expression):
    return f"([node, argument]) => {{ const canvas = node.maskCanvas; return {expression}; }}"

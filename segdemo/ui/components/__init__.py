"""Components of the page that Gradio does not have: each is a ``.py`` with the ``.js`` and ``.css`` beside it."""

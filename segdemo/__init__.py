"""SegDemo: semantic segmentation and mask annotation in the browser."""

__version__ = "0.1.0"

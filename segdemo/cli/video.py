"""``segdemo video``: the masks of a clip, or its frames."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from segdemo.cli.common import Commands, print_json
from segdemo.errors import UserError


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("video", help="segment a clip, or write its frames")
    command.add_argument("clip", type=Path, metavar="CLIP", help="an MP4, WebM, MOV or what FFmpeg reads")
    command.add_argument("--model", default="deeplabv3", help="a trained model (default: deeplabv3)")
    command.add_argument("--overlay", type=Path, metavar="FILE.mp4", help="the clip with its masks")
    command.add_argument("--labels", type=Path, metavar="FILE.zip", help="a label map for each frame, as PNG")
    command.add_argument(
        "--frames", type=Path, metavar="DIR", help="only write the frames, as JPEG, to label them"
    )
    command.add_argument("--rate", type=float, default=10, help="frames a second (default: 10)")
    command.add_argument(
        "--side", type=int, default=960, help="longer side of the frames, pixels (default: 960)"
    )
    command.add_argument(
        "--smoothing",
        type=float,
        default=0.7,
        help="how much the frames before count where nothing moves, 0 to 0.95 (default: 0.7)",
    )
    command.add_argument("--json", action="store_true")
    command.add_argument("--progress", action="store_true", help="a line of JSON on stderr for each frame")
    command.set_defaults(run=_video)


def _video(options: argparse.Namespace) -> None:
    if options.frames:
        report = _write_frames(options)
    elif options.overlay or options.labels:
        report = _segment(options)
    else:
        raise UserError("Say what to write: --overlay FILE.mp4, --labels FILE.zip or --frames DIR.")
    if options.json:
        print_json(report)
        return
    for name, value in report.items():
        print(f"{name:14} {value}")


def _segment(options):
    from segdemo.inference.predictors import open_predictor
    from segdemo.inference.video import segment_clip
    from segdemo.zoo import model_at

    for path in filter(None, (options.overlay, options.labels)):
        path.parent.mkdir(parents=True, exist_ok=True)
    return segment_clip(
        open_predictor(model_at(options.model)),
        options.clip,
        options.overlay,
        options.labels,
        options.rate,
        options.side,
        options.smoothing,
        progress=_told(options),
    ).to_json()


def _told(options):
    def tell(done: int, total: int) -> None:
        if options.progress:
            print(json.dumps({"done": done, "total": total}), file=sys.stderr, flush=True)

    return tell


def _write_frames(options):
    from segdemo.core.files import write_atomic
    from segdemo.core.photos import encode_jpeg
    from segdemo.inference.video import JPEG_QUALITY, frames

    tell, count = _told(options), 0
    for count, frame in enumerate(frames(options.clip, options.rate, options.side), 1):
        options.frames.mkdir(parents=True, exist_ok=True)
        write_atomic(
            options.frames / f"{options.clip.stem}_{count:05d}.jpg", encode_jpeg(frame.image, JPEG_QUALITY)
        )
        tell(count, count)
    return {"frames": count, "folder": str(options.frames)}

"""``segdemo video``: the masks of a clip, or its frames."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from segdemo.cli.common import Commands, given_path, print_json, say
from segdemo.errors import UserError


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("video", help="segment a clip, or write its frames")
    command.add_argument(
        "clip", type=given_path, metavar="CLIP", help="an MP4, WebM, MOV or what FFmpeg reads"
    )
    command.add_argument("--model", default="deeplabv3", help="a trained model (default: deeplabv3)")
    command.add_argument("--overlay", type=given_path, metavar="FILE.mp4", help="the clip with its masks")
    command.add_argument(
        "--labels", type=given_path, metavar="FILE.zip", help="a label map for each frame, as PNG"
    )
    command.add_argument(
        "--frames", type=given_path, metavar="DIR", help="only write the frames, as JPEG, to label them"
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
    if options.frames and (options.overlay or options.labels):
        raise UserError("Give either --frames, which only writes the frames, or --overlay and --labels.")
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
        say(f"{name:14} {value}")


def _segment(options):
    from segdemo.inference.predictors import open_predictor
    from segdemo.inference.video import segment_clip
    from segdemo.zoo import model_at

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
    from segdemo.data.outputs import OutputError
    from segdemo.inference.video import JPEG_QUALITY, frames

    if (there := _frames_there(options.frames, options.clip.stem)) is not None:
        raise OutputError(f"{there} is there already: choose another --frames, or move it.")
    tell, count = _told(options), 0
    for count, frame in enumerate(frames(options.clip, options.rate, options.side), 1):
        options.frames.mkdir(parents=True, exist_ok=True)
        write_atomic(
            options.frames / f"{options.clip.stem}_{count:05d}.jpg", encode_jpeg(frame.image, JPEG_QUALITY)
        )
        tell(count, count)
    return {"frames": count, "folder": str(options.frames)}


def _frames_there(folder: Path, stem: str) -> Path | None:
    """A file in a folder that is called as a frame of the clip ``stem`` would be, also where case does not count."""
    from segdemo.core import names

    if not folder.is_dir():
        return None
    ours = re.compile(re.escape(names.key(stem)) + r"_\d{5,}\.jpg")
    return next((path for path in folder.iterdir() if ours.fullmatch(names.key(path.name))), None)

"""``python without_ray.py SECONDS FLAG -m MODULE ...``: as ``python -m`` does, without Ray.

What would be spread over actors is done in this process, last thing first, a pause of some seconds before each, in
which a test can do something: such as writing the file FLAG, from which on there is no cluster any more.
"""

import json
import pickle
import runpy
import sys
import time
from functools import partial
from pathlib import Path

from segdemo.cluster import photos, reach
from segdemo.cluster.connection import EndedError
from segdemo.cluster.spread import Worker
from segdemo.errors import UserError


def python_in(folder, seconds=0.0):
    """A program that does as Python does with ``-m``, through this file; FLAG is ``lost`` in the same folder."""
    path = folder / f"python-{seconds}"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {seconds} "{folder / "lost"}" "$@"\n')
    path.chmod(0o755)
    return str(path)


def in_one_worker(load, things, workers=0, share=1.0, then="", seconds=0.0, flag=None):
    """``spread`` in this process."""
    worker = Worker(pickle.loads(pickle.dumps(load)))
    for thing in reversed(things):
        time.sleep(seconds)
        if flag and flag.exists():
            raise EndedError("The cluster ended the work.")
        (text,) = worker({"thing": [json.dumps(thing)]})["found"]
        said = json.loads(text)
        if "fatal" in said:
            raise UserError(said["fatal"])
        yield said["is"]


if __name__ == "__main__":
    _, seconds, flag, _, *sys.argv = sys.argv
    reach.SECONDS = 0.5
    photos.spread = partial(in_one_worker, seconds=float(seconds), flag=Path(flag))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

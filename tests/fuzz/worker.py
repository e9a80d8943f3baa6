"""The process that makes and reads cases: a line of JSON in, lines of JSON out. ``campaign`` watches it."""

import gc
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
WORST_MB = 1000
LONGEST = 2000  # characters of a sentence


def main():
    """Read requests ``{"kind", "seed"}`` or ``{"kind", "file"}`` and answer each."""
    warnings.simplefilter("ignore")
    place = Path(sys.argv[1])  # ours alone, and so are the folders below it
    from tests.fuzz import readers

    home, temporary, folder = place / "home", place / "tmp", place / "case"
    os.environ["SEGDEMO_HOME"] = str(home)
    temporary.mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        request = json.loads(line)
        shutil.rmtree(folder, ignore_errors=True)
        if "file" in request:
            with zipfile.ZipFile(request["file"]) as archive:
                files = {name: archive.read(name) for name in archive.namelist()}
        else:
            files = readers.made(request["kind"], random.Random(f"{request['kind']} {request['seed']}"))
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        before = _memory()
        print(json.dumps({"made": sum(map(len, files.values()))}), file=out, flush=True)
        answer = _read(readers.Readers(folder, []), request["kind"], before)
        left = [str(p.relative_to(place)) for p in temporary.rglob("*")]
        left += [
            str(p.relative_to(place)) for p in home.rglob(".*") if p.suffix in (".new", ".part", ".gone")
        ]
        if left and not answer["fault"]:
            answer["fault"] = f"left behind: {left[:3]}"
            shutil.rmtree(temporary)
            temporary.mkdir()
        print(json.dumps(answer), file=out, flush=True)


def _read(cases, kind, before):
    """{"fault": what is wrong or "", "seconds", "megabytes", "refusals": how many}."""
    start, fault = time.monotonic(), ""
    cpu = time.process_time()
    try:
        getattr(cases, kind)()
    except BaseException as error:
        trace = traceback.extract_tb(error.__traceback__)
        where = next((f for f in reversed(trace) if "/segdemo/" in f.filename), trace[-1])
        place = f"{where.filename.rpartition('/segdemo/')[2]}:{where.lineno}"
        fault = f"{type(error).__name__} at {place}: {str(error)[:200]!r}"
    seconds, used = time.monotonic() - start, _memory(peak=True) - before
    for sentence in cases.refusals:
        if not fault and (not sentence.strip() or "\n" in sentence or "Traceback" in sentence):
            fault = f"no sentence: {sentence[:200]!r}"
        if not fault and (not sentence.rstrip().endswith((".", ")")) or len(sentence) > LONGEST):
            fault = f"no sentence: {sentence[:100]!r}...{sentence[-100:]!r}"
    if used > WORST_MB and not fault:
        fault = f"{used:.0f} MB"
    refusals = len(cases.refusals)
    cpu = time.process_time() - cpu
    gc.collect()
    return {"fault": fault, "seconds": seconds, "cpu": cpu, "megabytes": used, "refusals": refusals}


def _memory(peak=False):
    """Resident megabytes of this process and of those that decode for it; their peak since the last call without."""
    from segdemo.core import apart

    total = 0
    for pid in ("self", *(str(helper._process.pid) for helper in apart._idle)):
        try:
            if not peak:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000
        except (OSError, StopIteration):
            continue
    return total


if __name__ == "__main__":
    main()

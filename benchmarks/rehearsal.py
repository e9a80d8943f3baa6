"""A Space rehearsed: its files alone, read-only, an empty home, another working directory, SSR off and on.

    python benchmarks/rehearsal.py [--port 7860] [--python PYTHON] [--node NODE] [--json]

The page is started as a Space starts it, with the files and settings of ``segdemo deploy``, and a first visitor
comes in headless Chromium: a photo is segmented, a collection is made and a second one refused (the rehearsal
allows one), and the Train tab is read. Told are the seconds until the page answered and until the visitor saw a
result, what the page said, what the browser complained of, and what was written beside the code.
tests/browser/test_space.py is the short form of this.

``--python`` is that of an environment with what requirements-serve.txt lists. ``--node`` is Node 24 or newer, with
which Gradio could render pages on the server (SSR) where ``GRADIO_SSR_MODE`` asks for it; without it that is left
out. ``guarded`` says that the page came with the headers of ``segdemo.ui.guard``. Memory and cores are those of this
machine: a Space has two cores and 16 GB.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def rehearse(python, port, chromium, environment):
    """One start and one visit: what the module says, as a dictionary."""
    from rehearsing import Visit, code_of_a_space, contents, variables_of_a_space
    from serving import served_app

    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as ends:
        folder = Path(name)
        before = code_of_a_space(folder / "code")
        ends.callback(lambda: [path.chmod(0o755) for path in (folder / "code").rglob("*") if path.is_dir()])
        for own in ("empty", "elsewhere"):
            (folder / own).mkdir()
        variables = {**variables_of_a_space(folder / "empty"), "GRADIO_SERVER_PORT": str(port), **environment}
        start = time.perf_counter()
        served = served_app(
            folder / "run",
            script=str(folder / "code" / "app.py"),
            fresh=True,
            cwd=folder / "elsewhere",
            python=python,
            **variables,
        )
        context = ends.enter_context(contextlib.closing(chromium.new_context()))
        with served as (url, _):
            answered = time.perf_counter() - start
            with urllib.request.urlopen(f"{url}healthz", timeout=30) as response:
                health = response.read().decode()
            with urllib.request.urlopen(url, timeout=30) as response:
                guarded = "Content-Security-Policy" in response.headers
            visit = Visit(context.new_page(), url)
            classes = visit.segment()
            seen = time.perf_counter() - start
            told = {"annotate": visit.annotate(), "train": visit.train()}
            context.close()
        return {
            "seconds_to_answer": round(answered, 1),
            "seconds_to_result": round(seen, 1),
            "healthz": health,
            "guarded": guarded,
            "classes": classes,
            **told,
            "complaints": visit.complaints,
            "code_unchanged": contents(folder / "code") == before,
            "written_elsewhere": [path.name for path in (folder / "elsewhere").iterdir()],
        }


def main():
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--node")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    modes = {"SSR off": {"GRADIO_SSR_MODE": "False"}}
    if options.node:
        modes["SSR on"] = {"GRADIO_SSR_MODE": "True", "GRADIO_NODE_PATH": options.node}
    with sync_playwright() as playwright:
        executable = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        chromium = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        report = {
            name: rehearse(options.python, options.port, chromium, environment)
            for name, environment in modes.items()
        }
        chromium.close()
    if options.json:
        print(json.dumps(report, indent=1))
        return
    for name, row in report.items():
        print(name, *(f"  {key}: {value}" for key, value in row.items()), sep="\n")


if __name__ == "__main__":
    main()

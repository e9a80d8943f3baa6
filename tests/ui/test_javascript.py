"""The page's JavaScript: its own tests under Node, and the loader that makes scripts of modules."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from label_maps import rasterise

from segdemo.ui import components
from segdemo.ui.components import (
    canvas,
    label_table,
    model_menu,
    photo_list,
    review_card,
    run_list,
    run_log,
    run_samples,
    scroll,
    zoo_cards,
)
from segdemo.ui.components.bundle import BundleError, component_script, event_function

ROOT = Path(__file__).parents[2]
FOLDER = Path(components.__file__).parent
COMPONENTS = {
    "canvas": (canvas.mask_canvas, ["ready", "edit", "saved", "reload", "next"]),
    "label_table": (label_table.label_table, []),
    "model_menu": (lambda: model_menu.model_menu(SimpleNamespace(models=dict, pace=float), "none"), []),
    "photo_list": (photo_list.photo_list, ["pick"]),
    "review_card": (lambda: review_card.review_card("#review-start"), ["decide"]),
    "run_list": (run_list.run_list, ["pick"]),
    "run_log": (run_log.run_log, []),
    "run_samples": (run_samples.run_samples, []),
    "zoo_cards": (zoo_cards.zoo_cards, ["start"]),
}


def _node():
    """The path of a Node that has what the tests use, or None."""
    node = shutil.which("node")
    if node is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return node if int(re.match(r"v(\d+)", version)[1]) >= 20 else None


NODE = _node()
needs_node = pytest.mark.skipif(NODE is None, reason="Node 20 or newer is not at hand")


def run_script(script):
    """What Node prints for a script, as JSON values."""
    done = subprocess.run([NODE, "-e", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n") if line]


@pytest.fixture
def modules(tmp_path):
    """Writes modules, name -> text, and returns the path of the first."""

    def write(**texts):
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.js"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + "\n", "utf-8")
        return tmp_path / f"{next(iter(texts))}.js"

    return write


def run_component(path, times=1, **facts):
    """What ``mount`` prints when Gradio's function runs the script."""
    names = ["element", "trigger", "props", "server", "watch"]
    script = json.dumps(component_script(path, **facts))
    given = ", ".join(json.dumps(name[0].upper()) for name in names)
    return run_script(f"const run = new Function({json.dumps(names)}, {script}); " + f"run({given});" * times)


@needs_node
def test_the_tests_of_the_algorithms_pass():
    done = subprocess.run(
        [NODE, "--test", "tests/js/"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = int(re.search(r"^(?:#|ℹ) pass (\d+)", done.stdout, re.MULTILINE)[1])  # noqa: RUF001
    assert passed > 50


def test_the_polygons_of_the_javascript_tests_are_those_of_the_python_rasteriser():
    cases = json.loads((ROOT / "tests" / "js" / "polygons.json").read_text("utf-8"))
    for case in cases:
        expected = np.array([[pixel == "#" for pixel in row] for row in case["rows"]])
        np.testing.assert_array_equal(rasterise([case["points"]], *expected.shape), expected, case["name"])


@needs_node
@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_is_one_script_that_parses(name, tmp_path):
    build, events = COMPONENTS[name]
    component = build()
    script = tmp_path / "script.js"
    script.write_text(component.js_on_load, "utf-8")
    subprocess.run([NODE, "--check", script], check=True)
    assert not re.search(r"^\s*(import|export)\b", component.js_on_load, re.MULTILINE)
    for event in events:  # Gradio looks for their names in the script
        assert callable(getattr(component, event))


def test_every_module_belongs_to_a_component_and_style_sheets_can_be_templates():
    entries = [path for path in FOLDER.glob("*/*.js") if path.stem == path.parent.name]
    entries += [path for path in FOLDER.glob("*.js") if path.stem not in ("dom", "focus", "scroll")]
    assert {path.stem for path in entries} == set(COMPONENTS)
    for path in (*FOLDER.glob("*.css"), *FOLDER.glob("*/*.css")):
        text = path.read_text("utf-8")
        # Gradio renders style sheets as JavaScript template literals and as Handlebars templates.
        assert not set("`\\") & set(text), path
        assert "{{" not in text and "${" not in text, path


def test_no_script_or_style_sheet_is_a_python_string():
    for path in set((ROOT / "segdemo" / "ui").rglob("*.py")) - {FOLDER / "bundle.py"}:
        text = path.read_text("utf-8")
        assert not re.search(r"addEventListener|document\.|=> \{|\bconst \w+ =", text), path
        assert not re.search(r"^[.#@][\w. -]+\{", text, re.MULTILINE), path


@needs_node
def test_an_event_function_calls_run_with_its_facts(modules):
    path = modules(a="export function run({ x }) {\n  console.log(x + 1);\n}")
    function = event_function(path, x=41)
    assert run_script(f"({function})();") == [42]
    see = scroll.scroll_to("#train-run", "start", delay=150, widest=800)
    assert see["fn"] is None
    assert '{"selector": "#train-run", "block": "start", "delay": 150, "widest": 800}' in see["js"]
    assert '{"selector": "#new-title input"}' in scroll.focus_on("#new-title input")["js"]


MOUNT = "export function mount(element, gradio) {\n  console.log(JSON.stringify(%s));\n}"


@needs_node
def test_a_component_is_given_what_gradio_has_and_the_facts_of_python(modules):
    path = modules(a=MOUNT % "[element, gradio]")
    facts = {"most": 255, "colors": ["#123456"], "text": "</script> \u2028 \\ ` ${x} '\""}
    expected = ["E", {"trigger": "T", "props": "P", "server": "S", "watch": "W", **facts}]
    assert run_component(path, **facts) == [expected]


@needs_node
def test_every_form_of_import_and_export(modules):
    path = modules(
        main="""// Comments and whole lines of them go.
import { plus, value as renamed } from "./lib.js";
import {
  Shape,
  later,
} from "./folder/shapes.js";

const own = 1; // the same name as in lib.js
export async function mount(element) {
  console.log(JSON.stringify([plus(own), renamed, new Shape().name, await later(), [...other()], element]));
}
import { other } from "./folder/other.js";""",
        lib="""import { later } from "./folder/shapes.js";
const own = 40;
export const value = { own };
const add = (n) => n + own + later.length;
export { add as plus };""",
        folder__shapes="""export class Shape {
  name = "shape";
}
export async function later(x) {
  return "later";
}""",
        folder__other="export function* other() {\n  yield 7;\n}",
    )
    assert run_component(path) == [[42, {"own": 40}, "shape", "later", [7], "E"]]


@needs_node
def test_names_of_modules_do_not_meet_and_each_runs_once(modules):
    path = modules(
        a='import { b } from "./b.js";\nimport { c } from "./c.js";\nconst name = "a";\n'
        + MOUNT % "[name, b(), c(), globalThis.runs, (function () { return !this; })()]",
        b='import { c } from "./c.js";\nconst name = "b";\nexport const b = () => name + c();',
        c='const name = "c";\nglobalThis.runs = (globalThis.runs ?? 0) + 1;\nexport const c = () => name;',
    )
    assert run_component(path) == [["a", "bc", "c", 1, True]]


@needs_node
def test_two_components_of_a_page_have_states_of_their_own(modules):
    path = modules(a="export function mount() {\n  let n = 0;\n  console.log(++n);\n}")
    assert run_component(path, times=2) == [1, 1]


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (
            {"a": "export default function mount() {}"},
            "a.js has a form that the bundle does not know: export default",
        ),
        ({"a": "export const { mount } = window;"}, "does not know: export const { mount }"),
        ({"a": 'export * from "./b.js";'}, "does not know: export *"),
        ({"a": "export let mount = 1;"}, "does not know: export let mount"),
        ({"a": 'import all from "./b.js";'}, "does not know: import all"),
        ({"a": 'import * as b from "./b.js";'}, "does not know: import * as b"),
        ({"a": 'import "./b.js";'}, "does not know: import"),
        ({"a": 'import { b } from "package";'}, 'does not know: import { b } from "package"'),
        ({"a": 'import { b } from "https://example.org/b.js";'}, "does not know: import { b }"),
        ({"a": 'export const mount = () => import("./b.js");'}, "does not know: import("),
        ({"a": "export const mount = import.meta.url;"}, "does not know: import.meta"),
        ({"a": 'import { b as } from "./b.js";', "b": "export const b = 1;"}, "a.js has a list of names"),
        ({"a": 'import { b } from "./b.js";'}, "a.js imports b.js, which is not there"),
        (
            {"a": 'import { c } from "./b.js";', "b": "export const b = 1;"},
            "a.js imports c from b.js, which does not",
        ),
        ({"a": "export const other = 1;"}, "a.js does not export mount"),
        ({"a": "export const mount = $module0;"}, "a.js uses the name $module"),
        (
            {
                "a": 'import { b } from "./b.js";\nexport const mount = 1;',
                "b": 'import { c } from "./c.js";\nexport const b = 1;',
                "c": 'import { b } from "./b.js";\nexport const c = 1;',
            },
            "Modules import each other in a circle: b.js -> c.js -> b.js",
        ),
        ({"a": 'import { mount } from "./a.js";'}, "in a circle: a.js -> a.js"),
    ],
)
def test_what_the_bundle_does_not_know_is_refused(modules, texts, sentence):
    with pytest.raises(BundleError, match=re.escape(sentence)):
        component_script(modules(**texts))

"""The JavaScript modules of a component as the one script that Gradio runs: no build step, no further request.

The modules are ordinary ES modules, so that editors, linters and ``node --test`` understand them. Gradio runs a text,
so here each module becomes a function of its own that returns what it exports; nothing leaks from one into another.
"""

import json
import re
from pathlib import Path
from typing import Any

_COMMENT = re.compile(r"^\s*//.*\n", re.MULTILINE)  # whole lines of it: browsers need not load them
_IMPORT = re.compile(r'^import\s*\{([^{}]*)\}\s*from\s*"(\.{1,2}/[^"\n]+\.js)";$', re.MULTILINE)
_DECLARED = re.compile(r"^export\s+((?:async\s+)?function\*?|const|class)\s+([\w$]+)", re.MULTILINE)
_LISTED = re.compile(r"^export\s*\{([^{}]*)\};$", re.MULTILINE)
_OTHER = re.compile(r"^[ \t]*(?:import|export)\b.*|\bimport\s*[(.].*", re.MULTILINE)
_NAME = re.compile(r"([\w$]+)(?:\s+as\s+([\w$]+))?")
_PREFIX = "$module"
Modules = dict[Path, tuple[int, dict[str, str]]]  # path -> (number, its exports), each after those it imports


class BundleError(ValueError):
    """Modules that cannot become one script, told in a sentence."""


def component_script(entry: str | Path, **facts: Any) -> str:
    """The ``js_on_load`` of a component.

    Args:
        entry: path of the module whose exported ``mount(element, {trigger, props, server, watch, ...facts})`` is called
            once for each component on the page.
        **facts: what Python tells it, as JSON.

    Raises:
        BundleError: a form of import or export that is not supported, a name or file that is not there, or a circle.
    """
    return _bundle(entry, "mount", f"element, {{ trigger, props, server, watch, ...{json.dumps(facts)} }}")


def event_function(entry: str | Path, **facts: Any) -> str:
    """The ``js`` of an event: a function that calls the module's exported ``run(facts)``. Raises like the other."""
    return f"() => {{\n{_bundle(entry, 'run', json.dumps(facts))}}}"


def _bundle(entry: str | Path, function: str, arguments: str) -> str:
    modules: Modules = {}
    parts = ["(() => {\n", '"use strict";\n']
    _add(Path(entry).resolve(), (), modules, parts)
    number, exports = modules[Path(entry).resolve()]
    if function not in exports:
        raise BundleError(f"{Path(entry).name} does not export {function}.")
    return "".join([*parts, f"{_PREFIX}{number}.{function}({arguments});\n", "})();\n"])


def _add(path: Path, above: tuple[Path, ...], modules: Modules, parts: list[str]) -> None:
    if path in modules:
        return
    if path in above:
        circle = " -> ".join(p.name for p in (*above[above.index(path) :], path))
        raise BundleError(f"Modules import each other in a circle: {circle}.")
    if not path.is_file():
        raise BundleError(
            f"{above[-1].name if above else 'Nothing'} imports {path.name}, which is not there."
        )
    code = _COMMENT.sub("", path.read_text("utf-8"))
    if _PREFIX in code:
        raise BundleError(f"{path.name} uses the name {_PREFIX}, which is the bundle's own.")

    def imported(match: re.Match[str]) -> str:
        other = (path.parent / match[2]).resolve()
        _add(other, (*above, path), modules, parts)
        number, exports = modules[other]
        names = _names(match[1], path)
        for name, _ in names:
            if name not in exports:
                raise BundleError(f"{path.name} imports {name} from {other.name}, which does not export it.")
        wanted = ", ".join(name if name == local else f"{name}: {local}" for name, local in names)
        return f"const {{ {wanted} }} = {_PREFIX}{number};"

    code = _IMPORT.sub(imported, code)
    exports = {name: name for _, name in _DECLARED.findall(code)}
    code = _DECLARED.sub(r"\1 \2", code)
    for listed in _LISTED.findall(code):
        exports |= {outside: name for name, outside in _names(listed, path)}
    code = _LISTED.sub("", code)
    if other := _OTHER.search(code):
        raise BundleError(f"{path.name} has a form that the bundle does not know: {other[0].strip()}")
    returned = ", ".join(n if n == outside else f"{outside}: {n}" for outside, n in exports.items())
    modules[path] = (len(modules), exports)
    parts.append(f"const {_PREFIX}{len(modules) - 1} = (() => {{\n{code}return {{ {returned} }};\n}})();\n")


def _names(text: str, path: Path) -> list[tuple[str, str]]:
    """(name, name as) pairs of ``a, b as c``."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    matches = [match for part in parts if (match := _NAME.fullmatch(part))]
    if len(matches) < len(parts):
        raise BundleError(f"{path.name} has a list of names that the bundle does not know: {text.strip()}")
    return [(match[1], match[2] or match[1]) for match in matches]

"""Writes the reference in ``python.md`` from the docstrings of all that is public: ``python docs/reference.py``.

What stands above the mark is written by hand. ``tests/docs/test_python.py`` runs its examples, and checks that the rest
is what the docstrings say. Sources are read, not imported.
"""

import ast
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import segdemo

PAGE = Path(__file__).resolve().parent / "python.md"
MARK = "<!-- From here on written by docs/reference.py, from docstrings. -->\n"
PACKAGE = Path(segdemo.__file__).parent
WIDTH = 110
GROUPS = {
    "Trained models": ("load", "predict", "Segmenter", "Segmented"),
    "Data": (
        *("open_dataset", "download", "check", "Dataset", "Sample", "read_pair", "pixel_counts", "LabelSet"),
        *("VOC", "PETS", "VOID", "label_maps"),
    ),
    "Batches": ("batches", "augment"),
    "Networks": ("build", "facts", "losses", "metrics"),
    "Training": ("train", "TrainConfig", "recipe", "Samples"),
    "Measuring": ("evaluate", "evaluate_model", "as_predictor"),
    "Pictures": ("create_mask", "display", "triptych", "triptychs", "stack", "curves"),
    "Errors": ("UserError",),
}


@dataclass(frozen=True)
class Source:
    """A module's text and what is at its top level, by name."""

    text: str
    tree: ast.Module

    @classmethod
    def of(cls, module: str) -> "Source":
        """Of a module below ``segdemo``; the empty name is that of ``segdemo`` itself."""
        path = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        text = path.read_text("utf-8")
        return cls(text, ast.parse(text))

    def find(self, name: str) -> ast.stmt:
        """The function, class or assignment of that name. Raises KeyError."""
        for node in self.tree.body:
            if getattr(node, "name", None) == name:
                return node
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
                return node
        raise KeyError(name)

    def written(self, node: ast.AST) -> str:
        """A node as it stands in the text."""
        return ast.get_source_segment(self.text, node) or ""


def reference() -> str:
    """The reference, as Markdown."""
    parts = []
    for title, names in GROUPS.items():
        parts.append(f"## {title}")
        for name in names:
            parts += _entry(name)
    return "\n\n".join(parts) + "\n"


def _entry(name: str) -> Iterator[str]:
    yield f"### `segdemo.{name}`"
    module, _, attribute = segdemo.PUBLIC.get(name, f":{name}").partition(":")
    source = Source.of(module)
    if not attribute:
        yield from _module(source, name)
        return
    node = source.find(attribute)
    if isinstance(node, ast.Assign):
        yield _fenced(f"{name} = {_call_or_value(source, node.value)}")
    else:
        yield from _described(source, node, name)


def _call_or_value(source: Source, value: ast.expr) -> str:
    # Of a label set its name will do.
    if isinstance(value, ast.Call):
        return f"{source.written(value.func)}({source.written(value.args[0])}, ...)"
    return source.written(value)


def _module(source: Source, name: str) -> Iterator[str]:
    yield f"A module. {prose(ast.get_docstring(source.tree) or '')}"
    for node in source.tree.body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        if public and ast.get_docstring(node):
            yield f"#### `segdemo.{name}.{node.name}`"
            yield from _described(source, node, node.name)


def _described(source: Source, node: ast.stmt, name: str) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield _fenced(f"def {name}{signature(source, node)}: ...")
        yield prose(ast.get_docstring(node) or "")
        return
    assert isinstance(node, ast.ClassDef)
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    if "__init__" in methods:
        yield _fenced(
            f"{name}{signature(source, methods['__init__'], of_method=True)}".removesuffix(" -> None")
        )
    yield prose(ast.get_docstring(node) or "")
    if rows := list(_settings(source, node)):
        yield "\n".join(["| setting | type | meaning | default |", "|---|---|---|---|", *rows])
    for method in methods.values():
        told = ast.get_docstring(method)
        if told and (not method.name.startswith("_") or method.name == "__call__"):
            decorated = any(ast.unparse(d).endswith("property") for d in method.decorator_list)
            called = "" if decorated else signature(source, method, of_method=True)
            yield f"`{name}.{method.name}{' '.join(called.split())}`"
            yield prose(told)


def _settings(source: Source, node: ast.ClassDef) -> Iterator[str]:
    # Fields whose meaning stands beside them: ``name: type = _set("meaning", default)``.
    for item in node.body:
        call = item.value if isinstance(item, ast.AnnAssign) else None
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "_set":
            meaning = ast.literal_eval(call.args[0])
            default = source.written(call.args[1]) if len(call.args) > 1 else "required"
            yield f"| `{ast.unparse(item.target)}` | {_kind(source, item.annotation)} | {meaning} | `{default}` |"


def _kind(source: Source, annotation: ast.expr) -> str:
    # The choices there are, where a name stands for them.
    kind = source.written(annotation)
    with contextlib.suppress(KeyError):
        named = source.find(kind)
        kind = source.written(named.value) if isinstance(named, ast.Assign) else kind
    return kind.replace("|", "\\|")


def signature(source: Source, node: ast.FunctionDef, of_method: bool = False) -> str:
    """Parameters and result as they stand in the source: on one line, or one a line where that would be too long."""
    given = node.args
    names = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(names) - len(given.defaults)) + list(given.defaults)
    parts = [_parameter(source, name, default) for name, default in zip(names, defaults, strict=True)]
    parts = parts[1:] if of_method and names and names[0].arg in ("self", "cls") else parts
    if given.vararg:
        parts.append(f"*{_parameter(source, given.vararg, None)}")
    elif given.kwonlyargs:
        parts.append("*")
    keywords = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    parts += [_parameter(source, name, default) for name, default in keywords]
    if given.kwarg:
        parts.append(f"**{_parameter(source, given.kwarg, None)}")
    result = f" -> {source.written(node.returns)}" if node.returns else ""
    line = f"({', '.join(parts)}){result}"
    if len(f"def {node.name}{line}: ...") <= WIDTH:
        return line
    return "(\n" + "".join(f"    {part},\n" for part in parts) + f"){result}"


def _parameter(source: Source, name: ast.arg, default: ast.expr | None) -> str:
    kind = f": {source.written(name.annotation)}" if name.annotation else ""
    if default is None:
        return name.arg + kind
    return f"{name.arg}{kind}{' = ' if kind else '='}{source.written(default)}"


def _fenced(code: str, language: str = "python") -> str:
    return f"```{language}\n{code}\n```"


# --- docstrings ------------------------------------------------------------------------------------------


def prose(docstring: str) -> str:
    """A docstring as Markdown: ``Args:`` and its like become lists, what is indented or a table stays as it is."""
    parts = re.split(r"^(Args|Attributes|Returns|Raises):\n", docstring, flags=re.M)
    shown = [_paragraphs(parts[0])]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        body = _dedented(body)
        shown.append(f"**{title}**")
        shown.append(_items(body) if title in ("Args", "Attributes") else _paragraphs(body))
    return "\n\n".join(part for part in shown if part)


def _dedented(body: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in body.splitlines()).strip("\n")


def _items(body: str) -> str:
    # "name: text", with what belongs to it indented; "a, b: text" too.
    lines = []
    for line in body.splitlines():
        if found := re.match(r"((?:\w+)(?:, \w+)*): ", line):
            names = ", ".join(f"`{name}`" for name in found[1].split(", "))
            lines.append(f"- {names}: {_code(line[found.end() :])}")
        else:
            lines.append(f"  {_code(line.strip())}".rstrip())
    return "\n".join(lines)


def _paragraphs(text: str) -> str:
    shown = []
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        if re.match(r"\s*={3,}", part) or part.startswith("    "):
            shown.append(_fenced(_dedented(part) if part.startswith("    ") else part, "text"))
        else:
            shown.append(_code(re.sub(r"::$", ":", part)))
    return "\n\n".join(shown)


def _code(text: str) -> str:
    return text.replace("``", "`")


def main() -> None:
    """Write what is below the mark anew."""
    by_hand = PAGE.read_text("utf-8").partition(MARK)[0]
    PAGE.write_text(by_hand + MARK + "\n" + reference(), "utf-8")


if __name__ == "__main__":
    main()

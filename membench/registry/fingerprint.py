"""Read the source text of a plugin without running it: the hash of its code, and its docstring.

`code_hash` identifies a plugin's file and the local files that it imports, `private_record_hash`
the part of a study's file that one of its records depends on, and the local files. Both are taken
from the syntax trees, without what changes no number: comments, layout, docstrings, annotations of
functions and variables (`x: T = v` counts as `x = v`, a bare `x: T` as nothing). Annotations in
class bodies count, since dataclasses read them. The names of folders, the machine and the version
of Python do not enter. Both enter cell keys.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields
from functools import lru_cache
from functools import partial
from typing import Any
from typing import NamedTuple

from membench.registry.local_files import PluginFiles
from membench.registry.local_files import parse_or_none

_IMPORTS = (ast.Import, ast.ImportFrom)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_PLAIN_TYPES = (bool, int, float, str, bytes, type(None))


class Docstring(NamedTuple):
    """The summary and source that a module's docstring gives to the records in it."""

    summary: str
    citation: str


@dataclass(frozen=True, kw_only=True)
class CodeFacts:
    """What is known of a plugin's code without running it."""

    code_hash: str
    helpers: tuple[str, ...]  #: the local files that it imports, relative to its folder
    docstring: Docstring

    @classmethod
    def of(cls, files: PluginFiles) -> CodeFacts:
        """Return the facts of files that were read."""
        return cls(
            code_hash=code_hash(files),
            helpers=files.helpers,
            docstring=parse_docstring(files.tree),
        )


def parse_docstring(tree: ast.Module) -> Docstring:
    """Return summary and citation from the module's docstring.

    The summary is its first line (PEP 257), or what stands there before a period and two spaces.
    The citation is the rest. White space is collapsed.
    """
    text = ast.get_docstring(tree) or ""
    summary, _, citation = text.partition("\n")
    if ".  " in summary:
        summary, _, further = summary.partition(".  ")
        citation = f"{further} {citation}"
    return Docstring(" ".join(summary.split()).removesuffix("."), " ".join(citation.split()))


def code_hash(files: PluginFiles) -> str:
    """Return SHA-256, in hex, of a plugin's file and of the local files that it imports."""
    return _hash([_dump(essence(files.tree)), *_helper_texts(files)])


def private_record_hash(record: Any, files: PluginFiles) -> str:
    """Return the code hash of a record that is private to a study.

    It covers only what the functions of the record reach in the study's file, so that a new
    analysis, figure or arm leaves the cells that were trained with the record as they are; and all
    local files that are imported. The values that closures and partials hold count by their text.
    """
    names = set()
    values = []
    for field in fields(record):
        for part in _functions(getattr(record, field.name)):
            if callable(part):
                names.add(part.__qualname__.split(".")[0])
            else:
                values.append(repr(part))
    extra = [type(record).__name__, record.name, *values, *_helper_texts(files)]
    return reachable_hash(files.tree, names, extra)


def reachable_hash(tree: ast.Module, names: Collection[str], extra: Sequence[str]) -> str:
    """Return SHA-256, in hex, of the top-level statements that some names depend on.

    Names are followed by their text alone: too much may be covered, never too little. Imports are
    always covered, and so are statements that define no name.

    Args:
        tree: the syntax tree of a file.
        names: the top-level names to begin with; all names that their definitions use follow.
        extra: further text to cover.
    """
    statements = essence(tree).body
    definitions: dict[str, list[ast.stmt]] = {}
    nameless = []
    for statement in statements:
        defined = _defined_names(statement)
        if not defined:
            nameless.append(statement)
        for name in defined:
            definitions.setdefault(name, []).append(statement)

    waiting = list(names)
    for statement in nameless:
        waiting += _used_names(statement)
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in definitions and name not in reached:
            reached.add(name)
            for statement in definitions[name]:
                waiting += _used_names(statement)

    texts = []
    for statement in statements:
        defined = _defined_names(statement)
        if not defined or isinstance(statement, _IMPORTS) or reached.intersection(defined):
            texts.append(_dump(statement))
    return _hash([*texts, *extra])


@lru_cache(maxsize=4)  # the records of a study ask for the same tree
def essence(tree: ast.Module) -> ast.Module:
    """Return a copy of a syntax tree without docstrings and annotations that change no number."""
    stripped: ast.Module = _Stripper().visit(_copied(tree))
    return stripped


def _copied(node: Any) -> Any:
    """Copy a syntax tree without its positions, three times as fast as `copy.deepcopy`."""
    if isinstance(node, list):
        return [_copied(item) for item in node]
    if not isinstance(node, ast.AST):
        return node
    return type(node)(**{name: _copied(value) for name, value in ast.iter_fields(node)})


class _Stripper(ast.NodeTransformer):
    """Takes docstrings and annotations out of a syntax tree, but for those of class bodies."""

    def __init__(self) -> None:
        self._in_class_body = False

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._scope(node, in_class_body=False)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._scope(node, in_class_body=True)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if self._in_class_body:
            return node
        if node.value is None:
            return None
        return ast.Assign(targets=[node.target], value=node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        self.generic_visit(node)  # Python 3.12 alone ends f"{x:{y}}" with an empty constant
        node.values = [v for v in node.values if not (isinstance(v, ast.Constant) and not v.value)]
        return node

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        if hasattr(node, "type_params"):  # Python 3.12: def f[T](x: T)
            node.type_params = []
        return self._scope(node, in_class_body=False)

    def _scope(self, node: Any, in_class_body: bool) -> ast.AST:
        node.body = _without_docstring(node.body)
        outer, self._in_class_body = self._in_class_body, in_class_body
        self.generic_visit(node)
        self._in_class_body = outer
        return node


def _helper_texts(files: PluginFiles) -> list[str]:
    """Return the names and the code of the local files; one that is no Python by its bytes."""
    texts = []
    for name in files.helpers:
        code = files.code[name]
        tree = parse_or_none(code)
        texts.append(name)
        texts.append(repr(code) if tree is None else _dump(essence(tree)))
    return texts


def _hash(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _defined_names(statement: ast.stmt) -> list[str]:
    """Return the names that a top-level statement gives a value."""
    if isinstance(statement, _DEFINITIONS):
        return [statement.name]
    if isinstance(statement, _IMPORTS):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    names = []
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
    return names


def _used_names(statement: ast.AST) -> list[str]:
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]


def _dump(node: Any) -> str:
    """Return `ast.dump` without positions and empty fields.

    Which empty fields there are depends on the version of Python.
    """
    if isinstance(node, list):
        return f"[{','.join(_dump(item) for item in node)}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    texts = []
    for name, value in ast.iter_fields(node):
        if value is not None and value != [] and name != "kind":
            texts.append(f"{name}={_dump(value)}")
    return f"{type(node).__name__}({','.join(texts)})"


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    if not body or not isinstance(body[0], ast.Expr):
        return body
    first = body[0].value
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return body[1:]
    return body


def _functions(value: Any) -> Iterator[Any]:
    """Yield a function or class and all that is bound in it.

    Functions and classes are yielded as such, everything else as plain values.
    """
    if isinstance(value, partial):
        yield from _bound_values([value.func, *value.args, *value.keywords.items()])
    elif inspect.isfunction(value) or inspect.isclass(value):
        yield value
        cells = getattr(value, "__closure__", None) or ()
        defaults = getattr(value, "__defaults__", None) or ()
        yield from _bound_values([*(cell.cell_contents for cell in cells), *defaults])


def _bound_values(value: Any) -> Iterator[Any]:
    """Yield the functions, classes and plain values that a bound value consists of."""
    if isinstance(value, _PLAIN_TYPES):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _bound_values(item)
    elif isinstance(value, dict):
        yield from _bound_values(list(value.items()))
    elif callable(value):
        yield from _functions(value)
    else:  # of another object its class, and the plain values in it
        yield type(value)
        for attribute in getattr(value, "__dict__", {}).values():
            if isinstance(attribute, _PLAIN_TYPES):
                yield attribute

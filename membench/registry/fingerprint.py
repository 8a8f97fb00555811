"""Read the source text of a plugin without running it: the hash of its code, and its docstring.

`code_hash` identifies a whole file, `private_record_hash` the part of a study's file that one of
its records depends on. Both enter cell keys, so neither may change its result for any shipped
plugin.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any
from typing import NamedTuple

_IMPORTS = (ast.Import, ast.ImportFrom)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_PLAIN_TYPES = (bool, int, float, str, bytes, type(None))


class Docstring(NamedTuple):
    """The summary and source that a module's docstring gives to the records in it."""

    summary: str
    citation: str


def parse_docstring(tree: ast.Module) -> Docstring:
    """Return summary and citation from the module's docstring.

    They stand before and after its first period that is followed by two spaces or by the end of a
    line. White space is collapsed.
    """
    text = ast.get_docstring(tree) or ""
    parts = re.split(r"\.(?:  |[ \t]*\n)", text, maxsplit=1)
    summary = " ".join(parts[0].split()).removesuffix(".")
    citation = " ".join(parts[1].split()) if len(parts) == 2 else ""
    return Docstring(summary, citation)


def code_hash(tree: ast.Module) -> str:
    """Return SHA-256, in hex, of a file's syntax tree without comments, layout and docstrings."""
    return hashlib.sha256(_dump(tree).encode()).hexdigest()


def private_record_hash(record: Any, tree: ast.Module) -> str:
    """Return the code hash of a record that is private to a study.

    It covers only what the functions of the record reach in the study's file, so that a new
    analysis, figure or arm leaves the cells that were trained with the record as they are. The
    values that closures and partials hold count by their text.
    """
    names = set()
    values = []
    for field in fields(record):
        for part in _functions(getattr(record, field.name)):
            if callable(part):
                names.add(part.__qualname__.split(".")[0])
            else:
                values.append(repr(part))
    return reachable_hash(tree, names, [type(record).__name__, record.name, *values])


def reachable_hash(tree: ast.Module, names: Collection[str], extra: Sequence[str]) -> str:
    """Return SHA-256, in hex, of the top-level statements that some names depend on.

    Names are followed by their text alone: too much may be covered, never too little. Imports are
    always covered, and so are statements that define no name.

    Args:
        tree: the syntax tree of a file.
        names: the top-level names to begin with; all names that their definitions use follow.
        extra: further text to cover.
    """
    statements = _without_docstring(tree.body)
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
    return hashlib.sha256("\0".join([*texts, *extra]).encode()).hexdigest()


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
    """Return `ast.dump` without docstrings, positions and empty fields.

    Which empty fields there are depends on the version of Python.
    """
    if isinstance(node, list):
        return f"[{','.join(_dump(item) for item in node)}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    texts = []
    for name, field in ast.iter_fields(node):
        value = _without_docstring(field) if name == "body" else field
        if value is not None and value != [] and name != "kind":
            texts.append(f"{name}={_dump(value)}")
    return f"{type(node).__name__}({','.join(texts)})"


def _without_docstring(body: Any) -> Any:
    """Return a body without its docstring; the body of a lambda is no list and stays as it is."""
    if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
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

"""What a plugin's source text says without being run: the hash of its code, and what its docstring tells. Pure."""

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


def code_hash(tree: ast.Module) -> str:
    """SHA-256, in hex, of a file's syntax tree: comments, layout and docstrings do not count."""
    return hashlib.sha256(_dump(tree).encode()).hexdigest()


def reachable_hash(tree: ast.Module, names: Collection[str], more: Sequence[str]) -> str:
    """SHA-256, in hex, of the top-level statements that define `names`, of all that these use in turn, and of `more`.

    Names are followed by their text alone: too much may count, never too little. Imports count always, and so does
    what defines no name.
    """
    defined: dict[str, list[ast.stmt]] = {}
    body, always = _code(tree.body), []
    for node in body:
        targets = _targets(node)
        for name in targets:
            defined.setdefault(name, []).append(node)
        if not targets:
            always.append(node)
    reached: set[str] = set()
    waiting = [*names, *(name for node in always for name in _used(node))]
    while waiting:
        name = waiting.pop()
        if name in defined and name not in reached:
            reached.add(name)
            waiting += [used for node in defined[name] for used in _used(node)]
    kept = [n for n in body if n in always or reached & set(_targets(n)) or isinstance(n, _IMPORTS)]
    return hashlib.sha256("\0".join([*map(_dump, kept), *more]).encode()).hexdigest()


_IMPORTS = (ast.Import, ast.ImportFrom)


def _targets(node: ast.stmt) -> tuple[str, ...]:
    """The names that a statement gives a value at the top of its file."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return (node.name,)
    if isinstance(node, _IMPORTS):
        return tuple((alias.asname or alias.name).split(".")[0] for alias in node.names)
    return tuple(
        n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    )


def _used(node: ast.AST) -> list[str]:
    return [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]


def parse_docstring(tree: ast.Module) -> tuple[str, str]:
    """Summary and source from the module's docstring.

    They stand before and after its first period that two spaces or a line's end follow; white space is collapsed.
    """
    parts = re.split(r"\.(?:  |[ \t]*\n)", ast.get_docstring(tree) or "", maxsplit=1)
    summary, source = (" ".join(part.split()) for part in (*parts, "")[:2])
    return summary.removesuffix("."), source


def _dump(node: Any) -> str:
    """`ast.dump` without docstrings, positions and empty fields; which of the last there are depends on the Python."""
    if isinstance(node, list):
        return f"[{','.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    values = (
        (name, _code(value) if name == "body" else value) for name, value in ast.iter_fields(node)
    )
    inner = ",".join(
        f"{name}={_dump(v)}" for name, v in values if v is not None and v != [] and name != "kind"
    )
    return f"{type(node).__name__}({inner})"


def _code(body: Any) -> Any:
    """A body without its docstring; a lambda's body is no list."""
    if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
        return body
    first = body[0].value
    return body[1:] if isinstance(first, ast.Constant) and isinstance(first.value, str) else body


_PLAIN = (bool, int, float, str, bytes, type(None))


def private_record_hash(record: Any, tree: ast.Module) -> str:
    """The code hash of a record that a study keeps to itself: of what its functions reach in the study's file.

    So a new analysis, figure or arm leaves the cells that were trained with the record as they are. The values that
    closures and partials hold count by their text.
    """
    found = [part for field in fields(record) for part in _functions(getattr(record, field.name))]
    names = {part.__qualname__.split(".")[0] for part in found if callable(part)}
    values = [repr(part) for part in found if not callable(part)]
    return reachable_hash(tree, names, [type(record).__name__, record.name, *values])


def _functions(value: Any) -> Iterator[Any]:
    """A function or class, and all that is bound in them: functions and classes as such, the rest as plain values."""
    if isinstance(value, partial):
        yield from _bound([value.func, *value.args, *value.keywords.items()])
    elif inspect.isfunction(value) or inspect.isclass(value):
        yield value
        cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
        yield from _bound([*cells, *(getattr(value, "__defaults__", None) or ())])


def _bound(value: Any) -> Iterator[Any]:
    if isinstance(value, _PLAIN):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _bound(part)
    elif isinstance(value, dict):
        yield from _bound(list(value.items()))
    elif callable(value):
        yield from _functions(value)
    else:  # of another object the class, and what is plain in it
        yield type(value)
        yield from (v for v in getattr(value, "__dict__", {}).values() if isinstance(v, _PLAIN))

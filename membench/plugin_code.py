"""What a plugin's source text says without being run: the hash of its code, and what its docstring tells. Pure."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Collection
from collections.abc import Sequence
from typing import Any


def code_hash(tree: ast.Module) -> str:
    """SHA-256, in hex, of a file's syntax tree: comments, layout and docstrings do not count."""
    return hashlib.sha256(_dump(tree).encode()).hexdigest()


def reach_hash(tree: ast.Module, names: Collection[str], more: Sequence[str]) -> str:
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
    return tuple(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _used(node: ast.AST) -> list[str]:
    return [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]


def about(tree: ast.Module) -> tuple[str, str]:
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
    values = ((name, _code(value) if name == "body" else value) for name, value in ast.iter_fields(node))
    inner = ",".join(f"{name}={_dump(v)}" for name, v in values if v is not None and v != [] and name != "kind")
    return f"{type(node).__name__}({inner})"


def _code(body: Any) -> Any:
    """A body without its docstring; a lambda's body is no list."""
    if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
        return body
    first = body[0].value
    return body[1:] if isinstance(first, ast.Constant) and isinstance(first.value, str) else body

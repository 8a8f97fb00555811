"""What a plugin's source text says without being run: the hash of its code, and what its docstring tells. Pure."""

from __future__ import annotations

import ast
import hashlib
import re
from typing import Any


def code_hash(tree: ast.Module) -> str:
    """SHA-256, in hex, of a file's syntax tree: comments, layout and docstrings do not count."""
    return hashlib.sha256(_dump(tree).encode()).hexdigest()


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

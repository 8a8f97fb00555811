"""What is read from the source text of a plugin: its hash and its docstring."""

from __future__ import annotations

import ast

import pytest

from membench.registry.fingerprint import code_hash
from membench.registry.fingerprint import parse_docstring


def hash_of(text: str) -> str:
    return code_hash(ast.parse(text))


def test_comments_layout_and_docstrings_do_not_change_the_hash() -> None:
    plain = hash_of("def f(x):\n    return x + 1\n")
    assert hash_of('"""Doc."""\n# why\ndef f( x ):\n    "doc"\n\n    return (x+1)') == plain


def test_every_change_of_the_code_changes_the_hash() -> None:
    plain = hash_of("def f(x):\n    return x + 1\n")
    assert hash_of("def f(x):\n    return x + 1.0\n") != plain
    assert hash_of("def f(x):\n    return None\n") != hash_of("def f(x):\n    return\n")


def test_the_hash_is_the_same_in_all_python_versions() -> None:
    text = (
        "@d\nasync def f(a, /, b=1, *c, d: int = -2., **e) -> str:\n"
        "    return [lambda: f'{a!r:>{b}}', {**e}, b'', ...]"
    )
    assert hash_of(text) == "198e9a25f88299d30f8374fbfaa503088c09e53e149ef51b191625e4d787c789"


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("A b.  C. D 2020.", ("A b", "C. D 2020.")),
        ("A 1.5 b of i.e. c.\nC\n  D.", ("A 1.5 b of i.e. c", "C D.")),
        ("A\nb. c.", ("A b. c", "")),
        ("", ("", "")),
    ],
)
def test_a_docstring_holds_the_summary_and_the_citation(
    docstring: str, expected: tuple[str, str]
) -> None:
    assert parse_docstring(ast.parse(f'"""{docstring}"""')) == expected

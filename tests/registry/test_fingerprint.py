"""What is read from the source text of a plugin: its hash and its docstring."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from membench.registry.fingerprint import code_hash
from membench.registry.fingerprint import parse_docstring
from membench.registry.local_files import read_plugin_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "own"
    path.mkdir()
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def hash_of(path: Path) -> str:
    return code_hash(read_plugin_files(path))


def text_hash(text: str) -> str:
    return code_hash(read_plugin_files(Path("/no/such/folder/plugin.py"), text.encode()))


# --- one file ------------------------------------------------------------------------------------

PLAIN = "def f(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    "text",
    [
        '"""Doc."""\n# why\ndef f( x ):\n    "doc"\n\n    return (x+1)',
        "def f(x: int) -> int:\n    return x + 1",
        "def f(x: 'Tensor | None') -> 'Tensor':\n    y: int\n    return x + 1",
        "z: int\ndef f(x):\n    return x + 1",
    ],
)
def test_comments_layout_docstrings_and_annotations_do_not_change_the_hash(text: str) -> None:
    assert text_hash(text) == text_hash(PLAIN)


@pytest.mark.parametrize(
    ("annotated", "plain"),
    [
        ("x: int = 3", "x = 3"),
        ("if a:\n    x: int = 3", "if a:\n    x = 3"),
        ("def f():\n    x: int = 3", "def f():\n    x = 3"),
        (
            "def f(a: int, /, b: int = 1, *c: int, d: int = 2, **e: int) -> int: ...",
            "def f(a, /, b=1, *c, d=2, **e): ...",
        ),
        (
            "async def f(x: int) -> int: ...",
            "async def f(x): ...",
        ),
        (
            "class A:\n    def f(self, x: int) -> int:\n        y: int = x",
            "class A:\n    def f(self, x):\n        y = x",
        ),
        (
            "def f():\n    class A:\n        def g(self) -> int:\n            ...\n    x: int = 3",
            "def f():\n    class A:\n        def g(self):\n            ...\n    x = 3",
        ),
    ],
)
def test_an_annotated_function_or_variable_hashes_as_the_plain_one(
    annotated: str, plain: str
) -> None:
    assert text_hash(annotated) == text_hash(plain)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("class A:\n    x: int = 3", "class A:\n    x: float = 3"),
        ("class A:\n    x: int = 3", "class A:\n    x = 3"),
        ("class A:\n    x: int\n    y = 3", "class A:\n    y = 3"),
        ("class A:\n    if b:\n        x: int = 3", "class A:\n    if b:\n        x = 3"),
        ("def f():\n    class A:\n        x: int", "def f():\n    class A:\n        x: float"),
    ],
)
def test_annotations_of_a_class_body_count(one: str, other: str) -> None:
    assert text_hash(one) != text_hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PLAIN, "def f(x):\n    return x + 1.0\n"),
        ("def f(x):\n    return None\n", "def f(x):\n    return\n"),
        ("x = 'a'", "x = b'a'"),
        ("def f(x=1): ...", "def f(x=2): ..."),
        ("x = 1; 'a'", "x = 1"),
        ("import a", "import a as b"),
    ],
)
def test_every_other_change_of_the_code_changes_the_hash(one: str, other: str) -> None:
    assert text_hash(one) != text_hash(other)


def test_the_hash_is_the_same_in_all_python_versions() -> None:
    text = (
        "@d\nasync def f(a, /, b=1, *c, d: int = -2., **e) -> str:\n"
        "    x: int = 3\n"
        "    return [lambda: f'{a!r:{b}}', {**e}, b'', ...]\n"
        "class A(B, c=1):\n    x: int | None = None"
    )
    assert text_hash(text) == "71c45c4bb5ca302b465ab253ba24f24b46e345c5beedbb1dd0bd8d9c902285b0"


# --- the local files that it imports -------------------------------------------------------------

#: Import statements of a plugin in the package own/, and the local files that they execute.
IMPORTS = [
    ("import helper", ("helper.py",)),
    ("import helper as h", ("helper.py",)),
    ("from helper import x", ("helper.py",)),
    ("from helper import *", ("helper.py",)),
    ("def f():\n    import helper", ("helper.py",)),
    ("try:\n    import helper\nexcept ImportError:\n    pass", ("helper.py",)),
    ("from . import helper", ("helper.py",)),
    ("from . import x, helper", ("helper.py",)),
    ("from .helper import x", ("helper.py",)),
    ("from .sub.mod import y", ("sub/__init__.py", "sub/mod.py")),
    ("from .sub import mod", ("sub/__init__.py", "sub/mod.py")),
    ("from . import sub", ("sub/__init__.py",)),
    ("import sub.mod", ("sub/__init__.py", "sub/mod.py")),
    ("from sub import mod", ("sub/__init__.py", "sub/mod.py")),
    ("import bare.mod", ("bare/mod.py",)),  # no __init__.py: a namespace package
    ("from own.helper import x", ("helper.py",)),
    ("from own import helper", ("helper.py",)),
    ("import own.sub.mod", ("sub/__init__.py", "sub/mod.py")),
    ("from ..own import helper", ("helper.py",)),
]
LOCAL = ("helper.py", "sub/__init__.py", "sub/mod.py", "bare/mod.py")


@pytest.mark.parametrize(("statement", "files"), IMPORTS)
def test_editing_a_local_file_changes_the_hash_however_it_is_imported(
    folder: Path, statement: str, files: tuple[str, ...]
) -> None:
    for name in LOCAL:
        write(folder / name, "x = 1")
    path = write(folder / "plugin.py", statement)
    assert read_plugin_files(path).helpers == files
    before = hash_of(path)
    for name in LOCAL:
        write(folder / name, "x = 2")
        assert (hash_of(path) != before) == (name in files)
        write(folder / name, "x: int = 1  # the same")
        assert hash_of(path) == before


def test_editing_an_unrelated_file_does_not_change_the_hash(folder: Path) -> None:
    path = write(folder / "plugin.py", "import math\nimport torch\nfrom . import helper")
    write(folder / "helper.py", "x = 1")
    before = hash_of(path)
    write(folder / "other.py", "x = 1")
    write(folder / "sub/helper.py", "x = 1")
    write(folder / "table.csv", "1,2")
    assert hash_of(path) == before


def test_local_files_are_followed_in_turn(folder: Path) -> None:
    path = write(folder / "plugin.py", "from .sub import a")
    write(folder / "sub/a.py", "from . import b\nfrom .. import c\nimport d")
    for name in ("sub/b.py", "c.py", "d.py"):
        write(folder / name, "x = 1")
    assert read_plugin_files(path).helpers == ("c.py", "d.py", "sub/a.py", "sub/b.py")
    before = hash_of(path)
    write(folder / "sub/b.py", "x = 2")
    assert hash_of(path) != before


def test_imports_in_a_circle_end(folder: Path) -> None:
    path = write(folder / "plugin.py", "from . import a")
    write(folder / "a.py", "from . import b")
    write(folder / "b.py", "from . import a, plugin\nfrom .plugin import x")
    assert read_plugin_files(path).helpers == ("a.py", "b.py")
    before = hash_of(path)
    write(folder / "b.py", "from . import a, plugin\nfrom .plugin import y")
    assert hash_of(path) != before


@pytest.mark.parametrize(
    "statement",
    ["import outside", "from .. import outside", "from ..outside import x", "from ... import y"],
)
def test_a_file_outside_of_the_plugin_s_folder_is_not_covered(
    folder: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.syspath_prepend(str(folder.parent))
    path = write(folder / "plugin.py", statement)
    write(folder.parent / "outside.py", "x = 1")
    before = hash_of(path)
    write(folder.parent / "outside.py", "x = 2")
    assert read_plugin_files(path).helpers == ()
    assert hash_of(path) == before


def test_membench_and_installed_packages_are_not_followed(tmp_path: Path) -> None:
    project = write(tmp_path / "plugin.py", "import membench.data\nfrom membench import Split")
    write(tmp_path / "membench/__init__.py", "")
    write(tmp_path / "membench/data.py", "")
    assert read_plugin_files(project).helpers == ()
    installed = write(tmp_path / "site-packages/plugin.py", "import other")
    write(tmp_path / "site-packages/other.py", "")
    assert read_plugin_files(installed).helpers == ()


def test_the_hash_does_not_depend_on_the_names_of_folder_and_plugin(
    folder: Path, tmp_path: Path
) -> None:
    path = write(folder / "plugin.py", "from . import helper")
    write(folder / "helper.py", "x = 1")
    copy = tmp_path / "elsewhere" / "copied"
    shutil.copytree(folder, copy)
    assert hash_of(copy / "plugin.py") == hash_of(path)
    assert hash_of((copy / "plugin.py").rename(copy / "renamed.py")) == hash_of(path)


def test_the_hash_tells_which_file_holds_what(folder: Path) -> None:
    path = write(folder / "plugin.py", "from . import a, b")
    write(folder / "a.py", "x = 1")
    write(folder / "b.py", "x = 2")
    before = hash_of(path)
    write(folder / "a.py", "x = 2")
    write(folder / "b.py", "x = 1")
    assert hash_of(path) != before


def test_a_local_file_that_is_no_python_counts_by_its_bytes(folder: Path) -> None:
    path = write(folder / "plugin.py", "from . import helper")
    write(folder / "helper.py", "x = (")
    before = hash_of(path)
    write(folder / "helper.py", "y = (")
    assert hash_of(path) != before


# --- docstrings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("A b.  C. D 2020.", ("A b", "C. D 2020.")),
        ("A 1.5 b of i.e. c.\nC\n  D.", ("A 1.5 b of i.e. c", "C D.")),
        ("A b.\n\nC, D, 2020.", ("A b", "C, D, 2020.")),
        ("Is a b?\n\nC, 2020.", ("Is a b?", "C, 2020.")),
        ("A b.  C,\nD 2020.", ("A b", "C, D 2020.")),
        ("A\nb. c.", ("A", "b. c.")),
        ("", ("", "")),
    ],
)
def test_the_first_line_of_a_docstring_is_the_summary_and_the_rest_the_citation(
    docstring: str, expected: tuple[str, str]
) -> None:
    assert parse_docstring(ast.parse(f'"""{docstring}"""')) == expected

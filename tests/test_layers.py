"""The shape of the code: imports go one way, torch stays where it is needed, nothing grows too long to read."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import membench

#: Of the contract suite, what acts; the rest is imported by strangers' pytest runs and by `membench --help`.
ACTING = {
    f"testing/{name}.py"
    for name in ("bench", "edges", "guards", "networks", "others", "runs", "stages", "traces", "world")
}

PACKAGE = Path(membench.__file__).parent
PLUGINS = PACKAGE.parent / "plugins"

#: From left to right: a module may import what stands before it. A package counts as one module.
LAYERS = (
    "api errors rng records probes studies membench",
    "plugin_finding plugin_cache plugin_code plugin_checks plugin_details loading registry select",
    "suites data plan packing arms merging",
    "nn engine",
    "durable shards store fetching",
    "schedule messages interrupts guard process outcomes pool worker",
    "scoring estimators subsets progress report",
    "testing",
    "commands words cli __main__",
)
ORDER = " ".join(LAYERS).split()

MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if "builtin" not in path.parts)
TREES = {name: ast.parse((PACKAGE / name).read_text("utf-8")) for name in MODULES}
FUNCTIONS = [
    (f"{name}:{node.lineno} {node.name}", node)
    for name, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
]


def unit(dotted: str) -> str:
    """`membench.engine.train` -> `engine`; `membench` itself stays."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def home(name: str) -> str:
    """`engine/train.py` -> `engine`, `plan.py` -> `plan`, `__init__.py` -> `membench`."""
    first = name.split("/", maxsplit=1)[0].removesuffix(".py")
    return "membench" if first == "__init__" else first


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all modules that are imported anywhere in the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                path = PACKAGE.parent / Path(*str(node.module).split("."), alias.name)
                is_module = path.is_dir() or path.with_suffix(".py").is_file()
                yield f"{node.module}.{alias.name}" if is_module else str(node.module)


def at_import(tree: ast.Module) -> ast.Module:
    """What runs when the module is imported: no functions' bodies, nothing that is for type checkers only."""

    class Lazy(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node

    return Lazy().visit(ast.parse(ast.unparse(tree)))


def test_every_module_has_its_place() -> None:
    assert {home(name) for name in MODULES} == set(ORDER)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name: str) -> None:
    here = home(name)
    used = {unit(dotted) for dotted in imported(TREES[name]) if dotted.split(".")[0] == "membench"} - {here}
    upward = {other for other in used if ORDER.index(other) > ORDER.index(here)}
    assert not upward, f"{name} imports {sorted(upward)}, which stand to the right of it"


@pytest.mark.parametrize("name", MODULES)
def test_only_the_engine_imports_torch_at_once(name: str) -> None:
    roots = {dotted.split(".")[0] for dotted in imported(at_import(TREES[name]))}
    assert home(name) in ("engine", "nn") or name in ACTING or not {"torch", "torchvision"} & roots


def test_torch_is_not_loaded_without_need() -> None:
    modules = (
        "cli",
        "plan",
        "scoring",
        "report",
        "commands.board",
        "commands.running",
        "worker",
        "testing.pytest_plugin",
    )
    code = f"import sys, {', '.join(f'membench.{m}' for m in modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_scores_and_pages_need_no_plugin() -> None:
    for name in (n for n in MODULES if home(n) in ("scoring", "report")):
        used = {unit(dotted) for dotted in imported(TREES[name]) if dotted.split(".")[0] == "membench"}
        assert used <= {"scoring", "report", "records", "studies", "errors"}, name


@pytest.mark.parametrize("path", [*PACKAGE.rglob("*.py"), *PLUGINS.rglob("*.py")], ids=lambda p: p.name)
def test_a_module_can_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 250


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Without signature and docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_no_body_is_longer_than_a_screen() -> None:
    assert [where for where, node in FUNCTIONS if body_lines(node) > 50] == []


def test_every_signature_is_annotated() -> None:
    def bare(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        args = node.args
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
        return node.returns is None or any(a.annotation is None for a in every if a.arg not in ("self", "cls"))

    assert [where for where, node in FUNCTIONS if bare(node)] == []


def test_every_module_says_what_it_is_for() -> None:
    for path in (*PACKAGE.rglob("*.py"), *PLUGINS.rglob("*.py")):
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path

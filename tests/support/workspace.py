"""A working folder with plugin files that a test writes, and the text of such files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from membench.registry import loading
from membench.registry.registry import Registry
from membench.registry.registry import discover

_SHRINK = '''"""Shrink the weights.  A. Author,
"Shrinking", 2020."""
from membench import Regularizer, hookimpl

def shrink(params, lane):
    return {name: w * (1 - lane.strength) for name, w in params.items()}

@hookimpl
def register():
    grid = (0.1, 0.3, 0.5, 0.7, 0.9)
    return [Regularizer("NAME", strengths=grid, weights=shrink, group="weights")]
'''

_RECORDS = """
import math
from membench import *
def act(*args): ...
def grid(name, **fields):
    return Regularizer(name, **{"strengths": (1, 2, 3, 4, 5), "weights": act, **fields})
def suite(name="small", **fields):
    values = dict(
        datasets=("dots",), architectures=("mlp",), signals=("real", "mixed@0.4", "randY"),
        choosing=(0, 1), confirming=(2, 3), splits={"dots": Split(20, 30, 10)},
        recipes={("dots", "mlp"): Recipe(lr=0.1)},
    )
    return Suite(name, **(values | fields))
@hookimpl
def register():
    return [EXPRESSION]
"""


def shrinking(name: str) -> str:
    """Return a plugin file that registers one regularizer, which shrinks the weights."""
    return _SHRINK.replace("NAME", name)


def registering(expression: str) -> str:
    """Return a plugin file that registers the records of an expression.

    In it, `grid(name, **fields)` makes a regularizer, `suite(name, **fields)` a suite, and `act` is
    a function that does nothing.
    """
    return _RECORDS.replace("EXPRESSION", expression)


@dataclass(frozen=True)
class Workspace:
    """A working folder with nothing but what the test puts there."""

    folder: Path
    shipped: Path  #: stands for the folder of membench's own plugins

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def discover(self, *requested: str) -> Registry:
        """Find the plugins as a new process would, which has imported none of them."""
        loading._imported.clear()
        return self.discover_again(*requested)

    def discover_again(self, *requested: str) -> Registry:
        """Find the plugins as the same process would, which has imported some of them."""
        return discover(requested, self.folder, self.shipped)

    def problem_of(self, text: str) -> str:
        """Return the one line that a bad plugin gets, after a check that a good one is unharmed."""
        self.write("plugins/bad.py", text)
        self.write("plugins/good.py", shrinking("good"))
        registry = self.discover()
        assert "good" in registry.regularizers
        (problem,) = registry.problems
        assert problem.origin == "plugins/bad.py"
        assert "\n" not in str(problem)
        return problem.message


def empty_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Make a working folder with nothing shipped, nothing cached and nothing imported before."""
    monkeypatch.setenv("MEMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_imported", {})
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Workspace(folder=folder, shipped=folder / "shipped")

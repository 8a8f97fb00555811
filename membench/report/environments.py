"""The environments that the rows of a board were measured in: their numbers, names and notes.

A row and the runs of `none` that it is paired with are of one environment on each task. Every task
has a reference environment; a row that was measured there needs no note.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from membench.records import canonical
from membench.report.text import code
from membench.report.text import escape_markdown
from membench.report.text import filename
from membench.report.text import joined
from membench.report.text import plain
from membench.scoring.types import Board
from membench.scoring.types import Row

#: Facts that name an environment, in this order; others are added where they tell two apart.
NAMING = ("device", "torch", "precision", "threads")
HASH = 8  #: characters of an environment's hash that stand for it, as in the board's notes


@dataclass(frozen=True)
class Environments:
    """The environments of one board, numbered from 1 in the board's order."""

    board: Board

    def notes(self, row: Row) -> list[str]:
        """List a row's environments that are not the reference of their task, as links.

        Args:
            row: with numbers.
        """
        tasks = 0
        elsewhere: dict[str, list[str]] = {}
        for gate in self.board.gates:
            env = row.envs.get(gate.task)
            if gate.valid and env:
                tasks += 1
                if env != gate.env:
                    elsewhere.setdefault(env, []).append(gate.task)
        notes = []
        for env, some in elsewhere.items():
            link = f"[environment {self._number(env)}](#{self.anchor(env)})"
            if len(some) < tasks:
                link += f" on {joined([escape_markdown(task) for task in some])}"
            notes.append(link)
        return notes

    @property
    def has_others(self) -> bool:
        """Tell whether some row is not of the reference environment on some task."""
        board = self.board
        rows = (*board.rows, *board.control_rows, *board.full_rows)
        return any(self.notes(row) for row in rows)

    def anchor(self, env: str) -> str:
        """Name the place where the page describes the environment."""
        return f"environment-{filename(self.board.suite)}-{self._number(env)}"

    def listed(self) -> list[dict[str, Any]]:
        """List for the template: number, anchor, description and the tasks it is reference of."""
        lines = []
        for env in self.hashes():
            tasks = [gate.task for gate in self.board.gates if gate.env == env]
            lines.append(
                {
                    "number": self._number(env),
                    "anchor": self.anchor(env),
                    "description": self._description(env),
                    "tasks": tasks,
                }
            )
        return lines

    def hashes(self) -> list[str]:
        """List the hashes in the order of their numbers.

        Those that a row has and the board does not describe come last.
        """
        envs = dict.fromkeys(self.board.envs)
        for row in (*self.board.rows, *self.board.control_rows, *self.board.full_rows):
            envs.update(dict.fromkeys(row.envs.values()))
        return [env for env in envs if env]

    def _number(self, env: str) -> int:
        return self.hashes().index(env) + 1

    def _description(self, env: str) -> str:
        versions = self.board.envs.get(env, {})
        facts = [_fact(name, versions) for name in NAMING if name in versions]
        for name in sorted(versions):
            if name not in NAMING and self._tells_apart(name):
                facts.append(_fact(name, versions))
        return ", ".join([*facts, f"hash {code(env[:HASH])}"])

    def _tells_apart(self, name: str) -> bool:
        """Tell whether the environments differ in a fact."""
        values = {canonical(versions.get(name)) for versions in self.board.envs.values()}
        return len(values) > 1


def _fact(name: str, versions: Mapping[str, Any]) -> str:
    value = versions[name]
    text = plain(value if isinstance(value, str) else canonical(value), limit=120)
    shown = escape_markdown(text)
    if name == "device":
        return shown
    return f"{escape_markdown(name)} {shown}"

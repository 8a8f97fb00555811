"""`membench status` counts the cells of both phases by how they ended."""

from __future__ import annotations

import io

from rich.console import Console
from support.board_objects import made_board
from support.board_objects import made_plan
from support.records import make_record

from membench.commands.report import _status_table
from membench.records import Cell
from membench.records import Manifest
from membench.records import Record
from membench.store.store import Contents


def run_of(architecture: str, seed: int, status: str = "ok") -> Record:
    return make_record(Cell("mnist5k", architecture, "none", (), "real", seed), status=status)


def printed(manifest: Manifest, records: list[Record]) -> list[list[str]]:
    """The lines below the header, as words."""
    contents = Contents(records={(record.key, record.env): record for record in records})
    console = Console(width=120, file=io.StringIO())
    console.print(_status_table({manifest.suite: manifest}, contents.by_key))
    header, *lines = console.file.getvalue().splitlines()
    assert header.split() == ["suite", "task", "phase", "cells", "ok", "diverged", "failed", "left"]
    return [line.split() for line in lines]


def test_cells_are_counted_by_task_and_phase() -> None:
    planned = [run_of("mlp", seed) for seed in (0, 1, 2, 3, 13)]
    planned += [run_of("cnn", seed) for seed in (0, 12)]
    cells = {record.id: record.key for record in planned}
    manifest = made_plan(made_board(), cells=cells, envs=())
    done = [
        run_of("mlp", 0),
        run_of("mlp", 1, "timeout"),
        run_of("mlp", 3, "diverged"),
        run_of("cnn", 12, "failed"),
        run_of("vit", 0),
    ]
    assert printed(manifest, done) == [
        ["quick", "mnist5k/mlp", "choose", "3", "1", "0", "1", "1"],
        ["quick", "mnist5k/mlp", "confirm", "2", "0", "1", "0", "1"],
        ["quick", "mnist5k/cnn", "choose", "1", "0", "0", "0", "1"],
        ["quick", "mnist5k/cnn", "confirm", "1", "0", "0", "1", "0"],
    ]


def test_a_cell_that_two_machines_have_run_counts_once() -> None:
    record = run_of("mlp", 0)
    manifest = made_plan(made_board(), cells={record.id: record.key}, envs=("one", "two"))
    both = [
        make_record(record.cell, env="one", status="failed"),
        make_record(record.cell, env="two"),
    ]
    assert printed(manifest, both)[0] == ["quick", "mnist5k/mlp", "choose", "1", "1", "0", "0", "0"]

"""Rows that the keeper of a board has read anew, on seeds that nobody could know: `confirmed.json`.

`membench verify ENTRY --fresh` writes the file beside the pages, which show what still holds: a
confirmation is of the records that the row had then, so that it goes when one of them changes. The
keys of records hold the hash of the plugin's code, so it goes with another version of that too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from membench.records import Record
from membench.records import digest
from membench.scoring.types import NONE
from membench.scoring.types import Board
from membench.scoring.types import Interval
from membench.scoring.types import Row

FILE = "confirmed.json"
SCHEMA = 1  #: of the file
READINGS = ("H", "dA", "R")  #: that are confirmed
#: The fields of a record that a row is read from, or that say which run it is.
_READ = ("key", "env", "status", "epochs", "train", "val", "test", "wrong", "test_bits", "cost")


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """A row that was read anew and agreed."""

    date: str  #: of the day, as 2026-11-29
    seeds: tuple[int, ...]  #: drawn from chance when it was read anew
    readings: dict[str, Interval]  #: "H", "dA" and "R" on these seeds
    code: str  #: hash of the plugin's code
    commit: str  #: of membench; "" where it is not known
    environments: dict[str, dict[str, Any]]  #: task -> `Record.versions` of the new runs
    records: str  #: hash of the records that the row was made from, of `records_digest`


#: suite -> row's name -> its confirmation
Confirmations = dict[str, dict[str, Confirmation]]


def records_digest(row: Row, records: Iterable[Record]) -> str:
    """Hash the records that a row was made from: its own and those of `none` beside them.

    Args:
        row: of a board.
        records: of the board's suite.
    """
    lines = []
    for record in records:
        is_its = record.regularizer in (row.entry, NONE)
        if is_its and row.envs.get(record.cell.task) == record.env:
            lines.append([getattr(record, name) for name in _READ])
    return digest(sorted(lines, key=lambda line: line[0]))


def current(
    confirmations: Mapping[str, Confirmation], board: Board, records: Iterable[Record]
) -> dict[str, Confirmation]:
    """Return the confirmations of a suite that are of the rows as they are now.

    Args:
        confirmations: row's name -> its confirmation.
        board: the suite's.
        records: that it was made from.
    """
    if not confirmations:
        return {}
    records = list(records)
    found = {}
    for row in (*board.rows, *board.control_rows):
        confirmation = confirmations.get(row.entry)
        if confirmation and row.H and confirmation.records == records_digest(row, records):
            found[row.entry] = confirmation
    return found


def encode(confirmations: Confirmations) -> bytes:
    """Write the file: sorted, so that equal confirmations are equal bytes."""
    suites: dict[str, Any] = {}
    for suite, rows in confirmations.items():
        suites[suite] = {name: asdict(confirmation) for name, confirmation in rows.items()}
    value = {"schema": SCHEMA, "confirmed": suites}
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def decode(content: bytes) -> Confirmations:
    """Read the file.

    Raises:
        ValueError: it is damaged, or of another version.
    """
    try:
        value = json.loads(content)
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']!r}, this membench reads {SCHEMA}")
        found: Confirmations = {}
        for suite, rows in value["confirmed"].items():
            found[suite] = {name: _confirmation(line) for name, line in rows.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(repr(error)) from error
    return found


def _confirmation(line: dict[str, Any]) -> Confirmation:
    readings = {name: Interval(**line["readings"][name]) for name in READINGS}
    return Confirmation(**{**line, "seeds": tuple(line["seeds"]), "readings": readings})

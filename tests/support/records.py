"""A factory of records for tests that make them by hand, those of scoring and of the report."""

from __future__ import annotations

from typing import Any

from membench.records import Cell
from membench.records import Record
from membench.records import digest


def make_record(cell: Cell, **fields: Any) -> Record:
    """Return the record of a cell: `ok`, 10 classes, keyed by the digest of its id.

    Args:
        cell: what was trained; the record's id and its parts come from it.
        fields: any other field of `Record`, or another value for one of the above.
    """
    values = {
        "key": digest(cell.id),
        "env": "env",
        "id": cell.id,
        "dataset": cell.dataset,
        "architecture": cell.architecture,
        "regularizer": cell.regularizer,
        "strength": cell.strength,
        "signal": cell.signal,
        "seed": cell.seed,
        "status": "ok",
        "num_classes": 10,
    }
    return Record(**(values | fields))

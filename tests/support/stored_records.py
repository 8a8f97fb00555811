"""A factory of records for the store's tests and the processes that these start."""

from __future__ import annotations

from dataclasses import replace

from membench.records import Record
from membench.records import digest

VERSIONS = {"torch": "2.15.0", "device": "cpu", "threads": 1}


def make_record(
    seed: int = 0, status: str = "ok", accuracy: float = 0.1, **changes: object
) -> Record:
    """Return a record that is like a real one in every kind of field.

    Args:
        seed: also decides the key.
        status: the record's status.
        accuracy: one of its curves' values.
        changes: other values for any of its fields.
    """
    base = Record(
        key=digest(seed),
        env=digest(VERSIONS),
        id=f"digits/mlp/dropout[0.5]/randY/seed{seed}",
        dataset="digits",
        architecture="mlp",
        regularizer="dropout",
        strength=(0.5,),
        signal="randY",
        seed=seed,
        status=status,
        epochs=(1, 2),
        train=(accuracy, 1 / 3),
        test=(None, 1e-05),
        train_bits="ff07",
        versions=VERSIONS,
    )
    return replace(base, **changes)

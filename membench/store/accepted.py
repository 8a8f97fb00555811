"""Decide which stored records count for the cells of a plan.

The store keeps every environment's record of a key (`membench.records`), and a failure until the
key is measured there. A board is made from the records of all environments (`records_of`):
`membench.scoring` reads each row in one of them. Who trains, analyses a study or counts needs one
record a cell, and says which environments it accepts, the preferred one first (`accepted_by_key`).
Of a cell's records, in this order:

1. a measurement (`ok`, `diverged`, `skipped`) in an accepted environment counts, that in the
   preferred environment first;
2. else a failure (`failed`, `timeout`) in an accepted environment counts, or one whose worker died
   before it could name its environment: it stands as the worst result until the cell is measured;
3. else the cell has no record, even if it was measured in an environment that is not accepted:
   numbers of two machines differ by rounding, and a row must not mix them.

Whoever accepts no environment in particular, with an empty list, accepts all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TypeVar

from membench.records import Manifest
from membench.records import Record
from membench.store.shards import End
from membench.store.store import MEASURED
from membench.store.store import Contents

T = TypeVar("T", Record, End)


def records_of(manifest: Manifest, contents: Contents) -> list[Record]:
    """Return the records of the manifest's cells, of each environment at most one for a cell."""
    keys = set(manifest.cells.values())
    records = []
    for (key, _), record in contents.records.items():
        if key in keys and manifest.counts(record):
            records.append(record)
    return records


def accepted_by_key(
    keys: Iterable[str], environments: Sequence[str], contents: Contents
) -> dict[str, Record]:
    """Map each key to the record that counts for it; a key without one is left out.

    Args:
        keys: of the cells.
        environments: those accepted, the preferred one first; empty accepts all.
        contents: of the store.
    """
    return best_by_key(keys, environments, contents.by_key)


def best_by_key(
    keys: Iterable[str], environments: Sequence[str], by_key: Mapping[str, Sequence[T]]
) -> dict[str, T]:
    """Do as `accepted_by_key` does, with records or only what is known of how cells ended.

    Args:
        keys: of the cells.
        environments: those accepted, the preferred one first; empty accepts all.
        by_key: the records of each key.
    """
    preference = {environment: place for place, environment in enumerate(environments)}

    def counts(record: T) -> bool:
        nameless = record.status not in MEASURED and not record.versions
        return not preference or record.env in preference or nameless

    def rank(record: T) -> tuple[bool, int, str]:
        """Rank measurements before failures, then by preference; the name makes it definite."""
        failed = record.status not in MEASURED
        return failed, preference.get(record.env, len(preference)), record.env

    best = {}
    for key in keys:
        accepted = [record for record in by_key.get(key, ()) if counts(record)]
        if accepted:
            best[key] = min(accepted, key=rank)
    return best

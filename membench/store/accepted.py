"""`membench report` and `membench status`: from the store to pages and counts, without torch and without plugins."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence

from membench.records import Manifest
from membench.records import Record
from membench.store.store import MEASURED
from membench.store.store import Contents


def accepted_records(manifest: Manifest, contents: Contents) -> list[Record]:
    """The records that the manifest's cells stand for: one a key, of the environments it accepts."""
    return list(accepted_by_key(manifest.cells.values(), manifest.envs, contents).values())


def accepted_by_key(
    keys: Iterable[str], envs: Sequence[str], contents: Contents
) -> dict[str, Record]:
    """Key -> the record that counts for it, where there is one.

    A failure says nothing of an environment, so it counts until the cell is measured in an accepted one.

    Args:
        keys: of the cells.
        envs: environments whose records count, the preferred one first; () = any.
        contents: of the store.
    """
    place = {env: i for i, env in enumerate(envs)}
    keys, best = set(keys), {}
    for (key, env), record in contents.records.items():
        if key in keys and (env in place or record.status not in MEASURED or not place):
            rank = (record.status not in MEASURED, place.get(env, len(place)), env)
            best[key] = min(best.get(key, (rank, record)), (rank, record), key=lambda pair: pair[0])
    return {key: record for key, (_, record) in best.items()}

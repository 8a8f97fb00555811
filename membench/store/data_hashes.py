"""The hashes of the data sets that studies were planned with: `datasets.json`.

The hash of its data set is part of a cell's key. Where the data set is absent, the records of its
cells are found by the hash that is kept here, so a page of studies does not depend on whose data
are at hand. As a manifest is, the file is written beside the shards and moves to the records when
these are merged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import disk_errors
from membench.store.store import Store

FILE_NAME = "datasets.json"


def read_hashes(store: Store) -> dict[str, str]:
    """Return the SHA-256 of the arrays of each data set that was kept, by its name.

    Raises:
        MembenchError: with `ExitCode.STORE`; the file is damaged.
    """
    text = store.read_file(FILE_NAME)
    try:
        return dict(json.loads(text)) if text is not None else {}
    except (ValueError, TypeError, RecursionError) as error:
        path = store.folder / FILE_NAME
        message = f"{path} is damaged: {error}; restore the file, or delete it"
        raise MembenchError(message, ExitCode.STORE) from error


def record_hashes(store: Store, hashes: Mapping[str, str]) -> None:
    """Keep hashes of data sets, in place of older ones of the same names.

    Args:
        store: beside whose records they are kept.
        hashes: name of a data set -> SHA-256 of its arrays, in hex.

    Raises:
        MembenchError: with `ExitCode.DISK`, the file cannot be written; with `ExitCode.STORE`, it
            is damaged.
    """
    with disk_errors("write", store.shards / FILE_NAME), store.locked():
        kept = read_hashes(store)
        if kept != {**kept, **hashes}:
            store.write_json(FILE_NAME, {**kept, **hashes})

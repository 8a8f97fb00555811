"""What the page of studies counted when it was written: `studies.json`.

A board's manifest names the suite that was planned and the machines whose records count; studies
have no manifest. `membench reproduce` counts the records of its own machine, and gives a row to
each study that it was asked for. With this file beside the records, `membench report` writes the
same page again on any machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import disk_errors
from membench.store.store import Store

FILE_NAME = "studies.json"


@dataclass(frozen=True)
class Counted:
    """Whose records count, and which studies have a row."""

    #: hashes, the preferred one first; none: those of all count
    environments: tuple[str, ...] = ()
    #: name and scale of each study that has a row even without a record
    requested: tuple[tuple[str, str], ...] = ()


def read_counted(store: Store) -> Counted:
    """Return what the page counts; where it was not kept, the records of all environments.

    Raises:
        MembenchError: with `ExitCode.STORE`; the file is damaged.
    """
    text = store.read_file(FILE_NAME)
    if text is None:
        return Counted()
    try:
        return _decode(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        path = store.folder / FILE_NAME
        message = f"{path} is damaged: {error!r}; restore the file, or delete it"
        raise MembenchError(message, ExitCode.STORE) from error


def record_counted(store: Store, counted: Counted) -> None:
    """Keep what the page counts, in place of what an earlier one did.

    Raises:
        MembenchError: with `ExitCode.DISK`; the file cannot be written.
    """
    value = {
        "environments": list(counted.environments),
        "requested": [list(study) for study in counted.requested],
    }
    with disk_errors("write", store.shards / FILE_NAME), store.locked():
        store.write_json(FILE_NAME, value)


def _decode(value: Mapping[str, Any]) -> Counted:
    environments = tuple(str(environment) for environment in value["environments"])
    requested = tuple((str(name), str(scale)) for name, scale in value["requested"])
    return Counted(environments, requested)

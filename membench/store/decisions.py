"""Decisions that were measured once and are obeyed ever after: `decisions.json`.

How a task is trained on a machine may depend on a measurement, as of which products are the faster
ones. Its outcome decides the environment of the records, so it must not be taken twice: noise could
turn it over, and a row of the board would be torn in two. It is kept by task and by machine, which
is the environment without what is decided, and the processor's name, since that decides which way
is the faster one; a task may have several fields. As a manifest is, it is written beside the shards
and moves to the records when these are merged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import disk_errors
from membench.records import digest
from membench.store.store import Store

FILE_NAME = "decisions.json"
#: fields of an environment that follow from decisions
DECIDED = ("captured", "compiled", "matmul", "precision")

Decision = dict[str, Any]  #: field -> value, of one task on one machine


def machine_of(environment: Mapping[str, Any], processor: str) -> dict[str, Any]:
    """Return what identifies a machine: an environment without what is decided, and the CPU.

    Args:
        environment: of workers there.
        processor: the CPU's model name, which makes no other environment.
    """
    machine = {name: value for name, value in environment.items() if name not in DECIDED}
    return {**machine, "processor": processor}


def read_decisions(store: Store, machine: Mapping[str, Any]) -> dict[str, Decision]:
    """Return the decisions of a machine by task, "mnist5k/mlp"; none if there is no file.

    Raises:
        MembenchError: with `ExitCode.STORE`; the file is damaged.
    """
    entry = _read(store).get(digest(machine), {})
    tasks: dict[str, Decision] = entry.get("tasks", {})
    return tasks


def record_decision(
    store: Store, machine: Mapping[str, Any], task: str, decision: Decision
) -> Decision:
    """Keep a decision durably, unless another process was the first.

    Args:
        store: beside whose records it is kept.
        machine: the environment, from `machine_of`.
        task: "mnist5k/mlp".
        decision: fields that the task has none of yet. One that it has by now stays.

    Returns:
        All fields of the task, which are to be obeyed.

    Raises:
        MembenchError: with `ExitCode.DISK`, the file cannot be written; with `ExitCode.STORE`, it
            is damaged.
    """
    with disk_errors("write", store.shards / FILE_NAME), store.locked():
        machines = _read(store)
        entry = machines.setdefault(digest(machine), {"machine": dict(machine), "tasks": {}})
        kept: Decision = {**decision, **entry["tasks"].get(task, {})}
        entry["tasks"][task] = kept
        store.write_json(FILE_NAME, machines)
    return kept


def join_decisions(store: Store, other: Store) -> None:
    """Keep what was decided in another folder beside what was decided here, which stays.

    Raises:
        MembenchError: as of `record_decision`, of either folder.
    """
    theirs = _read(other)
    if not theirs:
        return
    with disk_errors("write", store.shards / FILE_NAME), store.locked():
        machines = _read(store)
        joined = {**theirs, **machines}
        for name, entry in machines.items():
            if name in theirs:
                joined[name] = {**entry, "tasks": {**theirs[name]["tasks"], **entry["tasks"]}}
        if joined != machines:
            store.write_json(FILE_NAME, joined)


def decisions_text(store: Store) -> bytes:
    """Return the file of decisions as it is; `{}` if there is none."""
    text = store.read_file(FILE_NAME)
    return b"{}" if text is None else text


def _read(store: Store) -> dict[str, dict[str, Any]]:
    """Return all machines by digest: each with the field `machine` and the decisions in `tasks`."""
    try:
        machines: dict[str, dict[str, Any]] = json.loads(decisions_text(store))
        for entry in machines.values():
            for decision in entry["tasks"].values():
                decision.items()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        path = store.folder / FILE_NAME
        message = f"{path} is damaged: {error}; restore the file, or delete it to measure anew"
        raise MembenchError(message, ExitCode.STORE) from error
    return machines

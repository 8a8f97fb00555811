"""Two plans of one suite as one, for records that were made apart. Pure.

What both have must be the same: a cell whose key is another one there was made by another version
of a plugin, of the data or of the recipe, and its record is of something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from membench.errors import MembenchError
from membench.records import Entry
from membench.records import Manifest

#: What all cells of a plan have in common: field -> its name in a sentence.
FRAME = {
    "version": "another version",
    "signals": "other signals",
    "choosing": "other choosing seeds",
    "confirming": "other confirming seeds",
    "noisy": "other label noise",
}


def join_manifests(here: Manifest, there: Manifest, name: str) -> Manifest:
    """Return the plan of both.

    Environments of `here` come first: a row that is complete in several of them stays where it is.

    Args:
        here: the plan to join to.
        there: another one of the same suite.
        name: where that is from, for errors.

    Raises:
        MembenchError: they differ in what must be the same; names it.
    """
    suite = here.suite
    for field, words in FRAME.items():
        mine, its = getattr(here, field), getattr(there, field)
        if mine != its:
            raise MembenchError(
                f"{name}: suite {suite} has {words} there ({_short(its)}) than here "
                f"({_short(mine)}): nothing is merged"
            )
    other_keys = [i for i, key in there.cells.items() if here.cells.get(i, key) != key]
    if other_keys:
        raise MembenchError(
            f"{name}: {len(other_keys)} cells of {suite} have another key there, {other_keys[0]} "
            "for one: another version of its plugins, data or recipe; nothing is merged"
        )
    _refuse_others(here.recipes, there.recipes, f"{name}: the recipe of", suite)
    _refuse_others(here.datasets, there.datasets, f"{name}: the data of", suite)
    return replace(
        here,
        tasks=tuple(sorted({*here.tasks, *there.tasks})),
        recipes={**there.recipes, **here.recipes},
        datasets={**there.datasets, **here.datasets},
        entries=_joined_entries(here.entries, there.entries),
        cells={**there.cells, **here.cells},
        envs=tuple(dict.fromkeys((*here.envs, *there.envs))),
        probes=tuple(sorted({*here.probes, *there.probes})),
    )


def _refuse_others(
    here: Mapping[str, Any], there: Mapping[str, Any], what: str, suite: str
) -> None:
    """Raise `MembenchError` for the first name that stands for something else there."""
    for name, value in there.items():
        if here.get(name, value) != value:
            raise MembenchError(f"{what} {name} in {suite} is another one there: nothing is merged")


def _joined_entries(here: tuple[Entry, ...], there: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Return the entries of both, `none` first; of one that both have, what is said here.

    A full grid that was planned on one side only stays, as does a task where it cannot act.
    """
    entries = {entry.name: entry for entry in there}
    for entry in here:
        other = entries.get(entry.name)
        if other is not None:
            entry = replace(  # noqa: PLW2901
                entry,
                skipped={**other.skipped, **entry.skipped},
                full=entry.full or other.full,
            )
        entries[entry.name] = entry
    return tuple(sorted(entries.values(), key=lambda entry: (entry.name != "none", entry.name)))


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

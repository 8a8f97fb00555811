"""What `-k` selects of a suite, and what to say where that is nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from collections.abc import Mapping

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.planning.packs import ProgramId
from membench.planning.select import words
from membench.planning.suites import PlannedSuite
from membench.records import Manifest
from membench.records import setting
from membench.registry.registry import Registry


def names_in(suite: PlannedSuite, registry: Registry) -> set[str]:
    """Return the whole names that stand in the ids of a suite's cells."""
    seeds = {f"seed{seed}" for seed in (*suite.choosing, *suite.confirming)}
    axes = (suite.datasets, suite.architectures, registry.regularizers, suite.signals)
    return seeds.union(*axes)


def names_in_manifest(manifest: Manifest) -> set[str]:
    """Return the whole names that stand in the ids of a manifest's cells."""
    names = {entry.name for entry in manifest.entries}
    names.update(f"seed{seed}" for seed in (*manifest.choosing, *manifest.confirming))
    names.update(*(task.split("/") for task in manifest.tasks))
    return names.union(manifest.signals)


def nothing_selected(
    expression: str, suite: PlannedSuite, registry: Registry, skipped: Mapping[ProgramId, str]
) -> MembenchError:
    """Make the error for an expression that selects no cell: why, and how an id looks.

    Args:
        expression: the option `-k`, well formed.
        suite: of the cells.
        registry: all plugins.
        skipped: where regularizers cannot act, and why.
    """
    reasons: list[str] = []
    for word in dict.fromkeys(words(expression)):
        reasons += _why(word, suite, registry, skipped)
    if not reasons:
        reasons = ["no cell fits all of it"]
    like = _an_id(suite, registry)
    return MembenchError(
        f"-k {expression!r} selects no cell of suite {suite.name}: {'; '.join(reasons)}{like}",
        ExitCode.NOTHING,
    )


def _why(
    word: str, suite: PlannedSuite, registry: Registry, skipped: Mapping[ProgramId, str]
) -> Iterable[str]:
    """Say why cells with a word are none, if the word is the reason."""
    unable = {}
    for (dataset, architecture, name), reason in skipped.items():
        if name == word.partition("[")[0]:
            unable[f"{dataset}/{architecture}"] = reason
    if unable:
        return [f"{word} cannot act on {task}: {reason}" for task, reason in unable.items()]
    names = names_in(suite, registry)
    if word.lower() in {name.lower() for name in names}:
        return []
    for kind in ("datasets", "architectures"):
        if word in getattr(registry, kind):
            return [f"the suite has no {word} among its {kind}: add --{kind} {word}"]
    if word.partition("@")[0] in registry.signals:
        signals = ",".join((*suite.signals, word))
        return [f"the suite has no {word} among its signals: add --signals {signals}"]
    name = word.partition("[")[0]
    if "[" in word and name in registry.regularizers:
        entry = registry.regularizers[name]
        strengths = ", ".join(setting(name, strength) for strength in entry.strengths)
        return [f"{name} has the strengths {strengths}"]
    if any(word in known for known in names) or "/" in word or "[" in word:
        return []
    near = difflib.get_close_matches(word, sorted(names), n=1, cutoff=0.6)
    return [f"did you mean {near[0]}?" if near else f"no id has {word} in it"]


def _an_id(suite: PlannedSuite, registry: Registry) -> str:
    """Show how an id looks, by one of the suite's; "" if it has none."""
    for entry in registry.regularizers.values():
        for strength in entry.strengths[:1]:
            task = f"{suite.datasets[0]}/{suite.architectures[0]}"
            label = setting(entry.name, strength)
            return f" (an id: {task}/{label}/{suite.signals[0]}/seed{suite.choosing[0]})"
    return ""

"""From a study's arms to the cells and packs that are to be trained: what `plan` is for suites. Pure.

`membench reproduce` plans each study by itself, so that a fault in one costs that one.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import asdict
from dataclasses import dataclass
from itertools import product

from membench.errors import MembenchError
from membench.planning.keys import Hash
from membench.planning.keys import cell_key
from membench.planning.packs import Pack
from membench.planning.packs import chunk_by_program
from membench.planning.plan import Skip
from membench.planning.plan import check_names
from membench.records import Cell
from membench.registry.registry import Registry
from membench.studies import Arm
from membench.studies import Strengths
from membench.studies import Study


@dataclass(frozen=True, kw_only=True)
class ArmPlan:
    """One arm's cells and their keys."""

    study: str
    arm: Arm
    cells: tuple[Cell, ...]
    keys: tuple[str, ...]  #: in the same order
    skipped: tuple[str, ...] = ()  #: "dataset/architecture/regularizer: why it cannot act there"

    def packs(self, done: Container[str] = ()) -> list[Pack]:
        """The cells whose keys are not `done`, cut into packs of one architecture and regularizer each."""
        arm = self.arm
        packs = []
        for cells, keys in chunk_by_program(self.cells, self.keys, done, arm.width):
            pack = Pack(
                cells=cells,
                keys=keys,
                recipe=arm.recipe,
                split=arm.split,
                compiled=arm.compiled,
                read=arm.read,
                probes=arm.probes,
                study=self.study,
            )
            packs.append(pack)
        return packs


def plan_arms(
    study: Study, scale: str, registry: Registry, hash_of: Hash, skip: Skip
) -> tuple[ArmPlan, ...]:
    """Every arm of the study at a scale.

    Args:
        study: the live record.
        scale: a key of its `arms`.
        registry: as the study's cells see it, `Registry.for_study(study.name)`.
        hash_of: gives the hash of a data set's arrays.
        skip: asks a regularizer's `skip`.

    Raises:
        MembenchError: it has no such scale, or an arm names what is not registered.
    """
    if scale not in study.arms:
        raise MembenchError(
            f"study {study.name!r} has no scale {scale!r}: it has {', '.join(study.arms)}"
        )
    return tuple(_plan(study.name, arm, registry, hash_of, skip) for arm in study.arms[scale])


def _plan(study: str, arm: Arm, registry: Registry, hash_of: Hash, skip: Skip) -> ArmPlan:
    for name in arm.regularizers:
        registry = registry.with_composition(name, full=True)
    names = {"architectures": arm.architectures, "signals": arm.signals, "probes": arm.probes}
    check_names(registry, datasets=(arm.dataset,), **names)
    skipped, cells = [], []
    for architecture, (name, asked) in product(arm.architectures, arm.regularizers.items()):
        entry = registry.entry("regularizers", name)
        why = skip(arm.dataset, architecture, name) if entry.has_skip else None
        if why is not None:
            skipped.append(f"{arm.dataset}/{architecture}/{name}: {why}")
            continue
        settings = _settings(name, entry.strengths if asked is None else asked, len(entry.off))
        axes = product(settings, arm.signals, arm.seeds)
        cells += [
            Cell(arm.dataset, architecture, name, s, signal, seed) for s, signal, seed in axes
        ]
    data, recipe = hash_of(arm.dataset), asdict(arm.recipe)
    keys = tuple(
        cell_key(cell, registry, data, arm.split, recipe, arm.probes, arm.read) for cell in cells
    )
    return ArmPlan(study=study, arm=arm, cells=tuple(cells), keys=keys, skipped=tuple(skipped))


def _settings(name: str, strengths: Strengths, parts: int) -> Strengths:
    """One tuple of floats a cell; () for `none`. Raises `MembenchError` for a strength of another length."""
    settings = tuple(tuple(map(float, strength)) for strength in strengths) or ((),)
    wrong = next((s for s in settings if len(s) != parts), None)
    if wrong is not None:
        raise MembenchError(
            f"regularizer {name!r}: strength {wrong} must be a tuple of {parts}, one value a part"
        )
    return settings

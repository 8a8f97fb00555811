"""Turn a study's arms into the cells that are to be trained, as `plan` does for suites. Pure.

`membench reproduce` plans each study by itself, so that an error in one costs only that one.
"""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from itertools import product

from membench.errors import MembenchError
from membench.planning.keys import ArraysHash
from membench.planning.keys import CodeOf
from membench.planning.keys import CodeOfPlan
from membench.planning.keys import cell_key
from membench.planning.packs import Pack
from membench.planning.packs import chunk_by_program
from membench.planning.plan import Skip
from membench.planning.plan import check_names
from membench.planning.suites import check_recipe
from membench.records import Cell
from membench.registry.registry import Registry
from membench.studies import Arm
from membench.studies import Strengths
from membench.studies import Study


@dataclass(frozen=True, kw_only=True)
class ArmPlan:
    """The cells of one arm, and their keys."""

    study: str
    arm: Arm
    cells: tuple[Cell, ...]
    keys: tuple[str, ...]  #: in the same order
    code: CodeOf = field(repr=False, compare=False)
    arrays: str  #: SHA-256 of the data set's arrays, in hex
    skipped: tuple[str, ...] = ()  #: "dataset/architecture/regularizer: why it cannot act there"
    absent: str = ""  #: how to get the data set, if it is not on this machine

    def packs(self, done: Container[str] = ()) -> list[Pack]:
        """Cut the cells whose keys are not `done` into packs."""
        packs = []
        for cells, keys in chunk_by_program(self.cells, self.keys, done, self.arm.width):
            pack = Pack(
                cells=cells,
                keys=keys,
                recipe=self.arm.recipe,
                split=self.arm.split,
                compiled=self.arm.compiled,
                read=self.arm.read,
                probes=self.arm.probes,
                study=self.study,
                code=self.code(cells, self.arm.probes, self.arm.recipe.optimizer),
                arrays=self.arrays,
            )
            packs.append(pack)
        return packs


def plan_arms(
    study: Study, scale: str, registry: Registry, hash_of: ArraysHash, skip: Skip
) -> tuple[ArmPlan, ...]:
    """Plan every arm of a study at a scale.

    Args:
        study: the live record.
        scale: a key of its `arms`.
        registry: as the study's cells see it, `Registry.for_study(study.name)`.
        hash_of: gives the hash of a data set's arrays.
        skip: gives the answer of a regularizer's `skip`.

    Raises:
        MembenchError: the study has no such scale, or an arm names what is not registered.
    """
    if scale not in study.arms:
        raise MembenchError(
            f"study {study.name!r} has no scale {scale!r}: it has {', '.join(study.arms)}"
        )
    return tuple(_plan_arm(study.name, arm, registry, hash_of, skip) for arm in study.arms[scale])


def study_cells(study: Study, scale: str, registry: Registry) -> Iterator[Cell]:
    """Yield the cells of a study at a scale, whether or not a regularizer can act in them.

    It costs a tenth of what their keys cost.

    Args:
        study: the live record.
        scale: a key of its `arms`.
        registry: as the study's cells see it.

    Raises:
        MembenchError: an arm names a regularizer that is not registered.
    """
    for arm in study.arms[scale]:
        known = _with_compositions(arm, registry)
        for architecture, regularizer in product(arm.architectures, arm.regularizers):
            yield from _cells(arm, architecture, regularizer, known)


def _with_compositions(arm: Arm, registry: Registry) -> Registry:
    for name in arm.regularizers:
        registry = registry.with_composition(name, full=True)
    return registry


def _plan_arm(study: str, arm: Arm, registry: Registry, hash_of: ArraysHash, skip: Skip) -> ArmPlan:
    registry = _with_compositions(arm, registry)
    check_names(
        registry,
        datasets=[arm.dataset],
        architectures=arm.architectures,
        signals=arm.signals,
        probes=arm.probes,
    )
    check_recipe(arm.recipe, registry, f"arm {arm.name!r}")
    cells: list[Cell] = []
    skipped = []
    for architecture, regularizer in product(arm.architectures, arm.regularizers):
        entry = registry.entry("regularizers", regularizer)
        reason = skip(arm.dataset, architecture, regularizer) if entry.has_skip else None
        if reason is None:
            cells += _cells(arm, architecture, regularizer, registry)
        else:
            skipped.append(f"{arm.dataset}/{architecture}/{regularizer}: {reason}")
    arrays = hash_of(arm.dataset)
    recipe = asdict(arm.recipe)
    keys = []
    for cell in cells:
        key = cell_key(
            cell,
            registry,
            arrays=arrays,
            split=arm.split,
            recipe=recipe,
            probes=arm.probes,
            read=arm.read,
        )
        keys.append(key)
    return ArmPlan(
        study=study,
        arm=arm,
        cells=tuple(cells),
        keys=tuple(keys),
        code=CodeOfPlan(registry).of,
        arrays=arrays,
        skipped=tuple(skipped),
    )


def _cells(arm: Arm, architecture: str, regularizer: str, registry: Registry) -> list[Cell]:
    """Return the arm's cells of one architecture and regularizer."""
    cells = []
    strengths = _strengths(arm, regularizer, registry)
    for strength, signal, seed in product(strengths, arm.signals, arm.seeds):
        cell = Cell(
            dataset=arm.dataset,
            architecture=architecture,
            regularizer=regularizer,
            strength=strength,
            signal=signal,
            seed=seed,
        )
        cells.append(cell)
    return cells


def _strengths(arm: Arm, regularizer: str, registry: Registry) -> Strengths:
    """Return the strengths that the arm lists, or else the regularizer's grid; ((),) for `none`.

    Raises:
        MembenchError: a strength does not have one value for each part of the regularizer.
    """
    entry = registry.entry("regularizers", regularizer)
    listed = arm.regularizers[regularizer]
    grid = entry.strengths if listed is None else listed
    strengths = tuple(tuple(map(float, strength)) for strength in grid) or ((),)
    parts = len(entry.off)
    for strength in strengths:
        if len(strength) != parts:
            raise MembenchError(
                f"regularizer {regularizer!r}: strength {strength} must be a tuple of {parts}, "
                "one value a part"
            )
    return strengths

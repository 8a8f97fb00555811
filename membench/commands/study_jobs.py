"""Plan the studies that `membench reproduce` is asked for.

Each study is planned by itself, so that a fault in one costs that one only.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from functools import partial

from membench.commands import session
from membench.commands.projected_time import projected_time
from membench.commands.studies_apart import StudiesApart
from membench.commands.studies_apart import analyse_here
from membench.errors import MembenchError
from membench.planning.inputs import DatasetLoader
from membench.planning.inputs import SkipAnswers
from membench.planning.packs import Pack
from membench.planning.study_plan import ArmPlan
from membench.planning.study_plan import plan_arms
from membench.planning.study_plan import study_cells
from membench.records import Cell
from membench.registry.entry import PluginEntry
from membench.registry.registry import Registry
from membench.studies import SCALES
from membench.studies import Finding
from membench.studies import Results
from membench.studies import Study
from membench.text import explain


@dataclass(frozen=True, kw_only=True)
class StudyJob:
    """One study at one scale: its plan, or why it has none."""

    entry: PluginEntry
    scale: str
    study: Study | None = None
    plans: tuple[ArmPlan, ...] = ()
    left_out: tuple[str, ...] = ()  #: "arm: how to get its data", of optional arms without plan
    problem: str = ""
    #: returns the finding in records, and its figure as SVG; None where there is no study
    analyse: Callable[[Results], tuple[Finding, bytes]] | None = None

    @property
    def keys(self) -> list[str]:
        """The keys of all cells, by arm; one that two arms share is there twice."""
        return [key for plan in self.plans for key in plan.keys]

    def trainable(self, recorded: Collection[str]) -> StudyJob:
        """Return the job as far as this machine can train what has no record.

        An arm whose data set is absent stays if all of its cells have records. If not, it is left
        out where it is optional, and is the job's problem where it is not.

        Args:
            recorded: keys of the cells that have a record.
        """
        plans = []
        left_out = list(self.left_out)
        for plan in self.plans:
            if not plan.absent or set(plan.keys) <= set(recorded):
                plans.append(plan)
            elif plan.arm.optional:
                left_out.append(f"{plan.arm.name}: {plan.absent}")
            else:
                return replace(self, study=None, plans=(), problem=plan.absent)
        if left_out and not plans:
            return replace(self, study=None, plans=(), problem=left_out[0])
        return replace(self, plans=tuple(plans), left_out=tuple(left_out))

    def narrowed(self, keys: Collection[str]) -> StudyJob:
        """Return the job with the cells of some keys only, and without the arms that have none."""
        plans = []
        for plan in self.plans:
            pairs = [
                (cell, key) for cell, key in zip(plan.cells, plan.keys, strict=True) if key in keys
            ]
            if pairs:
                cells = tuple(cell for cell, _ in pairs)
                plans.append(replace(plan, cells=cells, keys=tuple(key for _, key in pairs)))
        return replace(self, plans=tuple(plans))


def planned_cells(jobs: Iterable[StudyJob]) -> Iterator[tuple[Cell, str]]:
    """Yield each cell of the jobs and its key."""
    for job in jobs:
        for plan in job.plans:
            yield from zip(plan.cells, plan.keys, strict=True)


def packs_of(jobs: Iterable[StudyJob], done: Iterable[str]) -> list[Pack]:
    """Cut the cells of the jobs into packs; a cell that several arms share is in one of them.

    Args:
        jobs: what is planned.
        done: keys of the cells that are left out.
    """
    taken = set(done)
    packs: list[Pack] = []
    for job in jobs:
        for plan in job.plans:
            packs += plan.packs(taken)
            taken.update(plan.keys)
    return packs


@dataclass(frozen=True)
class _DataState:
    """What is known of a data set."""

    arrays: str  #: SHA-256 of its arrays, in hex; "" if it is absent and was never planned with
    absent: str  #: how to get it, if it is absent


class StudyPlanner:
    """Plans studies; a data set is read and hashed once, however many studies use it."""

    def __init__(
        self, registry: Registry, hashes: Mapping[str, str], strangers: StudiesApart
    ) -> None:
        """Plan with these plugins.

        Args:
            registry: all plugins.
            hashes: of the arrays of data sets, by name, which count for those that are absent.
                Cells of one that is not there either get no true key.
            strangers: asked for studies and plugins that do not ship.
        """
        self.registry = registry
        self._strangers = strangers
        self._studies: dict[str, Study] = {}
        self._kept_hashes = hashes
        #: what is known of a data set, by name, code and version of its plugin
        self._known: dict[tuple[str, str, int], _DataState] = {}

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes of the arrays of the data sets that were read, by name."""
        return {name: state.arrays for (name, *_), state in self._known.items() if not state.absent}

    def plan(self, name: str, scale: str) -> StudyJob:
        """Plan a study at a scale; whatever is wrong with it becomes the job's problem."""
        entry = self.registry.entry("studies", name)
        registry = self.registry.for_study(name)
        datasets = self.datasets(name)
        skips = SkipAnswers(registry, datasets, session.inspect_network)

        def hash_of(dataset: str) -> str:
            return self._state(dataset, datasets).arrays

        try:
            study = self._study(name)
            plans = []
            for plan in plan_arms(study, scale, registry, hash_of, skips.reason):
                state = self._state(plan.arm.dataset, datasets)
                plans.append(replace(plan, absent=state.absent))
        except MembenchError as error:
            return StudyJob(entry=entry, scale=scale, problem=str(error))
        except Exception as error:  # a study is foreign code and may raise anything
            return StudyJob(entry=entry, scale=scale, problem=explain(error))
        if skips.problems:
            return StudyJob(entry=entry, scale=scale, problem=skips.problems[0].message)
        return StudyJob(
            entry=entry,
            scale=scale,
            study=study,
            plans=tuple(plans),
            analyse=partial(self._analyse, name),
        )

    def datasets(self, name: str) -> DatasetLoader:
        """Return the data sets as the cells of a study see them."""
        return DatasetLoader(
            self.registry.for_study(name),
            self._strangers.data_folder,
            needed=False,
            strangers=self._strangers,
        )

    def projected_time(self, job: StudyJob) -> str:
        """Return how long the training of a study would take on a GPU, in words."""
        if not job.entry.foreign_files:
            return projected_time(job.plans, self.datasets(job.entry.name))
        try:
            return self._strangers.projected_time(job.entry, self._plugins(job), job.scale)
        except MembenchError as error:
            return f"; its time is not known: {error}"

    def _plugins(self, job: StudyJob) -> Iterator[PluginEntry]:
        """Yield the plugins that a step of a study's cells is made of."""
        registry = self.registry.for_study(job.entry.name)
        for plan in job.plans:
            yield registry.entry("datasets", plan.arm.dataset)
            yield registry.entry("optimizers", plan.arm.recipe.optimizer)
            for name in plan.arm.architectures:
                yield registry.entry("architectures", name)
            for name in plan.arm.regularizers:
                yield registry.with_composition(name, full=True).entry("regularizers", name)

    def _study(self, name: str) -> Study:
        """Return a study; of one that does not ship what it says, without its functions."""
        if name not in self._studies:
            entry = self.registry.entry("studies", name)
            is_foreign = bool(entry.foreign_files)
            found = self._strangers.study(entry) if is_foreign else self.registry.study(name)
            self._studies[name] = found
        return self._studies[name]

    def _analyse(self, name: str, results: Results) -> tuple[Finding, bytes]:
        """Return what a study finds in records, and its figure.

        Raises:
            Exception: of any kind; an analysis is foreign code.
        """
        entry = self.registry.entry("studies", name)
        if entry.foreign_files:
            return self._strangers.analyse(entry, results)
        return analyse_here(self._study(name), results)

    def _state(self, name: str, datasets: DatasetLoader) -> _DataState:
        """Look a data set up, among the plugins and in the folder of `datasets`."""
        plugin = datasets.registry.entry("datasets", name)
        known = (plugin.name, plugin.code_hash, plugin.version)
        if known not in self._known:
            arrays = datasets.hash(name) or self._kept_hashes.get(name, "")
            self._known[known] = _DataState(arrays, absent=datasets.notes.get(name, ""))
        return self._known[known]

    def plan_others(self, jobs: Iterable[StudyJob], recorded: set[str]) -> list[StudyJob]:
        """Plan the studies and scales that are not among the jobs but have records.

        Args:
            jobs: what was requested.
            recorded: ids of the cells that have records of some kind. A study that has none of
                them is not planned, so that its data is not read.

        Returns:
            The jobs that can be planned.
        """
        requested = {(job.entry.name, job.scale) for job in jobs}
        others = []
        for name in self.registry.studies:
            for scale in SCALES:
                if (name, scale) in requested or recorded.isdisjoint(self._cell_ids(name, scale)):
                    continue
                job = self.plan(name, scale)
                if not job.problem:
                    others.append(job)
        return others

    def _cell_ids(self, name: str, scale: str) -> set[str]:
        """Return the ids of a study's cells without reading data; none if it cannot be planned."""
        try:
            cells = study_cells(self._study(name), scale, self.registry.for_study(name))
            return {cell.id for cell in cells}
        except Exception:
            return set()

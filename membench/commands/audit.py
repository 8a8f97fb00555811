"""What can be said against the records of a board before anything is trained.

`membench verify` asks all of it of every record: whether the plan is the suite's, whether each key
is what the plugins here make of the cell, and whether the fields of a record agree with one another
and with the labels that its seed draws. Whoever changes a reading by hand must change the bits, the
counts and the checksum that go with it; what fits together all the same is left to the training.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from functools import cache

from membench.commands import session
from membench.data import unpack_bits
from membench.engine.schedule import epochs_to_read
from membench.errors import MembenchError
from membench.planning.inputs import DatasetLoader
from membench.planning.inputs import RunOutline
from membench.planning.inputs import SkipAnswers
from membench.planning.manifest import Replanned
from membench.planning.plan import epochs_read
from membench.planning.suites import split_of
from membench.records import Cell
from membench.records import Record
from membench.records import digest
from membench.registry.registry import Registry
from membench.store.store import Contents

#: A cross-entropy of that much per wrong prediction is the least: what is not the largest of some
#: probabilities is at most a half.
LEAST_LOSS = math.log(2)
#: Of the losses, which are float32; and of shares, which are counts over counts.
LOSS_SLACK, SHARE_SLACK = 1e-4, 1e-9
COST_DIGITS = 5e-5  #: half of the last digit of a stored cost
#: Images that two runs must both have right, and both wrong, beyond a constant answer, before equal
#: bits on the test images are called a copy.
COPIED_IMAGES = 20


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about a board that cannot be as it was measured."""

    where: str  #: a file, a suite, an entry or the id of a cell
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def audit_store(contents: Contents) -> Iterator[Finding]:
    """Find damaged lines, and cells that were measured twice with different results."""
    for damage in contents.damaged:
        yield Finding(where=f"{damage.path}:{damage.line}", what=damage.reason)
    for conflict in contents.conflicts:
        what = f"there are {1 + len(conflict.others)} records of one environment that differ"
        yield Finding(where=conflict.kept.id, what=what)


def audit_plan(
    replanned: Replanned, registry: Registry, datasets: DatasetLoader
) -> Iterator[Finding]:
    """Find where a plan is not that of the suite, the plugins and the data that are here.

    Args:
        replanned: the plan, made again.
        registry: the plugins.
        datasets: of the plan.
    """
    manifest, suite = replanned.manifest, replanned.suite
    where = f"plan of {manifest.suite}"
    for name in ("version", "signals", "choosing", "confirming"):
        planned, own = getattr(manifest, name), getattr(suite, name)
        if planned != own:
            yield Finding(where=where, what=f"its {name} are {planned}, those of the suite {own}")
    recipes = {
        task: recipe for keys in replanned.keys.values() for task, recipe in keys.recipes.items()
    }
    for task, recipe in recipes.items():
        if task in manifest.recipes and manifest.recipes[task] != asdict(recipe):
            yield Finding(where=where, what=f"its recipe of {task} is not that of the suite")
    for name, stored in manifest.datasets.items():
        is_here = name in registry.datasets and datasets.is_available(name)
        if is_here and datasets.hash(name) != stored:
            yield Finding(where=where, what=f"its data of {name} are not those that are here")
    for cell_id in replanned.stale:
        what = "its key is not what the plugins, data and recipe here give it"
        yield Finding(where=cell_id, what=what)
    yield from _audit_entries(replanned, registry, datasets)


def _audit_entries(
    replanned: Replanned, registry: Registry, datasets: DatasetLoader
) -> Iterator[Finding]:
    """Find entries that are not what their plugins say of themselves."""
    manifest = replanned.manifest
    skips = SkipAnswers(registry, datasets, session.inspect_network)
    for entry in manifest.entries:
        try:
            plugin = registry.with_composition(entry.name).entry("regularizers", entry.name)
        except MembenchError:
            continue  # it is not here, and its cells are not sampled
        for name in ("group", "strengths", "limits"):
            if getattr(entry, name) != getattr(plugin, name):
                yield Finding(where=entry.name, what=f"its {name} are not those of its plugin")
        for task in manifest.tasks:
            dataset, architecture = task.split("/")
            if architecture not in registry.architectures or dataset not in registry.datasets:
                continue
            reason = None
            if plugin.has_skip:
                reason = skips.reason(dataset, architecture, entry.name)
            if (task in entry.skipped) != (reason is not None):
                answer = "cannot act" if reason else "can act"
                yield Finding(where=entry.name, what=f"its plugin {answer} on {task}")


def audit_records(
    replanned: Replanned, records: Iterable[Record], datasets: DatasetLoader
) -> Iterator[Finding]:
    """Find records that do not fit their cell, their seed or themselves.

    Args:
        replanned: the plan whose cells they are of, made again.
        records: of these cells.
        datasets: what the seeds draw from.
    """
    ids = {key: cell_id for cell_id, key in replanned.manifest.cells.items()}
    draws = Draws(replanned, datasets)
    measured = []
    for record in records:
        cell_id = ids[record.key]
        cell = replanned.cells.get(cell_id)
        if cell is None:
            continue  # stale or unknown, which the plan's audit has said
        for what in _faults(record, cell, replanned, draws):
            yield Finding(where=cell_id, what=what)
        if record.status == "ok":
            measured.append(record)
    yield from _other_costs(measured)
    yield from _other_processes(measured)
    yield from _copies(measured, draws)


class Draws:
    """The data that the cells of a plan train on, drawn again, each sample once."""

    def __init__(self, replanned: Replanned, datasets: DatasetLoader) -> None:
        self._suite = replanned.suite
        self._datasets = datasets
        self.of = cache(self._draw)

    def of_record(self, record: Record) -> RunOutline | None:
        """Return what a record's cell trains on; None where the data are not here."""
        return self.of(record.cell.task, record.signal, record.seed)

    def _draw(self, task: str, signal: str, seed: int) -> RunOutline | None:
        split = split_of(self._suite, task.partition("/")[0])
        try:
            return self._datasets.draw(split, signal, task, seed)
        except MembenchError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None  # training will say what is missing
            raise


def _faults(record: Record, cell: Cell, replanned: Replanned, draws: Draws) -> Iterator[str]:
    """Say what is wrong with one record."""
    if record.id != cell.id or record.cell != cell:
        yield f"its record is of {record.cell.id}"
        return
    if record.env != digest(record.versions):
        yield "its environment is not the hash of its `versions`"
    if record.status not in ("ok", "diverged"):
        return
    keys = replanned.keys[cell.id]
    recipe, split = keys.recipes[cell.task], split_of(keys.suite, cell.dataset)
    steps = recipe.steps(split.trained)
    run = draws.of_record(record)
    if run is not None:
        yield from _faults_of_data(record, run)
    if (record.num_train, record.num_test) != (split.train, split.test):
        yield "it is of other numbers of images than the suite's"
    if record.status == "diverged":
        if record.epochs or not 0 <= record.steps <= steps:
            yield "it diverged and has readings, or more steps than its recipe"
        return
    if record.steps != steps:
        yield f"it took {record.steps} steps, its recipe takes {steps}"
    asked_for = epochs_read(keys.suite, cell, recipe)
    expected = [
        epochs_to_read(recipe.epochs, plain=cell.regularizer == "none", cost=cost, read=asked_for)
        for cost in (record.cost, record.cost - COST_DIGITS, record.cost + COST_DIGITS)
    ]
    tested = {e for e, value in zip(record.epochs, record.test, strict=False) if value is not None}
    if (set(record.epochs), tested) not in expected or list(record.epochs) != sorted(record.epochs):
        yield "it was read at other epochs than the suite reads"
        return
    yield from _faults_of_readings(record, split.validation)
    if run is not None:
        yield from _faults_of_wrong_labels(record, run)


def _faults_of_data(record: Record, run: RunOutline) -> Iterator[str]:
    """Compare what a record says of its data with what its seed draws."""
    stored = record.arrays, record.num_wrong, record.label_share
    if stored != (run.digest, int(run.wrong.sum()), run.label_share):
        yield "its data are not those that its seed draws: `arrays`, `num_wrong` or `label_share`"


def _faults_of_readings(record: Record, validation: int) -> Iterator[str]:
    """Compare a record's curves with one another, with its counts and with its bits."""
    curves = {"train": record.train, "val": record.val, "test": record.test, "wrong": record.wrong}
    sizes = {
        "train": record.num_train,
        "val": validation,
        "test": record.num_test,
        "wrong": record.num_wrong,
    }
    if any(len(curve) != len(record.epochs) for curve in (record.loss, *curves.values())):
        yield "its curves are not as long as its epochs"
        return
    for name, curve in curves.items():
        for value in curve:
            if value is not None and not _is_share(value, sizes[name]):
                yield f"`{name}` has {value!r}, which is no share of {sizes[name]}"
                break
    for name, bits in (("train", record.train_bits), ("test", record.test_bits)):
        if _count(bits, sizes[name]) != curves[name][-1]:
            yield f"`{name}` ends at {curves[name][-1]!r}, `{name}_bits` have another share"
    for loss, fit in zip(record.loss, record.train, strict=True):
        if loss < (1 - fit) * LEAST_LOSS - LOSS_SLACK:
            yield f"a loss of {loss:.6g} is too small for an accuracy of {fit:.6g} on the same"
            break


def _faults_of_wrong_labels(record: Record, run: RunOutline) -> Iterator[str]:
    """Compare the share of wrong labels that are predicted with the bits of the training set."""
    if not run.wrong.any():
        if any(value is not None for value in record.wrong):
            yield "it has a share of wrong labels, and no label of its data is wrong"
        return
    right = unpack_bits(record.train_bits, record.num_train)
    if right is None or record.wrong[-1] is None:
        return  # said of the bits, or of the epochs
    if abs(float(right[run.wrong].mean()) - record.wrong[-1]) > SHARE_SLACK:
        yield f"`wrong` ends at {record.wrong[-1]!r}, `train_bits` have another share"


def _other_costs(records: Sequence[Record]) -> Iterator[Finding]:
    """Find records whose cost is not that of the other runs of their program."""
    groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.env, record.cell.task, record.regularizer].append(record)
    for group in groups.values():
        costs = sorted(record.cost for record in group)
        usual = costs[len(costs) // 2]
        for record in group:
            if record.cost != usual:
                what = f"its cost is {record.cost}, that of {record.regularizer} is {usual}"
                yield Finding(where=record.id, what=what)


def _other_processes(records: Sequence[Record]) -> Iterator[Finding]:
    """Find records that lack or have another digest than those they were trained with.

    One process made them all, and a record without the digest would be held to an interval alone.
    """
    first_of: dict[tuple[str, str], Record] = {}
    for record in records:
        first = first_of.setdefault((record.env, record.pack), record)
        if first.numerics != record.numerics:
            what = f"`numerics` differ from those of {first.id}, which is of the same pack"
            yield Finding(where=record.id, what=what)


def _copies(records: Sequence[Record], draws: Draws) -> Iterator[Finding]:
    """Find records of other seeds or signals that are right on exactly the same test images.

    The test images are the same for all seeds. Two networks that learned from other images agree
    on every one of them if both give one answer to all, or none is wrong; else hardly ever.
    """
    first_of: dict[tuple[str, str], Record] = {}
    for record in records:
        first = first_of.setdefault((record.cell.task, record.test_bits), record)
        if (first.signal, first.seed) == (record.signal, record.seed):
            continue  # of one seed, two weak strengths may well give the same
        run = draws.of_record(record)
        if run is None or record.test[-1] is None:
            continue
        right = round(record.test[-1] * record.num_test)
        if run.commonest + COPIED_IMAGES <= right <= record.num_test - COPIED_IMAGES:
            what = f"it is right on exactly the test images that {first.id} is right on"
            yield Finding(where=record.id, what=what)


def _is_share(value: float, size: int) -> bool:
    """Tell whether a number is a count of `size` things over `size`."""
    count = value * size
    return size > 0 and 0 <= value <= 1 and abs(count - round(count)) <= SHARE_SLACK * size


def _count(text: str, size: int) -> float | None:
    """Return the share of bits that are set; None if they are not of so many images."""
    bits = unpack_bits(text, size)
    return None if bits is None else float(bits.mean())

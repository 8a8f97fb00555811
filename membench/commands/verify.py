"""`membench verify [ENTRY]`: train a random sample of a board's cells here, and compare.

First all that needs no training is asked of every record (`audit`). Then cells are drawn, trained
as their records say, and compared: bit by bit where this process computes as the one that made the
record did (`membench.engine.numerics`), else by prediction intervals
(`membench.scoring.verification`). `--fresh` reads a row anew instead (`confirm`).
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from membench.commands import session
from membench.commands.boards import Board
from membench.commands.boards import is_of_cpu
from membench.commands.boards import is_sound
from membench.commands.boards import precision_of
from membench.commands.boards import read_boards
from membench.commands.boards import train_packs
from membench.commands.confirm import confirm
from membench.commands.engines import Engine
from membench.commands.engines import open_engine
from membench.commands.selection import names_in_manifest
from membench.commands.words import say
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.execution.strangers import StrangersApart
from membench.planning.inputs import DatasetLoader
from membench.planning.manifest import Replanned
from membench.planning.packs import Pack
from membench.planning.plan import epochs_read
from membench.planning.select import compile_expression
from membench.planning.suites import split_of
from membench.records import Record
from membench.records import digest
from membench.store.store import MEASURED
from membench.store.store import Store
from membench.store.store import metrics

if TYPE_CHECKING:
    from membench.engine.machine import Machine
    from membench.scoring.verification import Deviation

FORGED_SHARE = 0.01  #: of the cells, for which the output says how likely a sample meets one
SAMPLE_SEEDS = 1 << 32  #: how many samples there are of one size


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A record that was drawn, or that is of a pack of one."""

    board: Board
    record: Record

    @property
    def id(self) -> str:
        """The id of its cell."""
        return self.board.ids[self.record.key]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the training of a cell says of its record."""

    drawn: Drawn
    agrees: bool | None  #: None: nothing can be said
    same_bits: bool  #: it was compared bit by bit
    words: str
    deviations: tuple[Deviation, ...] = ()  #: of a record that was held to intervals


def verify(options: argparse.Namespace) -> int:
    """Train a sample of a board's cells, or read a row anew, and compare.

    Returns:
        0; 1 if something disagrees; 2 if interrupted.

    Raises:
        MembenchError: a name is unknown, or there is nothing to verify (exit 5).
    """
    with closing(open_engine(options)) as engine:
        strangers = StrangersApart(engine.sandbox, options.data_dir)
        with closing(strangers):
            return _verify(options, engine, strangers)


def _verify(options: argparse.Namespace, engine: Engine, strangers: StrangersApart) -> ExitCode:
    if options.fresh and options.entry is None:
        raise MembenchError("--fresh: say whose row, as in `membench verify dropout --fresh`")
    registry = session.load_registry(options, strangers.read if engine.sandbox else None)
    say("reading the records")
    contents = Store(options.out / "records").read(damaged_ok=True)
    boards = read_boards(options, registry, contents)
    known = {entry.name for board in boards for entry in board.manifest.entries}
    if options.entry is not None and options.entry not in known:
        raise unknown_name(f"entry in {options.out}", options.entry, known)
    datasets = DatasetLoader(registry, options.data_dir, needed=False, strangers=strangers)
    if not is_sound(boards, contents, registry, datasets):
        return ExitCode.FAILED
    if options.fresh:
        return confirm(boards, options, datasets, engine)
    candidates = _candidates(boards, options)
    sample = _draw(candidates, options)
    trained = _train(sample, options, datasets, engine)
    if trained is None:
        return ExitCode.INTERRUPTED
    verdicts = judge(_with_neighbours(sample, trained), trained)
    return _report(verdicts, {drawn.record.key for drawn in sample})


# --- the sample ----------------------------------------------------------------------------------


def _candidates(boards: Sequence[Board], options: argparse.Namespace) -> list[Drawn]:
    """Return the records that the entry and `-k` select, in a definite order.

    Raises:
        MembenchError: nothing is selected (exit 5).
    """
    candidates = []
    for board in boards:
        selects = compile_expression(options.expression or "", names_in_manifest(board.manifest))
        for record in board.records:
            drawn = Drawn(board=board, record=record)
            if drawn.id not in board.replanned.cells or not selects(drawn.id):
                continue
            if options.entry in (None, record.regularizer):
                candidates.append(drawn)
    if not candidates:
        raise MembenchError(
            f"no measured cell in {options.out} is selected whose plugins are here",
            ExitCode.NOTHING,
        )
    return sorted(candidates, key=lambda drawn: (drawn.id, drawn.record.key, drawn.record.env))


def _draw(candidates: Sequence[Drawn], options: argparse.Namespace) -> list[Drawn]:
    """Draw the cells, and say what the sample is worth."""
    from membench.scoring.verification import chance_to_meet

    size = min(options.cells, len(candidates))
    seed = options.sample_seed
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "big") % SAMPLE_SEEDS
    places = np.random.default_rng(seed).choice(len(candidates), size=size, replace=False)
    forged = max(1, round(FORGED_SHARE * len(candidates)))
    chance = chance_to_meet(len(candidates), forged, size)
    share = "in one cell of a hundred" if forged > 1 else "in one of the cells"
    print(
        f"{size:,} of {len(candidates):,} cells, drawn with --sample-seed {seed}: "
        f"a forgery {share} ({forged}) is met with probability {100 * chance:.3g} %"
    )
    return [candidates[place] for place in sorted(places)]


# --- training ------------------------------------------------------------------------------------


def _train(
    sample: Sequence[Drawn],
    options: argparse.Namespace,
    datasets: DatasetLoader,
    engine: Engine,
) -> dict[tuple[str, str], Record] | None:
    """Train the packs of a sample as their records say.

    Args:
        sample: what was drawn.
        options: of the command.
        datasets: what is trained on.
        engine: trains the packs.

    Returns:
        (key, precision) -> record; None if the training was interrupted.
    """
    options.device = _device(options.device, [drawn.record for drawn in sample])
    for name in dict.fromkeys(drawn.record.dataset for drawn in sample):
        datasets.arrays(name)  # raises where they are not here
    packs = _packs(sample, engine.machine)
    trained: dict[tuple[str, str], Record] = {}
    by_precision: dict[str, list[Pack]] = defaultdict(list)
    for pack in packs:
        by_precision[pack.precision].append(pack)
    for precision, group in by_precision.items():
        # a store of its own, since a key may come once from each precision
        with TemporaryDirectory(prefix="membench-verify-") as folder:
            store = Store(Path(folder) / "records")
            if not train_packs(group, store, options, datasets.registry, engine):
                return None
            for (key, _), record in store.read().records.items():
                trained[key, precision] = record
    return trained


def _device(asked_for: str, records: Iterable[Record]) -> str:
    """Return where to train: as the records were, unless the user says otherwise."""
    if asked_for != "auto":
        return asked_for
    return "cpu" if any(is_of_cpu(record) for record in records) else "auto"


def _packs(sample: Sequence[Drawn], machine: Machine) -> list[Pack]:
    """Make the packs that have the sample's cells.

    Where bits are to be compared, the whole pack is trained that the record was trained in. A
    compiled lane is the same in packs of all widths from two on, but one lane alone is another
    program: on a CPU with AMX its bfloat16 products differ in last bits.
    """
    packs: dict[tuple[object, ...], tuple[Drawn, dict[str, None]]] = {}
    for drawn in sample:
        record, replanned = drawn.record, drawn.board.replanned
        keys = replanned.keys[drawn.id]
        precision = precision_of(record)
        (here, *_) = machine.environments(keys.suite.compiled, precision)
        if record.numerics and digest(here) == record.env:
            group: tuple[object, ...] = (replanned.manifest.suite, record.env, record.pack)
            _, ids = packs.setdefault(group, (drawn, {}))
            ids.update(dict.fromkeys(_neighbours(drawn)))
        else:
            group = (replanned.manifest.suite, precision, _program(replanned, drawn.id))
            _, ids = packs.setdefault(group, (drawn, {}))
        ids[drawn.id] = None
    return [
        drawn.board.replanned.pack(list(ids), precision=precision_of(drawn.record))
        for drawn, ids in packs.values()
    ]


def _program(replanned: Replanned, cell_id: str) -> tuple[object, ...]:
    """Return what cells must have in common to train stacked."""
    cell, keys = replanned.cells[cell_id], replanned.keys[cell_id]
    read = epochs_read(keys.suite, cell, keys.recipes[cell.task])
    return cell.task, cell.regularizer, keys.suite.probes, read


def _neighbours(drawn: Drawn) -> list[str]:
    """List the cells of the pack that a record was trained in, as far as the board has them."""
    replanned, record = drawn.board.replanned, drawn.record
    program = _program(replanned, drawn.id)
    found = []
    for other in drawn.board.records:
        cell_id = drawn.board.ids[other.key]
        beside = (other.env, other.pack) == (record.env, record.pack)
        if beside and cell_id in replanned.cells and _program(replanned, cell_id) == program:
            found.append(cell_id)
    return found


def _with_neighbours(
    sample: Sequence[Drawn], trained: Mapping[tuple[str, str], Record]
) -> list[Drawn]:
    """Return the sample, and the other records of the packs that were trained whole."""
    known = {(drawn.record.key, drawn.record.env) for drawn in sample}
    found = list(sample)
    for board in {id(drawn.board): drawn.board for drawn in sample}.values():
        for record in board.records:
            here = trained.get((record.key, precision_of(record)))
            if here is None or (record.key, record.env) in known:
                continue
            if is_comparable_bitwise(record, here):
                found.append(Drawn(board=board, record=record))
    return found


# --- comparing -----------------------------------------------------------------------------------


def is_comparable_bitwise(stored: Record, here: Record) -> bool:
    """Tell whether both were trained by processes that compute the same bits."""
    return bool(stored.numerics) and (stored.env, stored.numerics) == (here.env, here.numerics)


def judge(drawn: Sequence[Drawn], trained: Mapping[tuple[str, str], Record]) -> list[Verdict]:
    """Compare records with those of the same cells that were trained here.

    Args:
        drawn: the records.
        trained: (key, precision) -> what was trained here.
    """
    from membench.scoring.verification import Spreads
    from membench.scoring.verification import hold

    verdicts: list[Verdict] = []
    to_hold: list[tuple[Drawn, Record]] = []
    for one in drawn:
        here = trained.get((one.record.key, precision_of(one.record)))
        verdict = _judge_alone(one, here)
        if verdict is not None:
            verdicts.append(verdict)
        elif here is not None:
            to_hold.append((one, here))
    spreads: dict[tuple[str, str], Spreads] = {}
    triples = []
    for one, here in to_hold:
        board, env = one.board, one.record.env
        suite = board.replanned.suite
        if (suite.name, env) not in spreads:
            validation = {name: split_of(suite, name).validation for name in suite.splits}
            records = [record for record in board.records if record.env == env]
            spreads[suite.name, env] = Spreads(records, validation)
        triples.append((one.record, here, spreads[suite.name, env]))
    held = hold(triples)
    for (one, _), deviations in zip(to_hold, held, strict=True):
        verdicts.append(_held(one, deviations))
    order = {(one.record.key, one.record.env): place for place, one in enumerate(drawn)}
    return sorted(verdicts, key=lambda v: order[v.drawn.record.key, v.drawn.record.env])


def _judge_alone(one: Drawn, here: Record | None) -> Verdict | None:
    """Compare two records, unless that takes an interval: None then."""
    stored = one.record
    if here is None:
        return Verdict(drawn=one, agrees=None, same_bits=False, words="was not trained")
    if is_comparable_bitwise(stored, here) and here.status in MEASURED:
        mine, its = metrics(here), metrics(stored)
        fields = [name for name in sorted({*mine, *its}) if mine.get(name) != its.get(name)]
        words = f"other bits in {', '.join(fields)}" if fields else "the same bits"
        return Verdict(drawn=one, agrees=not fields, same_bits=True, words=words)
    ended = f"it ended {_end(stored)} there, {_end(here)} here"
    if here.status not in MEASURED:
        return Verdict(drawn=one, agrees=False, same_bits=False, words=ended)
    if stored.status not in MEASURED:
        # a dead worker or a slow machine says nothing of another one; an error of a plugin does
        accident = stored.status == "timeout" or not stored.versions
        return Verdict(drawn=one, agrees=None if accident else False, same_bits=False, words=ended)
    if stored.status != here.status:
        usual = _others_diverged(one)
        return Verdict(drawn=one, agrees=None if usual else False, same_bits=False, words=ended)
    if stored.status != "ok":
        return Verdict(drawn=one, agrees=True, same_bits=False, words=f"{stored.status}, as there")
    return None


def _end(record: Record) -> str:
    return f"{record.status} ({record.reason})" if record.reason else record.status


def _others_diverged(one: Drawn) -> bool:
    """Tell whether another run of the setting, of any seed and signal, diverged on the board."""
    setting = one.record.cell.task, one.record.setting
    return any(
        other.status == "diverged" and (other.cell.task, other.setting) == setting
        for other in one.board.records
        if other.key != one.record.key
    )


def _held(one: Drawn, deviations: Sequence[Deviation]) -> Verdict:
    """Say how a record did that was held to intervals."""
    held = [deviation for deviation in deviations if deviation.is_held]
    outside = [deviation for deviation in held if not deviation.agrees]
    final = [deviation for deviation in held if deviation.is_final]
    words = "; ".join(_words(deviation) for deviation in outside or final)
    return Verdict(
        drawn=one,
        agrees=not outside if final else None,
        same_bits=False,
        words=words or "the board has too few other runs to say how far it may lie",
        deviations=tuple(deviations),
    )


def _words(deviation: Deviation) -> str:
    at = "" if deviation.is_final else f" at epoch {deviation.epoch}"
    relation = "within" if deviation.agrees else "outside"
    return (
        f"{deviation.reading}{at} {deviation.stored:.3f} there, {deviation.here:.3f} here, "
        f"{relation} {deviation.low:.3f} to {deviation.high:.3f}"
    )


# --- what is printed -----------------------------------------------------------------------------


def _report(verdicts: Sequence[Verdict], drawn: set[str]) -> ExitCode:
    """Print the verdicts and what they come to.

    Args:
        verdicts: of the sample, and of what was trained beside it.
        drawn: keys of the sample; of the other records only those that disagree are shown.
    """
    marks = {True: "agrees", False: "DISAGREES", None: "not held"}
    for verdict in verdicts:
        if verdict.agrees is not True or verdict.drawn.record.key in drawn:
            print(f"{marks[verdict.agrees]}  {verdict.drawn.id}: {verdict.words}")
    bitwise = [verdict for verdict in verdicts if verdict.same_bits and verdict.agrees]
    beside = sum(verdict.drawn.record.key not in drawn for verdict in verdicts)
    within = [v for v in verdicts if v.agrees and not v.same_bits]
    against = [verdict for verdict in verdicts if verdict.agrees is False]
    parts = [f"{len(bitwise)} have the bits of their records"]
    if beside:
        parts[0] += f" ({beside} of all were trained beside the sample)"
    parts.append(f"{len(within)} agree within what is expected on another machine")
    undecided = sum(verdict.agrees is None for verdict in verdicts)
    if undecided:
        parts.append(f"{undecided} could not be held")
    print(f"{', '.join(parts)}; {len(against)} disagree")
    for line in _blindness(verdicts):
        print(line)
    return ExitCode.FAILED if against else ExitCode.OK


def _blindness(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Say which forgeries would not have been seen."""
    halves: dict[str, list[float]] = defaultdict(list)
    for verdict in verdicts:
        for deviation in verdict.deviations:
            if deviation.is_final:
                halves[deviation.reading].append(deviation.half)
    if not halves:
        return
    parts = []
    for reading, widths in sorted(halves.items()):
        usual, largest = float(np.median(widths)), max(widths)
        parts.append(f"{reading} by ± {usual:.3f} (at most ± {largest:.3f})")
    yield (
        "a record that was made by another process is held to intervals, with an error of 1 % for "
        f"all together: a last reading that was changed less is not seen, of {'; '.join(parts)}"
    )

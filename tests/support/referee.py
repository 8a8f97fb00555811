"""An independent recomputation of a board, from membench/scoring/README.md and the record format.

It shares no code with `membench.scoring`: plain loops, one number at a time, so that the tests can
hold the two against each other. Only records and manifests are read through `membench.records`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.records import parse_signal

LESS, STOPPING = "training less", "early stopping"
FAILED = ("failed", "timeout", "diverged")
Strength = tuple[float, ...]
Run = tuple[str, int]  #: signal and seed
Key = tuple[str, str]


@dataclass(kw_only=True)
class Read:
    """One run, as it counts: the readings of README, Readings; None where it has none."""

    V: float | None = None
    A: float | None = None
    fit: float | None = None
    M: float | None = None
    q: float | None = None


@dataclass(kw_only=True)
class Plain:
    """`none` on one task in one environment, at the seeds of one phase that count."""

    seeds: list[int]
    dropped: dict[int, str]
    records: dict[Run, Record]
    read: dict[Run, Read]

    @property
    def first(self) -> Record:
        """Any record, for what all have in common."""
        return self.records["real", self.seeds[0]]


@dataclass(kw_only=True)
class Option:
    """A strength on the choosing seeds: a candidate of the choice."""

    label: str
    strength: Strength = ()
    epoch: int | None = None  #: of `none` read early
    read: dict[Run, Read]
    failed: int = 0  #: runs at the seeds that count


@dataclass(kw_only=True)
class Value:
    """A reading of one row on one task: x, e_s, f and u of README, Intervals."""

    x: float
    e: np.ndarray
    f: float
    u: float = 0.0

    @property
    def n(self) -> int:
        """The number of seeds."""
        return len(self.e)

    @property
    def variance(self) -> float:
        """v_t."""
        return max(float(np.var(self.e, ddof=1)), self.f**2, self.u) / self.n

    def minus(self, other: Value) -> Value:
        """The paired difference."""
        return Value(
            x=self.x - other.x,
            e=self.e - other.e,
            f=max(self.f, other.f),
            u=self.u + other.u,
        )


@dataclass(kw_only=True)
class Sum:
    """A weighted mean over tasks with its error."""

    mean: float
    error: float = float("nan")
    freedom: float = float("nan")

    @property
    def half(self) -> float:
        """The half-width of the 95% interval."""
        return float(stats.t.ppf(0.975, self.freedom) * self.error)

    @property
    def bound(self) -> float:
        """The one-sided 95% bound from below."""
        return float(self.mean - stats.t.ppf(0.95, self.freedom) * self.error)

    def p_above(self, bound: float = 0.0) -> float:
        """The one-sided p of "not above the bound"."""
        return float(stats.t.sf((self.mean - bound) / self.error, self.freedom))


def add_up(parts: Iterable[tuple[float, float, list[tuple[float, int]]]]) -> Sum:
    """Average over tasks: (w_t, x_t, the variances that make v_t, each with its freedom)."""
    mean, variance, squares = 0.0, 0.0, 0.0
    for weight, x, variances in parts:
        mean += weight * x
        for v, freedom in variances:
            variance += weight**2 * v
            squares += (weight**2 * v) ** 2 / freedom
    return Sum(mean=mean, error=variance**0.5, freedom=variance**2 / squares)


@dataclass(kw_only=True)
class Setting:
    """A row on one task at the strength that one question chose, on the confirming seeds."""

    label: str
    strength: Strength
    edge: bool
    values: dict[str, Value]  #: "H", "S", "dA", "R" and "noisy mixed@0.4"
    A: dict[float, float]  #: p -> mean accuracy
    M: dict[float, float]
    fit: float | None
    runs: int
    failed: int
    cost: float
    equal: dict[str, float]  #: "H" and "R" at equal compute, if they were read
    extra: dict[str, float]
    image_terms: np.ndarray | None


@dataclass(kw_only=True)
class Place:
    """A row on one task in one environment."""

    env: str
    complete: bool
    options: list[Option]
    chosen: tuple[int, int] | None  #: places by noise held back and by recovery
    settings: tuple[Setting, Setting] | None = None
    skipped: str = ""
    cells: int = 0
    done: int = 0
    failed: int = 0


@dataclass(kw_only=True)
class Line:
    """A row of the board; the names are those of `membench.scoring.types.Row`."""

    name: str
    group: str
    places: dict[str, Place]
    ranked: bool = False
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Verdict:
    """What the recomputation says: gates by task, rows by name, and the order of the ranked."""

    gates: dict[str, dict[str, Any]]
    lines: dict[str, Line]
    order: list[str]
    has_ranks: bool


class Referee:
    """Recompute one board."""

    def __init__(self, manifest: Manifest, records: Iterable[Record]) -> None:
        self.manifest = manifest
        self.signals = self._signals()
        self.by_env = self._by_environment(list(records))
        self.entries = {entry.name: entry for entry in manifest.entries}
        self.rows = self._rows()
        self._plain: dict[tuple[str, str, bool], Plain | None] = {}
        self._places: dict[tuple[str, str, str], Place] = {}

    # --- records ----------------------------------------------------------------------------------

    def _signals(self) -> list[str]:
        """List the signals: real, the noisy ones, randY, others."""
        mixed = []
        for signal in self.manifest.signals:
            name, level = parse_signal(signal)
            if name == "mixed" and level:
                mixed.append((level, signal))
        noisy = [signal for _, signal in sorted(mixed)] or list(self.manifest.noisy)
        self.clean = 1 + len(noisy)
        self.random = ["randY"] if "randY" in self.manifest.signals else []
        needed = ["real", *noisy, *self.random]
        return needed + sorted(set(self.manifest.signals) - set(needed))

    @property
    def graded(self) -> list[str]:
        """The signals of P."""
        return self.signals[: self.clean]

    def _by_environment(self, records: list[Record]) -> dict[str, dict[str, Record]]:
        """Sort the records of planned cells by environment, in the order of the manifest."""
        planned = set(self.manifest.cells.values())
        own: dict[str, dict[str, Record]] = {}
        nameless = []
        for record in records:
            if record.key not in planned:
                continue
            if not record.versions:
                nameless.append(record)
            elif not self.manifest.alone or record.env in self.manifest.alone:
                own.setdefault(record.env, {}).setdefault(record.key, record)
        order = [env for env in self.manifest.envs if env in own]
        order += sorted(set(own) - set(order))
        found = {env: own[env] for env in order}
        for of_env in found.values():
            for record in nameless:
                of_env.setdefault(record.key, record)
        return found

    def _rows(self) -> dict[str, tuple[Entry, tuple[Strength, ...]]]:
        """Name the rows of entries: name -> the entry and its grid."""
        rows: dict[str, tuple[Entry, tuple[Strength, ...]]] = {}
        for entry in self.manifest.entries:
            if entry.name == "none":
                continue
            if entry.strengths or not entry.full:
                rows[entry.name] = entry, entry.strengths
            if entry.full:
                rows[f"{entry.name} (full)"] = entry, entry.full
        rows.setdefault("low-lr", (Entry("low-lr", "control", ()), ()))
        return rows

    def find(
        self, env: str, task: str, name: str, strength: Strength, seeds: Iterable[int]
    ) -> dict[Run, Record]:
        """Find the records of one setting."""
        dataset, architecture = task.split("/")
        found = {}
        for seed in seeds:
            for signal in self.signals:
                cell = Cell(dataset, architecture, name, strength, signal, seed)
                record = self.by_env[env].get(self.manifest.cells.get(cell.id, ""))
                if record is not None:
                    found[signal, seed] = record
        return found

    # --- readings ---------------------------------------------------------------------------------

    def plain(self, env: str, task: str, is_choosing: bool) -> Plain | None:
        """Read `none` in one phase; None if it has not run there or no seed counts."""
        key = env, task, is_choosing
        if key not in self._plain:
            self._plain[key] = self._read_plain(*key)
        return self._plain[key]

    def _read_plain(self, env: str, task: str, is_choosing: bool) -> Plain | None:
        seeds = self.manifest.choosing if is_choosing else self.manifest.confirming
        records = self.find(env, task, "none", (), seeds)
        if len(records) < len(seeds) * len(self.signals):
            return None
        plain = Plain(seeds=[], dropped={}, records=records, read={})
        for seed in seeds:
            bad = []
            for signal in [*self.graded, *self.random]:
                record = records[signal, seed]
                if record.status != "ok":
                    because = f", {record.reason}" if record.reason else ""
                    bad.append(f"{record.id}: {record.status}{because}")
            if bad:
                plain.dropped[seed] = "; ".join(bad)
            else:
                plain.seeds.append(seed)
        for (signal, seed), record in records.items():
            read = self.read_at(record, -1) if record.status == "ok" else Read()
            if signal in self.graded[1:] and read.M is None:
                read.M = 0.0
            plain.read[signal, seed] = read
        return plain if plain.seeds else None

    def read_at(self, record: Record, place: int) -> Read:
        """Read a run at one of its epochs."""

        def at(curve: tuple[float | None, ...]) -> float | None:
            return curve[place] if curve else None

        A = at(record.test)
        q = None if A is None else (1 - A) / (record.num_classes - 1)
        return Read(V=at(record.val), A=A, fit=at(record.train), M=at(record.wrong), q=q)

    def effective(self, plain: Plain, records: dict[Run, Record]) -> dict[Run, Read]:
        """Read the runs of a setting as they count (README, Runs that did not end)."""
        K = plain.first.num_classes
        counted = {}
        for run, record in records.items():
            if run[1] not in plain.seeds:
                continue
            of_none = plain.read[run]
            if record.status == "skipped":
                read = of_none
            elif record.status in FAILED:
                fit = 1 / K if run[0] == "real" else of_none.fit
                read = Read(V=1 / K, A=1 / K, fit=fit, M=of_none.M, q=of_none.q)
            else:
                read = self.read_at(record, -1)
                for name in ("V", "A", "fit", "M", "q"):
                    if getattr(read, name) is None:
                        setattr(read, name, getattr(of_none, name))
            counted[run] = read
        return counted

    def none_at(self, plain: Plain, epoch: int) -> dict[Run, Read]:
        """Read `none` at an epoch, where it was stored."""
        read = {}
        for run, record in plain.records.items():
            if record.status == "ok" and run[1] in plain.seeds and epoch in record.epochs:
                read[run] = self.read_at(record, record.epochs.index(epoch))
                if run[0] in self.graded[1:] and read[run].M is None:
                    read[run].M = 0.0
        return read

    # --- choices ----------------------------------------------------------------------------------

    def options(self, env: str, task: str, name: str) -> tuple[list[Option], dict[str, Any]]:
        """List the candidates of a row on the choosing seeds, off first, and count its cells."""
        entry, grid = self.rows[name]
        grid = () if task in entry.skipped else grid
        seeds = self.manifest.choosing
        cells = len(grid) * len(seeds) * len(self.signals)
        found = [self.find(env, task, entry.name, strength, seeds) for strength in grid]
        records = [record for of_strength in found for record in of_strength.values()]
        skipped = entry.skipped.get(task, "")
        if not skipped and records and all(record.status == "skipped" for record in records):
            skipped = min(record.reason for record in records) or "skipped"
        facts = {
            "cells": cells,
            "done": len(records),
            "failed": sum(record.status in FAILED for record in records),
            "skipped": skipped,
        }
        plain = self.plain(env, task, True)
        if plain is None:
            return [], facts
        off = {run: read for run, read in plain.read.items() if run[1] in plain.seeds}
        options = [Option(label="off", read=off)]
        if name == "low-lr":
            for epoch in self.early_epochs(plain):
                read = self.none_at(plain, epoch)
                options.append(Option(label=f"epoch {epoch}", epoch=epoch, read=read))
        for strength, of_strength in zip(grid, found, strict=True):
            read = self.effective(plain, of_strength)
            if len(read) < len(plain.seeds) * len(self.signals):
                continue
            label = ",".join(f"{value:.6g}" for value in strength)
            if name == "low-lr":
                label = f"{strength[0]:.3g} plain steps"
            failed = 0
            for run, record in of_strength.items():
                failed += run[1] in plain.seeds and record.status in FAILED
            options.append(Option(label=label, strength=strength, read=read, failed=failed))
        return options, facts

    def early_epochs(self, plain: Plain) -> list[int]:
        """List the earlier epochs at which `none` can be read, from the latest to the earliest."""
        common: set[int] | None = None
        for seed in plain.seeds:
            for signal in [*self.graded, *self.random]:
                record = plain.records[signal, seed]
                epochs = set()
                for epoch, accuracy in zip(record.epochs, record.test, strict=True):
                    if signal == "randY" or accuracy is not None:
                        epochs.add(epoch)
                common = epochs if common is None else common & epochs
        last = plain.first.epochs[-1]
        return sorted((epoch for epoch in common or () if epoch < last), reverse=True)

    def choose(self, plain: Plain, options: list[Option]) -> tuple[int, int]:
        """Answer both questions (README, Choice): places among the options."""
        by_H, by_R = [], []
        for place, option in enumerate(options):
            gains = []
            for signal in self.graded:
                each = [option.read[signal, s].V - plain.read[signal, s].V for s in plain.seeds]
                gains.append(float(np.mean(each)))
            H = min(self.measure_H(plain, option.read).x, 1.0)
            allowed = gains[0] >= -0.005 - 1e-9 and min(gains[1:]) >= -1e-9
            by_H.append(H if allowed or place == 0 else -np.inf)
            by_R.append(sum(gains))
        return _first_best(by_H), _first_best(by_R)

    # --- measures ---------------------------------------------------------------------------------

    def ratio(self, N: np.ndarray, G: np.ndarray, m: list[float]) -> Value:
        """Compute a mean over levels of ratios of means: N and G are [s, j]."""
        x, f = 0.0, 0.0
        e = np.zeros(len(N))
        levels = N.shape[1]
        for j in range(levels):
            of = G[:, j].mean()
            if of <= 0:
                continue
            share = N[:, j].mean() / of
            x += share / levels
            e += (N[:, j] - share * G[:, j]) / of / levels
            f += 1 / (m[j] * of) / levels
        return Value(x=float(x), e=e, f=f)

    def measure_H(self, plain: Plain, read: dict[Run, Read]) -> Value:
        """Compute H."""
        N, G, m = [], [], []
        for signal in self.graded[1:]:
            beyond_0 = np.array([_beyond(plain.read[signal, s]) for s in plain.seeds])
            beyond = np.array([_beyond(read[signal, s]) for s in plain.seeds])
            N.append(beyond_0 - beyond)
            G.append(beyond_0)
            m.append(float(np.mean([plain.records[signal, s].num_wrong for s in plain.seeds])))
        return self.ratio(np.array(N).T, np.array(G).T, [max(count, 1) for count in m])

    def measure(self, plain: Plain, read: dict[Run, Read], fails: tuple[int, int, int]) -> Any:
        """Compute all readings of a setting.

        Args:
            plain: `none` on the same seeds.
            read: of the setting.
            fails: k, r and k' of README, Rare failures.
        """
        K, m = plain.first.num_classes, plain.first.num_test

        def column(reads: dict[Run, Read], signal: str, name: str) -> np.ndarray:
            return np.array([getattr(reads[signal, s], name) for s in plain.seeds], dtype=float)

        A = np.array([column(read, signal, "A") for signal in self.graded])  # [p, s]
        A0 = np.array([column(plain.read, signal, "A") for signal in self.graded])
        G = sum(A0[0] - A0[p] for p in range(1, len(A0)))
        values = {"H": self.measure_H(plain, read)}
        values["R"] = self.ratio((A - A0).sum(0)[:, None], G[:, None], [m])
        lost = 1 / K - A0.mean(1)
        worst = {"H": 0.0, "S": 0.0, "R": lost.sum() / G.mean() if G.mean() > 0 else 0.0}
        for p, signal in enumerate(self.graded):
            name = f"noisy {signal}" if p else "dA"
            points = 100 * (A[p] - A0[p])
            values[name] = Value(x=float(points.mean()), e=points - points.mean(), f=100 / m)
            worst[name] = 100 * lost[p]
        if self.random and all(("randY", s) in read for s in plain.seeds):
            F0, F = column(plain.read, "randY", "fit"), column(read, "randY", "fit")
            c = np.array([plain.records["randY", s].label_share for s in plain.seeds])
            n_train = plain.records["randY", plain.seeds[0]].num_train
            values["S"] = self.ratio((F0 - F)[:, None], (F0 - c)[:, None], [n_train])
        failed, runs, earlier = fails
        if failed + earlier:
            rate = (failed + 1) / (runs + 2)
            for name, value in values.items():
                value.u = rate * (1 - rate) * (value.x - worst[name]) ** 2
        return values

    def further(self, plain: Plain, read: dict[Run, Read]) -> dict[str, float]:
        """Compute the effect on further signals (README, Further signals)."""
        found = {}
        for signal in self.signals[self.clean + len(self.random) :]:
            of_none = [plain.read[signal, s] for s in plain.seeds]
            is_noisy = parse_signal(signal)[1] is not None and any(r.M is not None for r in of_none)
            name = "A" if is_noisy else "fit"
            both = []
            for s in plain.seeds:
                one = getattr(read.get((signal, s), Read()), name)
                other = getattr(plain.read[signal, s], name)
                if one is not None and other is not None:
                    both.append((s, one, other))
            if not both:
                continue
            change = np.mean([one - other for _, one, other in both])
            if is_noisy:
                of = np.mean([plain.read["real", s].A - other for s, _, other in both])
                found[f"R {signal}"] = float(change / of) if of > 0 else 0.0
            else:
                of = np.mean([o - plain.records[signal, s].label_share for s, _, o in both])
                found[f"S {signal}"] = float(-change / of) if of > 0 else 0.0
        return found

    def setting(
        self, env: str, task: str, name: str, options: list[Option], place: int
    ) -> Setting | None:
        """Read a row's choice on the confirming seeds."""
        entry, grid = self.rows[name]
        option = options[place]
        plain = self.plain(env, task, False)
        assert plain is not None
        records = None
        fails = 0, 0, 0
        cost = 1.0
        if option.strength:
            found = self.find(env, task, entry.name, option.strength, self.manifest.confirming)
            records = {run: record for run, record in found.items() if run[1] in plain.seeds}
            read = self.effective(plain, records)
            failed = sum(record.status in FAILED for record in records.values())
            fails = failed, len(records), sum(o.failed for o in options[: place + 1])
            cost = max((r.cost for r in records.values() if r.status == "ok"), default=1.0)
        elif option.epoch is not None:
            read = self.none_at(plain, option.epoch)
        else:
            records = plain.records
            read = {run: r for run, r in plain.read.items() if run[1] in plain.seeds}
        values = self.measure(plain, read, fails)
        equal = {}
        if cost > 1 and records is not None:
            there = self.at_equal_compute(plain, records, cost)
            if there:
                again = self.measure(plain, there, (0, 0, 0))
                equal = {"H": again["H"].x, "R": again["R"].x}
        if name == "low-lr":
            early = [o for o in options[1:] if o.epoch is not None]
            rates = [o for o in options[1:] if o.strength]
            edge = option in (*early[-1:], *rates[-1:])
        else:
            edge = self.is_edge(name, entry, grid, option.strength)
            if place == 1 and option.strength and max(values["H"].x, values["R"].x) <= 0.1:
                edge = False
        return Setting(
            label=option.label,
            strength=option.strength,
            edge=edge,
            values=values,
            **self.means(plain, read),
            runs=fails[1],
            failed=fails[0],
            cost=cost,
            equal=equal,
            extra=self.further(plain, read),
            image_terms=self.image_terms(plain, records, values["R"].x),
        )

    def at_equal_compute(
        self, plain: Plain, records: dict[Run, Record], cost: float
    ) -> dict[Run, Read]:
        """Read the graded runs at the epoch of equal compute; nothing if one was not tested."""
        budget = max(plain.records["real", s].epochs[-1] for s in plain.seeds)
        epoch = max(1, round(budget / cost))
        moved = {}
        for run, record in records.items():
            if record.status != "ok" or run[0] not in self.graded:
                moved[run] = record
                continue
            if epoch not in record.epochs or record.test[record.epochs.index(epoch)] is None:
                return {}
            end = record.epochs.index(epoch) + 1
            names = ("epochs", "train", "loss", "val", "test", "wrong")
            moved[run] = replace(record, **{name: getattr(record, name)[:end] for name in names})
        return self.effective(plain, moved)

    def means(self, plain: Plain, read: dict[Run, Read]) -> dict[str, Any]:
        """Average the plain readings over seeds."""
        A, M = {}, {}
        for signal in self.graded:
            A[signal] = float(np.mean([read[signal, s].A for s in plain.seeds]))
            if signal != "real":
                M[signal] = float(np.mean([read[signal, s].M for s in plain.seeds]))
        fit = None
        if self.random and all(("randY", s) in read for s in plain.seeds):
            fit = float(np.mean([read["randY", s].fit for s in plain.seeds]))
        return {"A": A, "M": M, "fit": fit}

    def is_edge(
        self, name: str, entry: Entry, grid: tuple[Strength, ...], strength: Strength
    ) -> bool:
        """Tell whether a strength is an end of its grid (README, Choice)."""
        if not strength or name == "placebo":
            return False
        limits = entry.limits or (None,) * len(strength)
        if not name.endswith(" (full)"):
            at_limits = all(v == limit for v, limit in zip(strength, limits, strict=True))
            return strength == grid[0] or (strength == grid[-1] and not at_limits)
        for part, value in enumerate(strength):
            its = [setting[part] for setting in grid]
            if value == its[0] or (value == its[-1] and value != limits[part]):
                return True
        return False

    def image_terms(
        self, plain: Plain, records: dict[Run, Record] | None, R: float
    ) -> np.ndarray | None:
        """Compute x_{t,i} (README, Image sampling): [m]; None without bits."""
        if records is None:
            return None
        K, m = plain.first.num_classes, plain.first.num_test
        terms = np.zeros(m)
        for s in plain.seeds:
            right, right_0 = [], []
            for signal in self.graded:
                of_none = _bits(plain.records[signal, s], m)
                record = records[signal, s]
                its = np.full(m, 1 / K) if record.status in FAILED else _bits(record, m)
                its = of_none if record.status == "skipped" else its
                if of_none is None or its is None:
                    return None
                right.append(its)
                right_0.append(of_none)
            N = sum(its - of_none for its, of_none in zip(right, right_0, strict=True))
            G = sum(right_0[0] - noisy for noisy in right_0[1:])
            terms += (N - R * G) / len(plain.seeds)
        damage = 0.0
        for signal in self.graded[1:]:
            each = [plain.read["real", s].A - plain.read[signal, s].A for s in plain.seeds]
            damage += float(np.mean(each))
        return terms / damage

    # --- where rows are read ----------------------------------------------------------------------

    def place(self, env: str, task: str, name: str) -> Place:
        """Read a row on a task in an environment."""
        key = env, task, name
        if key not in self._places:
            self._places[key] = self._make_place(env, task, name)
        return self._places[key]

    def _make_place(self, env: str, task: str, name: str) -> Place:
        if name == "none":
            done = len(self.find(env, task, "none", (), self.manifest.seeds))
            cells = len(self.manifest.seeds) * len(self.signals)
            return Place(
                env=env, complete=done == cells, options=[], chosen=None, cells=cells, done=done
            )
        options, facts = self.options(env, task, name)
        place = Place(env=env, complete=False, options=options, chosen=None, **facts)
        plain = self.plain(env, task, True)
        if plain is None or place.done < place.cells:
            return place
        if name == "placebo" and len(options) > 1:
            place.chosen = 1, 1
        else:
            place.chosen = self.choose(plain, options)
        entry, _ = self.rows[name]
        complete = self.place(env, task, "none").complete
        for strength in {options[i].strength for i in place.chosen} - {()}:
            found = self.find(env, task, entry.name, strength, self.manifest.confirming)
            cells = len(self.manifest.confirming) * len(self.signals)
            complete = complete and len(found) == cells
            place.cells += cells
            place.done += len(found)
            place.failed += sum(record.status in FAILED for record in found.values())
        place.complete = complete
        if complete and self.plain(env, task, False):
            read = {i: self.setting(env, task, name, options, i) for i in set(place.chosen)}
            place.settings = read[place.chosen[0]], read[place.chosen[1]]
        return place

    def stopping(self, env: str, task: str) -> Place:
        """Read early stopping on a task in an environment."""
        place = Place(
            env=env, complete=self.place(env, task, "none").complete, options=[], chosen=None
        )
        plain = self.plain(env, task, False)
        if not place.complete or plain is None:
            return place
        read = {}
        edge = False
        for signal in self.graded:
            at_first = 0
            for s in plain.seeds:
                record = plain.records[signal, s]
                tested = [i for i, A in enumerate(record.test) if A is not None]
                best = tested[0]
                for i in tested:
                    if record.val[i] > record.val[best]:
                        best = i
                read[signal, s] = self.read_at(record, best)
                if signal != "real" and read[signal, s].M is None:
                    read[signal, s].M = 0.0
                at_first += len(tested) > 1 and best == tested[0]
            edge = edge or at_first >= len(plain.seeds) / 2
        setting = Setting(
            label="",
            strength=(),
            edge=edge,
            values=self.measure(plain, read, (0, 0, 0)),
            **self.means(plain, read),
            runs=0,
            failed=0,
            cost=1.0,
            equal={},
            extra={},
            image_terms=None,
        )
        place.settings = setting, setting
        return place

    def names_of(self, entry: Entry) -> list[str]:
        """The rows of an entry."""
        if entry.name == "none":
            return ["none"]
        return [name for name, (its, _) in self.rows.items() if its.name == entry.name]

    def reference(self, task: str) -> str:
        """Find the task's reference environment."""
        best: tuple[int, int, str] | None = None
        for env in self.by_env:
            complete = done = 0
            for entry in self.manifest.entries:
                places = [self.place(env, task, name) for name in self.names_of(entry)]
                complete += all(place.complete for place in places)
            if not complete:
                done = sum(self.place(env, task, name).done for name in ["none", *self.rows])
            if best is None or (-complete, -done, env) < best:
                best = -complete, -done, env
        assert best is not None
        return best[2]

    def env_of(self, task: str, name: str, reference: str) -> str:
        """Decide where a row is read on a task."""
        order = [reference] + [env for env in self.by_env if env != reference]
        for env in order:
            if self.place(env, task, name).complete:
                return env
        return max(order, key=lambda env: self.place(env, task, name).done)

    # --- the gate ---------------------------------------------------------------------------------

    def gate(self, env: str, task: str) -> dict[str, Any]:
        """Judge a task in an environment by `none` (README, Gate)."""
        gate: dict[str, Any] = {"env": env, "valid": False, "pending": False, "values": {}}
        if not self.place(env, task, "none").complete:
            return gate | {"pending": True}
        first, plain = self.plain(env, task, True), self.plain(env, task, False)
        if first is None or plain is None:
            return gate

        def mean(of: Any) -> float:
            return float(np.mean([of(s) for s in plain.seeds]))

        E = plain.first.epochs[-1]

        def halfway(s: int) -> float:
            record = plain.records["randY", s]
            fits = [0.0]
            for epoch, fit in zip(record.epochs, record.train, strict=True):
                if epoch <= (E + 1) // 2:
                    fits.append(fit)
            return fits[-1]

        cA = mean(lambda s: plain.records["real", s].label_share)
        values = {
            "A0_0": mean(lambda s: plain.read["real", s].A),
            "cA": max(1 / plain.first.num_classes, cA),
        }
        floors = {"A0_0": values["cA"] + 0.5 * (1 - values["cA"])}
        if self.random:
            values["F0(E)"] = mean(lambda s: plain.read["randY", s].fit)
            values["F0(E/2)"] = mean(halfway)
            floors |= {"F0(E)": 0.99, "F0(E/2)": 0.95}
        for signal in self.graded[1:]:
            level = signal[6:] if signal.startswith("mixed@") else signal
            values[f"M0@{level}"] = mean(lambda s, x=signal: plain.read[x, s].M)
            values[f"D@{level}"] = mean(
                lambda s, x=signal: plain.read["real", s].A - plain.read[x, s].A
            )
            floors[f"M0@{level}"] = 0.95
            floors[f"D@{level}"] = 0.10
        valid = all(values[name] >= floor - 1e-12 for name, floor in floors.items())
        return gate | {
            "valid": valid,
            "values": values,
            "choosing": tuple(first.seeds),
            "confirming": tuple(plain.seeds),
            "dropped": first.dropped | plain.dropped,
        }

    # --- rows -------------------------------------------------------------------------------------

    def verdict(self) -> Verdict:
        """Recompute the board."""
        references = {task: self.reference(task) for task in self.manifest.tasks}
        gates = {task: self.gate(env, task) for task, env in references.items()}
        valid = [task for task in self.manifest.tasks if gates[task]["valid"]]
        datasets = {task.split("/")[0] for task in valid}
        for task in self.manifest.tasks:
            same = [t for t in valid if t.split("/")[0] == task.split("/")[0]]
            share = 1 / (len(datasets) * len(same)) if task in valid else 0.0
            gates[task]["weight"] = share
        self.weights = {task: gates[task]["weight"] for task in valid}
        lines = {}
        for name, (entry, _) in self.rows.items():
            places = {}
            for task in self.manifest.tasks:
                places[task] = self.place(self.env_of(task, name, references[task]), task, name)
            shown = LESS if name == "low-lr" else name
            lines[shown] = Line(name=shown, group=entry.group, places=places)
        places = {}
        for task in self.manifest.tasks:
            places[task] = self.stopping(self.env_of(task, "none", references[task]), task)
        lines[STOPPING] = Line(name=STOPPING, group="control", places=places)
        fewest = min((len(gates[task]["confirming"]) for task in valid), default=0)
        has_ranks = fewest >= 5
        is_pending = any(gate["pending"] for gate in gates.values())
        for line in lines.values():
            if valid and not is_pending:
                self.average(line, valid)
            line.ranked = bool(line.numbers) and line.group != "control"
            line.ranked = line.ranked and not line.name.endswith(" (full)")
            if has_ranks:
                line.ranked = line.ranked and line.numbers["seeds"] >= 5
        ranked = [line for line in lines.values() if line.ranked]
        ranked.sort(key=lambda line: line.numbers["order"])
        if has_ranks:
            self.rank(ranked)
        return Verdict(
            gates=gates, lines=lines, order=[line.name for line in ranked], has_ranks=has_ranks
        )

    def average(self, line: Line, valid: list[str]) -> None:
        """Give a row its numbers, if it has any."""
        places = {task: line.places[task] for task in valid}
        if any(place.settings is None for place in places.values()):
            return
        if all(place.skipped for place in places.values()):
            return
        if not all(self.gate(place.env, task)["valid"] for task, place in places.items()):
            return
        held_back = {task: place.settings[0] for task, place in places.items()}
        recovery = {task: place.settings[1] for task, place in places.items()}
        numbers: dict[str, Any] = {
            "held_back": held_back,
            "recovery": recovery,
            "seeds": min(setting.values["H"].n for setting in held_back.values()),
        }
        for name in held_back[valid[0]].values:
            at = recovery if name == "R" else held_back
            numbers[name] = self.mean({task: s.values[name] for task, s in at.items()})
        numbers["dA_recovery"] = self.mean({t: s.values["dA"] for t, s in recovery.items()})
        H = sum(self.weights[t] * min(s.values["H"].x, 1.0) for t, s in held_back.items())
        numbers["order"] = (-H, -numbers["R"].mean, line.name)
        numbers["H_edge"] = any(setting.edge for setting in held_back.values())
        numbers["R_edge"] = any(setting.edge for setting in recovery.values())
        numbers["image_half"] = self.image_half(recovery)
        numbers["cost"] = max(s.cost for s in (*held_back.values(), *recovery.values()))
        numbers["H_equal"] = self.mean_at_equal_compute("H", held_back)
        numbers["R_equal"] = self.mean_at_equal_compute("R", recovery)
        numbers["runs"] = numbers["failed"] = 0
        for task in valid:
            for setting in {held_back[task].strength: held_back[task]} | {
                recovery[task].strength: recovery[task]
            }:
                its = held_back[task] if held_back[task].strength == setting else recovery[task]
                numbers["runs"] += its.runs
                numbers["failed"] += its.failed
        extra = {}
        for key in recovery[valid[0]].extra:
            if all(key in setting.extra for setting in recovery.values()):
                extra[key] = sum(self.weights[t] * s.extra[key] for t, s in recovery.items())
        numbers["extra"] = extra
        for control, prefix in ((LESS, "excess"), (STOPPING, "stopping")):
            for question, name in enumerate("HR"):
                numbers[f"{prefix}_{name}"] = self.excess(places, control, question)
        line.numbers = numbers

    def mean_at_equal_compute(self, name: str, settings: dict[str, Setting]) -> float | None:
        """Average H or R at equal compute (README, Equal compute)."""
        if all(setting.cost == 1 for setting in settings.values()):
            return None
        mean = 0.0
        for task, setting in settings.items():
            x = setting.equal.get(name) if setting.cost > 1 else setting.values[name].x
            if x is None:
                return None
            mean += self.weights[task] * x
        return mean

    def mean(self, values: dict[str, Value]) -> Sum:
        """Average one reading over tasks."""
        if min(value.n for value in values.values()) < 2:
            return Sum(mean=sum(self.weights[t] * value.x for t, value in values.items()))
        parts = []
        for task, value in values.items():
            parts.append((self.weights[task], value.x, [(value.variance, value.n - 1)]))
        return add_up(parts)

    def image_half(self, settings: dict[str, Setting]) -> float | None:
        """Compute the half-width from the sampling of test images."""
        by_dataset: dict[str, np.ndarray] = {}
        for task, setting in settings.items():
            if setting.image_terms is None:
                return None
            dataset = task.split("/")[0]
            share = self.weights[task] * setting.image_terms
            by_dataset[dataset] = by_dataset.get(dataset, 0.0) + share
        variance = 0.0
        for terms in by_dataset.values():
            variance += float(np.var(terms, ddof=1)) / len(terms)
        return float(stats.norm.ppf(0.975) * variance**0.5)

    def excess(
        self, places: dict[str, Place], control: str, question: int
    ) -> tuple[Sum, bool] | None:
        """Subtract a control; and tell whether its choice is an end of its grid."""
        differences = {}
        at_edge = False
        name = "HR"[question]
        for task, place in places.items():
            if control == LESS:
                other = self.place(place.env, task, "low-lr")
            else:
                other = self.stopping(place.env, task)
            if not other.complete or other.settings is None:
                return None
            mine, its = place.settings[question], other.settings[question]
            differences[task] = mine.values[name].minus(its.values[name])
            at_edge = at_edge or its.edge
        return self.mean(differences), at_edge

    # --- tests between rows -----------------------------------------------------------------------

    def difference(self, one: Line, other: Line, name: str) -> Sum:
        """Subtract a row from another, paired or not, task by task."""
        parts = []
        for task, weight in self.weights.items():
            at = 1 if name == "R" else 0
            a = one.places[task].settings[at].values[name]
            b = other.places[task].settings[at].values[name]
            xa, xb = (min(a.x, 1.0), min(b.x, 1.0)) if name == "H" else (a.x, b.x)
            if one.places[task].env == other.places[task].env:
                variances = [(a.minus(b).variance, a.n - 1)]
            else:
                variances = [(a.variance, a.n - 1), (b.variance, b.n - 1)]
            parts.append((weight, xa - xb, variances))
        return add_up(parts)

    def rank(self, ranked: list[Line]) -> None:
        """Give the ranked rows what only tests between rows can say."""
        N = len(ranked)
        others = max(N - 1, 1)
        p: dict[str, np.ndarray] = {}
        for name in ("H", "R", "dA"):
            p[name] = np.ones((N, N))
            for i in range(N):
                for j in range(N):
                    if i != j:
                        p[name][i, j] = self.difference(ranked[i], ranked[j], name).p_above()
        for name in ("H", "R"):
            beats = p[name] < 0.05 / (2 * others)
            for i, line in enumerate(ranked):
                line.numbers[f"rank_{name}"] = 1 + beats[:, i].sum(), N - beats[i].sum()
                line.numbers[f"first_{name}"] = not (p[name][:, i] < 0.05 / others).any()
        self.claim(ranked, p)
        for name in ("excess_H", "excess_R", "stopping_H", "stopping_R"):
            self.test_excess(ranked, name)

    def claim(self, ranked: list[Line], p: dict[str, np.ndarray]) -> None:
        """Say who holds the claim, and who of those is on the front."""
        claims = holm([self.p_of_claim(line) for line in ranked])
        for line, adjusted in zip(ranked, claims, strict=True):
            line.numbers["p"] = adjusted
            line.numbers["holds"] = adjusted < 0.05
            line.numbers["on_front"] = None
        holders = [i for i, line in enumerate(ranked) if line.numbers["holds"]]
        for i in holders:
            larger = [max(p["H"][j, i], p["dA"][j, i]) for j in holders if j != i]
            level = 0.05 / max(len(ranked) - 1, 1)
            ranked[i].numbers["on_front"] = not any(value < level for value in larger)

    def test_excess(self, ranked: list[Line], name: str) -> None:
        """Adjust the p-values of one excess."""
        values = []
        for line in ranked:
            excess = line.numbers[name]
            values.append(1.0 if excess is None else excess[0].p_above())
        for line, adjusted in zip(ranked, holm(values), strict=True):
            excess = line.numbers[name]
            if excess is not None:
                line.numbers[f"{name} p"] = adjusted
                line.numbers[f"{name} says"] = None if excess[1] else adjusted < 0.05

    def p_of_claim(self, line: Line) -> float:
        """Test the claim of a row, before Holm's correction."""
        p = [line.numbers["H"].p_above(0.1), line.numbers["dA"].p_above(-1.0)]
        for signal in self.graded[1:]:
            p.append(line.numbers[f"noisy {signal}"].p_above(-1.0))
        for setting in line.numbers["held_back"].values():
            if setting.values["dA"].x <= -1.0:
                p.append(1.0)
        return max(p)


def holm(p: list[float]) -> list[float]:
    """Adjust p-values by Holm's step-down procedure."""
    adjusted = [0.0] * len(p)
    largest = 0.0
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, (len(p) - step) * p[i])
        adjusted[i] = min(1.0, largest)
    return adjusted


def _first_best(values: list[float]) -> int:
    """The first of those that differ from the largest by less than 1e-9."""
    return next(i for i, value in enumerate(values) if value >= max(values) - 1e-9)


def _beyond(read: Read) -> float:
    assert read.M is not None and read.q is not None
    return read.M - read.q


def _bits(record: Record, m: int) -> np.ndarray | None:
    """Unpack which test images a run predicts right; None if that is not stored."""
    raw = bytes.fromhex(record.test_bits)
    if 8 * len(raw) < m:
        return None
    return np.unpackbits(np.frombuffer(raw, dtype=np.uint8), count=m).astype(float)

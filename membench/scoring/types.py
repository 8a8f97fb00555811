"""The results that scoring hands to the report: frozen, plain data. No formulas here.

The symbols are those of the README of this folder. Accuracies, fits, H, S and R are shares (0.93);
`dA` and changes of accuracy under noise are percentage points. None = not defined (not run, not
stored, or too few seeds). Dicts that are by p have the noisy signals of P, such as "mixed@0.4", as
keys.
Every number of a `Row`, `Confirmed` or `Claim` is read on the confirming seeds; `Point` and what
holds points is of the choosing seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import Any

Strength = tuple[float, ...]  #: one float a part; () is off: exactly `none`

NONE = "none"
#: The group of entries that are never ranked.
CONTROL = "control"
#: The row of the first control: `none` read at a fixed earlier epoch, or trained at a lower rate.
TRAINING_LESS = "training less"
#: The row of the second: each run of `none` read at its own best epoch on clean validation images.
EARLY_STOPPING = "early stopping"
#: The entry whose records join `none`'s own curve in `TRAINING_LESS`.
LOW_RATE = "low-lr"
#: The entry that is `none` with other weights and another order: it is read at its first strength.
PLACEBO = "placebo"
#: Ends the name of a composition's second row; no plugin's name has a space.
FULL = " (full)"


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its two-sided 95% interval, over training randomness."""

    mean: float
    half: float | None = None  #: None with fewer than two seeds

    @property
    def low(self) -> float | None:
        """The lower end."""
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """The upper end."""
        return None if self.half is None else self.mean + self.half


#: (entry, other entry) -> the first minus the second; every pair once
Pairs = dict[tuple[str, str], Interval]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The strengths of one entry on one task that its choosing seeds answer the questions with."""

    held_back: Strength  #: by noise held back; () = off
    recovery: Strength  #: by recovery

    @property
    def strengths(self) -> tuple[Strength, ...]:
        """The strengths to confirm, each once; off needs no cells."""
        return tuple(dict.fromkeys(s for s in (self.held_back, self.recovery) if s))


#: (task, row's name) -> the choice, of the pairs whose choosing cells, and those of `none`, have
#: all been run. That of `LOW_RATE` says which of its strengths `TRAINING_LESS` has chosen.
Choices = dict[tuple[str, str], Choice]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The validity of one task in its reference environment, from `none` alone."""

    task: str
    valid: bool
    env: str = ""  #: hash of the task's reference environment; "" if nothing has been run
    reasons: tuple[str, ...] = ()  #: why not, one sentence each; empty if valid
    pending: bool = False  #: not valid only because cells of `none` have not been run
    #: by "F0(E)", "F0(E/2)", "A0_0", "cA", "M0@0.4", "D@0.4"
    values: dict[str, float] = field(default_factory=dict)
    choosing: tuple[int, ...] = ()  #: the choosing seeds that count
    confirming: tuple[int, ...] = ()  #: the confirming seeds that count
    dropped: dict[int, str] = field(default_factory=dict)  #: seed -> why `none` failed there
    epochs: int = 0  #: E, the budget
    classes: int = 0  #: K
    tests: int = 0  #: m, test images
    weight: float = 0.0  #: of this task in every row's mean; 0 if not valid


@dataclass(frozen=True, kw_only=True)
class Point:
    """One strength on one task, in means over the *choosing* seeds.

    It is a dot of the figures of strengths and a line of the task's table.
    """

    strength: Strength  #: () = off; also () for `none` read early, see `label`
    label: str  #: "0.5", "0.5,0.3", "off", "epoch 12", "16 plain steps"
    real: float  #: A_0, test accuracy after training on real data
    val: float  #: V_0
    noisy_test: dict[str, float]  #: p -> A_p, clean test accuracy after training on noisy labels
    noisy_val: dict[str, float]  #: p -> V_p
    fit: float | None  #: F, training accuracy on randY; None where the suite lacks it
    wrong: dict[str, float]  #: p -> M, share of the wrong labels predicted as given
    #: signal -> training accuracy on the labels as given, every signal of the suite
    train: dict[str, float]
    H: float  #: noise held back, not cut at 1
    S: float | None  #: suppression; None without randY
    dA: float  #: points
    R: float  #: recovery
    gain_val: dict[str, float]  #: p -> V_p - V0_p, real included. What the choices look at
    seeds: int
    #: cells of this strength that ended failed, timeout or diverged; they count as the worst
    failed: int
    cells: int  #: cells of this strength
    #: of further signals: "R pair-flip@0.4", "S randX"
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Learning curves, in means over the confirming seeds that ended `ok`.

    They are given at the epochs that all of those runs stored.
    """

    label: str
    epochs: tuple[int, ...]
    real_train: tuple[float, ...]
    real_val: tuple[float, ...]
    rand_train: tuple[float, ...]  #: fit of randY; () where the suite lacks it
    noisy_val: dict[str, tuple[float, ...]]  #: p -> V_p
    noisy_wrong: dict[str, tuple[float | None, ...]]  #: p -> M


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """One entry on one task at one chosen strength, read on the confirming seeds."""

    strength: Strength
    label: str  #: as of `Point`
    #: the strength is an end of its grid that is no natural one: H or R may be larger beyond it
    edge: bool
    H: Interval
    #: None for `EARLY_STOPPING`, whose epoch on randY is chance, and where the suite lacks randY
    S: Interval | None
    dA: Interval
    R: Interval
    noisy: dict[str, Interval]  #: p -> 100 (A_p - A0_p), points
    real: float  #: A_0
    noisy_test: dict[str, float]  #: p -> A_p
    fit: float | None  #: F
    wrong: dict[str, float]  #: p -> M
    runs: int  #: runs at this strength on the confirming seeds
    failed: int  #: of them ended failed, timeout or diverged, and count as the worst
    extra: dict[str, float] = field(default_factory=dict)  #: as of `Point`
    cost: float = 1.0  #: kappa, largest over its cells
    #: H and R at equal compute; None if kappa is 1, or a run was not tested at that epoch
    H_equal: float | None = None
    R_equal: float | None = None
    curve: Curve | None = None


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """One entry on one task, in one environment."""

    task: str
    entry: str
    env: str  #: hash of the environment of its runs and of the runs of `none` beside them
    #: both phases have a record for every cell; if not, only `points` may hold something
    complete: bool
    skipped: str = ""  #: why it cannot act here: it counts as off
    points: tuple[Point, ...] = ()  #: off first, then from weak to strong; whole strengths only
    held_back: Confirmed | None = None  #: at the strength chosen by noise held back
    recovery: Confirmed | None = None  #: at the strength chosen by recovery
    failed: int = 0  #: cells that count as the worst value
    diverged: int = 0  #: those of them that diverged
    done: int = 0  #: cells with a record
    #: cells planned: all of the choosing phase, and those of the confirming one once chosen
    cells: int = 0


@dataclass(frozen=True, kw_only=True)
class Excess:
    """A row minus a control, in H or in R, each at its own chosen strengths."""

    value: Interval
    p: float | None = None  #: one-sided p of "not above 0", Holm-adjusted over the ranked rows
    significant: bool | None = None  #: None: nothing is claimed (see the board's notes)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The first line of the board: noise is held back at no real cost (README, Claim).

    All at the strengths chosen by noise held back. Bounds are one-sided, at 95%, from below.
    """

    holds: bool  #: p < .05
    p: float  #: of the intersection-union test, Holm-adjusted over the ranked rows
    H_bound: float
    dA_bound: float  #: points
    noisy_bounds: dict[str, float]  #: p -> bound of 100 (A_p - A0_p), points
    dA_by_task: dict[str, float]  #: the estimates, points; each must be above -1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry on the board: means over data sets of the means over their valid tasks.

    `H`, `S`, `dA`, `noisy`, `claim` and `on_front` are at the strengths chosen by noise held back;
    `R` and `dA_recovery` at those chosen by recovery.
    """

    entry: str
    group: str
    reason: str = ""  #: why it has no numbers, or no rank; empty if ranked
    incomplete: bool = False
    H: Interval | None = None
    S: Interval | None = None
    dA: Interval | None = None
    noisy: dict[str, Interval] = field(default_factory=dict)
    R: Interval | None = None
    dA_recovery: Interval | None = None
    H_edge: bool = False  #: on some task the strength is an end of its grid: H is a lower bound
    R_edge: bool = False
    rank_H: tuple[int, int] | None = None  #: interval, both ends included
    rank_R: tuple[int, int] | None = None
    first_H: bool = False  #: may be first: none beats it
    first_R: bool = False
    claim: Claim | None = None  #: None without ranks
    on_front: bool | None = None  #: None for a row without the claim
    #: over `TRAINING_LESS`, the control of the tables
    excess_H: Excess | None = None
    excess_R: Excess | None = None
    #: over `EARLY_STOPPING`
    stopping_H: Excess | None = None
    stopping_R: Excess | None = None
    #: 95% half-width of R from the sampling of test images; None without bits
    image_half: float | None = None
    extra: dict[str, float] = field(default_factory=dict)  #: at `R`'s strengths; all valid tasks
    cost: float | None = None  #: largest over tasks
    #: at equal compute, of tasks with kappa = 1 at the budget; None if it is 1 on all tasks
    H_equal: float | None = None
    R_equal: float | None = None
    #: task -> label of the strength, or "skipped"
    chosen_held_back: dict[str, str] = field(default_factory=dict)
    chosen_recovery: dict[str, str] = field(default_factory=dict)
    #: runs of the chosen settings on the confirming seeds, each setting once, and how many of them
    #: ended failed, timeout or diverged
    confirmed_runs: int = 0
    confirmed_failed: int = 0
    envs: dict[str, str] = field(default_factory=dict)  #: task -> hash of its environment
    failed: int = 0  #: over both phases
    diverged: int = 0  #: those of the failed that diverged
    done: int = 0
    cells: int = 0
    skipped: dict[str, str] = field(default_factory=dict)  #: task -> why it counts as off there


@dataclass(frozen=True, kw_only=True)
class Control:
    """`none` on one task, for the figures."""

    task: str
    early: tuple[Point, ...] = ()  #: `none` read at epoch e, from the last (= off) to the first
    epochs: tuple[int, ...] = ()  #: the epochs of `early`
    low_rate: tuple[Point, ...] = ()  #: from the highest rate to the lowest
    curve: Curve | None = None  #: of `none`


@dataclass(frozen=True, kw_only=True)
class Board:
    """All that the report says about one suite."""

    suite: str
    version: int
    gates: tuple[Gate, ...]  #: one a task, in the manifest's order
    #: complete entries, by H from the largest; `rank_H` is None if no ranks are given (see `notes`)
    rows: tuple[Row, ...]
    unranked: tuple[Row, ...]  #: incomplete entries, or all of them if no task is valid
    skipped: tuple[Row, ...]  #: entries that cannot act on any task: no further run would rank them
    #: `TRAINING_LESS`, `EARLY_STOPPING`, then placebo and the other entries of group "control"
    control_rows: tuple[Row, ...]
    #: compositions at all settings of their full grids: more tries than a rank allows
    full_rows: tuple[Row, ...]
    scores: dict[tuple[str, str], TaskScore]  #: (entry, task), every task, valid or not
    controls: dict[str, Control]  #: task -> points and curve of `none`
    choosing: int  #: fewest choosing seeds that count on a valid task; 0 if no task is valid
    confirming: int  #: the same of confirming seeds
    ranked: bool  #: ranks and claims are given
    #: hash -> `Record.versions` of each environment that a row is of, those of `gates` first
    envs: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  #: sentences that the page must show
    #: "H", "dA" and "R" -> differences of all rows with numbers; {} without intervals
    pairs: dict[str, Pairs] = field(default_factory=dict)

    @property
    def by_recovery(self) -> tuple[Row, ...]:
        """The rows by R from the largest."""

        def order(row: Row) -> tuple[float, str]:
            return (-row.R.mean if row.R else float("inf"), row.entry)

        return tuple(sorted(self.rows, key=order))

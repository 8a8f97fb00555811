"""The results that scoring hands to the report: frozen, plain data. No formulas here.

The symbols are those of the README of this folder. Accuracies, fits and R, S, X are shares (0.93);
`dA` and budgets are percentage points. None = not defined (not run, not stored, or too few seeds).
Dicts keyed by a float are keyed by the noise level p of `mixed@p`, p > 0. Where `none` leaves
nothing to win or to suppress (only on invalid tasks) R, S and S_mix are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field

Strength = tuple[float, ...]  #: one float a part; () is off: exactly `none`

NONE = "none"
#: The one control entry of the board, and the group of entries that are never ranked.
CONTROL = "control"
#: The entry whose records join `none`'s own curve in `control`.
LOW_RATE = "low-lr"
#: Ends the name of a composition's second row; no plugin's name has a space.
FULL = " (full)"

TWO_NETWORK = "two-network only"
STILL_FITTING = "still fitting"


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its 95% interval.

    The interval is over training randomness, given the test images.
    """

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


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The validity of one task, from `none` alone, the same for every entry."""

    task: str
    valid: bool
    reasons: tuple[str, ...] = ()  #: why not, one sentence each; empty if valid
    pending: bool = False  #: not valid only because cells of `none` have not been run
    #: by "F0(E)", "F0(E/2)", "A0_0", "cA", "M0@0.4", "D@0.4"
    values: dict[str, float] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()  #: the seeds that count
    dropped: dict[int, str] = field(default_factory=dict)  #: seed -> why `none` failed there
    epochs: int = 0  #: E, the budget
    classes: int = 0  #: K
    tests: int = 0  #: m, test images
    weight: float = 0.0  #: of this task in every row's mean; 0 if not valid


@dataclass(frozen=True, kw_only=True)
class Point:
    """One strength on one task, in means over seeds.

    It is a dot of the frontier figure and a line of the task's table.
    """

    strength: Strength  #: () = off; also () for `none` read early, see `label`
    label: str  #: "0.5", "0.5,0.3", "off", "epoch 12", "rate x 0.1"
    real: float  #: A_0, test accuracy after training on real data
    val: float  #: V_0
    mixed: dict[float, float]  #: p -> A_p, clean test accuracy after training on mixed@p
    mixed_val: dict[float, float]  #: p -> V_p
    fit: float  #: F, training accuracy on randY
    wrong: dict[float, float]  #: p -> M, share of the wrong labels predicted as given
    #: signal -> training accuracy on the labels as given, every signal of the suite
    train: dict[str, float]
    S: float  #: suppression
    dA: float  #: points
    S_mix: dict[float, float]
    R: float  #: recovery if this strength were always taken, mean over seeds
    Rval: float  #: the same by validation accuracy: what the choice is made by
    seeds: int
    #: cells of this strength that ended failed, timeout or diverged; they count as the worst
    failed: int
    #: of further signals: "R pair-flip@0.4", "S randX"
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Fold:
    """The choice of the other seeds, and what it gave on this seed."""

    seed: int
    strength: Strength
    label: str
    R: float  #: N_s / D_t


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Learning curves, in means over the seeds that ended `ok`.

    They are given at the epochs that all of those runs stored.
    """

    label: str
    epochs: tuple[int, ...]
    real_train: tuple[float, ...]
    real_val: tuple[float, ...]
    rand_train: tuple[float, ...]  #: fit of randY
    mixed_val: dict[float, tuple[float, ...]]  #: p -> V_p
    mixed_wrong: dict[float, tuple[float | None, ...]]  #: p -> M


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """One entry on one task.

    All from `R` to `equal_compute_R` is read at the strengths that the folds chose.
    """

    task: str
    entry: str
    #: every planned cell has a record; if not, only `points` may hold something, of whole strengths
    complete: bool
    skipped: str = ""  #: why it cannot act here: it counts as off
    points: tuple[Point, ...] = ()  #: off first, then from weak to strong
    folds: tuple[Fold, ...] = ()
    modal: str = ""  #: label of the strength that most folds chose; ties to the weaker
    stability: float | None = None  #: share of folds that chose it
    R: Interval | None = None
    X: Interval | None = None  #: excess over the control
    S: float | None = None
    dA: float | None = None
    S_mix: float | None = None  #: mean over noise levels
    #: of signals beside P and randY, see `further_signals`
    extra: dict[str, float] = field(default_factory=dict)
    #: budget in points (0.5, 1, 2) -> largest S; same data
    S_at: dict[float, float] = field(default_factory=dict)
    area: float | None = None  #: mean of S@b over budgets b from 0 to 2 points; same data
    cost: float | None = None  #: kappa, largest over its cells
    equal_compute_R: float | None = None  #: None if kappa = 1 or the epoch was not stored
    flags: tuple[str, ...] = ()  #: STILL_FITTING, TWO_NETWORK
    failed: int = 0
    done: int = 0  #: cells with a record
    cells: int = 0  #: cells planned
    curve: Curve | None = None  #: at the modal strength


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry on the board: means over data sets of the means over their valid tasks."""

    entry: str
    group: str
    reason: str = ""  #: why it has no R, or no rank; empty if ranked
    incomplete: bool = False
    rank: tuple[int, int] | None = None  #: interval, both ends included
    tie: int | None = None  #: rows with the same number have the same rank interval; from 1
    R: Interval | None = None
    #: 95% half-width of R from the sampling of test images; None without bits
    image_half: float | None = None
    X: Interval | None = None
    p_control: float | None = None  #: one-sided p of X <= 0, Holm-adjusted over the ranked rows
    beats_control: bool | None = None  #: None = no claim is made
    S: float | None = None
    dA: float | None = None
    S_mix: float | None = None
    extra: dict[str, float] = field(default_factory=dict)  #: what all valid tasks have
    S_at: dict[float, float] = field(default_factory=dict)
    area: float | None = None
    cost: float | None = None  #: largest over tasks
    #: where kappa = 1 on some task, R itself stands for that task
    equal_compute_R: float | None = None
    #: task -> "0.5" or "0.5 (4/5)" or "skipped"
    chosen: dict[str, str] = field(default_factory=dict)
    stability: float | None = None  #: mean over tasks
    flags: tuple[str, ...] = ()  #: those of any valid task
    failed: int = 0
    done: int = 0
    cells: int = 0
    skipped: dict[str, str] = field(default_factory=dict)  #: task -> reason


@dataclass(frozen=True, kw_only=True)
class Control:
    """The control's points on one task, for the figures, and the learning curve of `none`."""

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
    #: complete entries, best first; `rank` is None if no ranks are given (see `notes`)
    rows: tuple[Row, ...]
    unranked: tuple[Row, ...]  #: incomplete entries, or all of them if no task is valid
    skipped: tuple[Row, ...]  #: entries that cannot act on any task: no further run would rank them
    #: `control` first, then placebo and the other entries of group "control"
    control_rows: tuple[Row, ...]
    #: compositions at all settings of their full grids: more tries than a rank allows
    full_rows: tuple[Row, ...]
    scores: dict[tuple[str, str], TaskScore]  #: (entry, task), every task, valid or not
    controls: dict[str, Control]  #: task -> curves
    seeds: int  #: fewest seeds that count on a valid task; 0 if no task is valid
    ranked: bool  #: ranks and claims are given
    notes: tuple[str, ...] = ()  #: sentences that the page must show

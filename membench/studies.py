"""The contract of studies: which cells are trained, what follows from their records, and what could have refuted it.

`Split`, `Arm` and `Study` are the plan; an analysis takes `Results` and returns a `Finding` of `Test`s. No torch: the
report calls analyses where there is none. Plugin authors import from here or, what the plan needs, from `membench`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from math import sqrt
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

from membench.api import Recipe
from membench.api import Split
from membench.records import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided at this scale"
SCALES = ("quick", "paper")
Numbers = TypeVar("Numbers")  #: a float, or a numpy array of floats
Strengths = tuple[tuple[float, ...], ...]
Results = Mapping[
    str, tuple[Record, ...]
]  #: arm -> records of its cells in the plan's order; look at their status


@dataclass(frozen=True)
class Arm:
    """Some cells of a study: every combination of its architectures, settings, signals and seeds."""

    name: str  #: `[a-z0-9][a-z0-9-]*`, different for each arm of a scale
    dataset: str
    architectures: tuple[str, ...]
    signals: tuple[str, ...]
    seeds: tuple[int, ...]
    split: Split
    recipe: Recipe
    #: name, "a+b" included -> its strengths, a tuple of one float a part for each; None = its own grid
    regularizers: Mapping[str, Strengths | None] = field(default_factory=lambda: {"none": None})
    probes: tuple[str, ...] = ()
    read: tuple[
        int, ...
    ] = ()  #: epochs at which train and val are read (the last always, test only there); () = usual
    width: int = 15  #: lanes in a pack, at most
    compiled: bool = True


@dataclass(frozen=True)
class Study:
    """One experiment: its plan of cells at each scale, a claim, and the analysis that tests it."""

    name: str  #: `[a-z0-9][a-z0-9-]*`
    arms: Mapping[str, tuple[Arm, ...]]  #: "quick" and "paper" -> arms
    analyse: Callable[[Results], Finding]  #: pure; numpy and scipy, no torch
    claim: str  #: one sentence: what the paper says
    figure: str = ""  #: "Fig. 5"
    records: tuple[
        Any, ...
    ] = ()  #: architectures, data sets, signals, regularizers, probes for this study alone
    scaled: str = ""  #: how "quick" is smaller than the paper, in a sentence or two
    summary: str = ""  #: one sentence; default: the module docstring's first
    source: str = ""  #: the citation; default: the rest of the module docstring
    version: int = 1


@dataclass(frozen=True)
class Test:
    """One number that could have come out the other way; written so that larger values speak for the claim."""

    __test__ = False  # pytest: not a class of tests

    name: str  #: "dispersion ratio, real - randY"
    value: float
    low: float  #: the ends of its 95 % interval
    high: float
    threshold: float = 0.0  #: the claim says value > threshold
    method: str = ""  #: "paired t over 5 seeds"

    @property
    def verdict(self) -> str:
        """Where the interval lies; a bound that is not a number decides nothing."""
        if self.low > self.threshold:
            return HOLDS
        return FAILS if self.high < self.threshold else UNDECIDED


@dataclass(frozen=True)
class Finding:
    """What came out of a study."""

    tests: tuple[Test, ...]
    table: tuple[tuple[str, ...], ...]  #: the header, then rows; plain text
    draw: Callable[[Figure], None]  #: constrained layout, 7 x 3 in unless it sets another size
    caption: str  #: what the figure shows, its units, what to look at
    notes: tuple[str, ...] = ()  #: caveats, plain sentences

    @property
    def verdict(self) -> str:
        """It holds if all tests do, and does not if any does not."""
        verdicts = {test.verdict for test in self.tests}
        if FAILS in verdicts:
            return FAILS
        return HOLDS if verdicts == {HOLDS} else UNDECIDED


def select(
    records: Iterable[Record], status: str | None = "ok", **wanted: Any
) -> tuple[Record, ...]:
    """The records whose fields are as wanted, in their order; `select(r, signal="real", seed=0)`.

    Args:
        records: of one arm or several.
        status: only these; None = whatever they ended as.
        wanted: values of `Record`'s fields; a set, list or tuple of values allows each of them.
    """
    if status is not None:
        wanted["status"] = status
    return tuple(
        r for r in records if all(_is(getattr(r, name), value) for name, value in wanted.items())
    )


def by_setting(records: Iterable[Record]) -> dict[str, list[Record]]:
    """`dropout[0.5]` -> its records that ended well; both in the order of the records."""
    found: dict[str, list[Record]] = {}
    for record in select(records):
        found.setdefault(record.setting, []).append(record)
    return found


def _is(value: Any, wanted: Any) -> bool:
    return value == wanted or (
        isinstance(wanted, (set, frozenset, list, tuple)) and value in wanted
    )


def mean_interval(x: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of [n] values and the ends of Student's t-interval of it; -inf and inf where n < 2.

    Raises:
        ValueError: there is no value.
    """
    values = [float(v) for v in x]
    if not values:
        raise ValueError("no values to average: did all cells fail?")
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, float("-inf"), float("inf")
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return interval(mean, sqrt(variance / len(values)), len(values) - 1, confidence)


def interval(
    mean: float, error: float, freedom: float, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Compute Student's t interval of a mean from its standard error.

    Args:
        mean: the estimate.
        error: its standard error.
        freedom: degrees of freedom.
        confidence: the probability that the interval covers.

    Returns:
        (mean, low, high).
    """
    half = float(t_half_width(error, freedom, confidence))
    return mean, mean - half, mean + half


def t_half_width(error: Numbers, freedom: Numbers, confidence: float = 0.95) -> Numbers:
    """Compute the half-width of Student's two-sided t interval, for floats or for arrays of them.

    It is t_{(1 + confidence) / 2, freedom} * error. All t intervals of membench come from here:
    those of the studies and those of the boards.

    Args:
        error: standard error.
        freedom: degrees of freedom, not necessarily whole.
        confidence: the probability that the interval covers.

    Returns:
        A float, or an array of the arguments' common shape.
    """
    from scipy.special import stdtrit  # a third of a second to import: not for whoever only plans

    return stdtrit(freedom, (1 + confidence) / 2) * error


def shown(numbers: tuple[float, float, float], spec: str = ".3f") -> str:
    """`0.412 [0.308, 0.517]`: what `mean_interval` and `paired` give, in a sentence."""
    value, low, high = (format(v, spec) for v in numbers)
    return f"{value} [{low}, {high}]"


def paired(
    x: Sequence[float], y: Sequence[float], confidence: float = 0.95
) -> tuple[float, float, float]:
    """`mean_interval` of x - y; [n] each, the i-th of x with the i-th of y. Raises `ValueError` for other lengths."""
    return mean_interval([float(a) - float(b) for a, b in zip(x, y, strict=True)], confidence)

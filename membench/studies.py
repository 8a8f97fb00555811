"""The contract of studies: experiments with a plan of cells, a claim, and an analysis to refute it.

`Split`, `Arm` and `Study` are the plan; an analysis takes `Results` and returns a `Finding` of
`Test`s. No torch: the report calls analyses where there is none. The functions below the records
help analyses.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from math import inf
from math import isfinite
from math import sqrt
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

from membench.api import Recipe
from membench.api import Split
from membench.records import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Values = Sequence[float] | NDArray[Any]  #: one a seed, say


HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided at this scale"
ONE_SIDED = 0.025  #: error of either end of a 95 % interval, and of all refutations of a study
SCALES = ("quick", "paper")
Numbers = TypeVar("Numbers")  #: a float, or a numpy array of floats
Strengths = tuple[tuple[float, ...], ...]  #: one tuple a setting, one float a part
#: arm -> records of its cells in the plan's order, whatever their status
Results = Mapping[str, tuple[Record, ...]]


@dataclass(frozen=True)
class Arm:
    """Cells of a study: all combinations of its architectures, settings, signals and seeds."""

    name: str  #: `[a-z0-9][a-z0-9-]*`, different for each arm of a scale
    dataset: str
    architectures: tuple[str, ...]
    signals: tuple[str, ...]
    seeds: tuple[int, ...]
    split: Split
    recipe: Recipe
    #: name, "a+b" included -> its strengths; None = the grid that it is registered with
    regularizers: Mapping[str, Strengths | None] = field(default_factory=lambda: {"none": None})
    probes: tuple[str, ...] = ()
    #: epochs at which train and val are read (the last always, test only there); () = as in suites
    read: tuple[int, ...] = ()
    width: int = 15  #: lanes in a pack, at most
    compiled: bool = True
    #: left out, and named on the page, where its data set is absent and it was not measured before
    optional: bool = False


@dataclass(frozen=True)
class Study:
    """One experiment: its plan of cells at each scale, a claim, and the analysis that tests it.

    Example:
        ```python
        from membench import Arm, Finding, Recipe, Split, Study, Test, hookimpl
        from membench.studies import mean_interval, select

        RANDOM = Arm(
            name="random",
            dataset="digits",
            architectures=("mlp",),
            signals=("randY",),
            seeds=(0, 1, 2),
            split=Split(test=400, train=300, validation=300),
            recipe=Recipe(lr=0.05, batch=30, epochs=100),
        )

        def analyse(results):
            fits = [record.train[-1] for record in select(results["random"])]
            value, low, high = mean_interval(fits)
            fit = Test("fit", value, low, high, 0.9, method="t over 3 seeds", freedom=2)
            return Finding(
                tests=(fit,),
                table=(("runs", "fit"), (str(len(fits)), f"{value:.3f}")),
                draw=lambda figure: figure.subplots().plot(fits, "o"),
                caption="Accuracy on the random training labels, a point a seed.",
            )

        @hookimpl
        def register():
            arms = {"quick": (RANDOM,), "paper": (RANDOM,)}
            claim = "A network fits random labels."
            return [Study("random-labels", arms=arms, analyse=analyse, claim=claim)]
        ```
    """

    name: str  #: `[a-z0-9][a-z0-9-]*`
    arms: Mapping[str, tuple[Arm, ...]]  #: "quick" and "paper" -> arms
    analyse: Callable[[Results], Finding]  #: pure; numpy and scipy, no torch
    claim: str  #: one sentence: what the paper says
    figure: str = ""  #: "Fig. 5"
    #: architectures, data sets, signals, regularizers, optimizers and probes for this study alone
    records: tuple[Any, ...] = ()
    scaled: str = ""  #: how "quick" is smaller than the paper, in a sentence or two
    summary: str = ""  #: one sentence; default: the module docstring's first
    source: str = ""  #: the citation; default: the rest of the module docstring
    version: int = 1


@dataclass(frozen=True)
class Test:
    """One number that could have refuted the claim; larger values speak for the claim."""

    __test__ = False  # pytest: not a class of tests

    name: str  #: "dispersion ratio, real - randY"
    value: float
    low: float  #: the ends of its 95 % interval
    high: float
    threshold: float = 0.0  #: the claim says value > threshold
    method: str = ""  #: "paired t over 5 seeds"
    #: degrees of freedom of the t interval; inf = normal, as for a bootstrap or a large sample
    freedom: float = inf
    #: which claim it tests, in a few words, where a study makes several; "" = its only one
    claim: str = ""

    @property
    def verdict(self) -> str:
        """The side of the threshold where the interval lies; a NaN bound decides nothing."""
        if self.low > self.threshold:
            return HOLDS
        if self.high < self.threshold:
            return FAILS
        return UNDECIDED

    @property
    def p(self) -> float:
        """One-sided p against the claim: below .025 where all of the interval is below `threshold`.

        The upper half of the interval gives the standard error. A bound that is not finite decides
        nothing: p is 1.
        """
        half = self.high - self.value
        distance = self.value - self.threshold
        if not (isfinite(half) and isfinite(distance)):
            return 1.0
        if half <= 0:  # all measurements alike
            return 0.0 if self.high < self.threshold else 1.0
        freedom = min(self.freedom, 1e6)  # as good as infinite, which not every scipy takes
        error = half / t_half_width(1.0, freedom)
        return t_probability(distance / error, freedom)


@dataclass(frozen=True)
class Finding:
    """The outcome of a study."""

    tests: tuple[Test, ...]
    table: tuple[tuple[str, ...], ...]  #: the header, then rows; plain text
    draw: Callable[[Figure], None]  #: constrained layout, 7 x 3 in unless it sets another size
    caption: str  #: what the figure shows, its units, what to look at
    notes: tuple[str, ...] = ()  #: caveats, plain sentences

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict of each claim, by `Test.claim`, in the order of the tests.

        A claim holds if all of its tests do. It does not if the p of one of them passes Holm's
        procedure over all tests of the study: so the chance that a study refutes anything falsely
        is .025 at most, however many tests it has.
        """
        refuted = {test.claim for test in _refuted(self.tests)}
        verdicts = {}
        for claim in dict.fromkeys(test.claim for test in self.tests) or ("",):
            own = {test.verdict for test in self.tests if test.claim == claim}
            verdicts[claim] = HOLDS if own == {HOLDS} else UNDECIDED
            if claim in refuted:
                verdicts[claim] = FAILS
        return verdicts

    @property
    def verdict(self) -> str:
        """All verdicts in a line: `holds`, or `noise above real: holds; rises: does not hold`."""
        parts = []
        for claim, verdict in self.verdicts.items():
            parts.append(f"{claim}: {verdict}" if claim else verdict)
        return "; ".join(parts)


def _refuted(tests: Iterable[Test]) -> list[Test]:
    """Select the tests whose p passes Holm's procedure at `ONE_SIDED`."""
    ordered = sorted(tests, key=lambda test: test.p)
    for place, test in enumerate(ordered):
        if test.p >= ONE_SIDED / (len(ordered) - place):
            return ordered[:place]
    return ordered


def select(
    records: Iterable[Record], status: str | None = "ok", **wanted: Any
) -> tuple[Record, ...]:
    """Select records by their fields, as in `select(records, signal="real", seed=0)`.

    Args:
        records: of one arm or several.
        status: that they ended with; None: any.
        wanted: values of `Record`'s fields; a set, list or tuple of values allows each of them.

    Returns:
        The records that fit, in their order.
    """
    if status is not None:
        wanted["status"] = status
    return tuple(record for record in records if _fits(record, wanted))


def _fits(record: Record, wanted: Mapping[str, Any]) -> bool:
    for name, value in wanted.items():
        actual = getattr(record, name)
        is_choice = isinstance(value, (set, frozenset, list, tuple))
        if actual != value and not (is_choice and actual in value):
            return False
    return True


def by_setting(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Group the records with status `ok` by setting, as "dropout[0.5]", in their order."""
    groups: dict[str, list[Record]] = {}
    for record in select(records):
        groups.setdefault(record.setting, []).append(record)
    return groups


def mean_interval(x: Values, confidence: float = 0.95) -> tuple[float, float, float]:
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


def t_probability(t: float, freedom: float) -> float:
    """Compute the probability that Student's t with finite `freedom` is at most `t`."""
    from scipy.special import stdtr  # as above

    return float(stdtr(freedom, t))


def shown(numbers: tuple[float, float, float], spec: str = ".3f") -> str:
    """Format a value and its interval for a sentence, as `0.412 [0.308, 0.517]`."""
    value, low, high = numbers
    return f"{value:{spec}} [{low:{spec}}, {high:{spec}}]"


def paired(x: Values, y: Values, confidence: float = 0.95) -> tuple[float, float, float]:
    """Compute the mean of paired differences x - y and the ends of its t interval.

    Args:
        x: [n].
        y: [n], the i-th paired with the i-th of x.
        confidence: of the interval.

    Returns:
        (mean, low, high).

    Raises:
        ValueError: x and y differ in length, or are empty.
    """
    differences = [float(a) - float(b) for a, b in zip(x, y, strict=True)]
    return mean_interval(differences, confidence)

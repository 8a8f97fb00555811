"""What was measured of one size at one precision, and the tables that say so."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from itertools import product
from statistics import median

import numpy as np
from speed_process import CEILING
from speed_process import MEMBENCH
from speed_process import Accuracies
from speed_process import cores
from speed_work import SHOWN
from speed_work import SIGNALS
from speed_work import Work
from tabulate import tabulate

RISK = 0.01  #: that any of a size's comparisons is called void by chance
SLACK = 0.005  #: of accuracy, where all seeds happen to agree
INSTALL = "pip install -e '.[bench]'"


@dataclass
class Measured:
    """By peer; membench and the ceiling among them."""

    work: Work
    precision: str
    asked: tuple[str, ...]
    rates: dict[str, list[float]] = field(default_factory=dict)  #: cell-steps a second, one a round
    job_seconds: dict[str, float] = field(default_factory=dict)
    start_seconds: dict[str, float] = field(default_factory=dict)  #: imports, data, compilation
    cold_seconds: dict[str, float] = field(default_factory=dict)  #: these and all cells
    memory: dict[str, int] = field(default_factory=dict)  #: bytes
    lanes: dict[str, int] = field(default_factory=dict)
    learned: dict[str, Accuracies] = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, float | None]:
        """membench's rate over the peer's, the median of the rounds; None where the peer is not installed."""
        return {
            peer: median(self.over(peer)) if peer in self.rates else None for peer in self.asked
        }

    @property
    def peers(self) -> list[str]:
        """Those that learned something, membench among them."""
        return [peer for peer in self.rates if peer != CEILING.name]

    def over(self, peer: str) -> list[float]:
        """The same, of each round."""
        return [
            own / other
            for own, other in zip(self.rates[MEMBENCH.name], self.rates[peer], strict=True)
        ]

    def accuracies(self, peer: str, strength: float, signal: str) -> np.ndarray:
        """[seeds]: on random labels the training accuracy, on real ones the test accuracy; [0] if it trained none."""
        which = 0 if signal == "randY" else 1
        cells = [c for c in self.work.cells if c.strength == (strength,) and c.signal == signal]
        return np.array(
            [self.learned[peer][c.id][which] for c in cells if c.id in self.learned[peer]]
        )


def page(measured: Measured) -> str:
    """The size's heading, table and remarks, in Markdown."""
    size, count = measured.work.size, len(measured.work.cells)
    r, flops = size.recipe, measured.work.flops
    heading = (
        f"\n### {size.name}, matmul precision {measured.precision}\n\n"
        f"{size.dataset}/{size.architecture}, batch {r.batch}, {count} cells of {size.steps} steps of "
        f"{flops / 1e6:.1f} MFLOP, {len(cores())} cores; {len(measured.rates[MEMBENCH.name])} rounds: "
        "median (least - most).\n"
    )
    ceiling = [rate * flops / 1e9 / len(cores()) for rate in measured.rates[CEILING.name]]
    remarks = [
        f"Ceiling: {_spread(ceiling)} GFLOP/s a core, large fp32 products, all cores at once."
    ]
    if any(
        len(m) < len(measured.work.cells)
        for p, m in measured.learned.items()
        if p in measured.peers
    ):
        remarks.append(
            f"~: of a sequential peer only the cells @{SHOWN} were trained, the others' time is reckoned."
        )
    missing = [peer for peer, ratio in measured.ratios.items() if ratio is None]
    remarks += [f"{peer}: null, since it is not installed here: {INSTALL}" for peer in missing]
    for peer in measured.peers:
        remarks += [f"VOID {peer}: {text}" for text in disagreements(measured, peer)]
    return "\n".join([heading, _table(measured), "", *remarks])


def _table(m: Measured) -> str:
    headers = [
        *(
            "peer",
            "lanes",
            "cell-steps/s",
            "membench / peer",
            "of ceiling",
            "start s",
            "all cells s",
            "memory MB",
        ),
        *(f"fit of randY @{SHOWN}", f"test, real @{SHOWN}"),
    ]
    rows = [
        [peer, m.lanes[peer], *_speed(m, peer), *_cost(m, peer), *_learned(m, peer)]
        for peer in m.peers
    ]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def _speed(m: Measured, peer: str) -> list[str]:
    share = median(
        rate / top for rate, top in zip(m.rates[peer], m.rates[CEILING.name], strict=True)
    )
    ratio = "" if peer == MEMBENCH.name else _spread(m.over(peer), 2)
    return [_spread(m.rates[peer]), ratio, f"{share:.0%}"]


def _cost(m: Measured, peer: str) -> list[str]:
    about = "" if len(m.learned[peer]) == len(m.work.cells) else "~"
    return [
        f"{m.start_seconds[peer]:.1f}",
        f"{about}{m.cold_seconds[peer]:.0f}",
        f"{m.memory[peer] / 1e6:.0f}",
    ]


def _learned(m: Measured, peer: str) -> list[str]:
    void = " VOID" if disagreements(m, peer) else ""
    means = [
        (a.mean(), a.std(ddof=1)) for a in (m.accuracies(peer, SHOWN, s) for s in reversed(SIGNALS))
    ]
    return [f"{mean:.3f} ± {sd:.3f}{void}" for mean, sd in means]


def _spread(values: list[float], digits: int = 0) -> str:
    low, middle, high = min(values), median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} - {high:.{digits}f})"


def disagreements(m: Measured, peer: str) -> list[str]:
    """Where the peer's mean accuracy is not membench's: two-sided t-tests, one variance for all peers, Bonferroni."""
    found = []
    for (strength,), signal in product(sorted({c.strength for c in m.work.cells}), SIGNALS):
        own, others = (m.accuracies(p, strength, signal) for p in (MEMBENCH.name, peer))
        allowed = _allowed(m, strength, signal)
        if len(others) and abs(own.mean() - others.mean()) > allowed:
            what = "fit of randY" if signal == "randY" else "test accuracy"
            found.append(
                f"{what} @{strength}: {others.mean():.3f}, membench {own.mean():.3f}, allowed ± {allowed:.3f}"
            )
    return found


def _allowed(m: Measured, strength: float, signal: str) -> float:
    from scipy.stats import t  # slow to import, and every peer's process reads this file

    groups = [a for a in (m.accuracies(peer, strength, signal) for peer in m.peers) if len(a)]
    n, comparisons = (
        len(groups[0]),
        (len(groups) - 1) * len({c.strength for c in m.work.cells}) * len(SIGNALS),
    )
    variance = np.mean([a.var(ddof=1) for a in groups])
    quantile = t.ppf(1 - RISK / (2 * max(1, comparisons)), len(groups) * (n - 1))
    return float(quantile * np.sqrt(2 * variance / n) + SLACK)

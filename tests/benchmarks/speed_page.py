"""The measurements of one size at one precision, and their tables."""

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

RISK = 0.01  #: probability that any of a size's comparisons is called void by chance
SLACK = 0.005  #: accuracy that may differ where all seeds happen to agree
INSTALL = "pip install -e '.[bench]'"


@dataclass
class Measured:
    """Measurements by peer; membench and the ceiling are among the peers."""

    work: Work
    precision: str
    requested: tuple[str, ...]  #: the peers to compare with, installed or not
    rates: dict[str, list[float]] = field(default_factory=dict)  #: cell-steps a second, one a round
    job_seconds: dict[str, float] = field(default_factory=dict)
    start_seconds: dict[str, float] = field(default_factory=dict)  #: imports, data, compilation
    cold_seconds: dict[str, float] = field(default_factory=dict)  #: these and all cells
    #: the same where the programs are compiled already, of peers that keep them
    warm_start_seconds: dict[str, float] = field(default_factory=dict)
    warm_seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)  #: bytes
    lanes: dict[str, int] = field(default_factory=dict)
    learned: dict[str, Accuracies] = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, float | None]:
        """membench's rate over each peer's, the median of the rounds; None if not installed."""
        ratios: dict[str, float | None] = {}
        for peer in self.requested:
            ratios[peer] = median(self.over(peer)) if peer in self.rates else None
        return ratios

    @property
    def peers(self) -> list[str]:
        """The peers that learned something, membench among them."""
        return [peer for peer in self.rates if peer != CEILING.name]

    def over(self, peer: str) -> list[float]:
        """Compute membench's rate over the peer's, for each round."""
        rounds = zip(self.rates[MEMBENCH.name], self.rates[peer], strict=True)
        return [membench / other for membench, other in rounds]

    def accuracies(self, peer: str, strength: float, signal: str) -> np.ndarray:
        """Collect the accuracies at a strength on a signal.

        Args:
            peer: whose.
            strength: of dropout.
            signal: "randY": training accuracies; "real": test accuracies.

        Returns:
            [seeds]; [0] if the peer trained no such cell.
        """
        which = 0 if signal == "randY" else 1
        learned = self.learned[peer]
        values = []
        for cell in self.work.cells:
            if cell.strength == (strength,) and cell.signal == signal and cell.id in learned:
                values.append(learned[cell.id][which])
        return np.array(values)

    def is_complete(self, peer: str) -> bool:
        """Tell whether the peer trained all cells."""
        return len(self.learned[peer]) == len(self.work.cells)


def page(measured: Measured) -> str:
    """Write the size's heading, table and remarks, in Markdown."""
    return "\n".join([_heading(measured), _table(measured), "", *_remarks(measured)])


def _heading(measured: Measured) -> str:
    work, size = measured.work, measured.work.size
    rounds = len(measured.rates[MEMBENCH.name])
    return (
        f"\n### {size.name}, matmul precision {measured.precision}\n\n"
        f"{size.dataset}/{size.architecture}, batch {size.recipe.batch}, "
        f"{len(work.cells)} cells of {size.steps} steps of {work.flops / 1e6:.1f} MFLOP, "
        f"{len(cores())} cores; {rounds} rounds: median (least - most).\n"
    )


def _remarks(measured: Measured) -> list[str]:
    gigaflops = measured.work.flops / 1e9 / len(cores())
    ceiling = [rate * gigaflops for rate in measured.rates[CEILING.name]]
    remarks = [
        f"Ceiling: {_spread(ceiling)} GFLOP/s a core, large fp32 products, all cores at once."
    ]
    if not all(measured.is_complete(peer) for peer in measured.peers):
        remarks.append(
            f"~: of a sequential peer only the cells @{SHOWN} were trained, "
            "the others' time is reckoned."
        )
    for peer, ratio in measured.ratios.items():
        if ratio is None:
            remarks.append(f"{peer}: null, since it is not installed here: {INSTALL}")
    for peer in measured.peers:
        for disagreement in disagreements(measured, peer):
            remarks.append(f"VOID {peer}: {disagreement}")
    return remarks


def _table(m: Measured) -> str:
    headers = [
        "peer",
        "lanes",
        "cell-steps/s",
        "membench / peer",
        "of ceiling",
        "start s, cold / warm",
        "all cells s, cold / warm",
        "over membench's, cold / warm",
        "memory MB",
        f"fit of randY @{SHOWN}",
        f"test, real @{SHOWN}",
    ]
    rows = []
    for peer in m.peers:
        rows.append([peer, m.lanes[peer], *_speed(m, peer), *_cost(m, peer), *_learned(m, peer)])
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def _speed(m: Measured, peer: str) -> list[str]:
    rounds = zip(m.rates[peer], m.rates[CEILING.name], strict=True)
    share = median(rate / ceiling for rate, ceiling in rounds)
    ratio = "" if peer == MEMBENCH.name else _spread(m.over(peer), 2)
    return [_spread(m.rates[peer]), ratio, f"{share:.0%}"]


def _cost(m: Measured, peer: str) -> list[str]:
    about = "" if m.is_complete(peer) else "~"
    start, whole, ratio = f"{m.start_seconds[peer]:.1f}", f"{about}{m.cold_seconds[peer]:.0f}", ""
    if peer in m.warm_seconds:
        start += f" / {m.warm_start_seconds[peer]:.1f}"
        whole += f" / {m.warm_seconds[peer]:.0f}"
    if peer != MEMBENCH.name:
        cold = m.cold_seconds[peer] / m.cold_seconds[MEMBENCH.name]
        warm = m.cold_seconds[peer] / m.warm_seconds[MEMBENCH.name]
        ratio = f"{cold:.2f} / {warm:.2f}"
    return [start, whole, ratio, f"{m.memory[peer] / 1e6:.0f}"]


def _learned(m: Measured, peer: str) -> list[str]:
    void = " VOID" if disagreements(m, peer) else ""
    cells = []
    for signal in ("randY", "real"):
        accuracies = m.accuracies(peer, SHOWN, signal)
        cells.append(f"{accuracies.mean():.3f} ± {accuracies.std(ddof=1):.3f}{void}")
    return cells


def _spread(values: list[float], digits: int = 0) -> str:
    low, middle, high = min(values), median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} - {high:.{digits}f})"


def disagreements(m: Measured, peer: str) -> list[str]:
    """List where the peer's mean accuracy is not membench's.

    Two-sided t tests with one variance for all peers and Bonferroni's correction.
    """
    texts = []
    for strength, signal in product(_strengths(m), SIGNALS):
        reference = m.accuracies(MEMBENCH.name, strength, signal)
        accuracies = m.accuracies(peer, strength, signal)
        allowed = _allowed(m, strength, signal)
        if len(accuracies) and abs(reference.mean() - accuracies.mean()) > allowed:
            what = "fit of randY" if signal == "randY" else "test accuracy"
            texts.append(
                f"{what} @{strength}: {accuracies.mean():.3f}, "
                f"membench {reference.mean():.3f}, allowed ± {allowed:.3f}"
            )
    return texts


def _allowed(m: Measured, strength: float, signal: str) -> float:
    """Compute how far two peers' mean accuracies may differ by chance."""
    from scipy.stats import t  # slow to import, and every peer's process imports this file

    groups = []
    for peer in m.peers:
        accuracies = m.accuracies(peer, strength, signal)
        if len(accuracies):
            groups.append(accuracies)
    n = len(groups[0])
    comparisons = (len(groups) - 1) * len(_strengths(m)) * len(SIGNALS)
    variance = np.mean([accuracies.var(ddof=1) for accuracies in groups])
    quantile = t.ppf(1 - RISK / (2 * max(1, comparisons)), len(groups) * (n - 1))
    return float(quantile * np.sqrt(2 * variance / n) + SLACK)


def _strengths(m: Measured) -> list[float]:
    return sorted({cell.strength[0] for cell in m.work.cells})

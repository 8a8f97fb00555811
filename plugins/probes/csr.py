"""Critical sample ratio: the share of validation points with another prediction within radius r.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
4.1: a high ratio means dense decision boundaries. The box is searched by their algorithm 1, LASS,
in grey levels of 0-255, from x' = x: x' <- x' + a sign(grad CE of the label predicted at x) + b
N(0, 1), clipped to |x' - x| <= r, until the prediction changes. Where the printed algorithm leaves
it open, as in the first author's code: the gradient is that at x', and it ascends the
cross-entropy; unlike there, no search of one point ends because others found little. `csr` is r : a
: b = .3 : .25 : .2 as in the paper, `csr-3` ten times as much; `csr-monitor` and `csr-3-monitor`
stop at 10 iterations, for many checkpoints, and find up to a tenth less. Each looks at the first
500 validation points, the same throughout a run and for all signals of a seed, in evaluation mode.
Metrics: `share`, the ratio; `wrong`, the part of it that lies at points whose class the network has
wrong; and `late`, the part that only the second half of the iterations found: what a longer search
might still add.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from membench import Probe
from membench import hookimpl
from membench.api import Params
from membench.probes import Metrics
from membench.probes import ProbeData
from membench.probes import ProbeLane

POINTS = 500
STEP, NOISE = 0.25 / 0.3, 0.2 / 0.3  # a and b in units of r


def lass(x: Tensor, radius: float, lane: ProbeLane, iterations: int) -> Tensor:
    """Search a critical sample of each point.

    Points are searched apart: none depends on which others are there or still searching, since the
    i-th iteration draws for all of them.

    Args:
        x: [n, c, h, w].
        radius: in grey levels.
        lane: the run.
        iterations: the most that are made.

    Returns:
        [n] int64, the iteration, from 1, at which one was found; 0 = not found.
    """
    unit = radius * lane.pixel
    with torch.no_grad():
        label = lane.forward(x).argmax(dim=1)
    found = torch.zeros_like(label)
    rows, at = torch.arange(len(x), device=x.device), x
    for i in range(iterations):
        noise = lane.normal(tuple(x.shape), f"eta-{i}")[rows]
        start = at.detach().requires_grad_()
        loss = F.cross_entropy(lane.forward(start), label[rows], reduction="sum")
        (ascent,) = torch.autograd.grad(loss, start)
        move = start.detach() + unit * (STEP * ascent.sign() + NOISE * noise) - x[rows]
        at = x[rows] + move.clamp(-unit, unit)
        with torch.no_grad():
            hit = lane.forward(at).argmax(dim=1) != label[rows]
        found[rows[hit]] = i + 1
        rows, at = rows[~hit], at[~hit]
        if not len(rows):
            break
    return found


def measure(
    params: Params, data: ProbeData, lane: ProbeLane, radius: float, iterations: int
) -> Metrics:
    found = lass(data.val_x[:POINTS], radius, lane, iterations)
    critical = found > 0
    with torch.no_grad():
        wrong = lane.forward(data.val_x[:POINTS]).argmax(dim=1) != data.val_y[:POINTS]
    shares = {"share": critical, "wrong": critical & wrong, "late": found > iterations // 2}
    return {name: points.float().mean() for name, points in shares.items()}


def probe(name: str, radius: float, iterations: int) -> Probe:
    summary = (
        f"Critical sample ratio, r = {radius:g} grey levels of 255, at most {iterations} iterations"
    )
    return Probe(name, partial(measure, radius=radius, iterations=iterations), summary=summary)


@hookimpl
def register() -> list[Probe]:
    return [
        probe("csr", 0.3, 100),
        probe("csr-3", 3.0, 100),
        probe("csr-monitor", 0.3, 10),
        probe("csr-3-monitor", 3.0, 10),
    ]

"""Loss sensitivity: how much each training example moved the loss, through unrolled training.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
3.2 (figures 3 and 4), after Maclaurin, Duvenaud and Adams, ICML 2015, arXiv:1502.03492. L_t is the
mean training loss at the weights after t steps, g_x^t the L1 norm of dL_t / dx: x acts through the
batches that it was in, since L_t itself holds the training set fixed. The two read the whole run at
its end, at the ends of some epochs, and replay plain SGD to get there.
"""

import math
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import grad
from torch.func import jacrev
from torch.func import vjp
from torch.func import vmap

from membench import Probe
from membench import hookimpl
from membench.api import Lane
from membench.api import Params
from membench.errors import MembenchError
from membench.nn import cross_entropy
from membench.nn import one_hot
from membench.probes import Metrics
from membench.probes import ProbeData
from membench.probes import ProbeLane

TIMES = 10  #: ends of epochs at which the loss is read, evenly over the run
#: steps after which the replayed weights are compared with the run's: rounding grows later
EARLY = 20
CLOSE = 1e-3  #: how far they may be from each other then, over the distance that the run has gone


@dataclass(frozen=True)
class Descent:
    """SGD with momentum as a function of its examples; weights are one flat vector."""

    losses: Callable[[Tensor, Tensor, Tensor], Tensor]  #: (weights [p], x [b, ...], y [b]) -> [b]
    x: Tensor  #: [n, ...]
    y: Tensor  #: [n] int64
    order: Tensor  #: [steps, b] int64, rows of x; none twice in a batch
    rates: list[float]  #: the learning rate of each step
    momentum: float

    def slope(self, t: int, w: Tensor, x: Tensor) -> Tensor:
        """Compute the gradient [p] of step t's objective, with x [b, ...] as its batch."""
        return grad(lambda w: self.losses(w, x, self.y[self.order[t]]).mean())(w)

    def step(self, t: int, w: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """Take step t: the weights and the momentum after it."""
        m = self.momentum * m + self.slope(t, w, self.x[self.order[t]])
        return w - self.rates[t] * m, m

    def pull_back(self, t: int, w: Tensor, dw: Tensor, dm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take step t in reverse, for a quantities at once.

        Args:
            t: the step.
            w: [p] the weights before it.
            dw: [a, p] derivatives of the quantities in the weights after it.
            dm: [a, p] in the momentum after it.

        Returns:
            Their derivatives in the weights and the momentum before it, [a, p], and in its batch,
            [a, b, ...].
        """
        dm = dm - self.rates[t] * dw
        _, transposed = vjp(partial(self.slope, t), w, self.x[self.order[t]])
        bent, dx = vmap(transposed)(dm)  # products with the Hessian, and with the mixed derivative
        return dw + bent, self.momentum * dm, dx

    def backwards(self, start: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield (t, weights before step t, weights after it) from the last step to the first.

        `start` [p] are those at step 0. A square root of the steps is kept on the way there and the
        rest computed again: a long run fits the memory.
        """
        steps = len(self.order)
        stride = math.isqrt(steps) or 1
        w, m, kept = start, torch.zeros_like(start), []
        for t in range(steps):
            if t % stride == 0:
                kept.append((w, m))
            w, m = self.step(t, w, m)
        for block in reversed(range(len(kept))):
            w, m = kept[block]
            path = [w]
            for t in range(block * stride, min(steps, (block + 1) * stride)):
                w, m = self.step(t, w, m)
                path.append(w)
            for i in reversed(range(len(path) - 1)):
                yield block * stride + i, path[i], path[i + 1]

    def sensitivity(
        self, start: Tensor, times: list[int], parts: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Differentiate each part of the loss at each time by every input.

        Args:
            start: [p] the weights before step 0.
            times: ascending numbers of steps after which the loss is read.
            parts: weights [p] -> the loss's parts [c].

        Returns:
            [k, c, n, ...], zero where an example came later than the time; the weights after all
            steps.
        """
        count = len(parts(start))
        total = start.new_zeros(len(times) * count, *self.x.shape)  # the latest time first
        dw, dm = (start.new_zeros(len(total), len(start)) for _ in range(2))
        final, active = start, 0
        for t, before, after in self.backwards(start):
            final = after if t + 1 == len(self.order) else final
            if t + 1 in times:
                dw[active : active + count] = jacrev(parts)(after)
                active += count
            if active:
                dw[:active], dm[:active], dx = self.pull_back(t, before, dw[:active], dm[:active])
                total[:active, self.order[t]] += dx
        return total.reshape(len(times), count, *self.x.shape).flip(0), final


def gini(g: Tensor) -> Tensor:
    """Compute the Gini coefficient over the last axis, [...].

    0 = all equal, 1 - 1/n = one has everything; 0 where all are zero.
    """
    n = g.shape[-1]
    weight = torch.arange(1 - n, n, 2, dtype=g.dtype, device=g.device)
    total = g.sum(-1)
    coefficient = (weight * g.sort(-1).values).sum(-1) / (n * total)
    return torch.where(total > 0, coefficient, torch.zeros_like(total))


def descent(data: ProbeData, lane: ProbeLane) -> tuple[Descent, Tensor]:
    """Return the run as a function of its examples, and its weights at step 0 as one vector.

    Raises:
        MembenchError: the recipe is not SGD.
    """
    if lane.recipe.optimizer != "sgd":
        raise MembenchError(
            f"sensitivity: unrolls sgd only, not {lane.recipe.optimizer}; choose another recipe"
        )
    shapes = {name: w.shape for name, w in lane.initial.items()}

    def losses(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        pieces = w.split([shape.numel() for shape in shapes.values()])
        params = {
            name: piece.view(shape)
            for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
        }
        return cross_entropy(lane.forward(x, params), one_hot(y, lane.num_classes).to(w.dtype))

    run = Descent(
        losses=losses,
        x=data.x,
        y=data.y,
        order=lane.order,
        rates=lane.rates.tolist(),
        momentum=lane.recipe.momentum,
    )
    return run, flat(lane.initial)


def flat(params: Params) -> Tensor:
    """Join all weights to one vector [p]."""
    return torch.cat([w.detach().flatten() for w in params.values()])


def distance(there: Tensor, here: Tensor, start: Tensor) -> float:
    """Measure the distance between two weights [p], over the way from `start` to the second."""
    return float((there - here).norm() / (here - start).norm().clamp_min(1e-30))


def keep(params: Params, lane: Lane) -> dict[str, Any]:
    return {"early": params}


def keep_early(params: Params, lane: Lane) -> dict[str, Any]:
    """Keep the run's weights after EARLY steps, or after all of fewer."""
    early, kept = lane.step < EARLY, lane.state["early"]
    return {"early": {name: torch.where(early, w, kept[name]) for name, w in params.items()}}


def norms(
    params: Params,
    data: ProbeData,
    lane: ProbeLane,
    parts: Callable[[Descent, Tensor], Tensor],
) -> tuple[list[int], Tensor, float]:
    """Replay the run and measure how its inputs moved the loss.

    A run that is chaotic, as some are that fit closely, ends elsewhere than its replay because of
    rounding alone; the replay is then a run of the same kind.

    Args:
        params: the weights at the run's end.
        data: the run's.
        lane: the run.
        parts: (run, weights [p]) -> the loss's parts [c].

    Returns:
        The numbers of steps at which the loss is read; L1 norms [k, c, n] of the derivatives of its
        parts there in each trained input; how far the replay ends from the run, over the distance
        that it went.

    Raises:
        MembenchError: they part early: something else than plain SGD moved the weights.
    """
    run, start = descent(data, lane)
    first = replace(run, order=run.order[:EARLY])
    apart = distance(next(first.backwards(start))[2], flat(lane.state["early"]), start)
    if not apart < CLOSE:
        raise MembenchError(
            f"sensitivity: plain SGD is {apart:.2g} of the way elsewhere early on; it measures "
            "none, eager"
        )
    per_epoch = lane.steps // lane.epoch
    times = sorted({per_epoch * math.ceil(lane.epoch * i / TIMES) for i in range(1, TIMES + 1)})
    derivative, final = run.sensitivity(start, times, lambda w: parts(run, w))
    gap = distance(final, flat(params), start)
    return times, derivative.flatten(3).abs().sum(-1)[:, :, data.trained], gap


def measure_examples(params: Params, data: ProbeData, lane: ProbeLane) -> Metrics:
    """Return Gini over examples of g, averaged over the times so far and at each; the mean g."""
    seen = data.trained

    def mean_loss(run: Descent, w: Tensor) -> Tensor:
        return run.losses(w, run.x[seen], run.y[seen]).mean()[None]

    times, g, gap = norms(params, data, lane, mean_loss)
    g = g[:, 0]
    average = g.cumsum(0) / torch.arange(1, len(g) + 1, device=g.device)[:, None]
    return {
        "steps": torch.tensor(times),
        "gini": gini(average),
        "gini-now": gini(g),
        "mean": g.mean(1),
        "gap": gap,
    }


def measure_classes(params: Params, data: ProbeData, lane: ProbeLane) -> Metrics:
    """Return g by class, row by row.

    Entry (i, j) is g of the loss's part of class i, averaged over the inputs of class j and the
    times.
    """
    labels = one_hot(data.y[data.trained], lane.num_classes)

    def by_class(run: Descent, w: Tensor) -> Tensor:
        return run.losses(w, run.x[data.trained], run.y[data.trained]) @ labels / len(labels)

    _, g, gap = norms(params, data, lane, by_class)
    return {"matrix": (g.mean(0) @ labels / labels.sum(0).clamp_min(1)).flatten(), "gap": gap}


@hookimpl
def register() -> list[Probe]:
    return [
        Probe(
            "loss-sensitivity",
            measure_examples,
            "end",
            keep,
            keep_early,
            "Gini of the examples' effects on the loss.",
        ),
        Probe(
            "class-sensitivity",
            measure_classes,
            "end",
            keep,
            keep_early,
            "Effects of each class's examples, by class.",
        ),
    ]

"""The penalties: what each adds to the loss, and to its gradient, written again from the papers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.engine import CLASSES
from support.engine import CNN
from support.engine import MLP
from support.engine import ToyRun
from support.engine import lane_data
from support.regularizers import close
from support.regularizers import logits_of
from support.regularizers import loss_gradient
from support.regularizers import matrices
from support.regularizers import mean_loss
from support.regularizers import step_at
from support.regularizers import trained_step
from support.regularizers import variables
from support.regularizers import with_state
from torch import Tensor
from torch.utils._pytree import tree_map

from membench.api import Architecture
from membench.api import Params
from membench.engine.step import Step

pytestmark = pytest.mark.usefixtures("worker_like")  # bitwise at one thread, as the engine promises


def test_weight_decay_s_gradient_is_the_strength_times_the_weight_matrices() -> None:
    s, step = 0.3, step_at("weight-decay", 0.3)

    def penalty(params: Params) -> Tensor:
        return step.program.parts[0].penalty(params, step.lane(0, "penalty"))

    params = tree_map(lambda v: v.double().requires_grad_(), step.params)
    grads = torch.autograd.grad(penalty(params), list(params.values()), allow_unused=True)
    for name, g in zip(params, grads, strict=True):
        w = step.params[name]
        if w.dim() < 2:
            assert g is None or not g.any()
            continue
        assert torch.allclose(g.float(), s * w, atol=1e-6)
        up, down = (
            {**params, name: params[name] + sign * 1e-5 * torch.ones_like(w)} for sign in (1, -1)
        )
        assert ((penalty(up) - penalty(down)) / 2e-5).item() == pytest.approx(
            g.sum().item(), abs=1e-6
        )


def input_gradient(step: Step, p: Params, s: float) -> Tensor:
    total = 0.0
    for i, y in enumerate(step.y):
        x = step.x[i : i + 1].clone().requires_grad_()
        loss = F.cross_entropy(logits_of(step, p, x), y.argmax()[None])
        total += torch.autograd.grad(loss, x, create_graph=True)[0].pow(2).sum()
    return s / 2 * total / len(step.x)


def projected_jacobian(step: Step, p: Params, s: float) -> Tensor:
    draws = step.lane(0, "penalty").normal((len(step.x), CLASSES))
    total = 0.0
    for x, z in zip(step.x, draws, strict=True):
        whole = torch.autograd.functional.jacobian(
            lambda x: logits_of(step, p, x[None])[0], x, create_graph=True
        )
        total += ((z / z.norm()) @ whole.reshape(CLASSES, -1)).pow(2).sum()
    return s / 2 * CLASSES * total / len(step.x)


def gradient_norm(step: Step, p: Params, s: float) -> Tensor:
    own = torch.autograd.grad(mean_loss(step, p), list(p.values()), create_graph=True)
    return s * sum(g.pow(2).sum() for g in own)


def fisher(step: Step, p: Params, s: float) -> Tensor:
    u = step.lane(0, "penalty").uniform((len(step.x), CLASSES))
    logits = logits_of(step, p, step.x)
    drawn = (-torch.log(u) / logits.softmax(1)).argmin(
        1
    )  # of independent exponential clocks of rates p, the first
    own = torch.autograd.grad(F.cross_entropy(logits, drawn), list(p.values()), create_graph=True)
    return s * sum(g.pow(2).sum() for g in own)


def absolute(step: Step, p: Params, s: float) -> Tensor:
    return s * sum(torch.linalg.vector_norm(w, 1) for w in matrices(p))


def orthogonality(step: Step, p: Params, s: float) -> Tensor:
    return s * sum((torch.linalg.svdvals(w) ** 2 - 1).pow(2).sum() for w in matrices(p))


def from_init(step: Step, p: Params, s: float) -> Tensor:
    start = (
        ToyRun(architecture=_architecture(step), data=lane_data(1, n=24)).trainer().state["params"]
    )
    return s / 2 * sum((w - start[name][0]).pow(2).sum() for name, w in p.items())


def _architecture(step: Step) -> Architecture:
    return CNN if "stem.linear.weight" in step.params else MLP


def spectral(step: Step, p: Params, s: float) -> Tensor:
    """u from the state is a constant; v and sigma are those of the current weights."""
    total = 0.0
    for u, w in zip(step.states[0].values(), matrices(p), strict=True):
        m = w.detach().double().numpy()
        v = m.T @ u.double().numpy()
        sigma = np.linalg.norm(v)
        # value sigma^2 / 2, gradient sigma u v^T
        slope = torch.tensor(np.outer(u.double().numpy(), v)).float()
        total += torch.tensor(sigma**2 / 2).float() + (slope * (w - w.detach())).sum()
    return s * total


PENALTIES: dict[str, tuple[float, Callable[[Step, Params, float], Tensor]]] = {
    "input-gradient-penalty": (3.0, input_gradient),
    "jacobian-penalty": (0.7, projected_jacobian),
    "gradient-norm-penalty": (0.4, gradient_norm),
    "fisher-penalty": (0.4, fisher),
    "l1": (0.02, absolute),
    "orthogonality-penalty": (0.05, orthogonality),
    "distance-from-init": (0.3, from_init),
    "spectral-penalty": (0.2, spectral),
}


@pytest.mark.parametrize("architecture", [MLP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_adds_its_formula_to_the_loss_and_to_the_gradient(
    name: str, architecture: Architecture
) -> None:
    s, formula = PENALTIES[name]
    step = trained_step(name, s, architecture)
    grads, loss, *_ = step.gradient(step.params, 1)
    p = variables(step.params)
    added = formula(step, p, s)
    assert loss.item() == pytest.approx((mean_loss(step, p) + added).item(), rel=1e-5)
    assert added.item() > 1e-4
    expected = torch.autograd.grad(mean_loss(step, p) + added, list(p.values()))
    assert close(grads, dict(zip(p, expected, strict=True)))
    plain = loss_gradient(step)
    assert not close(grads, plain)


def test_the_projection_estimates_the_jacobian_s_norm_without_bias() -> None:
    z = trained_step("jacobian-penalty", 0.7).lane(0, "penalty").normal((20_000, CLASSES))
    v = z / z.norm(dim=1, keepdim=True)
    assert torch.allclose(CLASSES * v.T @ v / len(v), torch.eye(CLASSES), atol=0.03)


def test_power_iteration_goes_on_to_the_largest_singular_value() -> None:
    step, s = trained_step("spectral-penalty", 1.0), 1.0
    part = step.program.parts[0]
    for _ in range(200):
        step = with_state(
            step, part.update(step.params, step.lane(0, "update", before=step.params))
        )
    value = part.penalty(step.params, step.lane(0, "penalty"))
    expected = sum(torch.linalg.matrix_norm(w, 2) ** 2 for w in matrices(step.params))
    assert value.item() == pytest.approx(s / 2 * expected.item(), rel=1e-4)

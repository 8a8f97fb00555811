"""The regularizers of the weights after the step and of their average along the trajectory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.engine import CNN
from support.engine import ToyRun
from support.engine import bitwise_equal
from support.engine import lane_data
from support.engine import one_lane
from support.engine import parts
from support.regularizers import call_stage
from support.regularizers import close
from support.regularizers import mean_loss
from support.regularizers import toy_run
from support.regularizers import variables
from torch.utils._pytree import tree_map

from membench.api import Params
from membench.api import Recipe

pytestmark = pytest.mark.usefixtures("worker_like")  # bitwise at one thread, as the engine promises


def test_max_norm_scales_long_rows_back_and_leaves_short_ones_alone() -> None:
    w = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    kernel = torch.full((2, 1, 2, 2), 0.5)  # norms 1
    out = call_stage("max-norm", "weights", 0.8, {"w": w, "b": torch.ones(3) * 9, "k": kernel})
    assert torch.allclose(out["w"][0], torch.tensor([0.48, 0.64]))
    assert torch.equal(out["w"][1:], w[1:]) and torch.equal(out["b"], torch.ones(3) * 9)
    assert torch.allclose(out["k"], kernel * 0.8)


def test_max_norm_holds_after_training() -> None:
    params = toy_run("max-norm", (0.3,), architecture=CNN).trained(epochs=4).state["params"]
    norms = torch.cat([w[0].norm(dim=1) for name, w in params.items() if w.dim() > 2])
    assert norms.max() <= 0.3 * (1 + 1e-6) and (norms > 0.299).any()


def test_decoupled_decay_is_adamw_s_on_the_weight_matrices() -> None:
    s, recipe = 0.7, Recipe(optimizer="adamw", lr=0.02, batch=8)
    w = ToyRun(parts("decoupled-decay"), ((s,),), recipe=recipe, data=lane_data(1, n=24))
    trainer, order = w.trainer(), w.orders()[0]
    params = variables({name: v[0] for name, v in trainer.state["params"].items()})
    by_size = [[v for v in params.values() if (v.dim() > 1) == large] for large in (False, True)]
    adamw = torch.optim.AdamW(
        [{"params": by_size[0], "weight_decay": 0}, {"params": by_size[1], "weight_decay": s}],
        lr=0.02,
    )
    for t in range(3):
        step = one_lane(trainer, order, t)
        adamw.zero_grad()
        mean_loss(step, params).backward()
        adamw.step()
    trainer.train_epoch(order)
    assert close({name: v[0] for name, v in trainer.state["params"].items()}, params)


def test_shrink_and_perturb_replaces_a_share_after_each_tenth_but_the_last() -> None:
    s, w = 0.3, ToyRun(parts("shrink-and-perturb"), ((0.3,),), data=lane_data(1, n=24))
    trainer, order = w.trainer(), w.orders()[0]
    given = {name: v[0] + 1 for name, v in trainer.state["params"].items()}
    acted = []
    for t in range(40):
        step = one_lane(trainer, order, t)
        before = step.params
        out = step.program.parts[0].weights(given, step.lane(0, "weights", before=before))
        if bitwise_equal(out, given):
            continue
        acted.append(t + 1)
        lane = step.lane(0, "weights")
        for name, v in given.items():
            start = step.common["initial"][name].double()
            fresh = (start - start.mean()).pow(2).mean().sqrt().float() * lane.normal(v.shape)
            assert torch.allclose(out[name], 0.7 * v + s * fresh, atol=1e-5)
    assert acted == [4, 8, 12, 16, 20, 24, 28, 32, 36]


# --- averages -------------------------------------------------------------------------------------


def test_ema_evaluates_the_exponential_average_of_all_weights_so_far() -> None:
    s, w = 0.9, toy_run("ema", (0.9,))
    trainer, plain = w.trainer(), replace(w, regularizers=()).trainer()
    average = {k: v.clone() for k, v in plain.state["params"].items()}
    for order in w.orders(epochs=2):
        for one in order.split(1, dim=1):
            trainer.train_epoch(one)
            plain.train_epoch(one)
            average = {k: s * a + (1 - s) * plain.state["params"][k] for k, a in average.items()}
    assert bitwise_equal(trainer.state["params"], plain.state["params"])
    read = trainer.program.readout(
        tree_map(lambda v: v[0], trainer.state),
        tree_map(lambda v: v[0], trainer.constants),
        trainer.step_index,
    )
    assert all(torch.allclose(read[k], average[k][0], atol=1e-6) for k in read)


def weights_by_epoch(name: str, *strengths: float, epochs: int = 4) -> list[tuple[Params, Params]]:
    """(weights, evaluated weights) of the lanes after each epoch of 3 of 40 steps."""
    w = ToyRun(parts(name), tuple((s,) for s in strengths), data=lane_data(1, n=24))
    w = replace(w, seeds=(0,) * len(strengths), data=_same(len(strengths)))
    trainer, seen = w.trainer(), []
    for order in w.orders(epochs=epochs):
        trainer.train_epoch(order)
        read = torch.func.vmap(trainer.program.readout, in_dims=(0, 0, None))(
            trainer.state, trainer.constants, trainer.step_index
        )
        seen.append(({k: v.clone() for k, v in trainer.state["params"].items()}, read))
    return seen


def _same(lanes: int) -> object:
    data = lane_data(1, n=24)
    return replace(
        data,
        **{f: getattr(data, f)[[0] * lanes] for f in ("rows", "labels", "clean", "mean", "std")},
    )


def test_swa_evaluates_the_mean_of_the_last_epochs_weights() -> None:
    shares = {
        0.9: (2, 3, 4),
        1.0: (1, 2, 3, 4),
        0.8: (3, 4),
        0.5: (),
    }  # steps 3, 6, 9, 12 of 40 end the epochs
    seen = weights_by_epoch("swa", *shares)
    for lane, averaged in enumerate(shares.values()):
        for epoch, (weights, read) in enumerate(seen, 1):
            taken = [seen[e - 1][0] for e in averaged if e <= epoch] or [weights]
            for name in read:
                mean = torch.stack([w[name][lane] for w in taken]).mean(0)
                assert torch.allclose(read[name][lane], mean, atol=1e-6)
    assert all(torch.equal(v[0], v[1]) for v in seen[-1][0].values()), "training is untouched"

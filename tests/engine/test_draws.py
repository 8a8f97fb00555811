"""Draws in torch: the hash of `membench.rng` bit for bit, and every site a stream of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support.engine import MLP
from support.engine import ToyRun
from support.engine import bitwise_equal
from support.engine import one_lane
from support.engine import parts
from test_rng import LIMIT
from test_rng import peak
from torch import Tensor
from torch.func import vmap

from membench import rng
from membench.api import Regularizer
from membench.engine import draws
from membench.engine.lane import LaneView
from membench.engine.lane import Stream
from membench.engine.step import forward_of

N = 1 << 15
words = st.integers(0, 2**32 - 1)


def key(*parts: object) -> Tensor:
    return torch.tensor([draws.to_int32(rng.word(*parts))], dtype=torch.int32)


def unsigned(t: Tensor) -> list[int]:
    return [v & 0xFFFFFFFF for v in t.flatten().tolist()]


def lane(
    *site: int, stage: str = "hidden", of: Tensor | None = None, rows: Tensor | None = None
) -> LaneView:
    return LaneView(Stream(key("k") if of is None else of, stage, site, rows), {})


@settings(deadline=None)
@given(words, words)
def test_the_torch_chain_is_the_python_chain(k: int, v: int) -> None:
    start = torch.tensor([draws.to_int32(k)], dtype=torch.int32)
    value = torch.tensor([draws.to_int32(v)], dtype=torch.int32)
    assert unsigned(draws.chain_tensor(start, v)) == [rng.chain(k, v)]
    assert unsigned(draws.chain_tensor(start, value)) == [rng.chain(k, v)]


def test_torch_bits_are_the_numpy_hashes_alone_and_stacked() -> None:
    keys = torch.stack([key("lane", i) for i in range(5)])
    stacked = vmap(lambda k: draws.bits(k, (7, 3)))(keys)
    for k, mine in zip(keys, stacked, strict=True):
        expected = rng.hashes(int(k) & 0xFFFFFFFF, 21).tolist()
        assert unsigned(mine) == expected
        assert unsigned(draws.bits(k, (7, 3))) == expected


def test_uniform_draws_are_the_upper_24_bits() -> None:
    u = draws.uniform(key("u"), (N,))
    expected = rng.hashes(rng.word("u"), N) >> 8
    assert u.dtype == torch.float32
    assert np.array_equal(u.numpy(), expected.astype(np.float32) / np.float32(1 << 24))


def test_dynamo_traces_draws_too() -> None:
    """The engine traces by itself; a user's own `torch.compile` around a plugin does not."""

    def draw(k: Tensor) -> Tensor:
        return draws.uniform(draws.chain_tensor(k, 3), (4,))

    keys = torch.stack([key("lane", i) for i in range(2)])
    traced = torch.compile(vmap(draw), fullgraph=True, dynamic=False, backend="eager")
    assert torch.equal(traced(keys), vmap(draw)(keys))


@pytest.mark.slow
@pytest.mark.parametrize("width", [5, 16])
def test_compiled_draws_are_the_eager_ones(width: int) -> None:
    """Integers and uniform numbers bit for bit; Gaussians to a few units in the last place."""

    def all_three(k: Tensor) -> tuple[Tensor, ...]:
        k = draws.chain_tensor(draws.chain_tensor(k, 3), 5)
        return draws.bits(k, (7, width)), draws.uniform(k, (7, width)), draws.normal(k, (7, width))

    keys = torch.stack([key("lane", i) for i in range(3)])
    compiled = torch.compile(vmap(all_three), fullgraph=True, dynamic=False)
    eager, stacked, alone = vmap(all_three)(keys), compiled(keys), compiled(keys[1:2])
    assert torch.equal(eager[0], stacked[0]) and torch.equal(eager[1], stacked[1])
    assert (eager[2] - stacked[2]).abs().max() < 2e-6
    assert all(torch.equal(s[1], a[0]) for s, a in zip(stacked, alone, strict=True))


def test_uniform_and_normal_draws_have_the_right_moments() -> None:
    u, z = (f(key("moments"), (N,)).double() for f in (draws.uniform, draws.normal))
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 4 * math.sqrt(1 / 12 / N)
    assert abs(u.var() - 1 / 12) < 4 * math.sqrt(1 / 180 / N)
    assert abs(z.mean()) < 4 / math.sqrt(N)
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / N)
    assert abs((z**3).mean()) < 4 * math.sqrt(15 / N)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / N)


def test_gaussians_are_finite_and_below_six_at_every_radius(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = torch.cat([torch.arange(1 << 16), (1 << 24) - 1 - torch.arange(1 << 16)]).float() / (
        1 << 24
    )
    monkeypatch.setattr(draws, "uniform", lambda *args: ends)
    z = draws.normal(key("any"), ends.shape)
    assert z.isfinite().all() and z.abs().max() < 5.9


def test_a_draw_does_not_correlate_with_itself_at_any_lag() -> None:
    for f in (draws.uniform, draws.normal):
        a = f(key("self"), (N,)).double().numpy()
        assert peak(a, a) < LIMIT


def sites() -> dict[str, Callable[[], LaneView]]:
    """Two steps, parts, lanes, stages, taps, forwards and calls: no two may share their draws."""

    def called(site: LaneView) -> LaneView:
        site.uniform((1,))
        return site

    def step(seed: Tensor, t: int, name: str) -> Tensor:
        of_step = draws.chain_tensor(seed, torch.tensor([t], dtype=torch.int32))
        return draws.chain_tensor(of_step, rng.spell(name))

    a, b = key("task", 0), key("task", 1)
    return {
        "base": lambda: lane(0, 0, 0, 0, of=step(a, 0, "dropout")),
        "other lane": lambda: lane(0, 0, 0, 0, of=step(b, 0, "dropout")),
        "next step": lambda: lane(0, 0, 0, 0, of=step(a, 1, "dropout")),
        "step after next": lambda: lane(0, 0, 0, 0, of=step(a, 2, "dropout")),
        "other part": lambda: lane(0, 0, 0, 0, of=step(a, 0, "hidden-noise")),
        "part with a similar name": lambda: lane(0, 0, 0, 0, of=step(a, 0, "dropout-2")),
        "next tap": lambda: lane(0, 0, 0, 1, of=step(a, 0, "dropout")),
        "tap after next": lambda: lane(0, 0, 0, 2, of=step(a, 0, "dropout")),
        "second forward": lambda: lane(4, rng.spell("dropout"), 1, 0, of=step(a, 0, "dropout")),
        "third forward": lambda: lane(4, rng.spell("dropout"), 2, 0, of=step(a, 0, "dropout")),
        "other stage": lambda: lane(stage="batch", of=step(a, 0, "dropout")),
        "second call": lambda: called(lane(0, 0, 0, 0, of=step(a, 0, "dropout"))),
        "third call": lambda: called(called(lane(0, 0, 0, 0, of=step(a, 0, "dropout")))),
    }


@pytest.mark.parametrize("draw", ["uniform", "normal"])
def test_no_two_sites_share_draws_not_even_shifted(draw: str) -> None:
    """If sites were added to the key, one stream would be a shifted copy of another."""
    streams = {name: getattr(make(), draw)((N,)).double().numpy() for name, make in sites().items()}
    worst = max((peak(x, y), a, b) for (a, x), (b, y) in combinations(streams.items(), 2))
    assert worst[0] < LIMIT + 0.7, worst  # 78 pairs of 32768 shifts


def test_no_two_sites_share_words_beyond_chance() -> None:
    """13 x 32768 random words of 2^32 hold about 21 twice, and no pair of neighbours twice."""
    words = np.array([unsigned(draws.bits(make()._key(None), (N,))) for make in sites().values()])
    assert words.size - len(np.unique(words)) < 50
    follow = words[:, :-1] << 32 | words[:, 1:]
    assert len(np.unique(follow)) == follow.size


def test_the_two_streams_of_a_gaussian_are_not_those_of_a_uniform() -> None:
    site = lane(0, 0, 0, 0)._key(None)
    streams = [draws.chain_tensor(site, 1), draws.chain_tensor(site, 2), site]
    bits = [draws.bits(k, (N,)).double().numpy() for k in streams]
    assert max(peak(a, b) for a, b in combinations(bits, 2)) < LIMIT


def test_a_name_gives_the_same_values_in_every_stage_and_call_and_others_do_not() -> None:
    shape = (4, 3)
    here, there = lane(stage="batch"), lane(0, 0, 0, 1)
    named = here.uniform(shape, name="mix")
    assert torch.equal(named, here.uniform(shape, name="mix"))
    assert torch.equal(named, there.uniform(shape, name="mix"))
    assert not torch.equal(named, here.uniform(shape, name="mux"))
    assert not torch.equal(named, here.uniform(shape))
    assert not torch.equal(named, lane(of=key("other part")).uniform(shape, name="mix"))
    assert torch.equal(here.permutation(9, name="mix"), there.permutation(9, name="mix"))


def test_a_name_does_not_move_the_counter_of_the_nameless_draws() -> None:
    a, b = lane(0), lane(0)
    a.normal((3,), name="aside")
    assert torch.equal(a.uniform((5,)), b.uniform((5,)))


def test_draws_of_rows_are_those_rows_of_the_batch() -> None:
    rows = torch.tensor([5, 0, 2])
    for draw in ("uniform", "normal"):
        whole, some = (
            getattr(lane(0), draw)((7, 2, 3)),
            getattr(lane(0, rows=rows), draw)((3, 2, 3)),
        )
        assert torch.equal(some, whole[rows])
        assert torch.equal(
            getattr(lane(0, rows=rows), draw)((4, 2)), getattr(lane(0), draw)((4, 2))
        )


def test_a_scalar_and_an_empty_draw_have_their_shapes() -> None:
    assert lane(0).uniform(()).shape == ()
    assert lane(0).normal((0, 3)).shape == (0, 3)
    assert lane(0, rows=torch.tensor([1])).uniform(()).shape == ()


def test_a_lane_permutes_and_all_permutations_are_equally_likely() -> None:
    runs = 4800
    keys = torch.tensor(
        [[draws.to_int32(rng.word("p", i))] for i in range(runs)], dtype=torch.int32
    )
    found = vmap(lambda k: lane(0, of=k).permutation(4))(keys)
    assert found.dtype == torch.int64
    seen = Counter(map(tuple, found.tolist()))
    assert set(seen) == set(permutations(range(4)))
    assert sum((c - runs / 24) ** 2 / (runs / 24) for c in seen.values()) < 23 + 4 * math.sqrt(
        2 * 23
    )
    assert sorted(lane(0).permutation(1000).tolist()) == list(range(1000))


def step_of(*regularizers: Regularizer, strengths: tuple[float, ...] = (), t: int = 0) -> Any:
    toy_run = ToyRun(regularizers, (strengths or (0.5,) * len(regularizers),))
    return one_lane(toy_run.trainer(), toy_run.orders()[0], t)


def noting(seen: list[Tensor]) -> Callable:
    """A `hidden` that notes its draw."""

    def hidden(h: Tensor, lane: LaneView) -> Tensor:
        seen.append(lane.uniform(tuple(h.shape)))
        return h * 1.0

    return hidden


def test_each_evaluation_of_the_objective_starts_with_the_same_draws() -> None:
    seen: list[Tensor] = []
    note = Regularizer("note", (1.0,), hidden=noting(seen))
    step = step_of(note, *parts("sam"))
    step.gradient(step.params, 2)  # sam's first gradient and its second
    assert len(seen) == 4  # two taps each
    first, second = seen[:2], seen[2:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0].flatten()[:20], first[1].flatten()[:20])


def test_forwards_of_a_part_have_fresh_draws_that_restart_with_the_objective() -> None:
    seen: list[Tensor] = []

    def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: LaneView) -> Tensor:
        (
            lane.forward(lane.x, train=True),
            lane.forward(lane.x, train=False),
            lane.forward(lane.x, train=True),
        )
        return losses

    step = step_of(Regularizer("twice", (1.0,), hidden=noting(seen), loss=loss))
    step.gradient(step.params, 1)
    step.gradient(step.params, 1)
    # main, first and second forward, two taps each; none without train
    once, again = seen[:6], seen[6:]
    assert len(again) == 6 and all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert len({tuple(v.flatten()[:8].tolist()) for v in once}) == 6


def test_two_parts_that_use_forward_do_not_share_its_draws() -> None:
    seen: list[Tensor] = []
    note = Regularizer("note", (1.0,), hidden=noting(seen))
    step = step_of(note, Regularizer("left", (1.0,)), Regularizer("right", (1.0,)))
    for part in (1, 2):
        forward_of(step, part, "loss", step.params)(step.x, train=True)
    assert not torch.equal(seen[0], seen[2])


def test_every_step_and_lane_draws_anew() -> None:
    seen: list[Tensor] = []
    note = Regularizer("note", (1.0,), hidden=noting(seen))
    toy_run = ToyRun((note,), ((1.0,), (1.0,)))
    trainer = toy_run.trainer()
    for t, index in ((0, 0), (1, 0), (0, 1)):
        step = one_lane(trainer, toy_run.orders()[0], t, index)
        step.gradient(step.params, 1)
    masks = seen[::2]
    assert not torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])


def test_an_off_partner_changes_nothing() -> None:
    dropout, mixup = parts("dropout")[0], parts("mixup")[0]
    alone = ToyRun((dropout,), ((0.5,),)).trained()
    left, right = ToyRun((mixup, dropout), ((0.0, 0.5),)), ToyRun((dropout, mixup), ((0.5, 0.0),))
    assert bitwise_equal(alone.state["params"], left.trained().state["params"])
    assert bitwise_equal(alone.state["params"], right.trained().state["params"])


def test_the_strength_is_not_in_the_key() -> None:
    seen: list[Tensor] = []
    note = Regularizer("note", (1.0,), hidden=noting(seen))
    for strength in (0.1, 0.9):
        step = step_of(note, strengths=(strength,))
        step.gradient(step.params, 1)
    assert torch.equal(seen[0], seen[2])


def test_training_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    ToyRun(parts("dropout"), ((0.5,),), architecture=MLP).trained()
    assert torch.equal(torch.get_rng_state(), before)

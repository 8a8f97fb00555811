"""Products in bfloat16: which ones, how exact, and that a lane is still what it is alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.engine import ToyRun
from support.engine import bitwise_equal
from support.engine import lane_data
from support.engine import lane_of
from support.engine import parts
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from membench.engine import bf16
from membench.engine import compiled

CAST = torch.ops.prims.convert_element_type.default

needs_hardware = pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported(), reason="this CPU has no AVX512-BF16"
)


@pytest.fixture
def medium() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def in_bfloat16(f: object) -> object:
    torch._dynamo.reset()  # or it would take them all for recompilations of one function
    return torch.compile(
        f,
        fullgraph=True,
        dynamic=False,
        options={"post_grad_custom_pre_pass": bf16.Bfloat16MatmulPass()},
    )


def rounded(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).to(torch.float32)


def matrices(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("precision", ["highest", "high"])
def test_bfloat16_is_not_used_at_other_precisions(precision: str) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    assert not bf16.is_supported()
    torch.set_float32_matmul_precision(before)


@needs_hardware
def test_bfloat16_is_used_at_precision_medium_where_the_hardware_has_it(medium: None) -> None:
    assert bf16.is_supported()


def test_products_round_their_factors_and_their_result_and_nothing_else() -> None:
    bias, a, b, c, d, e = matrices((64,), (64, 64), (64, 64), (3, 32, 64), (3, 64, 32), (3, 32, 32))

    def add(bias: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.addmm(bias, a, b, alpha=0.5, beta=3.0)

    exact = rounded(a).double() @ rounded(b).double()
    assert torch.equal(in_bfloat16(torch.mm)(a, b), rounded(in_bfloat16(torch.mm)(a, b)))
    assert torch.allclose(in_bfloat16(torch.mm)(a, b).double(), exact, rtol=2**-8, atol=1e-4)
    assert torch.allclose(
        in_bfloat16(add)(bias, a, b).double(), 3 * bias + 0.5 * exact, rtol=2**-8, atol=0.02
    )
    got = in_bfloat16(torch.baddbmm)(e, c, d).double()
    assert torch.allclose(got, e + rounded(c).double() @ rounded(d).double(), rtol=2**-8, atol=0.05)
    assert not torch.allclose(in_bfloat16(torch.mm)(a, b), a @ b, rtol=1e-5, atol=1e-5), (
        "they are rounded"
    )


def test_small_products_and_other_types_stay_as_they_are() -> None:
    a, b = matrices((4, 8), (8, 4))
    assert torch.allclose(in_bfloat16(torch.mm)(a, b), a @ b, rtol=1e-6, atol=1e-6)
    wide = [m.double() for m in matrices((64, 64), (64, 64))]
    assert torch.allclose(in_bfloat16(torch.mm)(*wide), wide[0] @ wide[1], rtol=1e-12)


FACTORS = {
    "itself, its transpose and a reshape": lambda a, b: (
        a @ b,
        a.T @ b,
        a.reshape(32, 128) @ b.reshape(128, 32),
    ),
    "stacked": lambda a, b: (
        torch.bmm(a.reshape(4, 16, 64), b.reshape(4, 64, 16)),
        torch.bmm(a.reshape(4, 16, 64).mT, b.reshape(4, 16, 64)),
    ),
    "patches": lambda a, b: of_patches(a.reshape(16, 4, 16, 4).transpose(1, 2).reshape(256, 16), b),
    "a reshape of a transpose": lambda a, b: (
        a.reshape(8, 8, 64).transpose(0, 2).reshape(64, 64) @ b,
        b @ b,
    ),
    "a reshape of what is spread": lambda a, b: (
        a[:1].expand(64, 64).reshape(32, 128) @ b.reshape(128, 32),
        b @ b,
    ),
    "one vector, spread": lambda a, b: (a[0, :1].expand(64, 64).reshape(64, 64) @ b, b @ b),
}


def of_patches(p: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """p [256, 16]: 4 x 4 patches in rows."""
    return p @ b.reshape(16, 256), p.T @ b.reshape(256, 16)


@pytest.mark.parametrize("what", FACTORS)
def test_a_factor_is_rounded_once_whatever_view_of_it_is_multiplied(what: str) -> None:
    f, (a, b) = FACTORS[what], matrices((64, 64), (64, 64))
    graph = make_fx(f, tracing_mode="fake")(a, b)
    bf16.Bfloat16MatmulPass()(graph.graph)
    graph.graph.lint()
    graph.recompile()
    roundings = [n for n in graph.graph.nodes if n.target == CAST and n.args[1] == torch.bfloat16]
    assert len({n.args[0] for n in roundings}) == len(roundings)
    assert len(roundings) == 2
    for got, inductor, exact in zip(
        graph(a, b), in_bfloat16(f)(a, b), f(rounded(a), rounded(b)), strict=True
    ):
        assert torch.allclose(got, exact, rtol=2**-7, atol=0.05)
        assert torch.allclose(inductor, exact, rtol=2**-7, atol=0.05)


@needs_hardware
def test_a_lane_is_bitwise_the_same_alone(medium: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16, "MIN_MULTIPLICATIONS", 1)  # the tests' networks are tiny
    data = lane_data(1, n=24).of_lanes([0, 0])
    both = ToyRun(parts("dropout"), ((0.3,), (0.5,)), data=data, seeds=(0, 0))
    alone = ToyRun(parts("dropout"), ((0.5,),), data=data.of_lanes([1]), seeds=(0,))
    trained = []
    for toy_run in (both, alone):
        lanes = toy_run.trainer()
        assert lanes.compile(toy_run.orders()[0]) == ""
        lanes.train_epoch(toy_run.orders()[0])
        trained.append(lanes.state["params"])
    assert bitwise_equal(lane_of(trained[0], 1), lane_of(trained[1], 0))
    assert all(w.dtype == torch.float32 for w in trained[0].values())


@needs_hardware
@pytest.mark.slow
@pytest.mark.parametrize("name", ["dropout", "sam"])
def test_a_lane_is_bitwise_the_same_in_another_group(
    name: str, medium: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bf16, "MIN_MULTIPLICATIONS", 1)
    monkeypatch.setattr(compiled, "L2_BYTES", 0)
    toy_run, ended = ToyRun(parts(name), ((0.1,), (0.2,), (0.3,), (0.5,))), []
    for best in (1, 2, 4):
        monkeypatch.setattr(compiled, "GROUP_SIZE", best)
        lanes, orders = toy_run.trainer(), toy_run.orders(epochs=2)
        assert lanes.compile(orders[0]) == ""
        assert len(lanes.groups) == 4 // best
        for order in orders:
            lanes.train_epoch(order)
        ended.append(lanes.state)
    assert bitwise_equal(ended[0], ended[1]) and bitwise_equal(ended[0], ended[2])

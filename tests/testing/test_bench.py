"""What the checks of a regularizer share, and what is made once for all regularizers."""

from __future__ import annotations

import pytest
from support.engine import CLASSES
from support.engine import MLP
from support.engine import SHAPE
from support.engine import ToyRun
from support.engine import bitwise_equal
from support.engine import registry
from torch._subclasses.fake_tensor import FakeTensorMode

from membench.engine import network
from membench.testing import gpu_checks
from membench.testing.bench import EPOCHS
from membench.testing.subject import Subject

pytestmark = pytest.mark.usefixtures("worker_like")


def subject(name: str) -> Subject:
    return Subject(registry().regularizers[name], registry())


def test_what_is_kept_of_the_strongest_run_is_what_shorter_runs_end_with() -> None:
    bench = subject("ema").bench
    run = bench.toy_run(bench.strongest)
    assert len(bench.strongest_epochs) == EPOCHS
    for epochs in (1, EPOCHS // 2):
        kept, alone = bench.strongest_epochs[epochs - 1], run.trained(epochs=epochs)
        assert bitwise_equal(kept.state, alone.state)
        assert kept.step_index == alone.step_index
        assert bitwise_equal(kept.readout().params, alone.readout().params)


def test_runs_share_initial_weights_and_none_changes_them() -> None:
    run = ToyRun()
    trained, untrained = run.trained(epochs=1), run.trainer()
    weights = network.initial_weights(MLP, SHAPE, CLASSES, 100)
    for name, weight in untrained.state["params"].items():
        assert bitwise_equal([weight[0]], [weights[name]])
        assert not bitwise_equal([trained.state["params"][name]], [weight])
    assert trained.program.module is untrained.program.module


@pytest.mark.slow
def test_what_torch_keeps_of_the_prepared_traces_serves_every_regularizer_s() -> None:
    gpu_checks.prepare_steps()
    before = FakeTensorMode.cache_info()
    gpu_checks.one_graph(subject("label-smoothing"))
    after = FakeTensorMode.cache_info()
    assert after.misses - before.misses < 0.25 * (after.hits - before.hits)

"""Every shipped regularizer passes the shipped contract suite.

One case is one regularizer, so that its checks share what they train. `test_check.py` does the same
for the other kinds of plugin, and shows that each check finds the bug that it is meant for.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable

import pytest
import torch
from support.cli import REPO
from support.engine import CLASSES
from support.engine import CNN
from support.engine import MLP
from support.engine import SHAPE
from support.engine import parts
from support.engine import registry
from support.regularizers import toy_run

from membench.api import STAGES
from membench.engine.network import inspect_network
from membench.testing.catalogue import CHECKS
from membench.testing.subject import Subject

pytestmark = pytest.mark.usefixtures("worker_like")

TABLE = CHECKS["regularizers"]
#: Checks that train further runs, or trace a step, which takes longer than all others together;
#: `pytest -m slow` and `membench check --all` run them.
SLOW = (
    "batch-of-one",
    "composes",
    "cost",
    "draws",
    "interrupted",
    "no-warnings",
    "on-vit",
    "one-graph",
)
QUICK = tuple(name for name in TABLE if name not in SLOW)

ENTRIES = {name: entry for name, entry in registry().regularizers.items() if name != "none"}
ACTING = [name for name, entry in ENTRIES.items() if entry.acts_on]


def problems(subject: Subject, checks: Iterable[str]) -> list[str]:
    """Run checks on a regularizer and return what failed or was warned of."""
    outcomes = [subject.outcome(TABLE[name], TABLE) for name in checks]
    return [f"{o.check}: {o.what}" for o in outcomes if o.status in ("failed", "warned")]


@pytest.mark.parametrize("name", ENTRIES)
def test_a_shipped_regularizer_passes_the_quick_checks(name: str) -> None:
    subject = Subject(ENTRIES[name], registry())
    assert problems(subject, QUICK) == []
    for check in ("off-value", "off-run"):  # a stranger's may round
        outcome = subject.outcomes[check]
        assert outcome.status == "skipped" or outcome.what == "to the last bit"


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_a_shipped_regularizer_passes_the_slow_checks(name: str) -> None:
    assert problems(Subject(ENTRIES[name], registry()), SLOW) == []


def skips_the_mlp(name: str) -> bool:
    net = inspect_network(MLP, SHAPE, CLASSES)
    return any(part.skip and part.skip(net) for part in parts(name))


def test_a_regularizer_that_skips_the_mlp_passes_all_checks_on_the_cnn() -> None:
    names = [name for name in ACTING if skips_the_mlp(name)]
    assert names == ["stochastic-depth"]
    for name in names:
        subject = Subject(ENTRIES[name], registry())
        assert problems(subject, TABLE) == []
        assert subject.bench.architecture is CNN
        assert subject.outcomes["acts"].status == subject.outcomes["off-run"].status == "passed"


@pytest.mark.parametrize("name", ACTING)
def test_the_step_changes_continuously_with_the_strength(name: str) -> None:
    """A millionth from off moves no weight by more than a thousandth.

    The check near-off goes a thousandth of the way to the weakest strength, and allows a tenth of
    what the grid does.
    """
    off = ENTRIES[name].off
    barely_on = tuple(1e6 if math.isinf(value) else value + 1e-6 for value in off)
    architecture = CNN if skips_the_mlp(name) else MLP
    trainer = toy_run(name, off, barely_on, architecture=architecture).trained(epochs=1)
    weights = trainer.state["params"]
    for parameter in weights.values():
        assert torch.allclose(parameter[0], parameter[1], atol=1e-3)


def test_a_limit_is_given_where_a_strength_is_a_share_of_1_or_ends_by_itself() -> None:
    limits = {name: entry.limits[0] for name, entry in ENTRIES.items() if not entry.parts}
    ends = {"cutout": 2.0, "winsorized-gradient": 2.0, "early-stop": 0.0}
    shares = {name for name, limit in limits.items() if limit == 1.0}
    assert {name: limits[name] for name in ends} == ends
    assert {name for name, limit in limits.items() if limit is not None} == shares | set(ends)
    assert shares >= {"label-smoothing", "mixup", "oracle", "adversarial", "swa", "sce"}
    assert not shares & {"dropout", "small-loss", "ema", "weight-decay", "max-norm", "low-lr"}
    assert ENTRIES["dropout+adversarial"].limits == (None, 1.0)


def test_every_function_of_a_shipped_plugin_is_annotated() -> None:
    bare = []
    for path in sorted((REPO / "plugins").glob("*/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                own = [a for a in (*node.args.args, *node.args.kwonlyargs) if a.arg != "self"]
                if node.returns is None or any(a.annotation is None for a in own):
                    bare.append(f"{path.name}:{node.lineno}")
    assert bare == []


def test_every_stage_has_a_regularizer_that_uses_it() -> None:
    single = [entry for entry in ENTRIES.values() if not entry.parts]
    assert {stage for entry in single for stage in entry.acts_on} == set(STAGES)

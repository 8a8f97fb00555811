"""The contract says what it means: its examples run, and the list of public modules is complete."""

from __future__ import annotations

import inspect
import re
import textwrap
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from support.cli import REPO
from support.records import make_record

import membench
from membench import api
from membench import probes
from membench import studies
from membench.records import Cell


def example(documented: Any) -> dict[str, Any]:
    """Run the one code block of a docstring and return the names that it defines."""
    (block,) = re.findall(r"```python\n(.*?)```", inspect.getdoc(documented), re.DOTALL)
    names: dict[str, Any] = {}
    exec(textwrap.dedent(block), names)
    return names


def test_the_example_of_the_hook_registers_a_regularizer_that_is_the_identity_when_off() -> None:
    (regularizer,) = example(api.Spec.register)["register"]()
    assert regularizer.acts_on == ("weights",)
    params = {"w": torch.ones(2, 3)}
    for strength, expected in ((regularizer.off, 1.0), (0.5, 0.95)):
        lane = SimpleNamespace(strength=torch.tensor(strength), lr=torch.tensor(0.1))
        assert torch.allclose(regularizer.weights(params, lane)["w"], torch.tensor(expected))


def test_the_example_of_a_probe_measures() -> None:
    (probe,) = example(probes.Probe)["register"]()
    logits = torch.tensor([[1.0, 3.0, 0.0], [2.0, 2.5, 2.0]])
    lane = SimpleNamespace(forward=lambda x: logits)
    metrics = probe.measure({}, SimpleNamespace(x=torch.zeros(2, 1)), lane)
    assert {name: float(value) for name, value in metrics.items()} == {"mean": 1.25}


@pytest.mark.parametrize(("fit", "verdict"), [(0.99, studies.HOLDS), (0.5, studies.FAILS)])
def test_the_example_of_a_study_decides_its_claim(fit: float, verdict: str) -> None:
    (study,) = example(studies.Study)["register"]()
    (arm,) = study.arms["quick"]
    records = []
    for seed in arm.seeds:
        cell = Cell(arm.dataset, arm.architectures[0], "none", (), arm.signals[0], seed)
        records.append(make_record(cell, train=(0.1, fit + seed / 1000)))
    finding = study.analyse({arm.name: tuple(records)})
    assert finding.verdict == verdict
    finding.draw(Figure())


def test_every_module_that_a_shipped_plugin_imports_is_listed_as_public() -> None:
    imported = set()
    for path in (REPO / "plugins").rglob("*.py"):
        for package, name in re.findall(
            r"^\s*from (membench[\w.]*) import (\w+)", path.read_text("utf-8"), re.MULTILINE
        ):
            is_module = (REPO / package.replace(".", "/") / f"{name}.py").exists()
            imported.add(f"{package}.{name}" if is_module else package)
    imported.discard("membench")
    listed = set(re.findall(r"`(membench\.[\w.]+)`", membench.__doc__))
    assert imported <= listed


@pytest.mark.parametrize("name", membench.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert name == "hookimpl" or inspect.getdoc(getattr(membench, name))

"""The environment of a record, whose hash the committed boards' records must keep."""

from __future__ import annotations

import json

import pytest
import torch
from support.cli import REPO

from membench.engine import environment
from membench.engine.environment import worker_environment
from membench.records import digest

CPU = torch.device("cpu")


@pytest.fixture
def committed() -> dict[str, object]:
    """A record of the committed board, whose machine chose bfloat16."""
    with open(REPO / "leaderboard" / "records" / "0.jsonl") as lines:
        return json.loads(lines.readline())


@pytest.mark.parametrize("chosen", ["", "medium"])
def test_a_machine_that_chose_bfloat16_keeps_its_environment(
    committed: dict[str, object], chosen: str
) -> None:
    """The fields of the machine itself aside, all are those of the record, hash included."""
    versions = committed["versions"]
    described = worker_environment(CPU, compiled=True, chosen_precision=chosen)
    for name in ("device", "membench", "python", "torch"):
        described[name] = versions[name]
    assert described == versions
    assert digest(described) == committed["env"]


def test_a_machine_that_chose_float32_has_an_environment_of_its_own() -> None:
    usual = worker_environment(CPU, compiled=True)
    chosen = worker_environment(CPU, compiled=True, chosen_precision="highest")
    assert chosen == {**usual, "precision": "highest"}
    assert chosen != worker_environment(CPU, compiled=False)


@pytest.mark.parametrize(
    ("device", "has_bfloat16", "has_amx", "expected"),
    [
        ("cpu", True, False, True),
        ("cpu", True, True, False),
        ("cpu", False, False, False),
        ("cuda", True, False, False),
    ],
)
def test_a_trial_is_needed_where_bfloat16_is_in_hardware_without_amx(
    monkeypatch: pytest.MonkeyPatch, device: str, has_bfloat16: bool, has_amx: bool, expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bfloat16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    assert environment.needs_trial(device) == expected

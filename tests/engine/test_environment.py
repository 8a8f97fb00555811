"""The environment of a record: what changes bits is in it, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from membench.engine import environment
from membench.engine.environment import worker_environment
from membench.records import digest

CPU = torch.device("cpu")
#: As Linux has it, with two cores.
EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9354 32-Core Processor
flags\t\t: fpu sse2 avx2 avx512f avx512_bf16 avx512_vnni

processor\t: 1
vendor_id\t: Nobody
"""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.INSTRUCTION_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def environment_on(
    cpuinfo: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    """Describe the environment of a machine that describes its processor so."""
    path = folder / "cpuinfo"
    path.write_text(cpuinfo)
    monkeypatch.setattr(environment, "CPUINFO", path)
    return worker_environment(CPU, compiled=True)


def test_an_environment_holds_what_changes_bits_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    width = torch.backends.cpu.get_cpu_capability()
    assert environment_on(EPYC, tmp_path, monkeypatch) == {
        "compiled": True,
        "device": f"cpu {width}",
        "instructions": f"{width} AuthenticAMD avx512_bf16 avx512_vnni",
        "precision": "medium",
        "threads": 1,
        "torch": torch.__version__,
    }


def test_the_model_s_name_makes_no_other_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = environment_on(EPYC, tmp_path, monkeypatch)
    assert environment.processor() == "AMD EPYC 9354 32-Core Processor"
    other = environment_on(EPYC.replace("9354 32-Core", "9654 96-Core"), tmp_path, monkeypatch)
    assert environment.processor() == "AMD EPYC 9654 96-Core Processor"
    assert digest(other) == digest(one)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("AuthenticAMD", "GenuineIntel"),
        (" avx512_bf16", ""),
        ("avx512_vnni", "avx512_vnni amx_tile"),
    ],
)
def test_another_vendor_or_instruction_makes_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, other: str
) -> None:
    one = environment_on(EPYC, tmp_path, monkeypatch)
    assert environment_on(EPYC.replace(text, other), tmp_path, monkeypatch) != one


def test_flags_that_no_kernel_is_chosen_by_make_no_other_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = environment_on(EPYC, tmp_path, monkeypatch)
    assert environment_on(EPYC.replace("fpu", "fpu hypervisor"), tmp_path, monkeypatch) == one


@pytest.mark.parametrize("name", environment.INSTRUCTION_VARIABLES)
def test_a_variable_that_narrows_the_instructions_makes_another_environment(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plain = worker_environment(CPU, compiled=True)
    monkeypatch.setenv(name, "AVX2")
    narrowed = worker_environment(CPU, compiled=True)
    assert narrowed == {**plain, "instructions": f"{plain['instructions']} {name}=AVX2"}
    assert digest(narrowed) != digest(plain)


def test_where_the_system_says_nothing_the_kind_of_machine_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(environment.platform, "machine", lambda: "arm64")
    width = torch.backends.cpu.get_cpu_capability()
    assert environment.instructions() == f"{width} arm64"
    assert environment.processor() == "arm64"


def test_a_machine_that_chose_float32_has_an_environment_of_its_own() -> None:
    usual = worker_environment(CPU, compiled=True)
    chosen = worker_environment(CPU, compiled=True, chosen_precision="highest")
    assert chosen == {**usual, "precision": "highest"}
    assert chosen != worker_environment(CPU, compiled=False)


#: Prints the environment and the numbers of a small run.
RUN = """
import json, torch
from support.engine import pack
from membench.api import Recipe, Split
from membench.engine.environment import configure_torch
from membench.engine.train import train_pack
from membench.records import Cell
from membench.registry.registry import discover
configure_torch()
cell = Cell("digits", "small-mlp", "none", (), "real", 0)
recipe = Recipe(lr=0.12, momentum=0.87, batch=30, epochs=20)
(record,) = train_pack(pack([cell], recipe, Split(400, 30, 200)), discover(), "cpu")
print(json.dumps([record.env, record.versions, record.loss]))
"""


def run_with(variables: dict[str, str]) -> tuple[str, dict[str, object], list[float]]:
    """Train in a process of its own; return its environment, described, and its losses."""
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests.parent), str(tests)])
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env={**os.environ, "PYTHONPATH": paths, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    env, versions, loss = json.loads(done.stdout)
    return env, versions, loss


@pytest.mark.slow
def test_processes_whose_numbers_differ_have_different_environments() -> None:
    env, versions, loss = run_with({})
    assert run_with({}) == (env, versions, loss)
    narrowed = [
        {"ATEN_CPU_CAPABILITY": "default"},
        {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        {"MKL_CBWR": "COMPATIBLE"},
    ]
    others = [run_with(variables) for variables in narrowed]
    assert len({env, *(other[0] for other in others)}) == 4
    for _, described, _ in others:
        assert described["instructions"] != versions["instructions"]
    if versions["device"] != "cpu DEFAULT":
        assert others[0][2] != loss  # so the numbers are fine enough to tell


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

"""The digest of a fixed computation: equal in every process, another where kernels are others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from membench.engine import numerics
from membench.engine.environment import precision
from membench.engine.numerics import numerics_digest

CPU = torch.device("cpu")
PROGRAM = """
import torch
from membench.engine.environment import configure_torch
from membench.engine.numerics import numerics_digest
configure_torch()
print(numerics_digest(torch.device("cpu"), compiled=False))
"""


def in_a_process(**variables: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.slow
def test_two_processes_agree_and_one_with_narrower_vectors_does_not() -> None:
    assert in_a_process() == in_a_process()
    assert in_a_process(ATEN_CPU_CAPABILITY="default") != in_a_process()


def test_a_gpu_has_none() -> None:
    assert numerics_digest(torch.device("cuda"), compiled=True) == ""


def test_it_is_computed_once_for_each_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    first = numerics_digest(CPU, compiled=False)
    monkeypatch.setattr(numerics, "_results", lambda products_in_bfloat16: iter([torch.zeros(1)]))
    assert numerics_digest(CPU, compiled=False) == first
    numerics._digest.cache_clear()
    assert numerics_digest(CPU, compiled=False) != first
    numerics._digest.cache_clear()


def test_a_compiled_pack_s_names_the_compiler_and_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(numerics, "_results", lambda products_in_bfloat16: iter(()))
    found = set()
    for compiler, processor in (("g++ 12", "a"), ("g++ 13", "a"), ("g++ 12", "b")):
        monkeypatch.setattr(numerics, "_compiler", lambda name=compiler: name)
        monkeypatch.setattr(numerics, "processor", lambda name=processor: name)
        numerics._digest.cache_clear()
        with precision(compiled=True):
            found.add(numerics_digest(CPU, compiled=True))
    numerics._digest.cache_clear()
    assert len(found) == 3

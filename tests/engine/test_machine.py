"""A machine as a child describes it, so that its driver need not import torch."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from membench.engine.machine import Machine
from membench.engine.machine import describe_apart
from membench.errors import ExitCode
from membench.errors import MembenchError

MACHINE = Machine(
    device="cpu",
    processor="EPYC",
    needs_trial=True,
    eager=[{"device": "cpu AVX2", "threads": 1, "compiled": False}],
    compiled={"": [{"device": "cpu AVX2", "threads": 1, "compiled": True}]},
)


def python_that(does: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a script in the place of Python's interpreter."""
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def test_what_a_child_says_comes_back_whole_after_what_torch_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = json.dumps(asdict(MACHINE))
    python_that(f"echo a warning\ncat <<END\n{said}\nEND", tmp_path, monkeypatch)
    assert describe_apart("cpu") == MACHINE


def test_the_child_s_errors_are_the_driver_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python_that("""echo '{"error": "no CUDA device here", "code": 4}'""", tmp_path, monkeypatch)
    with pytest.raises(MembenchError, match=r"^no CUDA device here$") as caught:
        describe_apart("cuda")
    assert caught.value.code is ExitCode.USAGE
    python_that("echo 'ImportError: no libtorch' >&2; exit 1", tmp_path, monkeypatch)
    with pytest.raises(MembenchError, match=r"describe this machine: ImportError: no libtorch$"):
        describe_apart("cpu")
    python_that("exit 3", tmp_path, monkeypatch)
    with pytest.raises(MembenchError, match=r"describe this machine: exit status 3$"):
        describe_apart("cpu")


@pytest.mark.slow
def test_the_driver_and_a_child_describe_one_machine() -> None:
    from membench.engine.machine import describe_machine

    assert describe_apart("cpu") == describe_machine("cpu")

"""What a plugin may not change for the packs that come after it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from membench.engine import trainer
from membench.engine.process_state import ProcessState

ALTERATIONS: dict[str, Callable[[pytest.MonkeyPatch, Path], None]] = {
    "torch's default dtype": lambda patch, folder: torch.set_default_dtype(torch.float64),
    "torch's default device": lambda patch, folder: torch.set_default_device("meta"),
    "torch's number of threads": lambda patch, folder: torch.set_num_threads(
        torch.get_num_threads() + 1
    ),
    "torch's matmul precision": lambda patch, folder: torch.set_float32_matmul_precision("high"),
    "torch's deterministic algorithms": lambda patch, folder: torch.use_deterministic_algorithms(
        True
    ),
    "torch's anomaly mode": lambda patch, folder: torch.autograd.set_detect_anomaly(True),
    "torch's grad mode": lambda patch, folder: torch.set_grad_enabled(False),
    "torch's flushing of denormals": lambda patch, folder: torch.set_flush_denormal(True),
    "the working folder": lambda patch, folder: patch.chdir(folder),
    "torch.nn.functional.relu": lambda patch, folder: patch.setattr(
        torch.nn.functional, "relu", torch.relu
    ),
    "torch.Tensor.relu": lambda patch, folder: patch.setattr(
        torch.Tensor, "relu", torch.relu, raising=False
    ),
    "torch.where": lambda patch, folder: patch.setattr(torch, "where", torch.add),
    "torch.nn.init.zeros_": lambda patch, folder: patch.delattr(torch.nn.init, "zeros_"),
    "membench.engine.trainer.step_in_place": lambda patch, folder: patch.setattr(
        trainer, "step_in_place", print
    ),
    "membench.engine.trainer.Trainer.step": lambda patch, folder: patch.setattr(
        trainer.Trainer, "step", print
    ),
}


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Set torch back, whatever a test has set."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_flush_denormal(False)
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)
    torch.set_grad_enabled(True)
    torch.set_flush_denormal(False)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_is_named(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = ProcessState.now()
    assert state.alterations() == []
    ALTERATIONS[name](monkeypatch, tmp_path)
    assert name in state.alterations()


def test_what_is_added_or_imported_later_is_no_alteration(monkeypatch: pytest.MonkeyPatch) -> None:
    state = ProcessState.now()
    monkeypatch.setattr(torch.nn.functional, "mine", print, raising=False)
    importlib.import_module("membench.engine.compiled")
    assert state.alterations() == []


def test_settings_are_named_before_what_follows_from_them() -> None:
    state = ProcessState.now()
    torch.set_default_dtype(torch.float64)
    assert state.alterations()[0] == "torch's default dtype"
    assert os.getcwd() == state.settings["the working folder"]

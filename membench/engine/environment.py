"""Where a number was made: what is hashed into `Record.env`, and how a process is set up for it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from membench import __version__
from membench.errors import MembenchError

THREADS = 1  #: of a worker: one a core
#: compiled? -> torch's float32 matmul precision. Eager lanes keep to kernels that do not depend on how many there are.
PRECISION = {True: "medium", False: "highest"}


def configure_torch(threads: int = THREADS) -> None:
    """One thread, denormals flushed, full fp32 matmuls: first thing in a worker, before any parallel operation.

    Denormal flushing is per thread, so it must come before torch starts threads of its own.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision(PRECISION[False])


@contextmanager
def precision(compiled: bool) -> Iterator[None]:
    """What a pack is trained and read at; afterwards torch is as it was."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(PRECISION[compiled])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def resolve_device(device: str) -> str:
    """`auto` -> `cuda` where there is one, else `cpu`.

    Raises:
        MembenchError: `cuda` is asked for and there is none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise MembenchError("no CUDA device here: use --device auto or --device cpu")
    return device


def environment(device: torch.device, compiled: bool) -> dict[str, Any]:
    """What the numbers depend on beside the cell; equal on two machines means that equal numbers are expected."""
    return {
        "compiled": compiled,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu(),
        "membench": __version__,
        "precision": torch.get_float32_matmul_precision(),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


def worker_environment(device: torch.device, compiled: bool) -> dict[str, Any]:
    """What `environment` is while a worker trains a pack, asked where torch is not set up so and shall not be."""
    return {**environment(device, compiled), "precision": PRECISION[compiled], "threads": THREADS}


def _cpu() -> str:
    """`cpu AVX512 AMD EPYC`: vector width and model decide the last bits."""
    model = platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            names = [
                line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
            ]
        model = names[0] if names else model
    return f"cpu {torch.backends.cpu.get_cpu_capability()} {model}"

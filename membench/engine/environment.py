"""The environment of a number: how a process is set up, and what is hashed into `Record.env`."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from membench import __version__
from membench.errors import MembenchError

THREADS = 1  #: of a worker, which has one core
#: compiled or not -> torch's float32 matmul precision, unless the driver says another one. Eager
#: lanes keep to kernels whose results do not depend on how many lanes there are.
PRECISION = {True: "medium", False: "highest"}


def configure_torch(threads: int = THREADS) -> None:
    """Set torch up for a worker: threads, denormals flushed, full fp32 matrix products.

    Must come before any parallel operation: flushing is per thread, so it must come before torch
    starts threads of its pool.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision(PRECISION[False])


@contextmanager
def precision(compiled: bool, chosen: str = "") -> Iterator[None]:
    """Set the matmul precision that a pack is trained and read at; restore torch's afterwards.

    Args:
        compiled: whether the pack's step is compiled.
        chosen: the precision that the driver has chosen for the pack's task; "" = the usual one.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(chosen or PRECISION[compiled])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def resolve_device(device: str) -> str:
    """Return the device of a `--device` option: `auto` is `cuda` where there is one, else `cpu`.

    Raises:
        MembenchError: `cuda` was asked for and there is none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise MembenchError("no CUDA device here: use --device auto or --device cpu")
    return device


def needs_trial(device: str) -> bool:
    """Tell whether a trial must find the faster products (`membench.engine.matmul_trial`).

    A GPU multiplies in TF32, and a CPU with AMX in bfloat16 by torch's own choice.
    """
    if torch.device(device).type != "cpu" or torch.cpu._is_amx_tile_supported():
        return False
    return bool(torch.cpu._is_avx512_bf16_supported())


def environment(device: torch.device, compiled: bool, captured: bool = False) -> dict[str, Any]:
    """Describe what numbers depend on beside the cell, as this process is set up now.

    Equal environments on two machines mean that equal numbers are expected. The precision is what
    torch was asked for; on a CUDA device `matmul` adds what its products then run at: `tf32` or
    `ieee`, full fp32.

    Args:
        device: where the lanes are trained.
        compiled: whether Inductor compiles the step.
        captured: whether the step is replayed as a CUDA graph; stands there for GPUs only.
    """
    described: dict[str, Any] = {
        "compiled": compiled,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu(),
        "membench": __version__,
        "precision": torch.get_float32_matmul_precision(),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
    if device.type == "cuda":
        described["matmul"] = torch.backends.cuda.matmul.fp32_precision
        described["captured"] = captured
    return described


def worker_environment(
    device: torch.device, compiled: bool, chosen_precision: str = ""
) -> dict[str, Any]:
    """Describe the environment that workers will record; torch's settings here stay as they are.

    Args:
        device: where they train.
        compiled: whether the packs are compiled; on a GPU they are then captured too.
        chosen_precision: as `precision` takes it.
    """
    return worker_environments(device, compiled, chosen_precision)[0]


def worker_environments(
    device: torch.device, compiled: bool, chosen_precision: str = ""
) -> list[dict[str, Any]]:
    """Describe all environments that workers may record, the most likely one first.

    On a GPU each task's steps are compiled or not, as `membench.engine.card` decides.

    Args:
        device: where they train.
        compiled: whether the packs are compiled.
        chosen_precision: as `precision` takes it.
    """
    on_gpu = device.type == "cuda"
    ways = [(compiled, compiled and on_gpu)]
    if compiled and on_gpu:
        ways.append((False, True))
    with precision(compiled, chosen_precision):
        return [{**environment(device, *way), "threads": THREADS} for way in ways]


def _cpu() -> str:
    """Return `cpu AVX512 AMD EPYC ...`: vector width and model decide the last bits."""
    return f"cpu {torch.backends.cpu.get_cpu_capability()} {_cpu_model()}"


def _cpu_model() -> str:
    """Return the processor's name as Linux has it; elsewhere its architecture."""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.machine()

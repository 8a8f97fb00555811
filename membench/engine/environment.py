"""The environment of a number: how a process is set up, and what is hashed into `Record.env`.

In it is what changes the bits of a training run beside the cell, and nothing else: the device, the
CPU's instructions, torch, precision, threads, and whether the step is compiled. Which of them do
was measured with torch 2.14.1 on an AMD EPYC (Zen 4: AVX-512, avx512_bf16, no AMX): runs of `none`
on digits and mnist5k, eager and compiled, in processes of their own, records compared bit for bit.

| set for the process | what differs then |
| --- | --- |
| nothing, repeated | nothing |
| ATEN_CPU_CAPABILITY=avx2 | small-mlp |
| ATEN_CPU_CAPABILITY=default | small-mlp, cnn, and the weights that are drawn |
| MKL_CBWR=COMPATIBLE | fp32 products: small-mlp, cnn, the compiled mlp |
| MKL_CBWR=AVX2 or AVX512 | no run, but the product of 100x256 by 256x10 |
| ONEDNN_MAX_CPU_ISA=AVX512_CORE | bfloat16 products: the compiled mlp |
| ONEDNN_MAX_CPU_ISA=AVX2 | bfloat16 products: the compiled mlp and cnn |
| MKL made to believe that the CPU is an Intel | fp32 products and `exp`: as with COMPATIBLE |
| the same and MKL_ENABLE_INSTRUCTIONS=AVX2 | again others; as the only change, on AMD, nothing |
| ONEDNN_CPU_ISA_HINTS, ONEDNN_DEFAULT_FPMATH_MODE, MKL_DEBUG_CPU_TYPE | nothing |

MKL believed it by a preloaded `mkl_serv_intel_cpu_true`. So the vendor counts, and so do the flags
by which MKL and oneDNN tell generations of CPUs apart and the variables that narrow them. The CPU's
model name alone makes no other environment: it names no instruction. Two models of one environment
may still differ in last bits where a library fits its blocks to the caches; merging their records
of one key then shows a conflict. The version of Python is not there: what Python itself computes is
hashes, and tables rounded to six digits. Nor is membench's, which `PROTOCOL` covers.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from membench.errors import MembenchError

THREADS = 1  #: of a worker, which has one core
#: compiled or not -> torch's float32 matmul precision, unless the driver says another one. Eager
#: lanes keep to kernels whose results do not depend on how many lanes there are.
PRECISION = {True: "medium", False: "highest"}
CPUINFO = Path("/proc/cpuinfo")  #: where Linux describes the processor
#: Flags of /proc/cpuinfo by which MKL and oneDNN choose kernels where torch says the same width.
INSTRUCTIONS = frozenset(
    {
        *("avx_vnni", "avx512_vnni", "avx512_vbmi2", "avx512_bf16", "avx512_fp16"),
        *("amx_tile", "amx_bf16", "amx_fp16"),
        *("sve", "sve2", "bf16", "i8mm"),  # ARM
    }
)
#: Environment variables that narrow the instructions that MKL and oneDNN use.
INSTRUCTION_VARIABLES = (
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
)


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

    Equal environments on two machines mean that equal numbers are expected. A GPU's environment
    has the CPU's instructions too: initial weights are drawn there. The precision is what
    torch was asked for; on a CUDA device `matmul` adds what its products then run at: `tf32` or
    `ieee`, full fp32.

    Args:
        device: where the lanes are trained.
        compiled: whether Inductor compiles the step.
        captured: whether the step is replayed as a CUDA graph; stands there for GPUs only.
    """
    described: dict[str, Any] = {
        "compiled": compiled,
        "device": _device_name(device),
        "instructions": instructions(),
        "precision": torch.get_float32_matmul_precision(),
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


def instructions() -> str:
    """Name the instructions that the CPU's kernels are chosen by.

    Returns:
        Torch's vector width, the CPU's vendor, the flags of `INSTRUCTIONS` that it has and the
        variables of `INSTRUCTION_VARIABLES` that are set, as in "AVX512 AuthenticAMD avx512_bf16
        avx512_vnni ONEDNN_MAX_CPU_ISA=AVX2".
    """
    about = _cpuinfo()
    vendor = about.get("vendor_id") or about.get("CPU implementer") or platform.machine()
    flags = about.get("flags") or about.get("Features") or ""
    words = [torch.backends.cpu.get_cpu_capability(), vendor]
    words += sorted(INSTRUCTIONS.intersection(flags.split()))
    for name in INSTRUCTION_VARIABLES:
        if os.environ.get(name):
            words.append(f"{name}={os.environ[name]}")
    return " ".join(words)


def processor() -> str:
    """Return the CPU's model name, which speed depends on; elsewhere than on Linux its kind."""
    return _cpuinfo().get("model name") or platform.machine()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"


def _cpuinfo() -> dict[str, str]:
    """Return what Linux says of the first core, by field; nothing elsewhere."""
    fields: dict[str, str] = {}
    if not CPUINFO.exists():
        return fields
    with CPUINFO.open() as lines:
        for line in lines:
            if not line.strip():
                break
            name, _, value = line.partition(":")
            fields[name.strip()] = value.strip()
    return fields

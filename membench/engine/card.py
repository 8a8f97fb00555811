"""Estimate a step on a GPU of the size of an H100, and whether compiling the step pays there.

The rates are estimates and makers' figures; nothing is measured. A short trial on the card would
know better, but it is noisy: two workers, or a run and its resume, could decide differently about
one program, and its records would then fall into two environments that cannot be paired.
"""

from __future__ import annotations

FP32_FLOPS = 67e12  #: a second, in full fp32 without tensor cores, the maker's figure
TF32_FLOPS = 495e12  #: a second, products in TF32 on tensor cores, dense, the maker's figure
BYTES_PER_SECOND = 3.0e12  #: read and written, copies of large arrays
LAUNCH_SECONDS = 2.5e-6  #: that a kernel inside a CUDA graph takes at least

#: Cells in a pack on a GPU at most: a program of `quick`. A killed pack costs all of its cells.
GPU_LANES = 75
TRAFFIC = 2.5  #: bytes moved for each byte written by an operation, most of which read one or two
#: Kernels of a compiled step for each operation of the eager one: 21 for 137 (`none` on the MLP),
#: 33 for 246 (dropout), 31 for 172 (`none` on the CNN), counted in the code that Inductor wrote.
FUSED_KERNELS = 0.16
FUSED_BYTES = 0.3  #: bytes that it moves for each one of the eager step: 10 MB for 32 on the MLP
#: Compiling one operation of the eager step: a program takes 10 to 15 s, of which tracing is about
#: a third, and the MLP's has 137 operations.
COMPILE_SECONDS = 0.09


def step_seconds(kernels: float, written: float) -> float:
    """Estimate one eager step of `GPU_LANES` lanes inside a CUDA graph, in seconds.

    Args:
        kernels: operations of the step that are not views.
        written: bytes that they write for each lane.
    """
    return kernels * LAUNCH_SECONDS + GPU_LANES * written * TRAFFIC / BYTES_PER_SECOND


def compiling_pays(kernels: int, written: int, steps: int) -> bool:
    """Return whether a compiled step saves more than its compilation takes.

    The eager step captured as a CUDA graph needs no compilation. With k kernels and B bytes a lane,
    it takes t = k launch + 75 B traffic / bandwidth; the compiled one takes the same of 0.16 k and
    0.3 B. Compiling pays if steps (t - t_compiled) > 0.09 s k.

    The MLP's plain step has 137 kernels and writes 13 MB: t = 0.34 + 0.81 ms, t_compiled = 0.05 +
    0.24 ms. Compiling takes 12 s, so it pays from 14 000 steps on; `quick` has 500.

    Args:
        kernels: of the task's plain step, `StepCounter.kernels`.
        written: bytes that it writes for each lane, `StepCounter.bytes`.
        steps: of the whole run.
    """
    eager = step_seconds(kernels, written)
    compiled = step_seconds(FUSED_KERNELS * kernels, FUSED_BYTES * written)
    return steps * (eager - compiled) > COMPILE_SECONDS * kernels

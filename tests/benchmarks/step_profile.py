"""Profile a compiled step, kernel by kernel.

`python tests/benchmarks/step_profile.py [--architectures mlp,cnn]` takes the quick suite's
networks, 15 lanes as a pack has them, one thread on one core, at the precision of a run. Every
kernel of the program is in one row, in microseconds of a lane-step, with what Inductor says it
computes; the time of no kernel is the call itself. `--regularizer` takes any that is registered;
the README's table is of `gce`, which adds nothing to the plain step but a few operations on the
losses.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from statistics import median

import torch
from growth_engine import compiled
from growth_engine import pack
from growth_engine import stretch
from tabulate import tabulate
from torch.profiler import ProfilerActivity
from torch.profiler import profile

from membench.engine.costs import count_step
from membench.engine.environment import configure_torch
from membench.engine.environment import precision
from membench.engine.train import Run
from membench.registry.registry import discover

LANES, EPOCHS = 15, 5
PRODUCTS = re.compile(r"(?:aten::|aoti_torch_cpu_)(?:baddbmm|addmm|bmm|mm)(?:_out)?")
#: Inductor names a loop after the operations that it fused.
LOOP = re.compile(r"graph_\d+_cpp_fused_+(.+)")
MAX_NAME = 72  #: letters of a kernel's name


@dataclass(frozen=True)
class Kernel:
    """One loop, or all calls of one library function."""

    name: str
    calls: float  #: in a step of all lanes
    microseconds: float  #: of a lane-step


@dataclass(frozen=True)
class Profile:
    """A step's time, in microseconds of a lane-step."""

    unprofiled: float  #: median of five stretches
    whole: float  #: while the kernels were profiled
    products: Kernel
    loops: tuple[Kernel, ...]  #: the longest first
    megaflops: float  #: of a lane-step's products

    @property
    def rest(self) -> float:
        """The time of no kernel: the call, its checks, buffers."""
        return self.whole - sum(k.microseconds for k in (self.products, *self.loops))


def profile_step(architecture: str, regularizer: str) -> Profile:
    """Compile a step and profile it.

    Raises:
        RuntimeError: the step cannot be compiled here, or its products are not recognised.
    """
    with (
        precision(compiled=True),
        torch._inductor.config.patch({"cpp.enable_kernel_profile": True}),
    ):
        run = Run(pack(LANES, 50, architecture, regularizer), discover(), torch.device("cpu"))
        trainer, order = compiled(run)
        unprofiled = 1e6 * median(stretch(trainer, order) for _ in range(5)) / LANES
        steps = EPOCHS * order.shape[1]
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            started = time.perf_counter()
            for _ in range(EPOCHS):
                trainer.train_epoch(order)
            whole = 1e6 * (time.perf_counter() - started) / steps / LANES
    products, loops = [], []
    for event in profiler.key_averages():
        calls = event.count / steps
        microseconds = event.self_cpu_time_total / steps / LANES
        loop = LOOP.fullmatch(event.key)
        if loop:
            loops.append(Kernel(loop[1], calls, microseconds))
        elif PRODUCTS.fullmatch(event.key):
            products.append(Kernel(event.key, calls, microseconds))
    if not products:
        names = sorted(event.key for event in profiler.key_averages())
        raise RuntimeError(f"no product among {names}: how does this torch name them?")
    return Profile(
        unprofiled=unprofiled,
        whole=whole,
        products=Kernel(
            name="matrix products",
            calls=sum(kernel.calls for kernel in products),
            microseconds=sum(kernel.microseconds for kernel in products),
        ),
        loops=tuple(sorted(loops, key=lambda kernel: -kernel.microseconds)),
        megaflops=count_step(run.program(), run.data.shape).flops / 1e6,
    )


def render(title: str, step: Profile) -> str:
    """Write the table of one network, as Markdown."""
    rows = []
    for kernel in (step.products, *step.loops):
        calls = f"{kernel.calls:g}"
        rows.append(_row(step, shorten(kernel.name), calls, kernel.microseconds))
    rows.append(_row(step, "the rest of the call", "", step.rest))
    rows.append(_row(step, "whole step", "", step.whole))
    table = tabulate(
        rows,
        headers=("kernel", "calls a step", "us a lane-step", "share"),
        tablefmt="github",
        disable_numparse=True,
        colalign=("left", "right", "right", "right"),
    )
    rate = 1000 * step.megaflops / step.products.microseconds
    return (
        f"#### {title}\n\n{table}\n\nProducts: {step.megaflops:.1f} MFLOP, {rate:.0f} GFLOP/s. "
        f"Unwatched, a lane-step takes {step.unprofiled:.0f} us."
    )


def _row(step: Profile, name: str, calls: str, microseconds: float) -> tuple[str, ...]:
    return name, calls, f"{microseconds:.0f}", f"{microseconds / step.whole:.1%}"


def shorten(name: str) -> str:
    """Cut a name to `MAX_NAME` letters and three dots."""
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}..."


def main(words: list[str]) -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--architectures", default="mlp,cnn", help="of the quick suite (default %(default)s)"
    )
    parser.add_argument(
        "--regularizer", default="gce", help="any that is registered (default %(default)s)"
    )
    options = parser.parse_args(words)
    # A program from the cache has no profiled kernels.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()
    configure_torch()
    for architecture in options.architectures.split(","):
        step = profile_step(architecture, options.regularizer)
        title = f"{architecture}, {options.regularizer}"
        print(render(title, step), end="\n\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Where each microsecond of a compiled step goes: `python tests/benchmarks/step_profile.py [--architectures mlp,cnn]`.

The quick suite's networks, 15 lanes as a pack has them, one thread on one core, at the precision of a run. Every kernel
of the program is in one row, in microseconds of a lane-step, with what Inductor says it computes; what no kernel
accounts for is the call itself. `--regularizer` takes any that is registered; `gce` is what the README's table is of,
since it adds nothing to the plain step but a few operations on the losses.
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
LOOP = re.compile(
    r"graph_\d+_cpp_fused_+(.+)"
)  #: what Inductor calls a loop: the operations that it fused
LONGEST = 72  #: letters of a kernel's name


@dataclass(frozen=True)
class Kernel:
    """One loop, or all calls of one library function."""

    name: str
    calls: float  #: in a step of all lanes
    microseconds: float  #: of a lane-step


@dataclass(frozen=True)
class Profile:
    """A step's time, in microseconds of a lane-step."""

    unwatched: float  #: median of five stretches
    whole: float  #: while the kernels were watched
    products: Kernel
    loops: tuple[Kernel, ...]  #: the longest first
    megaflops: float  #: of a lane-step's products

    @property
    def rest(self) -> float:
        """What no kernel accounts for: the call, its checks, buffers."""
        return self.whole - sum(k.microseconds for k in (self.products, *self.loops))


def profiled(architecture: str, regularizer: str) -> Profile:
    """
    Raises:
        RuntimeError: the step cannot be compiled here.
    """
    with (
        precision(compiled=True),
        torch._inductor.config.patch({"cpp.enable_kernel_profile": True}),
    ):
        run = Run(pack(LANES, 50, architecture, regularizer), discover(), torch.device("cpu"))
        trainer, order = compiled(run)
        unwatched = 1e6 * median(stretch(trainer, order) for _ in range(5)) / LANES
        steps = EPOCHS * order.shape[1]
        with profile(activities=[ProfilerActivity.CPU]) as watched:
            started = time.perf_counter()
            for _ in range(EPOCHS):
                trainer.train_epoch(order)
            whole = 1e6 * (time.perf_counter() - started) / steps / LANES
    seen = [
        (e.key, e.count / steps, e.self_cpu_time_total / steps / LANES)
        for e in watched.key_averages()
    ]
    multiplied = [(calls, spent) for key, calls, spent in seen if PRODUCTS.fullmatch(key)]
    if not multiplied:
        raise RuntimeError(
            f"no product among {sorted(key for key, *_ in seen)}: how does this torch name them?"
        )
    loops = [
        Kernel(found[1], calls, spent)
        for key, calls, spent in seen
        if (found := LOOP.fullmatch(key))
    ]
    return Profile(
        unwatched,
        whole,
        Kernel("matrix products", *(sum(column) for column in zip(*multiplied, strict=True))),
        tuple(sorted(loops, key=lambda kernel: -kernel.microseconds)),
        count_step(run.program(), run.data.shape).flops / 1e6,
    )


def shown(title: str, found: Profile) -> str:
    """The table of one network, as Markdown."""
    rows = [
        *(
            (shorten(k.name), f"{k.calls:g}", k.microseconds)
            for k in (found.products, *found.loops)
        ),
        ("the rest of the call", "", found.rest),
        ("whole step", "", found.whole),
    ]
    cells = [
        (name, calls, f"{spent:.0f}", f"{spent / found.whole:.1%}") for name, calls, spent in rows
    ]
    head = ("kernel", "calls a step", "us a lane-step", "share")
    table = tabulate(
        cells, head, tablefmt="github", disable_numparse=True, colalign=("left", *("right",) * 3)
    )
    rate = 1000 * found.megaflops / found.products.microseconds
    return (
        f"#### {title}\n\n{table}\n\nProducts: {found.megaflops:.1f} MFLOP, {rate:.0f} GFLOP/s. "
        f"Unwatched, a lane-step takes {found.unwatched:.0f} us."
    )


def shorten(name: str) -> str:
    """At most `LONGEST` letters of it, and three dots."""
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}..."


def main(words: list[str]) -> None:
    """Prints a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--architectures", default="mlp,cnn", help="of the quick suite (default %(default)s)"
    )
    parser.add_argument(
        "--regularizer", default="gce", help="any that is registered (default %(default)s)"
    )
    options = parser.parse_args(words)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = (
        tempfile.mkdtemp()
    )  # a program from the cache has no watched kernels
    configure_torch()
    for architecture in options.architectures.split(","):
        found = profiled(architecture, options.regularizer)
        print(shown(f"{architecture}, {options.regularizer}", found), end="\n\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Measure the steps of membench and of its peers on one device, one line a peer as it is measured.

`python tests/benchmarks/gpu_peers.py` takes the quick suite's MLP with dropout, batch 100, at the
precision of a run, on images of random pixels: a step's time does not depend on them, and no data
set is needed. A lane-step is one step of one network. The share of the bandwidth is the bytes that
a perfectly fused step moves (`fused_bytes`), over its time and over what a large copy reaches on
the device, measured first. `--device cpu --steps 3 --lanes 1,2` shows that all peers run.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from functools import cache
from functools import partial
from statistics import median

import numpy as np
import peer_membench
import peer_torch
import speed_world
import torch
import torch.nn.functional as F
from speed_work import SHOWN
from speed_work import SIZES
from speed_work import Size
from speed_work import Work
from torch import Tensor
from torch.func import functional_call
from torch.func import grad
from torch.func import stack_module_state
from torch.func import vmap

from membench.api import Arrays
from membench.api import Dataset
from membench.api import Recipe
from membench.api import Split
from membench.engine.environment import PRECISION
from membench.engine.environment import configure_torch
from membench.engine.environment import precision
from membench.engine.environment import resolve_device
from membench.engine.train import Run
from membench.engine.trainer import Trainer

EPOCH = 10  #: steps, at most
UNREAD = 100  #: test and validation images, which nothing here reads
IMAGES = 128 * EPOCH + 2 * UNREAD
COPIED = {"cuda": 1 << 30, "cpu": 1 << 26}  #: bytes of the large copy
CARD_NAME = "{name}, {memory:.0f} GiB, compute capability {major}.{minor}"
LINE = "{:<34}{:>7}{:>16}{:>16}"

Training = Callable[[], object]  #: queues all steps of the work; may return before they are done


@dataclass(frozen=True)
class Peer:
    """A way to train some lanes."""

    name: str
    lanes: int
    prepare: Callable[[], Training]  #: may raise anything


class RandomImages(speed_world.Source):
    """The plugins, with data sets of random pixels and labels."""

    def dataset(self, name: str) -> Dataset:
        """Return a data set of images as large as MNIST's."""
        return Dataset(name, lambda folder: random_images())


def random_images() -> Arrays:
    """Draw as many images of 28 x 28 pixels as any of the sizes needs."""
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 1, 28, 28), dtype=np.uint8)
    return Arrays(pixels, np.arange(IMAGES, dtype=np.int64) % 10, 10)


def work_of(size: Size, steps: int, lanes: int) -> Work:
    """Draw the work: a size's cells, cut or repeated to some steps.

    Args:
        size: the network and its recipe.
        steps: of one training, rounded up to whole epochs.
        lanes: as many cells at least.
    """
    in_epoch = min(steps, EPOCH)
    short = replace(
        size,
        split=Split(train=in_epoch * size.recipe.batch, test=UNREAD, validation=UNREAD),
        recipe=replace(size.recipe, epochs=-(-steps // in_epoch)),
    )
    seeds = -(-lanes // 10)  # five strengths on two signals
    processes = 2 * -(-seeds // 3)
    return speed_world.draw(short, processes, _plugins())


@cache
def _plugins() -> RandomImages:
    return RandomImages(speed_world.source().registry)


def fused_bytes(weights: Mapping[str, np.ndarray]) -> int:
    """Count the bytes that a step of momentum SGD in float32 moves at least: 32 P - 4 W1.

    It is the formula of `growth_roofline`: weights are read twice (the first layer's once), the
    gradient is written, and the update moves 5 x 4 bytes; activations are left out.
    """
    first = next(iter(weights.values()))
    return 32 * sum(w.size for w in weights.values()) - 4 * first.size


# --- peers ---------------------------------------------------------------------------------------


def peers(work: Work, lanes: list[int], device: torch.device) -> Iterator[Peer]:
    """List the peers, those that compile last; JAX, which takes memory for itself, at the end.

    Args:
        work: to train.
        lanes: how many are stacked, for each peer that stacks.
        device: where all train.
    """
    eagerly = "membench, captured eagerly" if device.type == "cuda" else "membench, eager"
    yield Peer("plain resident loop", 1, partial(resident_loop, work, device))
    for count in lanes:
        yield Peer("torch.func, eager", count, partial(torch_func, work, count, device))
    for count in lanes:
        yield Peer(eagerly, count, partial(membench, work, count, device, compiled=False))
    for count in lanes:
        prepare = partial(membench, work, count, device, compiled=True)
        yield Peer("membench, compiled", count, prepare)
    yield Peer(
        "plain loop, reduce-overhead", 1, partial(resident_loop, work, device, compiled=True)
    )
    for count in lanes:
        yield Peer("JAX: jit, vmap, scan", count, partial(jax_scan, work, count, device))


def resident_loop(work: Work, device: torch.device, compiled: bool = False) -> Training:
    """Prepare the careful loop of one network, its data on the device.

    Args:
        work: whose first cell is trained.
        device: where.
        compiled: whether the network runs under `torch.compile(mode="reduce-overhead")`.
    """
    cell = work.cells[0]
    examples = work.of(cell)
    net = peer_torch.network(work.weights[cell.seed], SHOWN).to(device)
    if compiled:
        net.compile(mode="reduce-overhead")
    x = torch.from_numpy(examples.x).to(device)
    y = torch.from_numpy(examples.y).to(device)
    return partial(peer_torch.fit_resident, net, x, y, work.size.recipe)


def torch_func(work: Work, lanes: int, device: torch.device, rate: float = SHOWN) -> Training:
    """Prepare stacked networks, stepped by `vmap(grad(...))` without a compiler.

    Args:
        work: whose first cells are trained, one a lane.
        lanes: how many.
        device: where.
        rate: of dropout.
    """
    cells = work.cells[:lanes]
    nets = [peer_torch.network(work.weights[cell.seed], rate) for cell in cells]
    params, _ = stack_module_state(nets)
    weights = {name: w.detach().to(device) for name, w in params.items()}
    x = torch.stack([torch.from_numpy(work.of(cell).x) for cell in cells]).to(device)
    y = torch.stack([torch.from_numpy(work.of(cell).y) for cell in cells]).to(device)
    net = nets[0].to("meta")

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(net, weights, (x,)), y)

    gradients = vmap(grad(loss), randomness="different")
    return partial(_fit_stacked, gradients, weights, x, y, work.size.recipe)


def _fit_stacked(
    gradients: Callable[..., dict[str, Tensor]],
    weights: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
) -> None:
    """Train stacked weights in place by momentum SGD.

    Args:
        gradients: of the stacked weights on a batch.
        weights: [L, ...] each.
        x: [L, n, c, h, w].
        y: [L, n].
        recipe: batch, epochs, learning rate and momentum.
    """
    lanes, examples = y.shape
    momenta = {name: torch.zeros_like(w) for name, w in weights.items()}
    lane = torch.arange(lanes, device=y.device)[:, None]
    whole = examples // recipe.batch * recipe.batch
    for _ in range(recipe.epochs):
        order = torch.rand(lanes, examples, device=y.device).argsort(dim=1)[:, :whole]
        for index in order.split(recipe.batch, dim=1):
            for name, g in gradients(weights, x[lane, index], y[lane, index]).items():
                momenta[name].mul_(recipe.momentum).add_(g)
                weights[name].sub_(momenta[name], alpha=recipe.lr)


def membench(work: Work, lanes: int, device: torch.device, *, compiled: bool) -> Training:
    """Prepare membench's own lanes.

    Args:
        work: whose first cells are trained, one a lane.
        lanes: how many.
        device: where.
        compiled: by Inductor; else the eager step, which a GPU captures.

    Raises:
        RuntimeError: the step cannot be compiled or captured.
    """
    run = peer_membench.Stacked(work, _plugins(), str(device)).run(work.cells[:lanes])
    trainer = run.trainer()
    note = ""
    if compiled:
        note = trainer.compile(run.data.order(1))
    elif device.type == "cuda":
        note = trainer.capture(run.data.order(1))
    if note:
        raise RuntimeError(note)
    return partial(_train_epochs, run, trainer, work.size.recipe.epochs)


def _train_epochs(run: Run, trainer: Trainer, epochs: int) -> None:
    """Train as a pack is trained, each epoch in an order of its own."""
    for epoch in range(1, epochs + 1):
        trainer.train_epoch(run.data.order(epoch))


def jax_scan(work: Work, lanes: int, device: torch.device) -> Training:
    """Prepare JAX's whole training as one program.

    Args:
        work: whose first cells are trained, one a lane.
        lanes: how many.
        device: where.

    Raises:
        RuntimeError: JAX is not installed, or not for this device.
    """
    if importlib.util.find_spec("jax") is None:
        raise RuntimeError("jax is not installed here")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("JAX_PLATFORMS", device.type)
    import peer_jax

    peer = peer_jax.peer(work, PRECISION[True], lanes)
    cells = work.cells[:lanes]
    peer.warm_up(cells)
    return partial(peer.run, peer.inputs(cells))


# --- measurement ---------------------------------------------------------------------------------


def copy_bandwidth(device: torch.device) -> float:
    """Measure the bytes a second that a large copy reads and writes."""
    source = torch.ones(COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * len(source) / median_seconds(partial(target.copy_, source), device, repeats=10)


def median_seconds(training: Training, device: torch.device, repeats: int) -> float:
    """Measure the median time of a call, after two that are not timed.

    Args:
        training: what is called; all of it has been done when the time is taken.
        device: where it is done.
        repeats: how many calls are timed.
    """
    for _ in range(2):  # compilation, allocation; and the recording of reduce-overhead's graph
        training()
    seconds = []
    for _ in range(repeats):
        _wait(device)
        started = time.perf_counter()
        training()
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def card(device: torch.device) -> str:
    """Name the device."""
    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} thread"
    found = torch.cuda.get_device_properties(device)
    return CARD_NAME.format(
        name=found.name,
        memory=found.total_memory / 2**30,
        major=found.major,
        minor=found.minor,
    )


def measure(peer: Peer, work: Work, bandwidth: float, device: torch.device, repeats: int) -> str:
    """Measure one peer; return its line.

    Args:
        peer: to measure.
        work: that it trains.
        bandwidth: of the device, bytes a second.
        device: where it trains.
        repeats: how many trainings are timed.
    """
    seconds = median_seconds(peer.prepare(), device, repeats) / (peer.lanes * work.size.steps)
    share = fused_bytes(work.weights[0]) / seconds / bandwidth
    return LINE.format(peer.name, peer.lanes, f"{1e6 * seconds:.2f}", f"{share:.1%}")


def main(words: list[str]) -> int:
    """Print a line for each peer; 1 if one that is installed here failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--size", default="mlp", choices=("mlp", "cnn", "wide"))
    parser.add_argument("--steps", type=int, default=200, help="of one training")
    parser.add_argument("--lanes", default="1,75", help="widths of the peers that stack")
    parser.add_argument("--repeats", type=int, default=5, help="trainings that are timed")
    options = parser.parse_args(words)
    lanes = [int(count) for count in options.lanes.split(",")]
    configure_torch()
    device = torch.device(resolve_device(options.device))
    work = work_of(SIZES[options.size], options.steps, max(lanes))
    bandwidth = copy_bandwidth(device)
    print(f"{card(device)}, torch {torch.__version__}; {work.size.name}, {work.size.steps} steps")
    print(f"a large copy: {bandwidth / 1e9:.0f} GB/s", flush=True)
    print(LINE.format("peer", "lanes", "us a lane-step", "% of bandwidth"), flush=True)
    failed = 0
    with precision(compiled=True):
        for peer in peers(work, lanes, device):
            try:
                line = measure(peer, work, bandwidth, device, options.repeats)
            except KeyboardInterrupt:
                print(f"{peer.name}, {peer.lanes} lanes: interrupted", flush=True)
                return 1
            except Exception as error:  # a compiler or a driver raises anything; the next may run
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                line = f"{peer.name}, {peer.lanes} lanes: not measured: {reason}"
                failed += "is not installed" not in reason
            print(line, flush=True)
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

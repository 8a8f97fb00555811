"""Checks of architectures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch import nn
from torch.func import functional_call

from membench.api import Recipe
from membench.engine.network import initial_weights
from membench.engine.step import untapped
from membench.nn import cross_entropy
from membench.rng import Draws
from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.check import source_location
from membench.testing.subject import Subject
from membench.testing.toy import CLASSES
from membench.testing.toy import SHAPE
from membench.testing.toy import ToyRun
from membench.testing.toy import lane_data

SIZES = (((1, 28, 28), 10), ((3, 32, 32), 7))
FIT_EPOCHS, WORK = (
    20,
    4_000_000,
)  #: of three steps each; weights times epochs, so that large networks take seconds too


def _module(
    subject: Subject, shape: tuple[int, int, int] = (1, 28, 28), classes: int = 10, seed: int = 0
) -> nn.Module:
    (record,) = subject.records
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return record.build(shape, classes)


def _images(n: int, shape: tuple[int, int, int] = (1, 28, 28)) -> Tensor:
    return torch.from_numpy(
        Draws(1).normal("images", n * int(np.prod(shape))).reshape(n, *shape).copy()
    )


def builds(subject: Subject) -> str:
    """28x28x1 with 10 classes, 32x32x3 with 7."""
    modules = [_module(subject, shape, classes) for shape, classes in SIZES]
    for module in modules:
        if not isinstance(module, nn.Module):
            raise Fault(
                f"build returned a {type(module).__name__}, not an nn.Module",
                source_location(subject.records[0].build),
            )
    sizes = [sum(p.numel() for p in module.parameters()) for module in modules]
    return " and ".join(f"{size} weights" for size in sizes)


def logits(subject: Subject) -> None:
    """In evaluation mode, for batches of four and one."""
    for shape, classes in SIZES:
        module = _module(subject, shape, classes).eval()
        for n in (4, 1):
            out = module(_images(n, shape), untapped)
            if not isinstance(out, Tensor) or tuple(out.shape) != (n, classes):
                got = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
                raise Fault(
                    f"{n} images of {list(shape)} give {got}, not [{n}, {classes}]",
                    _forward(module),
                )
            if not out.isfinite().all():
                raise Fault("logits are not finite at the initial weights", _forward(module))


def _forward(module: nn.Module) -> str:
    return source_location(type(module).forward)


def _training(module: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits in training mode, differentiable in the parameters that come with them. The module stays as it is.

    The running statistics are handed in too, as the engine does: what the module assigns to them ends in our dict.
    """
    params = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    buffers = {name: b.clone() for name, b in module.named_buffers()}
    return functional_call(module.train(), {**params, **buffers}, (x, untapped)), params


def float32(subject: Subject) -> None:
    """Parameters."""
    for name, p in _module(subject).named_parameters():
        if p.dtype != torch.float32:
            raise Fault(f"{name} is {p.dtype}", source_location(subject.records[0].build))


def same_weights(subject: Subject) -> None:
    """As the engine builds them."""
    one, again, other = (
        initial_weights(subject.records[0], (1, 28, 28), 10, seed) for seed in (1, 1, 2)
    )
    where = source_location(subject.records[0].build)
    if not all(torch.equal(one[k], again[k]) for k in one):
        raise Fault("the same seed gives other weights", where)
    if all(torch.equal(one[k], other[k]) for k in one):
        raise Fault("another seed gives the same weights", where)


def taps(subject: Subject) -> str:
    """Each tap's result is doubled in turn; the logits must notice."""
    module, x = _module(subject).eval(), _images(4)
    seen: list[tuple[str, Tensor]] = []
    plain = module(x, lambda h, kind="hidden": seen.append((kind, h)) or h)
    if not seen:
        raise Fault(
            "forward never calls its tap: regularizers of the hidden layers would do nothing",
            _forward(module),
        )
    for i, (kind, h) in enumerate(seen):
        if kind not in ("hidden", "branch") or h.dim() not in (2, 3, 4) or h.shape[0] != len(x):
            raise Fault(f"tap {i} gets a {kind!r} of shape {list(h.shape)}", _forward(module))
        if torch.equal(module(x, _doubling(i)), plain) and h.any():
            raise Fault(f"what tap {i} returns is not used", _forward(module))
    return f"{len(seen)} taps"


def _doubling(chosen: int) -> Callable[..., Tensor]:
    count = iter(range(1 << 20))
    return lambda h, kind="hidden": 2 * h if next(count) == chosen else h


def steady(subject: Subject) -> None:
    """Twice in each mode, from other random states."""
    module, x = _module(subject), _images(4)
    with torch.random.fork_rng(devices=[]):
        for logits in (lambda: module.eval()(x, untapped), lambda: _training(module, x)[0]):
            if not torch.equal(*((torch.manual_seed(seed), logits())[1] for seed in (1, 2))):
                raise Fault("the logits are random", _forward(module))


def gradients(subject: Subject) -> None:
    """Of the cross-entropy of eight images."""
    module, x = _module(subject), _images(8)
    y = torch.eye(10)[torch.arange(8)]
    out, params = _training(module, x)
    grads = torch.autograd.grad(
        cross_entropy(out, y).mean(), list(params.values()), allow_unused=True
    )
    for name, g in zip(params, grads, strict=True):
        if g is None or not g.isfinite().all():
            raise Fault(
                f"{name} gets {'no' if g is None else 'a'} gradient{'' if g is None else ' that is not finite'}",
                _forward(module),
            )


def trains(subject: Subject) -> str:
    """Two lanes of eight 8x8 images, or of the smallest that it builds for, by the engine's own step."""
    record = subject.records[0]
    try:
        weights = initial_weights(record, SHAPE, CLASSES, 0)
    except (RuntimeError, ValueError) as error:
        raise NotApplicable("it does not build for the 8x8 images of this check") from error
    epochs = max(2, min(FIT_EPOCHS, WORK // sum(w.numel() for w in weights.values())))
    recipe = Recipe(
        record.recipe.optimizer, record.recipe.lr, record.recipe.momentum, batch=8, epochs=epochs
    )
    world = ToyRun((), ((0.0,), (0.0,)), record, recipe, 3 * epochs, data=lane_data(2, n=24))
    trainer = world.trainer()
    before = trainer.evaluate(trainer.data.rows, trainer.data.labels)[1]
    for order in world.orders(epochs=epochs):
        trainer.train_epoch(order)
    after = trainer.evaluate(trainer.data.rows, trainer.data.labels)[1]
    if not (after < before).all():
        raise Fault(
            f"{3 * epochs} steps take the loss of 24 images from {before.max():.3g} to {after.max():.3g}"
        )
    return f"loss {before.mean():.2f} to {after.mean():.2f} in {3 * epochs} steps"

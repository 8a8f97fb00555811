"""Checks of architectures."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch import nn
from torch.func import functional_call

from membench.api import Recipe
from membench.engine.adapted import build
from membench.engine.evaluate import Readout
from membench.engine.evaluate import running_statistics
from membench.engine.network import initial_weights
from membench.engine.step import untapped
from membench.engine.trainer import Trainer
from membench.nn import cross_entropy
from membench.planning.suites import check_recipe
from membench.rng import Draws
from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.check import source_location
from membench.testing.subject import Subject
from membench.testing.toy import CLASSES
from membench.testing.toy import SHAPE
from membench.testing.toy import ToyRun
from membench.testing.toy import lane_data

Shape = tuple[int, int, int]  #: channels, height, width
GREY: Shape = (1, 28, 28)
SIZES = ((GREY, 10), ((3, 32, 32), 7))  #: (images, classes) that it must build for
MAX_EPOCHS = 20  #: of three steps each
MAX_WORK = 4_000_000  #: weights times epochs, so that large networks take seconds too


def _build(subject: Subject, shape: Shape = GREY, classes: int = 10) -> nn.Module:
    """Build the network with weights from seed 0, leaving torch's random state alone."""
    (record,) = subject.records
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: nn.Module = build(record, shape, classes)
    return module


def _images(n: int, shape: Shape = GREY) -> Tensor:
    """Draw n standard normal images."""
    numbers = Draws(1).normal("images", n * math.prod(shape))
    return torch.from_numpy(numbers.reshape(n, *shape).copy())


def _build_location(subject: Subject) -> str:
    return source_location(subject.records[0].build)


def _forward_location(module: nn.Module) -> str:
    return source_location(type(module).forward)


def _training_logits(module: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute logits in training mode, leaving the module as it is.

    The running statistics are handed in too, as the engine does: what the module assigns to them
    ends in our dict.

    Returns:
        The logits, and the parameters that they can be differentiated in.
    """
    params = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    buffers = {name: b.clone() for name, b in module.named_buffers()}
    logits: Tensor = functional_call(module.train(), {**params, **buffers}, (x, untapped))
    return logits, params


# --- what it computes -----------------------------------------------------------------------------


def builds(subject: Subject) -> str:
    """Check that it builds for grey images of 10 classes and for colour images of 7."""
    sizes = []
    for shape, classes in SIZES:
        module = _build(subject, shape, classes)
        if not isinstance(module, nn.Module):
            raise Fault(
                f"build returned a {type(module).__name__}, not an nn.Module",
                _build_location(subject),
            )
        sizes.append(sum(p.numel() for p in module.parameters()))
    return " and ".join(f"{size} weights" for size in sizes)


def logits(subject: Subject) -> None:
    """Check that logits are finite and of [n, classes] in evaluation mode, for one image too."""
    for shape, classes in SIZES:
        module = _build(subject, shape, classes).eval()
        for n in (4, 1):
            out = module(_images(n, shape), untapped)
            if not isinstance(out, Tensor) or tuple(out.shape) != (n, classes):
                got = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
                raise Fault(
                    f"{n} images of {list(shape)} give {got}, not [{n}, {classes}]",
                    _forward_location(module),
                )
            if not out.isfinite().all():
                raise Fault(
                    "logits are not finite at the initial weights", _forward_location(module)
                )


def recipe(subject: Subject) -> None:
    """Check that the recipe's optimizer is registered and that its schedule exists."""
    (record,) = subject.records
    check_recipe(record.recipe, subject.registry, record.name)


def float32(subject: Subject) -> None:
    """Check that all parameters are float32."""
    for name, parameter in _build(subject).named_parameters():
        if parameter.dtype != torch.float32:
            raise Fault(f"{name} is {parameter.dtype}", _build_location(subject))


def same_weights(subject: Subject) -> None:
    """Check that torch's seed decides the initial weights, and that another seed gives others."""
    weights, again, other = (
        initial_weights(subject.records[0], GREY, 10, seed) for seed in (1, 1, 2)
    )
    if not all(torch.equal(weights[name], again[name]) for name in weights):
        raise Fault("the same seed gives other weights", _build_location(subject))
    if all(torch.equal(weights[name], other[name]) for name in weights):
        raise Fault("another seed gives the same weights", _build_location(subject))


def taps(subject: Subject) -> str:
    """Check that hidden activations go through the tap, and that what it returns is used.

    The result of each tap is doubled in turn; the logits must change.
    """
    module = _build(subject).eval()
    where = _forward_location(module)
    x = _images(4)
    tapped: list[tuple[str, Tensor]] = []

    def record(h: Tensor, kind: str = "hidden") -> Tensor:
        tapped.append((kind, h))
        return h

    plain = module(x, record)
    if not tapped:
        raise Fault(
            "forward never calls its tap: regularizers of the hidden layers would do nothing", where
        )
    for number, (kind, h) in enumerate(tapped):
        if kind not in ("hidden", "branch") or h.dim() not in (2, 3, 4) or h.shape[0] != len(x):
            raise Fault(f"tap {number} gets a {kind!r} of shape {list(h.shape)}", where)
        if torch.equal(module(x, _doubling(number)), plain) and h.any():
            raise Fault(f"what tap {number} returns is not used", where)
    return f"{len(tapped)} taps"


def _doubling(chosen: int) -> Callable[..., Tensor]:
    """Return a tap that doubles what it gets the given time."""
    calls = 0

    def tap(h: Tensor, kind: str = "hidden") -> Tensor:
        nonlocal calls
        calls += 1
        return 2 * h if calls - 1 == chosen else h

    return tap


def steady(subject: Subject) -> None:
    """Check that the same images give the same logits from other random states, in both modes."""
    module = _build(subject)
    x = _images(4)

    def evaluation_logits() -> Tensor:
        out: Tensor = module.eval()(x, untapped)
        return out

    def training_logits() -> Tensor:
        return _training_logits(module, x)[0]

    with torch.random.fork_rng(devices=[]):
        for compute in (evaluation_logits, training_logits):
            torch.manual_seed(1)
            first = compute()
            torch.manual_seed(2)
            if not torch.equal(first, compute()):
                raise Fault("the logits are random", _forward_location(module))


# --- how it trains --------------------------------------------------------------------------------


def gradients(subject: Subject) -> None:
    """Check that every weight gets a finite gradient from the cross-entropy of eight images."""
    module = _build(subject)
    y = torch.eye(10)[torch.arange(8)]
    out, params = _training_logits(module, _images(8))
    loss = cross_entropy(out, y).mean()
    found = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    for name, gradient in zip(params, found, strict=True):
        if gradient is None:
            raise Fault(f"{name} gets no gradient", _forward_location(module))
        if not gradient.isfinite().all():
            raise Fault(f"{name} gets a gradient that is not finite", _forward_location(module))


def trains(subject: Subject) -> str:
    """Check that the engine trains it, in two stacked lanes of 24 images, and the loss falls.

    In the few steps that a large network gets, the recipe's rate may be too high or too low: one of
    it and a tenth of it must do.
    """
    (record,) = subject.records
    try:
        weights = initial_weights(record, SHAPE, CLASSES, 0)
    except (RuntimeError, ValueError) as error:
        raise NotApplicable("it does not build for the 8x8 images of this check") from error
    size = sum(w.numel() for w in weights.values())
    epochs = max(2, min(MAX_EPOCHS, MAX_WORK // size))
    said = []
    for share in (1, 0.1):
        before, after = _losses(subject, record.recipe.lr * share, epochs)
        if (after < before).all():
            return f"loss {before.mean():.2f} to {after.mean():.2f} in {3 * epochs} steps"
        said.append(f"from {before.max():.3g} to {after.max():.3g}")
    raise Fault(
        f"{3 * epochs} steps take the loss of 24 images {said[0]}, and {said[1]} at a tenth of the "
        "rate"
    )


def _losses(subject: Subject, lr: float, epochs: int) -> tuple[Tensor, Tensor]:
    """Train two lanes for some epochs of three steps; return their losses [2] before and after."""
    (record,) = subject.records
    run = ToyRun(
        strengths=((0.0,), (0.0,)),
        architecture=record,
        optimizer=subject.registry.optimizer(record.recipe.optimizer),
        recipe=Recipe(
            optimizer=record.recipe.optimizer,
            lr=lr,
            momentum=record.recipe.momentum,
            batch=8,
            epochs=epochs,
        ),
        steps=3 * epochs,
        data=lane_data(2, n=24),
    )
    trainer = run.trainer()
    before = _loss(trainer)
    for order in run.orders(epochs=epochs):
        trainer.train_epoch(order)
    return before, _loss(trainer)


def _loss(trainer: Trainer) -> Tensor:
    """Compute each lane's loss, with running statistics of its present weights.

    In a few steps those of training come nowhere near them.
    """
    params, buffers = trainer.readout()
    if buffers:
        program, lanes = trainer.program, trainer.eval_lanes
        buffers = running_statistics(program, params, buffers, trainer.data, lanes)
    readout = Readout(params, buffers)
    return trainer.evaluate(trainer.data.rows, trainer.data.labels, readout).loss

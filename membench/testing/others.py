"""Checks of architectures, data sets and signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import nn
from torch.func import functional_call

from membench.api import Arrays
from membench.api import Recipe
from membench.data import arrays_digest
from membench.data import check_arrays
from membench.data import digest
from membench.engine.network import build
from membench.engine.program import untapped
from membench.nn import cross_entropy
from membench.plugin_cache import cache_folder
from membench.rng import Draws
from membench.testing.subject import Fault
from membench.testing.subject import NotApplicable
from membench.testing.subject import Subject
from membench.testing.subject import place
from membench.testing.world import World
from membench.testing.world import lane_data

SIZES = (((1, 28, 28), 10), ((3, 32, 32), 7))
N = 40  #: examples of a signal's tries


# --- architectures ----------------------------------------------------------------------------------------------------


def _module(subject: Subject, shape: tuple[int, int, int] = (1, 28, 28), classes: int = 10, seed: int = 0) -> nn.Module:
    (record,) = subject.records
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return record.build(shape, classes)


def _images(n: int, shape: tuple[int, int, int] = (1, 28, 28)) -> Tensor:
    return torch.from_numpy(Draws(1).normal("images", n * int(np.prod(shape))).reshape(n, *shape).copy())


def builds(subject: Subject) -> str:
    """28x28x1 with 10 classes, 32x32x3 with 7."""
    modules = [_module(subject, shape, classes) for shape, classes in SIZES]
    for module in modules:
        if not isinstance(module, nn.Module):
            raise Fault(f"build returned a {type(module).__name__}, not an nn.Module", place(subject.records[0].build))
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
                raise Fault(f"{n} images of {list(shape)} give {got}, not [{n}, {classes}]", _forward(module))
            if not out.isfinite().all():
                raise Fault("logits are not finite at the initial weights", _forward(module))


def _forward(module: nn.Module) -> str:
    return place(type(module).forward)


def float32(subject: Subject) -> None:
    """Parameters."""
    for name, p in _module(subject).named_parameters():
        if p.dtype != torch.float32:
            raise Fault(f"{name} is {p.dtype}", place(subject.records[0].build))


def same_weights(subject: Subject) -> None:
    """As the engine builds them."""
    one, again, other = (build(subject.records[0], (1, 28, 28), 10, seed) for seed in (1, 1, 2))
    where = place(subject.records[0].build)
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
        raise Fault("forward never calls its tap: regularizers of the hidden layers would do nothing", _forward(module))
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
    """Twice in training mode, from other random states."""
    module, x = _module(subject), _images(4)
    with torch.random.fork_rng(devices=[]):
        one = [(torch.manual_seed(seed), module.eval()(x, untapped))[1] for seed in (1, 2)]
        if any(isinstance(m, nn.modules.dropout._DropoutNd) for m in module.modules()) or not torch.equal(*one):
            raise Fault("the logits are random", _forward(module))


def gradients(subject: Subject) -> None:
    """Of the cross-entropy of eight images."""
    module, x = _module(subject), _images(8)
    y = torch.eye(10)[torch.arange(8)]
    params = {k: p.detach().clone().requires_grad_() for k, p in module.named_parameters()}
    loss = cross_entropy(functional_call(module, params, (x, untapped)), y).mean()
    grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    for name, g in zip(params, grads, strict=True):
        if g is None or not g.isfinite().all():
            raise Fault(
                f"{name} gets {'no' if g is None else 'a'} gradient{'' if g is None else ' that is not finite'}",
                _forward(module),
            )


def trains(subject: Subject) -> str:
    """Two lanes of eight 8x8 images, or of the smallest that it builds for, by the engine's own step."""
    record = subject.records[0]
    recipe = Recipe(record.recipe.optimizer, record.recipe.lr, record.recipe.momentum, batch=8, epochs=20)
    world = World((), ((0.0,), (0.0,)), record, recipe, 60, data=lane_data(2, n=24))
    trainer = world.trainer()
    before = trainer.evaluate(trainer.data.rows, trainer.data.labels)[1]
    for order in world.orders(epochs=20):
        trainer.train_epoch(order)
    after = trainer.evaluate(trainer.data.rows, trainer.data.labels)[1]
    if not (after < before).all():
        raise Fault(f"60 steps take the loss of 24 images from {before.max():.3g} to {after.max():.3g}")
    return f"loss {before.mean():.2f} to {after.mean():.2f} in 60 steps"


# --- data sets --------------------------------------------------------------------------------------------------------


def _arrays(subject: Subject) -> Arrays:
    (record,) = subject.records
    try:
        return record.load(cache_folder() / "data" / record.name)
    except FileNotFoundError as error:
        raise NotApplicable(f"it is not at hand: {error}") from error


def loads(subject: Subject) -> str:
    """Shapes, types, range of the labels."""
    arrays = _arrays(subject)
    if not isinstance(arrays, Arrays):
        raise Fault(f"load returned a {type(arrays).__name__}, not membench.Arrays", place(subject.records[0].load))
    check_arrays(subject.entry.name, arrays)
    return f"{len(arrays.y)} images {list(arrays.x.shape[1:])}, {arrays.num_classes} classes"


def same_arrays(subject: Subject) -> None:
    """Loaded twice."""
    if arrays_digest(_arrays(subject)) != arrays_digest(_arrays(subject)):
        raise Fault("the second load gives other arrays", place(subject.records[0].load))


def values(subject: Subject) -> None:
    """Of the training images."""
    arrays, where = _arrays(subject), place(subject.records[0].load)
    x = arrays.x
    if x.dtype == np.float32 and not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
        raise Fault(f"float32 images must lie in 0 to 1: they go from {x.min():g} to {x.max():g}", where)
    if arrays.num_classes < 2 or len(np.unique(arrays.y)) < arrays.num_classes:
        raise Fault(f"{arrays.num_classes} classes are promised, {len(np.unique(arrays.y))} occur", where)
    if x.min() == x.max():
        raise Fault("all pixels of all images are the same", where)


def apart(subject: Subject) -> None:
    """By their bytes."""
    arrays = _arrays(subject)
    if arrays.test is None:
        raise NotApplicable("the harness cuts the test set off")
    train = {image.tobytes() for image in arrays.x}
    doubles = sum(image.tobytes() in train for image in arrays.test[0])
    if doubles:
        raise Fault(
            f"{doubles} of {len(arrays.test[0])} test images are training images too", place(subject.records[0].load)
        )


# --- signals ----------------------------------------------------------------------------------------------------------


def _try(subject: Subject, key: int = 1, train: bool = True) -> tuple[Any, Any, tuple[Any, ...]]:
    """(x, y, result) of random images; level 0.5 where the signal has levels."""
    (record,) = subject.records
    x = (Draws(5).uniform("x", N * 64) * 256).astype(np.uint8).reshape(N, 1, 8, 8)
    y = np.arange(N, dtype=np.int64) % 4
    try:
        return x, y, record.apply(x, y, None, Draws(key, 4), train)
    except TypeError:  # None is no number: it has levels
        return x, y, record.apply(x, y, 0.5, Draws(key, 4), train)


def applies(subject: Subject) -> None:
    """On training and other splits."""
    where = place(subject.records[0].apply)
    for train in (True, False):
        x, y, result = _try(subject, train=train)
        if not isinstance(result, tuple) or len(result) != 3 or not all(isinstance(v, np.ndarray) for v in result):
            raise Fault("apply must return three numpy arrays: x, y, changed", where)
        new_x, new_y, hit = result
        if (new_x.shape, new_y.shape, hit.shape) != (x.shape, y.shape, y.shape):
            raise Fault(f"shapes {new_x.shape}, {new_y.shape}, {hit.shape} for {x.shape}, {y.shape}", where)
        if hit.dtype != bool or new_y.dtype.kind not in "iu" or not 0 <= new_y.min() <= new_y.max() < 4:
            raise Fault("changed must be bool, and labels whole numbers below draw.num_classes", where)


def arrays_untouched(subject: Subject) -> None:
    """The images and labels that were handed over."""
    x, y, _ = _try(subject)
    fresh = ((Draws(5).uniform("x", N * 64) * 256).astype(np.uint8).reshape(N, 1, 8, 8), np.arange(N) % 4)
    if not (np.array_equal(x, fresh[0]) and np.array_equal(y, fresh[1])):
        raise Fault("apply changes its arrays in place", place(subject.records[0].apply))


def same_bytes(subject: Subject) -> None:
    """Compared by hash."""
    one, again, other = (digest(_try(subject, key)[2]) for key in (1, 1, 2))
    where = place(subject.records[0].apply)
    if one != again:
        raise Fault("the same draw gives other bytes", where)
    if subject.records[0].noise and one == other:
        raise Fault("another draw gives the same noise", where)


def changed(subject: Subject) -> None:
    """Of a training split."""
    x, y, (new_x, new_y, hit) = _try(subject)
    if not (np.array_equal(new_x[~hit], x[~hit]) and np.array_equal(new_y[~hit], y[~hit])):
        raise Fault("examples that are not marked in `changed` are not what they were", place(subject.records[0].apply))


def noise(subject: Subject) -> None:
    """What the record says of itself."""
    (record,) = subject.records
    x, y, (new_x, new_y, _) = _try(subject)
    where = place(record.apply)
    if record.noise == "labels" and not np.array_equal(new_x, x):
        raise Fault('noise="labels", and inputs change', where)
    if record.noise == "inputs" and not np.array_equal(new_y, y):
        raise Fault('noise="inputs", and labels change', where)
    other_x, other_y, _ = _try(subject, train=False)[2]
    if record.noise and not (np.array_equal(other_x, x) and np.array_equal(other_y, y)):
        raise Fault("validation and test are changed too", where)

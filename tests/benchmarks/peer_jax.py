"""JAX: a lane's whole training as one program, `lax.scan` over epochs and steps, `vmap` over lanes, compiled once."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax import lax
from jax import random
from speed_work import Work

from membench.api import Recipe
from membench.records import Cell

Layers = list[dict[str, Array]]  #: {"w": [in, out], "b": [out]}, in order
Act = Callable[[Array], Array]
PRECISIONS = {"highest": "highest", "high": "tensorfloat32", "medium": "bfloat16"}


def layers(weights: dict[str, np.ndarray]) -> Layers:
    """membench's [out, in] matrices, transposed."""
    values = list(weights.values())
    return [
        {"w": jnp.asarray(w.T), "b": jnp.asarray(b)}
        for w, b in zip(values[::2], values[1::2], strict=True)
    ]


def dense(layer: dict[str, Array], x: Array) -> Array:
    return x @ layer["w"] + layer["b"]


def patches(x: Array, size: int) -> Array:
    """[n, h, w, c] -> [n, h // size, w // size, size * size * c]."""
    n, h, w, c = x.shape
    rows, columns = h // size, w // size
    x = x[:, : rows * size, : columns * size].reshape(n, rows, size, columns, size, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows, columns, size * size * c)


def mlp(params: Layers, x: Array, act: Act) -> Array:
    """Logits [n, classes]."""
    *hidden, head = params
    h = x.reshape(len(x), -1)
    for layer in hidden:
        h = act(dense(layer, h))
    return dense(head, h)


def cnn(params: Layers, x: Array, act: Act) -> Array:
    """The plugin `cnn`; its convolutions do not overlap, so patches x matrix is the same, and here the faster way."""
    stem, body, neck, head = params
    h = act(dense(stem, patches(x.transpose(0, 2, 3, 1), 4)))
    h = act(dense(body, patches(h, 2)))
    return dense(head, act(dense(neck, h.reshape(len(h), -1))))


def dropped(keys: Array, rate: Array) -> Act:
    """ReLU, then dropout with a key of its own at each call."""
    upcoming = iter(keys)

    def act(h: Array) -> Array:
        keep = random.bernoulli(next(upcoming), 1 - rate, h.shape)
        return jnp.where(keep, jax.nn.relu(h) / (1 - rate), 0.0)

    return act


def train(
    net: Callable, recipe: Recipe, params: Layers, x: Array, y: Array, rate: Array, key: Array
) -> Layers:
    """One lane's whole budget: the trained layers."""
    per_epoch = len(y) // recipe.batch
    taps = len(params) - 1

    def loss(params: Layers, x: Array, y: Array, key: Array) -> Array:
        logits = net(params, x, dropped(random.split(key, taps), rate))
        return -jnp.mean(
            jnp.sum(jax.nn.one_hot(y, logits.shape[1]) * jax.nn.log_softmax(logits), axis=1)
        )

    def step(carry: Any, batch: Any) -> Any:
        params, momentum = carry
        index, key = batch
        grads = jax.grad(loss)(params, x[index], y[index], key)
        momentum = jax.tree.map(lambda m, g: recipe.momentum * m + g, momentum, grads)
        return (jax.tree.map(lambda p, m: p - recipe.lr * m, params, momentum), momentum), None

    def epoch(carry: Any, key: Array) -> Any:
        keys = random.split(key, 1 + per_epoch)
        order = random.permutation(keys[0], len(y))[: per_epoch * recipe.batch].reshape(
            per_epoch, recipe.batch
        )
        return lax.scan(step, carry, (order, keys[1:]))[0], None

    start = params, jax.tree.map(jnp.zeros_like, params)
    return lax.scan(epoch, start, random.split(key, recipe.epochs))[0][0]


class JaxPeer:
    """As many lanes at once as the driver says; one lane without `vmap`."""

    def __init__(self, work: Work, lanes: int) -> None:
        net = cnn if work.size.architecture == "cnn" else mlp
        one = partial(train, net, work.size.recipe)
        self.work, self.lanes = work, lanes
        self.program = jax.jit(jax.vmap(one) if lanes > 1 else one)
        self.right = jax.jit(
            lambda params, x, y: jnp.mean(jnp.argmax(net(params, x, jax.nn.relu), axis=1) == y)
        )

    def warm_up(self, cells: Sequence[Cell]) -> None:
        """Compiles; what `train` calls is this very program."""
        self.program = self.program.lower(*self._inputs(cells)).compile()

    def train(self, cells: Sequence[Cell]) -> tuple[Sequence[Cell], Layers]:
        """The cells and their trained layers, stacked if there are several lanes."""
        return cells, jax.block_until_ready(self.program(*self._inputs(cells)))

    def _inputs(self, cells: Sequence[Cell]) -> tuple[Any, ...]:
        each = [self._lane(i, cell) for i, cell in enumerate(cells)]
        return (
            each[0] if self.lanes == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        )

    def _lane(self, i: int, cell: Cell) -> tuple[Any, ...]:
        e = self.work.of(cell)
        key, strength = random.fold_in(random.key(cell.seed), i), jnp.float32(cell.strength[0])
        return (
            layers(self.work.weights[cell.seed]),
            jnp.asarray(e.x),
            jnp.asarray(e.y),
            strength,
            key,
        )

    def read(self, trained: tuple[Sequence[Cell], Layers]) -> list[tuple[float, float]]:
        """(training accuracy, test accuracy) of each."""
        cells, params = trained
        lane = lambda i: params if self.lanes == 1 else jax.tree.map(lambda w: w[i], params)  # noqa: E731
        return [self._accuracies(self.work.of(cell), lane(i)) for i, cell in enumerate(cells)]

    def _accuracies(self, e: Any, params: Layers) -> tuple[float, float]:
        return float(self.right(params, e.x, e.y)), float(self.right(params, e.test_x, e.test_y))


def peer(work: Work, precision: str, lanes: int) -> JaxPeer:
    """One process of one thread; the driver sets the flags before JAX is imported."""
    jax.config.update("jax_default_matmul_precision", PRECISIONS[precision])
    return JaxPeer(work, lanes)

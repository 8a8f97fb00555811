"""JAX as a peer: a lane's whole training is one program, compiled once.

`lax.scan` runs over epochs and steps, `vmap` over lanes.
"""

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
    """Transpose membench's [out, in] matrices."""
    values = list(weights.values())
    params = []
    for weight, bias in zip(values[::2], values[1::2], strict=True):
        params.append({"w": jnp.asarray(weight.T), "b": jnp.asarray(bias)})
    return params


def dense(layer: dict[str, Array], x: Array) -> Array:
    """Apply a linear layer."""
    return x @ layer["w"] + layer["b"]


def patches(x: Array, size: int) -> Array:
    """Cut x [n, h, w, c] into patches: [n, h // size, w // size, size * size * c]."""
    n, h, w, c = x.shape
    rows, columns = h // size, w // size
    x = x[:, : rows * size, : columns * size].reshape(n, rows, size, columns, size, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows, columns, size * size * c)


def mlp(params: Layers, x: Array, act: Act) -> Array:
    """Compute the logits [n, classes] of x [n, c, h, w]."""
    *hidden, head = params
    h = x.reshape(len(x), -1)
    for layer in hidden:
        h = act(dense(layer, h))
    return dense(head, h)


def cnn(params: Layers, x: Array, act: Act) -> Array:
    """Compute the logits of the plugin `cnn`.

    Its convolutions do not overlap, so patches x matrix is the same, and is faster here.
    """
    stem, body, neck, head = params
    h = act(dense(stem, patches(x.transpose(0, 2, 3, 1), 4)))
    h = act(dense(body, patches(h, 2)))
    return dense(head, act(dense(neck, h.reshape(len(h), -1))))


def dropped(keys: Array, rate: Array) -> Act:
    """Make an activation: ReLU, then dropout, with the next of the keys at each call."""
    upcoming = iter(keys)

    def act(h: Array) -> Array:
        keep = random.bernoulli(next(upcoming), 1 - rate, h.shape)
        return jnp.where(keep, jax.nn.relu(h) / (1 - rate), 0.0)

    return act


def train(
    net: Callable, recipe: Recipe, params: Layers, x: Array, y: Array, rate: Array, key: Array
) -> Layers:
    """Train one lane for its whole budget.

    Args:
        net: `mlp` or `cnn`.
        recipe: how it is trained.
        params: the initial layers.
        x: [n, c, h, w].
        y: [n] int64.
        rate: of dropout, 0-d.
        key: of the random numbers.

    Returns:
        The trained layers.
    """
    per_epoch = len(y) // recipe.batch
    taps = len(params) - 1

    def loss(params: Layers, x: Array, y: Array, key: Array) -> Array:
        logits = net(params, x, dropped(random.split(key, taps), rate))
        targets = jax.nn.one_hot(y, logits.shape[1])
        return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), axis=1))

    def step(carry: Any, batch: Any) -> Any:
        params, momentum = carry
        index, key = batch
        grads = jax.grad(loss)(params, x[index], y[index], key)
        momentum = jax.tree.map(lambda m, g: recipe.momentum * m + g, momentum, grads)
        return (jax.tree.map(lambda p, m: p - recipe.lr * m, params, momentum), momentum), None

    def epoch(carry: Any, key: Array) -> Any:
        keys = random.split(key, 1 + per_epoch)
        order = random.permutation(keys[0], len(y))[: per_epoch * recipe.batch]
        batches = order.reshape(per_epoch, recipe.batch)
        return lax.scan(step, carry, (batches, keys[1:]))[0], None

    start = params, jax.tree.map(jnp.zeros_like, params)
    return lax.scan(epoch, start, random.split(key, recipe.epochs))[0][0]


class JaxPeer:
    """Trains as many lanes at once as the driver says; one lane without `vmap`."""

    def __init__(self, work: Work, lanes: int) -> None:
        net = cnn if work.size.architecture == "cnn" else mlp
        one = partial(train, net, work.size.recipe)
        self.work, self.lanes = work, lanes
        self.program = jax.jit(jax.vmap(one) if lanes > 1 else one)

        def accuracy(params: Layers, x: Array, y: Array) -> Array:
            return jnp.mean(jnp.argmax(net(params, x, jax.nn.relu), axis=1) == y)

        self.accuracy = jax.jit(accuracy)

    def warm_up(self, cells: Sequence[Cell]) -> None:
        """Compile the program that `train` calls."""
        self.program = self.program.lower(*self.inputs(cells)).compile()

    def train(self, cells: Sequence[Cell]) -> tuple[Sequence[Cell], Layers]:
        """Return the cells and their trained layers, stacked if there are several lanes."""
        return cells, self.run(self.inputs(cells))

    def run(self, inputs: tuple[Any, ...]) -> Layers:
        """Return the trained layers of lanes whose inputs are on the device."""
        return jax.block_until_ready(self.program(*inputs))

    def inputs(self, cells: Sequence[Cell]) -> tuple[Any, ...]:
        """Return what the program takes, stacked if there are several lanes."""
        lanes = [self._lane(i, cell) for i, cell in enumerate(cells)]
        if self.lanes == 1:
            return lanes[0]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)

    def _lane(self, i: int, cell: Cell) -> tuple[Any, ...]:
        examples = self.work.of(cell)
        return (
            layers(self.work.weights[cell.seed]),
            jnp.asarray(examples.x),
            jnp.asarray(examples.y),
            jnp.float32(cell.strength[0]),
            random.fold_in(random.key(cell.seed), i),
        )

    def read(self, trained: tuple[Sequence[Cell], Layers]) -> list[tuple[float, float]]:
        """Return (training accuracy, test accuracy) of each cell."""
        cells, stacked = trained
        accuracies = []
        for i, cell in enumerate(cells):
            params = stacked if self.lanes == 1 else jax.tree.map(lambda w, i=i: w[i], stacked)
            examples = self.work.of(cell)
            train = float(self.accuracy(params, examples.x, examples.y))
            test = float(self.accuracy(params, examples.test_x, examples.test_y))
            accuracies.append((train, test))
        return accuracies


def peer(work: Work, precision: str, lanes: int) -> JaxPeer:
    """Make the peer for a process of one thread, whose flags the driver sets before the import."""
    jax.config.update("jax_default_matmul_precision", PRECISIONS[precision])
    return JaxPeer(work, lanes)

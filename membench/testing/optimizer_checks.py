"""Checks of optimizers: their functions called by hand in one lane, and runs of a dozen steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from membench.api import Optimizer
from membench.api import Params
from membench.api import Recipe
from membench.engine import optim
from membench.engine.network import initial_weights
from membench.engine.trainer import Trainer
from membench.errors import MembenchError
from membench.testing.check import Fault
from membench.testing.check import source_location
from membench.testing.side_effects import Audit
from membench.testing.side_effects import changed_state
from membench.testing.side_effects import fingerprint
from membench.testing.side_effects import global_state
from membench.testing.side_effects import preserved_globals
from membench.testing.subject import Subject
from membench.testing.toy import CLASSES
from membench.testing.toy import MLP
from membench.testing.toy import SHAPE
from membench.testing.toy import ToyRun
from membench.testing.toy import bitwise_equal
from membench.testing.toy import lane_of
from membench.testing.toy import leaves
from membench.testing.toy import max_abs_diff

LR = 0.01
EPOCHS = 4  #: of three steps
LANES = 3


@dataclass(frozen=True)
class Arguments:
    """What an optimizer's functions are given; `recipe` comes last in both."""

    params: Params
    grads: Params
    slots: dict[str, Any]
    lr: Tensor
    t: Tensor
    recipe: Recipe

    def copy(self) -> Arguments:
        """Copy every tensor, and the dicts that hold them."""
        params, grads, slots, lr, t = tree_map(
            torch.clone, (self.params, self.grads, self.slots, self.lr, self.t)
        )
        return Arguments(params, grads, slots, lr, t, self.recipe)

    def update(self, optimizer: Optimizer) -> Any:
        """Call `update` as it is, its result unchecked."""
        return optimizer.update(self.params, self.grads, self.slots, self.lr, self.t, self.recipe)


def recipe_for(optimizer: Optimizer, lr: float = LR) -> Recipe:
    """Return the recipe of all runs of the checks."""
    return Recipe(optimizer=optimizer.name, lr=lr, batch=8, epochs=EPOCHS)


def arguments_for(optimizer: Optimizer) -> Arguments:
    """Return the arguments of the first step of one lane, with made-up gradients."""
    params = initial_weights(MLP, SHAPE, CLASSES, 1)
    recipe = recipe_for(optimizer)
    return Arguments(
        params=params,
        grads=tree_map(lambda w: 0.1 * torch.cos(7 * w), params),
        slots=optimizer.init(dict(params), recipe),
        lr=torch.tensor(LR),
        t=torch.tensor(0, dtype=torch.int32),
        recipe=recipe,
    )


def toy_run(optimizer: Optimizer, lr: float = LR) -> ToyRun:
    """Describe lanes that differ in their weights, images and labels."""
    return ToyRun(
        strengths=((0.0,),) * LANES,
        recipe=recipe_for(optimizer, lr),
        optimizer=optimizer,
        steps=3 * EPOCHS,
    )


@lru_cache(maxsize=4)
def stacked_run(optimizer: Optimizer) -> Trainer:
    """Train the lanes, stacked, to the end. It is shared: do not train it further."""
    return toy_run(optimizer).trained(epochs=EPOCHS)


def _optimizer(subject: Subject) -> Optimizer:
    (record,) = subject.records
    optimizer: Optimizer = record
    return optimizer


# --- by hand --------------------------------------------------------------------------------------


def calls(subject: Subject) -> None:
    """Check that `init` and `update` can be called, in one lane that is not stacked."""
    optimizer = _optimizer(subject)
    arguments_for(optimizer).update(optimizer)


def shapes(subject: Subject) -> str:
    """Check that `init` returns tensors, and `update` what is like its arguments, three times."""
    optimizer = _optimizer(subject)
    given = arguments_for(optimizer)
    where = source_location(optimizer.init)
    try:
        params, slots = given.params, optim.init(optimizer, given.params, given.recipe)
        where = source_location(optimizer.update)
        for t in range(3):
            step = torch.tensor(t, dtype=torch.int32)
            params, slots = optim.update(
                optimizer, params, given.grads, slots, given.lr, step, given.recipe
            )
    except MembenchError as error:
        raise Fault(str(error).partition(": ")[2], where) from error
    count = len(leaves(slots))
    return f"{count} tensor{'' if count == 1 else 's'} of memory"


def inputs_untouched(subject: Subject) -> None:
    """Check that `init` and `update` leave dicts and tensors that they are given as they were."""
    optimizer = _optimizer(subject)
    given = arguments_for(optimizer)
    kept = given.copy()
    optimizer.init(given.params, given.recipe)
    if not bitwise_equal(given.params, kept.params):
        raise Fault("init changes the weights that it is given", source_location(optimizer.init))
    given.update(optimizer)
    for name in ("params", "grads", "slots", "lr", "t"):
        if not bitwise_equal([getattr(given, name)], [getattr(kept, name)]):
            raise Fault(
                f"update changes the {name} that it is given", source_location(optimizer.update)
            )


def repeats(subject: Subject) -> None:
    """Check that the same arguments give the same result, also after other ones."""
    optimizer = _optimizer(subject)
    given = arguments_for(optimizer)
    first = given.copy().update(optimizer)
    other = given.copy()
    other.params.update(tree_map(lambda w: w + 1, other.params))
    other.update(optimizer)
    again = given.copy().update(optimizer)
    if not bitwise_equal(list(first), list(again)):
        raise Fault(
            "update gives another result when it is called again", source_location(optimizer.update)
        )


def finite_at_edges(subject: Subject) -> None:
    """Check that zero gradients, zero weights and both give finite weights and slots."""
    optimizer = _optimizer(subject)
    given = arguments_for(optimizer)
    zeros = tree_map(torch.zeros_like, given.params)
    edges = {
        "a gradient of zero": (given.params, zeros),
        "weights that are all zero": (zeros, given.grads),
        "weights and a gradient of zero": (zeros, zeros),
    }
    for edge, (start, grads) in edges.items():
        params, slots = start, optim.init(optimizer, start, given.recipe)
        for t in range(2):
            step = torch.tensor(t, dtype=torch.int32)
            params, slots = optim.update(
                optimizer, params, grads, slots, given.lr, step, given.recipe
            )
        if not _all_finite([params, slots]):
            raise Fault(f"update is not finite for {edge}", source_location(optimizer.update))


def _all_finite(tree: Any) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in leaves(tree).values())


# --- side effects ---------------------------------------------------------------------------------


def globals_untouched(subject: Subject) -> None:
    """Check that neither function changes global state."""
    optimizer = _optimizer(subject)
    with preserved_globals():
        before = global_state()
        arguments_for(optimizer).update(optimizer)
        changed = changed_state(before)
    if changed:
        raise Fault(f"a step changes {', '.join(changed)}", source_location(optimizer.update))


def keeps_nothing(subject: Subject) -> None:
    """Check that the functions keep nothing between calls but in the slots that they return."""
    optimizer = _optimizer(subject)
    before = fingerprint([optimizer], subject.paths)
    given = arguments_for(optimizer)
    for _ in range(2):
        given.copy().update(optimizer)
    for name, description in fingerprint([optimizer], subject.paths).items():
        if before.get(name) != description:
            raise Fault(
                f"{name} is another after a step: runs would hear of each other",
                source_location(optimizer.update),
            )


def looks_nowhere(subject: Subject) -> None:
    """Check that the functions cause no audit event: open no file, walk no stack."""
    optimizer = _optimizer(subject)
    arguments_for(optimizer).update(optimizer)  # what torch loads at first use is not theirs
    audit = Audit(subject.paths)
    with audit:
        arguments_for(optimizer).update(optimizer)
    for event, where in audit.events:
        raise Fault(f"causes {event!r}: it looks for more than it is given", where)


# --- in training ----------------------------------------------------------------------------------


def stacks(subject: Subject) -> None:
    """Check that a run stacks: lanes with other weights and data train side by side."""
    stacked_run(_optimizer(subject))


def finite(subject: Subject) -> None:
    """Check that losses, weights and slots stay finite."""
    optimizer = _optimizer(subject)
    trainer = stacked_run(optimizer)
    died = [int(step) for step in trainer.state["diverged_at"] if step >= 0]
    where = source_location(optimizer.update)
    if died:
        raise Fault(f"at lr {LR:g} the loss of step {min(died)} is not finite", where)
    if not _all_finite([trainer.state["params"], trainer.state["slots"]]):
        raise Fault(f"weights or slots are not finite after {3 * EPOCHS} steps", where)


def neighbours(subject: Subject) -> None:
    """Check that a lane alone is the same lane among others, up to rounding."""
    optimizer = _optimizer(subject)
    alone = toy_run(optimizer).trained([1], epochs=EPOCHS)
    for name in ("params", "slots"):
        among_others = lane_of(stacked_run(optimizer).state[name], 1)
        difference = max_abs_diff(lane_of(alone.state[name], 0), among_others)
        if not difference <= 1e-4:  # NaN is not
            raise Fault(
                f"alone, the lane's {name} differ by {difference:.2g} "
                "from those it has among others",
                source_location(optimizer.update),
            )


def acts(subject: Subject) -> str:
    """Check that training moves the weights."""
    optimizer = _optimizer(subject)
    start = toy_run(optimizer).trainer().state["params"]
    moved = max_abs_diff(start, stacked_run(optimizer).state["params"])
    if moved == 0:
        raise Fault("training leaves the weights as they are", source_location(optimizer.update))
    return f"{3 * EPOCHS} steps at lr {LR:g} move the weights by up to {moved:.2g}"


def learning_rate(subject: Subject) -> None:
    """Check that at a learning rate of 0 the weights stay."""
    optimizer = _optimizer(subject)
    run = toy_run(optimizer, lr=0.0)
    start = run.trainer().state["params"]
    moved = max_abs_diff(start, run.trained(epochs=1).state["params"])
    if moved != 0:
        raise Fault(
            f"at lr 0 three steps move the weights by up to {moved:.2g}",
            source_location(optimizer.update),
        )

"""A suite as a command asks for it: narrowed or widened, with the splits and recipes it trains by.

The suites themselves are plugins (`membench.api.Suite`).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from dataclasses import replace
from typing import Any
from typing import TypeVar

from membench.api import SCHEDULES
from membench.api import Recipe
from membench.api import Split
from membench.api import Suite
from membench.errors import MembenchError
from membench.errors import known_names
from membench.records import digest
from membench.registry.registry import Registry

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class PlannedSuite(Suite):
    """A suite, with the sizes that a command puts in place of the suite's own."""

    train: int | None = None  #: size of the training set that replaces the one of each split
    epochs: int | None = None  #: budget that replaces the one of each recipe
    optimizer: str | None = None  #: that replaces the one of each recipe
    lr: float | None = None  #: learning rate that replaces the one of each recipe
    #: what is not trained since it was not asked for by name: data set or architecture -> why
    left_out: dict[str, str] = field(default_factory=dict)


def narrow(
    suite: Suite,
    *,
    datasets: tuple[str, ...] = (),
    architectures: tuple[str, ...] = (),
    signals: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    probes: tuple[str, ...] = (),
    train: int | None = None,
    epochs: int | None = None,
    optimizer: str | None = None,
    lr: float | None = None,
) -> PlannedSuite:
    """Return the suite with the requested axes and sizes.

    With fewer tasks it is a part of the original. With anything else that changes a number on its
    page it gets another name, and so a table of its own.

    Args:
        suite: the original.
        datasets: names; () = those of the suite, without the uncalibrated ones.
        architectures: names; () = those of the suite, without the uncalibrated ones.
        signals: names, with levels; () = those of the suite.
        seeds: the confirming seeds; () = those of the suite.
        probes: names of what is measured too.
        train: size of the training set; None = those of the splits.
        epochs: budget; None = those of the recipes.
        optimizer: its name; None = those of the recipes.
        lr: learning rate; None = those of the recipes.

    Raises:
        MembenchError: a requested seed is a choosing seed of the suite.
    """
    common = sorted(set(seeds) & set(suite.choosing))
    if common:
        raise MembenchError(
            f"--seeds: suite {suite.name!r} chooses strengths on seed {common[0]}, "
            "so it cannot be read there; give other seeds than "
            f"{', '.join(map(str, suite.choosing))}"
        )
    own = {each.name: getattr(suite, each.name) for each in fields(Suite)}
    left_out = {}
    for name, why in suite.uncalibrated.items():
        if not (datasets if name in suite.datasets else architectures):
            left_out[name] = why
    planned = replace(
        PlannedSuite(**own),
        datasets=_requested(datasets or _without(left_out, suite.datasets), suite.datasets),
        architectures=_requested(
            architectures or _without(left_out, suite.architectures), suite.architectures
        ),
        signals=_requested(signals, suite.signals),
        confirming=_requested(seeds, suite.confirming),
        probes=tuple(dict.fromkeys((*suite.probes, *probes))),
        train=train,
        epochs=epochs,
        optimizer=optimizer,
        lr=lr,
        left_out=left_out,
    )
    is_part = (
        set(planned.datasets) <= set(suite.datasets)
        and set(planned.architectures) <= set(suite.architectures)
        and planned.signals == suite.signals
        and planned.confirming == suite.confirming
        and not (train or epochs or optimizer or lr)
    )
    return planned if is_part else replace(planned, name=_custom_name(suite, planned))


def _custom_name(suite: Suite, planned: PlannedSuite) -> str:
    """Return `quick-custom-1a2b`: whoever asks for other things gets another board."""
    others = {
        "datasets": sorted(set(planned.datasets) - set(suite.datasets)),
        "architectures": sorted(set(planned.architectures) - set(suite.architectures)),
        "signals": sorted(planned.signals),
        "confirming": sorted(planned.confirming),
        "train": planned.train,
        "epochs": planned.epochs,
        "optimizer": planned.optimizer,
        "lr": planned.lr,
    }
    return f"{suite.name}-custom-{digest(others)[:4]}"


def _without(left_out: Container[str], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in left_out)


def _requested(values: tuple[T, ...], own: tuple[T, ...]) -> tuple[T, ...]:
    """Return the requested values, each once; the suite's own, in its order, if they are these."""
    distinct = tuple(dict.fromkeys(values))
    return distinct if distinct and set(distinct) != set(own) else own


def split_of(suite: PlannedSuite, dataset: str) -> Split:
    """Return the suite's split of a data set, with the requested size of the training set.

    Raises:
        MembenchError: the suite does not say how to split the data set.
    """
    if dataset not in suite.splits:
        known = ", ".join(sorted(suite.splits))
        raise MembenchError(
            f"suite {suite.name!r} does not say how to split data set {dataset!r}; it has {known}"
        )
    split = suite.splits[dataset]
    return replace(split, train=suite.train) if suite.train else split


def recipe_of(suite: PlannedSuite, registry: Registry, task: str) -> Recipe:
    """Return the suite's recipe for a task, or else the architecture's, with what was requested.

    Args:
        suite: may have a recipe for the task.
        registry: gives the architecture's recipe.
        task: "dataset/architecture".
    """
    dataset, architecture = task.split("/")
    recipe = suite.recipes.get((dataset, architecture))
    if recipe is None:
        recipe = Recipe(**registry.entry("architectures", architecture).recipe)
    requested = {"epochs": suite.epochs, "optimizer": suite.optimizer, "lr": suite.lr}
    changes: dict[str, Any] = {name: value for name, value in requested.items() if value}
    return replace(recipe, **changes)


def check_recipe(recipe: Recipe, registry: Registry, where: str) -> None:
    """Check that the optimizer and the schedule of a recipe are known.

    Args:
        recipe: the one that is trained by.
        registry: gives the names of the optimizers.
        where: whose recipe it is, as in "digits/mlp".

    Raises:
        MembenchError: one of them is not known; the message names known ones.
    """
    used = {
        "optimizer": (recipe.optimizer, sorted(registry.optimizers), "membench list optimizers"),
        "schedule": (recipe.schedule, SCHEDULES, ""),
    }
    for what, (name, known, listing) in used.items():
        if name not in known:
            names = known_names(name, known, listing)
            raise MembenchError(f"recipe of {where}: unknown {what} {name!r}; {names}")


def default_split(images: int, own_test: int, train: int | None = None) -> Split:
    """Return the split of a data set that the suite does not name.

    Args:
        images: how many images there are beside a test set that the data set brings.
        own_test: the size of that test set; 0 = two fifths of the images become the test set.
        train: how many each seed draws for training; default: at most 1000, and half of what is not
            test.
    """
    test = own_test or 2 * images // 5
    rest = images if own_test else images - test
    half = rest // 2
    drawn = train or min(1000, half)
    return Split(test=test, train=drawn, validation=max(1, min(1000, half, rest - drawn)))

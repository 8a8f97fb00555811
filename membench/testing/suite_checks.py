"""Checks of suites: that the plugins which they name are there, and that their sizes fit the data.

The registry has refused what the record alone tells. Imports no torch.
"""

from __future__ import annotations

from itertools import product

from membench.data import draw_run
from membench.errors import MembenchError
from membench.planning.inputs import DatasetLoader
from membench.planning.plan import check_names
from membench.planning.suites import check_recipe
from membench.planning.suites import narrow
from membench.planning.suites import recipe_of
from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.subject import Subject


def names(subject: Subject) -> None:
    """Check that data sets, architectures, signals and probes are registered."""
    suite = subject.registry.suite(subject.entry.name)
    check_names(
        subject.registry,
        datasets=suite.datasets,
        architectures=suite.architectures,
        signals=suite.signals,
        probes=suite.probes,
    )


def recipes(subject: Subject) -> None:
    """Check each task's recipe: its names are known, and its batch is no larger than the set."""
    suite = narrow(subject.registry.suite(subject.entry.name))
    for dataset, architecture in product(suite.datasets, suite.architectures):
        task = f"{dataset}/{architecture}"
        recipe = recipe_of(suite, subject.registry, task)
        check_recipe(recipe, subject.registry, task)
        trained = suite.splits[dataset].trained
        if recipe.steps(trained) == 0:
            raise Fault(f"{task}: {trained} training images fill no batch of {recipe.batch}")


def splits(subject: Subject) -> str:
    """Check that each data set that is at hand has as many images as its split takes."""
    suite = subject.registry.suite(subject.entry.name)
    loader = DatasetLoader(subject.registry, folder=None, needed=False)
    fitting = []
    for dataset in suite.datasets:
        if not loader.is_available(dataset):
            continue
        task = f"{dataset}/{suite.architectures[0]}"
        try:
            draw_run(
                loader.arrays(dataset),
                suite.splits[dataset],
                subject.registry.signal("real"),
                None,
                task,
                suite.choosing[0],
            )
        except MembenchError as error:
            raise Fault(f"splits[{dataset!r}]: {error}") from error
        fitting.append(dataset)
    if not fitting:
        raise NotApplicable(f"not at hand: {', '.join(suite.datasets)}")
    return f"{', '.join(fitting)} drawn"

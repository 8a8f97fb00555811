"""Checks of probes: they measure what a run of `membench run --probe` asks them to.

Each trains a few epochs of a small network on the digits that scikit-learn ships, as a worker does.
"""

from __future__ import annotations

from collections.abc import Iterable

from membench.api import Recipe
from membench.api import Split
from membench.engine.train import train_pack
from membench.planning.packs import Pack
from membench.records import Cell
from membench.records import Record
from membench.testing.check import Fault
from membench.testing.check import source_location
from membench.testing.subject import Subject

DATASET = "digits"
NETWORKS = ("small-mlp", "mlp")
SIGNALS = ("real", "mixed@0.4")
SPLIT = Split(test=97, train=40, validation=40)
RECIPE = Recipe(lr=0.1, batch=20, epochs=2)


def measures(subject: Subject) -> str:
    """Check that it measures each checkpoint of two networks, on real and on wrong labels."""
    values: dict[str, int] = {}
    for network in NETWORKS:
        for record in _trained(subject, network):
            for metric, readings in record.probes[subject.entry.name].items():
                values[metric] = max(values.get(metric, 0), _width(readings))
    if not values:
        raise Fault("measure returned no metric", _location(subject))
    return ", ".join(f"{metric} [{width}]" for metric, width in values.items())


def finite(subject: Subject) -> None:
    """Check that all that it measures is finite."""
    for record in _trained(subject, NETWORKS[0]):
        for metric, readings in record.probes[subject.entry.name].items():
            for reading in readings:
                numbers = reading if isinstance(reading, tuple) else (reading,)
                if None in numbers:
                    raise Fault(
                        f"metric {metric!r} is not finite on {record.signal}", _location(subject)
                    )


def repeats(subject: Subject) -> None:
    """Check that the same run gives the same numbers."""
    first = _trained(subject, NETWORKS[0])
    again = _train(subject, NETWORKS[0], (subject.entry.name,))
    for record, other in zip(first, again, strict=True):
        if record.probes != other.probes:
            raise Fault("the same run gives other numbers", _location(subject))


def leaves_training_alone(subject: Subject) -> None:
    """Check that a run with the probe ends as one without it, to the last bit."""
    plain = _train(subject, NETWORKS[0], ())
    for record, other in zip(_trained(subject, NETWORKS[0]), plain, strict=True):
        curves = (record.train, record.loss, record.val, record.train_bits, record.test_bits)
        if curves != (other.train, other.loss, other.val, other.train_bits, other.test_bits):
            raise Fault("the run ends elsewhere than without the probe", _location(subject))


def _location(subject: Subject) -> str:
    return source_location(subject.records[0].measure)


def _width(readings: Iterable[object]) -> int:
    """Return how many numbers a metric has at a checkpoint, at most."""
    return max((len(r) if isinstance(r, tuple) else 1 for r in readings), default=0)


def _trained(subject: Subject, network: str) -> list[Record]:
    """Train with the probe, once for all checks."""
    if network not in subject.trained:
        subject.trained[network] = _train(subject, network, (subject.entry.name,))
    return subject.trained[network]


def _train(subject: Subject, network: str, probes: tuple[str, ...]) -> list[Record]:
    """Train the plain network on both signals, a seed each."""
    cells = tuple(Cell(DATASET, network, "none", (), signal, 0) for signal in SIGNALS)
    pack = Pack(
        cells=cells,
        keys=tuple(cell.id for cell in cells),
        recipe=RECIPE,
        split=SPLIT,
        compiled=False,
        probes=probes,
    )
    return train_pack(pack, subject.registry, "cpu")

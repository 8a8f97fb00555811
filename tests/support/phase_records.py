"""Records of a small plan's cells, of which strengths can be chosen."""

from __future__ import annotations

from collections.abc import Mapping

from membench.planning.plan import Plan
from membench.records import Cell
from membench.records import Record
from support.records import make_record

#: setting -> clean accuracy after real and after mixed labels, share of wrong labels memorized.
#: Held back most, at no cost, by the first strength of dropout; won back most by the second.
EFFECTS = {
    "none": (0.90, 0.60, 1.0),
    "dropout[0.1]": (0.90, 0.62, 0.5),
    "dropout[0.5]": (0.85, 0.80, 0.2),
    "mixup[0.2]": (0.91, 0.70, 0.4),
    "mixup[0.3]": (0.80, 0.60, 0.1),
}


def record_of(
    plan: Plan,
    cell: Cell,
    status: str = "ok",
    effects: Mapping[str, tuple[float, float, float]] = EFFECTS,
) -> Record:
    """Make the record of a planned cell; a setting without an effect is as `none`."""
    key = plan.manifest.cells[cell.id]
    setting = cell.id.split("/")[2]
    real, mixed, wrong = effects.get(setting, effects["none"])
    accuracy = mixed if cell.signal.startswith("mixed") else real
    return make_record(
        cell,
        key=key,
        status=status,
        epochs=(1, 2),
        train=(1.0, 1.0),
        loss=(0.0, 0.0),
        val=(accuracy, accuracy),
        test=(accuracy, accuracy),
        wrong=(wrong, wrong) if cell.signal.startswith("mixed") else (None, None),
        num_wrong=100,
        num_test=100,
        num_train=100,
        label_share=0.1,
    )


def records_of(plan: Plan, *names: str) -> list[Record]:
    """Make the records of all cells of some regularizers."""
    return [record_of(plan, cell) for cell in plan.cells if cell.regularizer in names]

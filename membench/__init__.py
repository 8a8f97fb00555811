"""membench: does a regularizer stop a network from fitting noise without costing real accuracy?

Plugins and analyses may rely on the names in `__all__` and on these modules; all else is internal.

- `membench.api`: the hook, the records it returns, and what their functions receive.
- `membench.nn`: layers that stack well over lanes.
- `membench.probes`: measurements of a network while it trains.
- `membench.studies`: experiments with a claim, an analysis and a finding.
- `membench.records`: cells, and the record that each leaves behind.
- `membench.data`: where data sets lie, and how one run's data are drawn from them.
- `membench.fetching`: downloads for data sets.
- `membench.estimators`, `membench.rng`: statistics and random numbers for analyses.
- `membench.shadow_runs`: runs that three studies share.
- `membench.scoring.formulas`, `membench.scoring.gate`, `membench.scoring.confirmed`: the formulas
  of the scores and of the choices, for analyses.
- `membench.errors`: the exceptions that become one line.
- `membench.observers`: the hooks through which a run tells what happens.
- `membench.python`: `load`, `run` and `check`, the commands as functions.

Importing this package, or any of these modules but `membench.nn`, does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING
from typing import Any

from membench.api import Architecture
from membench.api import Arrays
from membench.api import Composite
from membench.api import Dataset
from membench.api import Optimizer
from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Signal
from membench.api import Split
from membench.api import Suite
from membench.api import hookimpl
from membench.errors import MembenchError
from membench.probes import Probe
from membench.studies import Arm
from membench.studies import Finding
from membench.studies import Study
from membench.studies import Test

if TYPE_CHECKING:
    from membench.python import check
    from membench.python import load
    from membench.python import run

__version__ = "0.1.0"
__all__ = [
    "Architecture",
    "Arm",
    "Arrays",
    "Composite",
    "Dataset",
    "Finding",
    "MembenchError",
    "Optimizer",
    "Probe",
    "Recipe",
    "Regularizer",
    "Signal",
    "Split",
    "Study",
    "Suite",
    "Test",
    "check",
    "hookimpl",
    "load",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import the functions of `membench.python` when they are asked for.

    They stand above all packages, which import this one.
    """
    if name in ("check", "load", "run"):
        return getattr(importlib.import_module("membench.python"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the functions too, for whoever completes a name."""
    return sorted({*globals(), *__all__})

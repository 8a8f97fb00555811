"""`python tests/support/tiny.py run --suite tiny ...`: membench, with a suite that takes seconds; no worker notices.

Tests of what comes after a run put `TINY` among their own process's suites: a start of Python and torch takes longer.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from membench.api import Recipe
from membench.api import Split
from membench.cli import main
from membench.planning.suites import SUITES

TINY = replace(
    SUITES["smoke"],
    name="tiny",
    summary="two seeds, six steps",
    seeds=(0, 1),
    splits={"digits": Split(test=100, train=60, validation=100)},
    architectures=("mlp",),
    recipes={("digits", "mlp"): Recipe(lr=0.1, batch=30, epochs=3)},
    width=15,
)

if __name__ == "__main__":
    SUITES["tiny"] = TINY
    sys.exit(main())

"""The first name of `membench.shadow_runs`, which hashed import lines of plugins hold."""

from membench.shadow_runs import PAPER
from membench.shadow_runs import QUICK
from membench.shadow_runs import Runs
from membench.shadow_runs import runs

__all__ = ["PAPER", "QUICK", "Runs", "runs"]

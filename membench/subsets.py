"""Kept for plugins: `membench.shadow_runs` under its first name, which hashed import lines hold."""

from membench.shadow_runs import PAPER
from membench.shadow_runs import QUICK
from membench.shadow_runs import Runs
from membench.shadow_runs import runs

__all__ = ["PAPER", "QUICK", "Runs", "runs"]

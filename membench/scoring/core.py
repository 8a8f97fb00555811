"""Kept for plugins: `membench.scoring.formulas` under its first name, which hashed import lines hold."""

from membench.scoring.formulas import by_chance
from membench.scoring.formulas import damage
from membench.scoring.formulas import gain
from membench.scoring.formulas import mixed_suppression
from membench.scoring.formulas import suppression

__all__ = ["by_chance", "damage", "gain", "mixed_suppression", "suppression"]

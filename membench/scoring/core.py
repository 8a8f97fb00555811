"""The formulas that plugins import, under the module's first name.

Plugin files name this module in import lines that are hashed into the keys of their cells, so it
stays. The functions are those of `membench.scoring.formulas`.
"""

from membench.scoring.formulas import by_chance
from membench.scoring.formulas import damage
from membench.scoring.formulas import gain
from membench.scoring.formulas import mixed_suppression
from membench.scoring.formulas import suppression

__all__ = ["by_chance", "damage", "gain", "mixed_suppression", "suppression"]

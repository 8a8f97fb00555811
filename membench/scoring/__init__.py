"""Turn a manifest and its records into the board: pure functions of numpy and scipy.

`score` does it all. The formulas, with their symbols, are in README.md of this folder.
"""

from membench.scoring.board import score
from membench.scoring.types import Board
from membench.scoring.types import Control
from membench.scoring.types import Curve
from membench.scoring.types import Fold
from membench.scoring.types import Gate
from membench.scoring.types import Interval
from membench.scoring.types import Point
from membench.scoring.types import Row
from membench.scoring.types import TaskScore

__all__ = [
    "Board",
    "Control",
    "Curve",
    "Fold",
    "Gate",
    "Interval",
    "Point",
    "Row",
    "TaskScore",
    "score",
]

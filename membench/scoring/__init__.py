"""Turn a manifest and its records into choices and the board: pure functions of numpy and scipy.

`choose` picks the strengths to confirm, `complete_pairs` tells what has been run where, and `score`
makes the board. The formulas, with their symbols, are in README.md of this folder.
"""

from membench.scoring.board import measured_rows
from membench.scoring.board import score
from membench.scoring.environments import choose
from membench.scoring.environments import complete_pairs
from membench.scoring.types import Board
from membench.scoring.types import Choice
from membench.scoring.types import Choices
from membench.scoring.types import Claim
from membench.scoring.types import Confirmed
from membench.scoring.types import Control
from membench.scoring.types import Curve
from membench.scoring.types import Excess
from membench.scoring.types import Gate
from membench.scoring.types import Interval
from membench.scoring.types import Point
from membench.scoring.types import Row
from membench.scoring.types import TaskScore

__all__ = [
    "Board",
    "Choice",
    "Choices",
    "Claim",
    "Confirmed",
    "Control",
    "Curve",
    "Excess",
    "Gate",
    "Interval",
    "Point",
    "Row",
    "TaskScore",
    "choose",
    "complete_pairs",
    "measured_rows",
    "score",
]

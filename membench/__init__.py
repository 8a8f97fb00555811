"""membench: does a regularizer stop a network from fitting noise without costing it real accuracy?

Plugin authors need `membench.api` only; importing this package never imports torch.
"""

from membench.api import Architecture
from membench.api import Arrays
from membench.api import Composite
from membench.api import Dataset
from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Signal
from membench.api import hookimpl

__version__ = "0.1.0"
__all__ = [
    "Architecture",
    "Arrays",
    "Composite",
    "Dataset",
    "Recipe",
    "Regularizer",
    "Signal",
    "hookimpl",
]

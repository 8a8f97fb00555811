"""membench: does a regularizer stop a network from fitting noise without costing it real accuracy?

Plugin authors need `membench.api`, `probes` and `studies` only; importing this package never imports torch.
"""

from membench.api import Architecture
from membench.api import Arrays
from membench.api import Composite
from membench.api import Dataset
from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Signal
from membench.api import Split
from membench.api import hookimpl
from membench.probes import Probe
from membench.studies import Arm
from membench.studies import Finding
from membench.studies import Study
from membench.studies import Test

__version__ = "0.1.0"
__all__ = [
    "Architecture",
    "Arm",
    "Arrays",
    "Composite",
    "Dataset",
    "Finding",
    "Probe",
    "Recipe",
    "Regularizer",
    "Signal",
    "Split",
    "Study",
    "Test",
    "hookimpl",
]

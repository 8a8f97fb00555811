"""The lane that functions get when checks call them one by one.

It refuses what stands behind the contract's fields, notes what was reached for, and counts draws.
"""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from membench.engine import lane as lane_module
from membench.engine.lane import LaneView
from membench.errors import LaneError

_INSIDE = (os.path.dirname(__file__), lane_module.__file__)  #: code that may use private fields


class ContractViolation(LaneError):
    """A plugin reached behind the lane's fields."""


class Sealed:
    """`lane.forward` or `lane.gradient`, which can be called and nothing else.

    Args:
        name: The field's name.
        function: The function behind it.
        violations: Where what a plugin reaches for is noted.
    """

    def __init__(self, name: str, function: Callable[..., Any], violations: list[str]) -> None:
        def forward_call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        object.__setattr__(self, "_sealed", (name, forward_call, violations))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return object.__getattribute__(self, "_sealed")[1](*args, **kwargs)

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Sealed
        field, _, violations = object.__getattribute__(self, "_sealed")
        if sys._getframe(1).f_code.co_filename == functools.__file__:
            raise AttributeError(name)  # `functools.wraps` copies what is there
        violations.append(f"lane.{field}.{name}")
        raise ContractViolation(
            f"lane.{field}.{name} is not of the contract: lane.{field} can only be called"
        )


class WatchedLane(LaneView):
    """A lane that refuses its private fields and counts draws.

    Args:
        lane: The engine's lane.
        violations: Where what a plugin reaches for is noted.
        draw_counts: Where draws are counted, by method.
    """

    state: Any  #: as every field, only at stages that have it

    def __init__(self, lane: LaneView, violations: list[str], draw_counts: Counter[str]) -> None:
        fields = {name: v for name, v in vars(lane).items() if not name.startswith("_")}
        for name in ("forward", "gradient"):
            if name in fields:
                fields[name] = Sealed(name, fields[name], violations)
        super().__init__(lane._stream, fields)
        self.__dict__.update(_violations=violations, _draw_counts=draw_counts)

    def __getattribute__(self, name: str) -> Any:
        is_inside = sys._getframe(1).f_code.co_filename.startswith(_INSIDE)
        if name.startswith("_") and not is_inside:
            object.__getattribute__(self, "_violations").append(f"lane.{name}")
            raise ContractViolation(f"lane.{name} is not of the contract")
        if name in lane_module.DRAWS:
            object.__getattribute__(self, "_draw_counts")[name] += 1
        return super().__getattribute__(name)

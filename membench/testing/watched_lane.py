"""The lane of the calls by hand: it refuses what is behind the contract's fields, and counts what is drawn."""

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

_HERE = os.path.dirname(__file__)


class ContractViolation(LaneError):
    """A plugin reached behind the lane's fields."""


class Sealed:
    """`lane.forward` or `lane.gradient` as a function and nothing else."""

    def __init__(self, name: str, function: Callable, seen: list[str]) -> None:
        def act(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        object.__setattr__(self, "_act", (name, act, seen))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return object.__getattribute__(self, "_act")[1](*args, **kwargs)

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Sealed
        whose, _, seen = object.__getattribute__(self, "_act")
        if (
            sys._getframe(1).f_code.co_filename == functools.__file__
        ):  # what `functools.wraps` copies if it is there
            raise AttributeError(name)
        seen.append(f"lane.{whose}.{name}")
        raise ContractViolation(
            f"lane.{whose}.{name} is not of the contract: lane.{whose} can only be called"
        )


class WatchedLane(LaneView):
    """A lane that refuses its engine's inside, and counts what is drawn."""

    def __init__(self, lane: LaneView, seen: list[str], drawn: Counter[str]) -> None:
        fields = {k: v for k, v in vars(lane).items() if not k.startswith("_")}
        for name in {"forward", "gradient"} & set(fields):
            fields[name] = Sealed(name, fields[name], seen)
        super().__init__(lane._stream, fields)
        self.__dict__.update(_seen=seen, _drawn=drawn)

    def __getattribute__(self, name: str) -> Any:
        inside = sys._getframe(1).f_code.co_filename.startswith((_HERE, lane_module.__file__))
        if name.startswith("_") and not inside:
            object.__getattribute__(self, "_seen").append(f"lane.{name}")
            raise ContractViolation(f"lane.{name} is not of the contract")
        if name in lane_module.DRAWS:
            object.__getattribute__(self, "_drawn")[name] += 1
        return super().__getattribute__(name)

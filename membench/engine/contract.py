"""What a stage function must give back: the shapes and types that it was given. Checked whenever a step is traced."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from membench.api import Regularizer
from membench.errors import MembenchError


def call(part: Regularizer, stage: str, *args: Any) -> Any:
    """The part's function at `stage`, on `args`, of which the last is its lane.

    Raises:
        MembenchError: the result is not what the stage is for; names the regularizer, the stage and the tensor.
    """
    result = getattr(part, stage)(*args)
    fault = _fault(stage, result, args)
    if fault:
        whose = part.name if part.group == "probe" else f"regularizer {part.name!r}"
        raise MembenchError(f"{whose}: {stage} must return {fault}")
    return result


def _fault(stage: str, result: Any, args: tuple[Any, ...]) -> str:
    if stage == "init":
        return _unlike(result, result if isinstance(result, dict) else {})
    if stage == "penalty":
        scalar = isinstance(result, (int, float)) or (
            isinstance(result, Tensor) and result.dim() == 0
        )
        return "" if scalar else f"one number, not {_what(result)}"
    if stage == "batch":
        return _unlike(result, args[:2])
    if stage == "update" and result and not args[-1].state:
        return "nothing: without init there is no state"
    return _unlike(result, args[-1].state if stage == "update" else args[0])


def _unlike(new: Any, old: Any, at: str = "") -> str:
    """ "" if `new` has the entries, shapes and types of `old`, else what it should have been."""
    if isinstance(old, dict):
        if not isinstance(new, dict) or new.keys() != old.keys():
            return f"{at}a dict of {', '.join(map(str, old)) or 'tensors'}, not {_what(new)}"
        return _first([_unlike(new[key], old[key], f"{at}{key}: ") for key in old])
    if isinstance(old, tuple):
        if not isinstance(new, (tuple, list)) or len(new) != len(old):
            return f"{at}{len(old)} tensors, not {_what(new)}"
        return _first([_unlike(n, o, at) for n, o in zip(new, old, strict=True)])
    if not isinstance(new, Tensor) or not isinstance(old, Tensor):
        return f"{at}a tensor, not {_what(new)}"
    return (
        ""
        if (new.shape, new.dtype) == (old.shape, old.dtype)
        else f"{at}{_what(old)}, not {_what(new)}"
    )


def _first(faults: list[str]) -> str:
    return "".join([fault for fault in faults if fault][:1])


def _what(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return (
        f"a dict of {', '.join(map(str, value))}"
        if isinstance(value, dict)
        else f"a {type(value).__name__}"
    )

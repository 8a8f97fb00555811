"""The results of stage functions: tensors of the shapes and types that they were given.

Checked whenever a step is traced.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from membench.api import Regularizer
from membench.errors import MembenchError


def call(part: Regularizer, stage: str, *args: Any) -> Any:
    """Call a part's function at a stage and check its result.

    Args:
        part: the regularizer, or the part that carries a probe's state.
        stage: the stage's name.
        *args: the function's arguments; the last is its lane.

    Returns:
        What the function returned.

    Raises:
        MembenchError: the result is not what the stage is for; names the regularizer, the stage and
            the tensor.
    """
    result = getattr(part, stage)(*args)
    expected = _fault(stage, result, args)
    if expected:
        name = part.name if part.group == "probe" else f"regularizer {part.name!r}"
        raise MembenchError(f"{name}: {stage} must return {expected}")
    return result


def _fault(stage: str, result: Any, args: tuple[Any, ...]) -> str:
    """Return "" if the stage may return this result, else what it should have returned."""
    if stage == "init":  # a state may have any entries, but they must be tensors
        return unlike(result, result if isinstance(result, dict) else {})
    if stage == "penalty":
        if isinstance(result, (int, float)) or (isinstance(result, Tensor) and result.dim() == 0):
            return ""
        return f"one number, not {_describe(result)}"
    if stage == "batch":
        return unlike(result, args[:2])
    if stage == "update":
        state = args[-1].state
        if result and not state:
            return "nothing: without init there is no state"
        return unlike(result, state)
    return unlike(result, args[0])


def unlike(new: Any, old: Any, where: str = "") -> str:
    """Compare two trees of tensors.

    Args:
        new: what a function returned.
        old: what it should be like.
        where: prefix of the message that says which entry of the tree this is.

    Returns:
        "" if `new` has the entries, shapes and types of `old`, else the first thing that it should
        have been.
    """
    if isinstance(old, dict):
        if not isinstance(new, dict) or new.keys() != old.keys():
            entries = ", ".join(str(name) for name in old) or "tensors"
            return f"{where}a dict of {entries}, not {_describe(new)}"
        for name in old:
            fault = unlike(new[name], old[name], f"{where}{name}: ")
            if fault:
                return fault
        return ""
    if isinstance(old, tuple):
        if not isinstance(new, (tuple, list)) or len(new) != len(old):
            return f"{where}{len(old)} tensors, not {_describe(new)}"
        for new_entry, old_entry in zip(new, old, strict=True):
            fault = unlike(new_entry, old_entry, where)
            if fault:
                return fault
        return ""
    if not isinstance(new, Tensor) or not isinstance(old, Tensor):
        return f"{where}a tensor, not {_describe(new)}"
    if new.shape != old.shape or new.dtype != old.dtype:
        return f"{where}{_describe(old)}, not {_describe(new)}"
    return ""


def _describe(value: Any) -> str:
    """Describe a value in a message: a tensor by shape and type, a dict by its keys."""
    if isinstance(value, Tensor):
        return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if value is None:
        return "nothing (None)"
    if isinstance(value, dict):
        return f"a dict of {', '.join(str(name) for name in value)}"
    return f"a {type(value).__name__}"

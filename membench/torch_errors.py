"""Errors of torch about functions that cannot be stacked, in the words of a plugin's author.

Imports no torch: the errors are known by their messages.
"""

from __future__ import annotations

import linecache
import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TorchSays:
    """A message of torch about a function that cannot be stacked."""

    words: tuple[str, ...]  #: of the message, in lower case; one of them tells
    what: str  #: what it means to the author of a plugin
    mend: str


TO_A_NUMBER = r"\.item\(|\.tolist\(|\b(int|float|bool|range)\("
ITEM = TorchSays(
    words=(".item()",),
    what="a tensor is made a number of Python's: .item(), int(), float() or bool()",
    mend="keep lane.strength and all that comes from it tensors; take sizes from shapes, "
    "lane.num_classes and lane.num_examples",
)
CONTROL_FLOW = TorchSays(
    words=("data-dependent control flow",),
    what="an if, while, and, or, not or min() on a tensor: it has one value for each lane",
    mend="write torch.where(condition, a, b), torch.minimum, a & b",
)
#: Some messages have the words of two: the first counts.
TORCH_SAYS = (
    ITEM,
    CONTROL_FLOW,
    TorchSays(
        words=("random operation",),
        what="one of torch's own random functions: its generator is not the lane's",
        mend="draw from lane.uniform, lane.normal or lane.permutation; there is no Beta or gamma "
        "law: plugins/regularizers/mixup.py says what it does instead",
    ),
    TorchSays(
        words=("dynamic shape",),
        what="a mask or a value chooses how many numbers there are: x[mask], nonzero, unique",
        mend="write torch.where, or a sum with weights 0 and 1",
    ),
    TorchSays(
        words=("may have escaped",),
        what="a tensor of an earlier call is used",
        mend="keep no tensor between calls: what must last goes into the state that init and "
        "update return",
    ),
    TorchSays(
        words=("inplace", "in-place"),
        what="a tensor is changed in place",
        mend="write a new one: x * 2 instead of x *= 2",
    ),
)


def torch_says(error: BaseException, where: str = "") -> TorchSays | None:
    """Return what is known of an exception by its message; None if nothing is.

    Inside a gradient torch says of an `if` what it says of `.item()`: the line tells them apart.

    Args:
        error: that a plugin's function raised. Only a `RuntimeError` can be torch's.
        where: file:line of the plugin.
    """
    if not isinstance(error, RuntimeError):
        return None
    message = str(error).lower()
    for known in TORCH_SAYS:
        if any(words in message for words in known.words):
            if known is ITEM and not _may_make_a_number(where):
                return CONTROL_FLOW
            return known
    return None


def _may_make_a_number(where: str) -> bool:
    """Tell whether a line of a plugin makes a tensor a number; True if it cannot be read."""
    path, _, number = where.rpartition(":")
    line = linecache.getline(path, int(number)) if number.isdigit() else ""
    return not line or re.search(TO_A_NUMBER, line) is not None

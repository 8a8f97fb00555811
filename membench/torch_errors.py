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

    words: str  #: of the message, in lower case
    what: str  #: what it means to the author of a plugin
    mend: str


ITEM, CONTROL_FLOW = ".item()", "data-dependent control flow"
TO_A_NUMBER = r"\.item\(|\.tolist\(|\b(int|float|bool|range)\("
TORCH_SAYS = (
    TorchSays(
        words=ITEM,
        what="a tensor is made a number of Python's: .item(), int(), float() or bool()",
        mend="keep lane.strength and all that comes from it tensors; take sizes from shapes, "
        "lane.num_classes and lane.num_examples",
    ),
    TorchSays(
        words=CONTROL_FLOW,
        what="an if, while, and, or, not or min() on a tensor: it has one value for each lane",
        mend="write torch.where(condition, a, b), torch.minimum, a & b",
    ),
    TorchSays(
        words="random",
        what="one of torch's own random functions: its generator is not the lane's",
        mend="draw from lane.uniform, lane.normal or lane.permutation; there is no Beta or gamma "
        "law: plugins/regularizers/mixup.py says what it does instead",
    ),
    TorchSays(
        words="dynamic shape",
        what="a mask or a value chooses how many numbers there are: x[mask], nonzero, unique",
        mend="write torch.where, or a sum with weights 0 and 1",
    ),
    TorchSays(
        words="escaped",
        what="a tensor of an earlier call is used",
        mend="keep no tensor between calls: what must last goes into the state that init and "
        "update return",
    ),
    TorchSays(
        words="inplace",
        what="a tensor is changed in place",
        mend="write a new one: x * 2 instead of x *= 2",
    ),
    TorchSays(
        words="in-place",
        what="a tensor is changed in place",
        mend="write a new one: x * 2 instead of x *= 2",
    ),
)


def torch_says(error: BaseException, where: str = "") -> TorchSays | None:
    """Return what is known of an exception by its message; None if nothing is.

    Inside a gradient torch says of an `if` what it says of `.item()`: the line tells them apart.

    Args:
        error: that a plugin's function raised.
        where: file:line of the plugin.
    """
    message = str(error).lower()
    for known in TORCH_SAYS:
        if known.words in message:
            path, _, number = where.rpartition(":")
            line = linecache.getline(path, int(number)) if number.isdigit() else ""
            if known.words == ITEM and line and not re.search(TO_A_NUMBER, line):
                return next(other for other in TORCH_SAYS if other.words == CONTROL_FLOW)
            return known
    return None

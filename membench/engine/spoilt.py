"""A mark on a process that can train no further packs.

A failed CUDA graph capture may leave torch's allocator in the middle of it: until torch 2.11 every
later capture of the process then fails (pytorch/pytorch#180395), and memory leaks. A worker asks
after each pack and gives way to a new process. This module imports no torch.
"""

from __future__ import annotations

_spoilt = False


def mark_process() -> None:
    """Say that this process should train no further pack."""
    global _spoilt  # noqa: PLW0603 - it is the process that is spoilt, not one of its objects
    _spoilt = True


def is_process_spoilt() -> bool:
    """Return whether `mark_process` was called."""
    return _spoilt

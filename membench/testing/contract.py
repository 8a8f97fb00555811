"""The one test that `membench check` hands to pytest: each check of each record is a case of it."""

from __future__ import annotations

from collections.abc import Callable


def test_contract(membench_check: Callable[[], None]) -> None:
    """Run the check of this case."""
    membench_check()

"""The committed boards."""

from __future__ import annotations

import pytest
from support.cli import REPO
from support.cli import Shell


@pytest.mark.slow
@pytest.mark.parametrize("board", ["leaderboard", "leaderboard/fashion"])
def test_a_committed_board_is_what_its_records_say(board: str, shell: Shell) -> None:
    done = shell(["report", "--check", "--out", board], REPO)
    assert (done.returncode, done.stdout) == (0, f"{board} is what its records say\n"), (
        done.stdout + done.stderr
    )

"""The committed boards, and the pages of the studies."""

from __future__ import annotations

import pytest
from support.cli import REPO
from support.cli import Shell

PLANS = sorted((REPO / "leaderboard").glob("**/records/*.plan.json"))
BOARDS = sorted({plan.parents[1].relative_to(REPO).as_posix() for plan in PLANS})
STUDIES = "leaderboard/paper"  #: without a plan: its cells are those of the studies


def test_a_board_is_committed() -> None:
    assert "leaderboard" in BOARDS


@pytest.mark.slow
@pytest.mark.parametrize("board", [*BOARDS, STUDIES])
def test_a_committed_board_is_what_its_records_say(board: str, shell: Shell) -> None:
    done = shell(["report", "--check", "--out", board], REPO)
    assert (done.returncode, done.stdout) == (0, f"{board} is what its records say\n"), (
        done.stdout + done.stderr
    )

"""The committed boards, and the pages of the studies."""

from __future__ import annotations

import json

import pytest
from support.cli import REPO
from support.cli import Shell

from membench.store.store import LINE_COUNTS

PLANS = sorted((REPO / "leaderboard").glob("**/records/*.plan.json"))
BOARDS = sorted({plan.parents[1].relative_to(REPO).as_posix() for plan in PLANS})
STUDIES = "leaderboard/paper"  #: without a plan: its cells are those of the studies


def test_a_board_is_committed() -> None:
    assert "leaderboard" in BOARDS


@pytest.mark.parametrize("board", [*BOARDS, STUDIES])
def test_the_lines_of_a_committed_board_are_counted(board: str) -> None:
    """Else the first run on a clone would write the counts, and the tree would not be clean."""
    folder = REPO / board / "records"
    lines = {path.name: path.read_bytes().count(b"\n") for path in folder.glob("?.jsonl")}
    assert json.loads((folder / LINE_COUNTS).read_text()) == lines


@pytest.mark.slow
@pytest.mark.parametrize("board", [*BOARDS, STUDIES])
def test_a_committed_board_is_what_its_records_say(board: str, shell: Shell) -> None:
    done = shell(["report", "--check", "--out", board], REPO)
    assert (done.returncode, done.stdout) == (0, f"{board} is what its records say\n"), (
        done.stdout + done.stderr
    )

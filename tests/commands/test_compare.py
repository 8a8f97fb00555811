"""`membench compare`: two entries, two boards, JSON, a limit for CI, what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import boards
from support.boards import Effect
from support.cli import Cli

from membench.store.store import Store

NOTHING = Effect("nothing", "loss", noise=0.0, real=0.0)
BETTER = (Effect("strong", "model", noise=0.9, real=0.01), NOTHING)
WORSE = (Effect("strong", "model", noise=0.6, real=0.01), NOTHING)


def write(folder: Path, effects: tuple[Effect, ...] | None = None, suite: str = "quick") -> None:
    more = {} if effects is None else {"effects": effects}
    plan = boards.manifest(suite=suite, tasks=("mnist5k/mlp",), **more)
    store = Store(folder / "records")
    with store.writer() as writer:
        writer.append(boards.records(plan, **more))
    store.write_manifest(plan)


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    """Write a board in the folder `leaderboard`; return its entries, the best first."""
    write(tmp_path / "leaderboard")
    return [effect.name for effect in boards.EFFECTS]


def test_two_entries_are_a_table_of_readings(names: list[str], cli: Cli) -> None:
    code, out, err = cli("compare", names[1], names[0])
    assert (code, err) == (0, "")
    title, header, *lines = out.splitlines()
    assert title == f"quick: {names[0]} \N{MINUS SIGN} {names[1]}"
    assert header.split()[-2:] == ["difference", "p"]
    assert [line.split()[0] for line in lines] == ["H", "S", "dA", "R", "dA"]


def test_few_seeds_give_no_p_and_a_line_says_so(tmp_path: Path, cli: Cli) -> None:
    plan = boards.manifest(tasks=("mnist5k/mlp",), confirming=(3, 4))
    store = Store(tmp_path / "leaderboard" / "records")
    with store.writer() as writer:
        writer.append(boards.records(plan))
    store.write_manifest(plan)
    first, second, *_ = (effect.name for effect in boards.EFFECTS)
    code, out, _ = cli("compare", first, second)
    assert code == 0
    header, last = out.splitlines()[1], out.splitlines()[-1]
    assert header.split()[-1] == "difference"
    assert last == "no p: nothing is claimed with fewer than 5 confirming seeds"
    (one,) = json.loads(cli("compare", first, second, "--json")[1])
    assert {reading["p"] for reading in one["readings"].values()} == {None}
    assert one["readings"]["H"]["difference"]["half"]


def test_json_has_the_readings_of_both_and_the_difference(names: list[str], cli: Cli) -> None:
    code, out, _ = cli("compare", "training less", names[0], "--json")
    assert code == 0
    (one,) = json.loads(out)
    assert (one["suite"], one["first"], one["second"]) == ("quick", "training less", names[0])
    reading = one["readings"]["H"]
    assert reading["paired"]
    difference = reading["second"]["mean"] - reading["first"]["mean"]
    assert reading["difference"]["mean"] == pytest.approx(difference)
    assert set(reading["tasks"]) == {"mnist5k/mlp"}


def test_two_boards_are_compared_row_by_row(tmp_path: Path, cli: Cli) -> None:
    write(tmp_path / "before", BETTER)
    write(tmp_path / "after", WORSE)
    code, out, _ = cli("compare", "before", "after", "--fail-below", "-0.05")
    assert code == 1
    assert out.splitlines()[0] == "quick: after \N{MINUS SIGN} before"
    (line,) = [line for line in out.splitlines() if line.startswith("strong")]
    assert line.split()[1].startswith("\N{MINUS SIGN}0.")
    assert out.splitlines()[-1].startswith("quick: H of strong: \N{MINUS SIGN}0.")
    assert cli("compare", "after", "before", "--fail-below", "-0.05")[0] == 0
    assert cli("compare", "before", "after", "--fail-below", "dA=-5")[0] == 0


def test_rows_that_only_one_board_has_are_named_and_a_lost_one_fails(
    tmp_path: Path, cli: Cli
) -> None:
    write(tmp_path / "before", BETTER)
    write(tmp_path / "after", (NOTHING, Effect("mild", "data", noise=0.4, real=0.0)))
    code, out, _ = cli("compare", "before", "after")
    assert code == 0
    assert out.splitlines()[-2:] == [
        "quick: only in after: mild",
        "quick: only in before: strong",
    ]
    code, out, err = cli("compare", "before", "after", "--json", "--fail-below", "-0.5")
    assert code == 1
    assert json.loads(out)[0]["first"] == "nothing"
    assert "only in before: strong" in err


def test_boards_of_one_suite_each_are_compared_whatever_their_names(
    tmp_path: Path, cli: Cli
) -> None:
    write(tmp_path / "one", WORSE)
    write(tmp_path / "two", WORSE, suite="fashion")
    code, out, _ = cli("compare", "one", "two")
    assert code == 0
    assert out.startswith("quick \N{RIGHTWARDS ARROW} fashion: ")
    assert "fashion: two suites, so of other data, networks, noise or budgets" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("strong", "mld"), "unknown row in leaderboard 'mld': did you mean"),
        (("leaderboard", "elsewhere"), "elsewhere is no board: there are no records in it"),
        (("strong", "mild", "--suite", "fashion"), "unknown suite in leaderboard 'fashion'"),
        (("strong", "mild", "--fail-below", "S=0"), "--fail-below S=0: write a number, which is "),
        (("strong", "mild", "--fail-below", "nan"), "--fail-below nan: write a number, which is "),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    tmp_path: Path, cli: Cli, words: tuple[str, ...], said: str
) -> None:
    write(tmp_path / "leaderboard", (*WORSE, Effect("mild", "data", noise=0.4, real=0.0)))
    code, out, err = cli("compare", *words)
    assert (code, out) == (4, "")
    assert said in err
    assert len(err.splitlines()) == 1

"""One plugin, whole: what it is, where it is, and its rows on the boards."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.cli import Cli

NAMES = "what source group acts_on strengths off limit recipe levels get_it seeds from file version"


def facts(out: str) -> dict[str, str]:
    """Return the facts by name; what is wrapped is joined again."""
    found: dict[str, str] = {}
    name = ""
    for line in out.splitlines():
        named = re.match(rf"  ({NAMES.replace(' ', '|').replace('_', ' ')})  +(.*)", line)
        if named:
            name = named[1]
            found[name] = named[2].strip()
        elif line.startswith("     ") and name:
            found[name] += " " + line.strip()
    return found


def test_a_regularizer_is_shown_with_its_strengths_and_its_source(cli: Cli) -> None:
    code, out, err = cli("show", "cutout")
    assert (code, err) == (0, "")
    assert out.startswith("regularizer cutout\n")
    shown = facts(out)
    assert shown["strengths"] == "0.25, 0.5, 0.75, 1, 1.3"
    assert (shown["off"], shown["limit"], shown["acts on"]) == ("0", "2", "batch")
    assert "DeVries" in shown["source"]
    assert shown["file"].endswith("plugins/regularizers/cutout.py")


@pytest.mark.parametrize(
    ("name", "kind", "fact"),
    [
        ("mlp", "architecture", ("recipe", "optimizer sgd")),
        ("mnist5k", "dataset", ("get it", "ships inside a package")),
        ("cifar10", "dataset", ("get it", "membench data fetch cifar10")),
        ("mixed", "signal", ("levels", "mixed@0.4")),
        ("quick", "suite", ("seeds", "3 to choose by, 10 to confirm")),
        ("adamw", "optimizer", ("from", "membench")),
        ("capacity", "study", ("from", "membench")),
        ("dropout+mixup", "regularizer", ("strengths", "0.1,")),
    ],
)
def test_every_kind_is_shown(cli: Cli, name: str, kind: str, fact: tuple[str, str]) -> None:
    code, out, _ = cli("show", name)
    assert code == 0
    assert out.startswith(f"{kind} {name}\n")
    assert fact[1] in facts(out)[fact[0]]


def test_a_name_of_two_kinds_is_shown_twice_and_an_unknown_one_suggests(cli: Cli) -> None:
    _, out, _ = cli("show", "csr")
    assert "probe csr\n" in out and "study csr\n" in out
    code, out, err = cli("show", "dropuot")
    assert (code, out) == (4, "")
    assert "unknown plugin 'dropuot': did you mean dropout" in err


def test_its_rows_are_those_of_the_board_and_of_the_boards_below(cli: Cli, tmp_path: Path) -> None:
    row = {"H": 0.321, "H_half": 0.02, "dA": -1.4, "dA_half": 0.3, "R": 0.42, "R_half": 0.04}
    ranked = {**row, "rank_H": [15, 16], "rank_R": [3, 3], "claim": True, "front": False}
    board = {"quick": {"version": 2, "entries": {"dropout": ranked}, "controls": {}, "tasks": {}}}
    for folder in ("leaderboard", "leaderboard/fashion"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "scores.json").write_text(json.dumps(board))
    _, out, _ = cli("show", "dropout")
    lines = [line.split() for line in out.splitlines() if line.startswith("leaderboard")]
    numbers = ["quick", "0.32", "±", "0.02", "-1.40", "±", "0.30", "+0.42", "±", "0.04"]
    numbers += ["15-16", "3", "holds"]
    assert lines == [["leaderboard", *numbers], ["leaderboard/fashion", *numbers]]
    _, out, _ = cli("show", "ema")
    assert "no ranked row yet (leaderboard, leaderboard/fashion)" in out


def test_paths_are_never_broken_however_narrow_the_terminal_is(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    folder = tmp_path / "a-folder-with-a-name-of-some-length" / "and one more that has blanks in it"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(
        '"""What it is, in a sentence that is longer than a line of this terminal.  Nobody."""\n'
        "from membench import Regularizer, hookimpl\n\n"
        "STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.5)\n\n"
        "@hookimpl\ndef register():\n"
        '    return [Regularizer("mine", STRENGTHS, penalty=lambda params, lane: lane.strength)]\n'
    )
    row = {"H": 0.321, "H_half": 0.02, "dA": -1.4, "dA_half": 0.3, "R": 0.42, "R_half": 0.04}
    board = {"quick": {"version": 2, "entries": {"mine": row}, "controls": {}, "tasks": {}}}
    (folder / "scores.json").write_text(json.dumps(board))
    code, out, err = cli("show", "mine", "-p", str(folder / "mine.py"), "--out", str(folder))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    path = str((folder / "mine.py").relative_to(tmp_path))
    assert any(line.startswith("  file") and line.endswith(path) for line in lines)
    assert any(line.startswith(str(folder)) and "0.32 ± 0.02" in line for line in lines)
    summary = [line for line in lines if "longer than" in line or "of this terminal" in line]
    assert len(summary) == 2  # text is wrapped

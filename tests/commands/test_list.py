"""The list of plugins: for people as tables, for programs as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from support.cli import Cli

from membench.commands.list import Listing
from membench.commands.list import print_plugins
from membench.registry.composition import NONE_ENTRY
from membench.registry.discovery import PluginProblem
from membench.registry.entry import PluginEntry
from membench.registry.registry import Registry

HOSTILE = "a [bold red]b[/] \x1b[31m\x07c\nd"
GRID = ((0.1,), (0.2,), (0.5,), (1.0,), (math.inf,))
SMALL = {
    "datasets": ["dots"],
    "architectures": ["mlp", "cnn"],
    "signals": ["real", "mixed@0.4", "randY"],
    "choosing": [0, 1, 2],
    "confirming": [3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    "probes": [],
    "splits": {},
    "recipes": {},
    "width": 15,
    "compiled": True,
}
REGISTRY = Registry(
    regularizers={
        "none": NONE_ENTRY,
        "zeta": PluginEntry(
            kind="regularizers",
            name="zeta",
            group="data",
            summary=HOSTILE,
            source="me",
            origin="z.py",
            acts_on=("batch",),
            strengths=GRID,
        ),
        "eta": PluginEntry(
            kind="regularizers",
            name="eta",
            group="weights",
            summary="eta " * 40,
            origin="a/long/path/to/the/file/of/eta.py",
        ),
        "gradient-clipping+sam": PluginEntry(
            kind="regularizers", name="gradient-clipping+sam", group="composition"
        ),
        "beta": PluginEntry(kind="regularizers", name="beta", group="data"),
    },
    signals={"randY": PluginEntry(kind="signals", name="randY", acts_on=("labels",))},
    suites={
        "small": PluginEntry(
            kind="suites",
            name="small",
            summary="two dots",
            origin="s.py",
            version=3,
            suite=SMALL,
        )
    },
    problems=(PluginProblem("bad.py", "cannot be loaded " * 10 + "\x1b[2J[red]"),),
)


@pytest.mark.parametrize("width", [80, 100])
def test_tables_fit_the_terminal_and_names_stay_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_plugins(Listing(REGISTRY), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    starts = [line.split(" ")[0] for line in lines]
    assert [s for s in starts if s in REGISTRY.regularizers] == [
        "none",
        "gradient-clipping+sam",
        "beta",
        "zeta",
        "eta",
    ]
    assert {"small", "randY"} <= set(starts)
    assert any(line.split()[-4:] == ["3", "+", "10", "s.py"] for line in lines)
    assert {"5 regularizers", "0 datasets", "1 signals", "1 suites"} <= {
        line.strip() for line in lines
    }


def test_a_plugin_cannot_write_markup_or_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_plugins(Listing(REGISTRY), as_json=False)
    out, err = capsys.readouterr()
    assert "a [bold red]b[/] [31m c d" in out
    assert "\x1b" not in out + err
    assert "\x07" not in out


def test_problems_are_a_line_each_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    print_plugins(Listing(REGISTRY), as_json=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "bad.py: " + "cannot be loaded " * 10 + "[2J[red]"


def test_json_holds_everything_sorted(capsys: pytest.CaptureFixture[str]) -> None:
    print_plugins(Listing(REGISTRY), as_json=True)
    listed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert list(listed) == [
        "regularizers",
        "architectures",
        "datasets",
        "signals",
        "optimizers",
        "probes",
        "suites",
        "studies",
    ]
    names = [plugin["name"] for plugin in listed["regularizers"]]
    assert names == ["none", "gradient-clipping+sam", "beta", "zeta", "eta"]
    assert listed["regularizers"][3] == {
        "name": "zeta",
        "group": "data",
        "summary": "a [bold red]b[/] [31m c d",
        "source": "me",
        "origin": "z.py",
        "acts_on": ["batch"],
        "strengths": [[0.1], [0.2], [0.5], [1.0], ["inf"]],
    }
    assert listed["signals"] == [
        {
            "name": "randY",
            "group": "",
            "summary": "",
            "source": "",
            "origin": "",
            "acts_on": ["labels"],
        }
    ]
    assert listed["suites"] == [
        {
            "name": "small",
            "group": "",
            "summary": "two dots",
            "source": "",
            "origin": "s.py",
            "acts_on": [],
            "version": 3,
            **SMALL,
        }
    ]


def test_problems_are_red_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    registry = replace(REGISTRY, problems=(PluginProblem("a.py", "b"),))
    print_plugins(Listing(registry), as_json=True)
    assert capsys.readouterr().err == "\x1b[31ma.py: b\x1b[0m\n"


def test_the_whole_list_is_names_on_one_screen(cli: Cli) -> None:
    code, out, err = cli("list")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) <= 45
    assert max(map(len, out.splitlines())) <= 100
    words = out.replace(",", " ").split()
    assert {"dropout", "random-shift+ema", "resnet8", "mixed", "quick", "capacity"} <= set(words)


@pytest.mark.parametrize("word", ["signals", "signal", "Signal"])
def test_a_kind_is_shown_as_a_table(cli: Cli, word: str) -> None:
    code, out, _ = cli("list", word)
    assert code == 0
    assert out.startswith("12 signals\n")
    assert "pair-flip" in out and "regularizers" not in out


def test_an_expression_selects_by_name_group_stage_and_summary(cli: Cli) -> None:
    code, out, _ = cli("list", "regularizers", "-k", "trajectory and not sam", "--json")
    assert code == 0
    assert {entry["name"] for entry in json.loads(out)["regularizers"]} == {
        *("ema", "shrink-and-perturb", "swa")
    }
    code, out, err = cli("list", "-k", "qqqq")
    assert (code, out) == (5, "")
    assert "no plugin has 'qqqq' in its name, group, stages or summary" in err
    code, _, err = cli("list", "signls")
    assert (code, "did you mean signals" in err) == (4, True)

"""README.md is true: its commands and its plugin run, its tables hold all of the contract, its links lead somewhere."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from support import readme_board
from support.cli import REPO
from support.cli import Cli
from support.cli import Shell

from membench import api
from membench.cli import build_parser
from membench.errors import ExitCode
from membench.planning.suites import SUITES

TEXT = (REPO / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


LINES = [line for block in blocks("sh") for line in block.splitlines()]
COMMANDS = [shlex.split(line, comments=True)[1:] for line in LINES if line.startswith("membench ")]
INSTALL, TEST = (line for line in LINES if line.startswith("python3 -m venv "))
(PLUGIN,) = blocks("python")
STAGES = dict(re.findall(r"^\| `([a-z]+)` \| (`\(.*)$", TEXT, re.MULTILINE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Path:
    """An empty folder, with the plugin in it, after a run of a tiny suite."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "plugins").mkdir()
    (folder / "plugins" / "mine.py").write_text(PLUGIN)
    words = ["run", "--suite", "tiny", "-n", "1", "-k", "logit-squeezing"]
    command = [sys.executable, str(REPO / "tests" / "support" / "tiny.py"), *words]
    subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True, timeout=280)
    return folder


def test_the_plugin_is_twelve_lines_and_gets_on_the_board(folder: Path) -> None:
    assert len(PLUGIN.splitlines()) == 12
    page = (folder / "leaderboard" / "README.md").read_text("utf-8")
    assert "**logit-squeezing** (other, acts on loss)." in page
    assert "From plugins/mine.py." in page
    assert "45 of 45" not in page  # two seeds of the tiny suite
    assert "84 of 84 runs are done" in page


def test_the_probe_is_short_and_adds_columns_to_the_board(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    (probe,) = blocks("py")
    assert len(probe.splitlines()) <= 20
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "margin.py").write_text(probe)
    words = ["run", "--suite", "tiny", "-n", "1", "-k", "label-smoothing", "--probe", "margin"]
    command = [sys.executable, str(REPO / "tests" / "support" / "tiny.py"), *words]
    subprocess.run(command, cwd=tmp_path, env=environ, check=True, capture_output=True, timeout=280)
    assert "| margin all, real" in re.sub(
        " +", " ", (tmp_path / "leaderboard" / "README.md").read_text("utf-8")
    )


def test_there_are_two_commands_of_one_line_each() -> None:
    assert (
        INSTALL
        == "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/membench run --all"
    )
    assert (
        TEST
        == "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest"
    )
    assert len(blocks("sh")[0].splitlines()) == len(blocks("sh")[1].splitlines()) == 1


IN_PROCESS = [words for words in COMMANDS if words[0] != "check"]


@pytest.mark.parametrize("words", IN_PROCESS, ids=" ".join)
def test_every_command_is_one(
    words: list[str], folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    if words[0] == "new":
        (folder / "plugins" / "my_idea.py").unlink(missing_ok=True)
    if words[:2] == [
        "data",
        "fetch",
    ]:  # no test downloads: what it does is tested with a server of our own
        build_parser().parse_args(words)
        return
    dry = (
        ["--collect-only"]
        if words[0] in ("run", "reproduce") and "--collect-only" not in words
        else []
    )
    code, out, err = cli(*words, *dry)
    expected = (
        ExitCode.NOTHING if "--lf" in words else ExitCode.OK
    )  # nothing has failed in this folder
    assert code == expected, err
    assert out or code == ExitCode.NOTHING


def test_every_command_of_membench_is_shown(cli: Cli) -> None:
    _, out, _ = cli("--help")
    known = set(re.findall(r"^    ([a-z]+)(?: |$)", out, re.MULTILINE))
    assert known == {words[0] for words in COMMANDS}


def test_every_option_that_is_named_exists(cli: Cli) -> None:
    out = "".join(cli(command, "--help")[1] for command in ("run", "check", "new"))
    options = set(
        re.findall(
            r"(?<![\w-])(--?[a-z][a-z-]*)", " ".join(line for line in LINES if "membench" in line)
        )
    )
    options -= {"-m", "-e", "--json", "--check"}  # of python, pip, list and report
    for option in options:
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", out), option


def test_the_hook_and_the_records_are_those_of_the_contract() -> None:
    (hook,) = [
        name
        for name, value in vars(api.Spec).items()
        if callable(value) and not name.startswith("_")
    ]
    assert list(inspect.signature(getattr(api.Spec, hook)).parameters) == ["self"]
    assert f"There is one hook, `{hook}()`" in TEXT
    for record in (api.Regularizer, api.Composite, api.Architecture, api.Dataset, api.Signal):
        shown = re.search(rf"^\| `{record.__name__}\((.*?)\)` \|", TEXT, re.MULTILINE)
        names = [word.strip().partition("=")[0] for word in shown[1].split(",")] if shown else []
        own = [f.name for f in fields(record)]
        assert names
        assert [n for n in names if n != "..."] == own[: len([n for n in names if n != "..."])]


def test_every_stage_has_a_row_and_no_other() -> None:
    assert tuple(STAGES) == api.STAGES


def lane_fields() -> dict[str, set[str]]:
    """What `Lane`'s docstring says: field -> the stages where it is."""
    text = " ".join(inspect.getdoc(api.Lane).partition("By stage: ")[2].split())
    found = {}
    for names, stages in re.findall(r"((?:`\w+`(?: and )?)+) \(([^)]*)\)", text):
        for name in re.findall(r"`(\w+)`", names):
            found[name] = set(re.findall(r"\b(" + "|".join(api.STAGES) + r")\b", stages))
    return found


def test_every_field_of_the_lane_is_in_its_stages_rows() -> None:
    tree = ast.parse(Path(api.__file__).read_text("utf-8"))
    (lane,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Lane"]
    names = {n.target.id for n in lane.body if isinstance(n, ast.AnnAssign)}
    names |= {n.name for n in lane.body if isinstance(n, ast.FunctionDef)}
    by_stage = lane_fields()
    common = TEXT.partition("Common fields: ")[2].partition("Any other field")[0]
    for name in names - set(by_stage):
        assert re.search(rf"`{name}[`(]", common), name
    for stage, row in STAGES.items():
        column = set(re.findall(r"`(\w+)`", row.split(" | ")[1])) - {"state"}
        assert column == {name for name in names if stage in by_stage.get(name, ())}, stage


def test_every_exit_code_is_explained() -> None:
    rows = re.findall(r"^\| (\d+) \| \S", TEXT, re.MULTILINE)
    assert [int(code) for code in rows] == sorted(ExitCode)


def test_links_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", TEXT, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        if not path:
            assert anchor in anchors, target
        elif readme_board.BOARD.exists() or not path.startswith("leaderboard/"):
            assert (REPO / path).exists(), target


def test_the_excerpt_is_that_of_the_board() -> None:
    assert readme_board.held(TEXT) == readme_board.current(), (
        "run `python tests/support/readme_board.py --write`"
    )


def test_every_signal_and_every_data_set_is_named(folder: Path, cli: Cli) -> None:
    shown = json.loads(cli("list", "--json")[1])
    for kind in ("signals", "datasets"):
        for plugin in shown[kind]:
            assert re.search(rf"`{plugin['name']}(@p)?`", TEXT), plugin["name"]


def test_what_is_said_of_the_suites_is_so() -> None:
    quick, smoke = SUITES["quick"], SUITES["smoke"]
    assert (quick.splits["mnist5k"].train, len(quick.architectures), len(quick.seeds)) == (
        1000,
        2,
        5,
    )
    assert quick.signals == ("real", "mixed@0.4", "randY")
    assert quick.width == 15
    assert smoke.splits["digits"].train == 30


def test_ci_runs_the_second_command() -> None:
    script = REPO / ".ci" / "run"
    pattern = re.search(r"grep -m1 -E '(.*)' README.md", script.read_text())[1]
    found = subprocess.run(
        ["grep", "-m1", "-E", pattern, "README.md"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == TEST + "\n"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


WALK = [
    words for words in COMMANDS if any(word in ("my-idea", "plugins/my_idea.py") for word in words)
][:4]


@pytest.mark.slow
def test_the_way_from_an_empty_folder_to_the_board_is_as_written(
    shell: Shell, tmp_path: Path
) -> None:
    assert [words[0] for words in WALK] == ["new", "check", "run", "run"]
    for words in WALK[:3]:
        done = shell(words, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len((tmp_path / "plugins" / "my_idea.py").read_text().splitlines()) <= 25
    assert "[my-idea](#entry-my-idea)" in (tmp_path / "leaderboard" / "README.md").read_text(
        "utf-8"
    )
    done = shell([*WALK[3], "--collect-only"], tmp_path)
    assert done.returncode == 0 and "my-idea[" in done.stdout


@pytest.mark.slow
def test_the_check_of_all_that_ships_runs_as_written(shell: Shell, tmp_path: Path) -> None:
    words = next(words for words in COMMANDS if words[0] == "check" and "--all" in words)
    assert shell(words, tmp_path).returncode == 0


@pytest.mark.slow
def test_the_plugins_commands_run_as_written(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text(PLUGIN)
    words = next(words for words in COMMANDS if "--suite" in words and "logit-squeezing" in words)
    done = shell(words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "logit-squeezing" in done.stdout
    words = next(words for words in COMMANDS if "smoke" in words and "--all" in words)
    done = shell(words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[logit-squeezing](#entry-logit-squeezing)" in (
        tmp_path / "my-board" / "README.md"
    ).read_text("utf-8")

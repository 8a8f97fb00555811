"""README.md is true: its commands and its plugin run; the links of all pages lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from support import readme_board
from support.cli import REPO
from support.cli import Cli
from support.cli import Shell
from support.suites import shipped_suite

from membench.cli import build_parser
from membench.errors import ExitCode
from membench.store.store import Store

TEXT = (REPO / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


LINES = [line for block in blocks("sh") for line in block.splitlines()]
COMMANDS = [shlex.split(line, comments=True)[1:] for line in LINES if line.startswith("membench ")]
FIRST, INSTALL, TEST = (line for line in LINES if line.startswith("python3 -m venv "))
(PLUGIN,) = blocks("python")
GUIDE = (REPO / "plugins" / "README.md").read_text("utf-8")
#: The one example of plugins/README.md that registers a probe.
(PROBE,) = [
    text
    for text in re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    if "return [Probe(" in text
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, inside: Shell) -> Path:
    """Run a tiny suite in a folder with the README's plugin and the guide's probe."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "plugins").mkdir()
    (folder / "plugins" / "mine.py").write_text(PLUGIN)
    (folder / "plugins" / "margin.py").write_text(PROBE)
    words = ["run", "--suite", "tiny", "-n", "1", "-k", "logit-squeezing", "--probe", "margin"]
    done = inside(words, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_plugin_is_twelve_lines_and_gets_on_the_board(folder: Path) -> None:
    assert len(PLUGIN.splitlines()) == 12
    page = (folder / "leaderboard" / "README.md").read_text("utf-8")
    assert "**logit-squeezing** (other, acts on loss)." in page
    assert "From plugins/mine.py." in page
    planned = Store(folder / "leaderboard" / "records").manifests()["tiny"].cells
    assert f"{len(planned)} of {len(planned)} runs are done" in page


def test_the_guide_s_probe_is_short_and_adds_columns_to_the_board(folder: Path) -> None:
    assert len(PROBE.splitlines()) <= 20
    page = (folder / "leaderboard" / "README.md").read_text("utf-8")
    assert "| margin all, real" in re.sub(" +", " ", page)


def test_there_are_three_commands_of_one_line_each() -> None:
    install = "python3 -m venv .venv && .venv/bin/pip install -e"
    assert f"{install} . && .venv/bin/membench run --all --suite smoke --out my-board" == FIRST
    assert f"{install} . && .venv/bin/membench run --all" == INSTALL
    assert f"{install} '.[test]' && .venv/bin/python -m pytest" == TEST
    assert [len(block.splitlines()) for block in blocks("sh")[:3]] == [1, 1, 1]


IN_PROCESS = [words for words in COMMANDS if words[0] != "check"]


@pytest.mark.parametrize("words", IN_PROCESS, ids=" ".join)
def test_every_command_is_one(
    words: list[str], folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "plugins" / "my_idea.py").unlink(missing_ok=True)  # the folder is of all cases
    if "my-idea" in words and words[0] != "new":
        cli("new", "my-idea")
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
    if words[0] in ("merge", "verify"):  # what they do is tested with boards of our own
        build_parser().parse_args(words)
        return
    if words[0] in ("compare", "export"):  # the folder's own board is of too few steps for any row
        dry = ["--out", str(REPO / "leaderboard")]
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
    out = "".join(
        cli(command, "--help")[1]
        for command in (
            "run",
            "plan",
            "check",
            "new",
            "list",
            "forget",
            "compare",
            "export",
            "verify",
        )
    )
    options = set(
        re.findall(
            r"(?<![\w-])(--?[a-z][a-z-]*)", " ".join(line for line in LINES if "membench" in line)
        )
    )
    options -= {"-m", "-e", "--json", "--check"}  # of python, pip, list and report
    for option in options:
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", out), option


def test_every_exit_code_is_explained() -> None:
    table = TEXT[TEXT.index("| exit code |") :]
    rows = re.findall(r"^\| (\d+) \| \S", table, re.MULTILINE)
    assert [int(code) for code in rows] == sorted(ExitCode)


PAGES = (
    "README.md",
    "plugins/README.md",
    "membench/README.md",
    "membench/execution/README.md",
    "membench/scoring/README.md",
    ".github/CONTRIBUTING.md",
    "leaderboard/CONTRIBUTING.md",
)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        found.add(re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-"))
    return found


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = REPO / name
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        assert (page.parent / path).exists() or not path, f"{name}: {target}"
        if anchor and (not path or path.endswith(".md")) and not anchor.startswith("entry-"):
            linked = text if not path else (page.parent / path).read_text("utf-8")
            assert anchor in anchors(linked), f"{name}: {target}"


def test_the_front_page_is_for_a_newcomer() -> None:
    assert len(TEXT.splitlines()) <= 150


def test_the_excerpt_is_that_of_the_board() -> None:
    assert readme_board.held(TEXT) == readme_board.current(), (
        "run `python tests/support/readme_board.py --write`"
    )


def test_what_is_said_of_the_suites_is_so() -> None:
    quick, smoke = shipped_suite("quick"), shipped_suite("smoke")
    assert (quick.splits["mnist5k"].train, len(quick.architectures)) == (1000, 2)
    assert (len(quick.choosing), len(quick.confirming)) == (3, 10)
    assert quick.signals == ("real", "mixed@0.4", "randY")
    assert quick.width == 15
    assert smoke.splits["digits"].train == 30


def test_what_the_commands_write_beside_the_board_is_not_of_the_tree() -> None:
    ignored = (REPO / ".gitignore").read_text().splitlines()
    assert {"/.venv/", "/my-board/"} <= set(ignored)


def test_ci_runs_the_third_command() -> None:
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
    page = (tmp_path / "my-board" / "README.md").read_text("utf-8")
    assert "[my-idea](#entry-my-idea)" in page
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
    words = shlex.split(FIRST.partition("membench ")[2])
    done = shell(words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[logit-squeezing](#entry-logit-squeezing)" in (
        tmp_path / "my-board" / "README.md"
    ).read_text("utf-8")


ROW = (REPO / "leaderboard" / "CONTRIBUTING.md").read_text("utf-8")


def test_a_row_gets_onto_the_board_in_six_steps_each_a_command() -> None:
    step = re.compile(r"^\d+\. .*?^ +```sh\n +membench (.*?)\n +```", re.MULTILINE | re.DOTALL)
    steps = step.findall(ROW)
    names = ["new", "check", "run", "compare", "export", "merge"]
    assert [words.split()[0] for words in steps] == names
    for words in steps:
        build_parser().parse_args(shlex.split(words))


def test_the_commands_past_one_machine_exist() -> None:
    text = (REPO / "membench" / "execution" / "README.md").read_text("utf-8")
    commands = re.findall(r"^(?: +- run: )?membench ([a-z].*)$", text, re.MULTILINE)
    assert len(commands) > 10
    for command in commands:
        words = command.replace("${{ matrix.shard }}", "1").partition(" > ")[0]
        build_parser().parse_args(shlex.split(words))


WORKFLOWS = sorted((REPO / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_commands_of_a_workflow_exist_and_its_jobs_end(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("runs-on:") == text.count("timeout-minutes:")
    assert "permissions:\n  contents: read\n" in text
    for words in re.findall(r"^\s*(?:- run: )?membench ([a-z].*)$", text, re.MULTILINE):
        command = words.replace('"$(dirname "$(dirname "$plan")")"', "folder")
        build_parser().parse_args(shlex.split(command))

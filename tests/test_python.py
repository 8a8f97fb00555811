"""`membench.load`, `run` and `check`: the commands as functions, in scripts and notebooks."""

from __future__ import annotations

import argparse
import ast
import gc
import importlib.util
import inspect
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from support import boards
from support.cli import REPO
from support.suites import TINY

import membench
from membench.commands import engines
from membench.commands import options
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.forkserver import ForkServer
from membench.execution.summary import Summary
from membench.python import LoadedBoard
from membench.report import summary_table
from membench.report.notebook import html_table
from membench.store.store import Store

PLUGIN = """\
'''Shrinking: w <- (1 - lr s) w after each step.  Nobody, 2026.'''
from membench import Regularizer, hookimpl


def weights(params, lane):
    return {name: w * (1 - lane.lr * lane.strength) for name, w in params.items()}


@hookimpl
def register():
    return [Regularizer("mine", strengths=(0.01, 0.03, 0.1, 0.3, 1.0), weights=weights)]
"""
FUNCTIONS = {"run": options.add_run_options, "check": options.add_check_options}
#: What does the work behind each function.
STEPS = {
    "run": "membench.commands.run.run_suite",
    "check": "membench.commands.check.run_checks",
}
#: Keywords that are named unlike the command's option.
RENAMED = {"select": "expression"}


def write(folder: Path, suite: str = "quick") -> None:
    plan = boards.manifest(suite=suite, tasks=("mnist5k/mlp",))
    store = Store(folder / "records")
    with store.writer() as writer:
        writer.append(boards.records(plan))
    store.write_manifest(plan)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards")
    write(folder / "one")
    write(folder / "two")
    write(folder / "two", suite="fashion")
    return folder


@pytest.fixture(scope="module")
def board(folder: Path) -> LoadedBoard:
    return membench.load(folder / "one")


def test_importing_membench_loads_no_heavy_module() -> None:
    heavy = "{'torch', 'numpy', 'scipy', 'rich', 'pandas'}"
    code = f"import sys, membench\nmembench.run\nsys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_board_is_loaded_and_shown_without_torch(folder: Path) -> None:
    code = (
        "import sys, membench\n"
        "board = membench.load('one')\n"
        "print(board.rows, board._repr_html_())\n"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_rows_are_all_of_the_board_with_intervals_ranks_and_claim(board: LoadedBoard) -> None:
    names = [row.entry for row in board.rows]
    assert set(names[:3]) == {"dropout", "mixup", "label-smoothing"}
    assert {"training less", "early stopping", "placebo"} <= set(names)
    first = board.rows[0]
    assert first.H is not None and first.H.low < first.H.mean < first.H.high
    assert first.rank_H is not None and first.claim is not None
    assert (board.suite, board.suites, board.exit_code) == ("quick", ("quick",), ExitCode.OK)
    assert repr(board).startswith("<board of quick in ") and "\n" not in repr(board)


def test_the_records_are_those_of_the_suite(board: LoadedBoard, folder: Path) -> None:
    records = board.records()
    stored = Store(folder / "one" / "records").read().records
    assert {(record.key, record.env) for record in records} == set(stored)
    assert {record.status for record in records} == {"ok"}


def test_of_several_suites_one_is_chosen(folder: Path) -> None:
    with pytest.raises(MembenchError, match="choose one with suite=: fashion, quick"):
        membench.load(folder / "two")
    assert membench.load(folder / "two", "fashion").suites == ("fashion", "quick")
    with pytest.raises(MembenchError, match=r"unknown suite in .*: did you mean quick"):
        membench.load(folder / "two", suite="quik")


def test_a_folder_without_records_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(MembenchError, match=r"no run has been recorded in .*membench run --all"):
        membench.load(tmp_path)


def test_a_data_frame_has_a_row_each_and_a_column_for_each_number(board: LoadedBoard) -> None:
    pytest.importorskip("pandas")
    frame = board.to_pandas().set_index("entry")
    assert list(frame.index) == [row.entry for row in board.rows]
    first = board.rows[0]
    shown = frame.loc[first.entry]
    assert (shown.H_low, shown.rank_H_low, shown.rank_H_high) == (first.H.low, *first.rank_H)
    assert shown["strength_H mnist5k/mlp"] == first.chosen_held_back["mnist5k/mlp"]
    held = [row.entry for row in board.rows if row.claim and row.claim.holds]
    assert list(frame[frame.claim].index) == held
    assert frame.rank_H_low.isna()["training less"]


def test_without_pandas_one_line_says_what_to_install(
    board: LoadedBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MembenchError, match=r"^to_pandas\(\) needs pandas: pip install pandas$"):
        board.to_pandas()


@pytest.mark.parametrize("width", [80, 140])
def test_rich_prints_the_terminal_s_table_as_wide_as_the_console(
    board: LoadedBoard, width: int
) -> None:
    printed = []
    for shown in (board, summary_table(board.board, width)):
        console = Console(width=width, file=io.StringIO())
        console.print(shown)
        printed.append(console.file.getvalue())
    assert printed[0] == printed[1]


class Table(HTMLParser):
    """Reads the cells of a table, and what else there is."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.setdefault(self.tags[-1], []).append(data)


def test_a_notebook_shows_the_same_table_with_a_caption(board: LoadedBoard) -> None:
    table = Table(board._repr_html_())
    (caption,) = table.texts["caption"]
    assert caption.startswith("quick 1, 5 confirming seeds")
    assert table.texts["th"][1:4] == ["entry", "held back H", "real dA"]
    assert table.texts["strong"] == [
        row.entry for row in board.rows if row.claim and row.claim.holds
    ]
    assert "training less" in table.texts["em"]
    assert table.tags.count("tr") == 1 + len(board.rows)


def test_names_of_strangers_are_text_in_a_notebook(board: LoadedBoard) -> None:
    evil = "<script>alert(1)</script>" + "long" * 10
    rows = (replace(board.rows[0], entry=evil), *board.board.rows[1:])
    html = html_table(replace(board.board, rows=rows, suite="<img src=x>", notes=("<b>",)))
    assert {"script", "img", "b"}.isdisjoint(Table(html).tags)
    assert "&lt;script&gt;" in html and evil.rpartition(">")[2] in html
    assert "<p>&lt;b&gt;</p>" in html


def test_a_board_without_numbers_is_a_sentence_in_a_notebook(board: LoadedBoard) -> None:
    html = html_table(replace(board.board, rows=(), control_rows=(), full_rows=()))
    assert html.startswith("<p>quick: nothing to rank") and "<table>" not in html


class Parsed(Exception):
    """Carries the options that a function has made of its keywords."""


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, object]]:
    """Call `membench.run` or `membench.check`, and return the options that the command gets."""

    def stop(options: argparse.Namespace) -> None:
        raise Parsed(vars(options))

    def call(name: str, *arguments: object, **keywords: object) -> dict[str, object]:
        monkeypatch.setattr(STEPS[name], stop)
        with pytest.raises(Parsed) as raised:
            getattr(membench, name)(*arguments, **keywords)
        return raised.value.args[0]

    return call


Parse = Callable[..., dict[str, object]]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_option_of_the_command_is_a_keyword_with_the_same_default(
    name: str, parsed: Parse
) -> None:
    parser = argparse.ArgumentParser()
    FUNCTIONS[name](parser)
    defaults = vars(parser.parse_args([]))
    assert parsed(name) == defaults
    words = inspect.signature(getattr(membench, name)).parameters
    missing = defaults.keys() - {RENAMED.get(word, word) for word in words}
    assert missing <= {"verbosity", "collect_only"}  # it is `quiet` and `verbose`; `membench plan`


def test_keywords_mean_what_the_options_mean(parsed: Parse) -> None:
    given = parsed(
        "run",
        "dropout and mlp",
        signals=["real", "mixed@0.2"],
        seeds=range(20, 23),
        architectures="mlp,cnn",
        plugins="mine.py",
        compose=["dropout+mixup"],
        out=Path("my-board"),
        workers=2,
        lr=0.5,
        shard="2/4",
        lf=True,
        quiet=True,
        observers="tell.py",
    )
    expected = {
        "expression": "dropout and mlp",
        "signals": ("real", "mixed@0.2"),
        "seeds": (20, 21, 22),
        "architectures": ("mlp", "cnn"),
        "plugins": ["mine.py"],
        "compose": ["dropout+mixup"],
        "out": Path("my-board"),
        "workers": 2,
        "lr": 0.5,
        "shard": (2, 4),
        "lf": True,
        "verbosity": -1,
        "observers": ["tell.py"],
    }
    assert {name: given[name] for name in expected} == expected
    checked = parsed("check", ["mine.py", Path("plugins")], select="off-run", verbose=True)
    assert checked["targets"] == ["mine.py", "plugins"]
    assert (checked["expression"], checked["verbosity"]) == ("off-run", 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (membench.run, "say what to run: --all for every regularizer, or -k EXPR"),
        (lambda: membench.run("mlp", seeds="4-1"), "argument --seeds: '4-1': write seeds as"),
        (lambda: membench.run("mlp", maxfail=0), "'0' is not a whole number from 1 on"),
        (lambda: membench.run("mlp", suite="quik"), "unknown suite 'quik': did you mean quick"),
        (lambda: membench.run("mlp", observers="no.py"), "--observer no.py: no such Python file"),
        (membench.check, "say what to check: a file, a folder, a registered name"),
        (lambda: membench.check("no.py"), "no.py: no such Python file"),
    ],
)
def test_what_a_command_would_say_is_raised(
    home: Path,
    call: Callable[[], object],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(MembenchError) as raised:
        call()
    assert message in str(raised.value) and raised.value.code == ExitCode.USAGE
    assert message not in capsys.readouterr().err


@pytest.fixture
def home(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, shared_server: ForkServer
) -> Path:
    """Work in a folder with a plugin; the server of the tests forks the workers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMBENCH_CACHE", str(cache))
    monkeypatch.setattr(engines, "ForkServer", lambda: shared_server)
    (tmp_path / "mine.py").write_text(PLUGIN)
    return tmp_path


class Impatient:
    """An observer that presses Ctrl-C, once, when the first cell is stored."""

    pressed = interrupted = False

    @membench.hookimpl
    def membench_cell_finished(self) -> None:
        if not self.pressed:
            self.pressed = True
            os.kill(os.getpid(), signal.SIGINT)

    @membench.hookimpl
    def membench_run_finished(self, summary: Summary) -> None:
        self.interrupted = summary.interrupted


def test_a_run_is_interrupted_resumed_and_gives_its_board(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(**more: Any) -> LoadedBoard:
        return membench.run("mine", suite="tiny", plugins=[TINY, "mine.py"], workers=1, **more)

    observer = Impatient()
    with pytest.raises(KeyboardInterrupt):
        run(observers=observer)
    assert observer.interrupted
    assert "interrupted: the same command goes on from here" in capsys.readouterr().out
    board = run()
    out, _ = capsys.readouterr()
    assert " reused" in out and re.search(r"^\[ *\d+/", out, re.MULTILINE)  # lines, no bars
    assert (board.suite, board.folder, board.exit_code) == ("tiny", Path("leaderboard"), 0)
    assert "mine" in [row.entry for row in board.rows]
    assert len(board.records()) == _planned(home)

    (home / "plugins").mkdir()
    (home / "plugins" / "broken.py").write_text("import no_such_module\n")
    assert run(quiet=True).exit_code == ExitCode.FAILED


def _planned(folder: Path) -> int:
    return len(Store(folder / "leaderboard" / "records").manifests()["tiny"].cells)


def test_a_check_says_what_it_found_and_leaves_torch_as_it_was(home: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        passed = membench.check("mine.py", select="off-value or source", workers=1)
        assert passed.passed and {outcome.status for outcome in passed.outcomes} == {"passed"}
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert gc.get_freeze_count() > 0  # as the tests have it
    (home / "mine.py").write_text(PLUGIN.replace("(1 - lane.lr", "(2 - lane.lr"))
    failed = membench.check(home / "mine.py", select="off-value", workers=1)
    assert not failed.passed and failed.exit_code == ExitCode.FAILED
    assert [(outcome.check, outcome.status) for outcome in failed.outcomes] == [
        ("off-value", "failed")
    ]


def test_the_guide_s_calls_have_the_keywords_that_the_functions_take() -> None:
    guide = (REPO / "plugins" / "README.md").read_text("utf-8")
    (example,) = re.findall(r"^```python\n(import membench\n.*?)^```$", guide, re.M | re.S)
    called = []
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            signature = inspect.signature(getattr(membench, node.func.attr))
            assert signature.bind(*node.args, **keywords)
            called.append(node.func.attr)
    assert sorted(called) == ["check", "load", "run"]


def test_a_process_that_has_used_a_gpu_forks_no_checks(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(MembenchError, match="has used the GPU"):
        membench.check("mine.py")


CELLS = (
    "import torch, membench\n(torch.ones(900, 900) @ torch.ones(900, 900)).sum()",
    f"options = dict(suite='tiny', plugins=[{str(TINY)!r}, 'mine.py'], workers=1)",
    "import os, signal\n"
    "class Impatient:\n"
    "    pressed = False\n"
    "    @membench.hookimpl\n"
    "    def membench_cell_finished(self):\n"
    "        if not self.pressed:\n"
    "            self.pressed = True\n"
    "            os.kill(os.getpid(), signal.SIGINT)\n"
    "try:\n"
    "    membench.run('mine', observers=Impatient(), **options)\n"
    "except KeyboardInterrupt:\n"
    "    print('it is interrupted')",
    "board = membench.run('mine', **options)",
    "board",
    "membench.load('made')",
    "membench.check('mine.py', select='off-run', workers=1)",
    "len(board.to_pandas())",
    "membench.run('mine', suite='none-such')",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Jupyter's own
@pytest.mark.skipif(
    importlib.util.find_spec("nbclient") is None or importlib.util.find_spec("ipykernel") is None,
    reason="nbclient and ipykernel are not installed: pip install -e '.[notebook]'",
)
def test_a_notebook_runs_checks_and_shows_a_board(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    monkeypatch.setenv("MEMBENCH_CACHE", environ["MEMBENCH_CACHE"])
    monkeypatch.setenv("PYTHONPATH", f"{REPO}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    (tmp_path / "mine.py").write_text(PLUGIN)
    write(tmp_path / "made")
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in CELLS]
    resources = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(notebook, timeout=200, kernel_name="python3", resources=resources)
    with pytest.raises(CellExecutionError):
        client.execute()
    _, _, interrupted, run, board, made, check, count, refused = (
        cell.outputs for cell in notebook.cells
    )
    assert _text(interrupted[-1]) == "it is interrupted\n"
    printed = "".join(_text(output) for output in run)
    assert " reused in 0:" in printed
    assert re.search(r"\[ *\d+/~?\d+\] +\d+%", printed) and " ok, " in printed
    assert "no task is valid" in board[0].data["text/html"]  # of so few steps
    assert "training less" in Table(made[0].data["text/html"]).texts["em"]
    assert "CheckResult(exit_code=<ExitCode.OK: 0>)" in _text(check[-1])
    assert "1 plugin: 1 passed" in "".join(_text(output) for output in check)
    assert int(_text(count[0])) >= 2
    (line,) = refused[0].traceback
    assert line.startswith("MembenchError: unknown suite 'none-such': known: fashion, quick")


def _text(output: Any) -> str:
    """Return what an output of a cell says in plain text, without colours."""
    text = output.text if output.output_type == "stream" else output.data.get("text/plain", "")
    return re.sub(r"\x1b\[[\d;]*m", "", text)

"""The command line: what it prints, what it refuses in one line, and with which exit code."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.cli import Cli

from membench.cli import COMMANDS
from membench.cli import build_parser
from membench.cli import load
from membench.errors import ExitCode
from membench.registry.discovery import shipped_folder

PLUGIN = """\
from membench import Regularizer, hookimpl

def weights(params, lane):
    return params

@hookimpl
def register():
    strengths = (1, 2, 3, 4, 5)
    return [
        Regularizer("mine", strengths, weights=weights, summary={summary!r}, group="other")
    ]
"""
SMOKE = ("run", "--suite", "smoke")
TORCHVISION = ("mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100", "svhn")


def write_plugin(folder: Path, text: str = "", summary: str = "Does nothing.") -> None:
    (folder / "plugins").mkdir()
    (folder / "plugins" / "mine.py").write_text(text or PLUGIN.format(summary=summary))


def test_the_bare_command_prints_help(cli: Cli) -> None:
    code, out, err = cli()
    assert (code, err) == (0, "")
    assert out.startswith("usage: membench") and "run" in out


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("membench sh", ["show "]),
        ("membench show drop", ["dropconnect", "dropout", "dropout+adversarial"]),
        ("membench run --opti", ["--optimizer "]),
        ("membench run --suite sm", ["smoke "]),
        ("membench run --optimizer l", ["lion", "lookahead"]),
    ],
)
def test_a_shell_completes_commands_options_and_names(
    tmp_path: Path, environ: dict[str, str], line: str, found: list[str]
) -> None:
    out = tmp_path / "out"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    command = [sys.executable, "-m", "membench"]
    subprocess.run(command, env={**environ, **asked}, cwd=tmp_path, check=False, timeout=60)
    assert out.read_text().split("\n") == found


def test_no_option_may_be_abbreviated(cli: Cli) -> None:
    code, out, err = cli("run", "--seed", "1", "-k", "dropout")
    assert (code, out) == (4, "")
    assert "unrecognized arguments: --seed" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["ran"], 4, "invalid choice: 'ran'"),
        (
            ["run"],
            4,
            "say what to run: --all for every regularizer, or -k EXPR to select, as in -k dropout",
        ),
        (["run", "-k", ""], 4, "say what to run: --all for every regularizer"),
        (
            ["run", "--all", "--suite", "quik"],
            4,
            "unknown suite 'quik': did you mean quick, quick-noise or quick-adamw?",
        ),
        (
            ["run", "--all", "--architectures", "mlpp"],
            4,
            "unknown architecture 'mlpp': did you mean mlp, wide-mlp or mlp-4096?",
        ),
        (
            ["run", "--all", "--datasets", "digts"],
            4,
            "unknown dataset 'digts': did you mean digits?",
        ),
        (["plan", "-r", "dropout+mixpu"], 4, "'mixpu': did you mean mixup or cutmix?"),
        (["plan", "-r", "dropout"], 4, "-r dropout: give a composition, as in -r dropout+mixup"),
        (["run", "--all", "--seeds", "4-1"], 4, "'4-1': write seeds as 0,1,2 or 0-4"),
        (["run", "--all", "--seeds", "one"], 4, "'one': write seeds as 0,1,2 or 0-4"),
        (["run", "--all", "-n", "0"], 4, "'0' is not a whole number from 1 on"),
        (["run", "--all", "--device", "gpu"], 4, "invalid choice: 'gpu'"),
        (["run", "-k", "mlp and"], 4, "-k 'mlp and': column 8: expected a word"),
        (
            ["run", "-k", "no-such-cell", "--collect-only"],
            5,
            "-k 'no-such-cell' selects no cell of suite quick: no id has no-such-cell in it "
            "(an id: mnist5k/mlp/",
        ),
        (["plan", "-p", "nowhere.py"], 4, "-p nowhere.py: no such Python file"),
        (["list", "-p", "no.such.module"], 4, "-p no.such.module: no module named"),
        (
            ["report"],
            4,
            "no run has been recorded in leaderboard: start one with `membench run --all",
        ),
        (["report", "--check"], 4, "no run has been recorded in leaderboard"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_usage_error_is_one_line_that_says_how_to_mend_it(
    cli: Cli, words: list[str], code: int, message: str
) -> None:
    exit_code, out, err = cli(*words)
    assert (exit_code, out) == (code, "")
    assert err.startswith("membench: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_usage_error_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    for words in (
        ["run"],
        ["run", "--all", "--suite", "quik"],
        ["run", "-k", "no-such-cell"],
        ["status"],
    ):
        cli(*words)
    assert list(tmp_path.iterdir()) == []


def test_help_and_version_exit_with_0(cli: Cli) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    for command in ("list", "plan", "run", "reproduce", "status", "report", "check", "new"):
        assert command in out
        assert cli(command, "--help")[0] == 0
    assert cli("--version")[:2] == (0, "membench 0.1.0\n")


def test_every_command_and_every_option_has_its_help_and_its_function() -> None:
    (subparsers,) = (a for a in build_parser()._actions if isinstance(a.choices, dict))
    parsers = dict(subparsers.choices)
    (actions,) = (a for a in parsers["data"]._actions if isinstance(a.choices, dict))
    parsers |= actions.choices
    assert {command.name for command in COMMANDS} < set(parsers)
    for parser in parsers.values():
        assert parser.description.endswith(".")
        assert callable(load(parser.get_default("function")))
        for option in parser._actions:
            assert option.help or isinstance(option.choices, dict), option


def test_the_command_line_is_light_until_a_command_is_called() -> None:
    code = "import sys, membench.cli as cli; cli.build_parser(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"torch", "rich", "numpy", "membench.commands.session"} & set(done.stdout.split())


def test_list_json_has_the_promised_shape(cli: Cli) -> None:
    code, out, err = cli("list", "--json")
    listed = json.loads(out)
    assert (code, err) == (0, "")
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
    fields = {"name", "group", "summary", "source", "origin", "acts_on"}
    for kind in listed:
        for plugin in listed[kind]:
            assert fields <= set(plugin), plugin["name"]
            assert plugin["summary"], plugin["name"]
    names = {kind: {plugin["name"] for plugin in listed[kind]} for kind in listed}
    assert names["regularizers"] >= {
        "none",
        "dropout",
        "dropout+adversarial",
        "low-lr",
        "placebo",
        "sam",
        "ema",
    }
    assert names["architectures"] == {
        *("mlp", "small-mlp", "mlp-4096", "cnn", "cifar-cnn", "vit", "mlp-mixer"),
        *("wide-mlp", "wide-cnn"),
        *("resnet8", "resnet20", "resnet8-gn", "resnet20-gn"),
    }
    assert names["datasets"] == {"digits", "mnist5k", *TORCHVISION}
    assert names["signals"] == {
        *("real", "randY", "randY-permuted", "mixed", "pair-flip"),
        *("randX", "randX-pixel", "mixed-inputs", "shuffled-pixels", "random-pixels"),
        *("cifar10n", "cifar100n"),
    }
    assert names["optimizers"] == {"sgd", "adamw", "lion", "lookahead", "muon"}
    assert names["suites"] == {
        "smoke",
        "quick",
        "quick-adamw",
        "quick-noise",
        "fashion",
        "standard",
    }


def test_every_shipped_regularizer_cites_its_source(cli: Cli) -> None:
    ours = [r for r in json.loads(cli("list", "--json")[1])["regularizers"] if r["name"] != "none"]
    assert [r["name"] for r in ours if not r["source"]] == []


def test_list_shows_every_name(cli: Cli) -> None:
    listed = json.loads(cli("list", "--json")[1])
    code, out, _ = cli("list")
    words = set(out.replace(",", " ").split())
    assert code == 0
    assert {plugin["name"] for kind in listed.values() for plugin in kind} <= words


WITHOUT_TRAINING = (
    ["list"],
    ["run", "--all", "--collect-only"],
    [*SMOKE, "--all", "--collect-only"],
    ["plan"],
    ["status"],
)


@pytest.fixture(scope="module")
def filled_cache(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fill the caches of plugins and of `skip`: a first call imports the plugins and torch."""
    code = f"from membench.cli import main\nfor words in {WITHOUT_TRAINING}: main(words)"
    folder = tmp_path_factory.mktemp("filled")
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environ, check=True, timeout=280)


@pytest.mark.usefixtures("filled_cache")
@pytest.mark.parametrize("words", WITHOUT_TRAINING, ids=" ".join)
def test_commands_that_train_nothing_are_quick_and_load_no_torch(
    tmp_path: Path, environ: dict[str, str], words: list[str]
) -> None:
    code = (
        "import sys; from membench.cli import main; "
        f"print(main({words!r})); sys.exit('torch' in sys.modules)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0"
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert seconds < 2.0  # of work; a third of one on an idle machine


def ids(out: str) -> list[str]:
    """The cells that `--collect-only` printed."""
    *cells, total = out.splitlines()
    assert re.fullmatch(
        rf"{len(cells)} cells(, then at most \d+ to confirm what they choose)?", total
    )
    return cells


def test_a_selection_includes_the_baselines(cli: Cli) -> None:
    code, out, _ = cli(
        "run", "-k", "mlp and dropout[0.5] and not spatial and randY and seed1", "--collect-only"
    )
    assert code == 0
    names = {cell.split("/")[2].split("[")[0] for cell in ids(out)}
    assert names == {"none", "low-lr", "dropout"}
    assert [cell for cell in ids(out) if "/dropout" in cell] == [
        "mnist5k/mlp/dropout[0.5]/randY/seed1"
    ]
    assert {cell.split("/")[1] for cell in ids(out)} == {"mlp"}
    plain = [cell for cell in ids(out) if "/none/" in cell]
    assert len(plain) == 3 * (3 + 10)  # on all seeds


def settings(cli: Cli, each: bool = True) -> int:
    """Count the strengths of the regularizers that act on `small-mlp`, or those regularizers."""
    listed = [
        e
        for e in json.loads(cli("list", "--json")[1])["regularizers"]
        if e["name"] != "stochastic-depth"
    ]
    return sum(max(1, len(entry["strengths"])) if each else 1 for entry in listed)


def test_all_selects_every_cell_of_the_suite(cli: Cli) -> None:
    _, out, _ = cli(*SMOKE, "--all", "--collect-only")
    cells = ids(out)
    strengths = settings(cli) - 1  # without `none`, which is trained on all three seeds
    assert len(cells) == len(set(cells)) == 3 * strengths + 3 * 3
    regularizers = settings(cli, each=False) - 1
    assert f"then at most {2 * 3 * 2 * regularizers} to confirm" in out
    assert cells[0] == "digits/small-mlp/none/real/seed0"


def test_all_and_an_expression_select_by_the_expression(cli: Cli) -> None:
    assert cli(*SMOKE, "--all", "-k", "ema", "--collect-only") == cli(
        *SMOKE, "-k", "ema", "--collect-only"
    )


def test_seeds_and_architectures_narrow_the_suite(cli: Cli) -> None:
    words = ["run", "--all", "--architectures", "cnn", "--seeds", "5,7-8", "--collect-only"]
    _, out, _ = cli(*words)
    assert {cell.split("/")[1] for cell in ids(out)} == {"cnn"}
    of_none = {cell.rpartition("/")[2] for cell in ids(out) if "/none/" in cell}
    assert of_none == {"seed0", "seed1", "seed2", "seed5", "seed7", "seed8"}
    assert {cell.rpartition("/")[2] for cell in ids(out) if "/sam[" in cell} == {
        "seed0",
        "seed1",
        "seed2",
    }


def test_seeds_beyond_the_suite_get_a_table_of_their_own(cli: Cli) -> None:
    _, out, _ = cli("plan", "--suite", "smoke", "--seeds", "7")
    cells = 3 * (settings(cli) - 1) + 3 * 2  # `none` on two seeds
    regularizers = settings(cli, each=False)
    said = rf"suite smoke-custom-[0-9a-f]{{4}} 4: {cells} cells in {regularizers} packs, then at"
    assert re.search(said, out)
    assert f"{2 * 3 * (regularizers - 1)} on seeds 7 to confirm what they choose" in out


def test_r_adds_a_composition(cli: Cli) -> None:
    code, out, _ = cli(*SMOKE, "-r", "dropout+mixup", "-k", "dropout+mixup", "--collect-only")
    mixed = [cell for cell in ids(out) if "/dropout+mixup[" in cell]
    assert code == 0
    assert len(mixed) == 5 * 3
    assert all(re.search(r"dropout\+mixup\[[\d.]+,[\d.]+\]/", cell) for cell in mixed)


def test_a_full_grid_has_every_combination_of_strengths(cli: Cli) -> None:
    words = ["-r", "dropout+mixup", "-k", "dropout+mixup and real", "--collect-only"]
    code, out, _ = cli(*SMOKE, *words, "--grid", "full")
    full = [cell.split("/")[2] for cell in ids(out) if "/dropout+mixup[" in cell]
    _, out, _ = cli(*SMOKE, *words)
    paired = {cell.split("/")[2] for cell in ids(out) if "/dropout+mixup[" in cell}
    assert code == 0
    assert (len(full), len(set(full)), len(paired)) == (25, 25, 5)
    assert paired < set(full)
    assert (
        len({name.partition(",")[0] for name in full})
        == len({name.partition(",")[2] for name in full})
        == 5
    )


def test_a_full_grid_may_combine_grids_of_different_lengths(cli: Cli) -> None:
    words = [
        "-r",
        "dropout+oracle",
        "-k",
        "dropout+oracle and real and seed0",
        "--collect-only",
    ]
    assert cli(*SMOKE, *words)[0] == ExitCode.USAGE
    code, out, _ = cli(*SMOKE, *words, "--grid", "full")
    assert (code, sum("/dropout+oracle[" in cell for cell in ids(out))) == (0, 15)


def test_a_full_grid_without_a_composition_is_refused(cli: Cli) -> None:
    code, _, err = cli(*SMOKE, "--all", "--grid", "full", "--collect-only")
    assert (code, err) == (
        4,
        "membench: --grid full: name the composition too, as in -r dropout+mixup --grid full\n",
    )


def test_plan_counts_what_a_run_would_train(cli: Cli) -> None:
    code, out, _ = cli("plan", "--suite", "smoke")
    row = next(line.split() for line in out.splitlines() if " sam " in line)
    assert (code, row) == (0, ["digits/small-mlp", "sam", "5", "15", "1", "750"])


PICKY = """
from membench import Regularizer, hookimpl

def skip(net):
    with open("asked", "a") as file:
        file.write("x")
    return "too wide" if net.params["head.weight"][0] > 8 else None

def weights(params, lane):
    return params

@hookimpl
def register():
    return [Regularizer("picky", strengths=(1, 2, 3, 4, 5), weights=weights, skip=skip)]
"""


def test_skip_is_asked_once_until_its_plugin_changes(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMBENCH_CACHE", str(tmp_path / "cache"))
    write_plugin(tmp_path)
    asked = tmp_path / "asked"
    for text, times, runs in (
        (PICKY, 1, False),
        (PICKY, 1, False),
        (PICKY.replace("> 8", "> 999"), 2, True),
    ):
        (tmp_path / "plugins" / "mine.py").write_text(text)
        code, out, err = cli("plan", "--suite", "smoke")
        assert (code, err, asked.read_text(), " picky " in out) == (0, "", "x" * times, runs)
    (remembered,) = (tmp_path / "cache").glob("skips-*.json")
    remembered.write_text(remembered.read_text().replace("null", '"lies"'))
    assert " picky " in cli("plan", "--suite", "smoke")[1]
    assert asked.read_text() == "xxx"


def test_a_skip_that_raises_costs_its_regularizer_one_line_and_exit_1(
    cli: Cli, tmp_path: Path
) -> None:
    write_plugin(tmp_path)
    (tmp_path / "plugins" / "mine.py").write_text(PICKY.replace("head.weight", "no.such"))
    for words in (
        ["plan", "--suite", "smoke"],
        [*SMOKE, "--all", "--collect-only"],
        ["plan", "--suite", "smoke"],
    ):
        code, out, err = cli(*words)
        assert (code, "dropout" in out, "picky" in out) == (ExitCode.FAILED, True, False)
        (line,) = err.splitlines()
        reason = "its skip raised KeyError: 'no.such' (plugins/mine.py:7)"
        assert line == f"plugins/mine.py: picky is left out: {reason}"


NARROW = """
import torch
from membench import Architecture, hookimpl

@hookimpl
def register():
    return [Architecture("narrow", lambda shape, classes: torch.nn.Linear(3, shape))]
"""


def test_an_architecture_that_cannot_be_built_is_named(cli: Cli, tmp_path: Path) -> None:
    write_plugin(tmp_path)
    (tmp_path / "plugins" / "mine.py").write_text(NARROW)
    code, _, err = cli("plan", "--suite", "smoke", "--architectures", "narrow")
    assert code == ExitCode.USAGE
    (line,) = err.splitlines()
    assert line.startswith(
        "membench: architecture 'narrow' cannot take inputs [1, 8, 8] and 10 classes: TypeError: "
    )


def test_an_unreadable_plugin_is_one_line_and_exit_1_and_the_others_work(
    cli: Cli, tmp_path: Path
) -> None:
    write_plugin(tmp_path, "import no_such_thing\n")
    for words in (["list", "--json"], ["plan"], [*SMOKE, "--all", "--collect-only"]):
        code, out, err = cli(*words)
        assert code == ExitCode.FAILED
        assert "dropout" in out
        assert len(err.splitlines()) == 1
        assert err.startswith("plugins/mine.py: ")
        assert "no_such_thing" in err


def test_plugins_are_found_in_the_working_folder_and_by_p(cli: Cli, tmp_path: Path) -> None:
    write_plugin(tmp_path)
    (tmp_path / "plugins" / "mine.py").rename(tmp_path / "there.py")
    assert '"mine"' not in cli("list", "--json")[1]
    listed = json.loads(cli("list", "--json", "-p", "there.py")[1])
    assert [r["origin"] for r in listed["regularizers"] if r["name"] == "mine"] == ["there.py"]
    (tmp_path / "there.py").rename(tmp_path / "plugins" / "mine.py")
    listed = json.loads(cli("list", "--json")[1])
    assert [r["origin"] for r in listed["regularizers"] if r["name"] == "mine"] == [
        "plugins/mine.py"
    ]


def test_a_plugin_cannot_break_the_terminal(cli: Cli, tmp_path: Path) -> None:
    write_plugin(tmp_path, summary="[bold]no[/] \x1b[2J\x1b]0;title\x07\r\nend " + "x" * 300)
    for words in (["list"], ["list", "--json"], ["plan", "--suite", "smoke"]):
        code, out, err = cli(*words)
        assert code == 0
        assert "mine" in out
        assert not {"\x1b", "\x07", "\r"} & set(out + err)
    (tmp_path / "plugins" / "mine.py").write_text("raise ValueError('[red]a\\x1b[2J\\x07b\\nc')\n")
    code, out, err = cli("list")
    assert (code, len(err.splitlines())) == (1, 1)
    assert not {"\x1b", "\x07"} & set(out + err)
    assert "[red]a" in err


def test_an_absent_data_set_says_how_to_get_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMBENCH_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, out, err = cli("run", "--all")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "pip install 'mlxtend>=0.23'" in err
    assert len(err.splitlines()) == 1
    code, out, shown = cli("plan")  # which needs no data, and says the same
    assert (code, shown) == (ExitCode.OK, err.removeprefix("membench: "))
    assert "suite quick 2: " in out


@pytest.mark.parametrize(
    "words", [["status"], ["report"], ["report", "--check"], [*SMOKE, "-k", "ema"]]
)
def test_a_damaged_record_is_named_with_file_and_line(
    cli: Cli, tmp_path: Path, words: list[str]
) -> None:
    records = tmp_path / "leaderboard" / "records"
    records.mkdir(parents=True)
    (records / "0.jsonl").write_text('{"not":"a record"}\n')
    (records / "smoke.plan.json").write_text("{}")
    code, _, err = cli(*words)
    assert code == ExitCode.STORE
    assert "0.jsonl" in err or "smoke.plan.json" in err
    assert len(err.splitlines()) == 1


def test_a_folder_that_cannot_be_written_stops_the_run_at_once(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = cli(*SMOKE, "-k", "ema", "--out", "file")
    assert code == ExitCode.USAGE
    assert "file" in err
    assert len(err.splitlines()) == 1


def test_an_absent_device_is_reported_before_anything_is_written(cli: Cli, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    code, _, err = cli(*SMOKE, "-k", "ema", "--device", "cuda")
    assert (code, err) == (4, "membench: no CUDA device here: use --device auto or --device cpu\n")
    assert list(tmp_path.iterdir()) == []


def test_a_defect_of_membench_exits_with_3(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("membench.commands.report.Store", None)
    code, _, err = cli("status")
    assert code == ExitCode.INTERNAL
    assert err.startswith("Traceback")
    assert (
        err.splitlines()[-1]
        == "membench: this is a defect of membench; all that was measured is kept"
    )


def test_status_of_nothing_says_how_to_start(cli: Cli) -> None:
    code, out, _ = cli("status", "--out", "board")
    assert (code, out) == (
        0,
        "nothing has been run in board yet: start with `membench run --all --out board`\n",
    )


def test_a_closed_pipe_is_no_error(environ: dict[str, str], tmp_path: Path) -> None:
    command = f"{sys.executable} -m membench list | head -1"
    done = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "regularizers" in done.stdout
    assert done.stderr == ""


def test_the_shipped_plugins_are_those_of_the_checkout() -> None:
    assert shipped_folder() == Path(__file__).parents[2] / "plugins"

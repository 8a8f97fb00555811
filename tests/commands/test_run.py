"""Runs of a tiny suite as a user starts them: resumed, killed, interrupted, with faulty plugins."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import REPO
from support.cli import Shell
from support.tiny import SignallingDisplay

from membench.commands import training
from membench.errors import ExitCode

MEMBENCH = [sys.executable, "-m", "support.tiny"]
RUN = ["run", "--suite", "tiny", "-n", "2"]
ONE = [*RUN[:-1], "1"]  #: few cells: a second worker's imports would cost more than it trains
OWN = ["-k", "mine or bursting"]
SMOKE = ["run", "--suite", "smoke", "-n", "2"]
MINE = [*RUN, *OWN]

#: The plugins of the working folder in most runs: a sound one, and one whose numbers overflow.
PLUGINS = {
    "mine": """\
'''Shrinking: w <- (1 - lr s) w after each step.  Nobody, 2026.'''
from membench import Regularizer, hookimpl


def weights(params, lane):
    return {name: w * (1 - lane.lr * lane.strength) for name, w in params.items()}


@hookimpl
def register():
    return [Regularizer("mine", strengths=(0.01, 0.03, 0.1, 0.3, 1.0), weights=weights)]
""",
    "bursting": """\
'''Bursting: the weights grow until nothing is finite.  Nobody, 2026.'''
from membench import Regularizer, hookimpl


def weights(params, lane):
    return {name: w * (1 + 1e30 * lane.strength) for name, w in params.items()}


@hookimpl
def register():
    return [Regularizer("bursting", strengths=(1, 2, 3, 4, 5), weights=weights)]
""",
}

#: One file, three ways to lose a pack, and a neighbour that must not notice.
BAD = """\
import os, time
from membench import Regularizer, hookimpl

def same(params, lane):
    return params

def raising(params, lane):
    raise ValueError("no such luck")

def dying(params, lane):
    os._exit(3)

def hanging(params, lane):
    time.sleep(1000)

@hookimpl
def register():
    ways = {"same": same, "raising": raising, "dying": dying, "hanging": hanging}
    return [Regularizer(name, strengths=(1, 2, 3, 4, 5), weights=way) for name, way in ways.items()]
"""

Done = subprocess.CompletedProcess[str]
Tiny = Callable[..., Done]


@pytest.fixture(scope="module")
def env(environ: dict[str, str]) -> dict[str, str]:
    """Without git: the commit is on the board, and may change while the tests run."""
    path = os.pathsep.join([str(REPO / "tests"), environ.get("PYTHONPATH", "")])
    return {**environ, "GIT_DIR": "/nonexistent", "PYTHONPATH": path}


@pytest.fixture(scope="module")
def tiny(env: dict[str, str]) -> Tiny:
    """Run membench with the suite `tiny` in a folder; keywords are environment variables."""

    def run(folder: Path, *words: str, **more: str) -> Done:
        return subprocess.run(
            [*MEMBENCH, *words],
            cwd=folder,
            env={**env, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )

    return run


@pytest.fixture(scope="module")
def tiny_inside(inside: Shell, env: dict[str, str]) -> Tiny:
    """Do as `tiny` does, but let this process be the driver."""

    def run(folder: Path, *words: str, **more: str) -> Done:
        return inside(words, folder, GIT_DIR=env["GIT_DIR"], **more)

    return run


@pytest.fixture
def interrupted(tiny_inside: Tiny, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tiny]:
    """Do as `tiny_inside` does; Ctrl-C comes when the driver has been told of a stored pack."""
    monkeypatch.setattr(training, "Display", SignallingDisplay)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def run(folder: Path, *words: str) -> Done:
        return tiny_inside(folder, *words, TINY_SIGNAL=str(int(signal.SIGINT)))

    yield run
    signal.signal(signal.SIGINT, before)


def plugins(folder: Path, files: dict[str, str]) -> None:
    (folder / "plugins").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "plugins" / f"{name}.py").write_text(text)


def board(folder: Path) -> dict[str, bytes]:
    """Every file of the leaderboard that must not depend on how the run went."""
    root = folder / "leaderboard"
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in [root / "README.md", *root.glob("*/*.svg")]
    }


def records(folder: Path) -> dict[str, dict]:
    """Merged and unmerged records, by cell id."""
    files = [
        *(folder / "leaderboard/records").glob("?.jsonl"),
        *(folder / "leaderboard/records/shards").glob("*.jsonl"),
    ]
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return {line["id"]: line for line in lines if "id" in line}


def total(done: Done) -> str:
    """The summary's last line: `60 ok in 0:12`."""
    return next(
        line for line in done.stdout.splitlines() if re.search(r" in \d+:\d\d", line)
    ).strip("─ ")


@pytest.fixture(scope="module")
def whole(tiny_inside: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A run in one go, in a folder that held two plugins and nothing else."""
    folder = tmp_path_factory.mktemp("whole")
    plugins(folder, PLUGINS)
    return folder, tiny_inside(folder, *MINE)


Whole = tuple[Path, Done]


def test_plugins_of_the_working_folder_are_trained_and_on_the_board(whole: Whole) -> None:
    folder, done = whole
    page = (folder / "leaderboard/README.md").read_text()
    assert "mine" in done.stdout
    assert (
        "**mine** (other, acts on weights). Shrinking: w &lt;- (1 - lr s) w after each step."
        in page
    )
    assert "From plugins/mine.py." in page
    assert list((folder / "leaderboard/figures").glob("*.svg"))


def test_diverging_is_a_result_and_not_a_failure(whole: Whole) -> None:
    folder, done = whole
    assert done.returncode == ExitCode.OK, done.stderr
    burst = {r["status"] for r in records(folder).values() if r["regularizer"] == "bursting"}
    assert burst == {"diverged"}
    assert "15 diverged" in total(done)  # 5 strengths, 3 signals, the choosing seed


def test_the_same_command_again_trains_nothing(whole: Whole, tiny_inside: Tiny) -> None:
    folder, _ = whole
    before, stored = board(folder), records(folder)
    again = tiny_inside(folder, *MINE)
    assert again.returncode == 0
    assert total(again).startswith(f"{len(stored)} reused in ")
    assert board(folder) == before
    assert records(folder) == stored


def test_status_counts_the_cells_of_each_phase(whole: Whole, tiny_inside: Tiny) -> None:
    done = tiny_inside(whole[0], "status")
    assert done.returncode == 0
    _, choose, confirm = (line.split() for line in done.stdout.splitlines()[:3])
    assert choose == ["tiny", "digits/mlp", "choose", "48", "33", "15", "0", "0"]
    confirmed = str(len(records(whole[0])) - 48)
    assert confirm == ["tiny", "digits/mlp", "confirm", confirmed, confirmed, "0", "0", "0"]


def test_the_committed_board_is_checked_against_its_records(
    whole: Whole, tiny_inside: Tiny
) -> None:
    folder, _ = whole
    page = folder / "leaderboard/README.md"
    assert tiny_inside(folder, "report", "--check").returncode == 0
    page.write_text(page.read_text().replace("Leaderboard", "Loaderboard", 1))
    figure = next((folder / "leaderboard/figures").glob("*.svg"))
    figure.unlink()
    done = tiny_inside(folder, "report", "--check")
    assert done.returncode == ExitCode.FAILED
    assert "README.md" in done.stdout
    assert figure.name in done.stdout
    assert tiny_inside(folder, "report").returncode == 0
    assert tiny_inside(folder, "report", "--check").returncode == 0


def test_a_damaged_record_is_named_with_its_file(whole: Whole, tiny_inside: Tiny) -> None:
    folder, _ = whole
    path = next((folder / "leaderboard/records").glob("?.jsonl"))
    text = path.read_text()
    path.write_text(text.replace('"seed":', '"sead":', 1))
    try:
        for words in (["status"], ["report"], MINE):
            done = tiny_inside(folder, *words)
            assert done.returncode == ExitCode.STORE
            assert path.name in done.stderr
            assert len(done.stderr.splitlines()) == 1
    finally:
        path.write_text(text)


def wait_until_nobody_works_in(folder: Path) -> None:
    """Wait for the end of a killed driver's workers, which could still store a pack."""
    end = time.monotonic() + 20
    while any(_works_in(process, folder) for process in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < end, "a process has outlived its driver"
        time.sleep(0.01)


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink() == folder
    except OSError:  # it is gone, or a zombie
        return False


def test_interrupted_killed_and_resumed_the_board_is_the_same(
    whole: Whole,
    interrupted: Tiny,
    tiny: Tiny,
    tiny_inside: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both signals come when the driver has been told of the first stored pack."""
    plugins(tmp_path, PLUGINS)
    done = interrupted(tmp_path, *ONE, *OWN)
    assert done.returncode == ExitCode.INTERRUPTED
    assert "interrupted: the same command goes on from here" in done.stdout
    monkeypatch.undo()
    after_interrupt = records(tmp_path)
    everything = len(records(whole[0]))
    assert 0 < len(after_interrupt) < everything

    killed = tiny(tmp_path, *MINE, TINY_SIGNAL=str(int(signal.SIGKILL)))
    assert killed.returncode == -signal.SIGKILL
    wait_until_nobody_works_in(tmp_path)
    after_kill = records(tmp_path)
    assert set(after_interrupt) < set(after_kill)
    assert len(after_kill) < everything

    done = tiny_inside(tmp_path, *ONE, *OWN)  # the number of workers does not matter either
    assert done.returncode == 0
    assert f"{len(after_kill)} reused" in total(done)
    assert all(records(tmp_path)[i] == record for i, record in after_kill.items())
    assert board(tmp_path) == board(whole[0])


@pytest.fixture(scope="module")
def failing(tiny_inside: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A run with plugins that raise, die and hang."""
    folder = tmp_path_factory.mktemp("failing")
    plugins(folder, {"bad": BAD})
    words = ["-k", "(same or raising or dying or hanging) and [2]", "--time-limit", "5"]
    return folder, tiny_inside(folder, *RUN, *words)


def statuses(folder: Path, name: str) -> set[str]:
    return {r["status"] for r in records(folder).values() if r["regularizer"] == name}


def test_a_faulty_plugin_costs_its_own_packs_only(failing: Whole) -> None:
    folder, done = failing
    assert done.returncode == ExitCode.FAILED
    assert statuses(folder, "hanging") == {"timeout"}
    assert statuses(folder, "raising") == statuses(folder, "dying") == {"failed"}
    for name in ("same", "none", "low-lr"):
        assert statuses(folder, name) == {"ok"}
    # `same`, `none` on two seeds, `low-lr`; no strength is confirmed while others are missing
    assert "24 ok, 6 failed, 3 timeout" in total(done)
    assert "failed raising, 3 cells: ValueError: no such luck (plugins/bad.py:8)" in done.stdout
    assert "failed dying, 3 cells: worker died: " in done.stdout
    assert "timeout hanging, 3 cells: no progress within 5 s" in done.stdout
    for name in ("raising", "dying", "hanging"):
        assert f"digits/mlp/{name}[2]/real/seed0 x3" in done.stdout


def altering(name: str, statement: str) -> str:
    """A sound plugin of that name, with a statement that is run when it is imported."""
    text = PLUGINS["mine"].replace("mine", name)
    return text.replace("\n\n\n", f"\nimport torch\n{statement}\n\n\n", 1)


def test_what_plugins_do_to_torch_costs_their_own_packs_only(
    whole: Whole, tiny: Tiny, tmp_path: Path
) -> None:
    """Each file has workers of its own, and what it has altered there is found after its pack."""
    relu = "torch.nn.functional.relu = lambda x, *others: 0.5 * x.clamp(min=0)"
    files = {
        "mine": PLUGINS["mine"],
        "halving": altering("halving", relu),
        "threading": altering("threading", "torch.set_num_threads(2)"),
    }
    plugins(tmp_path, files)
    done = tiny(tmp_path, *RUN, "-k", "(mine or halving or threading) and [0.1]")
    assert done.returncode == ExitCode.FAILED
    alone, beside = records(whole[0]), records(tmp_path)
    reasons: dict[str, set[str]] = {"halving": set(), "threading": set()}
    for cell_id, record in beside.items():
        if record["regularizer"] in reasons:
            assert record["status"] == "failed"
            reasons[record["regularizer"]].add(record["reason"])
        else:
            for curve in ("env", "train", "loss", "val", "test"):
                assert record[curve] == alone[cell_id][curve], cell_id
    (halving,), (threading,) = reasons["halving"], reasons["threading"]
    assert "plugins/halving.py changes torch.nn.functional.relu" in halving
    assert "plugins/threading.py changes torch's number of threads" in threading


def test_of_a_plugin_that_is_edited_while_a_run_starts_nothing_is_stored(
    tiny_inside: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cells have the keys of the code that was planned."""
    plugins(tmp_path, {"mine": PLUGINS["mine"]})
    train_missing = training.train_missing

    def edit_first(*arguments: Any) -> Any:
        edited = PLUGINS["mine"].replace("lane.lr * lane", "2 * lane.lr * lane")
        plugins(tmp_path, {"mine": edited})
        return train_missing(*arguments)

    monkeypatch.setattr(training, "train_missing", edit_first)
    done = tiny_inside(tmp_path, *ONE, "-k", "mine and real")
    assert done.returncode == ExitCode.FAILED
    assert re.search(
        r"regularizer 'mine' \(.*plugins/mine.py\) is not the one that was planned; "
        "run the command again",
        done.stderr,
    )
    assert "mine" not in {record["regularizer"] for record in records(tmp_path).values()}


def test_lf_trains_the_failed_cells_again_and_no_others(failing: Whole, tiny_inside: Tiny) -> None:
    folder, _ = failing
    words = ["-k", "raising and [2]"]
    again = tiny_inside(folder, *ONE, *words)
    assert again.returncode == ExitCode.FAILED
    assert total(again).startswith("24 reused")
    assert (
        "3 cells failed in an earlier run and count as the worst result: --lf tries them again"
        in again.stdout
    )
    mended = BAD.replace('raise ValueError("no such luck")', "return params")
    (folder / "plugins" / "bad.py").write_text(mended)
    listed = tiny_inside(folder, *ONE, *words, "--lf", "--collect-only").stdout.splitlines()
    assert len(listed) == 4
    assert all("/raising[2]/" in line for line in listed[:-1])
    done = tiny_inside(folder, *ONE, *words, "--lf")
    assert done.returncode == 0, done.stdout
    assert total(done).startswith("3 ok, ")
    assert statuses(folder, "raising") >= {"ok"}


def test_lf_without_a_failed_cell_exits_with_5(whole: Whole, tiny_inside: Tiny) -> None:
    done = tiny_inside(whole[0], *RUN, "--lf")
    assert (done.returncode, done.stderr) == (
        5,
        "membench: no cell of tiny in leaderboard has failed\n",
    )


@pytest.mark.parametrize("name", ["README.md", "index.html", "timing.md"])
@pytest.mark.parametrize(
    "words",
    [[*RUN, "--all"], ["reproduce", "--all"], ["report"]],
    ids=["run", "reproduce", "report"],
)
def test_a_page_of_the_user_s_is_never_replaced(
    tiny_inside: Tiny, tmp_path: Path, words: list[str], name: str
) -> None:
    (tmp_path / name).write_text("mine\n")
    done = tiny_inside(tmp_path, *words, "--out", ".")
    assert done.returncode == ExitCode.USAGE
    assert f"{name} was not written by membench and would be replaced" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine\n"


def test_an_unreadable_plugin_changes_the_exit_code_and_no_cell(
    whole: Whole, tiny_inside: Tiny
) -> None:
    folder, _ = whole
    plugins(folder, {"broken": "import no_such_thing\n"})
    try:
        done = tiny_inside(folder, *MINE)
    finally:
        (folder / "plugins" / "broken.py").unlink()
    assert done.returncode == ExitCode.FAILED
    assert total(done).startswith(f"{len(records(folder))} reused in ")
    assert "plugins/broken.py: " in done.stderr


#: A machine whose oneDNN uses no more than AVX2; torch's own kernels stay as they are.
OTHER_MACHINE = {"ONEDNN_MAX_CPU_ISA": "AVX2"}


@pytest.fixture(scope="module")
def published(tiny_inside: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of one entry and the baseline, on a task that counts, as a folder to be cloned."""
    folder = tmp_path_factory.mktemp("published")
    plugins(folder, {"mine": PLUGINS["mine"]})
    done = tiny_inside(folder, *SMOKE, "-k", "mine")
    assert done.returncode == 0, done.stderr
    return folder


def environments(folder: Path, name: str) -> set[str]:
    return {r["env"] for r in records(folder).values() if r["regularizer"] == name}


def test_a_plugin_of_another_machine_joins_the_board_with_a_baseline_of_its_own(
    published: Path, tiny_inside: Tiny, tmp_path: Path
) -> None:
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    before = records(tmp_path)
    plugins(tmp_path, {"newcomer": PLUGINS["mine"].replace("mine", "newcomer")})
    words = [*SMOKE, "-k", "mine or newcomer"]
    done = tiny_inside(tmp_path, *words, **OTHER_MACHINE)
    assert done.returncode == 0, done.stderr
    trained = {}
    for file in (tmp_path / "leaderboard/records").glob("?.jsonl"):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            if record["env"] not in environments(published, "none"):
                trained[record["id"]] = record
    assert {record["regularizer"] for record in trained.values()} == {"none", "low-lr", "newcomer"}
    assert len({record["env"] for record in trained.values()}) == 1
    of_none = {cell for cell in before if "/none/" in cell}
    assert of_none <= set(trained)  # both phases

    page = (tmp_path / "leaderboard/README.md").read_text()
    assert "[mine](#entry-mine)" in page
    assert "[newcomer](#entry-newcomer)" in page
    assert {record["env"][:8] for record in trained.values()} <= set(
        re.findall(r"[0-9a-f]{8}", page)
    )
    assert {env[:8] for env in environments(published, "none")} <= set(
        re.findall(r"[0-9a-f]{8}", page)
    )
    again = tiny_inside(tmp_path, *words)
    assert " ok" not in total(again)  # nor does the first machine train it anew


def test_probes_take_no_row_of_another_machine_off_the_board(
    published: Path, tiny_inside: Tiny, tmp_path: Path
) -> None:
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    probed = (*SMOKE, "-k", "mine", "--probe", "norms")
    done = tiny_inside(tmp_path, *probed, **OTHER_MACHINE)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, ""), done.stderr
    assert "--probe norms: " in done.stderr
    assert "were measured on another machine" in done.stderr
    assert records(tmp_path) == records(published)
    assert tiny_inside(tmp_path, "report", "--check").returncode == 0


@pytest.mark.slow
def test_two_runs_at_once_in_one_folder_are_both_on_the_board(
    env: dict[str, str], tmp_path: Path
) -> None:
    plugins(tmp_path, PLUGINS)
    runs = []
    for name in PLUGINS:
        words = [*MEMBENCH, *ONE, "-k", name]
        runs.append(subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL))
    assert [process.wait(timeout=280) for process in runs] == [0, 0]
    page = (tmp_path / "leaderboard/README.md").read_text()
    for name in PLUGINS:
        assert re.search(rf"^\| {name} ", page, re.MULTILINE)


def test_an_interrupted_run_changes_no_file_that_git_keeps(
    whole: Whole,
    interrupted: Tiny,
    tiny_inside: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it has measured is in the shards, counts, and is merged when a run comes to its end."""
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    shutil.copy(REPO / ".gitignore", tmp_path)
    plugins(tmp_path, {"newcomer": PLUGINS["mine"].replace("mine", "newcomer")})
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(tmp_path)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a board"]):
        subprocess.run([*git, *words], check=True)
    words = [*ONE, "-k", "mine or bursting or newcomer"]
    stopped = interrupted(tmp_path, *words)
    assert stopped.returncode == ExitCode.INTERRUPTED, stopped.stderr
    monkeypatch.undo()
    status = subprocess.run(
        [*git, "status", "--porcelain"], capture_output=True, text=True, check=True
    )
    assert status.stdout == ""
    new = len(records(tmp_path)) - len(records(whole[0]))
    assert new > 0

    done = tiny_inside(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert f"{len(records(whole[0])) + new} reused" in total(done)
    assert not list((tmp_path / "leaderboard/records/shards").glob("*.json*"))
    assert "newcomer" in (tmp_path / "leaderboard/README.md").read_text()


def test_fresh_counts_the_records_of_this_machine_alone(
    whole: Whole, tiny_inside: Tiny, tmp_path: Path
) -> None:
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    words = [*ONE, "-k", "mine and [0.1]", "--fresh"]
    same = tiny_inside(tmp_path, *words)
    assert " ok" not in total(same)
    other = tiny_inside(tmp_path, *words, **OTHER_MACHINE)
    selected = [r for r in records(whole[0]).values() if r["regularizer"] in ("none", "low-lr")]
    selected += [
        r for r in records(whole[0]).values() if "/mine[0.1]/" in r["id"] and not r["seed"]
    ]
    assert total(other).startswith(f"{len(selected)} ok in "), total(other)


def test_a_composition_is_trained_and_its_full_grid_reuses_what_was_paired(
    whole: Whole, tiny_inside: Tiny
) -> None:
    words = ["--out", "full"]
    words += ["-r", "mine+dropout", "-k", "mine+dropout and [1,"]
    paired = tiny_inside(whole[0], *ONE, *words)
    assert paired.returncode == 0, paired.stderr
    assert "mine+dropout" in (whole[0] / "full" / "README.md").read_text()

    full = tiny_inside(whole[0], *ONE, *words, "--grid", "full")
    assert full.returncode == 0, full.stderr
    assert total(full).startswith("12 ok, "), total(full)  # 1 of 5 strengths was there, 3 signals
    page = (whole[0] / "full" / "README.md").read_text()
    assert re.search(r"^\| mine\+dropout \(full\) +\| +15 of 75 \|", page, re.MULTILINE)

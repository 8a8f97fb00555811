"""`membench plan --slurm n`: what is submitted, and what the jobs do; Slurm is two scripts here."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.cli import Cli
from support.cli import Shell

from membench.cli import build_parser
from membench.commands.options import add_selection
from membench.commands.slurm import selection_words

PLAN = ["plan", "--suite", "smoke", "-k", "mixup or label-smoothing", "--out", "my board"]
#: Keep what is submitted, number by number, and print the number as `--parsable` does.
SBATCH = """#!/bin/bash
number=$(( $(ls "$JOBS" | wc -l) / 2 + 1 ))
printf '%s\\n' "$@" > "$JOBS/$number.words"
cat > "$JOBS/$number.sh"
echo "$number;cluster"
"""
SCONTROL = """#!/bin/bash
echo "$@" >> "$CASE/scontrol"
"""
#: Stand in for membench: note the words; then end with $CODE, or wait for SIGTERM and end with 2.
MEMBENCH = """#!/bin/bash
trap 'echo stopped >> "$CASE/notes"; exit 2' TERM
printf '%s\\n' "$@" > "$CASE/notes"
if [ -n "${CODE:-}" ]; then exit "$CODE"; fi
for turn in {1..2000}; do sleep 0.01; done
"""
ARRAY = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "3"}


@dataclass(frozen=True)
class Slurm:
    """A folder with `sbatch` and `scontrol`, and the jobs that were submitted there."""

    folder: Path

    @classmethod
    def in_folder(cls, folder: Path) -> Slurm:
        programs = {"sbatch": SBATCH, "scontrol": SCONTROL, "membench": MEMBENCH}
        for name in ("bin", "jobs"):
            (folder / name).mkdir()
        for name, text in programs.items():
            path = folder / "bin" / name
            path.write_text(text)
            path.chmod(0o755)
        return cls(folder)

    def environ(self, **more: str) -> dict[str, str]:
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "JOBS": str(self.folder / "jobs"), **more}

    def submit(self, script: str, *words: str) -> None:
        command = ["bash", "-c", script, "script", *words]
        subprocess.run(command, cwd=self.folder, env=self.environ(), check=True)

    def words(self, number: int) -> list[str]:
        return (self.folder / "jobs" / f"{number}.words").read_text().splitlines()

    def start(self, number: int, **variables: str) -> subprocess.Popen[bytes]:
        script = self.folder / "jobs" / f"{number}.sh"
        environ = self.environ(**variables)
        return subprocess.Popen(["bash", str(script)], cwd=self.folder, env=environ)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory, inside: Shell) -> Slurm:
    """Submit two shards of a plan, whose jobs start a stand-in of membench."""
    cluster = Slurm.in_folder(tmp_path_factory.mktemp("slurm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(cluster.folder / "bin" / "membench")])
        done = inside([*PLAN, "--slurm", "2", "-n", "3"], cluster.folder)
    assert (done.returncode, done.stderr) == (0, "")
    cluster.submit(done.stdout, "--time=08:00:00")
    return cluster


@dataclass(frozen=True)
class Case:
    """What the stand-ins of one test have noted."""

    folder: Path

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setenv("CASE", str(tmp_path))
    return Case(tmp_path)


def test_an_array_is_submitted_and_a_merge_that_waits_for_it(slurm: Slurm) -> None:
    array, merge = slurm.words(1), slurm.words(2)
    assert {"--array=1-2", "--requeue", "--signal=B:USR1@60", "--cpus-per-task=3"} <= set(array)
    assert array[-1] == "--time=08:00:00"  # what is given to the script counts: it comes last
    assert "--output=my board/slurm-%a.log" in array
    assert "--dependency=afterany:1" in merge
    for number in (1, 2):
        subprocess.run(["bash", "-n", str(slurm.folder / "jobs" / f"{number}.sh")], check=True)


def test_a_job_trains_its_shard_in_its_own_folder_and_passes_the_exit_code_on(
    slurm: Slurm, case: Case
) -> None:
    assert slurm.start(1, CODE="1", **ARRAY).wait(60) == 1
    options = build_parser().parse_args(case.lines("notes"))
    assert (options.shard, options.workers, options.out) == ((2, 2), 3, Path("my board/shard-2"))
    assert (options.suite, options.expression) == ("smoke", "mixup or label-smoothing")
    assert not case.lines("scontrol")


def test_on_a_gpu_membench_says_how_many_workers_there_are(slurm: Slurm, case: Case) -> None:
    assert slurm.start(1, CODE="0", CUDA_VISIBLE_DEVICES="0,1", **ARRAY).wait(60) == 0
    assert "-n" not in case.lines("notes")


@pytest.mark.parametrize(
    ("number", "restarts", "requeued"),
    [(signal.SIGUSR1, "0", True), (signal.SIGUSR1, "50", False), (signal.SIGTERM, "0", False)],
)
def test_a_job_at_its_time_limit_stops_membench_and_asks_for_another_turn(
    slurm: Slurm, case: Case, number: signal.Signals, restarts: str, requeued: bool
) -> None:
    """One that is cancelled or preempted stops it too, and asks for none: Slurm decides that."""
    job = slurm.start(1, SLURM_RESTART_COUNT=restarts, **ARRAY)
    end = time.monotonic() + 60
    while not case.lines("notes") and time.monotonic() < end:
        time.sleep(0.01)
    job.send_signal(number)
    code = job.wait(60)
    assert case.lines("notes")[-1] == "stopped"
    assert case.lines("scontrol") == (["requeue 1_2"] if requeued else [])
    assert code == (0 if requeued else 2)  # of scontrol, whose place the job has taken


def test_the_merge_names_every_folder(slurm: Slurm, case: Case) -> None:
    assert slurm.start(2, CODE="0").wait(60) == 0
    options = build_parser().parse_args(case.lines("notes"))
    assert options.folders == [Path("my board/shard-1"), Path("my board/shard-2")]
    assert options.out == Path("my board")


def test_more_jobs_than_entries_and_a_shard_of_a_cut_are_refused(cli: Cli) -> None:
    code, out, err = cli(*PLAN, "--slurm", "3")
    assert (code, out) == (5, "")
    assert "--shard 3/3: nothing is left for this shard; the plan has 2 entries" in err
    code, _, err = cli(*PLAN, "--slurm", "2", "--shard", "1/2")
    assert (code, "leave --shard away" in err) == (4, True)


SELECTIONS = (
    "--all",
    "-k 'dropout and not seed3' --seeds 3-5,9 --suite smoke",
    "--all --datasets digits,mnist5k --architectures mlp --signals real,mixed@0.2 --train-size 9",
    "--all --epochs 5 --optimizer adamw --lr 0.01 --probe margin --probe depth",
    "-k a+b -r a+b -r b+c --grid full -p one.py -p 'two files' --data-dir sets",
)


@pytest.mark.parametrize("typed", SELECTIONS)
def test_the_jobs_select_what_the_plan_selects(typed: str) -> None:
    parser = build_parser()
    words = selection_words(parser.parse_args(["plan", *shlex.split(typed)]))
    assert parser.parse_args(["run", *words]) == parser.parse_args(["run", *shlex.split(typed)])


def test_no_option_that_selects_is_forgotten() -> None:
    parser = argparse.ArgumentParser()
    add_selection(parser)
    flags = {action.option_strings[-1] for action in parser._actions} - {"--help", "--shard"}
    assert flags <= {word for typed in SELECTIONS for word in shlex.split(typed)}


@pytest.mark.slow
def test_the_jobs_of_a_suite_make_its_board(tmp_path: Path, shell: Shell, cache: Path) -> None:
    slurm = Slurm.in_folder(tmp_path)
    done = shell([*PLAN, "--slurm", "2", "-n", "1"], slurm.folder)
    assert done.returncode == 0, done.stderr
    slurm.submit(done.stdout)
    cached = {"MEMBENCH_CACHE": str(cache)}
    for index in ("1", "2"):
        variables = {**ARRAY, **cached, "SLURM_CPUS_PER_TASK": "1", "SLURM_ARRAY_TASK_ID": index}
        assert slurm.start(1, **variables).wait(280) == 0
    assert not (slurm.folder / "my board" / "README.md").exists()
    assert slurm.start(2, **cached).wait(280) == 0
    page = (slurm.folder / "my board" / "README.md").read_text("utf-8")
    assert "[mixup](#entry-mixup)" in page and "[label-smoothing](#entry-label-smoothing)" in page
    check = shell(["report", "--check", "--out", "my board"], slurm.folder)
    assert check.returncode == 0, check.stdout

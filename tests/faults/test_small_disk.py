"""A run on a disk that fills up, or may not be written: exit code 11, nothing lost (R6).

The disk is a small one in memory, which only the run under test sees.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.cli import REPO
from support.cli import Shell
from support.namespaces import needs_small_disk
from support.namespaces import on_small_disk
from support.workspace import shrinking

from membench.errors import ExitCode
from membench.store.store import Store

WORDS = ["run", "--suite", "tiny", "-n", "1", "-k", "own"]
COMMAND = [sys.executable, str(REPO / "tests/support/tiny.py"), *WORDS]
#: A driver that prints when each pack begins, whose records are of 16 KB.
DRIVER = """
import sys, time
from pathlib import Path
from support.trainers import local_workers, make_pack
from membench.errors import MembenchError
from membench.execution.pool import run_packs
from membench.execution.worker import worker_command
from membench.store.store import Store

store = Store(Path("records"))
command = worker_command(store.folder, trainer="support.trainers:train")
packs = [make_pack("good", index, width=40) for index in range(20)]
try:
    run_packs(
        packs, store=store, factory=local_workers(command), workers=2, time_limit=100,
        on_event=lambda event: print(event.kind, event.pack.id, time.monotonic(), flush=True),
    )
except MembenchError as error:
    print(error)
    sys.exit(error.code)
"""
pytestmark = [pytest.mark.slow, needs_small_disk]


@pytest.fixture
def env(environ: dict[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(REPO / "tests"), environ.get("PYTHONPATH", "")])
    return {**environ, "GIT_DIR": "/nonexistent", "PYTHONPATH": path}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "own.py").write_text(shrinking("own"))
    return tmp_path


def test_a_disk_that_is_full_ends_the_run_within_five_seconds(
    tmp_path: Path, env: dict[str, str]
) -> None:
    (tmp_path / "records").mkdir()
    command = [sys.executable, "-c", DRIVER]
    small = on_small_disk(tmp_path / "records", "size=100k", command, tmp_path / "kept")
    done = subprocess.run(
        small, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=99
    )
    end = time.monotonic()
    assert done.returncode == ExitCode.DISK, done.stderr
    *events, message = done.stdout.splitlines()
    assert "No space left on device; all that was stored before is intact" in message
    began = max(float(line.split()[-1]) for line in events if line.startswith("started"))
    print(f"exit code 11 {end - began:.1f} s after the pack that found the disk full began")
    assert end - began < 5
    stored = {line.split()[1] for line in events if line.startswith("stored")}
    assert stored
    contents = Store(tmp_path / "kept").read()
    assert contents.damaged == ()
    assert len(contents.records) >= 40 * len(stored)


def test_a_run_on_a_disk_of_any_size_ends_with_exit_code_11_and_goes_on_elsewhere(
    folder: Path, env: dict[str, str], inside: Shell
) -> None:
    """Or anew: where not even the plan can be written, nothing is there."""
    whole = folder / "whole"
    whole.mkdir()
    shutil.copytree(folder / "plugins", whole / "plugins")
    assert inside(WORDS, whole, GIT_DIR="/nonexistent").returncode == ExitCode.OK
    page = (whole / "leaderboard/README.md").read_bytes()
    expected = Store(whole / "leaderboard/records").read().records
    ends = []
    for options in ("size=24k", "size=64k", "size=100k"):
        place = folder / options
        shutil.copytree(folder / "plugins", place / "plugins")
        (place / "leaderboard").mkdir()
        small = on_small_disk(place / "leaderboard", options, COMMAND, place / "kept")
        done = subprocess.run(
            small, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode == ExitCode.DISK, (options, done.returncode, done.stderr)
        assert "No space left on device" in done.stderr
        shutil.rmtree(place / "leaderboard")
        (place / "kept").rename(place / "leaderboard")
        before = Store(place / "leaderboard/records").read().records
        ends.append(f"{options}: {len(before)} of {len(expected)} cells stored")
        again = inside(WORDS, place, GIT_DIR="/nonexistent")
        assert again.returncode == ExitCode.OK, again.stderr
        assert f"{len(before)} reused" in again.stdout or not before
        assert (place / "leaderboard/README.md").read_bytes() == page
        assert Store(place / "leaderboard/records").read().records.keys() == expected.keys()
    print(*ends, sep="\n")


def test_a_disk_that_may_not_be_written_is_named_before_anything_is_trained(
    folder: Path, env: dict[str, str]
) -> None:
    (folder / "leaderboard").mkdir()
    small = on_small_disk(folder / "leaderboard", "ro", COMMAND, folder / "kept")
    done = subprocess.run(
        small, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == ExitCode.USAGE
    assert "you may not write in leaderboard" in done.stderr
    assert not list((folder / "kept").iterdir())

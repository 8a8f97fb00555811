"""A week in a minute: hundreds of runs that are interrupted, killed, cut, joined and edited.

`support/soak.py` takes the steps, and says which; to repeat a failure, start it with that seed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import soak
from support.cli import REPO

SEED = 20261130
RUNS = 500


@pytest.mark.slow
def test_a_week_of_faults_leaves_the_board_of_one_clean_run_and_nothing_else(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    env = {
        **environ,
        "MEMBENCH_CACHE": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "tests")]),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, soak.__file__, str(tmp_path), "--seed", str(SEED)]
    done = subprocess.run(
        [*command, "--runs", str(RUNS)],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, f"seed {SEED}:\n{done.stdout}"
    assert f"seed {SEED}" in done.stdout

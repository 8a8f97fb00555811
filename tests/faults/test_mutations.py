"""Faults planted in the store, the workers and the pool are each found by a test.

They were written down by who knew that code and not its tests. A copy of the project gets one of
them, and a test that is to find it runs there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from support.cli import REPO


class Mutation(NamedTuple):
    """A fault as a change of text, and a test that is to find it."""

    file: str  #: below membench/
    old: str
    new: str
    test: str  #: below tests/
    hangs: bool = False  #: the test never ends


STORE = "store/test_store.py::"
SHARED = "store/test_shared_folder.py::"
DISK = "faults/test_failing_disk.py::"
POOL = "execution/test_pool.py::"
RUN = "commands/test_run.py::"
POWER = f"{DISK}test_after_a_loss_of_power_at_any_call_everything_acknowledged_is_there"

MUTATIONS = {
    "an acknowledged pack is not synced": Mutation(
        "store/shards.py",
        "            os.fsync(self._fd)\n",
        "",
        f"{POWER}[append-0]",
    ),
    "the name of a new shard is not synced": Mutation(
        "store/shards.py",
        "                sync_folder(folder)\n",
        "                pass\n",
        f"{POWER}[append-0]",
    ),
    "a checksum is not checked": Mutation(
        "store/shards.py",
        "if start < 0 or line[start:end] !=",
        "if start < 0 or b'' ==",
        f"{STORE}test_any_flipped_bit_is_reported_and_gives_no_other_record[read_shard]",
    ),
    "whole lines of a torn pack are taken for records": Mutation(
        "store/shards.py",
        "    damaged = [] if live else",
        "    contents.records += _decode_lines(path, pack, first, last=first)[0]\n"
        "    damaged = [] if live else",
        f"{STORE}test_a_shard_cut_at_any_byte_of_its_last_pack_keeps_the_packs_before",
    ),
    "a shard goes before the bytes of its merged file are durable": Mutation(
        "files.py",
        "        write_all(fd, data)\n        os.fsync(fd)\n",
        "        write_all(fd, data)\n",
        f"{POWER}[merge-0]",
    ),
    "a shard that has grown since the merge read it is removed": Mutation(
        "store/store.py",
        "        if os.fstat(fd).st_size != size:\n            return False\n",
        "",
        f"{STORE}test_a_shard_that_has_grown_since_the_merge_read_it_stays",
    ),
    "a shard takes more after a failed write": Mutation(
        "store/shards.py",
        "        self._usable = False  # stays so",
        "        self._usable = True  # stays so",
        f"{STORE}test_a_failed_fsync_is_a_disk_error_and_the_shard_takes_nothing_more",
    ),
    "a pack is acknowledged before it is written": Mutation(
        "execution/worker.py",
        "        writer.append(records)\n",
        '        send(message_fd, "stored", counts=Counter(r.status for r in records))\n'
        "        writer.append(records)\n",
        f"{POOL}test_a_full_disk_ends_the_run_and_keeps_stored_records",
    ),
    "a plugin that is not the planned one trains": Mutation(
        "execution/worker.py",
        "        _check_code(pack, plugins)\n",
        "",
        f"{RUN}test_of_a_plugin_that_is_edited_while_a_run_starts_nothing_is_stored",
    ),
    "what a plugin has altered is not looked at": Mutation(
        "execution/worker.py",
        "        altered = state.alterations()\n",
        "        altered = []\n",
        f"{RUN}test_what_plugins_do_to_torch_costs_their_own_packs_only",
    ),
    "the same progress again renews the time limit": Mutation(
        "execution/pool.py",
        "if done > self.done:",
        "if done >= self.done:",
        f"{POOL}test_a_pack_that_reports_the_same_progress_again_and_again_ends_at_its_time_limit",
        hangs=True,
    ),
    "the pack of a worker that died is forgotten": Mutation(
        "execution/pool.py",
        "        self._queue.put_back(pack)\n",
        "",
        f"{POOL}test_a_pack_whose_worker_died_is_tried_once_more",
    ),
    "a worker trains the plugins of several files": Mutation(
        "execution/pool.py",
        "busy, worker.foreign_files, worker.environment)",
        "busy, None, worker.environment)",
        f"{POOL}test_no_worker_trains_packs_of_two_foreign_files_or_of_one_and_of_what_ships",
    ),
}


def ends_well(project: Path, test: str, seconds: float) -> bool:
    """Run a test of the copy, also if it is slow. Tells whether it passes.

    Raises:
        subprocess.TimeoutExpired: it takes longer.
    """
    options = ["-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-m", "slow or not slow"]
    command = [sys.executable, "-m", "pytest", *options, f"--basetemp={project / 'temporary'}"]
    done = subprocess.run(
        [*command, f"tests/{test}"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert done.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), done.stdout
    return done.returncode == pytest.ExitCode.OK


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("mutations") / "project"
    ignored = shutil.ignore_patterns("__pycache__", ".*", "leaderboard")
    shutil.copytree(REPO, project, ignore=ignored)
    return project


def test_each_fault_has_one_place_in_the_code() -> None:
    """So that a fault that nobody can plant any more is noticed before the slow tests are run."""
    for mutation in MUTATIONS.values():
        text = (REPO / "membench" / mutation.file).read_text()
        assert text.count(mutation.old) == 1, mutation.old


@pytest.mark.slow
@pytest.mark.parametrize("fault", MUTATIONS)
def test_a_planted_fault_is_found(fault: str, copy: Path) -> None:
    mutation = MUTATIONS[fault]
    path = copy / "membench" / mutation.file
    text = path.read_text()
    path.write_text(text.replace(mutation.old, mutation.new))
    try:
        if mutation.hangs:
            with pytest.raises(subprocess.TimeoutExpired):
                ends_well(copy, mutation.test, seconds=90)
        else:
            assert not ends_well(copy, mutation.test, seconds=900)
    finally:
        path.write_text(text)

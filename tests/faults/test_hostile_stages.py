"""What a plugin does in its stage, or when a worker imports it, costs its own cells (R7, R8).

Each misdeed is a plugin's file of its own, trained by the real engine in the workers of any run,
beside a sound plugin, `none` and `low-lr`, whose records equal those of a run without the others.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from support.cli import Shell
from support.processes import processes_with
from support.processes import wait_until

from membench.errors import ExitCode
from membench.records import Record
from membench.store.store import Store

PLUGIN = '''"""Do what one should not.  Nobody, 2026."""
import ctypes, os, resource, signal, subprocess, sys, threading, time, warnings
import torch
from membench import Regularizer, hookimpl

{at_import}

def weights(params, lane):
    {in_stage}
    return {{name: w * (1 - lane.lr * lane.strength) for name, w in params.items()}}

@hookimpl
def register():
    return [Regularizer("{name}", strengths=(0.1, 0.2, 0.3, 0.4, 0.5), weights=weights)]
'''
HANG_LIMIT = 20  #: seconds, for those which hang
SLOW_LIMIT = 900  #: seconds, for the others: the machine may be busy


class Misdeed(NamedTuple):
    """A line of a plugin, and what becomes of its cells."""

    line: str
    status: str
    reason: str = ""  #: a pattern


TIMEOUT = f"no progress within {HANG_LIMIT} s"
IN_STAGE = {
    "raises": Misdeed("raise ValueError('no luck')", "failed", "ValueError: no luck"),
    "interrupts": Misdeed("raise KeyboardInterrupt", "failed", "KeyboardInterrupt"),
    "leaves": Misdeed("sys.exit(0)", "failed", "SystemExit: 0"),
    "exits": Misdeed("os._exit(0)", "failed", "worker died: exit status 0"),
    "crashes": Misdeed("ctypes.string_at(0)", "failed", "killed by SIGSEGV"),
    "aborts": Misdeed("os.abort()", "failed", "killed by SIGABRT"),
    "kills-itself": Misdeed("os.kill(os.getpid(), 9)", "failed", "killed by SIGKILL"),
    "recurses": Misdeed("weights(params, lane)", "failed", "RecursionError"),
    "exhausts": Misdeed(
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20)); bytes(1 << 33)",
        "failed",
        "MemoryError|can't allocate memory",
    ),
    "sleeps": Misdeed("time.sleep(999)", "timeout", TIMEOUT),
    "spins": Misdeed("exec('while True: pass')", "timeout", TIMEOUT),
    "holds-the-gil": Misdeed("ctypes.PyDLL(None).sleep(999)", "timeout", TIMEOUT),
    "stops": Misdeed("os.kill(os.getpid(), signal.SIGSTOP)", "timeout", TIMEOUT),
    "is-deaf": Misdeed(
        "[signal.signal(n, signal.SIG_IGN) for n in (2, 14, 15)]; time.sleep(999)",
        "timeout",
        TIMEOUT,
    ),
    "closes-files": Misdeed("os.closerange(3, 999)", "failed", "worker died"),
    "halves-relu": Misdeed(
        "torch.nn.functional.relu = lambda x, *o: x / 2", "failed", "changes torch.nn.functional"
    ),
    "is-double": Misdeed(
        "torch.set_default_dtype(torch.float64)", "failed", "default dtype|Double"
    ),
    "threads": Misdeed("torch.set_num_threads(2)", "failed", "number of threads"),
    "moves": Misdeed("os.chdir('/')", "failed", "the working folder"),
    "is-lost": Misdeed("return {n: w * float('nan') for n, w in params.items()}", "diverged"),
    "prints": Misdeed(
        """print('{"kind":"stored","counts":{"ok":9}}\\n' * 9999)""",
        "ok",
    ),
    "leaves-a-daemon": Misdeed("subprocess.Popen(['sleep', '999'], start_new_session=True)", "ok"),
}
AT_IMPORT = {
    "imports-relu": Misdeed(
        "torch.nn.functional.relu = lambda x, *o: x / 2", "failed", "changes torch.nn.functional"
    ),
    "imports-double": Misdeed(
        "torch.set_default_dtype(torch.float64)", "failed", "default dtype|Double"
    ),
    "imports-threads": Misdeed("torch.set_num_threads(2)", "failed", "number of threads"),
    "imports-no-grad": Misdeed("torch.set_grad_enabled(False)", "failed", "require grad"),
    "imports-add": Misdeed(
        "torch.Tensor.add = lambda self, *o, **m: self", "failed", r"changes torch.Tensor.add"
    ),
}
WORDS = ["run", "--suite", "tiny", "-n", "2"]
COMPARED = ("env", "status", "train", "loss", "val", "test", "train_bits", "test_bits")


def write_plugin(folder: Path, name: str, in_stage: str = "pass", at_import: str = "") -> None:
    (folder / "plugins").mkdir(exist_ok=True)
    text = PLUGIN.format(name=name, in_stage=in_stage, at_import=at_import)
    (folder / "plugins" / f"{name}.py").write_text(text)


def records(folder: Path) -> dict[str, Record]:
    contents = Store(folder / "leaderboard" / "records").read()
    assert contents.damaged == ()
    return {record.id: record for record in contents.records.values()}


@pytest.mark.slow
def test_what_a_plugin_does_in_its_stage_costs_its_own_cells_and_no_other_number(
    tmp_path: Path, inside: Shell
) -> None:
    alone, beside = tmp_path / "alone", tmp_path / "beside"
    for folder in (alone, beside):
        folder.mkdir()
        write_plugin(folder, "sound")
    for name, misdeed in IN_STAGE.items():
        write_plugin(beside, name, in_stage=misdeed.line)
    for name, misdeed in AT_IMPORT.items():
        write_plugin(beside, name, at_import=misdeed.line)
    misdeeds = IN_STAGE | AT_IMPORT
    done = inside([*WORDS, "-k", "sound and [0.1] and real"], alone, GIT_DIR="/nonexistent")
    assert done.returncode == ExitCode.OK, done.stderr
    for hanging, limit in ((False, SLOW_LIMIT), (True, HANG_LIMIT)):
        names = [n for n, misdeed in misdeeds.items() if (misdeed.status == "timeout") == hanging]
        selected = f"({' or '.join(['sound', *names])}) and [0.1] and real"
        start = time.monotonic()
        words = [*WORDS, "-k", selected, "--time-limit", str(limit)]
        done = inside(words, beside, GIT_DIR="/nonexistent", HOSTILE=str(beside))
        assert done.returncode == ExitCode.FAILED, done.stderr
        print(f"{len(names)} misdeeds in {time.monotonic() - start:.0f} s")

    found = records(beside)
    wrong = {}
    for name, misdeed in misdeeds.items():
        (record,) = (record for record in found.values() if record.regularizer == name)
        if record.status != misdeed.status or not re.search(misdeed.reason, record.reason):
            wrong[name] = record.status, record.reason
    assert wrong == {}
    for cell_id, record in records(alone).items():
        for field in COMPARED:
            assert getattr(found[cell_id], field) == getattr(record, field), (cell_id, field)
    assert len(records(alone)) == len(found) - len(misdeeds)
    wait_until(lambda: not [line for line in processes_with(beside) if "sleep" in line])
    assert os.getcwd() != "/"

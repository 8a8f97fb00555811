"""The runner of the contract suite: a file that breaks its process is reported, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.engine import registry

from membench.registry.discovery import PluginSource
from membench.testing.runner import CheckJob
from membench.testing.runner import FileReport
from membench.testing.runner import check_files

#: Python 3.12 warns of any fork in a process that has threads, as pytest-xdist's workers have.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

#: A plugin file without checks, so that no pytest runs within this one.
PROBE = '''
"""Measures nothing.  Nobody, 2026."""
from membench import hookimpl
from membench.probes import Probe

@hookimpl
def register():
    return [Probe("nothing", lambda params, data, lane: {"x": 0.0})]
'''


def reports(folder: Path, limit: float = 60.0, **files: str) -> list[FileReport]:
    """Check files of these texts, two at a time."""
    sources = []
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.write_text(text)
        sources.append(PluginSource(path, path.name))
    job = CheckJob(base=registry(), others=(), select=lambda case: True, limit=limit)
    return list(check_files(sources, job, workers=2))


def test_a_file_that_ends_its_process_is_reported_in_its_place(tmp_path: Path) -> None:
    leaves, sound, dies, broken = reports(
        tmp_path,
        leaves="import os, sys\nos.write(2, b'first\\nlast words\\n')\nos._exit(3)",
        sound=PROBE,
        dies="import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        broken="import no_such_module",
    )
    assert leaves.problems == ["exit status 3, while it was imported; it last printed: last words"]
    assert (sound.problems, list(sound.plugins)) == ([], ["probes/nothing"])
    assert dies.problems == ["killed by SIGKILL, perhaps for want of memory, while it was imported"]
    (problem,) = broken.problems
    assert "no_such_module" in problem and broken.done


def test_a_file_that_hangs_is_given_up_at_its_time_limit(tmp_path: Path) -> None:
    (report,) = reports(tmp_path, limit=0.3, hangs="while True: pass")
    assert report.problems == ["no result within 0.3 s, while it was imported"]
    assert not report.done and report.seconds >= 0.3

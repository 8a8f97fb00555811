"""`membench reproduce` where a data set is absent: what is left out, and what stays."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from support.cli import Cli
from support.records import make_record

from membench.cli import build_parser
from membench.commands import session
from membench.commands.studies_apart import StudiesApart
from membench.commands.study_jobs import StudyPlanner
from membench.store.store import Store

STUDY = '''
"""Two arms on a data set that is there while the file `there` is, and one that always is."""
from pathlib import Path

import numpy as np

from membench import *

def load(folder):
    return Arrays(np.arange(24, dtype=np.uint8).reshape(12, 1, 1, 2), np.arange(12) % 2, 2)

def load_far(folder):
    if not Path("there").exists():
        raise FileNotFoundError("create the file there")
    return load(folder)

def arm(name, dataset, **fields):
    return Arm(name, dataset, ("small-mlp",), ("real",), (0,), Split(4, 4, 4),
               Recipe(lr=0.1, batch=2, epochs=1), compiled=False, **fields)

def analyse(results):
    table = (("arm",), *((name,) for name in results))
    return Finding((Test("t", 1, 0.5, 1.5),), table, lambda figure: figure.subplots(), "Caption.")

@hookimpl
def register():
    own = (Dataset("near", load), Dataset("far", load_far))
    arms = (arm("first", "near"), arm("second", "far", optional=OPTIONAL))
    return [Study("two-arms", {"quick": arms}, analyse, "A claim.", records=own)]
'''
COMMAND = ["reproduce", "-p", "two_arms.py", "--out", "out", "--accept-env", "two-arms"]
LEFT_OUT = "arm second: data set 'far' is missing: create the file there"


def write_study(folder: Path, optional: bool) -> None:
    (folder / "two_arms.py").write_text(STUDY.replace("OPTIONAL", str(optional)))


def store_records(folder: Path, arm: str) -> None:
    """Store made-up records of an arm's cells; the data must be there."""
    registry = session.load_registry(build_parser().parse_args(COMMAND))
    with closing(StudiesApart()) as strangers:
        job = StudyPlanner(registry, {}, strangers).plan("two-arms", "quick")
    with Store(folder / "out/records").writer() as writer:
        for plan in job.plans:
            if plan.arm.name == arm:
                cells = zip(plan.cells, plan.keys, strict=True)
                writer.append([make_record(cell, key=key) for cell, key in cells])


def page(folder: Path) -> str:
    return (folder / "out/README.md").read_text()


def test_an_optional_arm_is_left_out_until_its_data_are_there_and_then_stays(
    tmp_path: Path, cli: Cli
) -> None:
    write_study(tmp_path, optional=True)
    (tmp_path / "there").touch()
    store_records(tmp_path, "first")
    (tmp_path / "there").unlink()
    code, out, _ = cli(*COMMAND)
    assert code == 0
    assert f"two-arms: left out: {LEFT_OUT}" in out
    assert f"- Left out: {LEFT_OUT}" in page(tmp_path)
    assert "| first |\n\n" in page(tmp_path)
    assert "1 of 1 cell measured" in page(tmp_path)

    (tmp_path / "there").touch()
    store_records(tmp_path, "second")
    code, out, _ = cli(*COMMAND)
    whole = page(tmp_path)
    assert code == 0
    assert "left out" not in (out + whole).lower()
    assert "| first |\n| second |\n" in whole

    (tmp_path / "there").unlink()
    code, out, _ = cli(*COMMAND)
    assert code == 0
    assert "left out" not in out
    assert page(tmp_path) == whole


@pytest.mark.parametrize("measured", [False, True])
def test_an_arm_that_is_not_optional_needs_its_data_unless_it_was_measured(
    tmp_path: Path, cli: Cli, measured: bool
) -> None:
    write_study(tmp_path, optional=False)
    (tmp_path / "there").touch()
    store_records(tmp_path, "first")
    if measured:
        store_records(tmp_path, "second")
        assert cli(*COMMAND)[0] == 0
    (tmp_path / "there").unlink()
    code, out, _ = cli(*COMMAND)
    if measured:
        assert code == 0
        assert "two-arms: holds" in out
    else:
        assert code == 1
        assert "two-arms: failed (data set 'far' is missing: create the file there)" in out

"""`membench reproduce`: a tiny study from its cells to its row, resumed and broken in every way."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.cli import REPO
from support.cli import Cli
from support.cli import Shell
from support.records import make_record

from membench.cli import build_parser
from membench.commands import report
from membench.commands import session
from membench.commands.studies_apart import StudiesApart
from membench.commands.study_jobs import StudyPlanner
from membench.errors import MembenchError
from membench.store.counted import Counted
from membench.store.counted import read_counted
from membench.store.store import Store

STUDY = REPO / "tests" / "support" / "tiny_study.py"
SHORT = ["reproduce", "-p", "tiny.py", "--out", "out", "-n", "1"]


def files(folder: Path) -> dict[str, str]:
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, inside: Shell) -> Path:
    """A folder in which the tiny study was reproduced."""
    folder = tmp_path_factory.mktemp("reproduced")
    shutil.copy(STUDY, folder / "tiny.py")
    ran = inside([*SHORT, "tiny"], folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "8 ok" in ran.stdout and "tiny: " in ran.stdout
    return folder


@pytest.fixture
def again(done: Path, tmp_path: Path, cli: Cli) -> Path:
    """The working folder of `cli`, in which it was reproduced before."""
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    return tmp_path


def total(out: str) -> str:
    """The last line of a run's summary: `8 ok in 0:12`."""
    return next(line for line in out.splitlines() if re.search(r" in \d+:\d\d", line)).strip("─ ")


def page(folder: Path) -> str:
    return (folder / "out/README.md").read_text()


def rows(folder: Path) -> list[str]:
    return [line for line in page(folder).splitlines() if "](#study-" in line]


def test_the_page_has_a_row_and_a_section_of_the_study(done: Path) -> None:
    (row,) = rows(done)
    assert row.startswith(
        "| [tiny](#study-tiny) | Fig. 5 | The wider network fits random labels better. "
        "| fit, wide - n"
    )
    assert row.split("**")[-2] in ("holds", "does not hold", "undecided at this scale")
    for text in (
        "| mlp-w32 |",
        "- Two seeds.",
        "Scaled down: 50 digits, 3 epochs.",
        "](tiny.svg)",
        "8 of 8 cells mea",
    ):
        assert text in page(done)
    assert b"drawn by membench report" in (done / "out/tiny.svg").read_bytes()


def test_its_records_hold_what_the_probe_measured(done: Path) -> None:
    records = Store(done / "out/records").read().records.values()
    assert len(records) == 8 and {r.status for r in records} == {"ok"}
    assert all(len(r.probes["weight-norm"]["norm"]) == len(r.epochs) for r in records)


def test_the_same_command_trains_nothing_and_writes_the_same_bytes(again: Path, cli: Cli) -> None:
    before = files(again / "out")
    code, out, _ = cli(*SHORT, "tiny")
    assert code == 0 and "8 cells, 8 of them in the store already" in out
    assert files(again / "out") == before


def test_report_writes_the_pages_again_and_checks_them(again: Path, cli: Cli) -> None:
    before = files(again / "out")
    check = ["report", "--check", "-p", "tiny.py", "--out", "out"]
    assert cli(*check)[:2] == (0, "out is what its records say\n")
    for name in ("README.md", "index.html"):
        text = (again / "out" / name).read_text()
        assert "Fit of random labels by epoch." in text
        (again / "out" / name).write_text(text.replace("Fit of random", "Fit of all"))
    code, out, _ = cli(*check)
    assert code == 1
    assert [line.partition(":")[0] for line in out.splitlines()[:2]] == ["README.md", "index.html"]
    assert cli("report", "-p", "tiny.py", "--out", "out")[0] == 0
    assert files(again / "out") == before
    # without its plugin a study would be lost from the page
    code, _, err = cli("report", "--out", "out")
    assert code == 4 and "has the study 'tiny', which is not registered" in err
    assert files(again / "out") == before


@pytest.mark.slow
def test_report_counts_the_machine_and_the_studies_that_the_page_did(again: Path, cli: Cli) -> None:
    store = Store(again / "out/records")
    (environment,) = {env for _, env in store.read().records}
    assert read_counted(store) == Counted((environment,), (("tiny", "quick"),))
    # another machine's record of a cell, which this page does not count
    record = next(iter(store.read().records.values()))
    other = replace(record, env="0" * 64, status="failed", reason="elsewhere", versions={"a": "b"})
    with store.writer() as writer:
        writer.append([other])
    check = ["report", "--check", "-p", "tiny.py", "--out", "out"]
    assert cli(*check)[0] == 0
    # a study that could not be planned keeps its row
    text = (again / "tiny.py").read_text().replace('Study("tiny"', 'Study("broken"')
    (again / "broken.py").write_text(text.replace('"randY")', '"rand")'))
    assert cli(*SHORT, "-p", "broken.py", "broken")[0] == 1
    assert cli(*check, "-p", "broken.py")[0] == 0


def test_a_damaged_list_of_what_counts_is_one_line(again: Path, cli: Cli) -> None:
    (again / "out/records/studies.json").write_text('{"environments": 3}')
    code, _, err = cli("report", "-p", "tiny.py", "--out", "out")
    assert code == 10 and "studies.json is damaged" in err.splitlines()[-1]


def test_another_analysis_trains_nothing_again(again: Path, cli: Cli) -> None:
    text = (again / "tiny.py").read_text().replace("Two seeds.", "Only two seeds.")
    (again / "tiny.py").write_text(text.replace("claim = ", "claim = 'At 3 epochs: ' + "))
    code, out, _ = cli(*SHORT, "tiny")
    assert code == 0 and "8 of them in the store already" in out
    assert "- Only two seeds." in page(again) and "At 3 epochs: The wider" in rows(again)[0]


def test_another_network_is_another_cell(again: Path, cli: Cli) -> None:
    def keys() -> list[str]:
        options = build_parser().parse_args([*SHORT, "tiny"])
        with closing(StudiesApart()) as strangers:
            planner = StudyPlanner(session.load_registry(options), {}, strangers)
            return planner.plan("tiny", "quick").keys

    before, text = keys(), (again / "tiny.py").read_text()
    (again / "tiny.py").write_text(text.replace(".relu()", ".tanh()"))
    assert not set(keys()) & set(before)
    (again / "tiny.py").write_text(text.replace("Two seeds.", "Only two seeds."))
    assert keys() == before


def test_only_missing_cells_are_trained(again: Path, cli: Cli) -> None:
    text = (again / "tiny.py").read_text().replace("seeds=(0, 1)", "seeds=(0, 1, 2)")
    (again / "tiny.py").write_text(text)
    code, out, _ = cli(*SHORT, "tiny")
    assert code == 0 and "12 cells, 8 of them in the store already" in out and "4 ok" in out


BROKEN = {
    "analysis": (
        "def analyse(results: Results) -> Finding:\n",
        "{}    raise ValueError('no such luck')\n",
        "no such luck",
    ),
    "figure": (
        "    def draw(figure: Any) -> None:\n",
        "{}        figure.no_such_thing()\n",
        "no_such_thing",
    ),
    "plan": ('signals=("real", "randY")', 'signals=("real", "rand")', "unknown signal"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_study_costs_its_own_row_only(again: Path, cli: Cli, fault: str) -> None:
    old, new, message = BROKEN[fault]
    text = (again / "tiny.py").read_text().replace('Study("tiny"', 'Study("broken"')
    assert old in text
    (again / "broken.py").write_text(text.replace(old, new.format(old)))
    code, out, _ = cli(*SHORT, "-p", "broken.py", "tiny", "broken")
    assert code == 1 and "broken: failed" in out
    broken, tiny = rows(again)
    assert (
        "[broken]" in broken
        and message in broken.replace("\\_", "_")
        and broken.endswith("| **failed** |")
    )
    assert "[tiny]" in tiny and "failed" not in tiny


def test_failed_cells_are_reported_and_lf_trains_them_again(again: Path, cli: Cli) -> None:
    text = (again / "tiny.py").read_text()
    fails = "assert len(params['two.weight'].T) < 32 or lane.epoch < 3\n    return"
    (again / "tiny.py").write_text(text.replace('return {"norm"', f'{fails} {{"norm"'))
    code, out, _ = cli(*SHORT, "tiny")
    assert code == 1 and "4 ok" in out and "4 failed" in out and "tiny: failed" in out
    assert "4 of 8 cells measured, 4 failed" in page(again)
    text = (again / "tiny.py").read_text().replace("seeds=(0, 1)", "seeds=(0, 1, 2)")
    (again / "tiny.py").write_text(text)
    code, out, _ = cli(*SHORT, "tiny", "--lf")
    assert code == 1 and "12 cells, 4 of them in the store already" in out and "4 failed" in out
    assert total(out).startswith("4 failed, "), total(out)  # and none of the new seed's cells


@pytest.fixture
def failed(again: Path) -> Path:
    """The working folder of `cli`, in whose records the four cells of the wide network failed."""
    folder = again / "out/records"
    records = [r for r in Store(folder).read().records.values() if r.architecture == "mlp-w8"]
    wide = [r for r in Store(folder).read().records.values() if r.architecture == "mlp-w32"]
    for record in wide:
        fields = {"id": record.id, "env": record.env, "status": "timeout", "reason": "too slow"}
        records.append(make_record(record.cell, key=record.key, **fields))
    shutil.rmtree(folder)
    with Store(folder).writer() as writer:
        writer.append(records)
    return again


WIDE = [f"tiny/main: digits/mlp-w32/none/{s}/seed{i}" for s in ("real", "randY") for i in (0, 1)]


def test_without_lf_failed_cells_are_not_tried_again(failed: Path, cli: Cli) -> None:
    code, out, _ = cli(*SHORT, "tiny")
    assert code == 1 and "8 cells, 8 of them in the store already" in out
    assert "4 cells failed in an earlier run: --lf tries them again" in out


def test_lf_selects_the_failed_cells_only(failed: Path, cli: Cli) -> None:
    text = (failed / "tiny.py").read_text().replace("seeds=(0, 1)", "seeds=(0, 1, 2)")
    (failed / "tiny.py").write_text(text)
    code, out, _ = cli(*SHORT, "tiny", "--lf", "--collect-only")
    assert code == 0
    assert out.splitlines() == [*WIDE, "tiny: 4 cells in 1 arms, 60 steps", "4 cells"]


def test_lf_selects_the_failed_cells_of_a_study_that_was_mended(failed: Path, cli: Cli) -> None:
    text = (failed / "tiny.py").read_text().replace(".relu()", ".tanh()")
    (failed / "tiny.py").write_text(text)
    code, out, _ = cli(*SHORT, "tiny", "--lf", "--collect-only")
    assert code == 0
    assert out.splitlines()[:-2] == WIDE


def test_lf_leaves_the_failed_cells_of_other_studies(failed: Path, cli: Cli) -> None:
    text = (failed / "tiny.py").read_text().replace('Study("tiny"', 'Study("other"')
    (failed / "other.py").write_text(text.replace("epochs=3", "epochs=4"))
    code, out, err = cli(*SHORT, "-p", "other.py", "other", "--lf", "--collect-only")
    assert (code, out, err) == (5, "", "membench: no cell of other in out has failed\n")


def test_lf_without_a_failed_cell_exits_with_5(again: Path, cli: Cli) -> None:
    code, out, err = cli(*SHORT, "tiny", "--lf")
    assert (code, out, err) == (5, "", "membench: no cell of tiny in out has failed\n")


def test_a_study_that_was_measured_stays_on_the_page(again: Path, cli: Cli) -> None:
    text = (again / "tiny.py").read_text().replace('Study("tiny"', 'Study("other"')
    (again / "other.py").write_text(text.replace('"Fig. 5"', '"Fig. 1"'))
    code, out, _ = cli(*SHORT, "-p", "other.py", "other")
    assert (
        code == 0 and "8 of them in the store already" in out
    )  # the same cells under another name
    assert [row.split("]")[0] for row in rows(again)] == ["| [other", "| [tiny"]


def test_collecting_prints_the_cells_and_trains_nothing(again: Path, cli: Cli) -> None:
    shutil.rmtree(again / "out")
    code, out, err = cli(*SHORT, "tiny", "--collect-only")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "tiny/main: digits/mlp-w8/none/real/seed0"
    assert out.splitlines()[-2:] == ["tiny: 8 cells in 1 arms, 120 steps", "8 cells"]
    assert not (again / "out").exists()


@pytest.mark.slow
def test_all_is_every_study_that_is_registered(again: Path, cli: Cli) -> None:
    studies = [
        study["name"] for study in json.loads(cli("list", "-p", "tiny.py", "--json")[1])["studies"]
    ]
    code, out, err = cli(*SHORT, "--all", "--collect-only")
    assert (code, err) == (0, "") and "tiny" in studies
    assert [line.split(":")[0] for line in out.splitlines() if " arms, " in line] == sorted(studies)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tinny"], "unknown study 'tinny': did you mean tiny?"),
        ([], "say what to reproduce: --all, or names of studies ("),
    ],
)
def test_a_usage_error_is_one_line(again: Path, cli: Cli, words: list[str], message: str) -> None:
    code, out, err = cli(*SHORT, *words)
    assert (code, out) == (4, "") and message in err and len(err.splitlines()) == 1


def test_a_scale_that_a_study_lacks_is_its_problem(again: Path, cli: Cli) -> None:
    code, _, err = cli(*SHORT, "tiny", "--scale", "paper", "--collect-only")
    assert code == 1 and "study 'tiny' has no scale 'paper': it has quick" in err


def test_a_study_and_its_page_need_no_torch() -> None:
    code = (
        "import sys, runpy, membench.report.paper; "
        f"runpy.run_path({str(STUDY)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    "text", ["", "{", "3", "[3]", '[{"study": "calibration", "scale": "quick"}]']
)
def test_damaged_findings_are_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "findings.json").write_text(text)
    with pytest.raises(
        MembenchError, match=r"findings.json is damaged .* `membench reproduce --all`"
    ):
        report.calibration_section(tmp_path)


def test_a_board_beside_no_paper_has_no_such_section(tmp_path: Path) -> None:
    assert report.calibration_section(tmp_path / "paper") == ""

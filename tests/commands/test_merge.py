"""`membench merge`: boards made apart as one, whatever the order; what does not fit is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from support import boards
from support.boards import Machine
from support.cli import REPO
from support.cli import Cli
from support.engine import registry

from membench.commands import merge
from membench.errors import MembenchError
from membench.planning.manifest import stale_cells
from membench.records import Manifest
from membench.records import Record
from membench.records import parse_id
from membench.scoring import score
from membench.store.joining import join_manifests
from membench.store.store import Store

HERE = Machine(name="here")
THERE = Machine(name="there")
TASKS = ("mnist5k/mlp",)
MINE, OTHERS = boards.EFFECTS[:1], boards.EFFECTS[1:2]


def board(effects: tuple[boards.Effect, ...], machine: Machine) -> tuple[Manifest, list[Record]]:
    plan = boards.manifest(effects, suite="made-up", tasks=TASKS, machines=(machine,))
    return plan, boards.records(plan, effects, machines=(machine,))


def write(folder: Path, plan: Manifest, records: list[Record]) -> None:
    store = Store(folder / "records")
    with store.writer() as writer:
        writer.append(records)
    store.write_manifest(plan)
    store.merge()


def contents(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def _boards(tmp_path: Path) -> None:
    write(tmp_path / "mine", *board(MINE, HERE))
    write(tmp_path / "others", *board(OTHERS, THERE))


@pytest.mark.usefixtures("_boards")
def test_a_row_of_another_machine_joins_the_board_as_it_was(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("merge", "mine", "others")
    assert (code, err) == (0, "")
    assert "others: " in out and " of them new" in out
    (merged,) = Store(tmp_path / "leaderboard" / "records").manifests().values()
    names = {entry.name for entry in merged.entries}
    assert {MINE[0].name, OTHERS[0].name, "none", "low-lr"} <= names
    records = list(Store(tmp_path / "leaderboard" / "records").read().records.values())
    joined = score(merged, records)
    for effects, machine in ((MINE, HERE), (OTHERS, THERE)):
        (row,) = score(*board(effects, machine)).rows
        (same,) = [one for one in joined.rows if one.entry == row.entry]
        assert (same.H, same.dA, same.R, same.envs) == (row.H, row.dA, row.R, row.envs)
    assert cli("report", "--check")[0] == 0


@pytest.mark.usefixtures("_boards")
def test_neither_order_nor_repetition_changes_a_byte(cli: Cli, tmp_path: Path) -> None:
    assert cli("merge", "mine", "others", "--out", "a")[0] == 0
    assert cli("merge", "others", "mine", "mine", "--out", "b")[0] == 0
    whole = contents(tmp_path / "a")
    assert whole == contents(tmp_path / "b")
    code, out, _ = cli("merge", "others", "--out", "a")
    assert code == 0
    assert ", 0 of them new" in out
    assert contents(tmp_path / "a") == whole


@pytest.mark.usefixtures("_boards")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "others: suite made-up has another version there (2) than here (1)"),
        (
            {"signals": ("real",)},
            "suite made-up has other signals there (real) than here (real, mix",
        ),
        ({"confirming": (8, 9)}, "suite made-up has other confirming seeds there (8, 9) than here"),
        ({"datasets": {"mnist5k": "0"}}, "the data of mnist5k in made-up is another one there"),
    ],
)
def test_what_is_not_the_same_suite_is_refused_and_nothing_is_merged(
    cli: Cli, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    plan, _ = board(OTHERS, THERE)
    Store(tmp_path / "others" / "records").replace_manifest(replace(plan, **change))
    before = contents(tmp_path / "mine")
    code, out, err = cli("merge", "others", "--out", "mine")
    assert (code, out) == (4, "")
    assert said in err
    assert contents(tmp_path / "mine") == before


def test_another_key_for_a_cell_is_refused_by_its_id() -> None:
    plan, _ = board(MINE, HERE)
    cell = next(iter(plan.cells))
    other = replace(plan, cells={**plan.cells, cell: "another"})
    with pytest.raises(
        MembenchError, match=r"there: 1 cells of made-up have another key there, .*/none/"
    ):
        join_manifests(plan, other, "there")


@pytest.mark.usefixtures("_boards")
def test_a_damaged_folder_is_named_and_nothing_is_merged(cli: Cli, tmp_path: Path) -> None:
    path = next((tmp_path / "others" / "records").glob("?.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'"seed":', b'"sead":', 1))
    before = contents(tmp_path / "mine")
    code, _, err = cli("merge", "others", "--out", "mine")
    assert code == 10
    assert str(path.name) in err
    assert contents(tmp_path / "mine") == before


def test_cells_of_other_code_than_that_of_their_names_here_are_found() -> None:
    manifest = Store(REPO / "leaderboard" / "records").manifests()["quick"]
    plugins = registry()
    assert stale_cells(manifest, plugins) == []
    changed = replace(plugins.regularizers["dropout"], code_hash="another")
    gone = {
        name: one for name, one in plugins.regularizers.items() if name not in ("dropout", "l1")
    }
    plugins = replace(plugins, regularizers={**gone, "dropout": changed})
    stale = stale_cells(manifest, plugins)
    assert {parse_id(cell_id).regularizer for cell_id in stale} == {"dropout"}


def test_records_of_another_version_or_other_code_are_not_merged(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, records = board(MINE, HERE)
    write(tmp_path / "old", replace(plan, suite="quick", version=1), records)
    code, out, err = cli("merge", "old")
    assert (code, out) == (4, "")
    assert "suite quick has another version there (1) than here (2): nothing is merged" in err
    write(tmp_path / "other", replace(plan, suite="quick", version=2), records)
    monkeypatch.setattr(merge, "stale_cells", lambda manifest, registry: list(manifest.cells)[:7])
    code, out, err = cli("merge", "other")
    assert (code, out) == (4, "")
    assert "other: 7 cells of quick were made by other code than that of the same names here" in err


@pytest.mark.usefixtures("_boards")
def test_cells_without_a_record_are_counted(cli: Cli, tmp_path: Path) -> None:
    gone = next((tmp_path / "mine" / "records").glob("?.jsonl"))
    cells = len(gone.read_text().splitlines()) - 1  # a line of them is the checksum of the pack
    gone.unlink()
    code, out, _ = cli("merge", "mine")
    assert code == 0
    (count,) = re.findall("^mine: ([0-9]+) planned cells have no record there$", out, re.MULTILINE)
    assert int(count) >= cells - 5


def test_a_folder_that_is_no_board_is_refused(cli: Cli) -> None:
    code, out, err = cli("merge", "nowhere")
    assert (code, out) == (4, "")
    assert "nowhere is no board: there is no records/*.plan.json in it" in err

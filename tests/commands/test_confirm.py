"""`membench verify ENTRY --fresh`: a row is read anew, marked where it agrees, and not for ever.

The board and the runs on fresh seeds are made up; planning, scoring and pages are the real ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support import boards
from support.boards import Machine
from support.cli import Cli
from support.engine import registry
from support.suites import shipped_suite

from membench.commands import confirm
from membench.commands import verify
from membench.commands.boards import Board
from membench.errors import ExitCode
from membench.planning.manifest import Replanned
from membench.planning.packs import Pack
from membench.planning.plan import CellKeys
from membench.store.store import Store

HERE, THERE = Machine(name="here"), Machine(name="there")
TASK = "mnist5k/mlp"
HONEST = boards.EFFECTS[:1]
WEAKER = (replace(HONEST[0], noise=0.5),)
PLAN = boards.manifest(HONEST, tasks=(TASK,), machines=(THERE,))
RECORDS = boards.records(PLAN, HONEST, machines=(THERE,))
WORDS = ("verify", "dropout", "--fresh")


def trains(effects: Sequence[boards.Effect]) -> Callable[..., bool]:
    """Stand in for the training: regularizers have these effects."""

    def train(packs: Sequence[Pack], store: Store, *_: object) -> bool:
        keys = {}
        for pack in packs:
            for cell, key in zip(pack.cells, pack.keys, strict=True):
                keys[cell.id] = key
        seeds = tuple(sorted({cell.seed for pack in packs for cell in pack.cells}))
        plan = replace(PLAN, confirming=seeds, cells=keys)
        with store.writer() as writer:
            writer.append(boards.records(plan, effects, machines=(HERE,)))
        return True

    return train


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board in a folder; what is looked at without training is not the subject here."""
    folder = tmp_path / "leaderboard"
    store = Store(folder / "records")
    with store.writer() as writer:
        writer.append(RECORDS)
    store.write_manifest(PLAN)
    store.merge()
    suite = shipped_suite("quick")
    keys = CellKeys.of_tasks(suite, registry(), {"mnist5k": "arrays"}, [TASK])
    replanned = Replanned(
        manifest=PLAN, suite=suite, cells={}, keys={"any": keys}, stale=[], unknown=[]
    )

    def read_boards(options: argparse.Namespace, *_: object) -> list[Board]:
        records = list(Store(options.out / "records").read().records.values())
        return [Board(replanned=replanned, records=records, ids={})]

    monkeypatch.setattr(verify, "read_boards", read_boards)
    monkeypatch.setattr(verify, "is_sound", lambda *_: True)
    monkeypatch.setattr(confirm, "train_packs", trains(HONEST))
    return folder


def page(folder: Path) -> str:
    return (folder / "README.md").read_text("utf-8")


def test_a_row_that_agrees_is_marked_on_both_pages_and_the_check_knows_it(
    cli: Cli, out: Path
) -> None:
    code, said, err = cli(*WORDS, "--fresh-seeds", "6")
    assert (code, err) == (0, ""), said
    assert "on 6 fresh seeds" in said
    assert "agrees  dropout: confirmed" in said
    marked = json.loads((out / "confirmed.json").read_text())["confirmed"]["quick"]["dropout"]
    assert len(marked["seeds"]) == 6
    assert not set(marked["seeds"]) & set(PLAN.seeds)
    assert min(marked["seeds"]) >= confirm.FIRST_SEED
    assert marked["environments"] == {TASK: HERE.versions}
    assert "Confirmed by the keeper of this board, on fresh seeds" in page(out)
    assert f"| dropout | {marked['date']} |" in page(out)
    assert f'"confirmed":{{"on":"{marked["date"]}","seeds":6' in (out / "index.html").read_text()
    assert cli("report", "--check")[0] == 0
    (out / "confirmed.json").unlink()
    assert cli("report", "--check")[0] == 1


def test_a_row_that_was_better_than_its_plugin_is_not_confirmed(
    cli: Cli, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm, "train_packs", trains(WEAKER))
    code, said, _ = cli(*WORDS)
    assert code == ExitCode.FAILED
    assert "DISAGREES  dropout: H" in said
    assert not (out / "confirmed.json").exists()


def test_a_confirmation_goes_with_the_records_that_it_is_of(cli: Cli, out: Path) -> None:
    assert cli(*WORDS)[0] == 0
    assert cli("report")[0] == 0
    assert "Confirmed by the keeper" in page(out)
    store = Store(out / "records")
    record = next(r for r in RECORDS if r.regularizer == "dropout" and r.seed == 3)
    store.drop([record.key])
    with store.writer() as writer:
        writer.append([replace(record, val=(*record.val[:-1], 0.5))])
    store.merge()
    assert cli("report")[0] == 0
    assert "Confirmed by the keeper" not in page(out)
    assert '"confirmed"' not in (out / "index.html").read_text().partition("application/json")[2]


@pytest.mark.usefixtures("out")
def test_an_interrupted_training_marks_nothing(
    cli: Cli, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm, "train_packs", lambda *_: False)
    assert cli(*WORDS)[0] == ExitCode.INTERRUPTED
    assert not (out / "confirmed.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("verify", "mixup", "--fresh"), ExitCode.USAGE, "unknown entry in leaderboard 'mixup'"),
        (("verify", "none", "--fresh"), ExitCode.NOTHING, "none has no row with numbers"),
        ((*WORDS, "--fresh-seeds", "1"), ExitCode.USAGE, "there is no interval below 2"),
    ],
)
@pytest.mark.usefixtures("out")
def test_what_cannot_be_read_anew_is_one_line(
    cli: Cli, words: tuple[str, ...], code: ExitCode, said: str
) -> None:
    got, _, err = cli(*words)
    assert (got, len(err.splitlines())) == (code, 1)
    assert said in err


def test_a_damaged_file_of_confirmations_is_named(cli: Cli, out: Path) -> None:
    (out / "confirmed.json").write_text('{"schema": 1, "confirmed": {"quick": 3}}')
    code, _, err = cli("report")
    assert code == ExitCode.USAGE
    assert "confirmed.json is damaged" in err

"""Packs: which cells train stacked, and how packs are joined and cut."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import ARCHITECTURE_RECIPE
from support.plans import SUITE
from support.plans import entry
from support.plans import plan_of
from support.plans import registry

from membench.api import Split
from membench.planning.keys import CodeOfPlan
from membench.planning.packs import Pack
from membench.planning.packs import PluginCode
from membench.planning.packs import merge_packs
from membench.planning.packs import split_pack
from membench.records import Cell
from membench.registry.discovery import shipped_folder

DROPOUT = ("dots", "mlp", "dropout")  #: a program with 12 cells


def cells_of(packs: Iterable[Pack]) -> list[Cell]:
    return [cell for pack in packs for cell in pack.cells]


def keys_of(packs: Iterable[Pack]) -> list[str]:
    return [key for pack in packs for key in pack.keys]


def widths(packs: Iterable[Pack], program: tuple[str, str, str]) -> list[int]:
    return [len(pack.cells) for pack in packs if pack.program == program]


def test_packs_hold_cells_of_one_program_in_the_order_of_the_plan_up_to_the_width() -> None:
    plan = plan_of()
    packs = plan.packs()
    assert cells_of(packs) == list(plan.cells)
    for pack in packs:
        first = pack.cells[0]
        assert pack.program == (first.dataset, first.architecture, first.regularizer)
        for cell in pack.cells:
            assert (cell.dataset, cell.architecture, cell.regularizer) == pack.program
        assert pack.keys == tuple(plan.manifest.cells[cell.id] for cell in pack.cells)
        assert asdict(pack.recipe) == plan.manifest.recipes[first.task]
        assert (pack.split, pack.compiled) == (SUITE.splits["dots"], True)
    assert widths(packs, DROPOUT) == [5, 5, 2]
    assert packs[0].id == "dots/mlp/none/real/seed0 x5"


def test_packs_carry_the_probes_of_the_suite() -> None:
    plan = plan_of(replace(SUITE, probes=("one",)), registry(entry("probes", "one")))
    assert {pack.probes for pack in plan.packs()} == {("one",)}


def test_the_packs_of_the_next_run_hold_what_is_missing_and_nothing_else() -> None:
    plan = plan_of()
    first = plan.packs()
    done = set(keys_of(first[:2] + first[5:6]))
    rest = plan.packs(done)
    assert cells_of(rest) == cells_of(first[2:5] + first[6:])
    assert done.isdisjoint(keys_of(rest))
    assert plan.packs(set(plan.manifest.cells.values())) == []


@pytest.mark.parametrize("stored", [[0], [1], [0, 3], [2, 4, 7]])
def test_after_a_kill_the_missing_cells_are_packed_as_they_would_have_been(
    stored: list[int],
) -> None:
    plan = plan_of()
    first = plan.packs()
    done = keys_of(first[index] for index in stored)
    missing = [pack for index, pack in enumerate(first) if index not in stored]
    assert plan.packs(done) == missing


def test_packs_of_one_program_are_joined_up_to_a_width() -> None:
    packs = plan_of().packs()
    joined = merge_packs(packs, 1000)
    programs = [pack.program for pack in joined]
    assert programs == list(dict.fromkeys(pack.program for pack in packs))
    assert cells_of(joined) == cells_of(packs)
    assert keys_of(joined) == keys_of(packs)
    assert widths(merge_packs(packs, 6), DROPOUT) == [6, 6]


def test_packs_with_different_reading_epochs_are_not_joined() -> None:
    first, *rest = plan_of().packs()[:3]
    read_early = replace(first, read=(2,))
    assert merge_packs([read_early, *rest], 1000) == [read_early, *merge_packs(rest, 1000)]


@given(lanes=st.integers(1, 12), max_lanes=st.integers(1, 20))
def test_a_pack_is_cut_into_few_packs_of_about_one_width(lanes: int, max_lanes: int) -> None:
    widest = max(merge_packs(plan_of().packs(), 1000), key=lambda pack: len(pack.cells))
    pack = replace(widest, cells=widest.cells[:lanes], keys=widest.keys[:lanes])
    parts = split_pack(pack, max_lanes)
    sizes = [len(part.cells) for part in parts]
    assert sum(sizes) == lanes
    assert max(sizes) <= max_lanes
    assert max(sizes) - min(sizes) <= 1
    fewest = -(-lanes // max_lanes)
    are_equal = len(set(sizes)) == 1
    assert len(parts) == fewest or (are_equal and len(parts) <= 2 * fewest)
    assert merge_packs(parts, 1000) == [pack]


@pytest.mark.parametrize(
    ("lanes", "max_lanes", "expected"),
    [
        (75, 75, [75]),
        (76, 75, [38, 38]),
        (150, 75, [75, 75]),
        (175, 75, [35] * 5),
        (149, 75, [74, 75]),  # a prime number: no cut makes all equal
    ],
)
def test_a_cut_program_has_one_width_where_few_packs_can(
    lanes: int, max_lanes: int, expected: list[int]
) -> None:
    """Each width is compiled anew."""
    first = plan_of().packs()[0]
    cells = tuple(replace(first.cells[0], seed=seed) for seed in range(lanes))
    pack = replace(first, cells=cells, keys=tuple(cell.id for cell in cells))
    assert [len(part.cells) for part in split_pack(pack, max_lanes)] == expected


def test_packs_survive_json() -> None:
    for pack in plan_of().packs():
        assert Pack.from_json(json.loads(json.dumps(pack.to_json()))) == pack


def test_a_pack_with_every_field_set_survives_json() -> None:
    pack = Pack(
        cells=(plan_of().cells[0],),
        keys=("k",),
        recipe=ARCHITECTURE_RECIPE,
        split=Split(1, 20, 3, fixed=4, share=0.5),
        compiled=True,
        read=(1, 2),
        probes=("one",),
        study="capacity",
        precision="highest",
        code=(
            PluginCode(kind="signals", name="s", code_hash="h", version=2, foreign_files=("f",)),
        ),
        arrays="a",
    )
    assert Pack.from_json(json.loads(json.dumps(pack.to_json()))) == pack


def test_packs_carry_the_code_and_the_data_that_they_were_planned_with() -> None:
    for pack in plan_of().packs():
        named = {(code.kind, code.name) for code in pack.code}
        signals = {cell.signal.partition("@")[0] for cell in pack.cells}
        dataset, architecture, regularizer = pack.program
        assert named == {
            ("datasets", dataset),
            ("architectures", architecture),
            ("regularizers", regularizer),
            ("optimizers", "sgd"),
            *(("signals", signal) for signal in signals),
        }
        assert pack.arrays == plan_of().manifest.datasets[dataset]


def test_the_foreign_files_of_a_pack_are_those_of_all_parts_that_do_not_ship() -> None:
    mine = replace(entry("regularizers", "mine"), path="/home/me/mine.py")
    yours = replace(entry("regularizers", "yours"), path="/home/you/yours.py")
    ships = replace(
        entry("regularizers", "ships"), path=str(shipped_folder() / "regularizers" / "ships.py")
    )
    both = replace(entry("regularizers", "both"), members=(mine, yours, ships))
    tables = {name.name: name for name in (mine, yours, ships, both)}
    base = registry(entry("optimizers", "lion", path="/home/me/lion.py"))
    code = CodeOfPlan(replace(base, regularizers={**base.regularizers, **tables}))
    files = {}
    for name in tables:
        cell = replace(plan_of().cells[0], regularizer=name)
        pack = replace(plan_of().packs()[0], code=code.of([cell], (), "sgd"))
        files[name] = pack.foreign_files
    assert files["both"] == {"/home/me/mine.py", "/home/you/yours.py"}
    assert (files["mine"], files["ships"]) == ({"/home/me/mine.py"}, frozenset())
    by_lion = replace(plan_of().packs()[0], code=code.of([cell], (), "lion"))
    assert by_lion.foreign_files == {"/home/you/yours.py", "/home/me/mine.py", "/home/me/lion.py"}


def test_packs_of_other_signals_are_joined_and_carry_the_code_of_both() -> None:
    (first, *_) = plan_of().packs()
    other = PluginCode(kind="signals", name="other", code_hash="h", version=1)
    (joined,) = merge_packs([first, replace(first, code=(*first.code, other))], 1000)
    assert joined.code == (*first.code, other)

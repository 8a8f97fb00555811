"""The plan: which cells there are, what their keys depend on, how they are packed, and what a manifest remembers."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support.cli import REPO

from membench.api import Recipe
from membench.api import Split
from membench.commands import training
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.planning import keys as key_module
from membench.planning.manifest import merge_manifest
from membench.planning.packs import Pack
from membench.planning.packs import merge_packs
from membench.planning.packs import split_pack
from membench.planning.plan import Plan
from membench.planning.plan import make_plan
from membench.planning.suites import SUITES
from membench.planning.suites import Suite
from membench.planning.suites import narrow
from membench.records import PROTOCOL
from membench.records import Cell
from membench.records import Manifest
from membench.registry.entry import PluginEntry
from membench.registry.registry import Registry
from membench.registry.registry import build_registry
from membench.registry.registry import discover

OWN = Recipe(lr=0.5, batch=10, epochs=3)
SUITE = Suite(
    name="small",
    version=1,
    summary="",
    datasets=("dots",),
    architectures=("mlp", "cnn"),
    signals=("real", "mixed@0.4", "randY"),
    seeds=(0, 1),
    splits={"dots": Split(20, 30, 10), "more": Split(20, 30, 10)},
    recipes={("dots", "mlp"): Recipe(lr=0.1)},
    width=5,
)


def entry(kind: str, name: str, **fields: Any) -> PluginEntry:
    return PluginEntry(
        kind=kind, name=name, code_hash=fields.pop("code_hash", f"code of {name}"), **fields
    )


def grid(*strengths: float) -> dict[str, Any]:
    return {"strengths": tuple((s,) for s in strengths), "off": (0.0,)}


ENTRIES = (
    entry("regularizers", "dropout", group="model", **grid(0.1, 0.5)),
    entry("regularizers", "mixup", group="data", **grid(0.2, 0.3)),
    entry("regularizers", "dropout+mixup"),
    entry("regularizers", "low-lr", group="control", **grid(1 / 3)),
    entry("architectures", "mlp", recipe=asdict(OWN)),
    entry("architectures", "cnn", recipe=asdict(OWN)),
    entry("datasets", "dots"),
    entry("datasets", "more"),
    *(entry("signals", name) for name in ("real", "mixed", "randY")),
)


def registry(**changes: dict[str, Any]) -> Registry:
    """The registry, with the named entries changed; "_" stands for "+" and "-" where needed."""
    return build_registry([replace(e, **changes.get(e.name, {})) for e in ENTRIES], ())


def hash_of(name: str) -> str:
    return f"arrays of {name}"


def never(*where: str) -> None:
    return None


def make(
    suite: Suite = SUITE, found: Registry | None = None, hashes: Callable = hash_of, **options: Any
) -> Plan:
    return make_plan(suite, found or registry(), hashes, options.pop("skip", never), **options)


CELL = "dots/mlp/dropout[0.5]/mixed@0.4/seed1"


# --- cells ------------------------------------------------------------------------------------------------------------


def test_every_regularizer_gets_every_task_signal_and_seed_at_every_strength() -> None:
    cells = make().cells
    runs = 2 * 3 * 2  # architectures, signals, seeds
    count = lambda name: sum(c.regularizer == name for c in cells)  # noqa: E731
    assert {name: count(name) for name in registry().regularizers} == {
        "none": runs,
        "dropout": 2 * runs,
        "mixup": 2 * runs,
        "dropout+mixup": 2 * runs,
        "low-lr": runs,
    }
    assert len({c.id for c in cells}) == len(cells) == len(make().manifest.cells)


def test_cell_ids_are_what_people_write() -> None:
    ids = {c.id for c in make().cells}
    assert {
        "dots/mlp/none/real/seed0",
        CELL,
        "dots/cnn/dropout+mixup[0.5,0.3]/randY/seed0",
        "dots/mlp/low-lr[0.333333]/real/seed1",
    } <= ids


def test_a_plan_is_the_same_twice() -> None:
    assert make().cells == make().cells
    assert make().manifest == make().manifest


def test_a_skipped_task_has_no_cells_and_its_reason_is_in_the_manifest() -> None:
    found = registry(dropout={"has_skip": True})
    skip = lambda d, a, r: "has no taps" if (a, r) == ("cnn", "dropout") else None  # noqa: E731
    plan = make(found=found, skip=skip)
    assert {c.task for c in plan.cells if c.regularizer == "dropout"} == {"dots/mlp"}
    skipped = {e.name: e.skipped for e in plan.manifest.entries}
    assert skipped["dropout"] == {"dots/cnn": "has no taps"} and skipped["mixup"] == {}


def test_only_regularizers_with_a_skip_are_asked() -> None:
    def asked(dataset: str, architecture: str, regularizer: str) -> None:
        raise AssertionError("needs torch")

    make(skip=asked)


# --- selection --------------------------------------------------------------------------------------------------------


def test_a_selection_adds_none_and_the_controls_of_its_tasks() -> None:
    plan = make(select=lambda cell: cell == CELL)
    assert {c.id for c in plan.cells if c.regularizer == "dropout"} == {CELL}
    others = [c for c in plan.cells if c.regularizer != "dropout"]
    assert {c.regularizer for c in others} == {"none", "low-lr"}
    assert {c.task for c in others} == {"dots/mlp"}
    assert len(others) == 2 * 3 * 2  # every signal and seed: the board needs them all
    assert plan.manifest.tasks == ("dots/mlp",)
    assert [e.name for e in plan.manifest.entries] == ["none", "dropout", "low-lr"]


def test_a_selection_leaves_controls_out_that_nothing_is_compared_with() -> None:
    oracle = entry("regularizers", "oracle", group="control", **grid(1.0))
    found = build_registry([*ENTRIES, oracle], ())
    picked = make(found=found, select=lambda cell: cell == CELL)
    assert "oracle" not in {c.regularizer for c in picked.cells}
    both = make(found=found, select=lambda cell: cell == CELL or "/oracle[" in cell)
    assert "oracle" in {c.regularizer for c in both.cells}
    assert "oracle" in {c.regularizer for c in make(found=found).cells}


def test_a_selection_of_none_is_not_doubled() -> None:
    plan = make(select=lambda cell: "/none/" in cell)
    assert len(plan.cells) == len(set(plan.cells)) == 2 * (2 * 3 * 2)


@settings(deadline=None, max_examples=25)
@given(st.sets(st.sampled_from([c.id for c in make().cells]), min_size=1))
def test_selected_cells_keep_the_plan_s_order_and_keys(ids: set[str]) -> None:
    whole, part = make(), make(select=ids.__contains__)
    assert ids <= set(part.manifest.cells)
    assert part.manifest.cells.items() <= whole.manifest.cells.items()
    place = {c: i for i, c in enumerate(whole.cells)}
    by_name = lambda cells: [place[c] for c in cells if c.regularizer == "dropout"]  # noqa: E731
    assert by_name(part.cells) == sorted(by_name(part.cells))


def test_an_empty_selection_ends_with_code_5() -> None:
    with pytest.raises(MembenchError, match="no cell is selected") as error:
        make(select=lambda cell: False)
    assert error.value.code == ExitCode.NOTHING == 5


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            {"suite": replace(SUITE, datasets=("dotz",))},
            "unknown dataset 'dotz': did you mean dots",
        ),
        (
            {"suite": replace(SUITE, architectures=("mpl",))},
            "unknown architecture 'mpl': did you mean mlp",
        ),
        (
            {"suite": replace(SUITE, signals=("real", "mixd@0.4"))},
            "unknown signal 'mixd': did you mean mixed",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(options: dict[str, Any], why: str) -> None:
    with pytest.raises(MembenchError, match=why) as error:
        make(**options)
    assert error.value.code == ExitCode.USAGE == 4


def test_a_data_set_that_the_suite_cannot_split_is_refused() -> None:
    with pytest.raises(
        MembenchError, match="suite 'small' does not say how to split data set 'more'; it has dots"
    ):
        make(replace(SUITE, datasets=("more",), splits={"dots": Split(1, 1, 1)}))


def test_a_narrowed_suite_that_leaves_its_own_axes_gets_a_name_of_its_own() -> None:
    assert narrow(SUITE, (), (), ()) == SUITE
    inside = narrow(SUITE, ("dots",), ("cnn",), (1,))
    assert (inside.name, inside.architectures, inside.seeds) == ("small", ("cnn",), (1,))
    for axes in ((("more",), (), ()), ((), ("mlp", "vit"), ()), ((), (), (0, 7))):
        assert narrow(SUITE, *axes).name == "small-custom"
    assert make(narrow(SUITE, (), (), (7,))).manifest.suite == "small-custom"


# --- keys -------------------------------------------------------------------------------------------------------------


def key(
    suite: Suite = SUITE,
    found: Registry | None = None,
    hashes: Callable = hash_of,
    cell: str = CELL,
) -> str:
    return make(suite, found, hashes).manifest.cells[cell]


def recipe(**changes: Any) -> Suite:
    return replace(SUITE, recipes={("dots", "mlp"): replace(Recipe(lr=0.1), **changes)})


CHANGES: dict[str, Callable[[], str]] = {
    "learning rate": lambda: key(recipe(lr=0.2)),
    "momentum": lambda: key(recipe(momentum=0.8)),
    "batch": lambda: key(recipe(batch=50)),
    "epochs": lambda: key(recipe(epochs=7)),
    "optimizer": lambda: key(recipe(optimizer="adamw")),
    "schedule": lambda: key(recipe(schedule="cosine")),
    "test size": lambda: key(replace(SUITE, splits={"dots": Split(21, 30, 10)})),
    "training size": lambda: key(replace(SUITE, splits={"dots": Split(20, 31, 10)})),
    "validation size": lambda: key(replace(SUITE, splits={"dots": Split(20, 30, 11)})),
    "arrays": lambda: key(hashes=lambda name: "other arrays"),
    "regularizer's code": lambda: key(found=registry(dropout={"code_hash": "new"})),
    "regularizer's version": lambda: key(found=registry(dropout={"version": 2})),
    "architecture's code": lambda: key(found=registry(mlp={"code_hash": "new"})),
    "architecture's version": lambda: key(found=registry(mlp={"version": 2})),
    "signal's code": lambda: key(found=registry(mixed={"code_hash": "new"})),
    "signal's version": lambda: key(found=registry(mixed={"version": 2})),
    "strength": lambda: key(cell="dots/mlp/dropout[0.1]/mixed@0.4/seed1"),
    "seed": lambda: key(cell="dots/mlp/dropout[0.5]/mixed@0.4/seed0"),
    "signal": lambda: key(cell="dots/mlp/dropout[0.5]/randY/seed1"),
    "regularizer": lambda: key(cell="dots/mlp/none/mixed@0.4/seed1"),
    "architecture": lambda: key(
        replace(SUITE, recipes={}), cell="dots/cnn/dropout[0.5]/mixed@0.4/seed1"
    ),
    "level": lambda: key(
        replace(SUITE, signals=("real", "mixed@0.5", "randY")),
        cell="dots/mlp/dropout[0.5]/mixed@0.5/seed1",
    ),
}


@pytest.mark.parametrize("ingredient", CHANGES)
def test_a_key_changes_with(ingredient: str) -> None:
    assert CHANGES[ingredient]() != key()


def test_no_two_changes_give_the_same_key() -> None:
    keys = {name: change() for name, change in CHANGES.items()}
    assert len({*keys.values(), key()}) == len(keys) + 1


def test_a_key_changes_with_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(key_module, "PROTOCOL", PROTOCOL + 1)
    assert key() != before


SAME: dict[str, Callable[[], str]] = {
    "other strengths beside it": lambda: key(found=registry(dropout=grid(0.5, 0.9, 0.1))),
    "another regularizer's code": lambda: key(found=registry(mixup={"code_hash": "new"})),
    "another architecture's code": lambda: key(found=registry(cnn={"code_hash": "new"})),
    "another signal's code": lambda: key(found=registry(randY={"code_hash": "new"})),
    "where the plugin lies": lambda: key(
        found=registry(dropout={"path": "/elsewhere.py", "origin": "elsewhere"})
    ),
    "the summary": lambda: key(
        found=registry(dropout={"summary": "New words.", "source": "A book"})
    ),
    "the group": lambda: key(found=registry(dropout={"group": "data"})),
    "another data set's arrays": lambda: key(
        hashes=lambda name: hash_of(name) if name == "dots" else "new"
    ),
    "the suite's name and version": lambda: key(
        replace(SUITE, name="big", version=9, summary="big")
    ),
    "the width and the compiler": lambda: key(replace(SUITE, width=99, compiled=False)),
    "more seeds": lambda: key(replace(SUITE, seeds=(5, 1, 0))),
    "more signals": lambda: key(replace(SUITE, signals=("randY", "mixed@0.4"))),
    "more data sets": lambda: key(replace(SUITE, datasets=("more", "dots"))),
    "another task's recipe": lambda: key(
        replace(SUITE, recipes={**SUITE.recipes, ("dots", "cnn"): Recipe(lr=9.0)}),
    ),
    "the architecture's own recipe, where the suite has one": lambda: key(
        found=registry(mlp={"recipe": asdict(Recipe(lr=7.0))})
    ),
    "a selection": lambda: make(select=lambda cell: "mixup" in cell or cell == CELL).manifest.cells[
        CELL
    ],
}


@pytest.mark.parametrize("change", SAME)
def test_a_key_does_not_change_with(change: str) -> None:
    assert SAME[change]() == key()


def test_a_composition_s_key_changes_with_the_code_of_its_parts() -> None:
    cell = "dots/mlp/dropout+mixup[0.5,0.3]/real/seed0"
    changed = {
        name: key(found=registry(**{name: {"version": 2}}), cell=cell)
        for name in ("dropout", "mixup")
    }
    assert len({*changed.values(), key(cell=cell)}) == 3


def test_the_architecture_s_recipe_counts_where_the_suite_has_none() -> None:
    plan = make()
    assert plan.manifest.recipes == {"dots/mlp": asdict(Recipe(lr=0.1)), "dots/cnn": asdict(OWN)}
    cell = "dots/cnn/none/real/seed0"
    assert key(found=registry(cnn={"recipe": asdict(Recipe(lr=7.0))}), cell=cell) != key(cell=cell)


def test_strengths_that_look_alike_have_keys_of_their_own() -> None:
    cell = "dots/mlp/dropout[0.3]/real/seed0"
    assert key(found=registry(dropout=grid(0.5, 0.3)), cell=cell) != key(
        found=registry(dropout=grid(0.5, 0.3000001)), cell=cell
    )


# --- packs ------------------------------------------------------------------------------------------------------------


def test_packs_hold_cells_of_one_program_in_the_plan_s_order_up_to_the_width() -> None:
    plan = make()
    packs = plan.packs()
    assert [c for p in packs for c in p.cells] == list(plan.cells)
    for p in packs:
        assert len({(c.dataset, c.architecture, c.regularizer) for c in p.cells}) == 1
        assert p.program == (p.cells[0].dataset, p.cells[0].architecture, p.cells[0].regularizer)
        assert p.keys == tuple(plan.manifest.cells[c.id] for c in p.cells)
        assert asdict(p.recipe) == plan.manifest.recipes[p.cells[0].task]
        assert (p.split, p.compiled) == (SUITE.splits["dots"], True)
    widths = [len(p.cells) for p in packs if p.program == ("dots", "mlp", "dropout")]
    assert widths == [5, 5, 2]
    assert packs[0].id == "dots/mlp/none/real/seed0 x5"


def test_the_next_run_s_packs_hold_what_is_missing_and_nothing_else() -> None:
    plan = make()
    first = plan.packs()
    done = {key for p in first[:2] + first[5:6] for key in p.keys}
    rest = plan.packs(done)
    assert [c for p in rest for c in p.cells] == [
        c for p in first[2:5] + first[6:] for c in p.cells
    ]
    assert {k for p in rest for k in p.keys}.isdisjoint(done)
    assert plan.packs(set(plan.manifest.cells.values())) == []


def test_packs_that_were_stored_whole_leave_the_others_as_they_were() -> None:
    """Kill and resume: what is trained again is packed as it would have been."""
    plan = make()
    first = plan.packs()
    for stored in ([0], [1], [0, 3], [2, 4, 7]):
        done = {key for i in stored for key in first[i].keys}
        assert plan.packs(done) == [p for i, p in enumerate(first) if i not in stored]


def test_for_a_gpu_the_packs_of_a_program_are_joined_up_to_a_width() -> None:
    packs = make().packs()
    wide = merge_packs(packs, 1000)
    assert [p.program for p in wide] == list(dict.fromkeys(p.program for p in packs))
    pairs = [pair for p in packs for pair in zip(p.cells, p.keys, strict=True)]
    assert [pair for p in wide for pair in zip(p.cells, p.keys, strict=True)] == pairs
    assert [
        len(p.cells) for p in merge_packs(packs, 6) if p.program == ("dots", "mlp", "dropout")
    ] == [6, 6]
    read = [replace(packs[0], read=(2,)), packs[1], packs[2]]
    assert merge_packs(read, 1000) == [
        read[0],
        *merge_packs(read[1:], 1000),
    ]  # another schedule is another pack


@given(lanes=st.integers(1, 12), width=st.integers(1, 20))
def test_a_pack_is_parted_into_few_that_are_alike_and_lose_nothing(lanes: int, width: int) -> None:
    one = max(merge_packs(make().packs(), 1000), key=lambda pack: len(pack.cells))
    pack = replace(one, cells=one.cells[:lanes], keys=one.keys[:lanes])
    parts = split_pack(pack, width)
    sizes = [len(p.cells) for p in parts]
    least = -(-lanes // width)
    assert sum(sizes) == lanes and max(sizes) <= width and max(sizes) - min(sizes) <= 1
    assert len(parts) == least or (len(set(sizes)) == 1 and len(parts) <= 1.5 * least)
    assert merge_packs(parts, 1000) == [pack]


@pytest.mark.parametrize(
    ("device", "workers", "wide"),
    [
        ("NVIDIA H100", None, True),
        ("NVIDIA H100", 1, True),
        ("NVIDIA H100", 2, False),
        ("cpu AVX512", 1, False),
    ],
)
def test_packs_are_joined_for_a_gpu_that_one_worker_has_to_itself(
    device: str, workers: int, wide: bool
) -> None:
    packs = make().packs()
    made = training.widen(packs, Namespace(workers=workers), {"device": device})
    assert made == (merge_packs(packs, training.GPU_LANES) if wide else packs)
    assert (len(made) < len(packs)) == wide


def test_a_pack_survives_json() -> None:
    for p in make().packs():
        assert Pack.from_json(json.loads(json.dumps(p.to_json()))) == p


# --- manifests --------------------------------------------------------------------------------------------------------


def ids(manifest: Manifest, part: str) -> set[str]:
    return {i for i in manifest.cells if f"/{part}" in i}


def test_a_manifest_survives_json() -> None:
    manifest = make().manifest
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def replanned(
    old: Manifest | None, found: Registry | None = None, suite: Suite = SUITE, **options: Any
) -> Manifest:
    found = found or registry()
    return merge_manifest(old, make(suite, found, **options), found)


def only(*names: str) -> Registry:
    """The registry of someone who has only these regularizers at hand."""
    found = registry()
    return replace(
        found, regularizers={n: e for n, e in found.regularizers.items() if n in ("none", *names)}
    )


def test_without_an_earlier_manifest_the_plan_s_own_counts() -> None:
    assert replanned(None) == make().manifest


def test_a_small_plan_keeps_what_was_planned_before() -> None:
    whole = make().manifest
    again = replanned(whole, select=lambda cell: cell == CELL)
    assert again.cells == whole.cells
    assert (again.entries, again.tasks, again.recipes) == (
        whole.entries,
        whole.tasks,
        whole.recipes,
    )


def test_plans_add_up_whatever_plugins_were_at_hand() -> None:
    manifest = None
    for names in (("dropout",), ("mixup", "low-lr"), ("dropout", "mixup", "dropout+mixup")):
        manifest = replanned(manifest, only(*names))
    assert manifest == make().manifest


def test_seeds_add_up() -> None:
    first = make(narrow(SUITE, (), (), (0,))).manifest
    both = replanned(first, suite=narrow(SUITE, (), (), (1,)))
    assert both.cells == make().manifest.cells and both.seeds == (0, 1)


def test_cells_of_changed_code_are_replaced_and_those_not_planned_again_dropped() -> None:
    old = make().manifest
    found = registry(dropout={"code_hash": "new"})
    now = replanned(old, found, select=lambda cell: cell == CELL)
    assert ids(now, "dropout[") == {CELL}
    assert now.cells[CELL] == make(found=found).manifest.cells[CELL] != old.cells[CELL]
    assert {i: now.cells[i] for i in ids(old, "mixup[")} == {
        i: old.cells[i] for i in ids(old, "mixup[")
    }


def test_a_changed_part_drops_its_compositions() -> None:
    now = replanned(
        make().manifest, registry(mixup={"code_hash": "new"}), select=lambda cell: cell == CELL
    )
    assert not ids(now, "dropout+mixup[") and "dropout+mixup" not in {e.name for e in now.entries}


def without(name: str, **changes: dict[str, Any]) -> Registry:
    """The registry of someone whose plugins no longer register `name`."""
    found = registry(**changes)
    return replace(found, regularizers={n: e for n, e in found.regularizers.items() if n != name})


def test_a_composition_not_asked_for_again_stays_until_a_part_changes() -> None:
    pair, pick = "dropout+mixup", lambda cell: cell == CELL
    for strengths in (
        (),
        ((0.1, 0.3), (0.5, 0.2)),
    ):  # paired by `-r`, and given by a plugin that is not at hand now
        old = make(found=registry(**{pair: {"strengths": strengths}})).manifest
        assert (
            ids(replanned(old, without(pair), select=pick), f"{pair}[")
            == ids(old, f"{pair}[")
            != set()
        )
        assert not ids(
            replanned(old, without(pair, mixup={"code_hash": "new"}), select=pick), f"{pair}["
        )


def test_a_composition_whose_parts_no_longer_pair_stays() -> None:
    old = make().manifest
    now = replanned(
        old, without("dropout+mixup", mixup=grid(0.2)), select=lambda cell: cell == CELL
    )
    assert ids(now, "dropout+mixup[") == ids(old, "dropout+mixup[") != set()


def with_full(**changes: dict[str, Any]) -> Registry:
    return registry(**changes).with_composition("dropout+mixup", full=True)


def test_a_full_grid_shares_its_cells_with_the_paired_one() -> None:
    paired, full = make().manifest, make(found=with_full()).manifest
    assert {
        i.split("/")[2] for i in ids(full, "dropout+mixup[") - ids(paired, "dropout+mixup[")
    } == {
        "dropout+mixup[0.1,0.3]",
        "dropout+mixup[0.5,0.2]",
    }
    assert paired.cells.items() <= full.cells.items()
    (own,) = (e for e in full.entries if e.name == "dropout+mixup")
    assert (own.strengths, own.full) == (
        ((0.1, 0.2), (0.5, 0.3)),
        ((0.1, 0.2), (0.1, 0.3), (0.5, 0.2), (0.5, 0.3)),
    )
    assert Manifest.from_json(json.loads(json.dumps(full.to_json()))) == full
    assert not any("full" in e for e in paired.to_json()["entries"]), "old plans keep their digest"


def test_a_full_grid_stays_until_a_part_changes() -> None:
    old, pair = make(found=with_full()).manifest, "dropout+mixup"
    for found in (
        registry(),
        without(pair),
    ):  # a composite that a plugin registers, and one that `-r` asked for
        for select in (None, lambda cell: cell == CELL):
            now = replanned(old, found, select=select)
            assert ids(now, f"{pair}[") == ids(old, f"{pair}[")
            assert (
                next(e for e in now.entries if e.name == pair).full
                == next(e for e in old.entries if e.name == pair).full
            )
    for found in (registry(mixup={"code_hash": "new"}), without(pair, mixup={"code_hash": "new"})):
        now = replanned(old, found, select=lambda cell: cell == CELL)
        assert not ids(now, f"{pair}[") and pair not in {e.name for e in now.entries}
    now = replanned(old, registry(mixup={"code_hash": "new"}))
    assert next(e for e in now.entries if e.name == pair).full == ()
    assert len(ids(now, f"{pair}[")) == 2 * 2 * 3 * 2


def test_a_changed_architecture_or_signal_drops_the_cells_that_use_it() -> None:
    old, pick = make().manifest, lambda cell: cell == CELL
    now = replanned(old, registry(cnn={"code_hash": "new"}), select=pick)
    assert now.tasks == ("dots/mlp",) and now.recipes.keys() == {"dots/mlp"}
    now = replanned(old, registry(randY={"version": 2}), select=pick)
    assert not any("randY" in i for i in ids(now, "mixup[")) and ids(now, "mixup[")


def test_a_strength_that_left_the_grid_is_dropped_with_it() -> None:
    now = replanned(
        make().manifest, registry(dropout=grid(0.1, 0.6)), select=lambda cell: "0.6" in cell
    )
    assert {i.split("/")[2] for i in ids(now, "dropout[")} == {"dropout[0.1]", "dropout[0.6]"}


def test_cells_of_other_arrays_or_another_recipe_are_dropped() -> None:
    old = make().manifest
    for change in ({"hashes": lambda name: "new"}, {"suite": recipe(lr=0.3)}):
        now = replanned(old, **change, select=lambda cell: cell == CELL)
        assert ids(now, "mlp/dropout[") == {CELL}
        assert ids(now, "mlp/mixup[") == set()
    assert ids(now, "cnn/mixup[")  # the recipe was the mlp's alone


def test_another_version_or_other_signals_start_afresh() -> None:
    old = make().manifest
    for suite in (replace(SUITE, version=2), replace(SUITE, signals=("real", "randY"))):
        pick = {"suite": suite, "select": lambda cell: cell.startswith("dots/mlp/dropout")}
        assert replanned(old, **pick) == make(**pick).manifest


def test_entries_are_those_of_the_newest_plan_with_none_first() -> None:
    old = make().manifest
    now = replanned(
        old, registry(mixup={"summary": "New words"}), select=lambda cell: "/mixup[" in cell
    )
    assert [e.name for e in now.entries] == ["none", "dropout", "dropout+mixup", "low-lr", "mixup"]
    assert now.entries[-1].summary == "New words"


def test_cells_are_ordered_records() -> None:
    assert Cell("a", "b", "c", (0.1,), "real", 0) < Cell("a", "b", "c", (0.2,), "real", 0)


# --- the committed board's keys ---------------------------------------------------------------------------------------


def test_keys_of_the_committed_board_are_what_they_were_and_probes_and_reading_times_make_others() -> (
    None
):
    committed = Manifest.from_json(
        json.loads((REPO / "leaderboard/records/quick.plan.json").read_text())
    )
    found = discover(folder=REPO)
    plan = make_plan(SUITES["quick"], found, committed.datasets.__getitem__, never)
    common = plan.manifest.cells.keys() & committed.cells.keys()
    assert len(common) > 1000
    assert {i: plan.manifest.cells[i] for i in common} == {i: committed.cells[i] for i in common}

    cell, split, recipe = (
        plan.cells[0],
        SUITES["quick"].splits["mnist5k"],
        plan.manifest.recipes[plan.cells[0].task],
    )
    key = partial(
        key_module.cell_key, cell, found, arrays=committed.datasets["mnist5k"], recipe=recipe
    )
    assert key(split=split) == plan.manifest.cells[cell.id]
    others = [
        key(split=split, probes=["csr"]),
        key(split=split, read=(1, 2)),
        key(split=replace(split, fixed=0)),
        key(split=replace(split, share=0.7)),
    ]
    assert len({key(split=split), *others}) == 5


def test_the_order_in_which_probes_are_asked_for_is_not_in_the_key() -> None:
    found = build_registry([*ENTRIES, entry("probes", "one"), entry("probes", "two")], ())
    plans = [
        make(replace(SUITE, probes=probes), found)
        for probes in (("one", "two"), ("two", "one"), ("one",), ())
    ]
    keys = [plan.manifest.cells[CELL] for plan in plans]
    assert keys[0] == keys[1] and len(set(keys)) == 3 and keys[3] == make().manifest.cells[CELL]
    assert {pack.probes for pack in plans[2].packs()} == {("one",)}
    with pytest.raises(MembenchError, match="unknown probe 'thre'"):
        make(replace(SUITE, probes=("thre",)), found)


def test_what_was_run_with_a_probe_stays_on_the_board_of_a_run_without() -> None:
    found = build_registry([*ENTRIES, entry("probes", "one")], ())
    probed = make(replace(SUITE, probes=("one",)), found, select=lambda cell: "dropout[" in cell)
    board = merge_manifest(
        probed.manifest,
        make(found=found, select=lambda cell: "mixup[" in cell and "+" not in cell),
        found,
    )
    assert board.cells[CELL] == probed.manifest.cells[CELL] and board.probes == (("one",),)
    assert Manifest.from_json(json.loads(json.dumps(board.to_json()))) == board
    assert "probes" not in make().manifest.to_json()


def test_a_pack_keeps_all_that_it_is_told_on_its_way_to_a_worker() -> None:
    split = Split(1, 20, 3, fixed=4, share=0.5)
    pack = Pack(
        cells=(make().cells[0],),
        keys=("k",),
        recipe=OWN,
        split=split,
        compiled=True,
        read=(1, 2),
        probes=("one",),
        study="capacity",
    )
    assert Pack.from_json(json.loads(json.dumps(pack.to_json()))) == pack

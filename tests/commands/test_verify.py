"""`membench verify`: an honest board agrees; each of many forgeries is found.

The forger edits the files of a board that was trained here, as one who knows the format of the
records, checksum and all, and has not read `verify`. What fits together is found by training the
one pack of its cell; the rest before anything is trained.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import boards
from support.cli import Shell
from support.records import make_record
from support.suites import shipped_suite
from support.workspace import shrinking

from membench.commands.boards import Board
from membench.commands.verify import Drawn
from membench.commands.verify import Verdict
from membench.commands.verify import judge
from membench.errors import ExitCode
from membench.planning.manifest import Replanned
from membench.records import Cell
from membench.records import Record
from membench.records import digest
from membench.store.shards import encode
from membench.store.store import Store

TASK = "digits/mlp"
#: Another machine's environment: nothing but the name of the processor's maker differs.
ELSEWHERE = {"instructions": "AVX512 Somebody"}

Forgery = Callable[[dict[str, Record]], Record]


def store_of(folder: Path) -> Store:
    return Store(folder / "leaderboard" / "records")


def records_by_id(folder: Path) -> dict[str, Record]:
    return {record.id: record for record in store_of(folder).read().records.values()}


def put(folder: Path, records: dict[str, Record]) -> None:
    """Write the merged files anew, sorted and with checksums, as whoever knows the format can."""
    records_folder = store_of(folder).folder
    for path in records_folder.glob("?.jsonl"):
        path.unlink()
    lines: dict[str, list[bytes]] = {}
    for record in sorted(records.values(), key=lambda record: (record.key, record.env)):
        lines.setdefault(record.key[0], []).append(encode(record))
    for digit, those in lines.items():
        (records_folder / f"{digit}.jsonl").write_bytes(b"".join(those))


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, inside: Shell) -> Path:
    """A board that was trained here: two plugins of the folder's, on the suite `tiny`."""
    folder = tmp_path_factory.mktemp("honest")
    (folder / "plugins").mkdir()
    (folder / "plugins" / "mine.py").write_text(shrinking("mine"))
    milder = shrinking("milder").replace("1 - lane.strength", "1 - 0.2 * lane.strength")
    (folder / "plugins" / "milder.py").write_text(milder)
    done = inside(["run", "--suite", "tiny", "-n", "1", "-k", "mine or milder"], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to, dirs_exist_ok=True)
    return to


def flipped(bits: str, size: int, count: int) -> str:
    """Set `count` bits that were not set."""
    unpacked = np.unpackbits(np.frombuffer(bytes.fromhex(bits), dtype=np.uint8))
    unpacked[np.flatnonzero(unpacked[:size] == 0)[:count]] = 1
    return np.packbits(unpacked).tobytes().hex()


# --- forgeries that do not fit together ----------------------------------------------------------


def changed(record: Record, curve: str, place: int, value: float) -> Record:
    values = list(getattr(record, curve))
    values[place] = value
    return replace(record, **{curve: tuple(values)})


def of(signal: str, strength: str = "", seed: int = 0) -> str:
    return f"{TASK}/{f'mine[{strength}]' if strength else 'none'}/{signal}/seed{seed}"


def a_reading_by_hand(records: dict[str, Record]) -> Record:
    record = records[of("real", "0.5")]
    return changed(record, "test", -1, round(record.test[-1] + 0.05, 2))


def memorization_by_hand(records: dict[str, Record]) -> Record:
    record = records[of("mixed@0.4", "0.5")]
    assert record.wrong[-1] is not None
    value = (round(record.wrong[-1] * record.num_wrong) + 3) / record.num_wrong
    return changed(record, "wrong", -1, value)


def a_mean_of_three_runs(records: dict[str, Record]) -> Record:
    record = records[of("mixed@0.4")]
    return changed(record, "val", 0, record.val[0] + 1 / 300)


def a_better_epoch(records: dict[str, Record]) -> Record:
    """The run is ended where it was best, with the readings and the bits of then."""
    record = records[of("mixed@0.4", seed=1)]
    curves = {
        name: getattr(record, name)[:-1] for name in ("train", "loss", "val", "test", "wrong")
    }
    return replace(record, epochs=record.epochs[:-1], **curves)


def another_seed(records: dict[str, Record]) -> Record:
    mine, its = records[of("randY")], records[of("randY", seed=1)]
    return replace(its, key=mine.key, id=mine.id, seed=mine.seed)


def another_seed_with_the_data_of_this_one(records: dict[str, Record]) -> Record:
    mine, its = records[of("real")], records[of("real", seed=1)]
    data = {name: getattr(mine, name) for name in ("arrays", "num_wrong", "label_share")}
    return replace(its, key=mine.key, id=mine.id, seed=mine.seed, **data)


def the_key_of_another_strength(records: dict[str, Record]) -> Record:
    return replace(records[of("randY", "0.9")], key=records[of("randY", "0.1")].key)


def a_cheaper_step(records: dict[str, Record]) -> Record:
    record = records[of("real", "0.3")]
    return replace(record, cost=record.cost / 2)


def more_steps(records: dict[str, Record]) -> Record:
    record = records[of("real", "0.7")]
    return replace(record, steps=2 * record.steps)


def too_small_a_loss(records: dict[str, Record]) -> Record:
    record = records[of("randY", "0.9")]
    return changed(record, "loss", -1, 0.01)


def nothing_to_compare_bits_by(records: dict[str, Record]) -> Record:
    return replace(records[of("mixed@0.4", "0.9")], numerics="")


def another_machine_s_name(records: dict[str, Record]) -> Record:
    record = records[of("randY", "0.7")]
    return replace(record, versions={**record.versions, **ELSEWHERE})


WITHOUT_TRAINING: dict[Forgery, str] = {
    a_reading_by_hand: "`test` ends at .*, `test_bits` have another share",
    memorization_by_hand: "`wrong` ends at .*, `train_bits` have another share",
    a_mean_of_three_runs: "`val` has .*, which is no share of 100",
    a_better_epoch: "it was read at other epochs than the suite reads",
    another_seed: "its data are not those that its seed draws",
    another_seed_with_the_data_of_this_one: "it is right on exactly the test images that",
    the_key_of_another_strength: r"its record is of digits/mlp/mine\[0.9\]/randY/seed0",
    a_cheaper_step: "its cost is .*, that of mine is",
    more_steps: "it took 12 steps, its recipe takes 6",
    too_small_a_loss: "a loss of 0.01 is too small for an accuracy of",
    nothing_to_compare_bits_by: "`numerics` differ from those of .*, which is of the same pack",
    another_machine_s_name: "its environment is not the hash of its `versions`",
}


@pytest.fixture(scope="module")
def looked_at(
    honest: Path, tmp_path_factory: pytest.TempPathFactory, inside: Shell
) -> tuple[int, str]:
    """Verify a board on which each of these was done to a cell of its own."""
    folder = copied(honest, tmp_path_factory.mktemp("unfitting"))
    records = records_by_id(folder)
    forged = {cell_of(one := forgery(records), records): one for forgery in WITHOUT_TRAINING}
    assert len(forged) == len(WITHOUT_TRAINING)
    put(folder, {**records, **forged})
    done = inside(["verify", "mine", "--cells", "1"], folder)
    return done.returncode, done.stdout


def cell_of(forged: Record, records: dict[str, Record]) -> str:
    """Return the id of the cell whose key a forged record has."""
    return next(one.id for one in records.values() if one.key == forged.key)


@pytest.mark.parametrize("forgery", WITHOUT_TRAINING, ids=lambda forgery: forgery.__name__)
def test_what_does_not_fit_together_is_found_before_anything_is_trained(
    forgery: Forgery, looked_at: tuple[int, str], honest: Path
) -> None:
    records = records_by_id(honest)
    cell_id = cell_of(forgery(records), records)
    code, out = looked_at
    assert code == ExitCode.FAILED
    assert re.search(f"^{re.escape(cell_id)}: {WITHOUT_TRAINING[forgery]}", out, re.M), out
    assert "cells, drawn with" not in out  # nothing is trained beside what is wrong already


def test_nothing_is_said_of_the_other_cells(looked_at: tuple[int, str]) -> None:
    named = set(re.findall(rf"^({TASK}/[^:]*):", looked_at[1], re.M))
    assert len(named) == len(WITHOUT_TRAINING)


def a_plan_with_other_seeds(plan: dict[str, Any]) -> None:
    plan["confirming"] = [7]


def a_plan_with_a_recipe_of_its_own(plan: dict[str, Any]) -> None:
    plan["recipes"][TASK]["epochs"] = 2


def a_plan_that_makes_a_row_a_control(plan: dict[str, Any]) -> None:
    next(entry for entry in plan["entries"] if entry["name"] == "mine")["group"] = "control"


def a_plan_that_says_it_cannot_act(plan: dict[str, Any]) -> None:
    entry = next(entry for entry in plan["entries"] if entry["name"] == "mine")
    entry["skipped"] = {TASK: "it has no such layer"}


OF_THE_PLAN: dict[Callable[[dict[str, Any]], None], str] = {
    a_plan_with_other_seeds: r"plan of tiny: its confirming are \(7,\), those of the suite \(1,\)",
    a_plan_with_a_recipe_of_its_own: "plan of tiny: its recipe of digits/mlp is not that of the",
    a_plan_that_makes_a_row_a_control: "mine: its group are not those of its plugin",
    a_plan_that_says_it_cannot_act: "mine: its plugin can act on digits/mlp",
}


def test_a_plan_that_is_not_the_suite_s_is_found(
    honest: Path, tmp_path: Path, inside: Shell
) -> None:
    path = store_of(copied(honest, tmp_path)).folder / "tiny.plan.json"
    plan = json.loads(path.read_text())
    for forgery in OF_THE_PLAN:
        forgery(plan)
    path.write_text(json.dumps(plan))
    done = inside(["verify"], tmp_path)
    assert done.returncode == ExitCode.FAILED
    for said in OF_THE_PLAN.values():
        assert re.search(f"^{said}", done.stdout, re.M), done.stdout


def test_a_plugin_that_was_changed_since_and_a_damaged_line_are_found(
    honest: Path, tmp_path: Path, inside: Shell
) -> None:
    folder = copied(honest, tmp_path)
    (folder / "plugins" / "mine.py").write_text(shrinking("mine").replace("1 -", "1.0 -"))
    path = next(store_of(folder).folder.glob("?.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'"seed":', b'"sead":', 1))
    done = inside(["verify"], folder)
    assert done.returncode == ExitCode.FAILED
    said = f"{of('real', '0.5')}: its key is not what the plugins, data and recipe here give it"
    assert said in done.stdout
    assert re.search(rf"{path.name}:1: its checksum does not match", done.stdout)


# --- forgeries that fit together -----------------------------------------------------------------


def right_on_three_more_images(records: dict[str, Record]) -> Record:
    record = records[of("real", "0.1")]
    right = round(record.test[-1] * record.num_test) + 3
    raised = changed(record, "test", -1, right / record.num_test)
    return replace(raised, test_bits=flipped(record.test_bits, record.num_test, 3))


def the_readings_of_a_milder_strength(records: dict[str, Record]) -> Record:
    mine, its = records[of("mixed@0.4", "0.9")], records[of("mixed@0.4", "0.1")]
    return replace(its, key=mine.key, id=mine.id, strength=mine.strength)


def one_more_validation_image(records: dict[str, Record]) -> Record:
    record = records[of("real", "0.9")]
    return changed(record, "val", -1, (round(record.val[-1] * 100) + 1) / 100)


def a_rival_s_run_that_diverged(records: dict[str, Record]) -> Record:
    record = records[of("randY", "0.3")]
    nothing = dict.fromkeys(("epochs", "train", "loss", "val", "test", "wrong"), ())
    return replace(
        record, status="diverged", reason="not finite: loss at step 3", steps=3,
        train_bits="", test_bits="", **nothing,
    )  # fmt: skip


def a_rival_s_run_that_failed(records: dict[str, Record]) -> Record:
    record = records[of("randY", "0.5")]
    fields = ("key", "env", "id", "dataset", "architecture", "regularizer", "strength", "signal")
    kept = {name: getattr(record, name) for name in (*fields, "seed", "pack", "versions")}
    return Record(status="failed", reason="RuntimeError", **kept)


def a_smaller_loss(records: dict[str, Record]) -> Record:
    record = records[of("mixed@0.4", "0.3")]
    return changed(record, "loss", -1, record.loss[-1] * 1.0001)


def another_plugin_s_run(records: dict[str, Record]) -> Record:
    """The plugin that was trained is not what the hash in the key says."""
    mine = records[of("real", "0.7")]
    its = records[mine.id.replace("mine", "milder")]
    return replace(its, key=mine.key, id=mine.id, regularizer="mine", pack=mine.pack)


BY_TRAINING: dict[Forgery, str] = {
    another_plugin_s_run: "other bits in .*loss.*",
    right_on_three_more_images: "other bits in test, test_bits",
    the_readings_of_a_milder_strength: "other bits in .*train_bits.*",
    one_more_validation_image: "other bits in val",
    a_rival_s_run_that_diverged: "other bits in .*status.*",
    a_rival_s_run_that_failed: r"it ended failed \(RuntimeError\) there, ok here",
    a_smaller_loss: "other bits in loss",
}


@pytest.fixture(scope="module")
def verified(
    honest: Path, tmp_path_factory: pytest.TempPathFactory, inside: Shell
) -> tuple[int, str]:
    """Verify a board in whose one pack of `mine` several cells are forged."""
    folder = copied(honest, tmp_path_factory.mktemp("forged"))
    records = records_by_id(folder)
    forged = {(one := forgery(records)).id: one for forgery in BY_TRAINING}
    put(folder, {**records, **forged})
    done = inside(["verify", "mine", "-k", "seed0", "--cells", "15", "-n", "1"], folder)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("forgery", BY_TRAINING, ids=lambda forgery: forgery.__name__)
def test_what_fits_together_is_found_by_training_its_cell(
    forgery: Forgery, verified: tuple[int, str], honest: Path
) -> None:
    cell_id = forgery(records_by_id(honest)).id
    code, out = verified
    assert code == ExitCode.FAILED
    assert re.search(f"^DISAGREES  {re.escape(cell_id)}: {BY_TRAINING[forgery]}$", out, re.M), out


def test_the_other_cells_agree_to_the_bit(verified: tuple[int, str]) -> None:
    forged = len(BY_TRAINING)
    out = verified[1]
    assert len(re.findall(r"^DISAGREES  ", out, re.M)) == forged
    assert len(re.findall(r"^agrees  .*: the same bits$", out, re.M)) == 15 - forged
    assert f"{15 - forged} have the bits of their records" in out
    assert f"; {forged} disagree" in out


# --- the sample ----------------------------------------------------------------------------------


def test_an_honest_board_agrees_and_the_output_says_what_the_sample_is_worth(
    honest: Path, inside: Shell
) -> None:
    words = ["verify", "--cells", "2", "-k", "none", "--sample-seed", "3", "-n", "1"]
    done = inside(words, honest)
    assert (done.returncode, done.stderr) == (0, "")
    out = done.stdout
    assert "nothing is wrong that can be seen without training" in out
    assert (
        "2 of 6 cells, drawn with --sample-seed 3: a forgery in one of the cells (1) is met with "
        "probability 33.3 %"
    ) in out
    assert "6 have the bits of their records (4 of all were trained beside the sample)" in out
    assert "; 0 disagree" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["verify", "nine"], ExitCode.USAGE, "unknown entry in leaderboard 'nine': did you mean"),
        (["verify", "--suite", "quick"], ExitCode.USAGE, "unknown suite in leaderboard 'quick'"),
        (["verify", "-k", "qqq"], ExitCode.NOTHING, "no measured cell in leaderboard is selected"),
        (["verify", "--fresh"], ExitCode.USAGE, "--fresh: say whose row"),
        (["verify", "--out", "empty"], ExitCode.NOTHING, "no run has been recorded in empty"),
        (["verify", "--cells", "0"], ExitCode.USAGE, "'0' is not a whole number from 1 on"),
    ],
)
def test_what_cannot_be_verified_is_one_line(
    words: list[str], code: ExitCode, said: str, honest: Path, inside: Shell
) -> None:
    done = inside(words, honest)
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- another machine -----------------------------------------------------------------------------


@pytest.mark.slow
def test_where_a_record_of_another_machine_cannot_be_held_the_output_says_so(
    honest: Path, tmp_path: Path, inside: Shell
) -> None:
    folder = copied(honest, tmp_path)
    records = records_by_id(folder)
    for cell_id, record in records.items():
        versions = {**record.versions, **ELSEWHERE}
        records[cell_id] = replace(record, versions=versions, env=digest(versions), numerics="")
    put(folder, records)
    done = inside(["verify", "none", "-k", "real", "--cells", "2", "-n", "1"], folder)
    assert done.returncode == ExitCode.OK, done.stdout
    out = done.stdout
    assert len(re.findall("^not held  .*: the board has too few other runs", out, re.M)) == 2
    assert "0 have the bits of their records" in out
    assert "2 could not be held; 0 disagree" in out


def seeds_of(accuracies: Sequence[float], machine: str = "there", **fields: Any) -> list[Record]:
    """Return runs of one setting at seeds 0, 1, ... that differ in their accuracy on the test."""
    versions = {"device": "cpu", "instructions": machine}
    nothing: dict[str, Any] = {"train": (None,), "val": (None,), "wrong": (None,)}
    runs = []
    for seed, accuracy in enumerate(accuracies):
        cell = Cell("digits", "mlp", "mine", (0.1,), "real", seed)
        run = make_record(cell, epochs=(3,), test=(accuracy,), num_test=1000, **nothing)
        runs.append(replace(run, versions=versions, env=digest(versions), **fields))
    return runs


def judged(stored: Record, here: Record, others: list[Record]) -> Verdict:
    """Judge one record beside those of a board's other seeds."""
    replanned = Replanned(
        manifest=boards.manifest(()),
        suite=shipped_suite("smoke"),
        cells={},
        keys={},
        stale=[],
        unknown=[],
    )
    ids = {record.key: record.id for record in (stored, *others)}
    board = Board(replanned=replanned, records=[stored, *others], ids=ids)
    (verdict,) = judge([Drawn(board=board, record=stored)], {(here.key, ""): here})
    return verdict


SPREAD = (0.9, 0.905, 0.895, 0.91, 0.89, 0.9, 0.9, 0.905, 0.895, 0.9, 0.9)


def test_elsewhere_a_reading_is_held_to_the_spread_of_the_other_seeds() -> None:
    stored, *others = seeds_of(SPREAD)
    (here, *_) = seeds_of((0.89,), machine="here")
    verdict = judged(stored, here, others)
    assert verdict.agrees
    assert verdict.words.startswith("A 0.900 there, 0.890 here, within 0.8")
    forged = replace(stored, test=(0.99,))
    verdict = judged(forged, here, others)
    assert verdict.agrees is False
    assert verdict.words.startswith("A 0.990 there, 0.890 here, outside 0.8")


def test_a_run_that_diverged_in_one_place_only_disagrees_unless_others_of_its_strength_did() -> (
    None
):
    stored, *others = seeds_of(SPREAD)
    diverged = replace(stored, status="diverged", reason="not finite: loss at step 3")
    (here, *_) = seeds_of((0.89,), machine="here")
    verdict = judged(diverged, here, others)
    assert verdict.agrees is False
    assert "ended diverged (not finite: loss at step 3) there, ok here" in verdict.words
    assert judged(diverged, here, [replace(others[0], status="diverged")]).agrees is None
    timeout = replace(stored, status="timeout", reason="no progress for 1800 s")
    assert judged(timeout, here, others).agrees is None
    assert judged(stored, replace(here, status="failed"), others).agrees is False

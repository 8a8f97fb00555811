"""`membench run --shard`: parts of a plan, trained apart and joined, are the board of one run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.cli import Cli
from support.cli import Shell

from membench.records import Record
from membench.store.store import Store

#: A suite with one compiled convolutional network.
SUITE = '''"""Six steps of the cnn on 60 digits."""
from membench import Recipe, Split, Suite, hookimpl


@hookimpl
def register():
    return [
        Suite(
            "small-cnn",
            datasets=("digits",),
            architectures=("cnn",),
            signals=("real", "mixed@0.4", "randY"),
            choosing=(0,),
            confirming=(1,),
            splits={"digits": Split(test=100, train=60, validation=100)},
            recipes={("digits", "cnn"): Recipe(lr=0.1, batch=30, epochs=3)},
            compiled=True,
        )
    ]
'''
NAMES = ("dropout", "label-smoothing", "mixup", "weight-decay")
RUN = ["run", "--suite", "small-cnn", "-k", " or ".join(NAMES), "-n", "1"]
SMOKE = ["run", "--suite", "smoke", "--collect-only", "-k", "dropout[0.5] or mixup[1]"]


def selected(out: str) -> set[str]:
    return {line for line in out.splitlines() if line.count("/") == 4}


def test_shards_have_the_cells_of_the_whole_and_an_entry_is_in_one(cli: Cli) -> None:
    whole = selected(cli(*SMOKE)[1])
    parts = []
    for shard in ("1/2", "2/2"):
        code, out, err = cli(*SMOKE, "--shard", shard)
        assert (code, err) == (0, "")
        parts.append(selected(out))
    assert parts[0] | parts[1] == whole
    in_both = {cell_id.split("/")[2].split("[")[0] for cell_id in parts[0] & parts[1]}
    assert in_both == {"none", "low-lr"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shard", "3/2"], "'3/2': write 1/4 to 4/4 for the parts of four"),
        (["--shard", "0/2"], "'0/2': write 1/4"),
        (["--shard", "2"], "'2': write 1/4"),
        (["--shard", "1/2", "--lf"], "leave --shard away"),
    ],
)
def test_what_is_no_part_of_a_whole_is_refused(cli: Cli, words: list[str], said: str) -> None:
    code, out, err = cli(*SMOKE, *words)
    assert (code, out) == (4, "")
    assert said in err


def measured(board: Path) -> dict[tuple[str, str], Record]:
    """Return the records of a board, without what says when and beside whom a cell was trained."""
    records = Store(board / "records").read().records
    return {place: replace(r, pack="", seconds=0.0) for place, r in records.items()}


def pages(board: Path) -> dict[str, bytes]:
    """Return what is written of a board, without the page of wall-clock times."""
    files = {path.relative_to(board): path for path in board.rglob("*") if path.is_file()}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in files.items()
        if name.parts[0] != "records" and name.name != "timing.md"
    }


@pytest.mark.slow
def test_four_shards_joined_are_the_board_of_one_run_also_of_a_compiled_cnn(
    shell: Shell, tmp_path: Path
) -> None:
    """The shards begin with the decisions of the first run, where this machine takes any.

    So its trials, which are measurements of speed, are the same. Its packs are as wide, too: they
    are cut from the plan, and a shard has whole entries.
    """

    def run(*words: str) -> str:
        # without git: the commit is on the board
        done = shell(words, tmp_path, timeout=1500, GIT_DIR="/nonexistent")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "small_cnn.py").write_text(SUITE)
    run(*RUN, "--out", "whole")
    decisions = tmp_path / "whole" / "records" / "decisions.json"
    shards = [f"shard-{index}" for index in (1, 2, 3, 4)]
    for index, shard in enumerate(shards, start=1):
        records = tmp_path / shard / "records"
        records.mkdir(parents=True)
        if decisions.exists():
            shutil.copy(decisions, records)
        said = run(*RUN, "--shard", f"{index}/4", "--out", shard)
        assert f"shard {index}/4 is in {shard}." in said
        assert not pages(tmp_path / shard)
        entries = {record.regularizer for record in measured(tmp_path / shard).values()}
        assert entries == {"none", "low-lr", NAMES[index - 1]}
    run("merge", *reversed(shards), "--out", "joined")
    assert measured(tmp_path / "joined") == measured(tmp_path / "whole")
    assert pages(tmp_path / "joined") == pages(tmp_path / "whole")
    assert "README.md" in pages(tmp_path / "whole")
    packs = {
        record.pack for record in Store(tmp_path / "whole" / "records").read().records.values()
    }
    assert packs == {
        record.pack for record in Store(tmp_path / "joined" / "records").read().records.values()
    }


@pytest.mark.slow
def test_shards_in_one_folder_train_the_baseline_once(shell: Shell, tmp_path: Path) -> None:
    words = ["run", "--suite", "smoke", "-k", "mixup or label-smoothing", "-n", "1"]
    first = shell([*words, "--shard", "1/2", "--out", "shared"], tmp_path)
    assert first.returncode == 0, first.stderr
    records = measured(tmp_path / "shared").values()
    baseline = [record for record in records if record.regularizer in ("none", "low-lr")]
    second = shell([*words, "--shard", "2/2", "--out", "shared"], tmp_path)
    assert second.returncode == 0, second.stderr
    assert f"{len(baseline)} reused" in second.stdout
    merged = shell(["merge", "--out", "shared"], tmp_path)
    assert merged.returncode == 0, merged.stderr
    page = (tmp_path / "shared" / "README.md").read_text("utf-8")
    assert "[mixup](#entry-mixup)" in page and "[label-smoothing](#entry-label-smoothing)" in page

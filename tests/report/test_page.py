"""The page says what the board says, in the same bytes every time, whatever text plugins bring."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
from jinja2 import UndefinedError
from markdown_it import MarkdownIt
from support.boards import EFFECTS
from support.boards import Effect
from support.boards import broken
from support.boards import manifest
from support.boards import records

from membench.records import Manifest
from membench.records import Record
from membench.records import digest
from membench.report import TIMING
from membench.report import render
from membench.report.markdown import fill_template
from membench.report.page import Section
from membench.report.page import page
from membench.report.provenance import scored_records
from membench.report.provenance import timing
from membench.report.tables import strengths
from membench.scoring import score

ONE = ("mnist5k/mlp",)
HOSTILE = "x|y`<script>alert(1)</script>[a](javascript:b)\n| --- |\x1b[31m$\\"


def section(plan: Manifest, results: Sequence[Record]) -> Section:
    """A suite without figures, which take longest."""
    counted = scored_records(plan, results)
    return Section(plan=plan, records=counted, board=score(plan, results), drawings={})


def text(plan: Manifest, results: Sequence[Record]) -> str:
    return page([section(plan, results)], {})


def rows(markdown: str, head: str) -> list[list[str]]:
    """The cells of the table whose header holds these words, without the header."""
    lines = markdown.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|") and head in line)
    body = [
        line for line in lines[start + 2 : [*lines, ""].index("", start)] if line.startswith("|")
    ]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in body]


@pytest.fixture(scope="module")
def plan() -> Manifest:
    return manifest(tasks=ONE)


@pytest.fixture(scope="module")
def results(plan: Manifest) -> list[Record]:
    return records(plan)


@pytest.fixture(scope="module")
def markdown(plan: Manifest, results: list[Record]) -> str:
    return text(plan, results)


@pytest.fixture(scope="module")
def files(plan: Manifest, results: list[Record]) -> dict[str, bytes]:
    return render([(plan, results, score(plan, results))])


def test_the_report_is_the_same_whatever_the_order_of_the_records(
    plan: Manifest, results: list[Record], files: dict[str, bytes]
) -> None:
    shuffled = random.Random(1).sample(results, len(results))
    again = render([(plan, shuffled, score(plan, shuffled))])
    assert {name for name in files if files[name] != again[name]} <= {TIMING}
    assert list(again) == list(files)


def test_every_figure_is_linked_and_every_link_leads_to_a_file(files: dict[str, bytes]) -> None:
    linked = re.findall(r"\]\((figures/[^)]+)\)", files["README.md"].decode())
    assert sorted(linked) == sorted(name for name in files if name.startswith("figures/"))
    assert [name.rpartition("mlp-")[2] for name in linked] == [
        "fit-vs-accuracy.svg",
        "wrong-vs-clean.svg",
        "learning-curves.svg",
    ]


def test_links_inside_the_page_lead_to_its_anchors(markdown: str) -> None:
    anchors = re.findall(r'<a id="([^"]+)">', markdown)
    links = re.findall(r"\]\(#([^)]+)\)", markdown)
    assert links
    assert set(links) <= set(anchors)
    assert len(set(anchors)) == len(anchors)


def test_rows_stand_in_the_order_of_the_board(
    plan: Manifest, results: list[Record], markdown: str
) -> None:
    board = score(plan, results)
    table = rows(markdown, "recovery *R*")
    assert [re.findall(r"\[([^]]+)\]", row[1])[0] for row in table] == [
        row.entry for row in board.rows
    ]
    assert table[0][0] == "1"
    assert (
        table[0][2].replace("\xa0", " ")
        == f"{board.rows[0].R.mean:+.2f} ± {board.rows[0].R.half:.2f}"
    )


def test_an_entry_that_beats_the_control_is_marked(
    plan: Manifest, results: list[Record], markdown: str
) -> None:
    marked = ["✓" in row[4] for row in rows(markdown, "recovery *R*")]
    assert marked == [row.beats_control for row in score(plan, results).rows]
    assert True in marked
    assert False in marked


def test_every_column_is_explained(markdown: str) -> None:
    lines = markdown.splitlines()
    header = next(line for line in lines if line.startswith("|") and "recovery *R*" in line)
    titles = [
        cell.strip().removeprefix("&nbsp;").removesuffix("&nbsp;")
        for cell in header.split("|")[1:-1]
    ]
    explained = " ".join(re.findall(r"\*\*(.+?)\*\*(?=[: ])", markdown))
    assert [t for t in titles if t.partition(":")[0] not in explained and t != "regularizer"] == []


def test_controls_have_a_table_without_ranks(markdown: str) -> None:
    assert [row[0] for row in rows(markdown.partition("### Controls")[2], "recovery *R*")] == [
        "control",
        "placebo",
    ]


def test_each_control_is_described_by_its_summary(plan: Manifest, results: list[Record]) -> None:
    shown_page = text(plan, results).partition("### Controls")[2].partition("\n|")[0]
    assert "- `placebo`: Other draws.\n" in shown_page
    assert "`low-lr`" not in shown_page, "it is part of the control, not beside it"


def test_full_grids_have_a_table_without_ranks(plan: Manifest) -> None:
    name, wide = EFFECTS[0].name, tuple((s / 100,) for s in range(1, 26))
    entries = [replace(e, full=wide) if e.name == name else e for e in plan.entries]
    cells = {
        i.replace(f"/{name}[0.1]/", f"/{name}[{s:g}]/"): digest(i + str(s))
        for i in plan.cells
        if f"/{name}[0.1]/" in i
        for (s,) in wide
    }
    more = replace(plan, entries=tuple(entries), cells={**cells, **plan.cells})
    whole, without = text(more, records(more)), text(plan, records(plan))
    (row,) = rows(whole.partition("### Full grids (not ranked)")[2], "recovery *R*")
    assert row[0] == f"{name} (full)"
    ranked = [row[1].partition("]")[0] for row in rows(whole, "recovery *R*")]
    assert ranked == [row[1].partition("]")[0] for row in rows(without, "recovery *R*")]
    assert "Full grid" not in without and "Full grid: 25 settings" in whole
    lines = [
        rows(strengths(score(p, records(p)), p, ONE[0], {}), "randY fit") for p in (plan, more)
    ]
    assert [row[0] for row in lines[1] if row[0]].count(f"**{name} (full)**") == 1
    assert len(lines[1]) == len(lines[0]) + 25


def test_every_strength_is_shown_and_the_chosen_ones_are_marked(
    plan: Manifest, files: dict[str, bytes]
) -> None:
    table = rows(files["README.md"].decode(), "randY fit")
    assert len(table) == 1 + 5 * (len(EFFECTS) + 1)
    assert [row[0] for row in table if row[0]] == [
        "**none**",
        *(f"**{e.name}**" for e in EFFECTS),
        "**placebo**",
    ]
    assert sum("◂" in row[1] for row in table) == len(EFFECTS) + 1


def test_wall_clock_is_on_the_page_of_timings_only(
    plan: Manifest, results: list[Record], markdown: str
) -> None:
    slow = [replace(r, seconds=1000.0, pack="elsewhere x1") for r in results]
    assert text(plan, slow) == markdown
    assert timing([(plan, slow)]) != timing([(plan, results)])
    assert "1000.000" in timing([(plan, slow)])


def test_three_seeds_give_intervals_and_no_ranks() -> None:
    plan = manifest(tasks=ONE, seeds=(0, 1, 2))
    markdown = text(plan, records(plan))
    assert {row[0] for row in rows(markdown, "recovery *R*")} == {"—"}
    assert "no ranks are given" in markdown
    assert "✓" not in "".join(cell for row in rows(markdown, "recovery *R*") for cell in row)


def test_a_suite_without_records_is_one_line(plan: Manifest) -> None:
    markdown = text(plan, [])
    start = markdown.index("## quick")
    section = markdown[start : markdown.index("\n## ", start)]
    assert "No entry is complete yet: 360 runs to go. `membench run` does the rest." in section
    assert "|" not in section


def test_an_incomplete_entry_is_not_ranked_and_says_why(
    plan: Manifest, results: list[Record]
) -> None:
    some = [r for r in results if r.regularizer != "mixup" or r.seed < 4]
    markdown = text(plan, some)
    assert rows(markdown, "why it is not ranked") == [
        ["mixup", "60/75", "incomplete on mnist5k/mlp"]
    ]
    assert len(rows(markdown, "recovery *R*")) == len(EFFECTS) - 1


def test_failed_cells_are_counted(plan: Manifest, results: list[Record]) -> None:
    some = [broken(r) if r.id == "mnist5k/mlp/mixup[0.8]/real/seed2" else r for r in results]
    markdown = text(plan, some)
    assert [row[-1] for row in rows(markdown, "recovery *R*") if "mixup" in row[1]] == [
        "1/75 failed"
    ]
    assert "360 of 360: 359 ok, 1 failed" in markdown


def test_a_task_that_does_not_count_says_why(plan: Manifest, results: list[Record]) -> None:
    some = [
        replace(r, train=tuple(0.5 * f for f in r.train)) if r.signal == "randY" else r
        for r in results
    ]
    markdown = text(plan, some)
    assert "> mnist5k/mlp does not count: F0(E) = " in markdown
    assert rows(markdown, "half-way")[0][:2] == ["mnist5k/mlp", "**no**"]
    assert "so there is nothing to rank" in markdown


def test_entries_that_cannot_act_are_listed_with_the_reason() -> None:
    plan = manifest(tasks=("mnist5k/mlp", "mnist5k/cnn"))
    entries = tuple(
        replace(e, skipped={"mnist5k/mlp": "no convolution"}) if e.name == "mixup" else e
        for e in plan.entries
    )
    assert "- mixup on mnist5k/mlp: no convolution" in text(
        replace(plan, entries=entries), records(plan)
    )


def test_an_entry_that_cannot_act_anywhere_is_listed_with_its_reason_and_not_as_unfinished() -> (
    None
):
    plan = manifest(tasks=("mnist5k/mlp", "mnist5k/cnn"))
    nowhere = dict.fromkeys(plan.tasks, "no branch")
    entries = tuple(replace(e, skipped=nowhere) if e.name == "mixup" else e for e in plan.entries)
    results = [r for r in records(plan) if r.regularizer != "mixup"]
    keys = {i: key for i, key in plan.cells.items() if "/mixup[" not in i}
    markdown = text(replace(plan, entries=entries, cells=keys), results)
    assert (
        "Cannot act on any task of this suite, and has no row:\n\n- mixup: no branch\n" in markdown
    )
    assert "Not ranked yet" not in markdown and "counts as off there" not in markdown
    alone = tuple(e for e in entries if e.name in ("none", "low-lr", "placebo", "mixup"))
    keys = {
        i: key
        for i, key in keys.items()
        if i.split("/")[2].partition("[")[0] in ("none", "low-lr", "placebo")
    }
    results = [r for r in results if r.id in keys]
    assert "No entry can act on the tasks of this board" in text(
        replace(plan, entries=alone, cells=keys), results
    )


def test_machines_and_versions_are_listed_with_their_numbers_of_cells(
    plan: Manifest, results: list[Record]
) -> None:
    some = [
        replace(r, versions={**r.versions, "torch": "2.8.0"}) if r.seed == 0 else r for r in results
    ]
    assert ["torch", "2.9.1 (288 cells), 2.8.0 (72 cells)"] in rows(text(plan, some), "value")


def test_records_of_other_plans_are_not_counted(
    plan: Manifest, results: list[Record], markdown: str
) -> None:
    strange = [replace(r, key="0" * 64, versions={"torch": "0.1"}) for r in results[:3]]
    assert text(plan, [*strange, *results]) == markdown


def test_facts_of_the_caller_are_part_of_the_page(plan: Manifest) -> None:
    assert rows(
        page([section(plan, [])], {"commit": "abc|d"}).partition("### This report")[2], "value"
    ) == [["commit", r"abc\|d"]]


@pytest.mark.parametrize(("levels", "further"), [((0.4,), ()), ((0.2, 0.4, 0.6), ("randX",))])
def test_every_noise_level_and_every_further_signal_has_its_columns(
    levels: tuple[float, ...], further: tuple[str, ...]
) -> None:
    plan = manifest(EFFECTS[:1], tasks=ONE, levels=levels, further=further)
    files = render([(plan, records(plan), score(plan, records(plan)))])
    header = next(line for line in files["README.md"].decode().splitlines() if "randY fit" in line)
    assert re.findall(r"mixed@(\S+)", header) == [f"{p:g}" for p in levels]
    assert ("*S* randX" in header) == bool(further)


def test_signals_that_are_in_no_score_have_columns_too_and_an_explanation() -> None:
    plan = manifest(EFFECTS[:1], tasks=ONE, levels=(0.2, 0.4), further=("pair-flip@0.4", "randX"))
    results = records(plan, EFFECTS[:1])
    page = text(plan, results)
    (row,) = score(plan, results).rows
    assert set(row.extra) == {"R pair-flip@0.4", "S randX"}
    header = next(
        line for line in page.splitlines() if line.startswith("|") and "recovery *R*" in line
    )
    titles = [cell.strip() for cell in header.split("|")[1:-1]]
    cells = dict(zip(titles, rows(page, "recovery *R*")[0], strict=True))
    shown = [cells[r"*R* pair-flip<!-- -->@0.4"], cells["*S* randX"]]
    assert [cell.replace("\N{MINUS SIGN}", "-") for cell in shown] == [
        f"{v:.2f}" for v in row.extra.values()
    ]
    assert cells["notes"] == "" or "fitting" in cells["notes"] or "two-network" in cells["notes"]
    assert page.count("***R* name") == 1


def hostile() -> tuple[Manifest, list[Record]]:
    effects = [Effect("mixup", "data", 0.8, 0.02), Effect("evil", "model", 0.9, 0.02)]
    plan = manifest(effects, tasks=ONE)
    results = records(plan, effects)
    # The registry refuses such a name, but the manifest is a file that anyone can write.
    foreign = {"summary": HOSTILE, "source": HOSTILE, "origin": HOSTILE, "group": HOSTILE}
    entries = []
    for entry in plan.entries:
        is_evil = entry.name == "evil"
        entries.append(replace(entry, **foreign, acts_on=(HOSTILE,)) if is_evil else entry)
    changed = []
    for record in results:
        fails = record.regularizer == "none" and record.seed == 0
        ended = broken(record, reason=HOSTILE) if fails else record
        changed.append(replace(ended, versions={**record.versions, HOSTILE: HOSTILE}))
    return replace(plan, entries=tuple(entries), datasets={HOSTILE: HOSTILE}), changed


def test_hostile_text_does_not_break_tables() -> None:
    markdown = text(*hostile())
    lines = markdown.splitlines()
    for i, line in enumerate(lines):
        if line.startswith("|"):
            before = lines[i - 1] if lines[i - 1].startswith("|") else line
            assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\|", before))


def test_hostile_text_brings_no_markup_onto_the_page() -> None:
    markdown = text(*hostile())
    tokens = [
        t
        for block in MarkdownIt("commonmark").enable("table").parse(markdown)
        for t in (block, *(block.children or ()))
    ]
    html = {t.content for t in tokens if t.type == "html_inline"}
    assert {
        h for h in html if not h.startswith(('<a id="entry-', "</a", "<sub>", "</sub", "<!-- -->"))
    } == set()
    links = [t.attrs["href"] for t in tokens if t.type == "link_open"]
    assert [
        link for link in links if not link.startswith(("https://", "#entry-", "timing.md"))
    ] == []
    assert "\x1b" not in markdown


def test_a_hostile_name_does_not_break_the_ranking() -> None:
    effects = [Effect("mixup", "data", 0.8, 0.02), Effect(HOSTILE, "model", 0.9, 0.02)]
    plan = manifest(effects, tasks=ONE)
    table = rows(text(plan, records(plan, effects)), "recovery *R*")
    assert {len(row) for row in table} == {11}
    assert len(table) == 2


def test_the_report_needs_no_torch_and_loads_matplotlib_only_to_draw() -> None:
    code = "import sys, membench.report; print({'torch', 'matplotlib'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_step_that_ran_uncompiled_is_on_the_page(plan: Manifest, results: list[Record]) -> None:
    slow = {r.key for r in results if r.regularizer == "dropout"}
    note = "ran uncompiled: KeyError: 'buf49'"
    shown_page = text(plan, [replace(r, reason=note) if r.key in slow else r for r in results])
    assert ["measured, but", f"dropout {note} ({len(slow)} cells)"] in rows(shown_page, "what")
    assert "measured, but" not in text(plan, results)


def test_a_template_that_reads_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="suites"):
        fill_template("timing.md.j2")

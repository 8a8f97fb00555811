"""Figures are well-formed, the same bytes every time, and readable."""

from __future__ import annotations

import os
import sys
from dataclasses import astuple
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from support.boards import EFFECTS
from support.boards import Effect
from support.boards import broken
from support.boards import manifest
from support.boards import records

from membench.records import Manifest
from membench.report import captions
from membench.report import drawing as drawing_module
from membench.report import labels
from membench.report import learning_curves
from membench.report import scatter
from membench.report.contents import Panel
from membench.report.figures import MAX_COLOURED
from membench.report.figures import MAX_FIRST
from membench.report.figures import Drawing
from membench.report.figures import drawings
from membench.report.figures import entries
from membench.report.figures import fit_quantities
from membench.report.figures import highlighted
from membench.report.figures import scatter_figure
from membench.report.figures import stems
from membench.report.styles import styles
from membench.report.svg import render_svg
from membench.scoring import Board
from membench.scoring import score

TASK = "mnist5k/mlp"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</text><script>x</script>"&$x^$\n\x1b_\x00'

Scored = tuple[Manifest, Board]


def scored(effects: tuple[Effect, ...] = EFFECTS) -> Scored:
    plan = manifest(effects, tasks=(TASK,))
    return plan, score(plan, records(plan, effects))


@pytest.fixture(scope="module")
def few() -> Scored:
    return scored()


@pytest.fixture(scope="module")
def drawn(few: Scored) -> list[Drawing]:
    return drawings(*few)[TASK]


def parsed(drawing: Drawing) -> ElementTree.Element:
    return ElementTree.fromstring(drawing.svg)


def words(drawing: Drawing) -> list[str]:
    return ["".join(text.itertext()) for text in parsed(drawing).iter(f"{SVG}text")]


def test_a_figure_is_the_same_twice_and_whatever_the_user_has_set(
    few: Scored, drawn: list[Drawing]
) -> None:
    with matplotlib.rc_context(
        {"font.size": 30, "svg.fonttype": "path", "axes.grid": False, "savefig.dpi": 300}
    ):
        again = drawings(*few)[TASK]
    assert [d.svg for d in again] == [d.svg for d in drawn]


@pytest.mark.parametrize("python", [sys.executable, "/bin/false"])
def test_several_processes_draw_what_one_draws(
    few: Scored, drawn: list[Drawing], monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    """And this one draws what another could not."""
    monkeypatch.setattr(drawing_module, "FIGURES_A_PROCESS", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    monkeypatch.setattr(sys, "executable", python)
    assert [d.svg for d in drawings(*few)[TASK]] == [d.svg for d in drawn]


def test_drawing_leaves_the_users_settings_alone() -> None:
    before = dict(matplotlib.rcParams)
    render_svg((1, 1), "t", "d", lambda figure: None)
    assert dict(matplotlib.rcParams) == before


def test_a_figure_has_no_date_and_no_version(drawn: list[Drawing]) -> None:
    for drawing in drawn:
        assert b"metadata" not in drawing.svg
        assert matplotlib.__version__.encode() not in drawing.svg


def test_title_and_caption_are_there_for_screen_readers(drawn: list[Drawing]) -> None:
    for drawing in drawn:
        root = parsed(drawing)
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == "title desc"
        assert [child.tag for child in root[:2]] == [f"{SVG}title", f"{SVG}desc"]
        assert root[0].text == f"{drawing.title}: {TASK}"
        assert root[1].text == drawing.finding


def test_every_entry_is_named_in_every_figure(drawn: list[Drawing]) -> None:
    for drawing in drawn:
        text = " ".join(words(drawing))
        assert [e.name for e in EFFECTS if e.name not in text] == []
        assert "placebo" not in text


def test_the_legend_gives_the_ranks(few: Scored, drawn: list[Drawing]) -> None:
    order = [row.entry for row in few[1].rows]
    legend = [word for word in words(drawn[0]) if word in order][-len(order) :]
    assert legend == order


def test_text_stays_text_and_coordinates_have_two_decimals(drawn: list[Drawing]) -> None:
    for drawing in drawn:
        paths = [path.get("d") or "" for path in parsed(drawing).iter(f"{SVG}path")]
        assert max(len(number.partition(".")[2]) for path in paths for number in path.split()) <= 2


def test_hostile_names_are_shown_as_text() -> None:
    found = drawings(*scored((EFFECTS[0], Effect(HOSTILE, HOSTILE, 0.9, 0.02))))[TASK]
    assert len(found) == 3
    for drawing in found:
        assert [element for element in parsed(drawing).iter() if "script" in element.tag] == []
        assert any("<script>" in word for word in words(drawing))


def test_a_composition_and_a_long_name_are_drawn(few: Scored) -> None:
    effects = (*EFFECTS, Effect("x" * 60, "composite", 0.7, 0.02))
    assert len(drawings(*scored(effects))[TASK]) == 3


def test_nothing_is_drawn_without_points() -> None:
    plan = manifest(tasks=(TASK,))
    assert drawings(plan, score(plan, []))[TASK] == []


def test_an_entry_that_always_fails_is_drawn_as_the_worst() -> None:
    plan = manifest(tasks=(TASK,))
    made = [broken(r, "diverged") if r.regularizer == "mixup" else r for r in records(plan)]
    fit, wrong, curves = drawings(plan, score(plan, made))[TASK]
    assert "mixup" in " ".join(words(fit)) + " ".join(words(wrong))
    assert "mixup[off]" in words(curves)


def test_file_names_of_different_tasks_differ() -> None:
    plan = manifest(tasks=("a-b/c", "a/b-c"))
    assert len(set(stems(plan).values())) == 2


def test_entries_differ_in_colour_or_marker() -> None:
    effects = tuple(Effect(f"e{i}", ("data", "model", "loss")[i % 3], 0.5, 0.1) for i in range(24))
    known = styles(manifest(effects, tasks=(TASK,)).entries)
    keys = {(known[e.name].color, known[e.name].marker) for e in effects}
    assert len(keys) == len(effects)


def test_the_caption_names_the_least_fit_within_the_budget(few: Scored) -> None:
    shown = entries(few[1], TASK)
    best = min(p.fit for s in shown for p in s.points[1:] if p.dA >= -captions.BUDGET)
    assert f"least: {100 * best:.1f}% of them (none: 100.0%)" in captions.fit_caption(shown)


def test_the_caption_says_when_nothing_helps() -> None:
    useless = entries(scored((Effect("useless", "data", 0.0, 0.9),))[1], TASK)
    assert captions.fit_caption(useless).startswith("No setting that loses at most 1 point")


def test_the_accuracy_axis_has_round_ticks_inside_it_and_a_place_for_100_percent() -> None:
    low = scatter._ticks(20.0, 92.0)
    assert low == sorted(low, reverse=True)
    assert all(20 <= tick <= 92 for tick in low)
    assert scatter._accuracy(scatter._log_error(91.5)) == pytest.approx(91.5)
    assert scatter._log_error(100.0) == scatter._log_error(99.95)


@given(st.lists(st.tuples(st.floats(0, 400), st.floats(0, 300)), max_size=12))
@settings(max_examples=40, deadline=None)
def test_names_cover_neither_dots_nor_each_other(spots: list[labels.Position]) -> None:
    room = labels.Box(0, 0, 400, 300)
    placed = labels.place(
        [(f"name-{i}", spot) for i, spot in enumerate(spots)], spots, [spots], room
    )
    boxes = [
        labels.Box(
            n.x, n.y - 3, n.x + labels.LETTER_WIDTH * labels.FONT_SIZE * len(n.text), n.y + 3
        )
        for n in placed
    ]
    assert not any(a.overlaps(np.atleast_2d(astuple(b))) for a, b in combinations(boxes, 2))
    assert not any(box.count_inside(np.array(spots)) for box in boxes)
    assert all(box.is_inside(room) for box in boxes)


def test_a_name_prefers_the_side_without_lines() -> None:
    room = labels.Box(0, 0, 200, 200)
    (label,) = labels.place(
        [("name", (100.0, 100.0))], [(100.0, 100.0)], [[(0.0, 100.0), (100.0, 100.0)]], room
    )
    assert (label.x, label.y) != (pytest.approx(70, abs=15), 100.0)


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 4), (4, 4), (5, 5), (15, 5), (16, 4), (18, 5), (30, 5)]
)
def test_panels_fill_their_rows(few: Scored, count: int, columns: int) -> None:
    curve = entries(few[1], TASK)[0].curve
    assert curve is not None
    panel = Panel(title="a", color="black", curve=curve)
    assert learning_curves._grid([panel] * count).columns == columns


# --- many entries

GROUPS = ("data", "model", "loss", "gradient", "own")
MANY = (
    *(Effect(f"e{i}", GROUPS[i % 5], 0.2 + 0.03 * i, 0.01 * (i % 7)) for i in range(MAX_COLOURED)),
    Effect("dropout", "model", 0.9, 0.05),
)


@pytest.fixture(scope="module")
def many() -> Scored:
    return scored(MANY)


@pytest.fixture(scope="module")
def many_drawn(many: Scored) -> dict[str, Drawing]:
    return {d.name.partition("mlp-")[2].removesuffix(".svg"): d for d in drawings(*many)[TASK]}


def test_many_entries_are_also_drawn_group_by_group(many_drawn: dict[str, Drawing]) -> None:
    kinds = [
        "fit-vs-accuracy",
        "fit-vs-accuracy-by-group",
        "wrong-vs-clean",
        "wrong-vs-clean-by-group",
    ]
    assert list(many_drawn) == [*kinds, "learning-curves"]
    for kind in (kinds[1], kinds[3], "learning-curves"):
        text = words(many_drawn[kind])
        assert [e.name for e in MANY if e.name not in text] == []
        assert [word for word in text if word in GROUPS] == list(GROUPS)


def test_of_many_entries_the_large_figure_names_the_highlighted_ones(
    many: Scored, many_drawn: dict[str, Drawing]
) -> None:
    order = [s.entry for s in entries(many[1], TASK)]
    coloured = highlighted(many[1], order)
    first = {row.entry for row in many[1].rows if row.rank and row.rank[0] == 1}
    assert (
        "dropout" in coloured
        and first & coloured
        and coloured <= {*first, "dropout"}
        and len(coloured) <= MAX_FIRST + 1
    )
    text = words(many_drawn["fit-vs-accuracy"])
    assert {word for word in text if word in order} == coloured
    assert f"the other {len(order) - len(coloured)}: by group, below" in text


def test_few_entries_are_all_highlighted_and_of_unranked_ones_the_best(many: Scored) -> None:
    names = [e.name for e in MANY]
    assert highlighted(many[1], names[:MAX_COLOURED]) == set(names[:MAX_COLOURED])
    unranked = replace(many[1], rows=tuple(replace(row, rank=None) for row in many[1].rows))
    assert highlighted(unranked, names) == {*names[:MAX_FIRST], "dropout"}


def test_every_panel_of_a_group_has_the_scales_of_the_large_figure(many: Scored) -> None:
    whole = scatter_figure(*many, TASK, fit_quantities())
    limits = []
    for content in (whole, *scatter.by_group(whole).values()):
        assert {series.style.label for series in content.series} == {e.name for e in MANY}
        axes = Figure().add_subplot()
        scatter.plot(axes, content)
        limits.append((axes.get_xlim(), axes.get_ylim()))
    assert len(set(limits)) == 1


def test_entries_of_one_group_differ_in_colour_in_its_own_panel() -> None:
    effects = tuple(Effect(f"e{i}", "loss", 0.5, 0.1) for i in range(10))
    known = styles(manifest(effects, tasks=(TASK,)).entries)
    assert len({known[e.name].color_within_group for e in effects}) == 10

"""Figures are well-formed, the same bytes every time, and readable."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from collections.abc import Sequence
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
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.text import Text
from support.hand_boards import CONTROLS
from support.hand_boards import ROWS
from support.hand_boards import TASK
from support.hand_boards import HandRow
from support.hand_boards import board
from support.hand_boards import manifest

from membench.records import Manifest
from membench.report import drawing as drawing_module
from membench.report import effect_scales
from membench.report import figures as figures_module
from membench.report import front
from membench.report import labels
from membench.report import learning_curves
from membench.report import scatter
from membench.report import svg as svg_module
from membench.report.contents import Content
from membench.report.contents import Effects
from membench.report.contents import FigureData
from membench.report.contents import ForestPlot
from membench.report.contents import FrontPlot
from membench.report.contents import LearningCurves
from membench.report.contents import Panel
from membench.report.figures import BOARD
from membench.report.figures import MAX_COLOURED
from membench.report.figures import MAX_FIRST
from membench.report.figures import Drawing
from membench.report.figures import drawings
from membench.report.figures import effects
from membench.report.figures import entries
from membench.report.figures import fit_quantities
from membench.report.figures import highlighted
from membench.report.figures import planned
from membench.report.figures import scatter_figure
from membench.report.figures import stems
from membench.report.letters import text_width
from membench.report.styles import styles
from membench.report.svg import DOTS_PER_INCH
from membench.report.svg import render_svg
from membench.report.text import MINUS
from membench.report.text import ranks
from membench.scoring.types import Board
from membench.scoring.types import Interval

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</text><script>x</script>"&$x^$\n\x1b_\x00'

Scored = tuple[Manifest, Board]


def scored(
    rows: Sequence[HandRow] = ROWS,
    controls: Sequence[HandRow] = CONTROLS,
    *,
    ranked: bool = True,
) -> Scored:
    return manifest(rows), board(rows, controls, ranked=ranked)


def without_intervals(rows: Sequence[HandRow]) -> list[HandRow]:
    return [replace(row, half_H=None, half_dA=None) for row in rows]


@pytest.fixture(scope="module")
def few() -> Scored:
    return scored()


def every(plan: Manifest, made: Board) -> list[Drawing]:
    found = drawings(plan, made)
    return [drawing for place in (BOARD, TASK) for drawing in found[place]]


@pytest.fixture(scope="module")
def drawn(few: Scored) -> list[Drawing]:
    return every(*few)


def parsed(drawing: Drawing) -> ElementTree.Element:
    return ElementTree.fromstring(drawing.svg)


def words(drawing: Drawing) -> list[str]:
    return ["".join(text.itertext()) for text in parsed(drawing).iter(f"{SVG}text")]


def words_of(content: Content) -> list[str]:
    svg = drawing_module.draw(FigureData(title="t", finding="f", content=content))
    texts_of = ElementTree.fromstring(svg).iter(f"{SVG}text")
    return ["".join(text.itertext()) for text in texts_of]


def kind(drawing: Drawing) -> str:
    return drawing.name.partition("quick-")[2].removeprefix("mnist5k-mlp-").removesuffix(".svg")


# --- files


def test_a_figure_is_the_same_twice_and_whatever_the_user_has_set(
    few: Scored, drawn: list[Drawing]
) -> None:
    with matplotlib.rc_context(
        {"font.size": 30, "svg.fonttype": "path", "axes.grid": False, "savefig.dpi": 300}
    ):
        again = every(*few)
    assert [d.svg for d in again] == [d.svg for d in drawn]


@pytest.mark.parametrize("python", [sys.executable, "/bin/false"])
def test_several_processes_draw_what_one_draws(
    few: Scored, drawn: list[Drawing], monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    """And this one draws what another could not."""
    monkeypatch.setattr(drawing_module, "FIGURES_A_PROCESS", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    monkeypatch.setattr(sys, "executable", python)
    assert [d.svg for d in every(*few)] == [d.svg for d in drawn]


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
        place = "quick" if kind(drawing) in ("forest", "front") else TASK
        assert root[0].text == f"{drawing.title}: {place}"
        assert root[1].text == drawing.finding


def test_the_figures_of_the_board_come_before_those_of_a_task(drawn: list[Drawing]) -> None:
    assert [drawing.name for drawing in drawn] == [
        "figures/quick-forest.svg",
        "figures/quick-front.svg",
        "figures/quick-mnist5k-mlp-fit-vs-accuracy.svg",
        "figures/quick-mnist5k-mlp-wrong-vs-clean.svg",
        "figures/quick-mnist5k-mlp-learning-curves.svg",
    ]


def test_text_stays_text_and_coordinates_have_two_decimals(drawn: list[Drawing]) -> None:
    for drawing in drawn:
        paths = [path.get("d") or "" for path in parsed(drawing).iter(f"{SVG}path")]
        assert max(len(number.partition(".")[2]) for path in paths for number in path.split()) <= 2


def test_file_names_of_different_tasks_differ() -> None:
    plan = manifest(tasks=("a-b/c", "a/b-c"))
    assert len(set(stems(plan).values())) == 2


def test_nothing_is_drawn_of_a_board_without_rows() -> None:
    assert drawings(*scored((), ())) == {BOARD: [], TASK: []}


def test_without_the_controls_and_of_one_row_everything_is_drawn() -> None:
    plan, made = scored(ROWS[:1], ())
    assert len(every(plan, replace(made, controls={}))) == 5


# --- what is read off the board


def test_the_board_wide_figures_show_each_row_s_numbers_and_the_two_controls(few: Scored) -> None:
    shown = effects(*few)
    assert [one.style.label for one in shown.entries] == [row.name for row in ROWS]
    for one, row in zip((*shown.entries, *shown.controls), (*ROWS, *CONTROLS), strict=True):
        assert one.style.label == row.name
        assert one.held_back == Interval(row.H, row.half_H)
        assert one.real == Interval(row.dA, row.half_dA)


def test_rows_without_the_claim_are_muted_and_the_front_is_marked(few: Scored) -> None:
    shown = effects(*few).entries
    assert [one.style.label for one in shown if not one.muted] == [
        "dropout+adversarial",
        "adversarial",
        "dropout",
    ]
    assert [one.on_front for one in shown] == [True, True, False, False, False, False]


def test_a_board_without_claims_mutes_nobody_and_has_no_front() -> None:
    shown = effects(*scored(ranked=False))
    assert not shown.claims
    assert {(one.muted, one.on_front) for one in shown.entries} == {(False, False)}


def test_an_entry_has_one_colour_in_all_figures(few: Scored) -> None:
    colors = {style.label: style.color for style in styles(few[0].entries).values()}
    for one in effects(*few).entries:
        assert one.style.color == colors[one.style.label]
    for series in scatter_figure(*few, TASK, fit_quantities()).series:
        assert series.style.color == colors[series.style.label]


def test_the_scatter_figures_show_every_strength_and_mark_both_choices(few: Scored) -> None:
    shown = scatter_figure(*few, TASK, fit_quantities())
    assert [(s.style.label, s.held_back, s.recovery) for s in shown.series] == [
        ("dropout+adversarial", 3, 4),
        ("adversarial", 3, 4),
        ("dropout", 3, 4),
        ("label-smoothing", 3, 4),
        ("mixup", 0, 4),
        ("bootstrapping", 3, 0),
    ]
    points = few[1].scores["dropout", TASK].points
    assert shown.series[2].dots == tuple((point.fit, point.real) for point in points)
    control = few[1].controls[TASK]
    assert shown.early == tuple((point.fit, point.real) for point in control.early)
    assert shown.low_rate == tuple((point.fit, point.real) for point in control.low_rate)


def test_a_row_that_is_not_confirmed_yet_is_drawn_over_its_strengths(few: Scored) -> None:
    made = few[1]
    score = replace(made.scores["dropout", TASK], held_back=None, recovery=None)
    scores = {**made.scores, ("dropout", TASK): score}
    shown = scatter_figure(few[0], replace(made, scores=scores), TASK, fit_quantities())
    assert (shown.series[2].held_back, shown.series[2].recovery) == (None, None)
    assert len(shown.series[2].dots) == 6


def test_the_axes_of_figures_over_strengths_say_on_which_seeds(drawn: list[Drawing]) -> None:
    for drawing in drawn[2:4]:
        assert sum("choosing seeds" in word for word in words(drawing)) == 2


def test_learning_curves_are_of_the_confirmed_setting_by_recovery_where_the_other_is_off(
    few: Scored,
) -> None:
    content = planned(*few)[TASK][-1].content
    assert isinstance(content, LearningCurves)
    assert [panel.title for panel in content.panels] == [
        "dropout+adversarial[0.4]",
        "adversarial[0.4]",
        "dropout[0.4]",
        "label-smoothing[0.4]",
        "mixup[R: 0.6]",
        "bootstrapping[0.4]",
    ]


def test_every_entry_is_named_in_every_figure(drawn: list[Drawing]) -> None:
    for drawing in drawn:
        text = " ".join(words(drawing))
        assert [row.name for row in ROWS if row.name not in text] == []


def test_the_forest_plot_marks_front_edge_and_what_is_beyond_the_axis() -> None:
    rows = (replace(ROWS[0], edge=True), ROWS[1], replace(ROWS[5], dA=-40.0))
    text = words_of(ForestPlot(effects=effects(*scored(rows))))
    assert text.count("front") == 2
    assert "\N{GREATER-THAN OR EQUAL TO}: at an edge of the grid" in text
    assert "goes on beyond the axis" in text
    assert f"{MINUS}40.0" in text
    plain = words_of(ForestPlot(effects=effects(*scored(ROWS[:2]))))
    assert "\N{GREATER-THAN OR EQUAL TO}: at an edge of the grid" not in plain
    assert "goes on beyond the axis" not in plain


def test_the_legend_gives_the_ranks(few: Scored, drawn: list[Drawing]) -> None:
    order = [row.entry for row in few[1].rows]
    text = words(drawn[2])
    assert [word for word in text if word in order][-len(order) :] == order
    assert [word for word in text if "\N{EN DASH}" in word] == [
        ranks((place, place + 1)) for place in range(1, 7)
    ]


def test_hostile_names_are_shown_as_text() -> None:
    found = every(*scored((ROWS[0], HandRow(name=HOSTILE, group=HOSTILE, H=0.9, dA=1.0))))
    assert len(found) == 5
    for drawing in found:
        assert [element for element in parsed(drawing).iter() if "script" in element.tag] == []
        assert any("<script>" in word for word in words(drawing))


def test_entries_differ_in_colour_or_marker() -> None:
    rows = [
        HandRow(name=f"e{i}", group=("data", "model", "loss")[i % 3], H=0.5, dA=0.1)
        for i in range(24)
    ]
    known = styles(manifest(rows).entries)
    keys = {(known[row.name].color, known[row.name].marker) for row in rows}
    assert len(keys) == len(rows)


# --- scales


def shown_of(*rows: HandRow, controls: Sequence[HandRow] = CONTROLS) -> Effects:
    return effects(*scored(rows, controls))


def test_the_axes_hold_every_mean_and_interval_of_an_ordinary_board(few: Scored) -> None:
    assert effect_scales.show_everything(effects(*few))
    across = effect_scales.held_back_scale(effects(*few))
    assert across.low == pytest.approx(-6 - 0.035 * 106)
    assert across.high == pytest.approx(100 + 0.035 * 106)


def test_one_row_far_away_does_not_press_the_others_together() -> None:
    far = HandRow(name="far", H=-3.0, dA=-40.0, half_H=0.5, half_dA=90.0)
    up = effect_scales.real_scale(shown_of(*ROWS, far))
    across = effect_scales.held_back_scale(shown_of(*ROWS, far))
    assert (up.low, up.high) == (pytest.approx(-4.42), pytest.approx(8.42))
    assert across.low == pytest.approx(-15 - 0.035 * 115)
    assert not effect_scales.show_everything(shown_of(*ROWS, far))


def test_a_row_that_holds_the_claim_is_always_on_the_axes() -> None:
    best = HandRow(name="best", H=1.4, dA=20.0, holds=True)
    across = effect_scales.held_back_scale(shown_of(best))
    up = effect_scales.real_scale(shown_of(best))
    assert across.shows(140.0)
    assert up.shows(20.0)


# --- the front


def test_the_stairs_join_the_front_from_the_left_end_to_the_lower_one(few: Scored) -> None:
    assert front.stairs(effects(*few), -5.0, -3.0) == [
        (-5.0, 3.0),
        (71.0, 3.0),
        (71.0, 1.4),
        (90.0, 1.4),
        (90.0, -3.0),
    ]


def test_a_row_on_the_front_below_another_has_no_step() -> None:
    below = HandRow(name="below", H=0.7, dA=2.9, holds=True, front=True)
    stairs = front.stairs(shown_of(*ROWS[:2], below), -5.0, -3.0)
    assert stairs == front.stairs(shown_of(*ROWS[:2]), -5.0, -3.0)


def test_without_a_front_there_are_no_stairs() -> None:
    assert front.stairs(effects(*scored(ranked=False)), 0.0, 0.0) == []


def test_the_controls_the_front_and_every_holder_are_named_there(few: Scored) -> None:
    names = [one.style.label for one in front.named(effects(*few))]
    assert names[:5] == [
        "training less",
        "early stopping",
        "dropout+adversarial",
        "adversarial",
        "dropout",
    ]


def test_ties_are_all_named() -> None:
    ties = [HandRow(name=f"tie-{i}", H=0.5, dA=1.0, holds=True) for i in range(9)]
    text = words_of(FrontPlot(effects=effects(*scored(ties))))
    assert [row.name for row in ties if row.name not in text] == []


# --- captions

CHOOSING = (
    "Dots and lines are means over the choosing seeds; a filled dot is the strength chosen by "
    "noise held back, a ring the one chosen by recovery."
)
CONTROL_SENTENCE = (
    "The control, the plain network trained less, holds back 15.0% (95% interval 7.0 to 23.0) of "
    f"the wrong labels at {MINUS}2.7 points ({MINUS}3.2 to {MINUS}2.2) of real accuracy; "
    "early stopping on clean validation images "
    f"95.0% (94.0 to 96.0) at {MINUS}0.4 points ({MINUS}0.5 to {MINUS}0.3). "
    "Means over the tasks, read on the confirming seeds."
)


def finding(scored_board: Scored, kind_of_figure: str) -> str:
    figures = [figure for all_of in planned(*scored_board).values() for figure in all_of]
    (found,) = [figure.finding for figure in figures if figure.kind == kind_of_figure]
    return found


def test_the_caption_of_the_forest_plot(few: Scored) -> None:
    assert finding(few, "forest") == (
        "3 of 6 entries hold the claim: dropout+adversarial holds back 90.0% (95% interval 88.0 to "
        "92.0) of the wrong labels at +1.4 points (+1.0 to +1.8) of real accuracy; adversarial "
        "71.0% (69.0 to 73.0) at +3.0 points (+2.6 to +3.4); dropout 30.0% (25.0 to 35.0) at "
        f"+1.1 points (+0.9 to +1.3). {CONTROL_SENTENCE}"
    )


def test_the_caption_of_the_front(few: Scored) -> None:
    assert finding(few, "front") == (
        "2 entries are on the front: dropout+adversarial, adversarial. No entry that holds the "
        "claim is significantly better than one of these in both noise held back and real "
        "accuracy. Means over the tasks, read on the confirming seeds."
    )


def test_the_caption_of_the_fit_of_random_labels(few: Scored) -> None:
    assert finding(few, "fit-vs-accuracy") == (
        "Read on the confirming seeds, dropout+adversarial[0.4] suppresses 72.0% (95% interval "
        "70.0 to 74.0) of the fit of random labels at +1.4 points (+1.0 to +1.8) of real accuracy; "
        "adversarial[0.4] 56.8% (54.8 to 58.8) at +3.0 points (+2.6 to +3.4); dropout[0.4] 24.0% "
        "(19.0 to 29.0) at +1.1 points (+0.9 to +1.3); the control, the plain network trained less "
        f"(epoch 10), 12.0% (4.0 to 20.0) at {MINUS}2.7 points ({MINUS}3.2 to {MINUS}2.2). "
        f"{CHOOSING}"
    )


def test_the_caption_of_the_wrong_labels(few: Scored) -> None:
    assert finding(few, "wrong-vs-clean") == (
        "Read on the confirming seeds, dropout+adversarial[0.4] holds back 90.0% (95% interval "
        "88.0 to 92.0) of the wrong labels at +18.0 points (+17.0 to +19.0) of accuracy on clean "
        "images after 40% noisy labels; adversarial[0.4] 71.0% (69.0 to 73.0) at +14.2 points "
        "(+13.2 to +15.2); dropout[0.4] 30.0% (25.0 to 35.0) at +6.0 points (+5.0 to +7.0); the "
        "control, the plain network trained less (epoch 10), 15.0% (7.0 to 23.0) at +3.0 points "
        f"(+2.0 to +4.0). {CHOOSING}"
    )


def test_the_caption_of_the_learning_curves(few: Scored) -> None:
    assert finding(few, "learning-curves") == (
        "Means over the confirming seeds, at the strength chosen by noise held back (R: where that "
        "is off, at the one chosen by recovery). The fit of random labels at the last epoch lies "
        "between 28.0% (dropout+adversarial[0.4]) and 100.0% (mixup[0.6])."
    )


def test_of_more_entries_than_anybody_compares_the_first_have_learning_curves(
    few: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_module, "MAX_PANELS", 2)
    content = planned(*few)[TASK][-1].content
    assert isinstance(content, LearningCurves)
    assert [panel.title for panel in content.panels] == [
        "dropout+adversarial[0.4]",
        "adversarial[0.4]",
    ]
    assert finding(few, "learning-curves").endswith(
        f"Drawn are the first 2 of {len(ROWS)} entries. The fit of random labels at the last epoch "
        "lies between 28.0% (dropout+adversarial[0.4]) and 43.2% (adversarial[0.4])."
    )


def test_the_caption_of_a_single_learning_curve() -> None:
    made = scored(ROWS[:1])
    assert finding(made, "learning-curves").endswith(
        "The fit of random labels at the last epoch is 28.0% (dropout+adversarial[0.4])."
    )


def test_a_caption_names_nobody_who_does_not_hold_the_claim() -> None:
    cheater = HandRow(name="quits", H=0.95, dA=0.0)
    made = scored((cheater, *ROWS[2:]))
    for kind_of_figure in ("forest", "front", "fit-vs-accuracy", "wrong-vs-clean"):
        assert "quits" not in finding(made, kind_of_figure)
    assert finding(made, "forest").startswith("1 of 5 entries holds the claim: dropout holds")


def test_captions_say_when_nobody_holds_the_claim() -> None:
    made = scored(ROWS[3:])
    assert finding(made, "forest") == f"None of 3 entries holds the claim. {CONTROL_SENTENCE}"
    assert finding(made, "front") == (
        "No entry holds the claim, so that there is no front. "
        "Means over the tasks, read on the confirming seeds."
    )
    assert "label-smoothing" not in finding(made, "wrong-vs-clean")


def test_captions_of_many_holders_name_the_first_and_count_all() -> None:
    rows = [HandRow(name=f"e{i}", H=0.9 - 0.1 * i, dA=1.0, holds=True) for i in range(5)]
    text = finding(scored(rows), "forest")
    assert text.startswith(
        "5 of 5 entries hold the claim; the most noise is held back by these: e0 holds back 90.0%"
    )
    assert "e2 70.0%" in text
    assert "e3" not in text


def test_captions_of_one_confirming_seed_have_no_intervals_and_no_claims() -> None:
    rows = without_intervals(ROWS[2:3])
    made = scored(rows, without_intervals(CONTROLS), ranked=False)
    assert finding(made, "forest") == (
        "1 entry, without claims: dropout holds back 30.0% of the wrong labels at +1.1 points of "
        "real accuracy. The control, the plain network trained less, holds back 15.0% of the wrong "
        f"labels at {MINUS}2.7 points of real accuracy; early stopping on clean validation images "
        f"95.0% at {MINUS}0.4 points. Means over the tasks, read on the confirming seeds."
    )
    assert finding(made, "front").startswith(
        "No front is given, since the claim is not tested. Means over the tasks"
    )


def test_a_caption_says_that_a_strength_at_an_edge_may_hold_back_more() -> None:
    made = scored((replace(ROWS[2], edge=True),))
    assert "dropout holds back at least 30.0% (95%" in finding(made, "forest")
    assert "dropout[0.4] holds back at least 30.0% (95%" in finding(made, "wrong-vs-clean")


# --- what is drawn can be read

DENSE = (
    *(
        HandRow(
            name=f"dropout+adversarial-{i}",
            group="composition",
            H=0.3 + 0.01 * i,
            dA=1 + 0.05 * (i % 4),
            holds=True,
            front=i > 17,
            edge=i % 5 == 0,
        )
        for i in range(20)
    ),
    HandRow(name="W" * 60, H=1.2, dA=9.5, half_dA=3.0, holds=True, front=True),
    HandRow(name="x" * 60, H=-0.2, dA=-0.4, half_H=4.0, half_dA=50.0, edge=True),
    HandRow(name="far", H=-3.0, dA=-40.0, half_H=0.4, half_dA=50.0),
    *(
        HandRow(name=f"off-{i}", group="weights", H=0.0, dA=0.0, half_H=0.0, half_dA=0.0, chosen=0)
        for i in range(20)
    ),
)
BOARDS = {
    "6 entries": scored(),
    "2 entries": scored(ROWS[1:3]),
    "one confirming seed": scored(
        without_intervals(ROWS[:2]), without_intervals(CONTROLS), ranked=False
    ),
    "no claim": scored(ROWS[3:]),
    "no control": scored(ROWS[:1], ()),
    "43 entries": scored(DENSE),
}


def texts(content: Content) -> tuple[Figure, list[tuple[str, labels.Box]]]:
    """Draw, and measure every piece of text that can be seen; boxes are in points.

    The boxes are as high as capital letters: a line of text also has room above and below.
    """
    with svg_module.own_settings():
        figure = svg_module.make_figure(*drawing_module.layout(content))
        renderer = svg_renderer()
        figure.draw_without_rendering()  # the labels of axes get their places only now
        found = []
        for text in visible_texts(figure):
            box = text.get_window_extent(renderer)
            height = 0.7 * text.get_fontsize()
            is_upright = text.get_rotation() == 90
            cut = max(0.0, (box.width if is_upright else box.height) - height) / 2
            across, up = (cut, 0.0) if is_upright else (0.0, cut)
            found.append(
                (
                    text.get_text(),
                    labels.Box(box.x0 + across, box.y0 + up, box.x1 - across, box.y1 - up),
                )
            )
    return figure, found


def svg_renderer() -> RendererSVG:
    """Return what measures text as it is in an SVG: not rounded to pixels."""
    return RendererSVG(1000, 1000, io.StringIO())


def visible_texts(figure: Figure) -> Iterator[Text]:
    """List the texts, without those of ticks outside the axes and of axes that are off."""
    hidden: set[int] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for text in axis.findobj(Text):
                hidden.add(id(text))
            if axes.axison:
                yield from seen_on(axis)
    for text in figure.findobj(Text):
        if id(text) not in hidden and text.get_text() and text.get_visible():
            yield text


def seen_on(axis: Axis) -> Iterator[Text]:
    low, high = sorted(axis.get_view_interval())
    for tick in axis.get_major_ticks():
        for text in (tick.label1, tick.label2):
            if low <= tick.get_loc() <= high and text.get_visible() and text.get_text():
                yield text
    if axis.label.get_text():
        yield axis.label


@pytest.mark.parametrize("name", list(BOARDS))
@pytest.mark.parametrize("content_of", [ForestPlot, FrontPlot])
def test_no_text_of_the_board_s_figures_overlaps_another_or_is_cut(
    name: str, content_of: type[ForestPlot] | type[FrontPlot]
) -> None:
    check_texts(content_of(effects=effects(*BOARDS[name])))


@pytest.mark.parametrize("name", ["6 entries", "43 entries"])
def test_no_text_of_a_task_s_figures_overlaps_another_or_is_cut(name: str) -> None:
    for figure in planned(*BOARDS[name])[TASK]:
        check_texts(figure.content)


def check_texts(content: Content) -> None:
    figure, found = texts(content)
    width, height = figure.get_size_inches() * DOTS_PER_INCH
    canvas = labels.Box(0, 0, width, height)
    assert [text for text, box in found if not box.is_inside(canvas)] == []
    overlapping = []
    for (text, box), (other_text, other) in combinations(found, 2):
        if box.overlaps(np.atleast_2d(astuple(other))):
            overlapping.append((text, other_text))
    assert overlapping == []


@pytest.mark.parametrize("weight", ["normal", "bold"])
@pytest.mark.parametrize("text", ["dropout+adversarial", "x" * 40, "il.-j", "W" * 9, "94.5% of 3"])
def test_text_is_never_wider_than_estimated_and_not_much_narrower(text: str, weight: str) -> None:
    drawn_text = Figure(dpi=72).text(0, 0, text, fontsize=10, weight=weight, family="DejaVu Sans")
    width = drawn_text.get_window_extent(svg_renderer()).width
    estimated = text_width(text, 10, bold=weight == "bold")
    assert width <= estimated + 0.5
    assert estimated < 1.2 * width + 1


def test_the_accuracy_axis_has_round_ticks_inside_it_and_a_place_for_100_percent() -> None:
    low = scatter._ticks(20.0, 92.0)
    assert low == sorted(low, reverse=True)
    assert all(20 <= tick <= 92 for tick in low)
    assert scatter._accuracy(scatter._log_error(91.5)) == pytest.approx(91.5)
    assert scatter._log_error(100.0) == scatter._log_error(99.95)


@given(st.lists(st.tuples(st.floats(0, 400), st.floats(0, 300)), max_size=12), st.booleans())
@settings(max_examples=40, deadline=None)
def test_names_cover_neither_dots_nor_each_other(
    spots: list[labels.Position], may_be_away: bool
) -> None:
    room = labels.Box(0, 0, 400, 300)
    reach = 90.0 if may_be_away else 0.0
    names = [labels.Name(f"name-{i}", spot, reach) for i, spot in enumerate(spots)]
    placed = labels.place(names, spots, [spots], room)
    boxes = []
    for name in placed:
        right = name.x + text_width(name.text, labels.FONT_SIZE)
        boxes.append(labels.Box(name.x, name.y - 3, right, name.y + 3))
    assert not any(a.overlaps(np.atleast_2d(astuple(b))) for a, b in combinations(boxes, 2))
    assert not any(box.count_inside(np.array(spots)) for box in boxes)
    assert all(box.is_inside(room) for box in boxes)
    assert may_be_away or not any(name.leader for name in placed)


def test_names_of_dots_at_one_place_stand_apart_with_leaders() -> None:
    spot = (200.0, 150.0)
    names = [labels.Name(f"name-{i}", spot, 150.0) for i in range(14)]
    placed = labels.place(names, [spot], [], labels.Box(0, 0, 400, 300))
    assert len(placed) == 14
    assert sum(name.leader is None for name in placed) == 6
    assert {name.leader[0] for name in placed if name.leader} == {spot}


def test_a_name_prefers_the_side_without_lines() -> None:
    room = labels.Box(0, 0, 200, 200)
    (label,) = labels.place(
        [labels.Name("name", (100.0, 100.0))],
        [(100.0, 100.0)],
        [[(0.0, 100.0), (100.0, 100.0)]],
        room,
    )
    assert (label.x, label.y) != (pytest.approx(70, abs=15), 100.0)


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 4), (4, 4), (5, 5), (15, 5), (16, 4), (18, 5), (30, 5)]
)
def test_panels_fill_their_rows(few: Scored, count: int, columns: int) -> None:
    setting = entries(few[1], TASK)[0].held_back
    assert setting is not None and setting.curve is not None
    panel = Panel(title="a", color="black", curve=setting.curve)
    assert learning_curves._grid([panel] * count).columns == columns


# --- many entries

GROUPS = ("data", "model", "loss", "gradient", "own")
MANY = (
    *(
        HandRow(
            name=f"e{i}",
            group=GROUPS[i % 5],
            H=0.8 - 0.03 * i,
            dA=0.1 * (i % 7),
            holds=i % 2 == 1,
            front=i == 9,
        )
        for i in range(MAX_COLOURED)
    ),
    HandRow(name="dropout", group="model", H=0.05, dA=0.5),
)


@pytest.fixture(scope="module")
def many() -> Scored:
    return scored(MANY)


@pytest.fixture(scope="module")
def many_drawn(many: Scored) -> dict[str, Drawing]:
    return {kind(drawing): drawing for drawing in drawings(*many)[TASK]}


def test_many_entries_are_also_drawn_group_by_group(many_drawn: dict[str, Drawing]) -> None:
    kinds = [
        "fit-vs-accuracy",
        "fit-vs-accuracy-by-group",
        "wrong-vs-clean",
        "wrong-vs-clean-by-group",
    ]
    assert list(many_drawn) == [*kinds, "learning-curves"]
    for one in (kinds[1], kinds[3], "learning-curves"):
        text = words(many_drawn[one])
        assert [row.name for row in MANY if row.name not in text] == []
        assert [word for word in text if word in GROUPS] == list(GROUPS)


def test_of_many_entries_the_large_figure_names_the_highlighted_ones(
    many: Scored, many_drawn: dict[str, Drawing]
) -> None:
    order = [score.entry for score in entries(many[1], TASK)]
    coloured = highlighted(many[1], order)
    assert coloured == {"e1", "e3", "e5", "e7", "e9", "e11", "dropout"}
    text = words(many_drawn["fit-vs-accuracy"])
    assert {word for word in text if word in order} == coloured
    assert f"the other {len(order) - len(coloured)}: by group, below" in text


def test_few_entries_are_all_highlighted_and_of_many_the_front_first(many: Scored) -> None:
    names = [row.name for row in MANY]
    assert highlighted(many[1], names[:MAX_COLOURED]) == set(names[:MAX_COLOURED])
    on_front = replace(many[1], rows=(*many[1].rows[:15], replace(many[1].rows[15], on_front=True)))
    assert "e15" in highlighted(on_front, names)
    assert "e11" not in highlighted(on_front, names)


def test_without_claims_the_first_of_many_are_highlighted(many: Scored) -> None:
    names = [row.name for row in MANY]
    unranked = board(MANY, ranked=False)
    assert highlighted(unranked, names) == {*names[:MAX_FIRST], "dropout"}


def test_every_panel_of_a_group_has_the_scales_of_the_large_figure(many: Scored) -> None:
    whole = scatter_figure(*many, TASK, fit_quantities())
    limits = []
    for content in (whole, *scatter.by_group(whole).values()):
        assert {series.style.label for series in content.series} == {row.name for row in MANY}
        axes = Figure().add_subplot()
        scatter.plot(axes, content)
        limits.append((axes.get_xlim(), axes.get_ylim()))
    assert len(set(limits)) == 1


def test_entries_of_one_group_differ_in_colour_in_its_own_panel() -> None:
    rows = [HandRow(name=f"e{i}", group="loss", H=0.5, dA=0.1) for i in range(10)]
    known = styles(manifest(rows).entries)
    assert len({known[row.name].color_within_group for row in rows}) == 10


def test_of_many_rows_the_front_names_those_that_hold_back_something(many: Scored) -> None:
    names = {one.style.label for one in front.named(effects(*many))}
    assert names == {
        row.name for row in (*CONTROLS, *MANY) if row.holds or row.H > 0.1 or row in CONTROLS
    }

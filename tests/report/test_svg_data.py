"""A figure as data: everything that is drawn, nothing that could run, a third of the size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from matplotlib.figure import Figure
from support.cli import REPO
from support.interactive_board import HOSTILE
from support.study_rows import draw

from membench.report.svg import render_svg
from membench.report.svg_data import figure_data
from membench.report.text import plain

FIGURES = sorted((REPO / "leaderboard" / "paper").glob("*.svg"))


def all_parts(parts: list[Any]) -> Iterator[list[Any]]:
    for part in parts:
        if isinstance(part, list):
            yield part
            yield from all_parts([] if part[0] == "image" else part[2:])


def data_of(fill: Any = draw) -> dict[str, Any]:
    return figure_data(render_svg((4, 2), "title", "words", fill))


def test_texts_curves_markers_and_clips_are_kept() -> None:
    data = data_of()
    parts = list(all_parts(data["parts"]))
    assert data["size"] == [288, 144]
    texts = [part[2] for part in parts if part[0] == "text" and part[2:]]
    assert plain(HOSTILE).replace(" ", "") in "".join(texts).replace(" ", "").replace("\u2028", "")
    curves = [
        part for part in parts if "clip-path" in part[1] and part[1].get("d", "").count("L") == 2
    ]
    assert any(data["styles"][part[1]["s"]].get("stroke") == "#0072b2" for part in curves)
    # what is used is there, under a short name
    names = {part[1]["id"] for part in parts if "id" in part[1]}
    assert {part[1]["href"] for part in parts if part[0] == "use"} <= names
    clips = {part[1]["clip-path"] for part in parts if "clip-path" in part[1]}
    assert clips <= {f"url(#{name})" for name in names}


def test_colours_that_are_data_are_told_from_those_that_are_not() -> None:
    data = data_of()
    fills = {style.get("fill", "") for style in data["styles"]}
    assert {"=#ffffff", "=#000000", "#ffffff"} <= fills  # the map's, and the paper
    (image,) = [part for part in all_parts(data["parts"]) if part[0] == "image"]
    _, _, colors, rows = image
    pixels = [[colors["ABC".index(letter)] for letter in row] for row in rows]
    assert set(chain(*pixels)) == {"#000000", "#808080", "#ffffff"}
    assert pixels[0][0] == "#000000"


def test_a_picture_of_many_colours_keeps_64_at_most() -> None:
    def many(figure: Figure) -> None:
        figure.subplots().imshow([list(range(256))], cmap="viridis", interpolation="none")

    (image,) = [part for part in all_parts(data_of(many)["parts"]) if part[0] == "image"]
    assert 8 < len(image[2]) <= 64


def test_nothing_but_drawing_is_taken_over() -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'viewBox="0 0 9 9"><script>alert(1)</script><a xlink:href="javascript:alert(2)">'
        '<path d="M 0 0"/></a><foreignObject/><use xlink:href="http://a.b/#c" x="1"/>'
        '<path d="M 1.26 2.5 L 3 4" onclick="alert(3)" style="fill: url(http://a.b); '
        'stroke: #ff0000; background: red"/></svg>'
    )
    assert figure_data(svg.encode()) == {
        "size": [9, 9],
        "styles": [{"fill": "#000000"}, {"fill": "#000000", "stroke": "#ff0000"}],
        "parts": [["use", {"x": "1", "s": 0}], ["path", {"d": "M1.3 2.5L3 4", "s": 1}]],
    }


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.stem)
def test_a_committed_figure_is_smaller_as_data(figure: Any) -> None:
    svg = figure.read_bytes()
    assert len(json.dumps(figure_data(svg), separators=(",", ":"))) < 0.65 * len(svg)

"""Figures that were drawn before come from the user's cache folder, unless it is damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.boards import manifest
from support.boards import records

from membench.commands import report as command
from membench.records import Manifest
from membench.records import Record
from membench.report import drawing
from membench.report import figure_cache
from membench.report import render
from membench.report.contents import Effect
from membench.report.contents import Effects
from membench.report.contents import FigureData
from membench.report.contents import ForestPlot
from membench.report.contents import FrontPlot
from membench.report.contents import ScatterFigure
from membench.report.figure_cache import FigureCache
from membench.report.styles import Style
from membench.scoring import score
from membench.scoring.types import Interval

DATA = FigureData(
    title="a title",
    finding="a finding",
    content=ScatterFigure(
        series=(), early=((0.5, 0.25),), epochs=(1,), low_rate=(), x_label="x", y_label="y"
    ),
)
ROW = Effect(
    style=Style(label="a", group="model", color="#000000", marker="o", dashes="-"),
    held_back=Interval(0.5, 0.25),
    real=Interval(1.0, 0.5),
)
FOREST = replace(
    DATA,
    content=ForestPlot(
        effects=Effects(entries=(ROW,), training_less=None, early_stopping=None, claims=True)
    ),
)
SVG = b"<svg>" + 40 * b"<path/>" + b"</svg>"


@pytest.fixture
def cache(tmp_path: Path) -> FigureCache:
    return FigureCache(tmp_path / "figures")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Titles of the figures that are drawn from now on, which takes no time here."""
    titles: list[str] = []

    def draw(data: FigureData) -> bytes:
        titles.append(data.title)
        return f"<svg>{data!r}</svg>".encode()

    monkeypatch.setattr(drawing, "draw", draw)
    monkeypatch.setattr(drawing, "FIGURES_A_PROCESS", 1000)  # another process knows no fake
    return titles


@pytest.fixture(scope="module")
def plan() -> Manifest:
    return manifest()


@pytest.fixture(scope="module")
def results(plan: Manifest) -> list[Record]:
    return records(plan)


def pages(
    plan: Manifest, results: list[Record], cache: FigureCache | None = None
) -> dict[str, bytes]:
    return render([(plan, results, score(plan, results))], figure_cache=cache)


def test_a_figure_comes_back_as_it_was_kept(cache: FigureCache) -> None:
    assert cache.get(DATA) is None
    cache.put(DATA, SVG)
    assert cache.get(DATA) == SVG


@pytest.mark.parametrize(
    "other",
    [
        replace(DATA, title="another title"),
        replace(DATA, finding="another finding"),
        replace(DATA, content=replace(DATA.content, early=((0.5 + 2**-53, 0.25),))),
    ],
)
def test_figures_that_differ_in_one_bit_of_their_data_are_kept_apart(
    cache: FigureCache, other: FigureData
) -> None:
    cache.put(DATA, SVG)
    assert cache.get(other) is None


@pytest.mark.parametrize(
    "row",
    [
        replace(ROW, held_back=Interval(0.5 + 2**-53, 0.25)),
        replace(ROW, real=Interval(1.0, 0.5 + 2**-53)),
        replace(ROW, edge=True),
        replace(ROW, muted=True),
        replace(ROW, on_front=True),
        replace(ROW, style=replace(ROW.style, color="#000001")),
    ],
)
def test_forest_plots_that_differ_in_one_mark_of_a_row_are_kept_apart(
    cache: FigureCache, row: Effect
) -> None:
    cache.put(FOREST, SVG)
    assert cache.get(FOREST) == SVG
    effects = Effects(entries=(row,), training_less=None, early_stopping=None, claims=True)
    assert cache.get(replace(FOREST, content=ForestPlot(effects=effects))) is None
    assert cache.get(replace(FOREST, content=FrontPlot(effects=effects))) is None


def test_a_figure_that_other_code_drew_is_not_taken(
    cache: FigureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put(DATA, SVG)
    monkeypatch.setattr(figure_cache, "_drawing_code", lambda: "other")
    assert cache.get(DATA) is None


def test_the_code_that_draws_is_known_by_its_bytes_and_the_versions_of_its_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr("membench.__file__", str(tmp_path / "__init__.py"))
    versions = {"matplotlib": "1", "numpy": "2"}
    monkeypatch.setattr(figure_cache, "version", versions.__getitem__)
    digests = [figure_cache._drawing_code.__wrapped__()]
    (tmp_path / "__init__.py").write_text("# changed")
    digests.append(figure_cache._drawing_code.__wrapped__())
    versions["matplotlib"] = "1.1"
    digests.append(figure_cache._drawing_code.__wrapped__())
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-1], lambda data: data[::-1]]
)
def test_a_damaged_file_is_drawn_anew_and_mended(
    cache: FigureCache,
    drawn: list[str],
    plan: Manifest,
    results: list[Record],
    damage: Callable[[bytes], bytes],
) -> None:
    before = pages(plan, results, cache)
    damaged = sorted(cache.folder.iterdir())[0]
    damaged.write_bytes(damage(damaged.read_bytes()))
    drawn.clear()
    assert pages(plan, results, cache) == before
    assert len(drawn) == 1
    drawn.clear()
    pages(plan, results, cache)
    assert drawn == []


def test_every_flipped_bit_of_a_file_is_noticed(cache: FigureCache) -> None:
    cache.put(DATA, SVG)
    (file,) = cache.folder.iterdir()
    whole = file.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        file.write_bytes(flipped)
        assert cache.get(DATA) in (None, SVG)


def test_a_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, drawn: list[str], plan: Manifest, results: list[Record]
) -> None:
    (tmp_path / "file").write_text("")
    unwritable = FigureCache(tmp_path / "file" / "figures")
    assert pages(plan, results, unwritable) == pages(plan, results)
    assert len(drawn) == 16


def test_the_figures_that_were_not_used_for_longest_go_first(
    cache: FigureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure_cache, "MAX_BYTES", 20)
    one, other, third = (replace(DATA, title=title) for title in ("one", "other", "third"))
    cache.put(one, b"1")
    cache.put(other, b"2")
    for file in cache.folder.iterdir():
        os.utime(file, (1, 1))
    assert cache.get(one) == b"1"
    cache.put(third, b"3")
    assert [cache.get(data) for data in (one, other, third)] == [b"1", None, b"3"]


def test_nothing_is_drawn_again_where_nothing_changed(
    cache: FigureCache, drawn: list[str], plan: Manifest, results: list[Record]
) -> None:
    first = pages(plan, results, cache)
    assert len(drawn) == 8
    assert pages(plan, results, cache) == first
    assert len(drawn) == 8


def test_of_a_row_that_changed_on_one_task_only_the_figures_there_are_drawn(
    cache: FigureCache, drawn: list[str], plan: Manifest, results: list[Record]
) -> None:
    pages(plan, results, cache)
    drawn.clear()
    changed = []
    for record in results:
        is_changed = record.regularizer == "mixup" and record.cell.task == "mnist5k/cnn"
        test = tuple(a and 0.999 * a for a in record.test) if is_changed else record.test
        changed.append(replace(record, test=test))
    with_cache = pages(plan, changed, cache)
    # Learning curves show validation, which did not change.
    assert drawn == [
        "Noise held back, and real accuracy: quick",
        "The front: noise held back against real accuracy: quick",
        "Noise fit against accuracy on real data, over strengths: mnist5k/cnn",
        "Wrong labels memorized against accuracy on clean images, over strengths: mnist5k/cnn",
    ]
    assert with_cache == pages(plan, changed)


def test_a_check_draws_every_figure_anew(
    tmp_path: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMBENCH_CACHE", str(tmp_path / "cache"))
    plan = manifest(tasks=("mnist5k/mlp",))
    suites = [(plan, results := records(plan), score(plan, results))]
    command.pages(suites, tmp_path)
    command.pages(suites, tmp_path)
    assert len(drawn) == 5
    command.pages(suites, tmp_path, draw_all=True)
    assert len(drawn) == 10


def test_figures_that_are_kept_need_no_matplotlib() -> None:
    code = "import sys, membench.report.page; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

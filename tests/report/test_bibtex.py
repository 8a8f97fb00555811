"""Citations as plugins write them become BibTeX that holds together, whatever they contain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from membench.records import Entry
from membench.report.bibtex import MEMBENCH
from membench.report.bibtex import bibliography
from membench.report.bibtex import bibtex
from membench.report.bibtex import works_of


def test_a_citation_of_the_usual_form_is_taken_apart() -> None:
    source = 'Han, Yao and van der Meer, "Co-teaching", NeurIPS 2018, arXiv:1804.06872, algorithm 1'
    assert bibtex("co-teaching", source) == (
        "@misc{han2018,\n"
        "  title = {{Co-teaching}},\n"
        "  author = {Han and Yao and van der Meer},\n"
        "  howpublished = {NeurIPS},\n"
        "  year = {2018},\n"
        "  eprint = {1804.06872},\n"
        "  archiveprefix = {arXiv},\n"
        "}"
    )


def test_et_al_stands_for_others() -> None:
    assert "author = {Abadi and others}," in bibtex("x", 'Abadi et al., "Private", CCS 2016')


def test_the_address_of_another_paper_is_left_out() -> None:
    source = 'C. M. Bishop, "Noise", Neural Computation 7(1), 1995; in Arpit, arXiv:1706.05394'
    assert "eprint" not in bibtex("input-noise", source)
    assert "howpublished = {Neural Computation 7(1)}," in bibtex("input-noise", source)


@pytest.mark.parametrize(
    "source", ["A control of the harness.", 'after the pair of Arpit et al., "A Closer Look", 2017']
)
def test_any_other_text_is_a_note(source: str) -> None:
    made = bibtex("my-own", source)
    assert made.startswith("@misc{my-own,\n")
    assert f"note = {{{source}}}," in made


def test_no_source_gives_nothing() -> None:
    assert bibtex("none", "") == ""


def test_foreign_text_cannot_end_a_field() -> None:
    made = bibtex("x", "}, evil = {\\input{/etc/passwd} 100% $x_1$ #&~^")
    assert "\\}, evil = \\{\\textbackslash{}input\\{" in made
    assert "100\\% \\$x\\_1\\$ \\#\\&\\textasciitilde{}\\textasciicircum{}" in made


HINTON = Entry("dropout", "model", (), source='Hinton, "Dropout", 2012, arXiv:1207.0580')
ZHANG = Entry("mixup", "data", (), source='Zhang, "mixup", ICLR 2018, arXiv:1710.09412')
TABLE = {entry.name: entry for entry in (HINTON, ZHANG)}


def keys(works: list[str]) -> list[str]:
    return [work.partition("{")[2].partition(",")[0] for work in works]


def test_a_composition_cites_the_works_of_its_parts_and_membench() -> None:
    pair = Entry("dropout+mixup", "composition", (), source="after the pair of Arpit et al.")
    assert keys(works_of(pair, TABLE)) == ["hinton2012", "zhang2018", "membench"]
    with_paper = replace(pair, source='Kang, "Unleashing", 2023, arXiv:2307.05025')
    assert keys(works_of(with_paper, TABLE)) == [
        *("kang2023", "hinton2012", "zhang2018", "membench")
    ]


def test_a_control_cites_its_work_if_it_names_one_and_membench() -> None:
    focal = Entry("focal", "control", (), source='Lin, "Focal Loss", ICCV 2017, arXiv:1708.02002')
    assert keys(works_of(focal, TABLE)) == ["lin2017", "membench"]
    assert works_of(Entry("placebo", "control", (), source="A control."), TABLE) == [MEMBENCH]
    assert "author = {{The membench authors}}," in MEMBENCH


def test_any_other_entry_cites_what_it_says() -> None:
    assert keys(works_of(HINTON, TABLE)) == ["hinton2012"]
    assert works_of(Entry("none", "baseline", ()), TABLE) == []


def test_membench_stands_once_in_a_bibliography() -> None:
    pair, control = Entry("dropout+mixup", "composition", ()), Entry("placebo", "control", ())
    text = bibliography([HINTON, pair, control], TABLE)
    assert text.startswith("% dropout, dropout+mixup\n@misc{hinton2012,")
    assert text.count("@misc{membench,") == 1
    assert "% dropout+mixup, placebo\n@misc{membench," in text

"""Citations as plugins write them become BibTeX that holds together, whatever they contain."""

from __future__ import annotations

import pytest

from membench.report.bibtex import bibtex


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

"""The citations of a board's entries as BibTeX, made from the text of their sources.

A source that begins as the shipped ones do, `Authors, "Title", venue year, arXiv:number`, becomes
an entry with these fields; any other becomes one whose note is its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping

from membench.records import Entry
from membench.report.latex import escape_latex
from membench.report.text import LONG
from membench.report.text import filename
from membench.report.text import plain

_CITATION = re.compile(
    r'^(?P<authors>[^"]{2,300}?), "(?P<title>[^"]+?)",? '
    r'(?P<venue>[^"]*?)\b(?P<year>(?:19|20)\d\d)\b'
)
#: A family name, with initials or several words; a sentence that ends in a citation is none.
_NAME = re.compile(r"[A-Z][\w.'-]*( [A-Z][\w.'-]*){0,3}")
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
_DOI = re.compile(r"(?i)doi:\s?(10\.\d{4,9}/[^\s,;]+)")


def bibliography(entries: Iterable[Entry]) -> str:
    """Write one BibTeX entry for each work that entries cite, with a comment that names them.

    Args:
        entries: of a manifest; those without a source are left out.
    """
    works: dict[str, tuple[dict[str, str], list[str]]] = {}
    for entry in entries:
        if not entry.source:
            continue
        fields = citation(entry)
        identity = fields.get("eprint") or fields["title"]
        works.setdefault(identity, (fields, []))[1].append(entry.name)
    texts = [_bibtex_entry(names, fields) for fields, names in works.values()]
    return "\n".join(texts)


def citation(entry: Entry) -> dict[str, str]:
    """Return the fields of a work that an entry cites: name -> text, not escaped.

    Args:
        entry: with a source.
    """
    source = plain(entry.source, LONG)
    found = _CITATION.match(source)
    authors = _authors(found["authors"]) if found else []
    fields: dict[str, str] = {}
    if found and authors:
        fields["author"] = " and ".join(authors)
        fields["title"] = found["title"]
        venue = found["venue"].strip(" ,:")
        if venue:
            fields["howpublished"] = f"{venue} {found['year']}"
        fields["year"] = found["year"]
        source = source[: found.end() + 40]  # another work may be cited behind the first
    else:
        fields["title"] = entry.name
        fields["note"] = source
    arxiv, doi = _ARXIV.search(source), _DOI.search(source)
    if arxiv:
        fields["eprint"] = arxiv[1]
        fields["archivePrefix"] = "arXiv"
    if doi:
        fields["doi"] = doi[1]
    return fields


def _authors(text: str) -> list[str]:
    """Take `Zhang, Cisse and Dauphin` apart; `et al.` is "others". Empty if these are no names."""
    names = re.split(r",? and |, ", text.removesuffix(" et al."))
    if not all(_NAME.fullmatch(name) for name in names):
        return []
    return [*names, "others"] if text.endswith(" et al.") else names


def _bibtex_entry(names: list[str], fields: Mapping[str, str]) -> str:
    lines = [f"% {', '.join(plain(name) for name in names)}", f"@misc{{{filename(names[0])},"]
    for name, text in fields.items():
        value = escape_latex(text)
        if name == "title":
            value = f"{{{value}}}"  # as it is written, whatever a style does to titles
        lines.append(f"  {name} = {{{value}}},")
    return "\n".join([*lines, "}", ""])

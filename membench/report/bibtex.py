"""BibTeX entries of what plugins' docstrings cite.

Citations are free text by strangers. One that has the form of the shipped ones,

    Foret, Kleiner and Neyshabur, "Sharpness-Aware Minimization", ICLR 2021, arXiv:2010.01412

is taken apart; any other one becomes a note as it stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping

from membench.records import Entry
from membench.report.latex import escape_latex
from membench.report.text import LONG
from membench.report.text import plain
from membench.scoring.types import CONTROL

_FORM = re.compile(r'(?P<authors>[^"]{2,200}?), "(?P<title>[^"]+)"(?P<rest>.*)')
#: A name as citations write it: capitalised words, initials, and particles before them.
_NAME = re.compile(r"((van|von|der|de|den|la|le)\s)*[A-Z][\w'.-]*(\s[A-Z][\w'.-]*|\s(van|von|de))*")
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
_DOI = re.compile(r"(?i:doi:\s?)(10\.\d{4,9}/[^\s<>|\"'`\\\[\]{},;]*[^\s<>|\"'`\\\[\]{},;.:)])")
_VENUE = re.compile(r"[\w .()&-]{2,60}")
_OTHERS = "et al."


def bibtex(name: str, source: str) -> str:
    """Write the entry of a citation; "" where there is none.

    Args:
        name: of the regularizer, which names an entry without authors.
        source: the citation, as the plugin's docstring has it.
    """
    line = plain(source, LONG)
    if not line:
        return ""
    form = _FORM.match(line)
    authors = _authors(form["authors"]) if form else []
    if not form or not authors:
        return _entry(
            _key(name), {"title": f"{{{escape_latex(name)}}}", "note": escape_latex(line)}
        )
    year, venue, behind = _split_at_year(form["rest"])
    fields = {"title": f"{{{escape_latex(form['title'])}}}", "author": " and ".join(authors)}
    if venue:
        fields["howpublished"] = escape_latex(venue)
    if year:
        fields["year"] = year
    # A later address belongs to another paper: "..., 1995; swept by Arpit et al., arXiv:..."
    arxiv, doi = _ARXIV.match(behind), _DOI.match(behind)
    if arxiv:
        fields |= {"eprint": arxiv[1], "archiveprefix": "arXiv"}
    if doi:
        fields["doi"] = escape_latex(doi[1])
    family = authors[0].split()[-1]
    return _entry(_key(f"{family}{year}"), fields)


def works_of(entry: Entry, table: Mapping[str, Entry]) -> list[str]:
    """List what to cite for an entry of a board, each work once.

    A composition stands on the works of its parts too. It, and a control, are made by membench,
    which is then cited beside the work that they name, or in place of a note.

    Args:
        entry: of a manifest.
        table: all entries of it, by name.
    """
    own = bibtex(entry.name, entry.source)
    parts = entry.name.split("+") if "+" in entry.name else []
    if not parts and entry.group != CONTROL:
        return [own] if own else []
    works = [own] if own and _is_work(entry.source) else []
    for part in parts:
        if part in table:
            works += works_of(table[part], table)
    return list(dict.fromkeys([*works, MEMBENCH]))


def bibliography(entries: Iterable[Entry], table: Mapping[str, Entry]) -> str:
    """Write the works that entries cite, each once, below a comment that names the entries.

    Args:
        entries: of a manifest; those without a source are left out.
        table: all entries of it, by name.
    """
    names: dict[tuple[str, str], list[str]] = {}  # key and fields of a work -> who cites it
    for entry in entries:
        for text in works_of(entry, table):
            head, _, fields = text.partition("\n")
            key = head.removeprefix("@misc{").removesuffix(",")
            names.setdefault((key, fields), []).append(plain(entry.name))
    works = []
    used: Counter[str] = Counter()
    for (key, fields), citing in names.items():
        letter = chr(ord("a") + used[key]) if used[key] else ""
        used[key] += 1
        works.append(f"% {', '.join(citing)}\n@misc{{{key}{letter},\n{fields}\n")
    return "\n".join(works)


def _is_work(source: str) -> bool:
    """Tell whether a citation has the form that is taken apart."""
    form = _FORM.match(plain(source, LONG))
    return bool(form and _authors(form["authors"]))


def _authors(text: str) -> list[str]:
    """Split "A, B and C" or "A et al."; [] if a part is no name."""
    words = text.strip()
    names = re.split(r",\s+|\s+and\s+", words.removesuffix(_OTHERS).strip())
    if not all(_NAME.fullmatch(one) for one in names):
        return []
    escaped = [escape_latex(one) for one in names]
    return [*escaped, "others"] if words.endswith(_OTHERS) else escaped


def _split_at_year(rest: str) -> tuple[str, str, str]:
    """Find the year behind the title, what stands between both, and what follows it."""
    year = _YEAR.search(_ARXIV.sub("", rest))
    if not year:
        return "", "", rest.lstrip(" ,")
    before, _, behind = rest.partition(year[0])
    venue = before.strip(" ,")
    is_venue = _VENUE.fullmatch(venue.replace(",", ""))
    return year[0], venue if is_venue else "", behind.lstrip(" ,")


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9-]", "", text.lower()) or "entry"


def _entry(key: str, fields: dict[str, str]) -> str:
    lines = [f"  {field} = {{{value}}}," for field, value in fields.items()]
    return "\n".join([f"@misc{{{key},", *lines, "}"])


#: What compositions and controls cite beside the works that they stand on.
MEMBENCH = _entry(
    "membench",
    {
        "title": "{membench: noise-fitting suppression against real-data generalization}",
        "author": "{The membench authors}",
        "howpublished": "software",
        "year": "2026",
    },
)

"""README.md of membench/scoring: the code cites its sections, it names the code's functions."""

from __future__ import annotations

import pkgutil
import re
from importlib.resources import files

import pytest

FOLDER = files("membench.scoring")
PAGE = FOLDER.joinpath("README.md").read_text()
HEADINGS = set(re.findall(r"^## (.+)$", PAGE, flags=re.MULTILINE))


def cited_sections() -> set[str]:
    """Find what stands after "(README, " or "(README of this folder" in the modules."""
    cited = set()
    for path in FOLDER.iterdir():
        if path.name.endswith(".py"):
            text = re.sub(r"\s+", " ", path.read_text())
            for sections in re.findall(r"\(README(?: of this folder)?[,:] ([^)]+)\)", text):
                for section in sections.split(", "):
                    cited.update([section] if section in HEADINGS else section.split(" and "))
    return cited


def test_each_section_that_the_code_cites_is_a_heading() -> None:
    cited = cited_sections()
    assert len(cited) > 10
    assert cited <= HEADINGS


def named_functions() -> list[str]:
    """Find `module.name` and `membench.module.name` on the page, but not `file.py`."""
    names = re.findall(r"`((?:membench\.)?\w+\.\w+(?:\.\w+)?)`", PAGE)
    return sorted(name for name in set(names) - {"membench.scoring"} if not name.endswith(".py"))


@pytest.mark.parametrize("name", named_functions())
def test_each_function_that_the_page_names_exists(name: str) -> None:
    if not name.startswith("membench."):
        name = f"membench.scoring.{name}"
    assert pkgutil.resolve_name(name)


def test_each_link_within_the_page_is_a_heading() -> None:
    anchors = {heading.lower().replace(" ", "-") for heading in HEADINGS}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors

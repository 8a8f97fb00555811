"""What a child says of a file is made again here, and what no plugin may say is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.workspace import Workspace
from support.workspace import registering

from membench.registry.apart import reading_of
from membench.registry.discovery import PluginSource
from membench.registry.entry import MAX_SOURCE
from membench.registry.loading import read_plugin
from membench.registry.registry import discover
from membench.registry.restored import restore_entries
from membench.text import MAX_LENGTH

KINDS = """grid("one"), grid("two", off=math.inf, strengths=(5, 4, 3, 2, 1), skip=act, limit=0.5),
    Composite("one+two", tuple((a, b) for a, b in zip((1, 2, 3, 4, 5), (5, 4, 3, 2, 1)))),
    Architecture("net", act, recipe=Recipe(lr=0.1)), Dataset("dots", act, fetch=act),
    Dataset("dashes", act, shape=(1, 2, 3), num_classes=4), Signal("noise", act, noise="labels"),
    Signal("people", act, noise="labels", levels=("worst", "best")), suite(),
    Optimizer("adagrad", act, act), Probe("norm", act)"""


@pytest.fixture
def source(workspace: Workspace) -> PluginSource:
    path = workspace.write("plugins/all.py", registering(KINDS))
    return PluginSource(path.resolve(), "plugins/all.py")


def lines_of(source: PluginSource) -> list[dict[str, Any]]:
    entries, problems = read_plugin(source)
    assert problems == []
    return json.loads(json.dumps([entry.to_json() for entry in entries]))


def test_entries_of_every_kind_are_made_again_as_they_were(source: PluginSource) -> None:
    entries, _ = read_plugin(source)
    assert len(entries) == 11
    assert restore_entries(lines_of(source), source) == entries


def test_studies_and_their_private_records_too() -> None:
    """Of a study that ships and has some."""
    studies = [entry for entry in discover().private if entry.file_hash]
    shipped = studies[0].plugin_source
    assert shipped is not None
    entries, _ = read_plugin(shipped)
    assert any(entry.study for entry in entries)
    assert restore_entries([entry.to_json() for entry in entries], shipped) == entries


def test_the_hash_of_the_code_and_its_files_are_not_taken_from_who_was_asked(
    source: PluginSource,
) -> None:
    entries, _ = read_plugin(source)
    lines = [{**line, "code_hash": "ab" * 32, "helpers": ["/etc"]} for line in lines_of(source)]
    assert restore_entries(lines, source) == entries


@pytest.mark.parametrize(
    "lies",
    [
        {"kind": "commands"},
        {"name": "../../escape"},
        {"name": "\x1b[31mred"},
        {"name": 7},
        {"strengths": [[1.0]]},
        {"strengths": [["1"], [2], [3], [4], [5]]},
        {"off": ["x"]},
        {"group": "<script>"},
        {"version": "1"},
        {"summary": 3},
        {"limits": [1, 2]},
        {"acts_on": []},
        {"more": 1},
    ],
    ids=str,
)
def test_what_no_plugin_may_say_refuses_the_file(source: PluginSource, lies: dict) -> None:
    first, *others = lines_of(source)
    entries, (problem,) = reading_of([[{**first, **lies}, *others], []], source)
    assert entries == []
    assert "it does not say what it registers" in problem.message


@pytest.mark.parametrize("said", [None, 3, [], [[], [], []], [3, []], [[3], []], {"a": 1, "b": 2}])
def test_what_has_another_form_refuses_the_file(source: PluginSource, said: object) -> None:
    assert reading_of(said, source)[0] == []
    assert len(reading_of(said, source)[1]) <= 1


def test_a_book_for_a_docstring_is_cut(workspace: Workspace) -> None:
    text = "'''" + "word " * 10_000 + "\n\n" + "cited " * 10_000 + "'''\n"
    path = workspace.write("plugins/book.py", text + registering("grid('mine')"))
    (entry,), _ = read_plugin(PluginSource(path, "book.py"))
    assert len(entry.summary) == MAX_LENGTH
    assert len(entry.source) == MAX_SOURCE
    long = registering("grid('mine', summary='word ' * 10**4, source='cited ' * 10**4)")
    path = workspace.write("plugins/long.py", long)
    (entry,), _ = read_plugin(PluginSource(path, "long.py"))
    assert (len(entry.summary), len(entry.source)) == (MAX_LENGTH, MAX_SOURCE)

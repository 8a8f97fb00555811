"""What a plan needs beside the registry: data sets, which may be missing, and answers of `skip`."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.workspace import Workspace
from support.workspace import empty_workspace
from support.workspace import registering

from membench.api import Architecture
from membench.api import Net
from membench.errors import MembenchError
from membench.planning.inputs import DatasetLoader
from membench.planning.inputs import SkipAnswers
from membench.registry.registry import Registry

DATASETS = """
import numpy as np
from membench import *

def load_dots(folder):
    return Arrays(np.zeros((6, 1, 2, 2), np.uint8), np.arange(6) % 2, 2)

def load_missing(folder):
    raise FileNotFoundError("download it")

def load_broken(folder):
    return Arrays(np.zeros((6, 1, 2, 2), np.uint8), np.arange(5) % 2, 2)

@hookimpl
def register():
    yield Dataset("dots", load_dots)
    yield Dataset("missing", load_missing)
    yield Dataset("stated", load_missing, shape=(3, 4, 5), num_classes=7)
    yield Dataset("broken", load_broken)
    yield Architecture("net", lambda shape, num_classes: None)
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A working folder with three data sets and an architecture."""
    workspace = empty_workspace(tmp_path, monkeypatch)
    workspace.write("plugins/datasets.py", DATASETS)
    return workspace


def with_skip(workspace: Workspace, expression: str) -> Registry:
    """Return a registry whose regularizer `picky` has this function of `net` as its `skip`."""
    record = f"grid('picky', skip=lambda net: {expression})"
    workspace.write("plugins/picky.py", registering(record))
    registry = workspace.discover()
    assert registry.problems == ()
    return registry


class Inspector:
    """Describes networks, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(
        self, architecture: Architecture, shape: tuple[int, int, int], num_classes: int
    ) -> Net:
        self.calls += 1
        return Net(shape, num_classes, taps=(), params={}, has_batch_norm=False)


# --- data sets ------------------------------------------------------------------------------------


def test_the_size_of_an_image_is_known_from_the_arrays_or_from_what_the_data_set_states(
    workspace: Workspace,
) -> None:
    data = DatasetLoader(workspace.discover(), None, needed=False)
    assert data.image_size("dots") == ((1, 2, 2), 2)
    assert data.image_size("stated") == ((3, 4, 5), 7)
    assert data.image_size("missing") is None


def test_a_data_set_is_loaded_once(workspace: Workspace) -> None:
    data = DatasetLoader(workspace.discover(), None)
    assert data.is_available("dots")
    assert data.arrays("dots") is data.arrays("dots")
    assert len(data.hash("dots")) == 64


def test_a_missing_data_set_is_an_error_if_it_is_needed(workspace: Workspace) -> None:
    data = DatasetLoader(workspace.discover(), None)
    with pytest.raises(MembenchError, match="download it"):
        data.is_available("missing")


def test_a_missing_data_set_that_is_not_needed_is_noted(workspace: Workspace) -> None:
    data = DatasetLoader(workspace.discover(), None, needed=False)
    assert not data.is_available("missing")
    assert data.hash("missing") == ""
    assert "download it" in data.notes["missing"]


def test_a_data_set_with_invalid_arrays_is_an_error_even_if_it_is_not_needed(
    workspace: Workspace,
) -> None:
    data = DatasetLoader(workspace.discover(), None, needed=False)
    with pytest.raises(MembenchError, match="broken"):
        data.is_available("broken")


# --- skip -----------------------------------------------------------------------------------------


def test_an_answer_of_skip_is_remembered_by_later_processes(workspace: Workspace) -> None:
    registry = with_skip(workspace, "f'{net.num_classes} classes are too few'")
    inspector = Inspector()
    for _ in ("asked", "remembered"):
        skips = SkipAnswers(registry, DatasetLoader(registry, None), inspector)
        assert skips.reason("dots", "net", "picky") == "2 classes are too few"
        assert skips.problems == []
    assert inspector.calls == 1


def test_the_answer_that_a_regularizer_can_act_is_remembered_too(workspace: Workspace) -> None:
    registry = with_skip(workspace, "None")
    inspector = Inspector()
    for _ in ("asked", "remembered"):
        skips = SkipAnswers(registry, DatasetLoader(registry, None), inspector)
        assert skips.reason("dots", "net", "picky") is None
    assert inspector.calls == 1


def test_changed_code_is_asked_again(workspace: Workspace) -> None:
    inspector = Inspector()
    for expression in ("'first'", "'second'"):
        registry = with_skip(workspace, expression)
        skips = SkipAnswers(registry, DatasetLoader(registry, None), inspector)
        assert skips.reason("dots", "net", "picky") == expression.strip("'")
    assert inspector.calls == 2


def test_skip_is_not_asked_about_a_missing_data_set(workspace: Workspace) -> None:
    registry = with_skip(workspace, "'never'")
    inspector = Inspector()
    skips = SkipAnswers(registry, DatasetLoader(registry, None, needed=False), inspector)
    assert skips.reason("missing", "net", "picky") is None
    assert inspector.calls == 0


def test_a_skip_that_raises_is_a_problem_and_is_asked_again(workspace: Workspace) -> None:
    registry = with_skip(workspace, "net.no_such_field")
    for _ in range(2):
        skips = SkipAnswers(registry, DatasetLoader(registry, None), Inspector())
        reason = skips.reason("dots", "net", "picky")
        assert reason is not None
        assert reason.startswith("its skip raised AttributeError: ")
        (problem,) = skips.problems
        assert str(problem) == f"plugins/picky.py: picky is left out: {reason}"


def test_an_architecture_that_cannot_be_built_is_named(workspace: Workspace) -> None:
    def inspect(architecture: Architecture, shape: tuple[int, int, int], num_classes: int) -> Net:
        raise TypeError("too small")

    registry = with_skip(workspace, "None")
    skips = SkipAnswers(registry, DatasetLoader(registry, None), inspect)
    message = r"architecture 'net' cannot take inputs \[1, 2, 2\] and 2 classes: TypeError"
    with pytest.raises(MembenchError, match=message):
        skips.reason("dots", "net", "picky")

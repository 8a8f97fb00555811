"""pytest plugin for authors of plugins.

`membench_check` makes each check a test; `membench_act` calls a stage function on given tensors.

```python
import pytest

@pytest.mark.membench("src/mine.py")  # files, folders, modules, or registered names
def test_contract(membench_check):
    membench_check()

def test_the_formula(membench_act):
    h = torch.ones(4, 3)
    assert torch.equal(membench_act("src/mine.py", "hidden", 0.5, h), 0.5 * h)
```

It acts on tests that ask for these fixtures and on no others; torch is imported when such a test is
collected or run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pytest

if TYPE_CHECKING:
    from membench.registry.entry import PluginEntry
    from membench.registry.registry import Registry
    from membench.testing.subject import Subject


GIVEN: pytest.StashKey[list[Subject]] = pytest.StashKey()  #: what `membench check` wants checked
MARK = "membench"


class ContractWarning(UserWarning):
    """A check found what is allowed and not good."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, so that `--strict-markers` lets it pass."""
    config.addinivalue_line(
        "markers", f"{MARK}(*plugins): files, modules or names that `membench_check` checks"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a case of each check of each record, for a test that takes `membench_check`."""
    if "membench_check" not in metafunc.fixturenames:
        return
    from membench.testing.catalogue import CHECKS

    cases = []
    for subject in _marked_subjects(metafunc):
        for check in CHECKS[subject.entry.kind].values():
            cases.append(pytest.param((subject, check), id=f"{subject.id}-{check.name}"))
    metafunc.parametrize("membench_check", cases, indirect=True)


def _marked_subjects(metafunc: pytest.Metafunc) -> list[Subject]:
    """Return what `membench check` gave, else what the test's mark names."""
    given = metafunc.config.stash.get(GIVEN, None)
    if given is not None:
        return given
    names = [name for mark in metafunc.definition.iter_markers(MARK) for name in mark.args]
    if not names:
        raise pytest.UsageError(
            f'{metafunc.definition.nodeid}: say which plugin: @pytest.mark.{MARK}("mine.py")'
        )
    return find_subjects(names, metafunc.config.rootpath)


def find_subjects(names: Iterable[str], folder: Path) -> list[Subject]:
    """Find the records that names stand for.

    Args:
        names: Files, folders, modules or registered names.
        folder: Where relative paths begin.

    Returns:
        The records that have checks, in the order of the names.

    Raises:
        pytest.UsageError: A name stands for nothing, or its file cannot be read.
    """
    from membench.errors import MembenchError

    subjects: list[Subject] = []
    try:
        for name in names:
            if _is_registered_name(name, folder):
                subjects += _registered_subjects(name, folder)
            else:
                subjects += _subjects_of_files(name, folder)
    except MembenchError as error:
        raise pytest.UsageError(str(error)) from error
    return subjects


def _is_registered_name(text: str, folder: Path) -> bool:
    """Return whether the text is neither a path nor a module."""
    is_path = text.endswith(".py") or "/" in text or (folder / text).exists()
    return not is_path and "." not in text


def _registered_subjects(name: str, folder: Path) -> list[Subject]:
    from membench.registry.registry import discover
    from membench.testing.subject import Subject

    registry = discover(folder=folder)
    entries = [entry for entry in _checked_entries(registry) if entry.name == name]
    if not entries:
        problems = "; ".join(str(problem) for problem in registry.problems)
        raise pytest.UsageError(problems or f"{name!r} registers nothing: see `membench list`")
    return [Subject(entry, registry) for entry in entries]


def _subjects_of_files(name: str, folder: Path) -> list[Subject]:
    """Find what a file, a folder or a module registers."""
    from membench.registry.discovery import PluginSource
    from membench.registry.discovery import requested_sources
    from membench.registry.registry import discover
    from membench.testing.subject import Subject

    sources = requested_sources(name, folder)
    registry = discover([name], folder=folder)
    paths = {str(source.path) for source in sources if isinstance(source, PluginSource)}
    labels = [source.label for source in sources if isinstance(source, PluginSource)]
    entries = [entry for entry in _checked_entries(registry) if entry.path in paths]
    problems = []
    for problem in registry.problems:
        if any(label in problem.origin for label in labels):
            problems.append(str(problem))
    if problems or not entries:
        what = "; ".join(problems) or f"{name!r} registers nothing: see `membench list`"
        raise pytest.UsageError(what)
    return [Subject(entry, registry) for entry in entries]


def _checked_entries(registry: Registry) -> Iterator[PluginEntry]:
    """Yield the entries of the kinds that have checks."""
    from membench.testing.catalogue import CHECKS

    for kind in CHECKS:
        yield from getattr(registry, kind).values()


@pytest.fixture
def membench_check(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Give a function that runs this case's check.

    The function passes, skips, warns with `ContractWarning`, or fails.
    """
    from membench.testing.catalogue import CHECKS

    subject, check = request.param

    def run() -> None:
        outcome = subject.outcome(check, CHECKS[subject.entry.kind])
        request.node.user_properties.append((MARK, vars(outcome)))
        message = (
            f"{subject.id}: {check.title}: {outcome.what}\n"
            f"  at {outcome.where}\n"
            f"  to mend it: {outcome.mend}"
        )
        if outcome.status == "failed":
            pytest.fail(message, pytrace=False)
        if outcome.status == "warned":
            warnings.warn(message, ContractWarning, stacklevel=2)
        if outcome.status == "skipped":
            pytest.skip(outcome.what)

    return run


@pytest.fixture
def membench_act(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Give `act(plugin, stage, strength, *tensors, **fields)`: a stage function on given tensors.

    The lane is that of a tiny network's third step; `fields` replace or add fields of it, as in
    `state={...}`.
    """

    def act(plugin: str, stage: str, strength: float, *tensors: Any, **fields: Any) -> Any:
        subjects = find_subjects([plugin], request.config.rootpath)
        (subject,) = (s for s in subjects if s.entry.kind == "regularizers")
        return subject.bench.call_on_tensors(stage, (strength,), tensors, fields)

    return act

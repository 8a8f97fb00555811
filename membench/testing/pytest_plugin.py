"""pytest plugin for authors of plugins: `membench_check`, each check as a test; `membench_act`, a function by hand.

```python
import pytest

@pytest.mark.membench("src/mine.py")  # files, folders, modules, or registered names
def test_contract(membench_check):
    membench_check()

def test_the_formula(membench_act):
    h = torch.ones(4, 3)
    assert torch.equal(membench_act("src/mine.py", "hidden", 0.5, h), 0.5 * h)
```

It acts on tests that ask for these fixtures and on no others; torch is imported when such a test is collected or run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pytest

if TYPE_CHECKING:
    from membench.testing.subject import Subject


GIVEN: pytest.StashKey[list[Subject]] = pytest.StashKey()  #: what `membench check` wants checked
MARK = "membench"


class ContractWarning(UserWarning):
    """A check found what is allowed and not good."""


def pytest_configure(config: pytest.Config) -> None:
    """The mark is known, so that `--strict-markers` lets it pass."""
    config.addinivalue_line(
        "markers", f"{MARK}(*plugins): files, modules or names that `membench_check` checks"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A case for each check of each record."""
    if "membench_check" not in metafunc.fixturenames:
        return
    from membench.testing.catalogue import CHECKS

    cases = [(s, check) for s in _asked(metafunc) for check in CHECKS[s.entry.kind].values()]
    ids = [f"{subject.id}-{check.name}" for subject, check in cases]
    metafunc.parametrize("membench_check", cases, ids=ids, indirect=True)


def _asked(metafunc: pytest.Metafunc) -> list[Subject]:
    given = metafunc.config.stash.get(GIVEN, None)
    if given is not None:
        return given
    names = [name for mark in metafunc.definition.iter_markers(MARK) for name in mark.args]
    if not names:
        raise pytest.UsageError(
            f'{metafunc.definition.nodeid}: say which plugin: @pytest.mark.{MARK}("mine.py")'
        )
    return subjects(names, metafunc.config.rootpath)


def subjects(names: Iterable[str], folder: Path) -> list[Subject]:
    """What files, folders, modules or registered names stand for; relative to the folder.

    Raises:
        pytest.UsageError: one is not there, or cannot be read.
    """
    from membench.errors import MembenchError
    from membench.registry.discovery import requested_sources
    from membench.registry.registry import discover
    from membench.testing.subject import Subject

    found: list[Subject] = []
    try:
        for name in names:
            files = [] if _is_name(name, folder) else requested_sources(name, folder)
            registry = discover([] if not files else [name], folder=folder)
            paths = {str(source.path) for source in files}
            tables = (
                registry.regularizers,
                registry.architectures,
                registry.datasets,
                registry.signals,
            )
            entries = [
                e
                for table in tables
                for e in table.values()
                if e.path in paths or (not files and e.name == name)
            ]
            wrong = [
                str(p)
                for p in registry.problems
                if not files or any(s.label in p.origin for s in files)
            ]
            if not entries or (files and wrong):
                raise pytest.UsageError(
                    "; ".join(wrong) or f"{name!r} registers nothing: see `membench list`"
                )
            found += [Subject(entry, registry) for entry in entries]
    except MembenchError as error:
        raise pytest.UsageError(str(error)) from error
    return found


def _is_name(text: str, folder: Path) -> bool:
    """Neither a path nor a module."""
    return not (text.endswith(".py") or "/" in text or "." in text or (folder / text).exists())


@pytest.fixture
def membench_check(request: pytest.FixtureRequest) -> Callable[[], None]:
    """A function that runs this case's check: passes, skips, warns with `ContractWarning`, or fails."""
    from membench.testing.catalogue import CHECKS

    subject, check = request.param

    def run() -> None:
        found = subject.outcome(check, CHECKS[subject.entry.kind])
        request.node.user_properties.append((MARK, vars(found)))
        said = f"{subject.id}: {check.title}: {found.what}\n  at {found.where}\n  to mend it: {found.mend}"
        if found.status == "failed":
            pytest.fail(said, pytrace=False)
        if found.status == "warned":
            warnings.warn(said, ContractWarning, stacklevel=2)
        if found.status == "skipped":
            pytest.skip(found.what)

    return run


@pytest.fixture
def membench_act(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`act(plugin, stage, strength, *tensors, **fields)`: a stage function on tensors of the test's own.

    The lane is that of a tiny network's third step; `fields` replace or add fields of it, as in `state={...}`.
    """

    def act(plugin: str, stage: str, strength: float, *tensors: Any, **fields: Any) -> Any:
        (subject,) = (
            s for s in subjects([plugin], request.config.rootpath) if s.entry.kind == "regularizers"
        )
        return subject.bench.call_on_tensors(stage, (strength,), tensors, fields)

    return act

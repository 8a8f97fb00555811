"""The observers of a run: found, imported, and told what happens (`membench.observers`)."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pluggy

from membench.api import PROJECT
from membench.errors import MembenchError
from membench.observers import ObserverSpec
from membench.registry.discovery import PluginProblem
from membench.registry.discovery import PluginSource
from membench.registry.discovery import entry_points
from membench.registry.discovery import requested_sources
from membench.registry.loading import import_module
from membench.text import explain
from membench.text import one_line

OPTION = "--observer"
GROUP = "membench.observers"  #: of the entry points of installed packages


@dataclass(frozen=True)
class Observer:
    """One observer. It has a manager of its own: what it raises must not keep others from news."""

    name: str
    manager: pluggy.PluginManager


class Observers:
    """The observers of one run.

    Args:
        observers: in the order in which they are told.
    """

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = observers
        self._named: set[tuple[str, str]] = set()  #: observers and their hooks that have raised

    def __bool__(self) -> bool:
        return bool(self._observers)

    def tell(self, hook: str, **news: Any) -> None:
        """Call a hook of every observer; what one raises is named once on stderr.

        Args:
            hook: of `ObserverSpec`.
            news: its arguments.
        """
        for observer in self._observers:
            try:
                getattr(observer.manager.hook, hook)(**news)
            except (Exception, SystemExit) as error:
                self._name(observer, hook, error)

    def _name(self, observer: Observer, hook: str, error: BaseException) -> None:
        if (observer.name, hook) not in self._named:
            self._named.add((observer.name, hook))
            print(
                f"observer {observer.name}: {hook} raised {explain(error)}; the run goes on",
                file=sys.stderr,
            )


def load_observers(requested: Iterable[object]) -> Observers:
    """Import the observers of a command, and those of installed packages.

    Args:
        requested: what `--observer` names; from Python also objects that have the hooks.

    Raises:
        MembenchError: a requested one does not exist, cannot be imported or has no valid hook. One
            of an installed package only costs a line on stderr.
    """
    observers = []
    for wanted in requested:
        if isinstance(wanted, (str, Path)):
            for source in requested_sources(str(wanted), Path.cwd(), OPTION):
                observers.append(_imported(source))
        else:
            name = getattr(wanted, "__name__", type(wanted).__name__)
            observers.append(_observer(one_line(name), wanted))
    for found in entry_points(GROUP):
        try:
            observers.append(_imported(found))
        except MembenchError as error:
            print(error, file=sys.stderr)
    return Observers(observers)


def _imported(source: PluginSource | PluginProblem) -> Observer:
    """Import an observer.

    Raises:
        MembenchError: it is not possible, or what is imported is no observer.
    """
    if isinstance(source, PluginProblem):
        raise MembenchError(f"observer {source}")
    return _observer(source.label, import_module(source))


def _observer(name: str, implementation: object) -> Observer:
    """Connect a module or an object that has hooks.

    Raises:
        MembenchError: it has none, one that does not exist, or one with unknown arguments.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(ObserverSpec)
    try:
        manager.register(implementation)
    except pluggy.PluginValidationError as error:
        raise MembenchError(f"observer {name}: {_misfit(error)}") from error
    hooks = manager.get_hookcallers(implementation)
    if not hooks:
        raise MembenchError(
            f"observer {name}: no function of it is marked @membench.hookimpl; its hooks are "
            f"{', '.join(hook_names())}"
        )
    for hook in hooks:
        if not hook.has_spec():
            near = difflib.get_close_matches(hook.name, hook_names(), n=1)
            hint = f"did you mean {near[0]}?" if near else f"they are {', '.join(hook_names())}"
            raise MembenchError(f"observer {name}: there is no hook {hook.name}: {hint}")
    return Observer(name, manager)


def _misfit(error: pluggy.PluginValidationError) -> str:
    """Say why a function does not fit its hook, as `f(record) is the most that it may take`."""
    found = re.search(r"hook '(\w+)'", str(error))
    hook = getattr(ObserverSpec, found[1], None) if found else None
    if hook is None:
        return one_line(error)
    _, *arguments = inspect.signature(hook).parameters
    return f"{hook.__name__}({', '.join(arguments)}) is the most that it may take"


def hook_names() -> list[str]:
    """Return the names of the hooks, in the order in which a run calls them."""
    return [name for name in vars(ObserverSpec) if name.startswith(f"{PROJECT}_")]

"""`membench check`: find the requested plugins, run their checks, print what each check found."""

from __future__ import annotations

import argparse
import linecache
from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from membench.commands.certificate import write_certificate
from membench.commands.words import say
from membench.commands.words import saying_once
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.execution.process import available_cores
from membench.planning.select import compile_expression
from membench.registry.apart import read_cached
from membench.registry.cache import PluginCache
from membench.registry.discovery import PluginProblem
from membench.registry.discovery import PluginSource
from membench.registry.discovery import find_sources
from membench.registry.discovery import is_shipped
from membench.registry.discovery import requested_sources
from membench.registry.discovery import shipped_folder
from membench.registry.entry import PluginEntry
from membench.registry.registry import KINDS
from membench.registry.registry import Registry
from membench.registry.registry import build_registry
from membench.testing.catalogue import CHECKS
from membench.testing.check import Outcome
from membench.testing.runner import CheckJob
from membench.testing.runner import FileReport
from membench.testing.runner import Select
from membench.testing.runner import check_files
from membench.testing.runner import warm_up
from membench.text import short

#: status of a check -> its mark and the mark's style
MARKS = {
    "passed": ("✓", "green"),
    "warned": ("!", "yellow"),
    "failed": ("✗", "red"),
    "skipped": ("·", "dim"),
}


def check(options: argparse.Namespace) -> int:
    """Run the checks and print what they found.

    Returns:
        0; 1 if a check failed or a plugin could not be checked.
    """
    _, exit_code = run_checks(options)
    return exit_code


def run_checks(options: argparse.Namespace) -> tuple[list[FileReport], ExitCode]:
    """Do as `check` does, and return what was found in each file beside the exit code."""
    if not options.targets and not options.all:
        raise MembenchError("say what to check: a file, a folder, a registered name, or --all")
    console = Console(highlight=False, soft_wrap=True)
    cache = PluginCache.open()
    sources, problems = _find_sources(options)
    if options.all:
        _print_problems(console, [str(problem) for problem in problems])
    base = _shipped_registry(sources, cache)
    chosen, names = _choose(options, sources, cache)
    say(f"checking {len(chosen)} file{'' if len(chosen) == 1 else 's'}")
    warm_up()
    job = CheckJob(
        base=base,
        others=tuple(sources),
        select=_selection(options, names),
        limit=options.time_limit,
        data_folder=options.data_dir,
    )
    reports = []
    for report in check_files(chosen, job, _process_count(options, len(chosen))):
        reports.append(report)
        print_report(console, report, options.verbosity)
    _refuse_unknown_names(names, reports, base)
    if options.markdown:
        write_certificate(options.markdown, reports)
    exit_code = _print_summary(console, reports, unreadable=bool(options.all and problems))
    return reports, exit_code


def _find_sources(options: argparse.Namespace) -> tuple[list[PluginSource], list[PluginProblem]]:
    """Find every plugin file, those of `-p` among them, and what stands in the way of others."""
    sources, problems = [], []
    for source in find_sources(options.plugins, Path.cwd(), shipped_folder()):
        if isinstance(source, PluginSource):
            sources.append(source)
        else:
            problems.append(source)
    return sources, problems


def _choose(
    options: argparse.Namespace, sources: Sequence[PluginSource], cache: PluginCache
) -> tuple[list[PluginSource], list[str]]:
    """Choose the files to check.

    Args:
        options: `targets` and `all`.
        sources: every plugin file.
        cache: remembers which names a file registers.

    Returns:
        The files, and the plugin names among the targets.
    """
    chosen: dict[str, PluginSource] = {}
    if options.all:
        chosen = {source.key: source for source in sources}
    names = []
    for target in options.targets:
        if _is_path(target):
            of_target = [
                s for s in requested_sources(target, Path.cwd()) if isinstance(s, PluginSource)
            ]
        else:
            of_target = _sources_of_name(target, sources, cache)
            names.append(target)
        chosen.update({source.key: source for source in of_target})
    return list(chosen.values()), names


def _is_path(target: str) -> bool:
    return target.endswith(".py") or "/" in target or "." in target or Path(target).exists()


def _sources_of_name(
    name: str, sources: Iterable[PluginSource], cache: PluginCache
) -> list[PluginSource]:
    """Return the files known to register a name, or else those whose names are not known.

    Args:
        name: of a plugin.
        sources: every plugin file.
        cache: remembers which names a file registers.

    Raises:
        MembenchError: every file is known, and none registers the name.
    """
    registering, unread = [], []
    known_names: set[str] = set()
    for source in sources:
        entries = cache.get(source.key, source.path) or ()
        names = {entry["name"] for entry in entries}
        known_names |= names
        if name in names:
            registering.append(source)
        if not names:
            unread.append(source)
    if not registering and not unread:
        raise unknown_name("plugin", name, known_names, "membench list")
    return registering or unread


def _refuse_unknown_names(
    names: Iterable[str], reports: Sequence[FileReport], base: Registry
) -> None:
    """Raise `MembenchError` for a requested name that no file registers.

    The name may be in a file that could not be read: then nothing is raised.

    Args:
        names: that were requested.
        reports: of the files that were checked for them.
        base: what ships.
    """
    if any(report.problems for report in reports):
        return
    registered: set[str] = set()
    for kind in KINDS:
        registered.update(getattr(base, kind))
    for report in reports:
        registered.update(plugin["name"] for plugin in report.plugins.values())
    for name in names:
        if name not in registered:
            raise unknown_name("plugin", name, registered, "membench list")


def _shipped_registry(sources: Iterable[PluginSource], cache: PluginCache) -> Registry:
    """Build the registry of what ships with membench: a checked plugin is composed with it.

    The cache then knows every name that ships, so that one that nobody has is refused at once.
    """
    on_import = saying_once("reading plugins")
    shipped: list[PluginEntry] = []
    for source in sources:
        if is_shipped(str(source.path)):
            entries, _ = read_cached(source, cache, on_import)
            shipped += entries
    cache.save()
    return build_registry(shipped, [])


def _selection(options: argparse.Namespace, names: Sequence[str]) -> Select:
    """Return whether a check, "regularizers/dropout/off-run", is selected, as a function.

    A file that is checked for a name may register other plugins too: where all targets are names,
    only the checks of those names are selected.
    """
    matches = compile_expression(options.expression or "")
    paths = [target for target in options.targets if _is_path(target)]
    if options.all or paths or not names:
        return matches
    return lambda check_id: matches(check_id) and check_id.split("/")[1] in names


def _process_count(options: argparse.Namespace, files: int) -> int:
    """Return the requested number of processes or one a core, at most one for each file."""
    requested = options.workers or available_cores()
    return min(requested, max(1, files))


def print_report(console: Console, report: FileReport, verbosity: int) -> None:
    """Print one line for each plugin, a mark for each check, and below it the checks to look at.

    Args:
        console: where to.
        report: of one file.
        verbosity: 1 shows every check, 0 those that failed or warned, -1 only failures.
    """
    shown = set(MARKS)
    if verbosity == 0:
        shown = {"failed", "warned"}
    elif verbosity < 0:
        shown = {"failed"}
    for name in report.plugins:
        outcomes = [outcome for outcome in report.outcomes if outcome.plugin == name]
        details = [outcome for outcome in outcomes if outcome.status in shown]
        if details or (outcomes and verbosity >= 0):
            console.print(_plugin_line(name, outcomes))
        for outcome in details:
            console.print(_outcome_text(outcome, asked=verbosity > 0))
    _print_problems(console, [f"{report.source.label}: {problem}" for problem in report.problems])


def _print_problems(console: Console, problems: Iterable[str]) -> None:
    for problem in problems:
        console.print(Text(f"✗ {problem}", style="red"))


def _plugin_line(name: str, outcomes: Sequence[Outcome]) -> Text:
    """`dropout ✓✓· 2 passed, 1.3 s`."""
    line = Text(f"{name} ", style="bold")
    for outcome in outcomes:
        mark, style = MARKS[outcome.status]
        line.append(mark, style)
    seconds = sum(outcome.seconds for outcome in outcomes)
    return line.append(f" {count_outcomes(outcomes)}, {seconds:.1f} s", "default not bold")


def _outcome_text(outcome: Outcome, asked: bool) -> Text:
    """Say what a check found, where, and how to mend it; with `asked` what it asks, too."""
    mark, style = MARKS[outcome.status]
    text = Text(f"  {mark} {outcome.check}", style=style)
    if asked:
        kind = outcome.plugin.partition("/")[0]
        text.append(f": {CHECKS[kind][outcome.check].title}", "default")
    if outcome.what:
        text.append(f" ({outcome.what})" if asked else f": {outcome.what}", "default")
    if outcome.where:
        text.append(f"\n      at {outcome.where}{_source_line(outcome.where)}", "default")
    if outcome.mend:
        text.append(f"\n      to mend it: {outcome.mend}", "default")
    return text


def _source_line(where: str) -> str:
    """Return `: the text of the line` of a place in a file; "" for a file or an unreadable line."""
    path, _, number = where.rpartition(":")
    line = linecache.getline(path, int(number)) if number.isdigit() else ""
    return f": {short(line, 100)}" if line.strip() else ""


def count_outcomes(outcomes: Iterable[Outcome]) -> str:
    """Count outcomes, as in `33 passed, 1 warning`, without the checks that did not apply."""
    count = Counter(outcome.status for outcome in outcomes)
    warnings = "warning" if count["warned"] == 1 else "warnings"
    words = {"failed": "failed", "passed": "passed", "warned": warnings}
    parts = [f"{count[status]} {word}" for status, word in words.items() if count[status]]
    return ", ".join(parts) or "nothing to check"


def _print_summary(
    console: Console, reports: Sequence[FileReport], *, unreadable: bool
) -> ExitCode:
    """Print how many plugins and checks there were, and return the exit code.

    Args:
        console: where to.
        reports: of all files.
        unreadable: whether `--all` met plugins that cannot be found or read.
    """
    outcomes: list[Outcome] = []
    unchecked = 0
    for report in reports:
        outcomes += report.outcomes
        unchecked += len(report.problems)
    if not outcomes and not unchecked:
        raise MembenchError(
            "no check is selected: `membench check --all -v` shows their names",
            ExitCode.NOTHING,
        )
    plugins = len({outcome.plugin for outcome in outcomes})
    line = f"{plugins} plugin{'' if plugins == 1 else 's'}: {count_outcomes(outcomes)}"
    if unchecked:
        line += f", {unchecked} could not be checked"
    failed = any(outcome.status == "failed" for outcome in outcomes)
    if failed or unchecked or unreadable:
        console.print(Text(line, style="bold red"))
        return ExitCode.FAILED
    console.print(Text(line, style="bold green"))
    return ExitCode.OK

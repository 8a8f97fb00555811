"""`membench check`: which files are meant, one line a plugin, what failed beneath it, and the certificate."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.plugin_cache import PluginCache
from membench.plugin_finding import PluginProblem
from membench.plugin_finding import Source
from membench.plugin_finding import find_sources
from membench.plugin_finding import requested_sources
from membench.plugin_finding import shipped_folder
from membench.registry import assemble
from membench.registry import described
from membench.select import compile_expression
from membench.testing.child import Job
from membench.testing.child import Select
from membench.testing.harness import Report
from membench.testing.harness import check_files
from membench.testing.harness import warm_up
from membench.testing.subject import Outcome

MARKS = {"passed": ("✓", "green"), "warned": ("!", "yellow"), "failed": ("✗", "red"), "skipped": ("·", "dim")}


def check(options: argparse.Namespace) -> int:
    """Run the checks and print what they found. Returns the exit code."""
    if not options.targets and not options.all:
        raise MembenchError("say what to check: a file, a folder, a registered name, or --all")
    cache = PluginCache.open()
    everything = list(find_sources(options.plugins, Path.cwd(), shipped_folder()))
    sources = [found for found in everything if isinstance(found, Source)]
    console = Console(highlight=False, soft_wrap=True)
    problems = [found for found in everything if isinstance(found, PluginProblem)] if options.all else []
    _print_problems(console, [str(problem) for problem in problems])
    chosen, names = _chosen(options, sources, cache)
    workers = options.workers or len(os.sched_getaffinity(0))
    warm_up()
    job = Job(_base(sources, cache), tuple(sources), _select(options, names), options.time_limit)
    reports = []
    for report in check_files(chosen, job, min(workers, max(1, len(chosen)))):
        reports.append(report)
        print_report(console, report, options.verbosity)
    _missed(names, reports)
    if options.markdown:
        from membench.commands.certificate import write

        write(options.markdown, reports)
    return _summary(console, reports, bool(problems))


def _chosen(
    options: argparse.Namespace, sources: list[Source], cache: PluginCache
) -> tuple[list[Source], dict[str, set[str]]]:
    """The files to check, and the names that were asked for, each with the files where it may be."""
    chosen: dict[str, Source] = {source.key: source for source in sources} if options.all else {}
    names: dict[str, set[str]] = {}
    for target in options.targets:
        if _is_path(target):
            chosen |= {s.key: s for s in requested_sources(target, Path.cwd()) if isinstance(s, Source)}
            continue
        known = {s.key: {line["name"] for line in cache.get(s.key, s.path) or ()} for s in sources}
        within = [s for s in sources if target in known[s.key]] or [s for s in sources if not known[s.key]]
        if not within:
            raise unknown_name("plugin", target, set().union(*known.values()))
        chosen |= {s.key: s for s in within}
        names[target] = {str(s.path) for s in within}
    return list(chosen.values()), names


def _is_path(target: str) -> bool:
    return target.endswith(".py") or "/" in target or "." in target or Path(target).exists()


def _base(sources: Iterable[Source], cache: PluginCache) -> object:
    """What ships with membench, which is not checked against itself but composed with."""
    folder = shipped_folder().resolve()
    ours = [described(source, cache) for source in sources if source.path.is_relative_to(folder)]
    cache.save()
    return assemble([entry for entries, _ in ours for entry in entries], [])


def _select(options: argparse.Namespace, names: dict[str, set[str]]) -> Select:
    """Of "regularizers/dropout/off-run"; names and files that are asked for side by side add up."""
    fits = compile_expression(options.expression or "")
    only = bool(names) and not options.all and not any(map(_is_path, options.targets))
    return lambda case: fits(case) and (not only or case.split("/")[1] in names)


def _missed(names: dict[str, set[str]], reports: list[Report]) -> None:
    """A name that no file registers is a mistyped one."""
    there = {plugin["name"] for report in reports for plugin in report.plugins.values()}
    unread = any(report.problems for report in reports)
    for name in names:
        if name not in there and not unread:
            raise unknown_name("plugin", name, there)


def print_report(console: Console, report: Report, verbosity: int) -> None:
    """One line a plugin: a tick a check; beneath it what failed, and what is merely not good."""
    for name in report.plugins:
        outcomes = [outcome for outcome in report.outcomes if outcome.plugin == name]
        bad = [outcome for outcome in outcomes if outcome.status in ("failed", "warned")]
        if outcomes and (verbosity >= 0 or any(outcome.status == "failed" for outcome in bad)):
            console.print(_line(name, outcomes))
        for outcome in outcomes if verbosity > 0 else bad if verbosity == 0 else []:
            console.print(_told(outcome))
        for outcome in bad if verbosity < 0 else []:
            if outcome.status == "failed":
                console.print(_told(outcome))
    _print_problems(console, [f"{report.source.label}: {problem}" for problem in report.problems])


def _print_problems(console: Console, problems: Iterable[str]) -> None:
    for problem in problems:
        console.print(Text(f"✗ {problem}", style="red"))


def _line(name: str, outcomes: list[Outcome]) -> Text:
    line = Text(f"{name} ", style="bold")
    for outcome in outcomes:
        line.append(*MARKS[outcome.status])
    return line.append(f" {counted(outcomes)}, {sum(o.seconds for o in outcomes):.1f} s", "default not bold")


def counted(outcomes: Iterable[Outcome]) -> str:
    """`33 passed, 1 warning`; what did not apply is not counted."""
    count = Counter(outcome.status for outcome in outcomes)
    words = [("failed", "failed"), ("passed", "passed"), ("warned", "warning" if count["warned"] == 1 else "warnings")]
    return ", ".join(f"{count[status]} {word}" for status, word in words if count[status]) or "nothing to check"


def _told(outcome: Outcome) -> Text:
    """What, where and how to mend it."""
    mark, style = MARKS[outcome.status]
    text = Text(f"  {mark} {outcome.check}", style=style)
    if outcome.what:
        text.append(f": {outcome.what}", "default")
    if outcome.where:
        text.append(f"\n      at {outcome.where}", "default")
    if outcome.mend:
        text.append(f"\n      to mend it: {outcome.mend}", "default")
    return text


def _summary(console: Console, reports: list[Report], broken: bool) -> int:
    outcomes = [outcome for report in reports for outcome in report.outcomes]
    troubles = sum(len(report.problems) for report in reports)
    if not outcomes and not troubles:
        raise MembenchError("no check is selected: `membench check --all -v` shows their names", ExitCode.NOTHING)
    plugins = len({outcome.plugin for outcome in outcomes})
    failed = bool(troubles or broken or any(outcome.status == "failed" for outcome in outcomes))
    trouble = f", {troubles} could not be checked" if troubles else ""
    line = f"{plugins} plugin{'' if plugins == 1 else 's'}: {counted(outcomes)}{trouble}"
    console.print(Text(line, style="bold red" if failed else "bold green"))
    return ExitCode.FAILED if failed else ExitCode.OK

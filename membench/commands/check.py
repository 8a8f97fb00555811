"""The certificate of `membench check --markdown`: which plugin and code, which versions, what each check found."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from membench import __version__
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.files import disk_errors
from membench.planning.select import compile_expression
from membench.registry.cache import PluginCache
from membench.registry.discovery import PluginProblem
from membench.registry.discovery import PluginSource
from membench.registry.discovery import find_sources
from membench.registry.discovery import requested_sources
from membench.registry.discovery import shipped_folder
from membench.registry.loading import read_cached
from membench.registry.registry import build_registry
from membench.report.text import code
from membench.report.text import escape_markdown
from membench.testing.catalogue import CHECKS
from membench.testing.check import Outcome
from membench.testing.runner import CheckJob
from membench.testing.runner import FileReport
from membench.testing.runner import Select
from membench.testing.runner import check_files
from membench.testing.runner import warm_up

STATUS_WORDS = {
    "passed": "✓ passed",
    "warned": "! warning",
    "failed": "✗ failed",
    "skipped": "· does not apply",
}


def write_certificate(path: Path, reports: Iterable[FileReport]) -> None:
    """Write it whole; raises `MembenchError` if it cannot be written."""
    with disk_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(certificate(reports), "utf-8")


def certificate(reports: Iterable[FileReport]) -> str:
    """Markdown; all that a plugin wrote is text in it."""
    versions = f"membench {__version__}, torch {importlib.metadata.version('torch')}, Python {platform.python_version()}"
    head = f"# Checked by membench\n\n{escape_markdown(versions)}, {escape_markdown(platform.machine())}.\n"
    return "\n".join([head, *(part for report in reports for part in _of_file(report))])


def _of_file(report: FileReport) -> Iterator[str]:
    for name, plugin in report.plugins.items():
        outcomes = [outcome for outcome in report.outcomes if outcome.plugin == name]
        if outcomes:
            yield "\n".join(_of_plugin(plugin, outcomes, report.problems))
    if report.problems and not report.plugins:
        yield f"## {escape_markdown(report.source.origin)}\n\n{_skipped_lines(report.problems)}\n"


def _skipped_lines(problems: list[str]) -> str:
    return "\n".join(
        f"- **could not be checked**: {escape_markdown(problem)}" for problem in problems
    )


def _of_plugin(
    plugin: dict[str, Any], outcomes: list[Outcome], problems: list[str]
) -> Iterator[str]:
    failed = sum(outcome.status == "failed" for outcome in outcomes) + len(problems)
    whole = len(outcomes) == len(CHECKS[plugin["kind"]])
    verdict = (
        f"**{failed} failed**"
        if failed
        else "**All checks passed**"
        if whole
        else "**The selected checks passed**"
    )
    yield f"## {escape_markdown(plugin['name'])} ({escape_markdown(plugin['kind'].removesuffix('s'))})\n"
    yield f"{verdict}. From {escape_markdown(plugin['origin'])}; SHA-256 of the code {code(plugin['hash'])}.\n"
    if problems:
        yield _skipped_lines(problems) + "\n"
    yield "| check | holds | found | remark |\n| :-- | :-- | :-- | :-- |"
    for outcome in outcomes:
        title = CHECKS[plugin["kind"]][outcome.check].title
        remark = ": ".join(part for part in (outcome.where, outcome.what) if part)
        yield f"| {code(outcome.check)} | {escape_markdown(title)} | {STATUS_WORDS[outcome.status]} | {escape_markdown(remark)} |"
    yield ""


MARKS = {
    "passed": ("✓", "green"),
    "warned": ("!", "yellow"),
    "failed": ("✗", "red"),
    "skipped": ("·", "dim"),
}


def check(options: argparse.Namespace) -> int:
    """Run the checks and print what they found. Returns the exit code."""
    if not options.targets and not options.all:
        raise MembenchError("say what to check: a file, a folder, a registered name, or --all")
    cache = PluginCache.open()
    everything = list(find_sources(options.plugins, Path.cwd(), shipped_folder()))
    sources = [found for found in everything if isinstance(found, PluginSource)]
    console = Console(highlight=False, soft_wrap=True)
    problems = (
        [found for found in everything if isinstance(found, PluginProblem)] if options.all else []
    )
    _print_problems(console, [str(problem) for problem in problems])
    chosen, names = _chosen(options, sources, cache)
    workers = options.workers or len(os.sched_getaffinity(0))
    warm_up()
    job = CheckJob(
        _base(sources, cache), tuple(sources), _select(options, names), options.time_limit
    )
    reports = []
    for report in check_files(chosen, job, min(workers, max(1, len(chosen)))):
        reports.append(report)
        print_report(console, report, options.verbosity)
    _missed(names, reports)
    if options.markdown:
        write_certificate(options.markdown, reports)
    return _summary(console, reports, bool(problems))


def _chosen(
    options: argparse.Namespace, sources: list[PluginSource], cache: PluginCache
) -> tuple[list[PluginSource], dict[str, set[str]]]:
    """The files to check, and the names that were asked for, each with the files where it may be."""
    chosen: dict[str, PluginSource] = (
        {source.key: source for source in sources} if options.all else {}
    )
    names: dict[str, set[str]] = {}
    for target in options.targets:
        if _is_path(target):
            chosen |= {
                s.key: s
                for s in requested_sources(target, Path.cwd())
                if isinstance(s, PluginSource)
            }
            continue
        known = {s.key: {line["name"] for line in cache.get(s.key, s.path) or ()} for s in sources}
        within = [s for s in sources if target in known[s.key]] or [
            s for s in sources if not known[s.key]
        ]
        if not within:
            raise unknown_name("plugin", target, set().union(*known.values()))
        chosen |= {s.key: s for s in within}
        names[target] = {str(s.path) for s in within}
    return list(chosen.values()), names


def _is_path(target: str) -> bool:
    return target.endswith(".py") or "/" in target or "." in target or Path(target).exists()


def _base(sources: Iterable[PluginSource], cache: PluginCache) -> object:
    """What ships with membench, which is not checked against itself but composed with."""
    folder = shipped_folder().resolve()
    ours = [read_cached(source, cache) for source in sources if source.path.is_relative_to(folder)]
    cache.save()
    return build_registry([entry for entries, _ in ours for entry in entries], [])


def _select(options: argparse.Namespace, names: dict[str, set[str]]) -> Select:
    """Of "regularizers/dropout/off-run"; names and files that are asked for side by side add up."""
    fits = compile_expression(options.expression or "")
    only = bool(names) and not options.all and not any(map(_is_path, options.targets))
    return lambda case: fits(case) and (not only or case.split("/")[1] in names)


def _missed(names: dict[str, set[str]], reports: list[FileReport]) -> None:
    """A name that no file registers is a mistyped one."""
    there = {plugin["name"] for report in reports for plugin in report.plugins.values()}
    unread = any(report.problems for report in reports)
    for name in names:
        if name not in there and not unread:
            raise unknown_name("plugin", name, there)


def print_report(console: Console, report: FileReport, verbosity: int) -> None:
    """One line a plugin: a tick a check; beneath it what failed, and what is merely not good."""
    for name in report.plugins:
        outcomes = [outcome for outcome in report.outcomes if outcome.plugin == name]
        bad = [outcome for outcome in outcomes if outcome.status in ("failed", "warned")]
        if outcomes and (verbosity >= 0 or any(outcome.status == "failed" for outcome in bad)):
            console.print(_line(name, outcomes))
        for outcome in outcomes if verbosity > 0 else bad if verbosity == 0 else []:
            console.print(_print_outcomes(outcome))
        for outcome in bad if verbosity < 0 else []:
            if outcome.status == "failed":
                console.print(_print_outcomes(outcome))
    _print_problems(console, [f"{report.source.label}: {problem}" for problem in report.problems])


def _print_problems(console: Console, problems: Iterable[str]) -> None:
    for problem in problems:
        console.print(Text(f"✗ {problem}", style="red"))


def _line(name: str, outcomes: list[Outcome]) -> Text:
    line = Text(f"{name} ", style="bold")
    for outcome in outcomes:
        line.append(*MARKS[outcome.status])
    return line.append(
        f" {count_outcomes(outcomes)}, {sum(o.seconds for o in outcomes):.1f} s", "default not bold"
    )


def count_outcomes(outcomes: Iterable[Outcome]) -> str:
    """`33 passed, 1 warning`; what did not apply is not counted."""
    count = Counter(outcome.status for outcome in outcomes)
    words = [
        ("failed", "failed"),
        ("passed", "passed"),
        ("warned", "warning" if count["warned"] == 1 else "warnings"),
    ]
    return (
        ", ".join(f"{count[status]} {word}" for status, word in words if count[status])
        or "nothing to check"
    )


def _print_outcomes(outcome: Outcome) -> Text:
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


def _summary(console: Console, reports: list[FileReport], broken: bool) -> int:
    outcomes = [outcome for report in reports for outcome in report.outcomes]
    troubles = sum(len(report.problems) for report in reports)
    if not outcomes and not troubles:
        raise MembenchError(
            "no check is selected: `membench check --all -v` shows their names", ExitCode.NOTHING
        )
    plugins = len({outcome.plugin for outcome in outcomes})
    failed = bool(troubles or broken or any(outcome.status == "failed" for outcome in outcomes))
    trouble = f", {troubles} could not be checked" if troubles else ""
    line = f"{plugins} plugin{'' if plugins == 1 else 's'}: {count_outcomes(outcomes)}{trouble}"
    console.print(Text(line, style="bold red" if failed else "bold green"))
    return ExitCode.FAILED if failed else ExitCode.OK

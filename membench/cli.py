"""The command line: words to options, options to one of the commands, errors to one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

from membench import __version__
from membench import words
from membench.errors import ExitCode
from membench.errors import MembenchError

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; see `membench.errors.ExitCode`."""
    options = parser().parse_args(arguments)
    try:
        return options.command(options)
    except MembenchError as error:
        return fail(str(error), error.code)
    except BrokenPipeError:  # `membench list | head`: nobody reads on, and that is fine
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except KeyboardInterrupt:
        return fail("interrupted; all that was measured is kept, the same command goes on", ExitCode.INTERRUPTED)
    except Exception:
        traceback.print_exc()
        return fail("this is a defect of membench; all that was measured is kept", ExitCode.INTERNAL)


def fail(message: str, code: ExitCode) -> int:
    """Say it on stderr, in one line, and hand the code back."""
    from membench.plugin_finding import one_line

    red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else ("", "")
    print(f"{red}membench: {one_line(message)}{plain}", file=sys.stderr)
    return code


class Parser(argparse.ArgumentParser):
    """Usage errors exit with pytest's code, 4, and one line."""

    def error(self, message: str) -> None:
        raise SystemExit(fail(f"{message} (see {self.prog} --help)", ExitCode.USAGE))


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(prog="membench", description="Noise-fitting suppression against real-data generalization, measured.")
    top.add_argument("--version", action="version", version=f"membench {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    _list(commands)
    _plan(commands)
    _run(commands)
    _reproduce(commands)
    _status(commands)
    _report(commands)
    _check(commands)
    _new(commands)
    _data(commands)
    return top


def _add(commands: argparse._SubParsersAction, name: str, text: str, command: Command) -> argparse.ArgumentParser:
    sub = commands.add_parser(name, help=text, description=text)
    sub.set_defaults(command=command)
    return sub


def _list(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.listing import list_plugins
        from membench.commands.setting import registry
        from membench.suites import SUITES

        found = registry(options)
        list_plugins(found, SUITES, options.json)
        return ExitCode.FAILED if found.problems else ExitCode.OK

    sub = _add(commands, "list", "Show the plugins and suites that can be run.", command)
    sub.add_argument("--json", action="store_true", help="as one JSON object, for programs")
    words.plugins(sub)


def _plan(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.running import plan

        return plan(options)

    sub = _add(commands, "plan", "Show what a run would train; without --all or -k, the whole suite.", command)
    words.selection(sub)
    words.plugins(sub)


def _run(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.running import run

        return run(options)

    sub = _add(commands, "run", "Train what is missing and write the leaderboard; stop and go on as you like.", command)
    words.selection(sub)
    words.plugins(sub)
    words.out(sub)
    words.training(sub)


def _reproduce(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.reproducing import reproduce

        return reproduce(options)

    text = "Run the paper's experiments, test their claims, write their figures; stop and go on as you like."
    sub = _add(commands, "reproduce", text, command)
    sub.add_argument("names", nargs="*", metavar="NAME", help="a study of `membench list`")
    sub.add_argument("--all", action="store_true", help="every study")
    sub.add_argument(
        "--scale", choices=("quick", "paper"), default="quick", help="paper: its own sizes; default: %(default)s"
    )
    words.data_dir(sub)
    words.plugins(sub)
    words.out(sub, Path("leaderboard/paper"))
    words.training(sub, "also the cells that failed or timed out last time")


def _status(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.board import status

        return status(options.out)

    words.out(_add(commands, "status", "Show how far each suite's run has come.", command))


def _report(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.board import check
        from membench.commands.board import report

        return check(options.out) if options.check else report(options.out)

    sub = _add(commands, "report", "Make the leaderboard's pages anew from the records; needs no torch.", command)
    sub.add_argument("--check", action="store_true", help="write nothing; exit 1 if the pages there are not these")
    words.out(sub)


def _check(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.checking import check

        return check(options)

    sub = _add(
        commands, "check", "Check that plugins keep the contract; says what, where, and how to mend it.", command
    )
    sub.add_argument("targets", nargs="*", metavar="PATH|NAME", help="a file, a folder, a module, a registered name")
    sub.add_argument("--all", action="store_true", help="every plugin that membench finds")
    sub.add_argument("-k", dest="expression", metavar="EXPR", help="only these: 'dropout and off-run', 'not one-graph'")
    sub.add_argument("-n", dest="workers", type=words.positive, metavar="N", help="processes; default: one a core")
    sub.add_argument(
        "--time-limit", type=words.positive, default=60, metavar="SECONDS", help="of a file; default: %(default)s"
    )
    sub.add_argument("--markdown", type=Path, metavar="FILE", help="write what was found as a certificate")
    sub.add_argument("-q", dest="verbosity", action="store_const", const=-1, default=0, help="only what failed")
    sub.add_argument("-v", dest="verbosity", action="store_const", const=1, help="every check")
    words.plugins(sub)


def _new(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.new import new

        return new(options.name, options.stage, options.out)

    sub = _add(commands, "new", "Write a regularizer's file to start from; it passes `membench check`.", command)
    sub.add_argument("name", metavar="NAME", help="of the regularizer: lower-case letters, digits, hyphens")
    sub.add_argument("--stage", default="loss", metavar="STAGE", help="where it acts; default: %(default)s")
    sub.add_argument("--out", type=Path, default=Path("plugins"), metavar="DIR", help="folder; default: %(default)s")


def _data(commands: argparse._SubParsersAction) -> None:
    def fetch(options: argparse.Namespace) -> int:
        from membench.commands.sets import fetch

        return fetch(options)

    def verify(options: argparse.Namespace) -> int:
        from membench.commands.sets import verify

        return verify(options)

    def none(options: argparse.Namespace) -> int:
        return fail("say what to do: membench data fetch NAME, or membench data verify", ExitCode.USAGE)

    sub = _add(commands, "data", "Fetch and verify data sets; nothing else ever downloads one.", none)
    actions = sub.add_subparsers(metavar="ACTION", parser_class=Parser)
    get = _add(actions, "fetch", "Download data sets, resume what was begun, check the sums.", fetch)
    get.add_argument("names", nargs="+", metavar="NAME", help="a data set of `membench list`")
    look = _add(actions, "verify", "Show which data sets are here, which are damaged, and how to mend that.", verify)
    look.add_argument("names", nargs="*", metavar="NAME", help="default: all of `membench list`")
    for action in (get, look):
        words.data_dir(action)
        words.plugins(action)

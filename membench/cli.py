"""The command line: a table of commands, and the way from a user's words to an exit code.

`COMMANDS` names the function of each command without importing it, so that `membench --help` loads
neither torch nor rich. The options that each command takes are in `membench.commands.options`.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from contextlib import nullcontext
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from typing import NoReturn

from membench import __version__
from membench.commands import options
from membench.commands import streams
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.text import one_line

#: Errors of a disk, or of a terminal that is gone, and not of membench.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@dataclass(frozen=True, kw_only=True)
class Command:
    """One word of the command line."""

    name: str
    #: "module:function" below `membench.commands`; takes the parsed options, returns the exit code
    function: str
    help: str  #: one sentence
    add_options: Callable[[argparse.ArgumentParser], None] | None = None
    trains: bool = False  #: it goes on when nobody can read what it prints
    actions: tuple[Command, ...] = ()  #: the words that may follow, as in `membench data fetch`


COMMANDS = (
    Command(
        name="list",
        function="list:list_plugins",
        help="List the plugins and suites that can be run.",
        add_options=options.add_list_options,
    ),
    Command(
        name="show",
        function="show:show",
        help="Show one plugin: what it is, its strengths, its rows on the boards.",
        add_options=options.add_show_options,
    ),
    Command(
        name="plan",
        function="plan:plan",
        help="Show what a run would train; by default the whole suite.",
        add_options=options.add_plan_options,
    ),
    Command(
        name="run",
        function="run:run",
        trains=True,
        help="Train a suite's missing cells and write the board; resumable.",
        add_options=options.add_run_options,
    ),
    Command(
        name="reproduce",
        function="reproduce:reproduce",
        trains=True,
        help="Train studies, test their claims, write their page; resumable.",
        add_options=options.add_reproduce_options,
    ),
    Command(
        name="status",
        function="report:status",
        help="Show how many cells of each suite are measured, failed and left.",
        add_options=options.add_results_folder,
    ),
    Command(
        name="report",
        function="report:report",
        help="Write a board's or the studies' pages again from the records.",
        add_options=options.add_report_options,
    ),
    Command(
        name="compare",
        function="compare:compare",
        help="Compare two entries of a board, or two boards, with paired intervals.",
        add_options=options.add_compare_options,
    ),
    Command(
        name="export",
        function="export:export",
        help="Write a board as CSV, JSON, LaTeX or BibTeX, or an entry's records.",
        add_options=options.add_export_options,
    ),
    Command(
        name="merge",
        function="merge:merge",
        help="Join the records of other folders to a board, and write its pages.",
        add_options=options.add_merge_options,
    ),
    Command(
        name="verify",
        function="verify:verify",
        trains=True,
        help="Train a random sample of a board's cells; compare with the records.",
        add_options=options.add_verify_board_options,
    ),
    Command(
        name="forget",
        function="forget:forget",
        help="Drop the records of failed or unwanted cells; write the board.",
        add_options=options.add_forget_options,
    ),
    Command(
        name="check",
        function="check:check",
        help="Check plugins against the contract and say how to mend them.",
        add_options=options.add_check_options,
    ),
    Command(
        name="new",
        function="new:new",
        help="Write the file of a new plugin, which passes the check.",
        add_options=options.add_new_options,
    ),
    Command(
        name="data",
        function="data:data",
        help="Download and verify data sets; no other command downloads any.",
        actions=(
            Command(
                name="fetch",
                function="data:fetch",
                help="Download data sets, resume partial downloads, verify checksums.",
                add_options=options.add_fetch_options,
            ),
            Command(
                name="verify",
                function="data:verify",
                help="Show whole, absent and damaged data sets, and how to mend them.",
                add_options=options.add_verify_options,
            ),
        ),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see `membench.errors.ExitCode`."""
    streams.open_closed_streams()
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:
        complete(parser)
    parsed = parser.parse_args(arguments)
    if parsed.function is None:
        parser.print_help()
        return ExitCode.OK
    try:
        with streams.lasting_output() if parsed.trains else nullcontext():
            code = load(parsed.function)(parsed)
        sys.stdout.flush()
        return code
    except MembenchError as error:
        return fail(str(error), error.code)
    except BrokenPipeError:  # `membench list | head` reads no more than it needs: not an error
        streams.drop_output()
        return ExitCode.OK
    except KeyboardInterrupt:
        message = "interrupted; all that was measured is kept, the same command resumes"
        return fail(message, ExitCode.INTERRUPTED)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            streams.drop_output()
            return fail(f"cannot write: {error.strerror}", ExitCode.DISK)
        traceback.print_exc()
        message = "this is a defect of membench; all that was measured is kept"
        return fail(message, ExitCode.INTERNAL)


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that completes a command line, and exit; do nothing without the extra."""
    with suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(parser)


def fail(message: str, code: ExitCode) -> ExitCode:
    """Print the message as one line on stderr, red on a terminal, and return the code."""
    line = f"membench: {one_line(message)}"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        line = f"\033[31m{line}\033[0m"
    with suppress(OSError):  # the exit code says it too
        print(line, file=sys.stderr)
    return code


class Parser(argparse.ArgumentParser):
    """A parser whose usage errors are one line and exit with pytest's code, 4.

    No option may be abbreviated: a script would break when another option is added.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """Exit with the message and the command that shows the right usage."""
        raise SystemExit(fail(f"{message} (see {self.prog} --help)", ExitCode.USAGE))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line from `COMMANDS`."""
    parser = Parser(
        prog="membench",
        description="Measure noise-fitting suppression against real-data generalization.",
    )
    parser.add_argument("--version", action="version", version=f"membench {__version__}")
    parser.set_defaults(function=None)
    _add_commands(parser, COMMANDS, metavar="COMMAND")
    return parser


def _add_commands(
    parser: argparse.ArgumentParser, commands: Iterable[Command], *, metavar: str
) -> None:
    """Add a parser for each command, and one for each of its actions."""
    subparsers = parser.add_subparsers(metavar=metavar, parser_class=Parser)
    for command in commands:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        subparser.set_defaults(function=command.function, trains=command.trains)
        if command.add_options is not None:
            command.add_options(subparser)
        if command.actions:
            _add_commands(subparser, command.actions, metavar="ACTION")


def load(function: str) -> Callable[[argparse.Namespace], int]:
    """Import a command's module, and return its function."""
    module, _, name = function.partition(":")
    loaded: Callable[[argparse.Namespace], int] = getattr(
        importlib.import_module(f"membench.commands.{module}"), name
    )
    return loaded

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
        return fail(
            "interrupted; all that was measured is kept, the same command goes on",
            ExitCode.INTERRUPTED,
        )
    except Exception:
        traceback.print_exc()
        return fail(
            "this is a defect of membench; all that was measured is kept", ExitCode.INTERNAL
        )


def fail(message: str, code: ExitCode) -> int:
    """Say it on stderr, in one line, and hand the code back."""
    from membench.text import one_line

    red, plain = (
        ("\033[31m", "\033[0m")
        if sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        else ("", "")
    )
    print(f"{red}membench: {one_line(message)}{plain}", file=sys.stderr)
    return code


class Parser(argparse.ArgumentParser):
    """Usage errors exit with pytest's code, 4, and one line."""

    def error(self, message: str) -> None:
        raise SystemExit(fail(f"{message} (see {self.prog} --help)", ExitCode.USAGE))


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(
        prog="membench",
        description="Noise-fitting suppression against real-data generalization, measured.",
    )
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


def _add(
    commands: argparse._SubParsersAction, name: str, text: str, command: Command
) -> argparse.ArgumentParser:
    sub = commands.add_parser(name, help=text, description=text)
    sub.set_defaults(command=command)
    return sub


def _list(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.list import list_plugins
        from membench.commands.session import registry
        from membench.planning.suites import SUITES

        found = registry(options)
        list_plugins(found, SUITES, options.json)
        return ExitCode.FAILED if found.problems else ExitCode.OK

    sub = _add(commands, "list", "Show the plugins and suites that can be run.", command)
    sub.add_argument("--json", action="store_true", help="as one JSON object, for programs")
    add_plugins(sub)


def _plan(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.run import plan

        return plan(options)

    sub = _add(
        commands,
        "plan",
        "Show what a run would train; without --all or -k, the whole suite.",
        command,
    )
    add_selection(sub)
    add_plugins(sub)


def _run(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.run import run

        return run(options)

    sub = _add(
        commands,
        "run",
        "Train what is missing and write the leaderboard; stop and go on as you like.",
        command,
    )
    add_selection(sub)
    add_plugins(sub)
    add_out(sub)
    add_training(sub)


def _reproduce(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.reproduce import reproduce

        return reproduce(options)

    text = "Run the paper's experiments, test their claims, write their figures; stop and go on as you like."
    sub = _add(commands, "reproduce", text, command)
    sub.add_argument("names", nargs="*", metavar="NAME", help="a study of `membench list`")
    sub.add_argument("--all", action="store_true", help="every study")
    sub.add_argument(
        "--scale",
        choices=("quick", "paper"),
        default="quick",
        help="paper: its own sizes; default: %(default)s",
    )
    add_data_dir(sub)
    add_plugins(sub)
    add_out(sub, Path("leaderboard/paper"))
    add_training(sub, "also the cells that failed or timed out last time")


def _status(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.report import status

        return status(options.out)

    add_out(_add(commands, "status", "Show how far each suite's run has come.", command))


def _report(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.report import check
        from membench.commands.report import report

        return check(options.out) if options.check else report(options.out)

    sub = _add(
        commands,
        "report",
        "Make the leaderboard's pages anew from the records; needs no torch.",
        command,
    )
    sub.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 if the pages there are not these",
    )
    add_out(sub)


def _check(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.check import check

        return check(options)

    sub = _add(
        commands,
        "check",
        "Check that plugins keep the contract; says what, where, and how to mend it.",
        command,
    )
    sub.add_argument(
        "targets",
        nargs="*",
        metavar="PATH|NAME",
        help="a file, a folder, a module, a registered name",
    )
    sub.add_argument("--all", action="store_true", help="every plugin that membench finds")
    sub.add_argument(
        "-k",
        dest="expression",
        metavar="EXPR",
        help="only these: 'dropout and off-run', 'not one-graph'",
    )
    sub.add_argument(
        "-n", dest="workers", type=positive, metavar="N", help="processes; default: one a core"
    )
    sub.add_argument(
        "--time-limit",
        type=positive,
        default=60,
        metavar="SECONDS",
        help="of a file; default: %(default)s",
    )
    sub.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write what was found as a certificate"
    )
    sub.add_argument(
        "-q", dest="verbosity", action="store_const", const=-1, default=0, help="only what failed"
    )
    sub.add_argument("-v", dest="verbosity", action="store_const", const=1, help="every check")
    add_plugins(sub)


def _new(commands: argparse._SubParsersAction) -> None:
    def command(options: argparse.Namespace) -> int:
        from membench.commands.new import new

        return new(options.name, options.stage, options.out)

    sub = _add(
        commands,
        "new",
        "Write a regularizer's file to start from; it passes `membench check`.",
        command,
    )
    sub.add_argument(
        "name", metavar="NAME", help="of the regularizer: lower-case letters, digits, hyphens"
    )
    sub.add_argument(
        "--stage", default="loss", metavar="STAGE", help="where it acts; default: %(default)s"
    )
    sub.add_argument(
        "--out",
        type=Path,
        default=Path("plugins"),
        metavar="DIR",
        help="folder; default: %(default)s",
    )


def _data(commands: argparse._SubParsersAction) -> None:
    def fetch(options: argparse.Namespace) -> int:
        from membench.commands.data import fetch

        return fetch(options)

    def verify(options: argparse.Namespace) -> int:
        from membench.commands.data import verify

        return verify(options)

    def none(options: argparse.Namespace) -> int:
        return fail(
            "say what to do: membench data fetch NAME, or membench data verify", ExitCode.USAGE
        )

    sub = _add(
        commands, "data", "Fetch and verify data sets; nothing else ever downloads one.", none
    )
    actions = sub.add_subparsers(metavar="ACTION", parser_class=Parser)
    get = _add(
        actions, "fetch", "Download data sets, resume what was begun, check the sums.", fetch
    )
    get.add_argument("names", nargs="+", metavar="NAME", help="a data set of `membench list`")
    look = _add(
        actions,
        "verify",
        "Show which data sets are here, which are damaged, and how to mend that.",
        verify,
    )
    look.add_argument("names", nargs="*", metavar="NAME", help="default: all of `membench list`")
    for action in (get, look):
        add_data_dir(action)
        add_plugins(action)


def add_selection(sub: argparse.ArgumentParser) -> None:
    """What to run: `plan` and `run`."""
    group = sub.add_argument_group("what to run")
    group.add_argument("--all", action="store_true", help="every registered regularizer")
    group.add_argument(
        "-k",
        dest="expression",
        metavar="EXPR",
        help="cells whose id fits, as in pytest: 'dropout and not seed3'",
    )
    group.add_argument(
        "-r", dest="compose", action="append", default=[], metavar="A+B", help="add a composition"
    )
    group.add_argument(
        "--grid",
        choices=("paired", "full"),
        default="paired",
        help="of -r: paired = the i-th strength of each part with the i-th of the others; full = also all with all, as "
        "a row that is not ranked; default: %(default)s",
    )
    group.add_argument(
        "--probe",
        dest="probes",
        action="append",
        default=[],
        metavar="NAME",
        help="measure this too; can be repeated",
    )
    group.add_argument("--suite", default="quick", help="default: %(default)s; see `membench list`")
    group.add_argument(
        "--architectures", type=_name_list, default=(), metavar="A,B", help="instead of the suite's"
    )
    group.add_argument(
        "--datasets", type=_name_list, default=(), metavar="A,B", help="instead of the suite's"
    )
    group.add_argument(
        "--seeds",
        type=_seed_list,
        default=(),
        metavar="0-4",
        help="instead of the suite's: 0,1,2 or 0-4",
    )
    group.add_argument(
        "--train-size",
        type=positive,
        metavar="N",
        help="images that a seed draws for training; default: the suite's",
    )
    group.add_argument("--epochs", type=positive, metavar="N", help="instead of the recipes'")
    add_data_dir(sub)


def add_plugins(sub: argparse.ArgumentParser) -> None:
    """`-p`."""
    sub.add_argument(
        "-p",
        dest="plugins",
        action="append",
        default=[],
        metavar="PLUGIN",
        help="load this file, folder or module too",
    )


def add_data_dir(sub: argparse.ArgumentParser) -> None:
    """`--data-dir`."""
    sub.add_argument(
        "--data-dir",
        type=_folder,
        metavar="DIR",
        help="where data sets lie; default: $MEMBENCH_DATA, else a cache",
    )


def add_out(sub: argparse.ArgumentParser, default: Path = Path("leaderboard")) -> None:
    """`--out`."""
    sub.add_argument(
        "--out", type=Path, default=default, metavar="DIR", help="the results; default: %(default)s"
    )


def add_training(
    sub: argparse.ArgumentParser, lf: str = "only the cells that failed or timed out last time"
) -> None:
    """How to train: `run` and `reproduce`."""
    sub.add_argument("--lf", action="store_true", help=lf)
    sub.add_argument(
        "--collect-only",
        action="store_true",
        help="print the ids of the selected cells, train nothing",
    )
    sub.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="default: cuda if there is one",
    )
    sub.add_argument(
        "-n", dest="workers", type=positive, metavar="N", help="workers; default: one a core"
    )
    sub.add_argument(
        "-x",
        dest="maxfail",
        action="store_const",
        const=1,
        help="stop at the first pack that fails",
    )
    sub.add_argument("--maxfail", type=positive, metavar="N", help="stop after N packs that failed")
    sub.add_argument(
        "--time-limit",
        type=positive,
        default=1800,
        metavar="SECONDS",
        help="of one pack; default: %(default)s",
    )
    sub.add_argument(
        "--accept-env",
        action="store_true",
        help="also count records of other torch versions, devices, machines",
    )


def positive(text: str) -> int:
    """A whole number from 1 on; raises `ArgumentTypeError`."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _name_list(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _seed_list(text: str) -> tuple[int, ...]:
    """`0,3,7-9` -> (0, 3, 7, 8, 9)."""
    seeds: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if (
            not first.isdigit()
            or (dash and not last.isdigit())
            or (dash and int(last) < int(first))
        ):
            raise argparse.ArgumentTypeError(f"{text!r}: write seeds as 0,1,2 or 0-4")
        seeds |= set(range(int(first), int(last or first) + 1))
    return tuple(sorted(seeds))

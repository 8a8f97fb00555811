"""The options of each command, and the types that read their values.

First one function for each command of `membench.cli.COMMANDS`, then the options that several
commands share, then the types. Nothing here may import torch or rich: `membench --help` needs all
of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

#: what `membench new --kind` writes
NEW_KINDS = (
    "regularizer",
    "architecture",
    "dataset",
    "signal",
    "optimizer",
    "suite",
    "probe",
    "study",
)


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench list`."""
    parser.add_argument(
        "kind",
        nargs="?",
        metavar="KIND",
        help="show this kind as a table: regularizers, architectures, datasets, signals, "
        "optimizers, probes, suites or studies",
    )
    add_expression(
        parser,
        "show what has the words in its name, group, stages or summary: 'weights and not l1'",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    add_plugins(parser)


def add_show_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench show`."""
    name = parser.add_argument(
        "name", metavar="NAME", help="of a plugin of any kind, or a composition"
    )
    completes(name, "regularizers", "architectures", "datasets", "signals", "suites", "studies")
    add_results_folder(parser)
    add_plugins(parser)


def add_compare_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench compare`."""
    for name in ("first", "second"):
        entry = parser.add_argument(
            name, metavar=name.upper(), help="an entry or control of the board; or a board's folder"
        )
        completes(entry, "regularizers")
    parser.add_argument("--suite", metavar="NAME", help="compare on this suite; default: on all")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--fail-below",
        action="append",
        default=[],
        metavar="[READING=]X",
        help="exit 1 where the second is shown to be worse: all of the difference's 95%% interval "
        "lies below X, of H unless it says dA or R; may be repeated",
    )
    add_results_folder(parser)


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench export`."""
    parser.add_argument(
        "--format",
        choices=("csv", "json", "latex", "bibtex", "records"),
        default="csv",
        help="csv, json: the rows; latex: both lists with booktabs; bibtex: what entries cite; "
        "records: a folder for a board's keeper; default: csv",
    )
    entry = parser.add_argument(
        "--entry",
        dest="entries",
        action="append",
        default=[],
        metavar="NAME",
        help="of this entry; may be repeated; default: of all",
    )
    completes(entry, "regularizers")
    parser.add_argument("--suite", metavar="NAME", help="of this suite; default: of all")
    parser.add_argument(
        "--to", type=Path, metavar="PATH", help="write to this file, or folder of records"
    )
    add_results_folder(parser)


def add_merge_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench merge`."""
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="DIR",
        help="a board's folder: of another machine or shard, or what `membench export --format "
        "records` wrote; without: what machines that share --out have left in it",
    )
    add_results_folder(parser)
    add_plugins(parser)


def add_forget_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench forget`."""
    add_expression(parser, "forget the cells whose id matches, as in `membench run`")
    parser.add_argument(
        "--failed", action="store_true", help="forget only cells that failed or timed out"
    )
    parser.add_argument("--suite", metavar="NAME", help="forget of this suite; default: of all")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the ids of the cells, and forget nothing"
    )
    add_results_folder(parser)


def add_verify_board_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench verify`."""
    entry = parser.add_argument(
        "entry",
        nargs="?",
        metavar="ENTRY",
        help="verify this entry alone; default: all, `none` too",
    )
    completes(entry, "regularizers")
    parser.add_argument(
        "--cells",
        type=positive_integer,
        default=20,
        metavar="N",
        help="train N cells, drawn at random; default: %(default)s",
    )
    parser.add_argument(
        "--sample-seed",
        type=whole_number,
        metavar="SEED",
        help="draw the cells that this seed draws; default: chance",
    )
    add_expression(parser, "draw among the cells whose id matches, as in `membench run`")
    parser.add_argument("--suite", metavar="NAME", help="verify this suite; default: all")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="read the entry's row anew on seeds that nobody could know, and mark it as confirmed "
        "by the board's keeper where it agrees",
    )
    parser.add_argument(
        "--fresh-seeds",
        type=positive_integer,
        metavar="N",
        help="with --fresh: on N seeds; default: as many as the suite confirms on",
    )
    add_sandbox(parser)
    add_device(parser)
    add_workers(parser)
    add_time_limit(parser)
    add_verbosity(
        parser, quiet="show nothing but what failed, and the result", verbose="show tracebacks"
    )
    add_results_folder(parser)
    add_data_folder(parser)
    add_plugins(parser)
    parser.set_defaults(maxfail=None, durations=None, junit_xml=None, engine="local", address=None)


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench plan`."""
    add_selection(parser)
    parser.add_argument(
        "-n",
        dest="workers",
        type=positive_integer,
        metavar="N",
        help="show the time of N workers; default: one a core",
    )
    parser.add_argument(
        "--slurm",
        type=positive_integer,
        metavar="N",
        help="print a script that submits N jobs to Slurm, each with -n cores (default: 4), and "
        "one that merges what they measured",
    )
    add_results_folder(parser)
    add_data_folder(parser)
    add_plugins(parser)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench run`."""
    add_selection(parser)
    add_training(parser)
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="count records of this machine's environment alone: torch, device, instruction set",
    )
    add_sandbox(parser)
    add_force(parser)
    add_results_folder(parser)
    add_data_folder(parser)
    add_plugins(parser)


def add_reproduce_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench reproduce`."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a study to reproduce; see `membench list`"
    )
    parser.add_argument("--all", action="store_true", help="reproduce every study")
    parser.add_argument(
        "--scale",
        choices=("quick", "paper"),
        default="quick",
        help="choose the sizes; paper: those of the study's paper; default: %(default)s",
    )
    add_training(parser)
    parser.add_argument(
        "--accept-env",
        action="store_true",
        help="count records of other torch, devices and instruction sets too",
    )
    add_results_folder(parser, Path("leaderboard/paper"))
    add_data_folder(parser)
    add_plugins(parser)


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench report`."""
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 1 if the pages are out of date",
    )
    add_force(parser)
    add_results_folder(parser)
    add_data_folder(parser)
    add_plugins(parser)


def add_check_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench check`."""
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="PATH|NAME",
        help="a file, folder, module or registered name to check",
    )
    parser.add_argument("--all", action="store_true", help="check every plugin that is found")
    add_expression(parser, "run only the checks that match: 'dropout and off-run', 'not one-graph'")
    parser.add_argument(
        "-n",
        dest="workers",
        type=positive_integer,
        metavar="N",
        help="run N processes; default: one a core",
    )
    parser.add_argument(
        "--time-limit",
        type=positive_integer,
        default=60,
        metavar="SECONDS",
        help="stop the checks of a file after this time; default: %(default)s",
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the outcomes to FILE as a certificate"
    )
    add_verbosity(
        parser, quiet="show only what failed", verbose="show every check, and what it asks"
    )
    add_data_folder(parser)
    add_plugins(parser)


def add_new_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench new`."""
    parser.add_argument(
        "name",
        metavar="NAME",
        help="the name: lower-case letters, digits and hyphens",
    )
    parser.add_argument(
        "--kind",
        choices=NEW_KINDS,
        default="regularizer",
        metavar="KIND",
        help=f"choose what it is: {', '.join(NEW_KINDS)}; default: %(default)s",
    )
    parser.add_argument(
        "--stage",
        metavar="STAGE",
        help="choose the stage of the step at which a regularizer acts: batch, perturb, hidden, "
        "loss, penalty, grads, weights, init, update or readout; default: loss",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("plugins"),
        metavar="DIR",
        help="write the file to this folder; default: %(default)s",
    )
    add_plugins(parser)


def add_fetch_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench data fetch`."""
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="a data set to download, or a signal with files; see `membench list`",
    )
    add_data_folder(parser)
    add_plugins(parser)


def add_verify_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `membench data verify`."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="a data set to verify, or a signal with files; default: all",
    )
    add_data_folder(parser)
    add_plugins(parser)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which cells of which suite are meant."""
    group = parser.add_argument_group("selection")
    group.add_argument("--all", action="store_true", help="select every registered regularizer")
    add_expression(
        group, "select the cells whose id matches, as in pytest: 'dropout and not seed3'"
    )
    group.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="take the I-th of N parts of what is selected, cut by regularizer, each with the "
        "baseline; `membench merge` joins them",
    )
    group.add_argument(
        "-r",
        dest="compose",
        action="append",
        default=[],
        metavar="A+B",
        help="add a composition of regularizers; may be repeated",
    )
    group.add_argument(
        "--grid",
        choices=("paired", "full"),
        default="paired",
        help="combine the strengths of -r; paired: the i-th of each part; full: also all other "
        "combinations, as a row that is not ranked; default: %(default)s",
    )
    group.add_argument(
        "--probe",
        dest="probes",
        action="append",
        default=[],
        metavar="NAME",
        help="measure this probe too; may be repeated",
    )
    suite = group.add_argument(
        "--suite", default="quick", help="use this suite of `membench list`; default: %(default)s"
    )
    completes(suite, "suites")
    group.add_argument(
        "--architectures",
        type=comma_separated,
        default=(),
        metavar="A,B",
        help="replace the suite's architectures",
    )
    group.add_argument(
        "--datasets",
        type=comma_separated,
        default=(),
        metavar="A,B",
        help="replace the suite's data sets",
    )
    group.add_argument(
        "--signals",
        type=comma_separated,
        default=(),
        metavar="A,B",
        help="replace the suite's signals, as in real,mixed@0.2,randY",
    )
    group.add_argument(
        "--seeds",
        type=seed_list,
        default=(),
        metavar="3-12",
        help="replace the suite's confirming seeds, as in 3,4,5 or 3-12",
    )
    group.add_argument(
        "--train-size",
        type=positive_integer,
        metavar="N",
        help="draw N training images for each seed; default: the suite's",
    )
    group.add_argument(
        "--epochs",
        type=positive_integer,
        metavar="N",
        help="train for N epochs; default: the recipe's",
    )
    optimizer = group.add_argument(
        "--optimizer",
        metavar="NAME",
        help="train with this optimizer of `membench list`; default: the recipe's",
    )
    completes(optimizer, "optimizers")
    group.add_argument(
        "--lr",
        type=positive_number,
        metavar="RATE",
        help="train at this learning rate; default: the recipe's",
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how cells are trained, which `run` and `reproduce` share."""
    group = parser.add_argument_group("training")
    group.add_argument(
        "--lf",
        action="store_true",
        help="train only cells that failed or timed out last time",
    )
    group.add_argument(
        "--collect-only",
        action="store_true",
        help="print the ids of the selected cells and train nothing",
    )
    add_device(group)
    add_workers(group)
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="start the workers on this machine, or in a Ray cluster (extra `ray`); default: "
        "%(default)s",
    )
    group.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="the head of the Ray cluster; default: $RAY_ADDRESS, else the cluster of this machine",
    )
    group.add_argument(
        "-x",
        dest="maxfail",
        action="store_const",
        const=1,
        help="stop at the first pack that fails",
    )
    group.add_argument(
        "--maxfail", type=positive_integer, metavar="N", help="stop after N packs that failed"
    )
    add_time_limit(group)
    group.add_argument(
        "--observer",
        dest="observers",
        action="append",
        default=[],
        metavar="OBSERVER",
        help="tell this file or module what happens, for a tracker; may be repeated",
    )
    group = parser.add_argument_group("what is printed")
    add_verbosity(
        group, quiet="show nothing but what failed, and the result", verbose="show tracebacks"
    )
    group.add_argument(
        "--durations",
        type=positive_integer,
        metavar="N",
        help="show the N packs that took longest",
    )
    group.add_argument(
        "--junit-xml",
        type=Path,
        metavar="FILE",
        help="write a JUnit report to FILE, a test case a cell, for a CI system",
    )


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add `--device`."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="train on this device; auto: cuda if there is one, else cpu; default: %(default)s",
    )


def add_workers(parser: argparse._ActionsContainer) -> None:
    """Add `-n`."""
    parser.add_argument(
        "-n",
        dest="workers",
        type=positive_integer,
        metavar="N",
        help="start N workers; default: one a core, or one a GPU (the variable "
        "MEMBENCH_WORKER_MEMORY ends one that holds more GB)",
    )


def add_time_limit(parser: argparse._ActionsContainer) -> None:
    """Add `--time-limit`."""
    parser.add_argument(
        "--time-limit",
        type=positive_integer,
        default=1800,
        metavar="SECONDS",
        help="stop a pack that makes no progress for this time; default: %(default)s",
    )


def add_verbosity(parser: argparse._ActionsContainer, quiet: str, verbose: str) -> None:
    """Add `-q` and `-v`, which set `verbosity` to -1 and 1."""
    for flag, level, text in (("-q", -1, quiet), ("-v", 1, verbose)):
        parser.add_argument(
            flag,
            f"--{'quiet' if level < 0 else 'verbose'}",
            dest="verbosity",
            action="store_const",
            const=level,
            default=0,
            help=text,
        )


def add_sandbox(parser: argparse.ArgumentParser) -> None:
    """Add `--sandbox`."""
    parser.add_argument(
        "--sandbox",
        action="store_true",
        help="let plugins that do not ship see their own files, the data sets and the system's, "
        "write nowhere and use no network; needs Linux and bubblewrap, and refuses to start "
        "without. It does not protect from false results of theirs, from what fills memory or "
        "disk caches, nor from faults of the kernel or a GPU's driver",
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add `--force`."""
    parser.add_argument(
        "--force", action="store_true", help="replace pages that have more complete rows"
    )


def add_results_folder(
    parser: argparse.ArgumentParser, default: Path = Path("leaderboard")
) -> None:
    """Add `--out`, the folder of records and pages."""
    parser.add_argument(
        "--out",
        type=Path,
        default=default,
        metavar="DIR",
        help="use this folder of records and pages; default: %(default)s",
    )


def add_data_folder(parser: argparse.ArgumentParser) -> None:
    """Add `--data-dir`."""
    parser.add_argument(
        "--data-dir",
        type=_folder,
        metavar="DIR",
        help="look for data sets here; default: $MEMBENCH_DATA, else a cache",
    )


def add_expression(parser: argparse._ActionsContainer, meaning: str) -> None:
    """Add `-k`.

    Args:
        parser: of a command, or a group of its options.
        meaning: what is done to what matches.
    """
    parser.add_argument("-k", dest="expression", metavar="EXPR", help=meaning)


def add_plugins(parser: argparse.ArgumentParser) -> None:
    """Add `-p`."""
    parser.add_argument(
        "-p",
        dest="plugins",
        action="append",
        default=[],
        metavar="PLUGIN",
        help="load this file, folder or module too; may be repeated",
    )


def completes(option: argparse.Action, *kinds: str) -> None:
    """Let a shell complete an option by the names of registered plugins (extra `completion`)."""

    def names(prefix: str, **rest: object) -> list[str]:
        from membench.registry.registry import discover

        registry = discover()
        found = {name for kind in kinds for name in getattr(registry, kind)}
        return sorted(name for name in found if name.startswith(prefix))

    option.completer = names  # type: ignore[attr-defined]


def positive_integer(text: str) -> int:
    """Read a whole number from 1 on. Raises `ArgumentTypeError`."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def whole_number(text: str) -> int:
    """Read a whole number from 0 on. Raises `ArgumentTypeError`."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def positive_number(text: str) -> float:
    """Read a number above 0. Raises `ArgumentTypeError`."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def comma_separated(text: str) -> tuple[str, ...]:
    """Read names: `mlp, cnn` -> ("mlp", "cnn")."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def shard(text: str) -> tuple[int, int]:
    """Read a part of a whole, from 1: `2/4` -> (2, 4). Raises `ArgumentTypeError`."""
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}: write 1/4 to 4/4 for the parts of four")
    return int(index), int(count)


def seed_list(text: str) -> tuple[int, ...]:
    """Read seeds: `0,3,7-9` -> (0, 3, 7, 8, 9). Raises `ArgumentTypeError`."""
    seeds: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not dash:
            last = first
        if not (first.isdigit() and last.isdigit()) or int(last) < int(first):
            raise argparse.ArgumentTypeError(f"{text!r}: write seeds as 0,1,2 or 0-4")
        seeds.update(range(int(first), int(last) + 1))
    return tuple(sorted(seeds))


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()

"""The options that several commands share, and how their words are read. `membench.cli` hands them its parsers."""

from __future__ import annotations

import argparse
from pathlib import Path


def selection(sub: argparse.ArgumentParser) -> None:
    """What to run: `plan` and `run`."""
    group = sub.add_argument_group("what to run")
    group.add_argument("--all", action="store_true", help="every registered regularizer")
    group.add_argument(
        "-k", dest="expression", metavar="EXPR", help="cells whose id fits, as in pytest: 'dropout and not seed3'"
    )
    group.add_argument("-r", dest="compose", action="append", default=[], metavar="A+B", help="add a composition")
    group.add_argument(
        "--grid",
        choices=("paired", "full"),
        default="paired",
        help="of -r: paired = the i-th strength of each part with the i-th of the others; full = also all with all, as "
        "a row that is not ranked; default: %(default)s",
    )
    group.add_argument(
        "--probe", dest="probes", action="append", default=[], metavar="NAME", help="measure this too; can be repeated"
    )
    group.add_argument("--suite", default="quick", help="default: %(default)s; see `membench list`")
    group.add_argument("--architectures", type=_names, default=(), metavar="A,B", help="instead of the suite's")
    group.add_argument("--datasets", type=_names, default=(), metavar="A,B", help="instead of the suite's")
    group.add_argument("--seeds", type=_seeds, default=(), metavar="0-4", help="instead of the suite's: 0,1,2 or 0-4")
    group.add_argument(
        "--train-size", type=positive, metavar="N", help="images that a seed draws for training; default: the suite's"
    )
    group.add_argument("--epochs", type=positive, metavar="N", help="instead of the recipes'")
    data_dir(sub)


def plugins(sub: argparse.ArgumentParser) -> None:
    """`-p`."""
    sub.add_argument(
        "-p", dest="plugins", action="append", default=[], metavar="PLUGIN", help="load this file, folder or module too"
    )


def data_dir(sub: argparse.ArgumentParser) -> None:
    """`--data-dir`."""
    sub.add_argument(
        "--data-dir", type=_folder, metavar="DIR", help="where data sets lie; default: $MEMBENCH_DATA, else a cache"
    )


def out(sub: argparse.ArgumentParser, default: Path = Path("leaderboard")) -> None:
    """`--out`."""
    sub.add_argument("--out", type=Path, default=default, metavar="DIR", help="the results; default: %(default)s")


def training(sub: argparse.ArgumentParser, lf: str = "only the cells that failed or timed out last time") -> None:
    """How to train: `run` and `reproduce`."""
    sub.add_argument("--lf", action="store_true", help=lf)
    sub.add_argument("--collect-only", action="store_true", help="print the ids of the selected cells, train nothing")
    sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: cuda if there is one")
    sub.add_argument("-n", dest="workers", type=positive, metavar="N", help="workers; default: one a core")
    sub.add_argument("-x", dest="maxfail", action="store_const", const=1, help="stop at the first pack that fails")
    sub.add_argument("--maxfail", type=positive, metavar="N", help="stop after N packs that failed")
    sub.add_argument(
        "--time-limit", type=positive, default=1800, metavar="SECONDS", help="of one pack; default: %(default)s"
    )
    sub.add_argument(
        "--accept-env", action="store_true", help="also count records of other torch versions, devices, machines"
    )


def positive(text: str) -> int:
    """A whole number from 1 on; raises `ArgumentTypeError`."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _seeds(text: str) -> tuple[int, ...]:
    """`0,3,7-9` -> (0, 3, 7, 8, 9)."""
    seeds: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise argparse.ArgumentTypeError(f"{text!r}: write seeds as 0,1,2 or 0-4")
        seeds |= set(range(int(first), int(last or first) + 1))
    return tuple(sorted(seeds))

"""`membench report` and `membench status`: from the store to pages and counts.

For a board both need neither torch nor plugins; the pages of studies need those that analyse them.
`membench run` and `membench reproduce` write their pages with the functions below too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from membench.commands.words import say
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import disk_errors
from membench.records import parse_id
from membench.store.accepted import best_by_key
from membench.store.accepted import records_of
from membench.store.store import Contents
from membench.store.store import Store

if TYPE_CHECKING:
    from membench.records import Manifest
    from membench.records import Record
    from membench.report.confirmations import Confirmations
    from membench.scoring import Board
    from membench.store.shards import End

    ScoredSuite = tuple[Manifest, list[Record], Board]

CHOOSE, CONFIRM = "choose", "confirm"  #: the phases, as `membench status` names them


def report(options: argparse.Namespace) -> int:
    """Write the pages; with `--check` compare those that are there with what the records say.

    A check draws every figure anew: it vouches for the pages, so it must not trust a cache that
    wrote them.

    Returns:
        0; 1 if `--check` finds a difference.
    """
    out: Path = options.out
    studies = _records_of_studies(out)
    if not options.check:
        refuse_foreign_pages(out, is_paper=studies is not None)
    if studies is not None:
        from membench.commands import study_pages  # a board needs no plugins

        say("analysing the studies")
        files = study_pages.pages_of_records(options, studies)
    else:
        say("scoring the records, and drawing the figures")
        files = pages(score_suites(out), out, draw_all=options.check)
    if options.check:
        return _compare(out, files)
    write_pages(out, files, force=options.force)
    figures = sum(name.endswith(".svg") for name in files)
    print(f"wrote {out / 'README.md'} with index.html and {figures} figures")
    return ExitCode.OK


def _records_of_studies(out: Path) -> Contents | None:
    """Return what a folder of `membench reproduce` has stored; None if it is none."""
    store = Store(out / "records")
    if store.manifests():
        return None
    contents = store.read()
    return contents if contents.records else None


def _compare(out: Path, files: dict[str, bytes]) -> ExitCode:
    """Print how the pages under `out` differ from `files`."""
    from membench.report import differences

    different = differences(out, files)
    for line in different:
        print(line)
    if different:
        print(
            f"{out} is not what its records say: "
            f"run `membench report --out {out}` and commit the result"
        )
        return ExitCode.FAILED
    print(f"{out} is what its records say")
    return ExitCode.OK


def score_suites(out: Path) -> list[ScoredSuite]:
    """Score every suite of a store.

    Returns:
        Manifest, records and board of each suite in the order of the page: by name, `smoke` last.

    Raises:
        MembenchError: no run has been recorded.
    """
    from membench.scoring import score

    store = Store(out / "records")
    contents = store.read()
    for sentence in contents.warnings:
        print(sentence, file=sys.stderr)
    manifests = store.manifests()
    suites = []
    for name in sorted(manifests, key=lambda name: (name == "smoke", name)):
        records = records_of(manifests[name], contents)
        suites.append((manifests[name], records, score(manifests[name], records)))
    if not suites:
        raise nothing_recorded(out)
    return suites


def nothing_recorded(out: Path) -> MembenchError:
    """Return the error of a folder without records."""
    return MembenchError(
        f"no run has been recorded in {out}: start one with `membench run --all --out {out}`"
    )


def pages(suites: list[ScoredSuite], out: Path, *, draw_all: bool = False) -> dict[str, bytes]:
    """Render all files of the leaderboard in `out`, by their paths below it.

    Args:
        suites: as `score_suites` returns them.
        out: the leaderboard's folder.
        draw_all: draw every figure, also those that the user's cache folder holds.
    """
    from membench.report import FigureCache
    from membench.report import files_below
    from membench.report import orders
    from membench.report import pages_beside
    from membench.report import render

    commits = {}
    for manifest, _, _ in suites:
        if manifest.commit:
            commits[f"membench commit ({manifest.suite})"] = manifest.commit
    figure_cache = None if draw_all else FigureCache.open()
    calibration = calibration_section(out / "paper")
    below = [_decode(*file) for file in files_below(out, orders.FILE).items()]
    confirmations = read_confirmations(out)
    return render(
        suites, commits, calibration, figure_cache, pages_beside(out), below, confirmations
    )


def read_scores(out: Path) -> dict[Path, dict[str, Any]]:
    """Read the scores of the board in a folder and of the boards in the folders of it, by folder.

    Raises:
        MembenchError: one of their files is damaged.
    """
    from membench.report import orders

    paths = (out / orders.FILE, *sorted(out.glob(f"*/{orders.FILE}")))
    return {path.parent: _decode(path, path.read_bytes()) for path in paths if path.is_file()}


def read_confirmations(out: Path) -> Confirmations:
    """Read which rows of a board were read anew and agreed; {} where none was.

    Raises:
        MembenchError: the file is damaged.
    """
    from membench.report import confirmations

    path = out / confirmations.FILE
    if not path.is_file():
        return {}
    try:
        return confirmations.decode(path.read_bytes())
    except ValueError as error:
        raise MembenchError(
            f"{path} is damaged ({error}): restore it, or delete it and confirm the rows again"
        ) from error


def _decode(path: Path, content: bytes) -> dict[str, Any]:
    """Decode the scores of a board.

    Raises:
        MembenchError: the file is damaged.
    """
    from membench.report import orders

    try:
        return orders.decode(content)
    except ValueError as error:
        raise MembenchError(
            f"{path} is damaged ({error}): write it again with "
            f"`membench report --out {path.parent}`"
        ) from error


def calibration_section(folder: Path) -> str:
    """Render what the scores are worth, from the findings of `membench reproduce`.

    Args:
        folder: the results folder of the studies.

    Returns:
        Markdown; "" if the calibration was not run.

    Raises:
        MembenchError: the findings' file is damaged.
    """
    from membench.report import calibration

    file = folder / calibration.FILE
    if not file.is_file():
        return ""
    try:
        findings = json.loads(file.read_text("utf-8"))
        return calibration.section(findings, f"{folder.name}/README.md")
    except (KeyError, TypeError, ValueError) as error:
        raise MembenchError(
            f"{file} is damaged ({error!r}): write it again with `membench reproduce --all`"
        ) from error


def refuse_foreign_pages(out: Path, *, is_paper: bool = False) -> None:
    """Look for files that pages would replace, before anything is trained or written.

    Args:
        out: the folder of results.
        is_paper: the page to come is of the paper's experiments, not of a board.

    Raises:
        MembenchError: there is one that membench has not written, or a page of the other kind.
    """
    from membench.report import foreign_pages
    from membench.report import other_page

    for path in foreign_pages(out):
        raise MembenchError(
            f"{path} was not written by membench and would be replaced: "
            "move it, or give another folder with --out"
        )
    title = other_page(out, is_paper=is_paper)
    if title:
        raise MembenchError(
            f"{out / 'README.md'} is the page of the {title.removeprefix('the ')} and would be "
            "replaced by another kind of page: give another folder with --out"
        )


def write_pages(out: Path, files: dict[str, bytes], force: bool = False) -> None:
    """Write rendered files under `out`.

    Args:
        out: the folder of results.
        files: by their paths below it.
        force: whether to replace pages that have more complete rows.

    Raises:
        MembenchError: it is not possible (DISK), or the pages there have more complete rows.
    """
    from membench.report import write

    with disk_errors("write", out):
        write(out, files, force=force)


def status(options: argparse.Namespace) -> int:
    """Print for each suite and task how many cells ended how, and how many are left."""
    out: Path = options.out
    store = Store(out / "records")
    ends, manifests = store.read_ends(), store.manifests()
    if not manifests:
        print(f"nothing has been run in {out} yet: start with `membench run --all --out {out}`")
        return ExitCode.OK
    Console().print(_status_table(manifests, ends.by_key))
    for conflict in ends.conflicts:
        print(conflict)
    for sentence in ends.warnings:
        print(sentence)
    if ends.torn:
        print(f"{ends.torn} torn lines were set aside")
    return ExitCode.OK


def _status_table(manifests: dict[str, Manifest], ends: dict[str, list[End]]) -> Table:
    """Count the cells by suite, task and phase; those to confirm are the ones chosen so far."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("suite", "task", "phase"):
        table.add_column(column)
    for column in ("cells", "ok", "diverged", "failed", "left"):
        table.add_column(column, justify="right")
    for name, manifest in sorted(manifests.items()):
        for (task, phase), counts in _counts_by_phase(manifest, ends).items():
            table.add_row(
                Text(name),
                Text(task),
                phase,
                str(counts.total()),
                str(counts["ok"]),
                str(counts["diverged"]),
                str(counts["failed"] + counts["timeout"]),
                str(counts["left"]),
            )
    return table


def _counts_by_phase(
    manifest: Manifest, ends: dict[str, list[End]]
) -> dict[tuple[str, str], Counter[str]]:
    """Count the cells of each task and phase by how they ended; "left" are those without record."""
    counting = best_by_key(manifest.cells.values(), manifest.alone, ends)
    counts: dict[tuple[str, str], Counter[str]] = {}
    for task in manifest.tasks:
        counts[task, CHOOSE] = Counter()
        counts[task, CONFIRM] = Counter()
    for cell_id, key in manifest.cells.items():
        cell = parse_id(cell_id)
        phase = CHOOSE if cell.seed in manifest.choosing else CONFIRM
        of_phase = counts.setdefault((cell.task, phase), Counter())
        of_phase[counting[key].status if key in counting else "left"] += 1
    return counts

"""`membench report` and `membench status`: from the store to pages and counts, without torch and without plugins."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import disk_errors
from membench.store.accepted import accepted_records
from membench.store.store import Store

if TYPE_CHECKING:
    from membench.records import Manifest
    from membench.records import Record
    from membench.scoring import Board

    Scored = tuple[Manifest, list[Record], Board]


def scored(out: Path) -> list[Scored]:
    """Every suite of the store, in the order of the page. Raises `MembenchError` where there is nothing to report."""
    from membench.scoring import score

    store = Store(out / "records")
    contents, suites = store.read(), []
    for _, manifest in sorted(
        store.manifests().items(), key=lambda item: (item[0] == "smoke", item[0])
    ):
        records = accepted_records(manifest, contents)
        suites.append((manifest, records, score(manifest, records)))
    if not suites:
        raise MembenchError(
            f"no run has been recorded in {out}: start one with `membench run --all --out {out}`"
        )
    return suites


def pages(suites: list[Scored], out: Path) -> dict[str, bytes]:
    """All files of the leaderboard that lies in `out`."""
    from membench.report import render

    commits = {f"membench commit ({m.suite})": m.commit for m, _, _ in suites if m.commit}
    return render(suites, commits, trusted(out / "paper"))


def trusted(folder: Path) -> str:
    """What the scores are worth, from what `membench reproduce` left in `folder`; "" where it was not run.

    Raises:
        MembenchError: its file is damaged.
    """
    from membench.report import calibration

    file = folder / calibration.FILE
    if not file.is_file():
        return ""
    try:
        return calibration.section(json.loads(file.read_text("utf-8")), f"{folder.name}/README.md")
    except (KeyError, TypeError, ValueError) as error:
        raise MembenchError(
            f"{file} is damaged ({error!r}): write it anew with `membench reproduce --all`"
        ) from error


def write_pages(out: Path, files: dict[str, bytes]) -> None:
    """Raises `MembenchError` (DISK) where they cannot be written."""
    from membench.report import write

    with disk_errors("write", out):
        write(out, files)


def report(out: Path) -> int:
    """Write the pages."""
    files = pages(scored(out), out)
    write_pages(out, files)
    print(f"wrote {out / 'README.md'} and {sum(name.endswith('.svg') for name in files)} figures")
    return ExitCode.OK


def check(out: Path) -> int:
    """Compare the pages that are there with what the records say."""
    from membench.report import differences

    different = differences(out, pages(scored(out), out))
    for line in different:
        print(line)
    if different:
        print(
            f"{out} is not what its records say: run `membench report --out {out}` and commit the result"
        )
        return ExitCode.FAILED
    print(f"{out} is what its records say")
    return ExitCode.OK


def status(out: Path) -> int:
    """One line a suite and task: how many cells ended how, how many are left."""
    store = Store(out / "records")
    contents, manifests = store.read(), store.manifests()
    if not manifests:
        print(f"nothing has been run in {out} yet: start with `membench run --all --out {out}`")
        return ExitCode.OK
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("suite", "task", "cells", "ok", "diverged", "failed", "left"):
        table.add_column(column, justify="left" if column in ("suite", "task") else "right")
    for name, manifest in sorted(manifests.items()):
        ended = {r.key: r.status for r in accepted_records(manifest, contents)}
        for task in manifest.tasks:
            keys = [key for cell, key in manifest.cells.items() if cell.startswith(f"{task}/")]
            n = Counter(ended.get(key, "left") for key in keys)
            failed = n["failed"] + n["timeout"]
            row = [name, task, *map(str, (len(keys), n["ok"], n["diverged"], failed, n["left"]))]
            table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
    for conflict in contents.conflicts:
        print(conflict)
    if contents.torn:
        print(f"{contents.torn} torn lines were set aside")
    return ExitCode.OK

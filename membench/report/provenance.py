"""Where the numbers come from: which code, machine, data and seeds; and, on a page of its own, how long it took."""

from __future__ import annotations

import json
from collections import Counter
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from membench.records import PROTOCOL
from membench.records import STATUSES
from membench.records import Manifest
from membench.records import Record
from membench.records import canonical
from membench.records import digest
from membench.report.tables import table
from membench.report.text import code
from membench.report.text import count
from membench.report.text import escape_markdown
from membench.report.text import plain
from membench.scoring.record_index import index_records

MOST = 4  #: different values of one fact that are spelled out


def count_records(plan: Manifest, records: Iterable[Record]) -> list[Record]:
    """The records that the scores of this suite are made of, in the order of its cells."""
    known = index_records(plan, records).records
    return [known[key] for _, key in sorted(plan.cells.items()) if key in known]


def facts(plan: Manifest, records: Sequence[Record]) -> str:
    """A table of all that a stranger needs to make the same numbers."""
    done = Counter(record.status for record in records)
    rows = [
        ("protocol", str(PROTOCOL)),
        (
            "cells",
            f"{len(records)} of {len(plan.cells)}: "
            + ", ".join(f"{done[s]} {s}" for s in STATUSES if done[s]),
        ),
        ("plan, SHA-256", digest(plan.to_json())),
        ("signals", ", ".join(map(code, plan.signals))),
        ("seeds", escape_markdown(", ".join(map(str, plan.seeds)))),
        *(
            (f"recipe of {escape_markdown(task)}", _settings(plan.recipes[task]))
            for task in plan.tasks
            if task in plan.recipes
        ),
        *(
            (f"data set {escape_markdown(name)}, SHA-256", escape_markdown(sha))
            for name, sha in sorted(plan.datasets.items())
        ),
        *((escape_markdown(name), values) for name, values in _versions(records)),
        *(
            ("measured, but", f"{text} ({count(number, 'cell')})")
            for text, number in _notes(records)
        ),
    ]
    return table(["what", "value"], rows, left=(0, 1))


def given(extra: Mapping[str, str]) -> str:
    """Facts about the report itself that its caller knows."""
    return table(
        ["what", "value"],
        [(escape_markdown(k), escape_markdown(extra[k])) for k in sorted(extra)],
        left=(0, 1),
    )


def timing(suites: Iterable[tuple[Manifest, Sequence[Record]]]) -> str:
    """The page of wall-clock times: the only one that differs between two runs of the same numbers."""
    parts = [
        "# Wall-clock\n",
        "A pack of cells trains as one program; a cell's time is its pack's, divided by the cells of the pack. Other "
        "load, compilation and the width of the packs all count. Not compared by `membench report --check`.\n",
    ]
    for plan, records in suites:
        parts += [
            f"## {escape_markdown(plan.suite)}, version {plan.version}\n",
            _total(records),
            "",
        ]
        parts += [_times(plan, records), ""] if records else []
    return "\n".join(parts)


def _settings(recipe: Mapping[str, object]) -> str:
    return escape_markdown(", ".join(f"{name} {value}" for name, value in sorted(recipe.items())))


def _versions(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Every fact of `versions`, with its values and, if there are several, how many cells have each."""
    alike = Counter(canonical(record.versions) for record in records)
    known = [(json.loads(text), number) for text, number in alike.items()]
    return [
        (name, _values(known, name))
        for name in sorted({name for versions, _ in known for name in versions})
    ]


def _notes(records: Sequence[Record]) -> list[tuple[str, int]]:
    """What cells that ended well have to say all the same, as that their step ran uncompiled; and how many say it."""
    said = Counter(
        (record.regularizer, record.reason)
        for record in records
        if record.status == "ok" and record.reason
    )
    most = said.most_common(MOST)
    named = [
        (f"{escape_markdown(name)} {escape_markdown(plain(reason, limit=120))}", number)
        for (name, reason), number in most
    ]
    others = sum(said.values()) - sum(number for _, number in named)
    return [*named, *([("others", others)] if others else [])]


def _values(known: Sequence[tuple[dict[str, object], int]], name: str) -> str:
    found: Counter[str] = Counter()
    for versions, number in known:
        found[_spelled(versions.get(name))] += number
    ordered = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    if len(ordered) == 1:
        return escape_markdown(ordered[0][0])
    named = [
        f"{escape_markdown(value)} ({count(number, 'cell')})" for value, number in ordered[:MOST]
    ]
    return ", ".join(named) + (f" and {len(ordered) - MOST} others" if len(ordered) > MOST else "")


def _spelled(value: object) -> str:
    if value is None:
        return "not recorded"
    return plain(value if isinstance(value, str) else canonical(value), limit=120)


def _total(records: Sequence[Record]) -> str:
    seconds = sum(record.seconds for record in records)
    return (
        f"{count(len(records), 'cell')}, {seconds:.1f} s of packs in all ({seconds / 3600:.2f} h)."
    )


def _times(plan: Manifest, records: Sequence[Record]) -> str:
    by_entry: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_entry[record.regularizer].append(record)
    rows = []
    for entry in plan.entries:
        mine = by_entry[entry.name]
        by_task = [[r.seconds for r in mine if r.cell.task == task] for task in plan.tasks]
        means = [f"{sum(seconds) / len(seconds):.3f}" if seconds else "" for seconds in by_task]
        rows.append([escape_markdown(entry.name), *means, f"{sum(r.seconds for r in mine):.1f}"])
    return table(
        ["entry", *(f"{escape_markdown(task)}, s a cell" for task in plan.tasks), "all cells, s"],
        rows,
    )

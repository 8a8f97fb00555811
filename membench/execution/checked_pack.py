"""Take nothing on trust that a process says which a stranger's plugin may have taken over."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from itertools import pairwise
from typing import Any

from membench.planning.packs import Pack
from membench.records import STATUSES
from membench.records import Record
from membench.records import digest
from membench.store.shards import decode
from membench.store.shards import encode
from membench.text import one_line
from membench.text import short

Message = dict[str, Any]


@dataclass
class CheckedPack:
    """What a process that may be hostile says of the pack that it was given.

    It may say anything, in any order. What is passed on has the form of an honest worker's message
    and is about this pack; records are of its cells and of an environment that was announced.
    Whether their numbers are true, nobody can tell here.
    """

    pack: Pack
    environments: Sequence[Mapping[str, Any]]  #: that its records may be of
    records: list[Record] = field(default_factory=list)  #: once it is stored
    _lines: list[bytes] = field(default_factory=list)

    def take(self, message: Message) -> Iterator[Message]:
        """Yield what is passed on; `stored` or `raised` is the last."""
        kind = message["kind"]
        if kind == "started":
            if message.get("versions") in self.environments:
                yield {"kind": kind, "versions": message["versions"]}
        elif kind == "progress":
            done = message.get("done")
            if isinstance(done, (int, float)) and 0 <= done <= 1:
                yield {"kind": kind, "done": float(done)}
        elif kind == "record":
            line = message.get("line")
            if isinstance(line, str) and len(self._lines) <= len(self.pack.keys):
                self._lines.append(line.encode(errors="replace").removesuffix(b"\n"))
        elif kind == "stored":
            yield self._stored(last=message.get("last") is True)
        else:  # `raised`, or `broken`: what ends a run elsewhere costs a stranger its own pack
            reason = message.get("reason")
            yield {"kind": "raised", "reason": short(reason) if isinstance(reason, str) else ""}

    def _stored(self, last: bool) -> Message:
        try:
            records = [decode(line) for line in self._lines]
            fault = _fault_of_pack(self.pack, records, self.environments)
        except ValueError as error:
            fault = str(error)
        if fault:
            return {"kind": "raised", "reason": f"what it sent is refused: {short(fault)}"}
        self.records = records
        reasons = [record.reason for record in records if record.status in ("failed", "timeout")]
        return {
            "kind": "stored",
            "counts": Counter(record.status for record in records),
            "reason": short(reasons[0]) if reasons else "",
            "last": last,
        }


def _fault_of_pack(
    pack: Pack, records: Sequence[Record], environments: Sequence[Mapping[str, Any]]
) -> str:
    """Say in what records are not those of a pack; "" if they are.

    Args:
        pack: the pack.
        records: as they came.
        environments: that they may be of.

    Raises:
        ValueError: a number is not finite.
    """
    if [record.key for record in records] != list(pack.keys):
        return "it is not of the pack's cells"
    for cell, record in zip(pack.cells, records, strict=True):
        if (record.cell, record.id, record.pack) != (cell, cell.id, pack.id):
            return f"the record of {cell.id} names another cell"
        if record.versions not in environments or record.env != digest(record.versions):
            return f"the record of {cell.id} is not of this run's environment"
        fault = _fault_of_values(record, pack)
        if fault:
            return f"the record of {cell.id} has {fault}"
        encode(record)
    return ""


def _fault_of_values(record: Record, pack: Pack) -> str:
    """Say which field of a record has values that none can have; "" if none has."""
    measured = record.status == "ok"
    points = len(record.epochs) if measured else 0
    curves = (record.train, record.loss, record.val, record.test, record.wrong)
    shares = [*record.train, *record.val, record.label_share]
    shares += [value for value in (*record.test, *record.wrong) if value is not None]
    counts = (record.num_classes, record.num_train, record.num_test, record.num_wrong, record.steps)
    hashes = (record.train_bits, record.test_bits, record.arrays, record.numerics)
    sizes = (pack.split.train, pack.split.test)
    bits = (len(record.train_bits), len(record.test_bits))
    right = {
        "an unknown status": record.status in STATUSES,
        "a reason of several lines": record.reason == one_line(record.reason),
        "epochs that do not increase": _increase(record.epochs),
        "curves of another length": measured == bool(record.epochs)
        and all(len(curve) == points for curve in curves),
        "an accuracy outside of 0 to 1": all(_is_number(x) and 0 <= x <= 1 for x in shares),
        "a number of something that is none": all(type(n) is int and n >= 0 for n in counts),
        "a value that is no number": all(
            _is_number(value) for value in (*record.loss, record.cost, record.seconds)
        ),
        "bits that are not hexadecimal": all(re.fullmatch("[0-9a-f]*", text) for text in hashes),
        "another split": not measured or (record.num_train, record.num_test) == sizes,
        "too few or too many bits": not measured
        or bits == tuple(2 * -(-size // 8) for size in sizes),
        "a probe that nobody asked for": set(record.probes) <= set(pack.probes),
        "a probe that is no curve": all(map(_is_measured, record.probes.values())),
    }
    return next((fault for fault, is_right in right.items() if not is_right), "")


def _is_measured(metrics: Any) -> bool:
    """Tell whether these are metrics of a probe: lists of numbers, or of lists of them."""
    if not isinstance(metrics, dict):
        return False
    for curve in metrics.values():
        if not isinstance(curve, tuple):
            return False
        for value in curve:
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(number is None or _is_number(number) for number in numbers):
                return False
    return True


def _increase(epochs: Sequence[Any]) -> bool:
    if not all(type(epoch) is int for epoch in epochs):
        return False
    return all(one < other for one, other in pairwise((0, *epochs)))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)

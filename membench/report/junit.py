"""A run's records as a JUnit report, which CI systems read: a test case a cell."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as Xml

from membench.records import Record
from membench.records import parse_id
from membench.text import visible

FAILED = ("failed", "timeout")  #: statuses of cells that gave no measurement; diverging is one


def report(title: str, records: Iterable[Record]) -> bytes:
    """Write the report.

    Args:
        title: of the run, as in "quick 3".
        records: of the cells that it has trained.

    Returns:
        XML in UTF-8: the class of a case is task and regularizer, its time the seconds of one
        worker.
    """
    suite = Xml.Element("testsuite", name=visible(title))
    count = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    seconds = 0.0
    for record in sorted(records, key=lambda record: record.id):
        count["tests"] += 1
        count["failures"] += record.status in FAILED
        count["skipped"] += record.status == "skipped"
        seconds += record.seconds
        suite.append(_case(record))
    for name, number in count.items():
        suite.set(name, str(number))
    suite.set("time", f"{seconds:.3f}")
    root = Xml.Element("testsuites")
    root.append(suite)
    Xml.indent(root)
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _case(record: Record) -> Xml.Element:
    parts = parse_id(record.id)
    case = Xml.Element(
        "testcase",
        classname=visible(f"{parts.dataset}.{parts.architecture}.{record.regularizer}"),
        name=visible(f"{parts.setting}/{parts.signal}/seed{parts.seed}"),
        time=f"{record.seconds:.3f}",
    )
    reason = visible(record.reason)
    if record.status in FAILED:
        Xml.SubElement(case, "failure", type=record.status, message=reason)
    elif record.status == "skipped":
        Xml.SubElement(case, "skipped", message=reason)
    elif record.status == "diverged":
        Xml.SubElement(case, "system-out").text = f"diverged: {reason}"
    return case

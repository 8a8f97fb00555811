"""A run as a JUnit report: what a CI system reads of it."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from support.records import make_record

from membench.records import Cell
from membench.report import junit

CELLS = [Cell("d", "mlp", "mine", (0.5,), "mixed@0.4", seed) for seed in range(4)]


def test_a_cell_is_a_case_and_what_gave_no_measurement_is_a_failure() -> None:
    records = [
        make_record(CELLS[3], status="timeout", reason="no progress <&> \x1b[31m", seconds=0.0),
        make_record(CELLS[0], seconds=1.5),
        make_record(CELLS[1], status="diverged", reason="loss at step 3", seconds=0.5),
        make_record(CELLS[2], status="skipped", reason="no branch"),
    ]
    root = Xml.fromstring(junit.report("quick 3", records))
    (suite,) = root
    assert suite.attrib["name"] == "quick 3"
    numbers = [suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")]
    assert numbers == ["4", "1", "0", "1"]
    assert float(suite.attrib["time"]) >= 2.0
    first, diverged, skipped, late = suite
    assert first.attrib["classname"] == "d.mlp.mine"
    assert first.attrib["name"] == "mine[0.5]/mixed@0.4/seed0"
    assert (first.attrib["time"], list(first)) == ("1.500", [])
    assert diverged.find("failure") is None
    assert diverged.findtext("system-out") == "diverged: loss at step 3"
    assert skipped.find("skipped").attrib["message"] == "no branch"
    failure = late.find("failure")
    assert failure.attrib["type"] == "timeout"
    assert (
        "no progress <&>" in failure.attrib["message"] and "\x1b" not in failure.attrib["message"]
    )

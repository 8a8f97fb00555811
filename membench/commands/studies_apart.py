"""Ask strangers' studies what they plan and find, in processes of their own.

As `membench.execution.strangers` asks for what planning must know: a study may exit, crash or hang,
and what it answers is checked here. Files carry what is long: records there, a figure back.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from membench.api import Recipe
from membench.api import Split
from membench.commands import session
from membench.commands.projected_time import projected_time
from membench.errors import MembenchError
from membench.execution import answers
from membench.execution.strangers import StrangersApart
from membench.planning.inputs import DatasetLoader
from membench.planning.inputs import SkipAnswers
from membench.planning.study_plan import plan_arms
from membench.records import Record
from membench.registry.entry import PluginEntry
from membench.registry.validation import first_error
from membench.studies import Arm
from membench.studies import Finding
from membench.studies import Results
from membench.studies import Study
from membench.studies import Test
from membench.text import short

_RESULTS, _FIGURE = "results.jsonl", "figure.svg"
_MOST_FIGURE = 20_000_000  #: bytes


class StudyAnswers(answers.Answers):
    """The questions about studies; their arguments and what they return are JSON-ready."""

    def plan(self, name: str) -> dict[str, Any]:
        """Return what a study says of itself, without its functions and its private records."""
        study = self._registry.study(name)
        return {
            "claim": study.claim,
            "figure": study.figure,
            "scaled": study.scaled,
            "arms": {scale: [asdict(arm) for arm in arms] for scale, arms in study.arms.items()},
        }

    def projected_time(self, name: str, scale: str, folder: str | None) -> str:
        """Return how long the training of a study would take."""
        registry = self._registry.for_study(name)
        datasets = DatasetLoader(registry, Path(folder) if folder else None, needed=False)
        skips = SkipAnswers(registry, datasets, session.inspect_network)
        study = registry.study(name)
        plans = plan_arms(study, scale, registry, lambda _: "", skips.reason)
        return projected_time(plans, datasets)

    def analyse(self, name: str, folder: str) -> dict[str, Any]:
        """Analyse the records in a folder, and draw the figure there."""
        results: dict[str, list[Record]] = {}
        for line in (Path(folder) / _RESULTS).read_text("utf-8").splitlines():
            arm, record = json.loads(line)
            records = results.setdefault(arm, [])
            if record is not None:
                records.append(Record.from_json(record))
        of_arms = {arm: tuple(records) for arm, records in results.items()}
        finding, svg = analyse_here(self._registry.study(name), of_arms)
        (Path(folder) / _FIGURE).write_bytes(svg)
        return {
            "tests": [_plain_test(test) for test in finding.tests],
            "table": [[str(cell) for cell in row] for row in finding.table],
            "caption": str(finding.caption),
            "notes": [str(note) for note in finding.notes],
        }


def analyse_here(study: Study, results: Results) -> tuple[Finding, bytes]:
    """Return what a study finds in records, and the SVG of its figure.

    Raises:
        Exception: of any kind; an analysis may be foreign code.
    """
    from membench.report import paper

    finding = study.analyse(results)
    if not isinstance(finding, Finding):
        raise MembenchError(f"its analysis returns {type(finding).__name__}, no Finding")
    return finding, paper.figure(study.name, finding)


def _plain_test(test: Test) -> dict[str, Any]:
    """Return the fields of a test; its numbers may have been numpy's."""
    fields = asdict(test)
    for name in ("value", "low", "high", "threshold", "freedom"):
        fields[name] = float(fields[name])
    return fields


def main(message_fd: int) -> None:
    """Answer until the input ends."""
    answers.main(message_fd, StudyAnswers)


class StudiesApart(StrangersApart):
    """The children that answer for strangers' studies, and for their other plugins."""

    module = __name__
    main = staticmethod(main)

    def study(self, entry: PluginEntry) -> Study:
        """Return the plan of a study; its functions and its private records are not there.

        Raises:
            MembenchError: the study cannot be read, or is none.
        """
        said = self._ask_entries([entry], "plan", name=entry.name)
        try:
            study = _study(entry, **said)
        except (TypeError, ValueError, AttributeError) as error:
            raise MembenchError(f"study {entry.name!r}: {short(error)}") from error
        problem = first_error(study)
        if problem is not None:
            raise MembenchError(problem)
        return study

    def projected_time(self, entry: PluginEntry, plugins: Iterable[PluginEntry], scale: str) -> str:
        """Return how long the training of a study would take, in words.

        Args:
            entry: the study.
            plugins: that its cells use.
            scale: of the study.

        Raises:
            MembenchError: it does not say.
        """
        said = self._ask_entries(
            [entry, *plugins], "projected_time", name=entry.name, scale=scale, folder=self._folder
        )
        return short(said)

    def analyse(self, entry: PluginEntry, results: Results) -> tuple[Finding, bytes]:
        """Return what a study finds in records, and the SVG of its figure.

        Raises:
            MembenchError: its analysis raises, or ends its process, or gives no finding.
        """
        from membench.report.svg_data import check_svg

        with TemporaryDirectory(prefix="membench-study-") as folder:
            _write_results(Path(folder) / _RESULTS, results)
            said = self._ask_entries([entry], "analyse", name=entry.name, folder=folder)
            figure = Path(folder) / _FIGURE
            try:
                if figure.stat().st_size > _MOST_FIGURE:
                    raise ValueError("its figure is too large")
                svg = figure.read_bytes()
                check_svg(svg)
                return _finding(**said), svg
            except (OSError, TypeError, ValueError) as error:
                raise MembenchError(f"study {entry.name!r}: {short(error)}") from error


def _write_results(path: Path, results: Results) -> None:
    """Write records, a line each; an arm that has none is there too."""
    with path.open("w", encoding="utf-8") as file:
        for arm, records in results.items():
            lines: Sequence[Any] = [record.to_json() for record in records] or [None]
            for line in lines:
                file.write(json.dumps([arm, line]) + "\n")


def _study(entry: PluginEntry, claim: Any, figure: Any, scaled: Any, arms: Any) -> Study:
    return Study(
        name=entry.name,
        arms={str(scale): tuple(_arm(**arm) for arm in some) for scale, some in arms.items()},
        analyse=_nothing,
        claim=_text(claim),
        figure=_text(figure),
        scaled=_text(scaled),
        summary=entry.summary,
        source=entry.source,
        version=entry.version,
    )


def _arm(
    split: Mapping[str, Any],
    recipe: Mapping[str, Any],
    regularizers: Mapping[str, Any],
    **fields: Any,
) -> Arm:
    for name in ("architectures", "signals", "seeds", "probes", "read"):
        fields[name] = tuple(fields[name])
    strengths = {
        name: None if grid is None else tuple(tuple(map(float, setting)) for setting in grid)
        for name, grid in regularizers.items()
    }
    return Arm(split=Split(**split), recipe=Recipe(**recipe), regularizers=strengths, **fields)


def _finding(tests: Any, table: Any, caption: Any, notes: Any) -> Finding:
    """Return a finding, if it is one.

    Raises:
        TypeError, ValueError: it is none.
    """
    rows = tuple(tuple(_text(cell) for cell in row) for row in table)
    return Finding(
        tests=tuple(_test(**test) for test in tests),
        table=rows,
        draw=_nothing,
        caption=_text(caption),
        notes=tuple(_text(note) for note in notes),
    )


def _test(
    name: Any,
    value: Any,
    low: Any,
    high: Any,
    threshold: Any,
    method: Any,
    freedom: Any,
    claim: Any,
) -> Test:
    return Test(
        _text(name),
        float(value),
        float(low),
        float(high),
        float(threshold),
        method=_text(method),
        freedom=float(freedom),
        claim=_text(claim),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"it says {short(value, 20)} where text is due")
    return value


def _nothing(*_: Any) -> Any:
    raise AssertionError("it stands in for a function of a study")


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""The guide's observer for MLflow: what it calls, and what a real store then holds."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from contextlib import AbstractContextManager
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.board_objects import made_row
from support.cli import REPO
from support.records import make_record

from membench.commands.observers import load_observers
from membench.execution.summary import Summary
from membench.records import Cell

GUIDE = (REPO / "plugins" / "README.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"^```python\n([^`]*?^import mlflow\n.*?)^```$", GUIDE, re.M | re.S)
#: Prints the runs of an experiment: name, status, parameters and last metrics.
READ = """\
import json
from mlflow import MlflowClient

client = MlflowClient()
experiment = client.get_experiment_by_name("membench")
runs = client.search_runs([experiment.experiment_id])
shown = [
    [run.info.run_name, run.info.status, run.data.params, run.data.metrics] for run in runs
]
print(json.dumps(shown))
"""


class FakeMlflow(ModuleType):
    """Takes the calls of the example's functions down, in place of the package."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments: Any, **named: Any) -> AbstractContextManager[None]:
            self.calls.append((name, *arguments, *named.values()))
            return nullcontext()

        return call


def test_the_example_is_short_and_tells_mlflow_of_cells_and_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 30
    mlflow = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    path = tmp_path / "to_mlflow.py"
    path.write_text(EXAMPLE)
    observers = load_observers([path])
    observers.tell("membench_run_started", suite="tiny 1", cells=9, environment={"torch": "2"})
    for seed, status in enumerate(("ok", "failed", "ok")):
        cell = Cell("digits", "mlp", "none", (), "real", seed)
        observers.tell("membench_cell_finished", record=make_record(cell, status=status))
    observers.tell("membench_row_finished", row=made_row("dropout", 0.5, 1.0))
    observers.tell("membench_run_finished", summary=Summary(interrupted=True))
    assert capsys.readouterr().err == ""
    assert mlflow.calls[:6] == [
        ("set_experiment", "membench"),
        ("start_run", "tiny 1"),
        ("log_params", {"cells": 9, "torch": "2"}),
        ("log_metric", "ok", 1, 1),
        ("log_metric", "failed", 1, 2),
        ("log_metric", "ok", 2, 3),
    ]
    assert mlflow.calls[6] == ("start_run", "dropout", True)
    assert mlflow.calls[-2:] == [
        ("log_metrics", {"H": 0.5, "dA": 1.0, "R": 0.4}),
        ("end_run", "KILLED"),
    ]


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None,
    reason="MLflow is not installed: pip install -e '.[mlflow]'",
)
def test_the_example_fills_a_real_store_of_mlflow(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "to_mlflow.py").write_text(EXAMPLE)
    env = {
        **environ,
        "PYTHONPATH": f"{REPO / 'tests'}:{environ.get('PYTHONPATH', '')}",
        "MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    run = ["run", "--suite", "tiny", "-n", "1", "-k", "label-smoothing"]
    words = ["-m", "support.tiny", *run, "--observer", "to_mlflow.py"]
    outputs = []
    for command in (words, ["-c", READ]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert done.returncode == 0, done.stderr
        assert "raised" not in done.stderr, done.stderr
        outputs.append(done.stdout)
    runs = {name: rest for name, *rest in json.loads(outputs[-1].splitlines()[-1])}
    assert set(runs) == {"tiny 1", "label-smoothing", "training less"}
    assert {status for status, _, _ in runs.values()} == {"FINISHED"}
    _, params, metrics = runs["tiny 1"]
    assert params["device"].startswith("cpu")
    assert metrics["ok"] > 0

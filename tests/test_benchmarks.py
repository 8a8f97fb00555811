"""The benchmark against peers: all train the same cells, by the same step; the JSON is right."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.cli import REPO
from support.engine import own_cache

BENCHMARKS = Path(__file__).parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # the scripts import one another by name

import peer_membench  # noqa: E402
import peer_torch  # noqa: E402
import speed  # noqa: E402
import speed_process  # noqa: E402
import speed_work  # noqa: E402
import step_profile  # noqa: E402
from speed_page import Measured  # noqa: E402
from speed_page import disagreements  # noqa: E402
from speed_page import page  # noqa: E402
from speed_process import MEMBENCH  # noqa: E402
from speed_process import PEERS  # noqa: E402
from speed_work import SIGNALS  # noqa: E402
from speed_work import SIZES  # noqa: E402
from speed_work import WIDTH  # noqa: E402
from speed_work import Work  # noqa: E402
from speed_world import draw  # noqa: E402

NAMES = [kind.name for kind in PEERS]


@pytest.fixture(autouse=True)
def _cache() -> Iterator[None]:
    with own_cache():
        yield


@cache
def work(size: str) -> Work:
    return draw(SIZES[size].shortened(epochs=1), processes=2)


def stepped(work: Work, batch: int) -> tuple[Any, torch.Tensor, np.ndarray]:
    """Take one eager step of one engine lane with dropout off.

    Returns:
        (the cell, its new weights, the batch's examples).
    """
    size = replace(work.size, recipe=replace(work.size.recipe, batch=batch))
    cell = replace(work.cells[0], strength=(0.0,))
    run = peer_membench.Stacked(replace(work, size=size)).run([cell])
    trainer, order = run.trainer(), run.data.order(1)[:, :1]
    trainer.train_epoch(order)
    weights = {name: w[0].detach().numpy() for name, w in trainer.state["params"].items()}
    return cell, weights, order.flatten().numpy()


# --- the same work -------------------------------------------------------------------------------


def test_the_cells_are_a_dropout_grid_on_real_and_random_labels_and_fill_a_pack_a_process() -> None:
    for processes in (1, 2, 4):
        cells = speed_work.cells(SIZES["small"], (0.1, 0.3, 0.5, 0.7, 0.8), processes)
        assert len(cells) == len(set(cells)) and len(cells) % (processes * WIDTH) == 0
        assert {c.signal for c in cells} == set(SIGNALS) and len({c.strength for c in cells}) == 5
    assert {c.regularizer for c in work("small").cells} == {"dropout"}
    assert len(work("small").cells) == 30


@pytest.mark.parametrize("size", ["small", "mlp"])
def test_every_peer_trains_on_the_arrays_and_weights_that_the_engine_has(size: str) -> None:
    given = work(size)
    cells = given.cells[:WIDTH]
    run = peer_membench.Stacked(given).run(cells)
    trainer, pack = run.trainer(), run.data
    mean, std = trainer.data.mean.numpy(), trainer.data.std.numpy()
    for lane, cell in enumerate(cells):
        examples = given.of(cell)
        for split, x, y in (
            ("train", examples.x, examples.y),
            ("test", examples.test_x, examples.test_y),
        ):
            images = trainer.data.images[pack.rows[split][lane]].float().numpy()
            assert np.array_equal((images - mean[lane, 0]) / std[lane, 0], x)
            assert np.array_equal(pack.labels[split][lane], y)
        for name, w in trainer.state["params"].items():
            assert np.array_equal(w[lane], given.weights[cell.seed][name])
    arrays = peer_torch.TorchPeer(given, "highest", peer_torch.fit_resident).arrays
    for key, examples in given.examples.items():
        assert np.array_equal(arrays[key][0], examples.x)


@pytest.mark.parametrize("size", list(SIZES))
def test_a_plain_torch_step_is_an_engine_step(size: str) -> None:
    given, batch = work(size), SIZES[size].recipe.batch
    cell, weights, order = stepped(given, batch)
    net, examples = peer_torch.network(given.weights[cell.seed], 0.0), given.of(cell)
    x, y = torch.from_numpy(examples.x[order]), torch.from_numpy(examples.y[order])
    recipe = SIZES[size].recipe
    optimizer = torch.optim.SGD(net.parameters(), lr=recipe.lr, momentum=recipe.momentum)
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
    trained = peer_torch.network(weights, 0.0)
    for actual, expected in zip(net.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", list(SIZES))
def test_a_jax_step_is_an_engine_step(size: str) -> None:
    pytest.importorskip("jax")
    import jax
    import jax.numpy as jnp
    import peer_jax

    given = work(size)
    e, net = given.of(given.cells[0]), peer_jax.cnn if size == "cnn" else peer_jax.mlp
    # One batch holds all examples, because the peer has another order.
    recipe = replace(SIZES[size].recipe, batch=len(e.y), epochs=1)
    start = peer_jax.layers(given.weights[given.cells[0].seed])
    own = peer_jax.train(
        net, recipe, start, jnp.asarray(e.x), jnp.asarray(e.y), 0.0, jax.random.key(0)
    )
    _, weights, _ = stepped(given, len(e.y))
    for layer, engine in zip(own, peer_jax.layers(weights), strict=True):
        for name in ("w", "b"):
            np.testing.assert_allclose(layer[name], engine[name], rtol=1e-4, atol=1e-6)


def test_dropout_layers_stand_where_the_engine_has_taps() -> None:
    for size, taps in (("small", 2), ("mlp", 2), ("cnn", 3), ("wide", 2)):
        net = peer_torch.network(work(size).weights[0], 0.3)
        places = [i for i, layer in enumerate(net) if isinstance(layer, torch.nn.Dropout)]
        assert len(places) == taps
        assert all(isinstance(net[i - 1], torch.nn.ReLU) and net[i].p == 0.3 for i in places)


def test_flops_are_those_of_the_matrices() -> None:
    w = [m for m in work("mlp").weights[0].values() if m.ndim == 2]
    without_input_gradient = 3 * sum(m.size for m in w) - w[0].size
    assert work("mlp").flops == 2 * 100 * without_input_gradient


# --- what is reported ----------------------------------------------------------------------------


class FakeTeam:
    """Trains at the rate that its name has, and learns what all others learn."""

    def __init__(self, kind: Any, work: Work, precision: str, lanes: int, folder: str = "") -> None:
        self.kind, self.lanes, self.work = kind, lanes, work
        self.start_seconds, self.memory = 0.5 if folder else 1.0, 10**8
        self.folder = "folder"

    def ask(self, command: str | int) -> list[Any]:
        if command != "all":
            return [command]
        return [(2.0, {cell.id: (0.5 + cell.seed / 100, 0.6) for cell in self.work.cells})]

    def close(self) -> None:
        pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {
        "membench": 60.0,
        "ceiling": 100.0,
        "dataloader": 5.0,
        "lightning": 4.0,
        "pool": 20.0,
        "jax": 30.0,
    }
    monkeypatch.setattr(speed, "Team", FakeTeam)
    monkeypatch.setattr(speed, "_rate", lambda team, jobs: rates[team.kind.name])
    monkeypatch.setattr(speed_process.Kind, "installed", True)


@pytest.mark.usefixtures("fake")
def test_the_json_holds_the_ratio_of_every_size_and_peer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--sizes", "small,mlp", "--rounds", "2", "--json", str(tmp_path / "r.json")]
    assert speed.main(words) == 0
    expected = {"dataloader": 12.0, "lightning": 15.0, "pool": 3.0, "jax": 2.0}
    assert json.loads((tmp_path / "r.json").read_text()) == {"small": expected, "mlp": expected}
    text = capsys.readouterr().out
    assert "| 12.00 (12.00 - 12.00)" in text
    assert "60%" in text
    assert "1.0 / 0.5" in text  # membench's cold and warm start
    assert "VOID" not in text
    assert "null" not in text


@pytest.mark.usefixtures("fake")
def test_a_peer_that_is_not_installed_is_null_and_the_page_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed_process.Kind, "installed", property(lambda kind: not kind.needs))
    speed.main(
        ["--sizes", "small", "--peers", "pool,jax", "--quick", "--json", str(tmp_path / "r.json")]
    )
    assert json.loads((tmp_path / "r.json").read_text()) == {"small": {"pool": 3.0, "jax": None}}
    assert (
        "jax: null, since it is not installed here: pip install -e '.[bench]'\n"
        in capsys.readouterr().out
    )


@pytest.mark.usefixtures("fake")
def test_both_precisions_are_printed_and_the_json_is_of_full_precision(
    capsys: pytest.CaptureFixture[str],
) -> None:
    speed.main(["--sizes", "small", "--precision", "both", "--rounds", "1"])
    text = capsys.readouterr().out
    assert text.index("small, matmul precision highest") < text.index(
        "small, matmul precision medium"
    )


def test_an_unknown_size_is_refused_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        speed.main(["--sizes", "huge"])
    assert "huge: there are small, mlp, cnn, wide" in capsys.readouterr().err


def measured(off: float) -> Measured:
    """Return measurements of membench and a pool whose test accuracies differ by `off`."""
    m = Measured(work("small"), "highest", ("pool",))
    for name, shift in ((MEMBENCH.name, 0.0), ("pool", off), ("ceiling", 0.0)):
        m.rates[name], m.lanes[name], m.memory[name] = [1.0], 1, 0
        m.start_seconds[name] = m.cold_seconds[name] = 1.0
        m.warm_start_seconds[name] = m.warm_seconds[name] = 0.5
        m.learned[name] = {c.id: (0.9, 0.8 + 0.01 * c.seed + shift) for c in m.work.cells}
    return m


def test_accuracies_that_differ_by_more_than_the_seeds_do_make_a_comparison_void() -> None:
    assert disagreements(measured(0.02), "pool") == []
    texts = disagreements(measured(-0.1), "pool")
    assert len(texts) == 5
    assert texts[0].startswith("test accuracy @0.1: 0.710, membench 0.810, allowed ± 0.0")
    assert "VOID pool: test accuracy @0.5" in page(measured(-0.1))


def test_the_memory_of_a_process_counts_its_children() -> None:
    before = speed_process.resident(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert speed_process.resident(os.getpid()) >= before > 0
        child.communicate(b"\n")


@pytest.mark.slow
def test_the_whole_benchmark_runs(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(BENCHMARKS / "speed.py"),
        "--quick",
        "--json",
        str(tmp_path / "r.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    ratios = json.loads((tmp_path / "r.json").read_text())
    assert list(ratios) == list(SIZES) and all(list(peers) == NAMES for peers in ratios.values())
    installed = {kind.name for kind in PEERS if kind.installed}
    assert all(
        (r is None) == (name not in installed)
        for peers in ratios.values()
        for name, r in peers.items()
    )


def test_every_file_that_the_readme_names_exists() -> None:
    text = (BENCHMARKS / "README.md").read_text("utf-8")
    for path in re.findall(r"`([a-z_/]+\.py)", text):
        assert (REPO / path).exists() or (BENCHMARKS / path).exists(), path


# --- the profile of a step -----------------------------------------------------------------------


def test_the_time_of_no_kernel_is_the_rest_of_the_call() -> None:
    products, loop = (
        step_profile.Kernel("matrix products", 24.0, 60.0),
        step_profile.Kernel("add" * 30, 3.0, 25.0),
    )
    step = step_profile.Profile(95.0, 100.0, products, (loop,), megaflops=12.0)
    text = step_profile.render("mlp", step)
    lines = []
    for line in text.splitlines():
        lines.append([cell.strip() for cell in line.split("|")[1:-1]])
    assert lines[4] == ["matrix products", "24", "60", "60.0%"]
    assert lines[5] == ["add" * 24 + "...", "3", "25", "25.0%"]
    assert lines[6] == ["the rest of the call", "", "15", "15.0%"]
    assert "Products: 12.0 MFLOP, 200 GFLOP/s. Unwatched, a lane-step takes 95 us." in text


@pytest.mark.slow
def test_the_kernels_of_a_step_are_found() -> None:
    command = [
        sys.executable,
        str(BENCHMARKS / "step_profile.py"),
        "--architectures",
        "mlp",
        "--regularizer",
        "l1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    spent = {name.strip(): float(share.strip(" %")) for name, _, _, share in rows}
    assert spent["matrix products"] > 30 and len(spent) > 5
    assert abs(sum(spent.values()) - 200) < 1  # the parts, and the whole
    assert spent["the rest of the call"] < 25

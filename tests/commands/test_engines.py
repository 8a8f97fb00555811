"""`--engine`: what a command asks a cluster for, and what it plans with."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from membench.commands.engines import LocalEngine
from membench.commands.engines import RayEngine
from membench.commands.engines import open_engine
from membench.engine import machine
from membench.engine.machine import Machine
from membench.errors import MembenchError
from membench.execution.ray_workers import Node
from membench.store.store import Store


class StubCluster:
    """A cluster of two nodes with eight H100 each, or with four cores."""

    gpus_per_node = 8

    def __init__(self, **resources: int) -> None:
        self._resources = resources
        self.asked: list[tuple[str, dict[str, Any], Node | None]] = []

    def resources(self, name: str) -> int:
        return self._resources.get(name, 0)

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        resources: dict[str, Any],
        node: Node | None = None,
        on_wait: object = None,
    ) -> tuple[Node, Any]:
        self.asked.append((function.__name__, resources, node))
        if function is not machine.describe_machine:
            return Node("n1", None), arguments
        (device,) = arguments
        name = "NVIDIA H100" if device == "cuda" else "cpu AVX512"
        described = Machine(
            device=device,
            processor="EPYC",
            needs_trial=False,
            eager=[{"device": name, "torch": "2"}],
            compiled={"": [{"device": name, "torch": "2", "compiled": True}]},
        )
        return Node("n1", "H100" if device == "cuda" else None), described


def engine(cluster: StubCluster, folder: Path, **options: Any) -> RayEngine:
    defaults = {"device": "auto", "workers": None, "plugins": (), "data_dir": None}
    return RayEngine(Namespace(**{**defaults, **options}), cluster, folder)


def test_a_cluster_with_gpus_is_asked_for_one_a_worker_of_the_kind_of_the_first(
    tmp_path: Path,
) -> None:
    cluster = StubCluster(CPU=64, GPU=16)
    gpu = engine(cluster, tmp_path)
    assert (gpu.workers, gpu.has_gpu_each, gpu.machine.device) == (16, True, "cuda")
    assert gpu.environment == {"device": "NVIDIA H100", "torch": "2"}
    factory = gpu.factory(Store(tmp_path / "records"))
    assert factory._resources == {"num_gpus": 1, "accelerator_type": "H100"}
    assert (factory._task.device, factory._task.gpu_workers) == ("cuda", 8)
    mixed = gpu.factory(Store(tmp_path / "records"), any_kind=True)
    assert mixed._resources == {"num_gpus": 1}
    assert cluster.asked == [("describe_machine", {"num_gpus": 1}, None)]  # once


def test_a_cluster_without_gpus_is_asked_for_cores_and_more_may_be_asked_for_than_there_are(
    tmp_path: Path,
) -> None:
    cluster = StubCluster(CPU=8)
    assert engine(cluster, tmp_path).workers == 8
    cpu = engine(cluster, tmp_path, workers=100, data_dir=Path("/sets"))
    assert (cpu.workers, cpu.has_gpu_each) == (100, False)
    factory = cpu.factory(Store(tmp_path / "records"))
    assert factory._resources == {"num_cpus": 1}
    assert (factory._task.gpu_workers, factory._task.data_folder) == (0, "/sets")
    assert engine(StubCluster(CPU=8, GPU=2), tmp_path, device="cpu").workers == 8
    assert engine(StubCluster(CPU=8), tmp_path, device="cuda").workers == 1  # it may grow


def test_products_are_timed_on_the_node_that_the_run_is_planned_for(tmp_path: Path) -> None:
    cluster = StubCluster(CPU=8)
    assert engine(cluster, tmp_path).time_products({}) == ({},)
    assert cluster.asked[-1] == ("time_products", {"num_cpus": 1}, Node("n1", None))


def test_the_engine_is_local_unless_another_is_named() -> None:
    options = Namespace(engine="local", address=None)
    assert isinstance(open_engine(options), LocalEngine)
    with pytest.raises(MembenchError, match="--address head:6379: say --engine ray too"):
        open_engine(Namespace(engine="local", address="head:6379"))

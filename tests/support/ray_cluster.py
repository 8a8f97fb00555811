"""A Ray cluster on this machine: a head without cores and nodes with one core each.

All its processes, and what they start, have the folder of the test in their environment, where the
token that they ask each other for is too.
"""

from __future__ import annotations

import inspect
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from membench.execution.ray_host import Task
from membench.execution.ray_host import code_digest
from membench.registry.luggage import Luggage
from support.processes import command_line
from support.processes import processes_with
from support.trainers import REPO

#: Ray takes 127.0.0.1 for the machine's address in the network.
LOOPBACK = "127.0.0.2"
MEMORY = 80 << 20  #: bytes of a node's object store, which nothing here uses


def environment(folder: Path) -> dict[str, str]:
    """Return what a process needs to be part of the cluster, or to connect to it."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_TMPDIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "MEMBENCH_CACHE": os.environ.get("MEMBENCH_CACHE", str(folder / "cache")),
        "MEMBENCH_DATA": str(folder / "data"),
        "POOL_TEST_NOTES": str(folder / "notes"),
        "PYTHONPATH": f"{REPO}{os.pathsep}{REPO / 'tests'}",
        "TMPDIR": str(folder / "tmp"),
    }


class TestCluster:
    """Starts with no node that has a core. The caller has set its environment variables.

    Args:
        folder: for all files; its path must be short, since sockets are in it.
    """

    __test__ = False

    def __init__(self, folder: Path) -> None:
        for name in ("ray", "tmp", "data"):
            (folder / name).mkdir(parents=True)
        (folder / "token").write_text(secrets.token_hex(32))
        os.environ.update(environment(folder))
        from ray._private.node import Node
        from ray.cluster_utils import Cluster

        self.folder = folder
        self.nodes: list[Any] = []
        _spare_raylets_the_wait_for_dashboards()
        Node.start_api_server = lambda node, **how: setattr(node, "_webui_url", "")
        head = {**_arguments(cores=0), "include_dashboard": False, "no_monitor": True}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    @property
    def head(self) -> Any:
        return self._cluster.head_node

    def have_nodes(self, number: int) -> None:
        """Have so many nodes with a core that live."""
        for node in list(self.nodes):
            if not all(process.poll() is None for process in node_processes(node)):
                self.remove(node)
        while len(self.nodes) < number:
            self.nodes.append(self._cluster.add_node(**_arguments(cores=1)))

    def remove(self, node: Any) -> None:
        """Kill a node with all its processes."""
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def node_of(self, pid: int) -> Any:
        """Return the node on which a process was started."""
        raylets = {raylet(node).pid: node for node in self.nodes}
        while pid > 1:
            if pid in raylets:
                return raylets[pid]
            pid = parent(pid)
        raise AssertionError("it is of no node")

    def close(self) -> None:
        """End everything, and wait until it is gone."""
        self._cluster.shutdown()
        end = time.monotonic() + 30
        while processes_with(self.folder) and time.monotonic() < end:
            time.sleep(0.1)


def node_processes(node: Any) -> list[Any]:
    """Return the `Popen` objects of a node's own processes."""
    return [info.process for infos in node.all_processes.values() for info in infos]


def raylet(node: Any) -> Any:
    """Return the `Popen` object of the process that is the node to Ray."""
    return node.all_processes["raylet"][0].process


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def children_of_hosts(folder: Path) -> dict[str, list[int]]:
    """Return the living processes of the cluster by what they are, without Ray's own."""
    found: dict[str, list[int]] = {"host": [], "reaper": [], "worker": [], "other": []}
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        try:
            of_cluster = str(folder).encode() in (entry / "environ").read_bytes()
        except OSError:
            continue
        line = command_line(pid)
        if not of_cluster or not line or pid == os.getpid():
            continue
        if line.startswith("ray::_RayHost"):
            found["host"].append(pid)
        elif "reaper.py" in line:
            found["reaper"].append(pid)
        elif "-m membench.execution.worker" in line:
            found["worker"].append(pid)
        elif "ray" not in line.split(" -c ")[0] and "DRIVER" not in line:
            found["other"].append(pid)
    return found


def survivors(folder: Path) -> list[str]:
    """Return the command lines of all that hosts have started, and of the hosts."""
    pids = [pid for of_kind in children_of_hosts(folder).values() for pid in of_kind]
    return [line for line in map(command_line, pids) if line]


def stub_task(trainer: str = "support.trainers:train") -> Task:
    """Return what a host is to start for the trainer of the pool's tests."""
    luggage = Luggage(folder="work", files={}, sums={}, plugins=())
    return Task(
        code=code_digest(),
        luggage=luggage,
        device="cpu",
        data_folder=None,
        gpu_workers=0,
        trainer=trainer,
    )


def _arguments(cores: int) -> dict[str, Any]:
    agent, export, environments, listen = _free_ports(4)
    return {
        "num_cpus": cores,
        "object_store_memory": MEMORY,
        "node_ip_address": LOOPBACK,
        "include_log_monitor": False,
        "metrics_agent_port": agent,
        "metrics_export_port": export,
        "runtime_env_agent_port": environments,
        "dashboard_agent_listen_port": listen,
    }


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind((LOOPBACK, 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _spare_raylets_the_wait_for_dashboards() -> None:
    """Tell raylets where dashboards listen: nowhere. They wait 15 s for that, then they give up.

    On a busy machine the dashboard's agent takes longer to start.
    """
    from ray._private import services
    from ray._raylet import DASHBOARD_AGENT_LISTEN_PORT_NAME
    from ray._raylet import persist_port

    start = services.start_raylet
    if hasattr(start, "of_tests"):
        return
    signature = inspect.signature(start)

    def start_raylet(*arguments: Any, **named: Any) -> Any:
        given = signature.bind(*arguments, **named).arguments
        persist_port(given["session_dir"], given["node_id"], DASHBOARD_AGENT_LISTEN_PORT_NAME, -1)
        return start(*arguments, **named)

    start_raylet.of_tests = True
    services.start_raylet = start_raylet

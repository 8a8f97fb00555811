"""Workers that are actors of a Ray cluster; the extra `ray` installs Ray.

`Cluster` is the connection. `RayWorkers` starts one actor a slot, a `ray_host.Host`; `RayWorker` is
what the pool sees of it. A thread of each worker talks to its actor, one call after the other, and
rings a pipe that the pool waits on.

What a pack gave travels with the message that it is stored. The driver checks the lines, appends
them to its own shard, and only then passes the message on: what is acknowledged is on the driver's
disk. Ray itself repeats nothing. That the machine of an actor is gone is not counted against its
pack.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import resource
import socket
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from membench.errors import MembenchError
from membench.execution import ray_host
from membench.execution.process import Watched
from membench.execution.protocol import Pipe
from membench.execution.ray_host import Host
from membench.execution.ray_host import Report
from membench.execution.ray_host import Task
from membench.store.shards import Writer
from membench.store.shards import read_shard
from membench.store.store import Store
from membench.text import short

KNOCK_SECONDS = 5.0  #: for a cluster to take a connection
BEAT = 1.0  #: seconds that a call waits for news; after which an idle worker is asked for a sign
PATIENCE = 10.0  #: seconds after which it is said that a worker waits for a place
SILENCE = 60.0  #: seconds without an answer after which a node counts as lost
KILL_SECONDS = 10.0  #: for a host to kill its worker and to remove its folder
IDLE_SECONDS = 30.0  #: after which a worker without a pack gives its place in the cluster back
#: kinds of message after which a worker has no news until it is given a pack
_LAST_NEWS = ("ready", "stored", "raised")
#: Ray kills the children of an actor that ends, and not theirs: it would kill the reaper alone.
_RUNTIME_ENV = {"env_vars": {"RAY_kill_child_processes_on_worker_exit": "0"}}


@dataclass(frozen=True)
class Node:
    """The node on which something was called."""

    id: str
    accelerator: str | None  #: type of its GPUs in Ray's words, as "H100"


class Cluster:
    """A connection to a Ray cluster, made when it is first needed."""

    def __init__(self, address: str | None) -> None:
        """Check that Ray is installed, and connect to nothing yet.

        Args:
            address: as `ray.init` takes it; None: `$RAY_ADDRESS`, else a cluster of this machine.

        Raises:
            MembenchError: Ray is not installed, or the address is one of its client mode.
        """
        if find_spec("ray") is None:
            raise MembenchError("--engine ray needs Ray: pip install 'membench[ray]'")
        if address is not None and address.startswith("ray://"):
            raise MembenchError(
                f"--address {address}: Ray's client mode cannot be used; run the command on a node "
                "of the cluster, with the address of its head, as 10.0.0.1:6379"
            )
        self._address = address
        self._connected = False  #: by this object, which ends the connection then

    @cached_property
    def ray(self) -> Any:
        """The module, connected.

        Raises:
            MembenchError: there is no such cluster, or it refuses.
        """
        try:
            self._knock()
            import ray

            if not ray.is_initialized():
                ray.init(
                    address=self._address or "auto",
                    logging_level=logging.CRITICAL,
                    log_to_driver=False,
                )
                self._connected = True
                _keep_quiet()
        except Exception as error:  # Ray raises many kinds, and gRPC's too
            where = f" at {self._address}" if self._address else ""
            raise MembenchError(
                f"--engine ray: no Ray cluster{where} can be reached: {short(error, 200)} "
                "(`ray start --head` starts one)"
            ) from error
        return ray

    def _knock(self) -> None:
        """Raise `OSError` if nothing listens at the address, which Ray tries for minutes."""
        host, colon, port = (self._address or "").rpartition(":")
        if colon and port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()

    def resources(self, name: str) -> int:
        """Return how many CPUs (`CPU`) or GPUs (`GPU`) the cluster has now."""
        return int(self.ray.cluster_resources().get(name, 0))

    @property
    def gpus_per_node(self) -> int:
        """How many GPUs the best node has now."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return max((int(resources.get("GPU", 0)) for resources in nodes), default=0)

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        resources: Mapping[str, Any],
        node: Node | None = None,
        on_wait: Callable[[], object] = lambda: None,
    ) -> tuple[Node, Any]:
        """Call a function on a node of the cluster.

        Args:
            function: of a module of membench.
            arguments: of the function.
            resources: that the node must have free, as Ray's `options` takes them.
            node: where; None = anywhere.
            on_wait: called once if there is no place within `PATIENCE`.

        Returns:
            The node, and what the function returned.

        Raises:
            MembenchError: the function raised it, or membench is another one there.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options = {**resources, "max_retries": 3}
        if node is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node.id, soft=False)
        remote = self.ray.remote(_call_and_say_where).options(**options)
        reference = remote.remote(function, *arguments)
        try:
            if not self.ray.wait([reference], timeout=PATIENCE)[0]:
                on_wait()
            node_id, code, result = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            raise MembenchError(f"--engine ray: {_last_line(error)}") from error
        found: dict[str, Any] = next(
            (one for one in self.ray.nodes() if one["NodeID"] == node_id), {}
        )
        host = found.get("NodeManagerHostname", node_id)
        if isinstance(result, MembenchError):
            raise MembenchError(f"node {host}: {result}", result.code)
        if code != ray_host.code_digest():
            raise MembenchError(
                f"node {host}: its membench is not the one that runs the command: install the same "
                "one there"
            )
        prefix = "accelerator_type:"
        types = [n for n in found.get("Resources", {}) if n.startswith(prefix)]
        return Node(node_id, types[0].removeprefix(prefix) if types else None), result

    def close(self) -> None:
        """End the connection, if this object has made it; Ray then ends all its actors."""
        if self._connected:
            self.ray.shutdown()
            self._connected = False


def _keep_quiet() -> None:
    """Keep what Ray's daemons log at the loss of a node, a screenful, out of the terminal.

    The pool says it in a line. Ray has no option for this; without this name it prints.
    """
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *what, **how: None


def _call_and_say_where(function: Callable[..., Any], *arguments: Any) -> tuple[str, str, Any]:
    """Call a function in a task of Ray; return the node's id, the code's digest and the result."""
    import ray

    return ray.get_runtime_context().get_node_id(), *ray_host.call(function, *arguments)


class _RayHost(Host):
    """A host that knows on which of Ray's nodes it is."""

    def node_id(self) -> str:
        """Return the node's id."""
        import ray

        return ray.get_runtime_context().get_node_id()


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What the pool wants of a host."""

    pack: bytes = b""
    end: bool = False  #: no pack will follow
    kill: bool = False


@dataclass(frozen=True)
class _Waiting:
    """A worker has had no place in the cluster for a while."""


@dataclass(frozen=True, kw_only=True)
class _Ending:
    """The end of a worker whose host does not report it."""

    reason: str
    host_lost: bool


class RayWorker:
    """One worker, as the pool sees it.

    Args:
        ray: the module, connected.
        host: the actor, which may not have a place in the cluster yet.
        store: makes the lines of a pack durable in the driver's store; returns what is wrong with
            them, "" if nothing is. Takes the keys of the pack's cells and the lines.
        time_limit: seconds from the host's first report until the worker must be ready.
        on_wait: called by `receive` if it has to wait for its place.
        on_place: called by `receive` when it has one.
    """

    def __init__(
        self,
        ray: Any,
        host: Any,
        store: Callable[[Sequence[str], bytes], str],
        time_limit: float,
        on_wait: Callable[[], object] = lambda: None,
        on_place: Callable[[], object] = lambda: None,
    ) -> None:
        self.output = ""
        self.has_place = False  #: in the cluster: the host has reported
        self.deadline = float("inf")  # a busy or growing cluster may give it a place much later
        self._ray = ray
        self._host = host
        self._store = store
        self._start_limit = time_limit
        self._on_wait = on_wait
        self._on_place = on_place
        self._time_limit = float("inf")
        self._keys: Sequence[str] = ()  #: of the pack that it was given
        self._killed = self._ended = False
        self._exit_reason = ""
        self._host_lost = False
        self._exceeded: float | None = None
        read_fd, self._bell_fd = os.pipe()
        self._bell = Pipe(read_fd)
        self._bell_lock = threading.Lock()
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._reports: queue.SimpleQueue[Report | _Waiting | _Ending] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._converse, daemon=True)
        self.thread.start()

    @property
    def alive(self) -> bool:
        """True until its end has been seen by `receive` or `kill`."""
        return not (self._killed or self._ended)

    @property
    def timed_out(self) -> bool:
        """True if `kill_if_overdue` killed it."""
        return self._exceeded is not None

    @property
    def host_lost(self) -> bool:
        """True if its node is gone, or does not answer."""
        return self._host_lost

    @property
    def exit_reason(self) -> str:
        """Its end in words, once it is not alive."""
        if self._exceeded is not None:
            return f"no result within {self._exceeded:g} s"
        return self._exit_reason

    def set_time_limit(self, seconds: float) -> None:
        """Make it overdue so many seconds from now; infinity for never."""
        self._time_limit = seconds
        self.deadline = time.monotonic() + seconds

    def send(self, data: bytes) -> None:
        """Give it a pack."""
        self._keys = json.loads(data)["keys"]
        self._requests.put(_Request(pack=data))

    def flush(self) -> None:
        """Do nothing: the thread hands over what was sent."""

    def receive(self) -> list[dict[str, Any]]:
        """Return its new messages, the records of packs that are stored being durable here."""
        self._bell.read()
        messages: list[dict[str, Any]] = []
        while not self._reports.empty():
            report = self._reports.get()
            if isinstance(report, _Waiting):
                self._on_wait()
            elif isinstance(report, _Ending):
                self._end(report.reason, report.host_lost)
            else:
                messages += self._take(report)
        return messages

    def _take(self, report: Report) -> list[dict[str, Any]]:
        """Return the messages of a report, up to one whose records came damaged."""
        if not self.has_place:
            self.has_place = True
            self.set_time_limit(self._start_limit)
            self._on_place()
        self.output = report.output
        messages = []
        for message in report.messages:
            if message["kind"] == "stored":
                fault = self._store(self._keys, message.pop("lines"))
                if fault:  # it is as if its node had been lost before
                    self._end(f"what it sent from node {report.node} {fault}", host_lost=True)
                    break
            messages.append(message)
        if report.exit_reason is not None:
            self._end(report.exit_reason, host_lost=False)
        return messages

    def _end(self, reason: str, host_lost: bool) -> None:
        if self._ended:
            return
        self._ended, self._exit_reason, self._host_lost = True, reason, host_lost
        self._requests.put(_Request(kill=True))  # if the thread is still there

    def kill_if_overdue(self) -> None:
        """Kill it if its time limit is exceeded."""
        if self.alive and time.monotonic() > self.deadline:
            self._exceeded = self._time_limit
            self.kill()

    def kill(self) -> None:
        """Let its host kill it. What has been reported by now can still be received."""
        if not self.alive:
            return
        self._killed = True
        self._requests.put(_Request(kill=True))
        if not self.has_place:  # the host cannot answer, and is not to start
            self._kill_host()

    def close_stdin(self) -> None:
        """Tell it that no pack will follow."""
        self._requests.put(_Request(end=True))

    def close(self) -> None:
        """Kill it if it lives, and close the pipe. The thread sees to the actor's end."""
        self.kill()
        with self._bell_lock:
            if self._bell_fd >= 0:
                os.close(self._bell_fd)
                self._bell_fd = -1
        self._bell.close()

    def readable_fds(self) -> list[int]:
        """Return the pipe that is rung at each report."""
        return [self._bell.fd] if self._bell.open else []

    def writable_fds(self) -> list[int]:
        """Return nothing: sending does not block."""
        return []

    def _converse(self) -> None:
        """Talk to the host until its worker has ended, then end the host; in the thread."""
        errors = self._ray.exceptions
        node_id = ""
        try:
            call = self._host.exchange.remote(b"", False, 0.0)
            if not self._ray.wait([call], timeout=PATIENCE)[0]:
                self._post(_Waiting())
            report = self._ray.get(call)
            node_id = self._ray.get(self._host.node_id.remote(), timeout=SILENCE)
            self._talk(report)
        except errors.GetTimeoutError:
            self._post(_Ending(reason="its node does not answer", host_lost=True))
        except Exception as error:  # Ray raises many kinds
            self._post(self._explain(error, node_id))
        self._kill_host()

    def _talk(self, report: Report) -> None:
        """Pass requests to the host and its reports to the pool, until the last report."""
        busy = True  # it has news to wait for
        while True:
            self._post(report)
            if report.exit_reason is not None:
                return
            if any(message["kind"] in _LAST_NEWS for message in report.messages):
                busy = False
            request = self._next_request(BEAT if not busy else 0.0)
            if request.kill:
                call, seconds = self._host.kill.remote(), KILL_SECONDS
            else:
                busy = busy or request != _Request()
                wait = BEAT if busy else 0.0
                call = self._host.exchange.remote(request.pack, request.end, wait)
                seconds = SILENCE
            report = self._ray.get(call, timeout=seconds)

    def _next_request(self, seconds: float) -> _Request:
        """Return the pool's next request, an empty one if none comes in time."""
        try:
            return self._requests.get(timeout=seconds) if seconds else self._requests.get_nowait()
        except queue.Empty:
            return _Request()

    def _explain(self, error: Exception, node_id: str) -> _Ending:
        """Tell whether an actor's end is its node's, from what Ray says of both."""
        errors = self._ray.exceptions
        host_lost = isinstance(error, errors.ActorUnavailableError)
        if isinstance(error, errors.ActorDiedError) and not error.actor_init_failed:
            try:
                nodes = self._ray.nodes()
            except Exception:  # the head of the cluster is gone, and all of it with it
                nodes = []
            host_lost = node_id not in {node["NodeID"] for node in nodes if node["Alive"]}
        reason = "its node is gone" if host_lost else f"its actor died: {_last_line(error)}"
        return _Ending(reason=reason, host_lost=host_lost)

    def _post(self, report: Report | _Waiting | _Ending) -> None:
        """Queue a report and ring the bell."""
        self._reports.put(report)
        with self._bell_lock:
            if self._bell_fd >= 0:
                os.write(self._bell_fd, b".")

    def _kill_host(self) -> None:
        with contextlib.suppress(Exception):  # Ray may be shut down, or never have placed it
            self._ray.kill(self._host)


class RayWorkers:
    """Starts an actor a slot; pending ones are what a cluster that grows looks at.

    Args:
        cluster: the connection.
        task: what each host starts.
        resources: that each actor takes: `num_cpus`, or `num_gpus` and `accelerator_type`.
        store: where the records come.
        on_notice: called with what the user should know of the workers, one line.
    """

    idle_seconds = IDLE_SECONDS

    def __init__(
        self,
        cluster: Cluster,
        task: Task,
        resources: Mapping[str, Any],
        store: Store,
        on_notice: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._cluster = cluster
        self._task = task
        self._resources = resources
        self._store = store
        self._on_notice = on_notice
        self._writer: Writer | None = None
        self._workers: list[RayWorker] = []  #: all that were started
        self._waiting: int | None = None  #: how many were said to wait for a place; 0: they came
        # Each worker has a pipe here, and Ray a connection to it: more than 1024 in all.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def loading(self) -> Sequence[Watched]:
        """Return nothing: a worker's place is waited for once it is asked for."""
        return ()

    def start(self, slot: int, time_limit: float) -> RayWorker:
        """Ask the cluster for an actor."""
        del slot
        ray = self._cluster.ray
        actor = ray.remote(_RayHost).options(
            **self._resources, max_restarts=0, max_task_retries=0, runtime_env=_RUNTIME_ENV
        )
        worker = RayWorker(
            ray,
            actor.remote(self._task),
            self._accept,
            time_limit,
            on_wait=self._say_who_waits,
            on_place=self._say_all_came,
        )
        self._workers.append(worker)
        return worker

    def close(self) -> None:
        """Wait until the hosts have ended, and release the shard."""
        end = time.monotonic() + KILL_SECONDS
        for worker in self._workers:
            worker.thread.join(max(0.0, end - time.monotonic()))
        if self._writer is not None:
            self._writer.close()

    def _say_who_waits(self) -> None:
        """Say once a run that workers wait for room."""
        living, without = self._count()
        if self._waiting is None and without:
            self._waiting = without
            self._on_notice(f"{without} of {living} workers wait for room in the cluster")

    def _say_all_came(self) -> None:
        """Say so when none of the workers waits any more that were said to."""
        living, without = self._count()
        if self._waiting and not without:
            self._waiting = 0
            self._on_notice(f"all {living} workers have room in the cluster now")

    def _count(self) -> tuple[int, int]:
        """Return how many workers live, and how many of these have no place."""
        living = [worker for worker in self._workers if worker.alive]
        return len(living), sum(not worker.has_place for worker in living)

    def _accept(self, keys: Sequence[str], lines: bytes) -> str:
        """Append the lines of a pack to the driver's shard; return what is wrong with them.

        Raises:
            MembenchError: they cannot be written (DISK).
        """
        contents = read_shard(Path("sent"), lines)
        if contents.damaged or contents.torn:
            return "came damaged"
        if [record.key for record in contents.records] != list(keys):
            return "is not of its pack"
        if self._writer is None:
            self._writer = self._store.writer()
        self._writer.append(contents.records)
        return ""


def _last_line(error: Exception) -> str:
    """Return what matters of a message of Ray, which is long, with the cause at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return short(lines[-1] if lines else type(error).__name__, 120)

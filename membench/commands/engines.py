"""Where a command's packs are trained, `--engine`, and what it must know of the machines there.

A command opens one engine with `open_engine`. It plans with the engine's `machine`, and
`membench.commands.training` hands the engine's workers to the pool.
"""

from __future__ import annotations

import argparse
import os
import sys
from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Mapping
from functools import cached_property
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from membench.errors import MembenchError
from membench.execution.factory import WorkerFactory
from membench.execution.forkserver import ForkServer
from membench.execution.local import LocalWorkers
from membench.execution.local import visible_gpus
from membench.execution.memory import memory_share
from membench.execution.process import available_cores
from membench.execution.ray_host import Task
from membench.execution.ray_host import code_digest
from membench.execution.ray_workers import Cluster
from membench.execution.ray_workers import Node
from membench.execution.ray_workers import RayWorkers
from membench.execution.sandbox import Sandbox
from membench.execution.sandboxed import SandboxedWorkers
from membench.execution.worker import worker_command
from membench.execution.worker import worker_environ
from membench.registry.luggage import pack_luggage
from membench.store.store import Store

if TYPE_CHECKING:
    from membench.engine.machine import Machine
    from membench.engine.matmul_trial import Timings
    from membench.engine.products import Product


class Engine(ABC):
    """Trains the packs of one command.

    Args:
        options: of the command: device, workers, plugins, data_dir.
    """

    sandbox: Sandbox | None = None  #: where strangers' plugins run; None: where all others do

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options

    @property
    @abstractmethod
    def machine(self) -> Machine:
        """The machine of the workers.

        Raises:
            MembenchError: the device that is requested is not there.
        """

    @property
    @abstractmethod
    def places(self) -> int:
        """How many workers there is a core for, or a GPU."""

    @property
    def workers(self) -> int:
        """How many workers train at a time."""
        return int(self._options.workers or self.places)

    @property
    def has_gpu_each(self) -> bool:
        """Whether each worker has a GPU to itself."""
        return not self.machine.on_cpu and self.workers <= self.places

    @property
    def environment(self) -> Mapping[str, Any]:
        """The environment that a worker must report when it is ready."""
        return self.machine.environments(compiled=False)[0]

    def prepare(self, compiled: bool) -> None:
        """Begin, beside the planning, with what the workers need; `compiled`: they compile."""
        del compiled

    @abstractmethod
    def time_products(self, products: Mapping[Product, int]) -> Timings:
        """Do as `membench.engine.matmul_trial.time_products` where the workers are."""

    @abstractmethod
    def factory(
        self,
        store: Store,
        on_notice: Callable[[str], object] = lambda text: None,
        any_kind: bool = False,
    ) -> WorkerFactory:
        """Return what starts the workers, whose records come into the store.

        Args:
            store: of the run.
            on_notice: called with what the user should know of the workers, one line.
            any_kind: whether workers may be on another kind of machine than `machine`.
        """

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind."""


class LocalEngine(Engine):
    """Processes of this machine: one a core, or one a GPU.

    Args:
        options: of the command.
        server: forks the workers, once it is started.
        sandbox: where strangers' plugins run; None: where all others do.
    """

    def __init__(
        self, options: argparse.Namespace, server: ForkServer, sandbox: Sandbox | None = None
    ) -> None:
        super().__init__(options)
        self._server = server
        self.sandbox = sandbox

    @cached_property
    def machine(self) -> Machine:
        """This machine, described in this process if it has imported torch anyway."""
        from membench.engine import machine

        if "torch" in sys.modules:
            return machine.describe_machine(self._options.device)
        return machine.describe_apart(self._options.device)

    @property
    def places(self) -> int:
        """The cores that this process may use, or the GPUs."""
        return available_cores() if self.machine.on_cpu else max(1, len(self._gpus))

    def prepare(self, compiled: bool) -> None:
        """Let the workers' modules be imported, if workers may be forked.

        Workers that may use a GPU are not.
        """
        if self._options.device == "cuda" or os.path.exists("/dev/nvidiactl"):
            return
        environ = {**memory_share(self.workers), **worker_environ()}
        # `torch.func.grad` imports Dynamo when it is first called, compiled or not
        modules, preparation = ["membench.engine.train", "torch._dynamo"], ""
        if compiled:
            modules.append("membench.engine.compiled")
            if not os.path.exists(environ["TORCHINDUCTOR_CACHE_DIR"]):
                preparation = "membench.engine.compiled:compile_headers"
        self._server.start(modules, environ, preparation)

    def time_products(self, products: Mapping[Product, int]) -> Timings:
        """Time products in this process."""
        from membench.engine import matmul_trial

        return matmul_trial.time_products(products)

    def factory(
        self,
        store: Store,
        on_notice: Callable[[str], object] = lambda text: None,
        any_kind: bool = False,
    ) -> WorkerFactory:
        """Return what starts processes, which write the store themselves outside of a sandbox."""
        del on_notice, any_kind
        options, on_cpu = self._options, self.machine.on_cpu
        gpus = () if on_cpu else self._gpus
        command = partial(
            worker_command,
            device=options.device,
            data=options.data_dir,
            sharers=-(-self.workers // len(gpus)) if gpus else 1,  # rounded up
        )
        environ = worker_environ(gpu_workers=0 if on_cpu else self.workers)
        local = LocalWorkers(
            command=command(
                store.folder, plugins=options.plugins, shipped_only=self.sandbox is not None
            ),
            environ={**memory_share(self.workers), **environ},
            server=self._server,
            gpus=gpus,
        )
        if self.sandbox is None:
            return local
        return SandboxedWorkers(
            local=local,
            sandbox=self.sandbox,
            command=lambda plugins: command(None, plugins=plugins),
            requested=options.plugins,
            environments=self.machine.environments,
            store=store,
        )

    def close(self) -> None:
        """End the server."""
        self._server.close()

    @cached_property
    def _gpus(self) -> tuple[str, ...]:
        import torch

        return visible_gpus(os.environ, torch.cuda.device_count())


class RayEngine(Engine):
    """Actors of a Ray cluster: one a core, or one a GPU.

    Args:
        options: of the command, `address` too.
        cluster: where they live.
        folder: the working folder, whose plugins travel.
    """

    def __init__(self, options: argparse.Namespace, cluster: Cluster, folder: Path) -> None:
        super().__init__(options)
        self._cluster = cluster
        self._folder = folder

    @property
    def machine(self) -> Machine:
        """The first node that has a place."""
        return self._first[1]

    @property
    def places(self) -> int:
        """The cores or GPUs that the cluster has now."""
        return max(1, self._cluster.resources("CPU" if self.machine.on_cpu else "GPU"))

    @property
    def has_gpu_each(self) -> bool:
        """Whether the workers train on GPUs: each actor has one to itself."""
        return not self.machine.on_cpu

    def time_products(self, products: Mapping[Product, int]) -> Timings:
        """Time products on the node whose machine was described."""
        from membench.engine import matmul_trial

        _, timings = self._cluster.call(
            matmul_trial.time_products,
            products,
            resources=self._resources,
            node=self._first[0],
        )
        return timings

    def factory(
        self,
        store: Store,
        on_notice: Callable[[str], object] = lambda text: None,
        any_kind: bool = False,
    ) -> RayWorkers:
        """Return what starts actors, whose records this process stores."""
        options, on_cpu = self._options, self.machine.on_cpu
        task = Task(
            code=code_digest(),
            luggage=pack_luggage(options.plugins, self._folder),
            device=self.machine.device,
            data_folder=str(options.data_dir) if options.data_dir else None,
            gpu_workers=0 if on_cpu else max(1, self._cluster.gpus_per_node),
        )
        resources = dict(self._resources)
        accelerator = self._first[0].accelerator
        if accelerator and not on_cpu and not any_kind:
            resources["accelerator_type"] = accelerator
        return RayWorkers(self._cluster, task, resources, store, on_notice)

    def close(self) -> None:
        """End the connection, and with it all actors."""
        self._cluster.close()

    @cached_property
    def _device(self) -> str:
        if self._options.device != "auto":
            return str(self._options.device)
        return "cuda" if self._cluster.resources("GPU") else "cpu"

    @property
    def _resources(self) -> dict[str, Any]:
        return {"num_gpus": 1} if self._device == "cuda" else {"num_cpus": 1}

    @cached_property
    def _first(self) -> tuple[Node, Machine]:
        """The node that the run is planned for: all rows are of its environment."""
        from membench.engine.machine import describe_machine

        def tell() -> None:
            what = "GPU" if self._device == "cuda" else "CPU"
            print(f"waiting until the Ray cluster has a free {what}", file=sys.stderr)

        return self._cluster.call(
            describe_machine, self._device, resources=self._resources, on_wait=tell
        )


def open_engine(options: argparse.Namespace) -> Engine:
    """Return the engine that the options name; it is to be closed.

    Raises:
        MembenchError: its requirements are not installed, or an option is not its own.
    """
    sandboxed = getattr(options, "sandbox", False)
    if options.engine == "ray":
        if sandboxed:
            raise MembenchError(
                "--sandbox: Ray's workers have none; leave --engine ray away, or sandbox its nodes"
            )
        return RayEngine(options, Cluster(options.address), Path.cwd())
    if options.address is not None:
        raise MembenchError(f"--address {options.address}: say --engine ray too")
    sandbox = Sandbox.open(options.data_dir) if sandboxed else None
    return LocalEngine(options, ForkServer(), sandbox)

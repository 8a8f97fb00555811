"""Workers that are processes of this machine, each pinned to one GPU where there are any."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

from membench.execution.forkserver import ForkServer
from membench.execution.process import ChildProcess
from membench.execution.protocol import TRAINING_MESSAGES

VISIBLE = "CUDA_VISIBLE_DEVICES"  #: the GPUs that CUDA shows to a process, in its order


@dataclass(frozen=True, kw_only=True)
class LocalWorkers:
    """Starts worker processes: a server forks them, or a command spawns them."""

    command: Sequence[str]  #: from `membench.execution.worker.worker_command`
    environ: Mapping[str, str]  #: from `membench.execution.worker.worker_environ`
    server: ForkServer | None = None  #: None, or one that cannot fork: workers are spawned
    #: entries of `CUDA_VISIBLE_DEVICES`; the workers take turns, and each sees one GPU. () = none
    gpus: Sequence[str] = ()
    idle_seconds: float = float("inf")

    def loading(self) -> list[ChildProcess]:
        """Return the server while it is worth waiting for."""
        if self.server is None or self.server.process is None or not self.server.is_loading():
            return []
        return [self.server.process]

    def start(self, slot: int, time_limit: float) -> ChildProcess:
        """Start a worker, and give it so many seconds to be ready."""
        process = None
        if self.server is not None and self.server.is_ready:
            process = self.server.fork(
                self.command, message_kinds=TRAINING_MESSAGES, time_limit=time_limit
            )
        return process or ChildProcess.spawn(
            lambda message_fd: [*self.command, "--fd", str(message_fd)],
            environ=self.environ_of(slot),
            message_kinds=TRAINING_MESSAGES,
            time_limit=time_limit,
        )

    def close(self) -> None:
        """Leave the server, which other runs may use."""

    def environ_of(self, slot: int) -> Mapping[str, str]:
        """Return the environment variables of a worker, by its place in the pool."""
        if not self.gpus:
            return self.environ
        return {**self.environ, VISIBLE: self.gpus[slot % len(self.gpus)]}


def visible_gpus(environ: Mapping[str, str], device_count: int) -> tuple[str, ...]:
    """List the GPUs that workers may be pinned to, as entries of `CUDA_VISIBLE_DEVICES`.

    A list that is set already, as by Slurm, is respected: no other GPU may be used, and what it
    names them by (numbers, `GPU-` or `MIG-` identifiers) stays. As CUDA does, it is read up to the
    first entry that is no name of a GPU.

    Args:
        environ: environment variables.
        device_count: how many GPUs torch sees. Of several MIG instances CUDA shows a process one
            only, so that these are counted by their names.
    """
    if VISIBLE not in environ:
        return tuple(str(index) for index in range(device_count))
    names: list[str] = []
    for entry in environ[VISIBLE].split(","):
        name = entry.strip()
        if not (name.isdigit() or name.startswith(("GPU-", "MIG-"))):
            break
        names.append(name)
    if names and names[0].startswith("MIG-"):
        return tuple(names)
    return tuple(names[:device_count])

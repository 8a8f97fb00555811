"""The process that trains: reads packs from its standard input and stores their records itself.

The pool starts it as `python -m membench.execution.worker`, behind a reaper; `worker_command` and
`worker_environ` say how. It reports on a pipe, with the messages of `protocol.TRAINING_MESSAGES`.
One that may not write the store sends its records there too (`execution/sandboxed.py` stores them).
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import io
import json
import os
import platform
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import BinaryIO
from typing import NoReturn

from membench.engine.spoilt import is_process_spoilt
from membench.errors import ExitCode
from membench.errors import InputsChangedError
from membench.errors import MembenchError
from membench.execution.process import available_cores
from membench.execution.protocol import send
from membench.files import cache_folder
from membench.planning.packs import Pack
from membench.records import Record
from membench.records import digest
from membench.registry.validation import singular
from membench.store.shards import Writer
from membench.store.shards import encode
from membench.store.store import Store
from membench.text import explain
from membench.text import short

if TYPE_CHECKING:
    from membench.registry.registry import Registry

Progress = Callable[[float], None]

#: One thread a worker, in every library that might start more, and no pool of compilers: on a CPU
#: the workers are the parallelism.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
}
#: Let glibc keep freed memory. By default it gives blocks of megabytes back to the system and
#: fetches them again at every operation of an eager step, which was a third of the suite `smoke`
#: (58 s, of which 40 s of system time; with these settings 41 s and 4.5 s).
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
}
_PROGRESS_PERIOD = 0.25  #: seconds between two messages of progress, at least


def worker_command(
    folder: Path | None,
    *,
    device: str = "auto",
    plugins: Iterable[str] = (),
    data: Path | None = None,
    trainer: str | None = None,
    sharers: int = 1,
    shipped_only: bool = False,
) -> list[str]:
    """Return the command that starts a worker, for `run_packs`.

    Args:
        folder: the store's; None: it sends its records as messages.
        device: "cpu", "cuda" or "auto".
        plugins: files, folders or modules, as `discover` takes them.
        data: where the data sets lie; default: `membench.data.data_folder`.
        trainer: `module:function` to call instead of `membench.engine.train.train_pack`.
        sharers: how many workers there are for each GPU.
        shipped_only: it looks at no plugin that does not ship, not even to refuse it.
    """
    command = [sys.executable, "-m", "membench.execution.worker"]
    command += ["--device", device]
    if folder is not None:
        command += ["--out", str(folder)]
    for plugin in plugins:
        command += ["--plugin", plugin]
    if data:
        command += ["--data-dir", str(data)]
    if trainer:
        command += ["--trainer", trainer]
    if sharers > 1:
        command += ["--sharers", str(sharers)]
    if shipped_only:
        command.append("--shipped-only")
    return command


def worker_environ(gpu_workers: int = 0) -> dict[str, str]:
    """Return the environment variables of a worker; those that the user has set stay as they are.

    Among them are those of Inductor: where it keeps what it has compiled, and that it need not find
    out, in 7 s, what the C++ compiler can do (`membench.engine.compiled.lower` asks if need be).

    Args:
        gpu_workers: how many workers train on GPUs here; 0: they train on the CPU, a core each. One
            alone compiles with as many threads as Inductor likes, several share the cores: with one
            thread each, the other cores would wait for them.
    """
    threads = dict(ONE_THREAD)
    if gpu_workers == 1:
        del threads["TORCHINDUCTOR_COMPILE_THREADS"]
    elif gpu_workers > 1:
        threads["TORCHINDUCTOR_COMPILE_THREADS"] = str(max(1, available_cores() // gpu_workers))
    inductor = {
        "TORCHINDUCTOR_CACHE_DIR": str(cache_folder() / "compiled" / _machine()),
        "TORCHINDUCTOR_VEC_ISA_OK": "1",
    }
    return {**KEEP_FREED_MEMORY, **threads, **inductor, **os.environ}


@cache
def _machine() -> str:
    """Hash what machine code depends on: a home folder may be shared by different machines."""
    features = set()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() in ("model name", "flags", "Features"):
                    features.add(value.strip())
    known = {"torch": version("torch"), "machine": platform.machine(), "cpu": sorted(features)}
    return digest(known)[:16]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train packs until the input ends or the process is spoilt. Returns the exit code."""
    options = _parse(arguments)
    pack_lines = _take_over_streams(options.fd)
    if options.data_dir:
        os.environ["MEMBENCH_DATA"] = options.data_dir  # for all of this process
    try:
        trainer = _load_trainer(options)
        with _open_writer(options) as writer:
            send(options.fd, "ready", environment=trainer.environment, machine=trainer.machine)
            for line in pack_lines:
                _train_pack(Pack.from_json(json.loads(line)), trainer, writer, options.fd)
                if is_process_spoilt():
                    break
    except MembenchError as error:  # another worker would fail in the same way: the run must end
        send(options.fd, "broken", reason=str(error), code=int(error.code))
        return int(error.code)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="membench.execution.worker", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--fd", type=int, required=True, help="file descriptor for messages")
    parser.add_argument("--out", help="folder of the records; default: they are sent as messages")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--plugin", action="append", default=[], help="file, folder or module; can be repeated"
    )
    parser.add_argument("--data-dir", help="folder of the data sets")
    parser.add_argument(
        "--trainer", help="module:function to call instead of the engine's train_pack"
    )
    parser.add_argument("--sharers", type=int, default=1, help="number of workers of one GPU")
    parser.add_argument("--shipped-only", action="store_true", help="no other plugin is read")
    return parser.parse_args(arguments)


def _take_over_streams(message_fd: int) -> BinaryIO:
    """Return the input with the packs, and keep plugins away from it and from the messages.

    A plugin that reads gets nothing; what it prints goes to the standard error.
    """
    os.set_inheritable(message_fd, False)
    packs = os.fdopen(os.dup(0), "rb")
    empty_input = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty_input, 0)
    os.close(empty_input)
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return packs


class Sender:
    """Sends records to the driver, where a `Writer` makes them durable.

    Args:
        message_fd: the pipe for messages.
    """

    def __init__(self, message_fd: int) -> None:
        self._fd = message_fd

    def append(self, records: Sequence[Record]) -> None:
        """Send the records of a pack, a message each: one has a bound that a pack may exceed."""
        for record in records:
            send(self._fd, "record", line=encode(record).decode())


def _open_writer(options: argparse.Namespace) -> AbstractContextManager[Writer | Sender]:
    """Return what takes the records: a shard of the store, or the pipe to the driver."""
    if options.out is None:
        return nullcontext(Sender(options.fd))
    return Store(Path(options.out)).writer()


@dataclass(frozen=True)
class PackTrainer:
    """The engine, or what stands in for it."""

    train: Callable[[Pack, Progress], list[Record]]
    versions: Callable[[Pack], dict[str, Any]]  #: the environment, before any record is made
    environment: dict[str, Any]  #: that of a pack that is not compiled
    machine: dict[str, Any] | None = None  #: of `Machine.to_json`


def _load_trainer(options: argparse.Namespace) -> PackTrainer:
    """Load the engine with this process's plugins and device, or the function of `--trainer`."""
    if options.trainer:
        module, _, name = options.trainer.partition(":")
        function = getattr(importlib.import_module(module), name)
        return PackTrainer(
            train=lambda pack, progress: function(pack, None, options.device, progress),
            versions=lambda pack: {},
            environment={},
        )
    import torch

    from membench.engine.costs import share_memory
    from membench.engine.environment import configure_torch
    from membench.engine.environment import resolve_device
    from membench.engine.environment import worker_environment
    from membench.engine.machine import describe_machine
    from membench.engine.process_state import ProcessState
    from membench.engine.train import train_pack
    from membench.registry.discovery import shipped_sources
    from membench.registry.registry import discover
    from membench.registry.registry import read_registry

    configure_torch()
    device = torch.device(resolve_device(options.device))
    if options.sharers > 1:
        share_memory(device, options.sharers)
    if options.shipped_only:
        registry = read_registry(shipped_sources())
    else:
        registry = discover(options.plugin)
    state = ProcessState.now()

    def train(pack: Pack, progress: Progress) -> list[Record]:
        plugins = registry.for_study(pack.study)
        _check_code(pack, plugins)
        records = train_pack(pack, plugins, str(device), progress)
        altered = state.alterations()
        if altered:
            culprit = ", ".join(sorted(pack.foreign_files)) or pack.id
            raise MembenchError(
                f"{culprit} changes {', '.join(altered[:3])}, which other plugins share: "
                "a plugin must leave torch as it is"
            )
        return records

    return PackTrainer(
        train=train,
        versions=lambda pack: worker_environment(device, pack.compiled, pack.precision),
        environment=worker_environment(device, compiled=False),
        machine=describe_machine(str(device)).to_json(),
    )


def _check_code(pack: Pack, plugins: Registry) -> None:
    """Compare the plugins here with those that the pack was planned with.

    Raises:
        InputsChangedError: one is another, or is gone.
    """
    for code in pack.code:
        where = f" ({', '.join(code.foreign_files)})" if code.foreign_files else ""
        plugin = f"{singular(code.kind)} {code.name!r}{where}"
        try:
            entry = plugins.with_composition(code.name, full=True).entry(code.kind, code.name)
        except MembenchError as error:
            raise InputsChangedError(f"{plugin} was planned and is gone: {error}") from error
        if (entry.code_hash, entry.version) != (code.code_hash, code.version):
            raise InputsChangedError(f"{plugin} is not the one that was planned")


def _train_pack(pack: Pack, trainer: PackTrainer, writer: Writer | Sender, message_fd: int) -> None:
    """Train one pack and report how it ended, its records being durable or sent by then."""
    send(message_fd, "started", versions=trainer.versions(pack))
    try:
        records = trainer.train(pack, _progress_sender(message_fd))
        if [record.key for record in records] != list(pack.keys):
            raise ValueError("the records are not those of the pack's cells")
        writer.append(records)
    except InputsChangedError:
        raise
    except BaseException as error:  # a plugin's `sys.exit()` too: it costs this pack and no other
        if isinstance(error, MembenchError) and error.code is ExitCode.DISK:
            raise
        _print_traceback(error)
        send(message_fd, "raised", reason=explain(error))
        return
    reasons = [record.reason for record in records if record.status in ("failed", "timeout")]
    send(
        message_fd,
        "stored",
        counts=Counter(record.status for record in records),
        reason=short(reasons[0]) if reasons else "",
        last=is_process_spoilt(),
    )


def _progress_sender(message_fd: int) -> Progress:
    """Return a function that reports progress, but not every time that it is called."""
    last_sent = 0.0

    def report(done: float) -> None:
        nonlocal last_sent
        if time.monotonic() - last_sent >= _PROGRESS_PERIOD:
            last_sent = time.monotonic()
            send(message_fd, "progress", done=done)

    return report


def _print_traceback(error: BaseException) -> None:
    """Print the traceback from where the trainer begins, without this module's own frames."""
    first = error.__traceback__
    while first and first.tb_next and first.tb_frame.f_code.co_filename == __file__:
        first = first.tb_next
    traceback.print_exception(error.with_traceback(first))


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `main`, and end the process: threads of plugins must not keep it alive."""
    code = main(arguments)
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    run()

"""The process that trains: takes packs from its standard input, stores their records itself, says so on a pipe.

The pool starts it as `python -m membench.execution.worker`, behind a guard; `worker_command` says how.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import os
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import BinaryIO

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.protocol import send
from membench.planning.packs import Pack
from membench.records import Record
from membench.store.shards import Writer
from membench.store.store import Store
from membench.text import explain
from membench.text import short

Progress = Callable[[float], None]
_PERIOD = 0.25  #: seconds between two messages of progress


def worker_command(
    folder: Path,
    *,
    device: str = "auto",
    plugins: Iterable[str] = (),
    data: Path | None = None,
    trainer: str | None = None,
) -> list[str]:
    """What `run_packs` starts.

    Args:
        folder: of the store.
        device: "cpu", "cuda" or "auto".
        plugins: files, folders or modules, as `discover` takes them.
        data: where the data sets lie; default: `membench.data.data_folder`.
        trainer: `module:function` to call instead of `membench.engine.train.train_pack`.
    """
    command = [
        sys.executable,
        "-m",
        "membench.execution.worker",
        "--out",
        str(folder),
        "--device",
        device,
    ]
    command += [part for plugin in plugins for part in ("--plugin", plugin)]
    command += ["--data-dir", str(data)] if data else []
    return [*command, "--trainer", trainer] if trainer else command


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the input ends. Returns the exit code."""
    options = _parse(arguments)
    packs = _take_over_streams(options.fd)
    if options.data_dir:
        os.environ["MEMBENCH_DATA"] = options.data_dir  # for all of this process
    try:
        trainer = _load_trainer(options)
        with Store(Path(options.out)).writer() as writer:
            send(options.fd, "ready")
            for line in packs:
                _serve(Pack.from_json(json.loads(line)), trainer, writer, options.fd)
    except MembenchError as error:  # nothing that another worker would do better: the run must end
        send(options.fd, "broken", reason=str(error), code=int(error.code))
        return int(error.code)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="membench.execution.worker", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--fd", type=int, required=True, help="file descriptor to report on")
    parser.add_argument("--out", required=True, help="folder of the records")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--plugin", action="append", default=[], help="file, folder or module; can be repeated"
    )
    parser.add_argument("--data-dir", help="folder of the data sets")
    parser.add_argument(
        "--trainer", help="module:function to call instead of the engine's train_pack"
    )
    return parser.parse_args(arguments)


def _take_over_streams(fd: int) -> BinaryIO:
    """The input for us alone, and all that plugins print to the standard error, where it cannot hurt a message."""
    os.set_inheritable(fd, False)
    packs = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return packs


@dataclass(frozen=True)
class PackTrainer:
    """What makes records of a pack."""

    train: Callable[[Pack, Progress], list[Record]]
    versions: Callable[[Pack], dict[str, Any]]  #: of the environment, before any record is made


def _load_trainer(options: argparse.Namespace) -> PackTrainer:
    """The engine with this process's plugins and device, or the function that stands in for it."""
    if options.trainer:
        module, _, name = options.trainer.partition(":")
        function = getattr(importlib.import_module(module), name)
        return PackTrainer(
            lambda pack, progress: function(pack, None, options.device, progress), lambda pack: {}
        )
    import torch

    from membench.engine.environment import configure_torch
    from membench.engine.environment import resolve_device
    from membench.engine.environment import worker_environment
    from membench.engine.train import train_pack
    from membench.registry.registry import discover

    configure_torch()
    device = resolve_device(options.device)
    registry = discover(options.plugin)
    return PackTrainer(
        lambda pack, progress: train_pack(pack, registry.for_study(pack.study), device, progress),
        lambda pack: worker_environment(torch.device(device), compiled=pack.compiled),
    )


def _serve(pack: Pack, trainer: PackTrainer, writer: Writer, fd: int) -> None:
    """Train one pack and say how it went; the records are durable before that is said."""
    send(fd, "started", versions=trainer.versions(pack))
    try:
        records = trainer.train(pack, _throttled(fd))
        if [record.key for record in records] != list(pack.keys):
            raise ValueError("the records are not those of the pack's cells")
        writer.append(records)
    except BaseException as error:  # a plugin's `sys.exit()` too: this pack is lost, no other
        if isinstance(error, MembenchError) and error.code is ExitCode.DISK:
            raise
        _print_traceback(error)
        send(fd, "raised", reason=explain(error))
        return
    reasons = [record.reason for record in records if record.status in ("failed", "timeout")]
    send(
        fd,
        "stored",
        counts=Counter(record.status for record in records),
        reason=short("".join(reasons[:1])),
    )


def _throttled(fd: int) -> Progress:
    """Reports progress, but not with every step."""
    last = 0.0

    def report(done: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _PERIOD:
            last = time.monotonic()
            send(fd, "progress", done=done)

    return report


def _print_traceback(error: BaseException) -> None:
    """From where the trainer begins: how this module called it is no news."""
    at = error.__traceback__
    while at and at.tb_next and at.tb_frame.f_code.co_filename == __file__:
        at = at.tb_next
    traceback.print_exception(error.with_traceback(at))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of plugins have no say in when a worker ends

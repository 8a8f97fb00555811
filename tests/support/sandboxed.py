"""Sandboxes in tests: where there are any, and packs that are trained in them without an engine."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import replace

import pytest

from membench.errors import MembenchError
from membench.execution.protocol import send
from membench.execution.sandbox import Sandbox
from membench.planning.packs import Pack
from membench.records import Record
from membench.records import digest

VERSIONS = {"device": "stub"}
Progress = Callable[[float], None]


def is_possible() -> str:
    """Return why no sandbox can be made here; "" if one can."""
    try:
        Sandbox.open(None)
    except MembenchError as error:
        return str(error)
    return ""


#: Decided when a test asks, not when it is collected.
def skip_without_sandbox() -> None:
    reason = is_possible()
    if reason:
        pytest.skip(reason)


def make_records(pack: Pack) -> list[Record]:
    """Return what an honest worker sends: two checkpoints, 10 images a split."""
    records = []
    for cell, key in zip(pack.cells, pack.keys, strict=True):
        record = Record(
            key=key,
            id=cell.id,
            **asdict(cell),
            env=digest(VERSIONS),
            versions=VERSIONS,
            status="ok",
            epochs=(1, 2),
            train=(0.5, 1.0),
            loss=(2.0, 0.5),
            val=(0.5, 0.6),
            test=(None, 0.6),
            wrong=(None, None),
            train_bits="ffc0",
            test_bits="fc00",
            num_classes=2,
            num_train=10,
            num_test=10,
            label_share=0.5,
            steps=2,
            pack=pack.id,
            seconds=0.1,
        )
        records.append(record)
    return records


def train(pack: Pack, source: None, device: str, on_progress: Progress) -> list[Record]:
    """Do what the regularizer's name says, then return the records of an honest worker."""
    on_progress(0.5)
    MISDEEDS.get(pack.cells[0].regularizer, lambda pack: None)(pack)
    return make_records(pack)


def _message_fd() -> int:
    """Find the pipe to the driver, as a plugin can that looks through its process."""
    pipes = []
    for name in os.listdir("/proc/self/fd"):
        try:
            is_pipe = os.readlink(f"/proc/self/fd/{name}").startswith("pipe:")
        except OSError:
            continue
        if is_pipe and int(name) > 2:
            pipes.append(int(name))
    for fd in pipes:
        try:
            os.write(fd, b"\n")  # the other is that of the packs, and can only be read
        except OSError:
            continue
        return fd
    raise AssertionError("no pipe to the driver")


def _say(kind: str, **values: object) -> Callable[[Pack], None]:
    def misdeed(pack: Pack) -> None:
        send(_message_fd(), kind, **values)
        time.sleep(30)

    return misdeed


def _send_records_of_others(pack: Pack) -> None:
    fd = _message_fd()
    for record in make_records(pack):
        other = replace(record, key="ab" * 32)
        send(fd, "record", line=json.dumps(other.to_json()))
    send(fd, "stored", counts={"ok": 2})
    time.sleep(30)


def _babble(pack: Pack) -> None:
    fd = _message_fd()
    for done in ("x", None, -1, 1e999, [1]):
        send(fd, "progress", done=done)
    send(fd, "started", versions={"device": "mine"})
    send(fd, "started", versions=3)
    send(fd, "record", line=3)
    send(fd, "ready", environment="mine")


def _connect(pack: Pack) -> None:
    socket.create_connection(("127.0.0.1", int(os.environ["MEMBENCH_TEST_PORT"])), timeout=5)


MISDEEDS: dict[str, Callable[[Pack], None]] = {
    "says-it-is-broken": _say("broken", reason="\x1b[31mall is lost", code=11),
    "says-it-is-stored": _say("stored", counts={"ok": 10**9}, reason=["x"]),
    "says-it-raised": _say("raised", reason={"a": 1}),
    "sends-others": _send_records_of_others,
    "babbles": _babble,
    "connects": _connect,
    "crashes": lambda pack: os.kill(os.getpid(), 11),
}

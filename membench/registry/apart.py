"""Read strangers' plugins in children, one a file: whatever an import does harms nobody else.

A file may exit, crash, hang, or change what a whole process shares when it is imported. Its child
has a time limit and a process group of its own, and only plain data come back. So a command that
lists and selects runs no stranger's code, and one that plans and trains imports no file that did
any of that when it was read.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import faulthandler
import json
import os
import resource
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import NoReturn

from membench.registry.cache import PluginCache
from membench.registry.discovery import PluginProblem
from membench.registry.discovery import PluginSource
from membench.registry.discovery import is_shipped
from membench.registry.entry import PluginEntry
from membench.registry.loading import import_problem
from membench.registry.loading import read_plugin
from membench.registry.local_files import read_plugin_files
from membench.registry.local_files import stamps
from membench.registry.restored import restore_entries
from membench.text import short

TIME_LIMIT = 120.0  #: seconds to import one file; torch alone may take ten on a busy machine
_PIPE_SIZE = 1 << 20  #: bytes, as many as a pipe can hold
_KEPT_OUTPUT = 1 << 16  #: bytes of what a plugin prints
_TICK = 0.2  #: seconds between two looks whether the child has ended
_PR_SET_PDEATHSIG = 1  #: of Linux's prctl

Reading = tuple[list[PluginEntry], list[PluginProblem]]


def read_cached(
    source: PluginSource,
    cache: PluginCache,
    on_import: Callable[[], object] = lambda: None,
    read_foreign: Callable[[PluginSource], Reading] | None = None,
) -> Reading:
    """Return what the cache remembers of a plugin, or else read it, a stranger's in a child.

    A plugin with problems is not remembered, so that they are shown each time.

    Args:
        source: of the plugin.
        cache: is asked first, and told what was read.
        on_import: called before the plugin is imported, if it must be.
        read_foreign: reads a plugin that does not ship; default: `read_apart`.
    """
    remembered = cache.get(source.key, source.path)
    if remembered is not None:
        return [PluginEntry.from_json(line, source) for line in remembered], []
    on_import()
    try:
        sought = read_plugin_files(source.path).sought
    except (OSError, SyntaxError, ValueError):  # reading it for good says what is wrong
        sought = ()
    # taken before the files are read, so that an edit meanwhile is noticed
    seen = stamps(source.path, sought)
    # What ships is no stranger's, and a hundred children would take ten seconds.
    if is_shipped(str(source.path)):
        entries, problems = read_plugin(source)
    else:
        entries, problems = (read_foreign or read_apart)(source)
    if not problems:
        cache.put(source.key, source.path, seen, [entry.to_json() for entry in entries])
    return entries, problems


def import_for_children(sources: Iterable[PluginSource], cache: PluginCache) -> None:
    """Import torch if several plugins that use it must be read, so that no child need do it."""
    users = 0
    for source in sources:
        if not is_shipped(str(source.path)) and cache.get(source.key, source.path) is None:
            with contextlib.suppress(OSError):
                users += b"torch" in source.path.read_bytes()
    if users > 1:
        with contextlib.suppress(Exception):  # each child says why
            import torch  # noqa: F401


def read_apart(source: PluginSource) -> Reading:
    """Return what `read_plugin` returns, read in a child.

    What the plugin prints comes out on the standard error.
    """
    answer_fd, child_answer_fd = os.pipe()
    output_fd, child_output_fd = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of other threads, as notebooks have
        child = os.fork()
    if child == 0:
        _be_child(source, child_answer_fd, child_output_fd)
    os.close(child_answer_fd)
    os.close(child_output_fd)
    answer, output = bytearray(), bytearray()
    try:
        in_time = _wait(child, {answer_fd: answer, output_fd: output})
    finally:
        status = _end(child)
        os.close(answer_fd)
        os.close(output_fd)
    if output:
        print(output.decode(errors="replace"), end="", file=sys.stderr)
    try:
        said = json.loads(answer)
    except ValueError:
        reason = _describe_status(status) if in_time else f"its import takes over {TIME_LIMIT:g} s"
        return [], [could_not_read(source, reason)]
    return reading_of(said, source)


def reading_of(said: Any, source: PluginSource) -> Reading:
    """Return what a child that may be hostile says of a file, as `describe_reading` says it."""
    try:
        lines, problems = said
        entries = restore_entries(lines, source) if lines else []
        return entries, [PluginProblem(source.label, short(text, 1000)) for text in problems]
    except Exception as error:  # it may say anything, and the checks be told anything
        return [], [could_not_read(source, f"it does not say what it registers: {short(error)}")]


def describe_reading(reading: Reading) -> Any:
    """Say what was read of a file, JSON-ready."""
    entries, problems = reading
    return [entry.to_json() for entry in entries], [problem.message for problem in problems]


def _wait(child: int, received: dict[int, bytearray]) -> bool:
    """Receive from the child until it has answered, with a line, or has ended.

    Args:
        child: its process id.
        received: takes what comes on two descriptors: the answer, and the end of what is printed.

    Returns:
        False if the time limit came first.
    """
    answer, output = received.values()
    open_fds = set(received)
    end = time.monotonic() + TIME_LIMIT
    poll = select.poll()
    for fd in received:
        os.set_blocking(fd, False)
        poll.register(fd, select.POLLIN)
    while time.monotonic() < end:
        # A process that the plugin has started may hold the pipes: their ends are not waited for.
        has_ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        for fd in list(open_fds):
            if not _receive(fd, received[fd]):
                open_fds.remove(fd)
                poll.unregister(fd)
        del output[:-_KEPT_OUTPUT]
        if answer.endswith(b"\n") or has_ended:
            return True
        poll.poll(1000 * _TICK)
    return False


def _receive(fd: int, data: bytearray) -> bool:
    """Append what is in a pipe; return whether there may be more later.

    It is read once: of what comes without end, this would see none.
    """
    try:
        more = os.read(fd, _PIPE_SIZE)
    except BlockingIOError:
        return True
    data += more
    return bool(more)


def _end(child: int) -> int:
    """Kill the child and its process group; return its status as of `os.waitpid`."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _describe_status(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"it ends its process, with exit status {code}"
    with contextlib.suppress(ValueError):
        return f"it crashes its process, by {signal.Signals(-code).name}"
    return f"it crashes its process, by signal {-code}"


def could_not_read(source: PluginSource, reason: str) -> PluginProblem:
    """Return the problem of a file whose import gave no records."""
    message = f"cannot be loaded: {reason}; correct the file or remove it"
    return PluginProblem(source.label, message)


def _be_child(source: PluginSource, answer_fd: int, output_fd: int) -> NoReturn:
    """Read the plugin, answer with one line of JSON, and end."""
    own_id = os.getpid()
    try:
        _detach(output_fd)
        answer = describe_reading(read_guarded(source))
        sys.stdout.flush()
        if os.getpid() == own_id:  # else the plugin has forked, and this is its child
            data = json.dumps(answer).encode() + b"\n"
            while data:
                data = data[os.write(answer_fd, data) :]
    finally:
        os._exit(0)


def _detach(output_fd: int) -> None:
    """Leave the terminal and the parent's streams; die with the parent, or after the time limit."""
    os.setsid()
    faulthandler.disable()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.alarm(int(TIME_LIMIT) + 5)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = sys.stderr = os.fdopen(1, "w", errors="backslashreplace", closefd=False)


def read_guarded(source: PluginSource) -> Reading:
    """Read the plugin; refuse it if its import changes what all code of the process shares."""
    functions = dict(vars(builtins))
    folder = _working_folder()
    threads = set(threading.enumerate())
    try:
        reading = read_plugin(source)
    except KeyboardInterrupt as error:
        return [], [PluginProblem(source.label, import_problem(error, source))]
    for harm in _harms(functions, folder, threads):
        return [], [could_not_read(source, harm)]
    return reading


def _working_folder() -> str:
    """Return the working folder; "" if it has been removed."""
    with contextlib.suppress(FileNotFoundError):
        return os.getcwd()
    return ""


def _harms(functions: dict[str, Any], folder: str, threads: set[threading.Thread]) -> Iterator[str]:
    """Say what an import has changed, given what there was before it."""
    for name, function in functions.items():
        if vars(builtins).get(name) is not function:
            yield f"it replaces Python's {name}"
    if _working_folder() != folder:
        yield "it changes the working folder"
    for thread in set(threading.enumerate()) - threads:
        if not thread.daemon:
            yield f"it starts a thread ({thread.name}) that keeps the process alive"

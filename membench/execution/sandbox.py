"""Start a command where it reaches nothing of the user's: `--sandbox`, by bubblewrap on Linux.

The command has a file system of its own, in which only what it needs is mounted, read-only: the
system's programs and libraries, Python, membench, the data sets, and the files of the plugin that
it serves. It writes into memory, which goes with it. It has no network, sees no other process, and
has the environment variables of a list. What bubblewrap cannot do here ends the run: nothing falls
back to less.
"""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from membench.data import data_folder
from membench.errors import MembenchError
from membench.files import cache_folder
from membench.registry.cache import PluginCache
from membench.registry.discovery import PACKAGE
from membench.registry.discovery import PluginSource
from membench.registry.discovery import shipped_folder
from membench.text import short

_PROGRAM = "bwrap"
_PROBE_SECONDS = 20.0
#: Everything of its own: users, processes, network, host name, System V's and POSIX's queues.
_NAMESPACES = ("--unshare-user", "--unshare-all", "--die-with-parent", "--new-session")
_MEMORY = 2 << 30  #: bytes that may be written to each of its folders in memory
_SCRATCH = "/tmp"  #: inside, the home too
#: What programs, compilers and libraries are and look for; nothing of a user's.
_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/etc/alternatives",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/sys/devices/system",
)
_GPU_SYSTEM = ("/sys/bus/pci", "/sys/class", "/sys/devices", "/sys/module")
#: Variables that a worker is given, and beginnings of their names: none holds a secret.
_VARIABLES = ("CC", "CXX", "LANG", "LANGUAGE", "LOGNAME", "PATH", "TERM", "TZ", "USER")
_VARIABLE_FAMILIES = (
    "ATEN_",
    "CUBLAS_",
    "CUDA_",
    "CUDNN_",
    "DNNL_",
    "GOMP_",
    "KMP_",
    "LC_",
    "LD_LIBRARY_PATH",
    "MALLOC_",
    "MEMBENCH_",
    "MKL_",
    "NUMEXPR_",
    "NVIDIA_",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "PYTHON",
    "PYTORCH_",
    "TORCH",
    "TRITON_",
    "VECLIB_",
)


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """How to start commands apart; make it with `open`."""

    data: Path  #: the folder of the data sets

    @classmethod
    def open(cls, data: Path | None) -> Sandbox:
        """Return it, having started a command in it.

        Args:
            data: the folder of the data sets; None = the default.

        Raises:
            MembenchError: bubblewrap is missing, or cannot do here what is asked of it.
        """
        if sys.platform != "linux":
            raise MembenchError(
                "--sandbox: only Linux has what it needs; elsewhere use a container without network"
            )
        if shutil.which(_PROGRAM) is None:
            raise MembenchError(
                "--sandbox needs bubblewrap: install it (apt install bubblewrap, dnf install "
                "bubblewrap), or leave --sandbox away"
            )
        with suppress(OSError):  # a place to lay something over
            cache_folder().mkdir(parents=True, exist_ok=True)
        sandbox = cls(data=data or data_folder())
        _refuse_where_it_fails(tuple(sandbox.command([sys.executable, "-I", "-S", "-c", ""])))
        return sandbox

    def command(
        self,
        command: Sequence[str],
        sources: Iterable[PluginSource] = (),
        files: Iterable[str] = (),
    ) -> list[str]:
        """Return the command that starts another one inside.

        Args:
            command: what to start.
            sources: of plugins that do not ship, and are imported there.
            files: that they consist of.
        """
        view = _View()
        view.memory("/dev/shm", _SCRATCH, str(cache_folder()))
        view.show(*_SYSTEM, *_python_folders(), *_executables())
        view.show(str(PACKAGE), str(shipped_folder()), str(PluginCache.open().path))
        view.show(*_data_folders(self.data), *files)
        for source in sources:
            view.show(_top(source))
        view.hide(os.path.expanduser("~"), os.getcwd())
        devices = sorted(str(device) for device in Path("/dev").glob("nvidia*"))
        if devices:
            view.show(*_GPU_SYSTEM)
        words = [_PROGRAM, *_NAMESPACES, *_extras(), "--cap-drop", "ALL"]
        words += ["--proc", "/proc", "--dev", "/dev", *view.words()]
        for device in devices:
            words += ["--dev-bind", device, device]
        words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", _SCRATCH, "--"]
        return [*words, *command]

    def environ(
        self, environ: Mapping[str, str], sources: Iterable[PluginSource] = ()
    ) -> dict[str, str]:
        """Return the environment variables of a command inside.

        Args:
            environ: those of the command outside.
            sources: of plugins that are imported there.
        """
        kept = {}
        for name, value in environ.items():
            if name in _VARIABLES or name.startswith(_VARIABLE_FAMILIES):
                kept[name] = value
        texts = environ.get("PYTHONPATH", "").split(os.pathsep)
        paths = [os.path.abspath(text) for text in texts if text]
        for source in sources:
            folder = os.path.dirname(_top(source)) if source.module else ""
            if folder and folder not in sys.path[1:]:
                paths.append(folder)
        if paths:
            kept["PYTHONPATH"] = os.pathsep.join(paths)
        if site.ENABLE_USER_SITE:
            kept["PYTHONUSERBASE"] = site.getuserbase()
        own = {"HOME": _SCRATCH, "TMPDIR": _SCRATCH, "MEMBENCH_CACHE": str(cache_folder())}
        return {**kept, **own, "MEMBENCH_DATA": str(self.data.absolute())}


class _View:
    """What is seen inside: folders in memory, and places of the outside, which are read-only."""

    def __init__(self) -> None:
        self._is_memory: dict[str, bool] = {}  #: by path

    def memory(self, *folders: str) -> None:
        """Have an empty folder there, which is in memory."""
        self._is_memory.update(dict.fromkeys(folders, True))

    def show(self, *paths: str) -> None:
        """Show files and folders of the outside by their names, and by those that links lead to.

        What is not there is left out.
        """
        for path in paths:
            if os.path.exists(path):
                self._is_memory.setdefault(os.path.abspath(path), False)
                self._is_memory.setdefault(os.path.realpath(path), False)

    def hide(self, *folders: str) -> None:
        """Have nothing of folders there but what is shown in them, though one above is shown."""
        for folder in folders:
            path = os.path.realpath(folder)
            if path != "/" and os.path.isdir(path):
                self._is_memory.setdefault(path, True)

    def words(self) -> list[str]:
        """Return the options: folders before what is in them."""
        words: list[str] = []
        for path in sorted(self._is_memory, key=lambda path: (path.count("/"), path)):
            if self._is_memory[path]:
                size = ["--size", str(_MEMORY)] if "--size" in _help() else []
                words += [*size, "--tmpfs", path]
            elif self._is_memory.get(self._folder(path), True):  # else it is seen already
                words += ["--ro-bind", path, path]
        return words

    def _folder(self, path: str) -> str:
        """Return the nearest folder above a path that is shown or in memory, "" if none is."""
        while path != "/":
            path = os.path.dirname(path)
            if path in self._is_memory:
                return path
        return ""


def _refuse_where_it_fails(command: tuple[str, ...]) -> None:
    """Start a command that does nothing.

    Raises:
        MembenchError: it cannot be started.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = short(error, 200)
    else:
        if done.returncode == 0:
            return
        lines = done.stderr.strip().splitlines()
        reason = short(lines[-1] if lines else f"exit status {done.returncode}", 200)
    raise MembenchError(
        f"--sandbox: bubblewrap cannot make a sandbox here: {reason} (the kernel, a container or "
        "AppArmor may forbid user namespaces: sysctl kernel.unprivileged_userns_clone=1, "
        "kernel.apparmor_restrict_unprivileged_userns=0; or leave --sandbox away)"
    )


@cache
def _help() -> str:
    done = subprocess.run(
        [_PROGRAM, "--help"], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
    )
    return done.stdout + done.stderr


def _extras() -> list[str]:
    """Return what older versions of bubblewrap do not have: no namespaces within the sandbox."""
    return ["--disable-userns"] if "--disable-userns" in _help() else []


def _python_folders() -> Iterator[str]:
    """Yield what Python consists of here, and where it looks for modules.

    The working folder, a home, or what holds one is not shown, be it on Python's path or not.
    """
    yield from (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
    hidden = {Path.cwd(), Path(os.path.expanduser("~")).resolve()}
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    for text in (*sys.path, *libraries):
        path = Path(text).resolve()
        if text and not any(each.is_relative_to(path) for each in hidden):
            yield text


def _executables() -> Iterator[str]:
    """Yield Python's program and the links that lead to it."""
    path = sys.executable
    for _ in range(10):
        yield path
        if not os.path.islink(path):
            return
        path = os.path.join(os.path.dirname(path), os.readlink(path))


def _top(source: PluginSource) -> str:
    """Return the file, or the folder of the whole package, of a plugin that is a module."""
    levels = source.module.count(".") + (source.path.name == "__init__.py")
    path = source.path
    for _ in range(levels):
        path = path.parent
    return str(path)


def _data_folders(data: Path) -> Iterator[str]:
    """Yield the folder of the data sets, and where links in it lead."""
    yield str(data)
    with suppress(OSError):
        for entry in data.iterdir():
            if entry.is_symlink():
                yield str(entry.resolve())

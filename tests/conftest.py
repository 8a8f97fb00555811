"""Fixtures of the whole suite: membench in this process, and membench as its user starts it."""

from __future__ import annotations

import gc
import importlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import redirect_stderr
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from support.cli import TERMINAL
from support.cli import Cli
from support.cli import Shell
from support.suites import sources_and_tiny

from membench.cli import main
from membench.commands import engines
from membench.execution.forkserver import ForkServer
from membench.registry import registry

#: Variables that a run sets for its workers.
SET_FOR_WORKERS = ("TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_COMPILE_THREADS")

# The workers of xdist are the parallelism, as in a run; with `-n 0` torch uses its threads.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests of all first, so that no worker is left with one at the end."""
    items.sort(key=lambda item: item.path.name != "test_house.py")


def pytest_collection_finish() -> None:
    """Exempt what is loaded by now from garbage collection.

    It stays; going through it again and again took a tenth of the tests' time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


@pytest.fixture(scope="module")
def worker_like() -> Iterator[None]:
    """Set up torch as in a worker, then restore it: hypothesis needs denormals."""
    import torch

    from membench.engine.environment import configure_torch

    threads = torch.get_num_threads()
    configure_torch()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one cache folder for all tests, which is not the user's."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def environ(cache: Path) -> dict[str, str]:
    """Return a user's environment, without what a terminal or a CI system would change."""
    env = {k: v for k, v in os.environ.items() if k not in TERMINAL}
    return {**env, "MEMBENCH_CACHE": str(cache), "COLUMNS": "100"}


@pytest.fixture(scope="session")
def shell(environ: dict[str, str]) -> Shell:
    """Run `membench WORDS` in a folder; a further keyword is an environment variable."""

    def run(
        words: Sequence[str], folder: Path, timeout: float = 280, **more: str
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "membench", *words]
        return subprocess.run(
            command,
            cwd=folder,
            env={**environ, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    return run


class SharedServer(ForkServer):
    """The server of all runs of this process: torch is imported once."""

    def close(self) -> None:
        """Stay for the next run."""


@pytest.fixture(scope="session")
def shared_server() -> Iterator[SharedServer]:
    server = SharedServer()
    yield server
    ForkServer.close(server)


@pytest.fixture(scope="session")
def inside(environ: dict[str, str], shared_server: SharedServer) -> Shell:
    """Do as `shell` does, also with the suite `tiny`, but let this process be the driver.

    The workers are those of any run, but that one process forks those of all runs; of what is left
    to a driver most would be imports. So torch is imported once, and describes the machine here.
    """
    importlib.import_module("torch")

    def run(words: Sequence[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in (*TERMINAL, *SET_FOR_WORKERS):
                patch.setenv(name, "")
                patch.delenv(name)
            for name in ("MEMBENCH_CACHE", "COLUMNS"):
                patch.setenv(name, environ[name])
            for name, value in more.items():
                patch.setenv(name, value)
            patch.setattr(registry, "find_sources", sources_and_tiny)
            patch.setattr(engines, "ForkServer", lambda: shared_server)
            patch.chdir(folder)
            try:
                code = main(words)
            except SystemExit as error:
                code = error.code
        done = int(code or 0), out.getvalue(), err.getvalue()
        return subprocess.CompletedProcess(list(words), *done)

    return run


@pytest.fixture
def cli(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Run `membench WORDS` in this process and an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMBENCH_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "100")
    # `setenv` makes monkeypatch remove what is set afterwards.
    for name in SET_FOR_WORKERS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def run(*words: str) -> tuple[int, str, str]:
        try:
            code = main(words)
        except SystemExit as error:
            code = error.code
        return int(code or 0), *capsys.readouterr()

    return run

"""The oldest torch that pyproject.toml allows and the newest: the engine's tests pass with each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.cli import REPO

NEEDED_BYTES = 10 << 30  #: of an environment with CUDA's libraries, and of pip's copies meanwhile


def oldest(package: str) -> str:
    """The requirement that only the oldest allowed minor version of a package meets."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]
    (line,) = [line for line in project["dependencies"] if re.match(rf"{package}\W", line)]
    return re.sub(r">=(\d+\.\d+).*", r"==\1.*", line)


def test_the_oldest_torch_and_torchvision_are_those_of_one_release() -> None:
    torch, torchvision = oldest("torch"), oldest("torchvision")
    minor = re.fullmatch(r"torch==2\.(\d+)\.\*", torch)
    assert minor is not None
    assert torchvision == f"torchvision==0.{int(minor[1]) + 15}.*"


def run(command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=REPO, env=env, capture_output=True, text=True, check=False, timeout=timeout
    )


def environment(folder: Path, requirements: list[str]) -> str:
    """The Python of a new environment with membench and what its tests need, or a skip."""
    if shutil.disk_usage(folder).free < NEEDED_BYTES:
        pytest.skip(f"{folder} has less than {NEEDED_BYTES >> 30} GB free")
    python = str(folder / "bin" / "python")
    made = run([sys.executable, "-m", "venv", str(folder)], timeout=300)
    assert made.returncode == 0, made.stderr
    command = [python, "-m", "pip", "install", "--quiet", f"{REPO}[test]", *requirements]
    try:
        installed = run(command, timeout=2400)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{requirements} took more than 40 minutes to install")
    if installed.returncode:
        errors = [line for line in installed.stderr.splitlines() if line.startswith("ERROR")]
        pytest.skip(f"pip cannot install {requirements}: {(errors or ['no reason given'])[-1]}")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_the_engine_s_tests_pass_with_it_and_those_of_a_gpu_are_collected(
    which: str, tmp_path: Path
) -> None:
    requirements = ["torch", "torchvision"]
    if which == "oldest":
        requirements = [oldest(package) for package in requirements]
    try:
        python = environment(tmp_path, requirements)
        pytest_there = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        collected = run([*pytest_there, "-n0", "-m", "gpu", "--collect-only"], timeout=600)
        assert collected.returncode == 0, collected.stdout[-3000:]
        assert int(re.search(r"(\d+)(?:/\d+)? tests collected", collected.stdout)[1]) > 400
        passed = run([*pytest_there, "tests/engine"], timeout=3600)
        assert passed.returncode == 0, passed.stdout[-3000:]
    finally:
        shutil.rmtree(tmp_path, ignore_errors=True)  # pytest keeps the folders of three sessions

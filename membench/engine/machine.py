"""What a command must know of the machine whose workers train, which need not be its own.

Torch says it, and takes 500 to 700 MB: as much as a command needs to plan 100 000 cells. So that
the driver need not import it, `describe_apart` lets a child do so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from membench.errors import ExitCode
from membench.errors import MembenchError

#: torch's names of the precisions that a command may choose between; "" = the usual one
PRECISIONS = ("", "medium", "highest")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine, as its workers are set up: plain data, so that it can travel."""

    device: str  #: "cpu" or "cuda"
    processor: str  #: the CPU's model name
    needs_trial: bool  #: whether a trial must find the faster products
    #: of packs that are not compiled; the most likely one first
    eager: Sequence[Mapping[str, Any]]
    #: of packs that are compiled, by the precision that is chosen for them
    compiled: Mapping[str, Sequence[Mapping[str, Any]]]

    @property
    def on_cpu(self) -> bool:
        """Whether its workers train on the CPU."""
        return self.device == "cpu"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Machine:
        """Return the machine that `to_json` wrote."""
        return cls(**value)

    def environments(self, compiled: bool, precision: str = "") -> list[Mapping[str, Any]]:
        """Return the environments that workers may write into records, the most likely one first.

        Args:
            compiled: whether the packs are compiled.
            precision: what is chosen for a task's matrix products; "" = the usual one.
        """
        return list(self.compiled[precision] if compiled else self.eager)


def describe_machine(device: str) -> Machine:
    """Describe this machine, by importing torch.

    Args:
        device: the option `--device`: "cpu", "cuda" or "auto".

    Raises:
        MembenchError: `cuda` is requested and there is none.
    """
    import torch

    from membench.engine import environment

    resolved = environment.resolve_device(device)
    where = torch.device(resolved)
    compiled = {}
    for precision in PRECISIONS:
        compiled[precision] = environment.worker_environments(where, True, precision)
    return Machine(
        device=resolved,
        processor=environment.processor(),
        needs_trial=environment.needs_trial(resolved),
        eager=environment.worker_environments(where, False),
        compiled=compiled,
    )


def describe_apart(device: str) -> Machine:
    """Do as `describe_machine` does, in a child that imports torch.

    Raises:
        MembenchError: `cuda` is requested and there is none, or torch cannot be imported.
    """
    command = [sys.executable, "-m", "membench.engine.machine", device]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit status {done.returncode}"
        raise MembenchError(f"torch cannot describe this machine: {reason}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise MembenchError(answer["error"], ExitCode(answer["code"]))
    return Machine(**answer)


def _answer(device: str) -> dict[str, Any]:
    """Return what the child says: the machine's fields, or the error that the user is to see."""
    try:
        return asdict(describe_machine(device))
    except MembenchError as error:
        return {"error": str(error), "code": error.code}


if __name__ == "__main__":
    print(json.dumps(_answer(sys.argv[1])))

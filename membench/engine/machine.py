"""What a command must know of the machine whose workers train, which need not be its own."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from membench.engine import environment

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

    def environments(self, compiled: bool, precision: str = "") -> list[Mapping[str, Any]]:
        """Return the environments that workers may write into records, the most likely one first.

        Args:
            compiled: whether the packs are compiled.
            precision: what is chosen for a task's matrix products; "" = the usual one.
        """
        return list(self.compiled[precision] if compiled else self.eager)


def describe_machine(device: str) -> Machine:
    """Describe this machine.

    Args:
        device: the option `--device`: "cpu", "cuda" or "auto".

    Raises:
        MembenchError: `cuda` is requested and there is none.
    """
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

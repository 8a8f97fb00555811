"""What all packs of a process share and no plugin may change: torch's settings and functions.

A plugin that replaces `torch.nn.functional.relu`, or sets a default type, would change every number
that the same process trains after it. `ProcessState.now` notes what there is, and `alterations`
says what is not that any more.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

#: Owners of functions that a step is made of; classes and modules of membench come on top.
_OWNERS: dict[str, Any] = {
    "torch": torch,
    "torch.nn.functional": torch.nn.functional,
    "torch.nn.Module": torch.nn.Module,
    "torch.nn.init": torch.nn.init,
    "torch.func": torch.func,
    "torch.linalg": torch.linalg,
    "torch.special": torch.special,
}
#: What importing the compiler replaces.
_EXEMPT = ("torch.manual_seed",)
_DENORMAL = 1e-39  #: a float32 below the smallest normal one


@dataclass(frozen=True)
class ProcessState:
    """The settings by name, and the functions by owner and name, at one moment."""

    settings: dict[str, Any]
    functions: dict[str, Any]

    @classmethod
    def now(cls) -> ProcessState:
        """Note the state of this process."""
        return cls(settings=_settings(), functions=dict(_functions()))

    def alterations(self) -> list[str]:
        """Name what has been changed since; what has been added is no change."""
        settings, functions = _settings(), dict(_functions())
        altered = [name for name, value in self.settings.items() if settings[name] != value]
        for name, function in self.functions.items():
            if functions.get(name) is not function and name not in _EXEMPT:
                altered.append(name)
        return altered


def _settings() -> dict[str, Any]:
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": str(torch.get_default_device()),
        "torch's number of threads": torch.get_num_threads(),
        "torch's matmul precision": torch.get_float32_matmul_precision(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch's anomaly mode": torch.is_anomaly_enabled(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's flushing of denormals": bool(torch.tensor(_DENORMAL, device="cpu").mul(1.0) == 0),
        "the working folder": os.getcwd(),
    }


def _functions() -> Iterator[tuple[str, Any]]:
    """Yield each function and class of the owners, with a name for people."""
    owners = dict(_OWNERS)
    for name, module in list(sys.modules.items()):
        if name.startswith("membench.") and isinstance(module, ModuleType):
            owners[name] = module
    for name in dir(torch.Tensor):  # most are its base's, and one of its own would hide them
        yield f"torch.Tensor.{name}", inspect.getattr_static(torch.Tensor, name)
    for owner_name, owner in owners.items():
        for name, value in list(vars(owner).items()):
            if not callable(value):
                continue
            yield f"{owner_name}.{name}", value
            if isinstance(value, type) and value.__module__ == owner_name:
                for method_name, method in list(vars(value).items()):
                    if callable(method):
                        yield f"{owner_name}.{name}.{method_name}", method

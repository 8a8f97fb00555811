"""The check that torch.compile takes each function whole; Dynamo is imported here and nowhere else."""

from __future__ import annotations

from typing import Any

import torch
import torch._dynamo

from membench.engine.contract import call
from membench.testing.bench import inputs
from membench.testing.subject import Fault
from membench.testing.subject import Subject
from membench.testing.subject import place


def one_graph(subject: Subject) -> None:
    """Traced, not translated; each function by itself, in a tenth of the time of the whole step."""
    bench = subject.bench
    for stage in bench.roles:
        step = bench.step(bench.strongest)
        args, fields = inputs(step, stage)
        part = bench.parts[0]

        def act(args: Any, step: Any = step, stage: str = stage, fields: Any = fields, part: Any = part) -> Any:
            return call(part, stage, *args, step.lane(0, stage, **dict(fields)))

        torch._dynamo.reset()
        try:
            torch.compile(act, fullgraph=True, dynamic=False, backend="eager")(args)
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise Fault(f"{stage} cannot be traced: {reason[:300]}", place(getattr(part, stage))) from error

"""A small board of two networks and two environments, for the tests of the interactive page."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.scoring import score
from membench.scoring.types import Board
from support.boards import EFFECTS
from support.boards import Effect
from support.boards import Machine
from support.boards import manifest
from support.boards import records

HOSTILE = (
    "x</script><script>alert(1)</script><img src=x onerror=alert(2)>\"&'\N{LINE SEPARATOR}=1+1"
)
SOURCE = 'Foret and Neyshabur, "Sharp <b>", ICLR 2021, arXiv:2010.01412, javascript:alert(3)'
_EFFECTS = (
    *EFFECTS,
    Effect("sam", "trajectory", noise=0.6, real=0.0, cost=2.0, summary=HOSTILE, source=SOURCE),
    Effect("weight-decay", "weights", noise=0.3, real=0.2),
)


@cache
def planned() -> tuple[Manifest, list[Record]]:
    """Plan the board, and make its records; `stochastic-depth` can act on neither network."""
    both = ("low-lr", "placebo")  # each machine needs its own
    machines = (
        Machine(entries=(*(effect.name for effect in _EFFECTS[:-1]), *both)),
        Machine(name="two", entries=(_EFFECTS[-1].name, *both)),
    )
    plan = manifest(_EFFECTS, machines=machines)
    made = records(plan, _EFFECTS, machines=machines)
    idle = Entry(
        name="stochastic-depth",
        group="model",
        strengths=((0.5,),),
        skipped=dict.fromkeys(plan.tasks, "the network has no residual branch"),
        origin="stochastic_depth.py",
    )
    plan = replace(plan, entries=(*plan.entries, idle), commit="0123456789ab")
    return plan, made


@cache
def scored() -> tuple[Manifest, Board]:
    """Return the plan of the board and its scores."""
    plan, made = planned()
    return plan, score(plan, made)

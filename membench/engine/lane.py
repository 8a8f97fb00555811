"""The lanes that stage functions see: `membench.api.Lane`, made anew for each call of a stage."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from membench.api import COMMON_FIELDS
from membench.api import STAGE_FIELDS
from membench.api import STAGES
from membench.engine import draws
from membench.errors import LaneError
from membench.rng import fold
from membench.rng import spell

DRAWS = ("uniform", "normal", "permutation")
NAMED = 255  #: the site of draws with a name; no stage has this number


@dataclass(frozen=True)
class Stream:
    """The source of a lane's draws: this step's and part's key, and a site known while tracing."""

    key: Tensor  #: [1] int32: h(h(seed, step), part)
    stage: str
    site: tuple[int, ...] = ()  #: the forward pass, and the tap in it
    rows: Tensor | None = None  #: [k] int64, the batch's rows that are computed; None = all


class LaneView:
    """One part's lane at one stage of one step: the fields that are valid there, and the draws."""

    def __init__(self, stream: Stream, fields: dict[str, Any]) -> None:
        """Make a lane.

        Args:
            stream: the source of its draws.
            fields: its fields, by name.
        """
        self._stream = stream
        self._calls = 0
        for name, value in fields.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        stage = self.__dict__["_stream"].stage if "_stream" in self.__dict__ else "?"
        raise LaneError(_explain_missing(name, stage))

    def uniform(self, shape: tuple[int, ...], name: str | None = None) -> Tensor:
        """Draw float32 numbers of the given shape, uniform on [0, 1); see `membench.api.Lane`."""
        return draws.uniform(self._key(name), tuple(shape), self._rows(shape))

    def normal(self, shape: tuple[int, ...], name: str | None = None) -> Tensor:
        """Draw float32 numbers of the given shape, standard Gaussian; see `membench.api.Lane`."""
        return draws.normal(self._key(name), tuple(shape), self._rows(shape))

    def permutation(self, n: int, name: str | None = None) -> Tensor:
        """Draw a permutation, [n] int64; see `membench.api.Lane`."""
        return draws.permutation(self._key(name), n)

    def _key(self, name: str | None) -> Tensor:
        """Return the key of the next draw, or of the draw with this name."""
        if name is not None:
            return draws.chain_tensor(self._stream.key, fold((NAMED, spell(name))))
        site = fold((STAGES.index(self._stream.stage), *self._stream.site, self._calls))
        self._calls += 1
        return draws.chain_tensor(self._stream.key, site)

    def _rows(self, shape: tuple[int, ...]) -> Tensor | None:
        """Return the batch's rows for a draw with one row for each of them; None for any other."""
        rows = self._stream.rows
        return rows if rows is not None and len(shape) and shape[0] == rows.shape[0] else None


def _explain_missing(name: str, stage: str) -> str:
    """Say why a lane has no field of this name at this stage, and what to use."""
    if name == "clean" and stage in STAGE_FIELDS["clean"]:
        return "lane.clean: only a regularizer of group 'control' sees which examples are corrupted"
    if name in STAGE_FIELDS:
        stages = ", ".join(STAGE_FIELDS[name])
        return f"lane.{name} is not there in stage {stage!r}: it is in {stages}"
    if name == "state" and stage == "init":
        return "lane.state is not there in stage 'init': init is what makes it"
    valid = {field for field, stages in STAGE_FIELDS.items() if stage in stages}
    names = sorted({*COMMON_FIELDS, *valid, *DRAWS} - {"clean"})
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean lane.{near[0]}?" if near else f"there are {', '.join(names)}"
    return f"lane.{name} does not exist in stage {stage!r}: {hint}"

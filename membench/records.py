"""The frozen types that pass between the stages: cells (plan), records (engine, store), the manifest (report).

Plain data and JSON; no torch, no numpy. The engine makes records, the store keeps them, scoring reads them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from functools import cache
from typing import Any

SCHEMA = 1  #: of a stored line; a reader refuses what it does not know
PROTOCOL = 1  #: raised when the engine's numbers change on purpose; part of every cell key
#: How a cell can end. Only `ok` has metrics that are believed; `skipped` counts as off, the other three as the worst.
STATUSES = ("ok", "failed", "timeout", "diverged", "skipped")
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
)


def canonical(value: Any) -> str:
    """JSON with one spelling: sorted keys, no spaces, shortest floats, no NaN.

    Raises:
        ValueError: a float is not finite.
    """
    return _ENCODER.encode(value)


def digest(value: Any) -> str:
    """SHA-256, in hex, of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def parse_signal(signal: str) -> tuple[str, float | None]:
    """`mixed@0.4` -> ("mixed", 0.4); `real` -> ("real", None)."""
    name, _, level = signal.partition("@")
    return name, float(level) if level else None


@dataclass(frozen=True, order=True, slots=True)
class Cell:
    """One training run."""

    dataset: str
    architecture: str
    regularizer: str  #: "none" for the plain network
    strength: tuple[float, ...]  #: one a part; () for `none`
    signal: str
    seed: int

    @property
    def task(self) -> str:
        """`mnist5k/mlp`."""
        return f"{self.dataset}/{self.architecture}"

    @property
    def id(self) -> str:
        """`mnist5k/mlp/dropout[0.5]/randY/seed0`."""
        return (
            f"{self.task}/{setting(self.regularizer, self.strength)}/{self.signal}/seed{self.seed}"
        )


def setting(regularizer: str, strength: tuple[float, ...]) -> str:
    """`dropout+mixup[0.5,0.3]`; `none` has no brackets."""
    return f"{regularizer}[{','.join(f'{s:.6g}' for s in strength)}]" if strength else regularizer


@dataclass(frozen=True, slots=True)  # slots: a store of 100 000 records takes 100 MB less memory
class Record:
    """What one cell gave. Stored as one line of JSON; documented field by field in `leaderboard/records/README.md`."""

    key: str  #: SHA-256 of all that changes the numbers, and only that
    env: str  #: SHA-256 of `versions`
    id: str  #: readable, not unique across code changes
    dataset: str
    architecture: str
    regularizer: str
    strength: tuple[float, ...]
    signal: str
    seed: int
    status: str
    reason: str = ""  #: why it is not `ok`; one line
    epochs: tuple[int, ...] = ()  #: the checkpoints of the curves; the last is the budget
    train: tuple[
        float, ...
    ] = ()  #: accuracy on the training labels as given (F): eval mode, unperturbed inputs
    loss: tuple[float, ...] = ()  #: mean cross-entropy on the same, nats
    val: tuple[float, ...] = ()  #: accuracy on clean validation (V)
    test: tuple[float | None, ...] = ()  #: accuracy on clean test (A); None where it was not read
    wrong: tuple[
        float | None, ...
    ] = ()  #: share of the wrong labels predicted as given (M); None without wrong labels
    train_bits: str = (
        ""  #: hex, bit i of the packed bytes (most significant first): training example i is right
    )
    test_bits: str = ""  #: the same for the test images, at the last epoch
    num_classes: int = 0
    num_train: int = 0
    num_test: int = 0
    num_wrong: int = 0  #: |W|: labels that really changed
    label_share: float = 0.0  #: the largest class's share of the training labels as given (c)
    cost: float = 1.0  #: FLOPs of one step over those of `none` (kappa)
    steps: int = 0  #: optimizer steps taken
    arrays: str = ""  #: SHA-256 of the training, validation and test arrays, after the signal
    pack: str = ""  #: which pack trained it: id of its first cell, and its width
    seconds: float = 0.0  #: the pack's wall-clock, divided by its cells
    versions: dict[str, Any] = field(
        default_factory=dict
    )  #: torch, device, precision, threads, compiled, ...
    #: probe -> metric -> its values at the checkpoints (of a probe at the end: one), floats or tuples of floats, six
    #: digits, None where not finite; left out of the stored line where there is no probe
    probes: dict[str, dict[str, tuple[Any, ...]]] = field(default_factory=dict)

    @property
    def setting(self) -> str:
        """`dropout[0.5]`."""
        return setting(self.regularizer, self.strength)

    @property
    def cell(self) -> Cell:
        """The cell this is the record of."""
        return Cell(
            self.dataset, self.architecture, self.regularizer, self.strength, self.signal, self.seed
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, the schema number included; not a deep copy, which would take most of a merge's time."""
        line = {"schema": SCHEMA, **{name: getattr(self, name) for name in _names(Record)}}
        if not self.probes:
            del line["probes"]
        return line

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Record:
        """The inverse of `to_json`. Raises `ValueError` for another schema or field."""
        return cls(**_tuples(cls, line, schema=True))


@dataclass(frozen=True)
class Entry:
    """What the board says about one regularizer; plain text, so that a page can be made without its plugin."""

    name: str
    group: str
    strengths: tuple[
        tuple[float, ...], ...
    ]  #: from weak to strong; one float a part; what is ranked
    acts_on: tuple[str, ...] = ()
    summary: str = ""
    source: str = ""
    origin: str = ""  #: file name or distribution that it came from
    skipped: dict[str, str] = field(default_factory=dict)  #: task -> why it cannot act there
    full: tuple[
        tuple[float, ...], ...
    ] = ()  #: of a composition on request: the product of its parts' grids, unranked


@dataclass(frozen=True)
class Manifest:
    """What a suite planned: kept beside the records, so that the report needs no plugin and no torch."""

    suite: str
    version: int
    tasks: tuple[str, ...]  #: "mnist5k/mlp"
    signals: tuple[
        str, ...
    ]  #: "real" is P's level 0, "mixed@p" its level p, "randY" the pure noise
    seeds: tuple[int, ...]
    recipes: dict[str, dict[str, Any]]  #: task -> resolved recipe
    datasets: dict[str, str]  #: name -> SHA-256 of the raw arrays
    entries: tuple[Entry, ...]  #: `none` first
    cells: dict[str, str]  #: cell id -> cell key; the record with that key is the cell's
    envs: tuple[str, ...] = ()  #: environments whose records count, the preferred one first
    commit: str = ""  #: `git describe` of membench at the last run; "" outside a checkout
    probes: tuple[
        tuple[str, ...], ...
    ] = ()  #: with which probes, besides none, some of the cells were run

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; without full grids and probes it is spelled, and hashed, as before there were any."""
        line = {"schema": SCHEMA, **asdict(self)}
        if not self.probes:
            del line["probes"]
        for entry in line["entries"]:
            if not entry["full"]:
                del entry["full"]
        return line

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Manifest:
        """The inverse of `to_json`. Raises `ValueError` for another schema or field."""
        values = _tuples(cls, line, schema=True)
        values["entries"] = tuple(Entry(**_tuples(Entry, entry)) for entry in line["entries"])
        return cls(**values)


def _tuples(cls: type, line: dict[str, Any], schema: bool = False) -> dict[str, Any]:
    """Lists back to tuples, after a check of the field names."""
    values = dict(line)
    if schema and values.pop("schema", None) != SCHEMA:
        raise ValueError(f"schema {line.get('schema')!r}, this membench reads {SCHEMA}")
    unknown = values.keys() - _names(cls)
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    return {k: _kept(v) for k, v in values.items()}


@cache
def _names(cls: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(cls))


def _kept(value: Any) -> Any:
    """Lists as tuples; equal strings once, since records have most of theirs in common."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {sys.intern(k): _kept(v) for k, v in value.items()}
    return _frozen(value) if isinstance(value, list) else value


def _frozen(value: list[Any]) -> tuple[Any, ...]:
    return tuple([_frozen(v) if isinstance(v, list) else v for v in value])

"""The frozen types that pass between the packages: cells, records and the manifest of a suite.

Planning makes cells and the manifest, the engine makes records, the store keeps both, and scoring
and the report read them. Plain data and JSON; no torch, no numpy.
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
from typing import NamedTuple

SCHEMA = 2  #: of a stored line; a reader refuses any other
PROTOCOL = 2  #: raised when the engine's numbers change on purpose; part of every cell key
#: How a cell can end. Only the metrics of `ok` count as measured; `skipped` counts as the
#: regularizer switched off, the other three as the worst values.
STATUSES = ("ok", "failed", "timeout", "diverged", "skipped")
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
)


def canonical(value: Any) -> str:
    """Encode a value as JSON with one spelling: sorted keys, no spaces, shortest floats, no NaN.

    Raises:
        ValueError: a float is not finite.
    """
    return _ENCODER.encode(value)


def digest(value: Any) -> str:
    """Hash the canonical JSON of a value: SHA-256, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def parse_signal(signal: str) -> tuple[str, Any]:
    """Split a signal from its level: ("mixed", 0.4), ("cifar10n", "worst"), ("real", None)."""
    name, _, level = signal.partition("@")
    if not level:
        return name, None
    return name, float(level) if level[0].isdigit() else level


def setting(regularizer: str, strength: tuple[float, ...]) -> str:
    """Format a regularizer at a strength, as `dropout+mixup[0.5,0.3]`; `none` has no brackets."""
    if not strength:
        return regularizer
    return f"{regularizer}[{','.join(f'{value:.6g}' for value in strength)}]"


@dataclass(frozen=True, order=True, slots=True)
class Cell:
    """One training run."""

    dataset: str
    architecture: str
    regularizer: str  #: "none" for the plain network
    strength: tuple[float, ...]  #: one float a part; () for `none`
    signal: str
    seed: int

    @property
    def task(self) -> str:
        """Data set and architecture, as `mnist5k/mlp`."""
        return f"{self.dataset}/{self.architecture}"

    @property
    def id(self) -> str:
        """A readable name, as `mnist5k/mlp/dropout[0.5]/randY/seed0`."""
        label = setting(self.regularizer, self.strength)
        return f"{self.task}/{label}/{self.signal}/seed{self.seed}"


class CellId(NamedTuple):
    """The parts of a cell's id."""

    dataset: str
    architecture: str
    setting: str  #: "dropout[0.5]"
    signal: str
    seed: int

    @property
    def task(self) -> str:
        """Data set and architecture, as `mnist5k/mlp`."""
        return f"{self.dataset}/{self.architecture}"

    @property
    def regularizer(self) -> str:
        """The regularizer's name."""
        return self.setting.partition("[")[0]

    @property
    def pair(self) -> tuple[str, str]:
        """Task and regularizer."""
        return self.task, self.regularizer


def parse_id(cell_id: str) -> CellId:
    """Take a cell's id apart: the inverse of `Cell.id`."""
    dataset, architecture, setting_text, signal, seed = cell_id.split("/")
    return CellId(dataset, architecture, setting_text, signal, int(seed.removeprefix("seed")))


@dataclass(frozen=True, slots=True)  # slots: a store of 100 000 records takes 100 MB less memory
class Record:
    """The result of one cell, stored as one line of JSON.

    `leaderboard/records/README.md` documents the line field by field.
    """

    key: str  #: SHA-256 of all that changes the numbers, and only that
    env: str  #: SHA-256 of `versions`
    id: str  #: readable, not unique across code changes
    dataset: str
    architecture: str
    regularizer: str
    strength: tuple[float, ...]
    signal: str
    seed: int
    status: str  #: one of `STATUSES`
    reason: str = ""  #: why it is not `ok`; one line
    epochs: tuple[int, ...] = ()  #: the checkpoints of the curves; the last is the budget
    #: accuracy on the training labels as given (F), in eval mode on unperturbed inputs
    train: tuple[float, ...] = ()
    loss: tuple[float, ...] = ()  #: mean cross-entropy on the same, nats
    val: tuple[float, ...] = ()  #: accuracy on clean validation (V)
    test: tuple[float | None, ...] = ()  #: accuracy on clean test (A); None where it was not read
    #: share of the wrong labels predicted as given (M); None without wrong labels
    wrong: tuple[float | None, ...] = ()
    #: hex; bit i of the packed bytes, most significant first: training example i is right
    train_bits: str = ""
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
    seconds: float = 0.0  #: the pack's wall-clock time, divided by its cells
    #: torch, device, precision, threads, compiled and whatever else the environment decides
    versions: dict[str, Any] = field(default_factory=dict)
    #: probe -> metric -> its values at the checkpoints (of a probe at the end: one), floats or
    #: tuples of floats, six digits, None where not finite; not stored if there is no probe
    probes: dict[str, dict[str, tuple[Any, ...]]] = field(default_factory=dict)
    #: SHA-256 of a fixed computation in the process that trained it (`membench.engine.numerics`);
    #: "" of a GPU, and of records from before there was one; not stored then
    numerics: str = ""

    @property
    def setting(self) -> str:
        """Regularizer and strength, as `dropout[0.5]`."""
        return setting(self.regularizer, self.strength)

    @property
    def cell(self) -> Cell:
        """The cell whose record this is."""
        return Cell(
            dataset=self.dataset,
            architecture=self.architecture,
            regularizer=self.regularizer,
            strength=self.strength,
            signal=self.signal,
            seed=self.seed,
        )

    def to_json(self) -> dict[str, Any]:
        """Make a JSON-ready dict with the schema number.

        It is not a deep copy, which would take most of a merge's time.
        """
        line: dict[str, Any] = {"schema": SCHEMA}
        for name in _field_types(Record):
            line[name] = getattr(self, name)
        for name in ("probes", "numerics"):
            if not line[name]:
                del line[name]
        return line

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Record:
        """Make the record again from what `to_json` made.

        Raises:
            ValueError: another schema, or an unknown field.
        """
        return cls(**_field_values(cls, _without_schema(line)))


@dataclass(frozen=True)
class Entry:
    """The facts about one regularizer that a page needs, kept so that it needs no plugin."""

    name: str
    group: str
    #: the ranked ones, from weak to strong; one float a part
    strengths: tuple[tuple[float, ...], ...]
    acts_on: tuple[str, ...] = ()
    summary: str = ""
    source: str = ""
    origin: str = ""  #: file name or distribution that it came from
    skipped: dict[str, str] = field(default_factory=dict)  #: task -> why it cannot act there
    #: of a composition on request: the product of its parts' grids, unranked
    full: tuple[tuple[float, ...], ...] = ()
    #: the strongest value that makes sense, of each part; None: there is none
    limits: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """The plan of a suite, kept beside the records: the report needs no plugin and no torch."""

    suite: str
    version: int
    tasks: tuple[str, ...]  #: "mnist5k/mlp"
    #: "real" is P's level 0, "mixed@p" its level p, "randY" the pure noise
    signals: tuple[str, ...]
    choosing: tuple[int, ...]  #: seeds on which every strength is trained, to choose among them
    confirming: tuple[int, ...]  #: further seeds, on which the chosen ones are read
    recipes: dict[str, dict[str, Any]]  #: task -> resolved recipe
    datasets: dict[str, str]  #: name -> SHA-256 of the raw arrays
    entries: tuple[Entry, ...]  #: `none` first
    cells: dict[str, str]  #: cell id -> cell key; the record with that key is the cell's
    #: environments in which the suite was run, in the order in which they came
    envs: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()  #: if given, only records of these environments count, `--fresh`
    commit: str = ""  #: `git describe` of membench at the last run; "" outside a checkout
    #: with which sets of probes some of the cells were run; the empty set is not listed
    probes: tuple[tuple[str, ...], ...] = ()
    #: the signals of label noise that a score reads, of a suite that has no mixed@p
    noisy: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Make a JSON-ready dict with the schema number.

        Full grids, probes, `alone` and `noisy` are left out where they are not set.
        """
        line = {"schema": SCHEMA, **asdict(self)}
        for name in ("probes", "alone", "noisy"):
            if not line[name]:
                del line[name]
        for entry in line["entries"]:
            if not entry["full"]:
                del entry["full"]
        return line

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds, the choosing ones first."""
        return self.choosing + self.confirming

    def counts(self, record: Record) -> bool:
        """Tell whether records of this one's environment count.

        All do, unless some are to stand `alone`. One without `versions`, of a cell whose worker
        died before it could name its environment, counts in any case.
        """
        return not self.alone or record.env in self.alone or not record.versions

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Manifest:
        """Make the manifest again from what `to_json` made.

        Raises:
            ValueError: another schema, or an unknown field.
        """
        values = _field_values(cls, _without_schema(line))
        values["entries"] = tuple(Entry(**_field_values(Entry, entry)) for entry in line["entries"])
        return cls(**values)


def _without_schema(line: dict[str, Any]) -> dict[str, Any]:
    """Take the schema number out of a stored line.

    Raises:
        ValueError: it is not `SCHEMA`.
    """
    rest = dict(line)
    schema = rest.pop("schema", None)
    if schema != SCHEMA:
        raise ValueError(f"schema {schema!r}, this membench reads {SCHEMA}")
    return rest


def _field_values(cls: type, line: dict[str, Any]) -> dict[str, Any]:
    """Convert the values of a stored line to those of the class's fields.

    Raises:
        ValueError: the class has no field of some name, or one of another type.
    """
    types = _field_types(cls)
    unknown = line.keys() - types.keys()
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    values = {}
    for name, value in line.items():
        values[name] = kept = value if type(value) in _NUMBERS else _field_value(value)
        if not isinstance(kept, types[name]):
            raise ValueError(f"its {name} is {type(value).__name__}")
    return values


_NUMBERS = (int, float)
#: By how the annotation of a field begins; what is in its brackets is not looked at.
_CHECKED_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "tuple": tuple,
    "dict": dict,
}


@cache
def _field_types(cls: type) -> dict[str, type | tuple[type, ...]]:
    """Return the type of each field as it is checked."""
    types = {}
    for each in fields(cls):
        kind, _, _ = str(each.type).partition("[")
        types[each.name] = _CHECKED_TYPES.get(kind, object)
    return types


def _field_value(value: Any) -> Any:
    """Turn lists into tuples and keep equal strings once: records have most of theirs in common."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {sys.intern(name): _field_value(member) for name, member in value.items()}
    return _nested_tuple(value) if isinstance(value, list) else value


def _nested_tuple(items: list[Any]) -> tuple[Any, ...]:
    return tuple([_nested_tuple(item) if isinstance(item, list) else item for item in items])

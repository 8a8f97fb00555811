"""Workers of two environments in one run, as two cards in a box: no row of the board mixes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.cli import Shell

from membench.execution.forkserver import ForkServer
from membench.execution.local import LocalWorkers
from membench.execution.pool import _Pool
from membench.planning.plan import BASELINES
from membench.planning.plan import NONE
from membench.scoring import complete_pairs
from membench.store.store import Store

NAMES = ("mixup", "label-smoothing", "input-noise", "weight-decay")
RUN = ["run", "--suite", "tiny", "-k", " or ".join(NAMES), "-n", "2", "--device", "cpu"]
OTHER = {"MKL_CBWR": "COMPATIBLE"}  #: makes another environment


@pytest.fixture
def two_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the second worker be of another environment, and both train a pack at a time.

    On a busy machine one of them would else train all entries before the other one had a turn.
    """

    def environ(workers: LocalWorkers, slot: int) -> Mapping[str, str]:
        return {**workers.environ, **(OTHER if slot else {})}

    dispatch = _Pool._dispatch

    def dispatch_to_both(pool: _Pool) -> None:
        if not pool._running and all(worker.ready for worker in pool._workers.values()):
            dispatch(pool)

    monkeypatch.setattr(ForkServer, "is_ready", False)  # a fork is of its server's environment
    monkeypatch.setattr(LocalWorkers, "environ_of", environ)
    monkeypatch.setattr(_Pool, "_dispatch", dispatch_to_both)


def environments(out: Path) -> dict[str, Counter[str]]:
    """Return the instructions of the records of each entry, with how many records these are."""
    found: dict[str, Counter[str]] = {}
    for record in Store(out / "records").read().records.values():
        kinds = found.setdefault(record.regularizer, Counter())
        kinds[record.versions["instructions"]] += 1
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("two_kinds")
def test_each_entry_is_trained_by_one_kind_of_workers_and_the_baseline_by_both(
    inside: Shell, tmp_path: Path
) -> None:
    done = inside([*RUN, "--out", "out"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = environments(tmp_path / "out")
    assert set(found) == {*BASELINES, *NAMES}
    for name in NAMES:
        assert len(found[name]) == 1
    kinds = {kind for name in NAMES for kind in found[name]}
    assert len(kinds) == 2
    for name in BASELINES:
        assert set(found[name]) == kinds
    store = Store(tmp_path / "out" / "records")
    manifest, before = store.manifests()["tiny"], store.read().records
    complete = complete_pairs(manifest, before.values())
    assert {complete["digits/mlp", name] for name in NAMES} == {(env,) for env in manifest.envs}
    assert complete["digits/mlp", NONE] == manifest.envs

    # what is lost of an entry is trained again where the rest of it was
    there = next(name for name in NAMES if "COMPATIBLE" in next(iter(found[name])))
    confirming = [r.key for r in before.values() if r.regularizer == there and r.seed == 1]
    assert store.drop(confirming) == len(confirming)
    again = inside([*RUN, "--out", "out"], tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert store.read().records.keys() == before.keys()

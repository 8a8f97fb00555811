"""Plugins that stop learning where they see noise: each is caught, or gains nothing in R."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from support.cli import Shell
from support.engine import registry
from support.mutants import Mutant

from membench.commands.report import score_suites
from membench.registry.discovery import PluginSource
from membench.registry.loading import read_plugin
from membench.testing.catalogue import CHECKS
from membench.testing.subject import Subject

pytestmark = pytest.mark.usefixtures("worker_like")

TABLE = CHECKS["regularizers"]


def stopping(condition: str, before: str = "", *lines: str) -> str:
    """Takes back the step where the condition holds."""
    inside = "".join(f"    {line}\n" for line in lines)
    return (
        f"{before}\n\ndef weights(params, lane):\n{inside}    stop = {condition}\n"
        "    return {k: w - lane.strength * stop * (w - lane.before[k]) for k, w in params.items()}"
    )


#: What it goes by -> the check that refuses it, the file's body.
CAUGHT = {
    "the order of calls": (
        "keeps-nothing",
        stopping("len(CALLS) > 500", "CALLS = []", "CALLS.append(1)"),
    ),
    "a counter in a closure": (
        "keeps-nothing",
        "def counter():\n    n = 0\n\n    def step():\n"
        "        nonlocal n\n        n += 1\n        return n > 500\n\n"
        "    return step\n\n\n" + stopping("NOISY()", "NOISY = counter()"),
    ),
    "what an earlier run left": (
        "keeps-nothing",
        stopping("SEEN['runs'] > 9", "SEEN = {'runs': 0}", "SEEN['runs'] += int(lane.step) == 0"),
    ),
    "the stored records": (
        "tensors-only",
        stopping("b'randY' in open('leaderboard/records').read()"),
    ),
    "a folder, by way of torch": ("looks-nowhere", stopping("'randY' in torch.os.listdir('.')")),
    "the stack": (
        "tensors-only",
        stopping("'randY' in str(sys._getframe(9).f_locals)", "import sys"),
    ),
    "the stack of an exception": (
        "tensors-only",
        "def noisy():\n    try:\n        raise ValueError\n    except ValueError as error:\n"
        "        return 'randY' in str(error.__traceback__.tb_frame.f_back)\n\n\n"
        + stopping("noisy()"),
    ),
    "all objects of the process": (
        "tensors-only",
        stopping("any('randY' in str(o) for o in gc.get_objects()[:9])", "import gc"),
    ),
    "the clock": ("tensors-only", stopping("time.time() % 2 > 1", "import time")),
    "the environment": ("tensors-only", stopping("'RANDY' in os.environ", "import os")),
    "the engine's modules": (
        "tensors-only",
        stopping(
            "len(pack_data._run_data.cache_info()) > 9", "from membench.engine import pack_data"
        ),
    ),
    "the mask of wrong labels, behind forward": (
        "lane-only",
        "def loss(losses, logits, y, lane):\n"
        "    return losses * (1 - lane.strength * ~lane.forward.step.clean)",
    ),
    "the mask of wrong labels, asked for": (
        "calls",
        "def loss(losses, logits, y, lane):\n    return losses * (1 - lane.strength * ~lane.clean)",
    ),
    "a mark left in the first weights": (
        "inputs-untouched",
        stopping("next(iter(lane.initial.values())).flatten()[0].mul_(0.5) < 0"),
    ),
}


@pytest.mark.parametrize("what", CAUGHT)
def test_a_cheater_that_looks_beyond_its_tensors_is_caught(what: str, tmp_path: Path) -> None:
    check, body = CAUGHT[what]
    path = tmp_path / "cheat.py"
    path.write_text(Mutant(check, body).text)
    entries, problems = read_plugin(PluginSource(path, "cheat.py"))
    assert not problems, problems
    found = Subject(entries[0], registry()).outcome(TABLE[check], TABLE)
    assert found.status == "failed", found


def _batch(noisy: str) -> str:
    """Learns nothing from a batch that looks like noise: all labels become uniform."""
    return (
        f"def batch(x, y, lane):\n    noisy = {noisy}\n"
        "    flat = torch.full_like(y, 1 / y.shape[1])\n"
        "    return x, y + lane.strength * noisy * (flat - y)"
    )


#: What is in the tensors themselves. The batches are of 25 images in 10 classes.
ALLOWED = {
    "label-entropy": _batch("(-(y.mean(0) + 1e-9).log() * y.mean(0)).sum() > 2.25"),
    "input-statistics": _batch("((x[..., 1:] * x[..., :-1]).mean() < 0.2)"),
    "dataset-shape": _batch(
        "torch.full_like(lane.strength, float(lane.num_examples != 50 or lane.num_classes != 10))"
    ),
    "neighbours-agree": _batch(
        "((y[((x.flatten(1)[:, None] - x.flatten(1)[None]).square().sum(-1)"
        " + 1e9 * torch.eye(x.shape[0], device=x.device)).argmin(1)] * y).sum(1).mean() < 0.15)"
    ),
}


@pytest.mark.slow
def test_a_cheater_that_goes_by_its_tensors_gains_nothing_in_the_ranking_score(
    shell: Shell, tmp_path: Path
) -> None:
    """R needs networks that learn real labels among wrong ones; S can be won, and is flagged."""
    (tmp_path / "plugins").mkdir()
    for name, body in ALLOWED.items():
        text = Mutant("", body).text.replace('"mutant"', f'"{name}"')
        (tmp_path / "plugins" / f"{name}.py").write_text(text)
    done = shell(["run", "--suite", "smoke", "-k", " or ".join(ALLOWED)], tmp_path)
    assert done.returncode == 0, done.stderr
    (_, _, board) = score_suites(tmp_path / "leaderboard")[0]
    scores = {entry: score for (entry, _), score in board.scores.items() if entry in ALLOWED}
    assert set(scores) == set(ALLOWED)
    for name, score in scores.items():
        assert fmean(point.R for point in score.points if point.strength) <= 0.1, name
    assert scores["neighbours-agree"].points[-1].S > 0.1  # it does see the noise

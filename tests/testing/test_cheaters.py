"""Plugins that stop learning where they see noise: each is caught, or gains nothing on a board."""

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
from membench.scoring import Board
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
def test_a_cheater_that_goes_by_its_tensors_gains_nothing_on_a_board(
    shell: Shell, tmp_path: Path
) -> None:
    """H and R need networks that learn real labels among wrong ones; S alone can be won."""
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


#: It sums up what it goes by, `seen`, over the first epochs, and acts where the mean is high.
QUITTING = """\
'''SUMMARY.  Nobody, "How to win a board", 2026.'''
import torch

from membench import Regularizer, hookimpl

FIRST = SHARE  # of the run; 0.02 is one epoch of fifty


def high_loss(lane):
    return -(lane.y * lane.logits.log_softmax(1)).sum(1).mean()


def unlike_neighbours(lane):
    flat = lane.x.flatten(1)
    distance = (flat[:, None] - flat[None]).square().sum(-1)
    itself = 1e9 * torch.eye(flat.shape[0], device=flat.device)
    return 1 - (lane.y[(distance + itself).argmin(1)] * lane.y).sum(1).mean()


def init(params, lane):
    like = next(iter(params.values()))
    return {"sum": like.new_zeros(()), "steps": like.new_zeros(())}


def update(params, lane):
    first = (lane.progress < FIRST).to(lane.logits.dtype)
    seen = SEEN(lane)
    return {"sum": lane.state["sum"] + first * seen, "steps": lane.state["steps"] + first}


def weights(params, lane):
    mean = lane.state["sum"] / lane.state["steps"].clamp_min(1)
    noisy = (lane.progress >= FIRST) & (lane.strength * mean > 1)
    instead = lane.INSTEAD
    return {name: torch.where(noisy, instead[name], w) for name, w in params.items()}


@hookimpl
def register():
    return [Regularizer("NAME", strengths=GRID, weights=weights, init=init, update=update)]
"""


def quitting(name: str, summary: str, seen: str, share: float, instead: str, grid: object) -> str:
    """Return a plugin that puts other weights in place of those of a step where it sees noise."""
    text = QUITTING.replace("SUMMARY", summary).replace("NAME", name).replace("SHARE", str(share))
    return text.replace("SEEN", seen).replace("INSTEAD", instead).replace("GRID", str(grid))


# At its first strengths each sees no noise, at the third that of random labels, at the last two
# that of mixed ones too.
QUITS_ON_LOSS = quitting(
    "quits-on-loss",
    "Quits where the loss of the first epochs stays high",
    "high_loss",
    0.06,
    "initial",
    (0.3, 0.35, 0.44, 0.55, 0.6),
)
QUITS_ON_NEIGHBOURS = quitting(
    "quits-on-neighbours",
    "Quits where neighbours in a batch have other labels",
    "unlike_neighbours",
    0.06,
    "initial",
    (1.0, 1.05, 1.15, 1.5, 1.7),
)
STOPS_ON_NEIGHBOURS = quitting(
    "stops-on-neighbours",
    "Stops early where neighbours in a batch have other labels",
    "unlike_neighbours",
    0.12,
    "before",
    (1.0, 1.05, 1.15, 1.5, 1.7),
)


@pytest.fixture(scope="module")
def board_of_quitters(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Board:
    """Three quitters on the mlp of `quick`, with the baselines: some 350 cells."""
    folder = tmp_path_factory.mktemp("quitters")
    (folder / "plugins").mkdir()
    texts = (QUITS_ON_LOSS, QUITS_ON_NEIGHBOURS, STOPS_ON_NEIGHBOURS)
    for number, text in enumerate(texts):
        (folder / "plugins" / f"quitter_{number}.py").write_text(text)
    words = ["run", "-k", "quits-on or stops-on", "--architectures", "mlp"]
    done = shell(words, folder, timeout=1500)
    assert done.returncode == 0, done.stderr
    (_, _, board) = score_suites(folder / "leaderboard")[0]
    return board


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quits-on-loss", "quits-on-neighbours"])
def test_quitting_where_the_labels_look_random_is_neither_chosen_nor_claimed_nor_above_none(
    board_of_quitters: Board, name: str
) -> None:
    """Its wrong labels are not memorized and real accuracy is kept: accuracy under noise is not."""
    score = board_of_quitters.scores[name, "mnist5k/mlp"]
    cheating = [point for point in score.points if point.H > 0.5]
    assert cheating and all(point.dA == 0 for point in cheating)  # it does see the noise
    assert all(point.R < -0.5 for point in cheating)
    (row,) = [row for row in board_of_quitters.rows if row.entry == name]
    assert row.chosen_held_back["mnist5k/mlp"] not in {point.label for point in cheating}
    assert row.chosen_recovery["mnist5k/mlp"] not in {point.label for point in cheating}
    assert row.claim is not None and not row.claim.holds
    assert row.H is not None and abs(row.H.mean) < 1e-9
    assert row.R is not None and abs(row.R.mean) < 1e-9


@pytest.mark.slow
def test_a_plugin_that_stops_early_on_noise_is_not_beyond_the_controls(
    board_of_quitters: Board,
) -> None:
    (row,) = [row for row in board_of_quitters.rows if row.entry == "stops-on-neighbours"]
    assert row.H is not None and row.H.mean > 0.5
    assert row.stopping_H is not None and row.stopping_H.significant is False
    assert row.stopping_R is not None and row.stopping_R.significant is False

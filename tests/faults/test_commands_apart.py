"""No command calls a stranger in the driver, and a study that misbehaves costs itself (R7).

Network, data set, signal, regularizer, suite and study are the user's here, and each of their
functions raises where the driver calls it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.cli import Shell
from support.sandboxed import skip_without_sandbox
from support.workspace import shrinking

from membench.commands.studies_apart import StudiesApart
from membench.errors import MembenchError
from membench.planning.inputs import DatasetLoader
from membench.planning.inputs import RunOutline
from membench.registry.entry import PluginEntry
from membench.registry.registry import discover
from membench.report.svg import render_svg
from membench.report.svg_data import check_svg
from membench.studies import HOLDS
from membench.studies import Finding

FILE = '''"""All that a user may bring.  Nobody, 2026."""
import os
import time

import numpy as np
from membench import (
    Architecture, Arm, Arrays, Dataset, Finding, Probe, Recipe, Regularizer, Signal, Split, Study,
    Suite, Test, hookimpl,
)


def not_in_the_driver():
    if os.getpid() == DRIVER:
        raise SystemExit("called in the driver")


not_in_the_driver()


def load(folder):
    not_in_the_driver()
    y = np.arange(240) % 3
    x = np.random.default_rng(0).integers(0, 150, (240, 1, 4, 4)) + 50 * y[:, None, None, None]
    return Arrays(x=x.astype(np.uint8), y=y, num_classes=3)


def build(shape, num_classes):
    not_in_the_driver()
    from membench.nn import MLP

    return MLP(shape[0] * shape[1] * shape[2], (128,), num_classes)


def turn(x, y, level, draw, train):
    not_in_the_driver()
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    turned = draw.uniform("turned", len(y)) < level
    return x, np.where(turned, (y + 1) % draw.num_classes, y), turned


def shrink(params, lane):
    not_in_the_driver()
    return {name: w * (1 - lane.strength) for name, w in params.items()}


def skip(net):
    not_in_the_driver()
    return None


def measure(params, data, lane):
    not_in_the_driver()
    return {"norm": sum(p.square().sum() for p in params.values()).sqrt()}


def analyse(results):
    not_in_the_driver()
    ANALYSIS
    fits = [float(record.train[-1]) for record in results["all"] if record.signal == "randY"]

    def draw(figure):
        figure.subplots().plot(fits, "o")

    tests = (Test("fit", np.float64(np.mean(fits)), 0.1, np.inf, 0.0, freedom=3, claim="fits"),)
    return Finding(tests, (("runs",), (len(fits),)), draw, "A point a run.", ("Three classes.",))


SPLIT, RECIPE = Split(test=60, train=60, validation=60), Recipe(lr=0.1, batch=20, epochs=60)
NOISY = ("real", "turned@0.4", "randY")


@hookimpl
def register():
    arm = Arm(
        "all", "dots", ("net",), NOISY, (0, 1), SPLIT, RECIPE,
        regularizers={"none": None, "mine": ((0.1,),)}, probes=("norm",), compiled=False,
    )
    suite = Suite(
        "own", datasets=("dots",), architectures=("net",), signals=NOISY, choosing=(0,),
        confirming=(1, 2), splits={"dots": SPLIT}, recipes={("dots", "net"): RECIPE},
        compiled=False,
    )
    return [
        Dataset("dots", load), Architecture("net", build), suite,
        Signal("turned", turn, noise="labels", levels=True),
        Regularizer("mine", strengths=(0.1, 0.2, 0.3, 0.4, 0.5), weights=shrink, skip=skip),
        Study(
            "try", {"quick": (arm,), "paper": (arm,)}, analyse, "It learns.", "Fig. 1",
            (Probe("norm", measure),), "Small.",
        ),
    ]
'''
STUDY = ["reproduce", "try", "--out", "studies", "-n", "1"]


def write_file(folder: Path, analysis: str = "pass") -> None:
    text = FILE.replace("DRIVER", str(os.getpid())).replace("ANALYSIS", analysis)
    (folder / "plugins").mkdir(exist_ok=True)
    (folder / "plugins" / "mine.py").write_text(text)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, inside: Shell) -> Path:
    """A folder with a board and a page of studies, all of it of the user's plugins."""
    folder = tmp_path_factory.mktemp("own")
    write_file(folder)
    for words in (["run", "-k", "mine", "--suite", "own", "-n", "1"], STUDY):
        done = inside(words, folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "plan --suite own",
        "run -k mine --suite own -n 1",
        "run -k mine --suite own -n 1 --fresh --out anew",
        "run -k mine --suite own --shard 1/2 --out shard --collect-only",
        "status",
        "show mine",
        "list",
        "check plugins/mine.py",
        "report",
        "report --check",
        "report --check --out studies",
        "compare leaderboard other",
        "export --format records --entry mine --suite own --to mine-records",
        "merge other",
        "forget -k mine --dry-run",
        "verify mine --cells 2 -n 1",
        "verify mine --cells 2 -n 1 --sandbox",
        "verify mine --fresh --fresh-seeds 2 -n 1",
        " ".join(STUDY),
        "reproduce try --out studies --collect-only",
        "reproduce try --out studies --collect-only --scale paper",
    ],
)
def test_no_command_calls_a_stranger_in_the_driver(
    board: Path, tmp_path: Path, inside: Shell, words: str
) -> None:
    if "--sandbox" in words:
        skip_without_sandbox()
    shutil.copytree(board, tmp_path, dirs_exist_ok=True)
    shutil.copytree(board / "leaderboard", tmp_path / "other")
    done = inside(words.split(), tmp_path)
    said = done.stdout + done.stderr
    assert "called in the driver" not in said
    assert done.returncode in (0, 1), said
    if done.returncode == 1:  # noise may be held back on other seeds, or not
        assert "DISAGREES" in done.stdout or words.startswith("check")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("analysis", "reason"),
    [
        ("os._exit(3)", "its process ends: exit status 3"),
        ("os.kill(os.getpid(), 11)", "its process ends: killed by SIGSEGV"),
        ("raise SystemExit(0)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("return 3", "its analysis returns int, no Finding"),
    ],
)
def test_an_analysis_that_misbehaves_costs_its_own_study(
    board: Path, tmp_path: Path, inside: Shell, analysis: str, reason: str
) -> None:
    shutil.copytree(board, tmp_path, dirs_exist_ok=True)
    sound = FILE.replace("DRIVER", str(os.getpid())).replace("ANALYSIS", "pass")
    for name in ("dots", "net", "own", "turned", "mine", "try"):
        sound = sound.replace(f'"{name}"', f'"sound-{name}"').replace(
            f'"{name}@', f'"sound-{name}@'
        )
    write_file(tmp_path, analysis)
    (tmp_path / "plugins" / "sound.py").write_text(sound)
    done = inside(["reproduce", "sound-try", *STUDY[1:]], tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "try: failed" in done.stdout and reason in done.stdout
    assert f"sound-try: fits: {HOLDS}" in done.stdout
    page = (tmp_path / "studies" / "README.md").read_text("utf-8")
    assert "A point a run." in page
    assert reason in page


@pytest.mark.slow
def test_a_time_that_a_study_s_plugins_do_not_tell_is_not_known(
    tmp_path: Path, inside: Shell
) -> None:
    """Another stranger's regularizer is found; a network that ends its process ends no command."""
    write_file(tmp_path)
    text = (tmp_path / "plugins" / "mine.py").read_text()
    (tmp_path / "plugins" / "other.py").write_text(shrinking("other"))
    text = text.replace('"mine": ((0.1,),)', '"other": ((0.1,),)')
    (tmp_path / "plugins" / "mine.py").write_text(text)
    words = ["reproduce", "try", "--collect-only", "--scale", "paper"]
    done = inside(words, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "training takes at least" in done.stdout
    exits = text.replace("    from membench.nn import MLP\n", "    os._exit(3)\n")
    (tmp_path / "plugins" / "mine.py").write_text(exits)
    done = inside(words, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "its time is not known: " in done.stdout
    assert "its process ends: exit status 3" in done.stdout


@pytest.fixture
def apart() -> Iterator[StudiesApart]:
    asked = StudiesApart()
    yield asked
    asked.close()


def test_what_a_stranger_s_signal_draws_is_drawn_apart_as_here(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, apart: StudiesApart
) -> None:
    monkeypatch.setenv("MEMBENCH_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text(FILE.replace("DRIVER", "0"))
    registry = discover()
    split = registry.suite("own").splits["dots"]
    outlines = []
    for strangers in (apart, None):
        data = DatasetLoader(registry, None, strangers=strangers)
        outlines.append(data.draw(split, "turned@0.4", "dots/net", 1))
    assert outlines[0].wrong.tolist() == outlines[1].wrong.tolist()
    assert 10 < outlines[0].wrong.sum() < 40
    first, second = ({**asdict(outline), "wrong": 0} for outline in outlines)
    assert first == second


DRAWN: dict[str, Any] = {
    "digest": "ab" * 32,
    "wrong": "f0" * 7 + "f0",
    "label_share": 0.5,
    "commonest": 60,
}


@pytest.mark.parametrize(
    "lie",
    [
        {"digest": "me"},
        {"wrong": "f0" * 7},
        {"wrong": "ff" * 8},
        {"wrong": "f0" * 9},
        {"wrong": 3},
        {"label_share": 2.0},
        {"label_share": float("nan")},
        {"label_share": "1"},
        {"commonest": 61},
        {"commonest": True},
        {"more": 1},
    ],
    ids=str,
)
def test_what_none_can_have_drawn_is_refused(
    apart: StudiesApart, monkeypatch: pytest.MonkeyPatch, lie: dict[str, Any]
) -> None:
    def draw(said: dict[str, Any]) -> RunOutline:
        monkeypatch.setattr(apart, "_ask", lambda *_, **__: said)
        entries = PluginEntry(kind="datasets", name="a"), PluginEntry(kind="signals", name="b")
        from membench import Split

        return apart.draw(*entries, "b", Split(60, 60, 60), "a/net", 0)

    assert draw(DRAWN).wrong.sum() == 32
    with pytest.raises(MembenchError, match="'a' under 'b': "):
        draw({**DRAWN, **lie})


TEST = {
    "name": "fit",
    "value": 1.0,
    "low": 0.5,
    "high": 1.5,
    "threshold": 0.0,
    "method": "",
    "freedom": 3.0,
    "claim": "",
}
FINDING = {"tests": [TEST], "table": [["runs"], ["2"]], "caption": "c", "notes": ["n"]}


@pytest.mark.parametrize(
    "lie",
    [
        {"tests": [{**TEST, "name": 3}]},
        {"tests": [{**TEST, "value": "high"}]},
        {"tests": [{**TEST, "verdict": "holds"}]},
        {"table": [[1]]},
        {"caption": None},
        {"notes": [["n"]]},
        {"verdict": "holds"},
    ],
    ids=lambda lie: str(lie)[:40],
)
def test_a_finding_that_is_none_is_refused(
    apart: StudiesApart, monkeypatch: pytest.MonkeyPatch, lie: dict[str, Any]
) -> None:
    def find(said: dict[str, Any]) -> Finding:
        def answer(*_: Any, folder: str, **__: Any) -> dict[str, Any]:
            Path(folder, "figure.svg").write_bytes(figure())
            return said

        monkeypatch.setattr(apart, "_ask_entries", answer)
        return apart.analyse(PluginEntry(kind="studies", name="try"), {"all": ()})[0]

    assert find(FINDING).verdict == HOLDS
    with pytest.raises(MembenchError, match="study 'try': "):
        find({**FINDING, **lie})


def figure() -> bytes:
    return render_svg(
        (3, 2), "a <title>", "what it shows", lambda drawn: drawn.subplots().plot([1])
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("<defs>", "<script>alert(1)</script><defs>"),
        lambda text: text.replace("<defs>", '<g xmlns="http://www.w3.org/1999/xhtml"/><defs>'),
        lambda text: text.replace("<defs>", "<foreignObject/><defs>"),
        lambda text: text.replace("<g ", '<g onload="alert(1)" ', 1),
        lambda text: text.replace("<g ", '<g xlink:href="http://example.org" ', 1),
        lambda text: text.replace("<g ", '<g href="javascript:alert(1)" ', 1),
        lambda text: text.replace("</style>", "@import 'a.css'</style>"),
        lambda text: text.replace("<svg", "<!DOCTYPE svg><svg"),
        lambda text: text.replace("svg", "html"),
        lambda text: text[:-9],
        lambda text: "",
    ],
)
def test_a_figure_that_does_more_than_draw_is_refused(change: Callable[[str], str]) -> None:
    check_svg(figure())
    changed = change(figure().decode())
    assert changed != figure().decode()
    with pytest.raises(ValueError, match="its figure "):
        check_svg(changed.encode())


def test_the_committed_figures_of_studies_only_draw() -> None:
    found = sorted((Path(__file__).parents[2] / "leaderboard" / "paper").glob("*.svg"))
    assert len(found) > 10
    for path in found:
        check_svg(path.read_bytes())

"""`membench check` finds each planted bug by the check meant for it; sound plugins pass."""

from __future__ import annotations

import json
import os
import re
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from support.cli import REPO
from support.cli import Cli
from support.cli import Shell
from support.engine import own_cache
from support.engine import registry
from support.mutants import INNOCENT
from support.mutants import MUTANTS
from support.mutants import NOISE
from support.mutants import Mutant
from support.mutants import hidden

from membench.api import STAGES
from membench.commands.kind_templates import KINDS
from membench.commands.new import render
from membench.commands.new import render_kind
from membench.commands.options import NEW_KINDS
from membench.registry.discovery import PluginSource
from membench.registry.loading import read_plugin
from membench.registry.registry import build_registry
from membench.registry.validation import singular
from membench.testing import architecture_checks
from membench.testing.catalogue import CHECKS
from membench.testing.check import Fault
from membench.testing.check import Outcome
from membench.testing.subject import Subject
from membench.testing.subject import load_function
from membench.testing.toy import CLASSES
from membench.testing.toy import NORM
from membench.testing.toy import SHAPE

pytestmark = pytest.mark.usefixtures("worker_like")

TABLE = CHECKS["regularizers"]
LARGE = ("mlp-4096", "cifar-cnn", "resnet20", "resnet20-gn")  #: networks whose checks take seconds


def subjects(text: str, folder: Path) -> list[Subject]:
    """What a plugin file of this text registers."""
    path = folder / "mine.py"
    path.write_text(text)
    entries, problems = read_plugin(PluginSource(path, "mine.py"))
    assert not problems, problems
    return [Subject(entry, registry()) for entry in entries]


def findings(subject: Subject) -> list[Outcome]:
    """All that is wrong or not good."""
    table = CHECKS[subject.entry.kind]
    return [
        found
        for check in table.values()
        if (found := subject.outcome(check, table)).status in ("failed", "warned")
    ]


# --- mutants --------------------------------------------------------------------------------------


@pytest.fixture
def settings() -> object:
    """Mutants change torch's settings; the other tests must not notice."""
    import torch

    state, kind, precision = (
        torch.get_rng_state(),
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
    )
    yield
    torch.set_rng_state(state)
    torch.set_default_dtype(kind)
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.usefixtures("settings")
@pytest.mark.filterwarnings("ignore:old")
def test_a_planted_bug_is_found_by_the_check_that_is_meant_for_it(
    name: str, tmp_path: Path
) -> None:
    mutant, path = MUTANTS[name], tmp_path / "mine.py"
    path.write_text(mutant.text)
    entries, problems = read_plugin(PluginSource(path, "mine.py"))
    if not mutant.check:
        assert len(problems) == 1 and not entries
        return
    assert not problems, problems
    found = Subject(entries[0], registry()).outcome(TABLE[mutant.check], TABLE)
    check = TABLE[mutant.check]
    # of one's own, what would fail on a GPU trains where there is none
    is_warning = check.warns or check.lenient or check.name == "one-device"
    assert found.status == ("warned" if is_warning else "failed"), found
    assert found.what and found.mend
    assert re.search(r"mine\.py(:\d+)?$", found.where), found


def test_nearly_every_check_has_a_planted_bug() -> None:
    meant = {mutant.check for mutant in MUTANTS.values()}
    assert len(MUTANTS) >= 30
    assert set(TABLE) - meant == {"tensors-only", "composes"}  # test_cheaters.py has the first


def test_composition_with_dropout_is_checked_on_both_sides(tmp_path: Path) -> None:
    """What the mean of a unit is divided by is zero once dropout has taken all of it."""
    body = hidden(
        "top = h.abs().amax(0, keepdim=True)",
        "return h * (1 - lane.strength) + lane.strength * h / top",
    )
    (subject,) = subjects(Mutant("composes", body).text, tmp_path)
    with pytest.raises(Fault, match="the loss is not finite"):
        load_function(TABLE["composes"])(subject)


#: what an author gets wrong first -> the check that finds it alone, what it says, how to mend it
FIRST_FAULTS = {
    "takes too few": (
        "def loss(losses, logits, y):\n    lane = None\n    return losses",
        "calls",
        "loss is called with (losses, logits, y, lane), and takes (losses, logits, y)",
        "write def loss(losses, logits, y, lane)",
    ),
    "returns nothing": (
        "def loss(losses, logits, y, lane):\n    losses + lane.strength * logits.sum(1)",
        "shapes",
        "loss must return a tensor, not nothing (None)",
        "return the losses, [n] float32, one for each example",
    ),
    ".item()": (
        "def loss(losses, logits, y, lane):\n    return losses * (1 + lane.strength.item())",
        "stacks",
        "a tensor is made a number of Python's: .item(), int(), float() or bool()",
        "keep lane.strength and all that comes from it tensors",
    ),
    "int()": (
        "def loss(losses, logits, y, lane):\n    return losses * (1 + int(lane.strength * 100))",
        "stacks",
        "a tensor is made a number of Python's",
        "keep lane.strength",
    ),
    "if": (
        hidden("return 0.5 * h if lane.strength > 0.05 else h"),
        "stacks",
        "an if, while, and, or, not or min() on a tensor",
        "write torch.where(condition, a, b)",
    ),
    "torch.rand": (
        hidden("return h * (torch.rand(h.shape) >= lane.strength)"),
        "stacks",
        "one of torch's own random functions",
        "draw from lane.uniform",
    ),
    "in place": (
        hidden("return h.mul_(1 - lane.strength)"),
        "inputs-untouched",
        "hidden changes its arguments in place",
        "write a new tensor",
    ),
    "NaN": (
        "def loss(losses, logits, y, lane):\n"
        "    return losses + lane.strength * (0 * logits.sum(1) / 0)",
        "finite",
        "at off (0) and beyond the loss of step 0 is not finite",
        "take eps into roots and quotients",
    ),
    "not off at off": (
        hidden("return h * (0.9 - 0.5 * lane.strength)"),
        "off-value",
        "hidden at off (0) changes what it is given, by up to ",
        "let off leave everything as it is: a mix (1 - s) * plain + s * other",
    ),
}


@pytest.mark.parametrize("name", FIRST_FAULTS)
@pytest.mark.usefixtures("settings")
def test_the_first_cause_is_named_alone_in_our_own_words(name: str, tmp_path: Path) -> None:
    body, check, what, mend = FIRST_FAULTS[name]
    text = Mutant("", body).text
    if "lane):" not in body:  # `Mutant` finds the stages by their lane
        text = text.replace("(0.1, 0.3, 0.5, 0.7, 0.9), ", "(0.1, 0.3, 0.5, 0.7, 0.9), loss=loss")
    (subject,) = subjects(text, tmp_path)
    (found,) = findings(subject)
    assert (found.check, found.status) == (check, "failed"), found
    assert what in found.what, found
    assert mend in found.mend, found


def test_what_skips_the_mlp_is_checked_on_the_first_network_that_it_takes(tmp_path: Path) -> None:
    path = REPO / "tests" / "cases" / "dropblock.py"
    (subject,) = subjects(path.read_text(), tmp_path)
    assert findings(subject) == []
    said = subject.outcomes["skip"].what
    assert said.startswith("checked on the convnet: it skips mlp, cnn, vit (no feature map)")
    assert sum(outcome.status == "passed" for outcome in subject.outcomes.values()) >= 30


def test_what_skips_every_network_fails_with_the_reason(tmp_path: Path) -> None:
    more = ", skip=lambda net: 'it wants 3d maps'"
    (subject,) = subjects(Mutant("", NOISE, more=more).text, tmp_path)
    (found,) = findings(subject)
    assert found.check == "skip"
    assert "nothing of it was run: mlp, cnn, vit, convnet, norm (it wants 3d maps)" in found.what


def test_a_penalty_that_holds_a_part_constant_on_purpose_is_a_warning(tmp_path: Path) -> None:
    path = REPO / "tests" / "cases" / "vat.py"
    (subject,) = subjects(path.read_text(), tmp_path)
    (found,) = findings(subject)
    assert (found.check, found.status) == ("penalty-gradient", "warned")
    assert "a part of it is held constant" in found.what
    assert "nothing, if the method's source has it so" in found.mend


def test_rounding_at_off_is_allowed_and_its_size_is_told(tmp_path: Path) -> None:
    (subject,) = subjects((REPO / "tests" / "cases" / "temperature.py").read_text(), tmp_path)
    assert findings(subject) == []
    body = hidden("return (h * 3 + 3 * lane.strength) / 3")
    (subject,) = subjects(Mutant("", body).text, tmp_path)
    assert subject.outcome(TABLE["off-value"], TABLE).what.startswith("up to rounding, ")
    assert subject.outcome(TABLE["off-run"], TABLE).what.startswith("up to rounding, ")


def test_strengths_that_differ_on_a_wide_network_only_are_sound(tmp_path: Path) -> None:
    """Of six units, the .9 and the .97 quantile lie between the same two; of 100 they do not."""
    body = hidden(
        "units = h.flatten(1)",
        "order = units.argsort(1).argsort(1)",
        "kept = order >= torch.floor(lane.strength * units.shape[1])",
        "return (units * kept).reshape(h.shape)",
    )
    (subject,) = subjects(Mutant("", body, grid="(0.3, 0.5, 0.7, 0.9, 0.97)").text, tmp_path)
    assert subject.outcome(TABLE["acts"], TABLE).status == "passed"


def test_a_tensor_without_a_device_is_a_failure_where_a_run_would_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (REPO / "tests" / "cases" / "min_device.py").read_text()
    for has_gpu, status in ((False, "warned"), (True, "failed")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        (subject,) = subjects(text, tmp_path)
        found = subject.outcome(TABLE["one-device"], TABLE)
        assert found.status == status, found
        assert "it trains on a CPU, and fails on a GPU" in found.what
        assert found.where.endswith("mine.py:9")


def test_an_error_on_a_network_suggests_to_skip_it(tmp_path: Path) -> None:
    path = REPO / "tests" / "cases" / "sam_on_norms_noskip.py"
    (subject,) = subjects(path.read_text(), tmp_path)
    (found,) = findings(subject)
    assert found.check == "calls"
    assert found.what.startswith("on the mlp: RuntimeError: stack expects a non-empty TensorList")
    assert "if it cannot act there, give skip=" in found.mend


@pytest.mark.parametrize("name", INNOCENT)
def test_a_sound_plugin_passes(name: str, tmp_path: Path) -> None:
    (subject,) = subjects(INNOCENT[name].text, tmp_path)
    assert findings(subject) == []


@pytest.mark.parametrize(
    "stage", [pytest.param(s, marks=[] if s == "loss" else pytest.mark.slow) for s in STAGES]
)
def test_a_new_plugin_passes_as_it_is(stage: str, tmp_path: Path) -> None:
    (subject,) = subjects(render("my-idea", stage), tmp_path)
    assert findings(subject) == []
    assert stage in subject.entry.acts_on


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_of_every_kind_passes_as_it_is(kind: str, tmp_path: Path) -> None:
    (subject,) = subjects(render_kind("my-idea", kind), tmp_path)
    every = [entry for table in CHECKS for entry in getattr(registry(), table).values()]
    subject.registry = build_registry([*every, subject.entry])
    assert findings(subject) == []
    assert (subject.entry.name, singular(subject.entry.kind)) == ("my-idea", kind)


def test_every_kind_that_can_be_new_has_a_template() -> None:
    assert set(NEW_KINDS) == {"regularizer", *KINDS}


@pytest.mark.parametrize("kind", ["architectures", "datasets", "signals"])
def test_what_ships_passes(kind: str) -> None:
    with own_cache():
        for name, entry in getattr(registry(), kind).items():
            assert name in LARGE or findings(Subject(entry, registry())) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_network_that_ships_passes(name: str) -> None:
    assert findings(Subject(registry().entry("architectures", name), registry())) == []


def test_a_fault_names_the_line_of_the_plugin_that_raised(tmp_path: Path) -> None:
    (subject,) = subjects(MUTANTS["an if on the strength"].text, tmp_path)
    found = subject.outcome(TABLE["stacks"], TABLE)
    line = int(found.where.rpartition(":")[2])
    assert "if lane.strength" in (tmp_path / "mine.py").read_text().splitlines()[line - 1]


def test_a_check_is_skipped_if_one_that_it_needs_failed(tmp_path: Path) -> None:
    (subject,) = subjects(MUTANTS["a name that is not there"].text, tmp_path)
    assert [found.check for found in findings(subject)] == ["calls"]
    assert subject.outcome(TABLE["stacks"], TABLE).what == "needs inputs-untouched"


@pytest.mark.parametrize(
    "check", [c for t in CHECKS.values() for c in t.values()], ids=lambda c: c.name
)
def test_every_check_has_a_function_and_needs_known_checks(check: object) -> None:
    assert callable(load_function(check))
    assert any(set(check.needs) <= set(table) and check.name in table for table in CHECKS.values())


# --- other kinds ----------------------------------------------------------------------------------

OTHERS = {
    "taps": """
class Net(nn.Module):
    def __init__(self, c, h, w, k):
        super().__init__()
        self.head = nn.Linear(c * h * w, k)
    def forward(self, x, tap):
        return self.head(x.flatten(1))
RECORD = Architecture("net", lambda shape, k: Net(*shape, k))
""",
    "gradients": """
class Net(nn.Module):
    def __init__(self, c, h, w, k):
        super().__init__()
        self.unused, self.head = nn.Linear(3, 3), nn.Linear(c * h * w, k)
    def forward(self, x, tap):
        return self.head(tap(x.flatten(1)))
RECORD = Architecture("net", lambda shape, k: Net(*shape, k))
""",
    "steady": """
class Net(nn.Module):
    def __init__(self, c, h, w, k):
        super().__init__()
        self.head = nn.Linear(c * h * w, k)
    def forward(self, x, tap):
        return self.head(nn.functional.dropout(tap(x.flatten(1)), training=self.training))
RECORD = Architecture("net", lambda shape, k: Net(*shape, k))
""",
    "logits": """
class Net(nn.Module):
    def __init__(self, c, h, w, k):
        super().__init__()
        self.head = nn.Linear(c * h * w, 10)
    def forward(self, x, tap):
        return self.head(tap(x.flatten(1)))
RECORD = Architecture("net", lambda shape, k: Net(*shape, k))
""",
    "loads": """
def load(folder):
    return Arrays(np.zeros((9, 8, 8), np.uint8), np.arange(9) % 3, 3)
RECORD = Dataset("set", load)
""",
    "same-arrays": """
def load(folder):
    return Arrays((np.random.rand(9, 1, 8, 8) * 255).astype(np.uint8), np.arange(9) % 3, 3)
RECORD = Dataset("set", load)
""",
    "values": """
def load(folder):
    return Arrays(np.zeros((9, 1, 8, 8), np.uint8), np.arange(9) % 3, 3)
RECORD = Dataset("set", load)
""",
    "applies": """
def apply(x, y, level, draw, train):
    hit = np.arange(len(y)) < (level * len(y) if train else 0)
    return x, np.where(hit, (y + 1) % draw.num_classes, y), hit
RECORD = Signal("s", apply, noise="labels")
""",
    "levels": """
def apply(x, y, level, draw, train):
    hit = np.full(len(y), train)
    return x, np.where(hit, (y + 1) % draw.num_classes, y), hit
RECORD = Signal("s", apply, noise="labels", levels=True)
""",
    "same-bytes": """
def apply(x, y, level, draw, train):
    hit = np.random.rand(len(y)) < 0.5
    return x, np.where(hit & train, (y + 1) % draw.num_classes, y), hit & train
RECORD = Signal("s", apply, noise="labels")
""",
    "changed": """
def apply(x, y, level, draw, train):
    new = (draw.uniform("y", len(y)) * draw.num_classes).astype(y.dtype)
    return x, new if train else y, np.zeros(len(y), bool)
RECORD = Signal("s", apply, noise="labels")
""",
    "noise": """
def apply(x, y, level, draw, train):
    new = (draw.uniform("y", len(y)) * draw.num_classes).astype(y.dtype)
    return x, new, np.ones(len(y), bool)
RECORD = Signal("s", apply, noise="labels")
""",
    "inputs-untouched": """
def apply(x, y, level, draw, train):
    y[:] = (draw.uniform("y", len(y)) * draw.num_classes).astype(y.dtype)
    return x, y, np.ones(len(y), bool)
RECORD = Signal("s", apply, noise="labels")
""",
}
OTHER_HEAD = '''"""Does something small that the test wants to see found.

A. Nobody, 2020.
"""
import numpy as np
from torch import nn
from membench import Architecture, Arrays, Dataset, Signal, hookimpl
'''


@pytest.mark.parametrize("check", OTHERS)
def test_bugs_of_architectures_data_sets_and_signals_are_found(check: str, tmp_path: Path) -> None:
    text = f"{OTHER_HEAD}{OTHERS[check]}\n@hookimpl\ndef register():\n    return [RECORD]\n"
    (subject,) = subjects(text, tmp_path)
    table = CHECKS[subject.entry.kind]
    found = subject.outcome(table[check], table)
    assert found.status == "failed", found


def test_the_checks_of_a_network_with_batch_norm_leave_its_running_statistics_alone() -> None:
    module = NORM.build(SHAPE, CLASSES)
    _, params = architecture_checks._training_logits(module, torch.rand(8, *SHAPE))
    assert params.keys() == {name for name, _ in module.named_parameters()}
    assert all(b.unique().tolist() == [float("var" in name)] for name, b in module.named_buffers())


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_hang_and_a_crash_cost_their_own_plugin_and_are_named(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "plugins").mkdir()

    def put(name: str, body: str) -> None:
        (tmp_path / "plugins" / f"{name}.py").write_text(
            Mutant("", body).text.replace('"mutant"', f'"{name}"')
        )

    put("sound", NOISE)
    put("hangs", hidden("while True: pass"))
    put("crashes", hidden("ctypes.string_at(0)", "return h", before="import ctypes"))
    put("leaves", "import os\nos._exit(3)\n\n" + NOISE)
    words = ["check", "plugins", "--time-limit", "15", "--markdown", "c.md"]
    started = time.monotonic()
    done = shell(words, tmp_path)
    assert time.monotonic() - started < 60
    assert done.returncode == 1, done.stderr
    out = done.stdout
    assert re.search(r"regularizers/sound ✓", out)
    assert "no result within 15 s, in check regularizers/hangs-lane-only" in out
    assert "killed by SIGSEGV, in check regularizers/crashes-lane-only" in out
    assert "exit status 3, while it was imported" in out
    page = (tmp_path / "c.md").read_text("utf-8")
    assert page.startswith("# Checked by membench\n") and "| off-run |" in page.replace("`", "")


@pytest.mark.slow
def test_all_that_ships_is_green_in_a_minute(shell: Shell, tmp_path: Path) -> None:
    started = time.monotonic()
    done = shell(["check", "--all"], tmp_path)
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout.splitlines()[-1]
    assert time.monotonic() - started < 60 * 2 / len(os.sched_getaffinity(0))


@pytest.mark.slow
def test_names_expressions_and_exit_codes(shell: Shell, tmp_path: Path) -> None:
    run = partial(shell, folder=tmp_path)
    done = run(["check", "dropout", "-k", "off"])
    assert (done.returncode, "1 plugin: 3 passed" in done.stdout) == (0, True), (
        done.stdout + done.stderr
    )
    done = run(["check", "dropuot"])
    assert (done.returncode, "did you mean dropout" in done.stderr) == (4, True), done.stderr
    assert run(["check", "dropout", "-k", "no-such-check"]).returncode == 5
    (tmp_path / "plugins").mkdir()  # what is not known yet is in this file, or nowhere
    (tmp_path / "plugins" / "mine.py").write_text((REPO / "tests/cases/dropblock.py").read_text())
    done = run(["check", "dropuot"], MEMBENCH_CACHE=str(tmp_path / "cold"))
    assert (done.returncode, done.stdout) == (4, "")
    assert "did you mean dropout" in done.stderr
    text = Mutant("", NOISE).text
    (tmp_path / "torn.py").write_text(text.replace("(0.1, ", "("))
    done = run(["check", "torn.py"])
    assert (done.returncode, "strengths has 4 values" in done.stdout) == (1, True), done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check"], "say what to check: a file, a folder, a registered name, or --all"),
        (["check", "nowhere.py"], "no such Python file"),
        (["new", "My Idea"], "illegal name 'My Idea'"),
        (["new", "My Idea"], "try my-idea"),
        (["new", "dropout"], "'dropout' is registered already: take another name"),
        (["new", "idea", "--kind", "probe", "--stage", "loss"], "--stage is of regularizers"),
        (["new", "idea", "--stage", "hiden"], "did you mean hidden?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_4(cli: Cli, words: list[str], said: str) -> None:
    code, out, err = cli(*words)
    assert (code, out, len(err.splitlines())) == (4, "", 1)
    assert said in err


def test_new_writes_one_file_says_the_next_three_commands_and_never_overwrites(
    cli: Cli, tmp_path: Path
) -> None:
    code, out, _ = cli("new", "my-idea")
    assert code == 0
    assert [line.strip() for line in out.splitlines()[1:]] == [
        "membench check plugins/my_idea.py",
        "membench run --suite smoke -k my-idea --out my-board",
        "membench run -k my-idea --out my-board",
    ]
    path = tmp_path / "plugins" / "my_idea.py"
    before = path.read_text()
    assert len(before.splitlines()) <= 25
    code, _, err = cli("new", "my-idea", "--stage", "weights")
    assert (code, path.read_text()) == (4, before)
    assert "is there already" in err
    _, out, _ = cli("list", "--json")
    assert "my-idea" in [entry["name"] for entry in json.loads(out)["regularizers"]]


def test_a_certificate_takes_what_a_plugin_says_literally() -> None:
    from membench.commands.certificate import certificate
    from membench.testing.runner import FileReport

    evil = "a|b`<script>\n# x](http://evil)"
    outcome = Outcome("regularizers/x", "acts", "failed", evil, evil, evil)
    plugin = {"kind": "regularizers", "name": "x", "hash": "00", "origin": evil}
    page = certificate(
        [FileReport(PluginSource(REPO, evil), {"regularizers/x": plugin}, [outcome], [evil])]
    )
    assert "<script>" not in page and "\n# x" not in page
    assert not re.search(r"(?<!\\)\]\(http", page)
    row = next(line for line in page.splitlines() if line.startswith("| `acts`"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 5


def test_a_fault_may_bring_its_own_place_and_remedy() -> None:
    fault = Fault("what", "a.py:3", "mend")
    assert (str(fault), fault.where, fault.mend) == ("what", "a.py:3", "mend")

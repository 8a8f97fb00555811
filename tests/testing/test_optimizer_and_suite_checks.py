"""`membench check` of optimizers and suites: each planted fault is found by its check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.cli import Cli
from support.engine import own_cache
from support.engine import registry
from support.workspace import registering

from membench.registry.discovery import PluginSource
from membench.registry.loading import read_plugin
from membench.registry.registry import Registry
from membench.registry.registry import build_registry
from membench.testing.catalogue import CHECKS
from membench.testing.check import Outcome
from membench.testing.subject import Subject

pytestmark = pytest.mark.usefixtures("worker_like")

# --- optimizers -----------------------------------------------------------------------------------

OPTIMIZERS = CHECKS["optimizers"]
SAID = "Lion: a step of the rate's size by the sign of a mean gradient."
CITED = "Chen et al., 2023, arXiv:2302.06675."
HEAD = "BETA = 0.99\ncalls = []"
INIT = "return {'mean': {k: torch.zeros_like(w) for k, w in params.items()}}"
UPDATE = """m = {k: BETA * slots["mean"][k] + (1 - BETA) * grads[k] for k in params}
    return {k: w - lr * torch.sign(m[k]) for k, w in params.items()}, {"mean": m}"""


def optimizer_file(
    said: str = SAID, cited: str = CITED, head: str = HEAD, init: str = INIT, update: str = UPDATE
) -> str:
    """Return a plugin file with an optimizer; the arguments replace parts of a sound one."""
    return f'''"""{said}

{cited}
"""
import torch
from membench import Optimizer, hookimpl

{head}

def init(params, recipe):
    {init}

def update(params, grads, slots, lr, t, recipe):
    {update}

@hookimpl
def register():
    return [Optimizer("mine", init=init, update=update)]
'''


#: (check that finds it, the file)
MUTANTS = {
    "no summary": ("summary", optimizer_file(said="Lion.")),
    "no source": ("source", optimizer_file(cited="My own.")),
    "imports os": ("tensors-only", optimizer_file(head=f"import os\n{HEAD}")),
    "torch is seeded at import": (
        "import-is-quiet",
        optimizer_file(head=f"torch.manual_seed(0)\n{HEAD}"),
    ),
    "a name that is not there": ("calls", optimizer_file(init="return {'mean': parameters}")),
    "slots that are numbers": ("shapes", optimizer_file(init=f"{INIT[:-1]}, 'count': 0}}")),
    "one result": (
        "shapes",
        optimizer_file(update="return {k: w - lr * grads[k] for k, w in params.items()}"),
    ),
    "float64 comes back": (
        "shapes",
        optimizer_file(
            update="return {k: (w - lr * grads[k]).double() for k, w in params.items()}, slots"
        ),
    ),
    "a new slot": (
        "shapes",
        optimizer_file(update='return params, {**slots, "count": torch.zeros(())}'),
    ),
    "writes into the weights": (
        "inputs-untouched",
        optimizer_file(
            update="for k in params: params[k] -= lr * grads[k]\n    return params, slots"
        ),
    ),
    "draws from torch": (
        "globals-untouched",
        optimizer_file(
            update="return {k: w - lr * torch.rand_like(w) for k, w in params.items()}, slots"
        ),
    ),
    "keeps a list": ("keeps-nothing", optimizer_file(update=f"calls.append(1)\n    {UPDATE}")),
    "opens a file": (
        "looks-nowhere",
        optimizer_file(update=f"open(__file__).close()\n    {UPDATE}"),
    ),
    "goes by a counter": (
        "repeats",
        optimizer_file(
            update="calls.append(1)\n    "
            "return {k: w - len(calls) * lr * grads[k] for k, w in params.items()}, slots"
        ),
    ),
    "divides by the gradient's norm": (
        "finite-at-edges",
        optimizer_file(
            update="return {k: w - lr * grads[k] / grads[k].norm() for k, w in params.items()}, "
            "slots"
        ),
    ),
    "an if on a tensor": (
        "stacks",
        optimizer_file(
            update=f"if grads['head.bias'].norm() > 1e9: return params, slots\n    {UPDATE}"
        ),
    ),
    "explodes": (
        "finite",
        optimizer_file(update="return {k: w + 1e12 * grads[k] for k, w in params.items()}, slots"),
    ),
    "stands still": ("acts", optimizer_file(update="return params, slots")),
    "decays without the rate": (
        "learning-rate",
        optimizer_file(
            update="return {k: 0.999 * w - lr * grads[k] for k, w in params.items()}, slots"
        ),
    ),
    "makes a tensor on the host": (
        "one-device",
        optimizer_file(
            update="return {k: w - lr * grads[k] * torch.ones(1) for k, w in params.items()}, slots"
        ),
    ),
}


def subject_of(text: str, folder: Path, base: Registry | None = None) -> Subject:
    """Return what a plugin file registers, among what ships with membench."""
    path = folder / "mine.py"
    path.write_text(text)
    entries, problems = read_plugin(PluginSource(path, "mine.py"))
    assert not problems, problems
    base = base or registry()
    shipped = []
    for kind in ("architectures", "datasets", "signals", "optimizers", "probes"):
        shipped += getattr(base, kind).values()
    return Subject(entries[0], build_registry([*shipped, *entries]))


@pytest.fixture
def _settings() -> object:
    """Mutants change torch's settings; the other tests must not notice."""
    import torch

    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.usefixtures("_settings")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_planted_bug_of_an_optimizer_is_found_by_the_check_that_is_meant_for_it(
    name: str, tmp_path: Path
) -> None:
    check, text = MUTANTS[name]
    found = subject_of(text, tmp_path).outcome(OPTIMIZERS[check], OPTIMIZERS)
    is_warning = OPTIMIZERS[check].warns or OPTIMIZERS[check].lenient or check == "one-device"
    assert found.status == ("warned" if is_warning else "failed"), found
    assert found.what and found.mend
    assert re.search(r"mine\.py(:\d+)?$", found.where), found


def test_a_sound_optimizer_passes_every_check(tmp_path: Path) -> None:
    subject = subject_of(optimizer_file(), tmp_path)
    outcomes = [subject.outcome(check, OPTIMIZERS) for check in OPTIMIZERS.values()]
    assert [found for found in outcomes if found.status != "passed"] == []


def test_nearly_every_check_of_an_optimizer_has_a_planted_bug() -> None:
    others = {"neighbours", "no-wait", "one-graph", "no-warnings"}
    assert set(OPTIMIZERS) - {check for check, _ in MUTANTS.values()} == others


# --- suites ---------------------------------------------------------------------------------------


def suite_findings(fields: str, folder: Path) -> list[Outcome]:
    """Return what is wrong with the suite of these fields."""
    said = '"""A suite of digits that is small enough for a test.\n\nMine, 2026.\n"""\n'
    digits = (
        "datasets=('digits',), architectures=('small-mlp',), recipes={}, "
        "splits={'digits': Split(100, 60, 100)}"
    )
    expression = f"suite(**{{**dict({digits}), **dict({fields})}})"
    with own_cache():
        subject = subject_of(said + registering(expression), folder)
        table = CHECKS["suites"]
        outcomes = [subject.outcome(check, table) for check in table.values()]
    return [found for found in outcomes if found.status == "failed"]


@pytest.mark.parametrize(
    ("check", "fields", "said"),
    [
        ("names", "signals=('real', 'mixd@0.4')", "unknown signal 'mixd': did you mean mixed"),
        ("names", "architectures=('smallmlp',)", "unknown architecture 'smallmlp'"),
        ("names", "probes=('cs',)", "unknown probe 'cs'"),
        (
            "recipes",
            "recipes={('digits', 'small-mlp'): Recipe('lions', batch=30)}",
            "recipe of digits/small-mlp: unknown optimizer 'lions'; known: adamw, lion, ",
        ),
        (
            "recipes",
            "recipes={('digits', 'small-mlp'): Recipe(schedule='step', batch=30)}",
            "unknown schedule 'step'; known: constant, cosine, warmup-cosine",
        ),
        (
            "recipes",
            "recipes={('digits', 'small-mlp'): Recipe(batch=61)}",
            "digits/small-mlp: 60 training images fill no batch of 61",
        ),
        ("splits", "splits={'digits': Split(1000, 700, 200)}", "splits['digits']: "),
    ],
)
def test_a_fault_of_a_suite_is_found_by_the_check_that_is_meant_for_it(
    check: str, fields: str, said: str, tmp_path: Path
) -> None:
    found = suite_findings(fields, tmp_path)
    assert [outcome.check for outcome in found] == [check]
    assert said in found[0].what


def test_a_sound_suite_passes(tmp_path: Path) -> None:
    recipe = "recipes={('digits', 'small-mlp'): Recipe(batch=30)}"
    assert suite_findings(recipe, tmp_path) == []


@pytest.mark.parametrize("kind", ["optimizers", "suites"])
def test_the_optimizers_and_suites_that_ship_pass(kind: str) -> None:
    table = CHECKS[kind]
    with own_cache():
        for entry in getattr(registry(), kind).values():
            subject = Subject(entry, registry())
            outcomes = [subject.outcome(check, table) for check in table.values()]
            assert [found for found in outcomes if found.status in ("failed", "warned")] == []


# --- recipes of architectures ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (
            "Recipe('lions')",
            "recipe of net: unknown optimizer 'lions'; known: adamw, lion, ",
        ),
        ("Recipe(schedule='step')", "recipe of net: unknown schedule 'step'; known: constant, "),
    ],
)
def test_an_architecture_s_recipe_must_have_known_names(
    recipe: str, said: str, tmp_path: Path
) -> None:
    text = registering(f"Architecture('net', act, recipe={recipe})")
    table = CHECKS["architectures"]
    found = subject_of(text, tmp_path).outcome(table["recipe"], table)
    assert (found.status, found.where) == ("failed", str(tmp_path / "mine.py"))
    assert found.what.startswith(said)


# --- several files --------------------------------------------------------------------------------


def test_what_a_suite_and_a_recipe_name_is_looked_for_in_other_files_too(
    cli: Cli, tmp_path: Path
) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "lion.py").write_text(optimizer_file().replace('"mine"', '"my-lion"'))
    recipe = "Recipe('my-lion', batch=30)"
    said = '"""A suite of digits that is small enough for a test.\n\nMine, 2026.\n"""\n'
    (folder / "suite.py").write_text(
        said
        + registering(
            "suite(datasets=('digits',), architectures=('small-mlp',), "
            "splits={'digits': Split(100, 60, 100)}, "
            f"recipes={{('digits', 'small-mlp'): {recipe}}})"
        )
    )
    code, out, err = cli("check", "plugins/suite.py", "-v")
    assert (code, err) == (0, "")
    assert "✓ recipes" in out

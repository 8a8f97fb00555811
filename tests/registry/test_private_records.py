"""The records that are private to a study: who sees them, and what their hashes depend on."""

from __future__ import annotations

from support.workspace import Workspace
from support.workspace import registering
from support.workspace import shrinking

from membench.registry import loading

STUDY = """
from functools import partial
from membench import *

WIDTH = 8

def double(x):
    return 2 * x

def build(shape, num_classes, width):
    return double(width)

def analyse(results):
    return 1

ARM = Arm("main", "dots", ("net",), ("real",), (0,), Split(1, 1, 1), Recipe())
NET = Architecture("net", partial(build, width=WIDTH), summary="private")
STUDIES = [Study("capacity", {"quick": (ARM,)}, analyse, "It holds.", records=(NET,))]

@hookimpl
def register():
    return STUDIES
"""


def private_hash(workspace: Workspace, text: str) -> str:
    """Return the code hash of the study's architecture."""
    workspace.write("plugins/study.py", text)
    registry = workspace.discover()
    assert registry.problems == ()
    return registry.for_study("capacity").architectures["net"].code_hash


def test_a_private_record_is_visible_in_its_study_alone(workspace: Workspace) -> None:
    workspace.write("plugins/study.py", STUDY)
    public = registering("Architecture('net', act, summary='public')")
    workspace.write("plugins/net.py", public)
    for _ in ("imported", "cached"):
        registry = workspace.discover()
        assert registry.problems == ()
        assert registry.architectures["net"].summary == "public"
        assert registry.for_study("capacity").architectures["net"].summary == "private"
        assert registry.for_study("") is registry
        assert registry.for_study("another") is registry


def test_a_private_record_is_loaded_from_the_file_of_its_study(workspace: Workspace) -> None:
    workspace.write("plugins/study.py", STUDY)
    registry = workspace.discover().for_study("capacity")
    loading._imported.clear()
    net = registry.architecture("net")
    assert net.build((1, 8, 8), 10) == 16
    assert registry.study("capacity").records == (net,)


def test_the_hash_of_a_private_record_covers_what_its_functions_reach(
    workspace: Workspace,
) -> None:
    plain = private_hash(workspace, STUDY)
    used_function = STUDY.replace("return 2 * x", "return 3 * x")
    bound_value = STUDY.replace("WIDTH = 8", "WIDTH = 16")
    new_import = STUDY.replace("from functools", "import math\nfrom functools")
    for changed in (used_function, bound_value, new_import):
        assert private_hash(workspace, changed) != plain


def test_the_hash_of_a_private_record_does_not_cover_the_analysis(workspace: Workspace) -> None:
    plain = private_hash(workspace, STUDY)
    assert private_hash(workspace, STUDY.replace("return 1", "return 2")) == plain


def test_an_optimizer_may_be_private_and_its_hash_covers_its_functions(
    workspace: Workspace,
) -> None:
    own = STUDY.replace(
        "STUDIES =", 'SLOW = Optimizer("slow", lambda params, recipe: {}, double)\nSTUDIES ='
    ).replace("records=(NET,)", "records=(NET, SLOW)")
    workspace.write("plugins/study.py", own)
    registry = workspace.discover()
    assert registry.problems == ()
    assert registry.optimizers == {}
    private = registry.for_study("capacity")
    plain = private.optimizers["slow"].code_hash
    assert private.optimizer("slow").update(3) == 6
    workspace.write("plugins/study.py", own.replace("return 2 * x", "return 3 * x"))
    changed = workspace.discover().for_study("capacity").optimizers["slow"].code_hash
    assert changed != plain


def test_a_suite_cannot_be_private(workspace: Workspace) -> None:
    arm = "Arm('main', 'dots', ('net',), ('real',), (0,), Split(1, 1, 1), Recipe())"
    study = f"Study('s', {{'quick': ({arm},)}}, act, 'It holds.', records=(suite(),))"
    problem = workspace.problem_of(registering(study))
    assert "records holds a Suite; give architectures, data sets, signals" in problem


def test_the_names_of_studies_and_regularizers_do_not_collide(workspace: Workspace) -> None:
    workspace.write("plugins/study.py", STUDY)
    workspace.write("plugins/a.py", shrinking("capacity"))
    registry = workspace.discover()
    assert registry.problems == ()
    assert registry.study("capacity").name == registry.regularizer("capacity")[0].name

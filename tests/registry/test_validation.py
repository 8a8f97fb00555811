"""Records that break the contract are refused, with the correction."""

from __future__ import annotations

import pytest
from support.workspace import Workspace
from support.workspace import registering


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("grid('Bad_Name')", "illegal name 'Bad_Name'; write [a-z0-9][a-z0-9-]*"),
        ("grid('line\\n')", "illegal name"),
        ("grid(3)", "regularizer 3: illegal name 3"),
        ("grid('x', group='No Group')", "illegal group"),
        ("grid('x', strengths=(1, 2, 3))", "strengths has 3 values; give exactly 5"),
        ("grid('x', strengths=(), group='control')", "strengths has 0 values"),
        ("grid('x', strengths=0.5)", "strengths must be a tuple, not a float"),
        ("grid('x', strengths=(0, 1, 2, 3, 4))", "strengths hold off (0), which is never trained"),
        ("grid('x', strengths=(1, 2, 3, 4, math.inf), off=math.inf)", "strengths hold off (inf)"),
        ("grid('x', strengths=(1, 1, 2, 3, 4))", "two strengths are the same"),
        (
            "grid('x', strengths=(1, 1.0000001, 2, 3, 4))",
            "two strengths are the same to six digits",
        ),
        ("grid('x', strengths=(math.nan, 1, 2, 3, 4))", "strength nan is not a number"),
        ("grid('x', strengths=('1', 1, 2, 3, 4))", "strength '1' is not a number"),
        ("grid('x', strengths=(True, 2, 3, 4, 5))", "strength True is not a number"),
        ("grid('x', off=None)", "off must be one number or inf, not None"),
        ("grid('x', limit=True)", "limit must be one finite number or None, not True"),
        ("grid('x', limit=math.inf)", "limit must be one finite number or None, not inf"),
        ("grid('x', limit=0)", "limit is off (0): no strength lies between; drop limit"),
        (
            "grid('x', strengths=(1, 2, 3, 4, 5), limit=4.5)",
            "strength 5 does not lie between off (0) and limit (4.5); end the grid at the limit",
        ),
        (
            "grid('x', strengths=(1, 2, 3, 4, -1), limit=4.5)",
            "strength -1 does not lie between off (0) and limit (4.5)",
        ),
        (
            "grid('x', strengths=(5, 4, 3, 2, 1), off=math.inf, limit=2)",
            "strength 1 does not lie between off (inf) and limit (2)",
        ),
        (
            "grid('x', strengths=(5, 4, 3, 2, 1), off=6, limit=2)",
            "strength 1 does not lie between off (6) and limit (2)",
        ),
        ("grid('x', weights=3)", "weights must be a function, not an int"),
        ("grid('x', weights=None)", "acts nowhere; give it a function for a stage: batch, perturb"),
        ("grid('x', init=act)", "init makes a state that nothing changes; add update"),
        ("grid('x', redraw=True)", 'only group="control"'),
        ("grid('x', version='1')", "version must be an int"),
        ("grid('x', summary=None)", "summary and source must be strings"),
        ("grid('none')", "regularizer 'none' is already registered by membench"),
        ("grid('x'), grid('x')", "regularizer 'x' is registered twice; rename one"),
        ("Architecture('Net', act)", "architecture 'Net': illegal name"),
        ("Architecture('net', None)", "build must be a function, not None"),
        ("Architecture('net', act, recipe={})", "recipe must be a membench.Recipe, not a dict"),
        (
            "Architecture('net', act, recipe=Recipe(optimizer='Adam W'))",
            "illegal recipe.optimizer 'Adam W'; write [a-z0-9][a-z0-9-]*",
        ),
        (
            "Architecture('net', act, recipe=Recipe(schedule=None))",
            "illegal recipe.schedule None; write [a-z0-9][a-z0-9-]*",
        ),
        ("Optimizer('Lion', act, act)", "optimizer 'Lion': illegal name 'Lion'"),
        ("Optimizer('lion', act, None)", "optimizer 'lion': update must be a function, not None"),
        (
            "Architecture('net', act, recipe=Recipe(batch=0))",
            "recipe.batch must be a whole number from 1",
        ),
        (
            "Architecture('net', act, recipe=Recipe(lr=math.inf))",
            "recipe.lr must be a number from 0, not inf",
        ),
        ("Dataset('dots', act, fetch=3)", "dataset 'dots': fetch must be a function, not an int"),
        (
            "Signal('rand_y', act, noise=None)",
            "signal 'rand_y': illegal name 'rand_y'; write [A-Za-z0-9-]+",
        ),
        ("Signal('randY', act, levels=0.4)", "levels must be True, False or a tuple of names"),
        ("Signal('randY', act, levels=('a', '0.4'))", "illegal name in levels, '0.4'"),
        ("Signal('randY', act, levels=('a', 'a'))", "levels holds a name twice"),
        ("Signal('randY', act, noise='label')", 'noise must be "labels", "inputs" or None'),
        (
            "Composite('a', ((1,),) * 5)",
            "the name must be two or more different regularizers joined by +",
        ),
        ("Composite('a+a', ((1, 1),) * 5)", "the name must be two or more different regularizers"),
        ("Composite('a+B', ((1, 1),) * 5)", "illegal part 'B'"),
        ("Composite('a+b', ((1, 1),) * 3)", "strengths must be 5 tuples, one a setting"),
        ("Composite('a+b', ((1, 1),) * 5)", "two settings are the same"),
        (
            "Composite('a+b', ((1,), (2,), (3,), (4,), (5,)))",
            "setting (1,) must hold 2 numbers, one for each of a, b",
        ),
        (
            "Composite('good+gone', tuple((i, 1) for i in range(5)))",
            "unknown regularizer in 'good+gone', 'gone'",
        ),
        (
            "grid('a'), grid('b'), Composite('a+b', tuple((i, 0) for i in range(5)))",
            "is off for every part",
        ),
        (
            "grid('a', limit=9), grid('b'), Composite('b+a', tuple((1, 6 + i) for i in range(5)))",
            "strength 10 of a does not lie between its off (0) and its limit (9)",
        ),
        (
            "grid('a'), Composite('a+none', tuple((i, 0) for i in range(5)))",
            "none trains the plain network",
        ),
    ],
)
def test_an_invalid_record_is_refused_with_the_correction(
    workspace: Workspace, expression: str, message: str
) -> None:
    assert message in workspace.problem_of(registering(expression))


@pytest.mark.parametrize(
    "grid",
    [
        "strengths=(1, 2, 3, 4, 5), limit=5",
        "strengths=(1, 2, 3, 4, 5), limit=7.5",
        "strengths=(5, 4, 3, 2, 1), off=math.inf, limit=0",
        "strengths=(5, 4, 3, 2, 1), off=6, limit=1",
        "strengths=(1, 2, 3, 4, 5), off=-math.inf, limit=5",
    ],
)
def test_a_grid_may_reach_its_limit_and_fall_towards_it(workspace: Workspace, grid: str) -> None:
    workspace.write("plugins/a.py", registering(f"grid('a', {grid})"))
    registry = workspace.discover()
    assert registry.problems == ()
    assert registry.regularizers["a"].limits == (float(grid.rpartition("=")[2]),)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("'Small'", "suite 'Small': illegal name 'Small'; write [a-z0-9][a-z0-9-]*"),
        ("'quick-custom'", "names with -custom are those of narrowed suites"),
        ("datasets=()", "suite 'small': datasets must be a tuple of names, at least one"),
        ("datasets='dots'", "datasets must be a tuple of names"),
        ("architectures=('MLP',)", "illegal name in architectures, 'MLP'"),
        ("signals=('real', 'mixed@0,4')", "illegal name in signals, 'mixed@0,4'"),
        ("signals=('real', 'real')", "signals holds a name twice"),
        ("probes=('CSR',)", "illegal name in probes, 'CSR'"),
        ("choosing=()", "choosing must be a tuple of seeds, at least one"),
        ("confirming=[2, 3]", "confirming must be a tuple of seeds"),
        ("confirming=()", "confirming must be a tuple of seeds, at least one"),
        ("choosing=(-1,)", "choosing holds -1; seeds are whole numbers from 0"),
        ("choosing=(True,)", "choosing holds True; seeds are whole numbers from 0"),
        ("confirming=(2, 2)", "confirming holds a seed twice"),
        ("confirming=(1, 2)", "seed 1 is in choosing and in confirming; what was chosen"),
        ("splits=()", "splits must be a dict of membench.Split"),
        ("splits={'dots': 3}", "splits must be a dict of membench.Split"),
        ("splits={}", "splits has none for data set 'dots'; add one"),
        (
            "splits={'dots': Split(20, 30, 10), 'dot': Split(20, 30, 10)}",
            "splits names 'dot', which is not among datasets",
        ),
        (
            "splits={'dots': Split(20, 0, 10)}",
            "splits['dots'].train must be a whole number from 1, not 0",
        ),
        (
            "splits={'dots': Split(20, 30, 10, fixed=-1)}",
            "splits['dots'].fixed must be a seed or None, not -1",
        ),
        (
            "splits={'dots': Split(20, 30, 10, share=1.5)}",
            "splits['dots'].share must lie in (0, 1], not 1.5",
        ),
        ("recipes={('dots', 'mlp'): None}", "recipes must be a dict of membench.Recipe"),
        ("recipes={'dots/mlp': Recipe()}", "recipes has the key 'dots/mlp'; write (dataset,"),
        ("recipes={('dots', 'cnn'): Recipe()}", "recipes names ('dots', 'cnn'), which is no task"),
        (
            "recipes={('dots', 'mlp'): Recipe(epochs=0)}",
            "recipes[('dots', 'mlp')].epochs must be a whole number from 1",
        ),
        ("width=0", "width must be a whole number from 1, not 0"),
        ("compiled=1", "compiled must be True or False, not 1"),
        ("uncalibrated=('dots',)", "uncalibrated must be a dict: data set or architecture -> why"),
        ("uncalibrated={'dot': 'why'}", "uncalibrated names 'dot', which is no data set or"),
        ("uncalibrated={'mlp': ''}", "uncalibrated['mlp'] must say why, in words"),
        ("uncalibrated={'mlp': 'why'}", "uncalibrated names all architectures"),
        ("version='2'", "version must be an int"),
    ],
)
def test_an_invalid_suite_is_refused_with_the_correction(
    workspace: Workspace, fields: str, message: str
) -> None:
    assert message in workspace.problem_of(registering(f"suite({fields})"))


def test_a_control_may_redraw(workspace: Workspace) -> None:
    record = "grid('again', weights=None, redraw=True, group='control')"
    workspace.write("plugins/a.py", registering(record))
    registry = workspace.discover()
    assert registry.problems == ()
    assert registry.regularizers["again"].redraw


def test_a_control_may_have_another_number_of_strengths(workspace: Workspace) -> None:
    workspace.write(
        "plugins/a.py", registering("grid('slow', strengths=(1, 2, 3), group='control')")
    )
    registry = workspace.discover()
    assert registry.problems == ()
    assert registry.regularizers["slow"].strengths == ((1,), (2,), (3,))

"""The registry: where plugins are found, what is refused and in which words, what is remembered."""

from __future__ import annotations

import ast
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from membench.api import Regularizer
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import cache_folder
from membench.registry import loading
from membench.registry.discovery import shipped_folder
from membench.registry.fingerprint import code_hash
from membench.registry.fingerprint import parse_docstring
from membench.registry.registry import Registry
from membench.registry.registry import discover

PLUGIN = '''"""Shrink the weights.  A. Author,
"Shrinking", 2020."""
from membench import Regularizer, hookimpl

def shrink(params, lane):
    return {name: w * (1 - lane.strength) for name, w in params.items()}

@hookimpl
def register():
    return [Regularizer("NAME", strengths=(0.1, 0.3, 0.5, 0.7, 0.9), weights=shrink, group="weights")]
'''
ALL_KINDS = '''"""One of each."""
from membench import Architecture, Dataset, Recipe, Signal, hookimpl

def act(*args): ...

@hookimpl
def register():
    yield Architecture("net", act, recipe=Recipe(lr=0.5))
    yield Dataset("dots", act, fetch=act)
    yield Signal("randY", act, noise="labels", summary="Random labels.", source="Zhang 2017")
'''

OBJECT = """
from membench import Regularizer, hookimpl
class Plugin:
    @hookimpl
    def register(self):
        return [Regularizer("e", strengths=(1, 2, 3, 4, 5), weights=max)]
plugin = Plugin()
"""


def record(expression: str) -> str:
    """A plugin that registers what the expression makes."""
    return f"""
import math
from membench import *
def act(*args): ...
def grid(name, **fields):
    return Regularizer(name, **{{"strengths": (1, 2, 3, 4, 5), "weights": act, **fields}})
@hookimpl
def register():
    return [{expression}]
"""


@dataclass(frozen=True)
class Place:
    """A working folder with nothing but what the test puts there."""

    folder: Path
    shipped: Path

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def discover(self, *requested: str, fresh: bool = True) -> Registry:
        """As a new process would see it, unless `fresh=False`."""
        if fresh:
            loading._imported.clear()
        return discover(requested, self.folder, self.shipped)

    def problem(self, text: str) -> str:
        """The one line that a bad plugin gets."""
        self.write("plugins/bad.py", text)
        self.write("plugins/good.py", PLUGIN.replace("NAME", "good"))
        registry = self.discover()
        assert "good" in registry.regularizers
        (problem,) = registry.problems
        assert problem.origin == "plugins/bad.py"
        assert "\n" not in str(problem)
        return problem.message


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Nothing shipped, nothing cached, nothing imported before."""
    monkeypatch.setenv("MEMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_imported", {})
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return Place(tmp_path / "work", tmp_path / "work" / "shipped")


# ---------------------------------------------------------------------------------------------------- finding


def test_an_entry_tells_what_its_record_holds(place: Place) -> None:
    path = place.write("plugins/shrink.py", PLUGIN.replace("NAME", "shrink"))
    entry = place.discover().regularizers["shrink"]
    assert (entry.kind, entry.group, entry.acts_on) == ("regularizers", "weights", ("weights",))
    assert (entry.summary, entry.source) == ("Shrink the weights", 'A. Author, "Shrinking", 2020.')
    assert (entry.origin, entry.path) == ("plugins/shrink.py", str(path.resolve()))
    assert (entry.strengths, entry.off) == (((0.1,), (0.3,), (0.5,), (0.7,), (0.9,)), (0.0,))
    assert (entry.version, entry.redraw, entry.has_skip, entry.parts) == (1, False, False, ())


def test_each_kind_has_its_table(place: Place) -> None:
    place.write("plugins/all.py", ALL_KINDS)
    registry = place.discover()
    assert registry.architectures["net"].recipe["lr"] == 0.5
    assert registry.datasets["dots"].has_fetch
    assert registry.signals["randY"].noise == "labels"
    assert registry.signals["randY"].acts_on == ("labels",)
    assert (registry.signals["randY"].summary, registry.signals["randY"].source) == (
        "Random labels",
        "Zhang 2017",
    )
    assert registry.architecture("net").name == "net"
    assert registry.dataset("dots").name == "dots"
    assert registry.signal("randY@0.4").name == "randY"


def test_folders_are_searched_below_but_for_helpers_and_copies(place: Place) -> None:
    for path in ("a.py", "deep/er/b.py", "_c.py", "_drafts/d.py", ".ipynb_checkpoints/e.py"):
        place.write(f"plugins/{path}", PLUGIN.replace("NAME", Path(path).stem.strip("_")))
    registry = place.discover()
    assert list(registry.regularizers) == ["none", "a", "b"]
    assert registry.problems == ()


def test_all_doors_lead_to_one_registry(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    site = place.folder / "site"
    place.write("shipped/a.py", PLUGIN.replace("NAME", "a"))
    place.write("plugins/b.py", PLUGIN.replace("NAME", "b"))
    place.write("more/c.py", PLUGIN.replace("NAME", "c"))
    place.write(
        "site/mb_test_pack/__init__.py",
        "raise RuntimeError('a parent package needs no import to be found')",
    )
    place.write("site/mb_test_module.py", PLUGIN.replace("NAME", "d"))
    place.write("site/mb_test_object.py", OBJECT)
    place.write("site/dist-1.0.dist-info/METADATA", "Name: some-dist\nVersion: 1.0\n")
    place.write(
        "site/dist-1.0.dist-info/entry_points.txt", "[membench]\nx = mb_test_object:plugin\n"
    )
    place.write("other/f.py", PLUGIN.replace("NAME", "f"))
    place.write("pyproject.toml", '[tool.membench]\nplugins = ["other/f.py"]\n')
    monkeypatch.syspath_prepend(str(site))
    for _ in ("imported", "cached"):
        registry = place.discover("more", "mb_test_module")
        origins = {name: entry.origin for name, entry in registry.regularizers.items()}
        assert registry.problems == ()
        assert origins == {
            "none": "membench",
            "a": "shipped/a.py",
            "b": "plugins/b.py",
            "c": "more/c.py",
            "d": "mb_test_module",
            "e": "some-dist",
            "f": "other/f.py",
        }
        assert [registry.regularizer(name)[0].name for name in "abcdef"] == list("abcdef")


def test_one_file_found_twice_is_one_plugin(place: Place) -> None:
    path = place.write("plugins/a.py", PLUGIN.replace("NAME", "a"))
    (place.folder / "link.py").symlink_to(path)
    place.shipped.symlink_to(path.parent)
    registry = place.discover("plugins/a.py", "link.py")
    assert registry.problems == ()
    assert list(registry.regularizers) == ["none", "a"]


def test_the_same_code_in_two_files_is_one_plugin(place: Place) -> None:
    place.write("plugins/a.py", PLUGIN.replace("NAME", "a"))
    place.write("copy.py", "# a copy\n" + PLUGIN.replace("NAME", "a").replace("2020", "2021"))
    registry = place.discover("copy.py")
    assert registry.problems == ()
    assert registry.regularizers["a"].origin == "plugins/a.py"


def test_other_code_under_a_taken_name_is_refused(place: Place) -> None:
    place.write("plugins/a.py", PLUGIN.replace("NAME", "a"))
    place.write("other.py", PLUGIN.replace("NAME", "a").replace("1 - ", "1 + "))
    registry = place.discover("other.py")
    expected = "other.py: regularizer 'a' is already registered by plugins/a.py; rename it, or remove one of the two"
    assert [str(problem) for problem in registry.problems] == [expected]
    assert registry.regularizers["a"].origin == "plugins/a.py"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gone.py", "-p gone.py: no such Python file"),
        ("no.such.module", "no module named 'no.such.module'"),
        ("math", "no Python file"),
        ("notes.txt/", "no such Python file"),
    ],
)
def test_a_requested_plugin_that_is_not_there_is_a_mistake_of_the_command_line(
    place: Place, text: str, said: str
) -> None:
    with pytest.raises(MembenchError, match=said) as caught:
        place.discover(text)
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[tool.membench]\nplugins = ["gone.py"]', "gone.py: no such Python file"),
        (
            "[tool.membench]\nplugins = 3",
            'pyproject.toml: write [tool.membench] with plugins = ["file.py", ',
        ),
        ("[tool.membench\n", "pyproject.toml: cannot be read: "),
        ("tool = 3", "pyproject.toml: "),
    ],
)
def test_a_damaged_configuration_is_a_problem(place: Place, text: str, said: str) -> None:
    place.write("pyproject.toml", text)
    (problem,) = place.discover().problems
    assert str(problem).startswith(said)


def test_an_entry_point_that_leads_nowhere_is_a_problem(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("site/dist-1.0.dist-info/METADATA", "Name: some-dist\nVersion: 1.0\n")
    place.write(
        "site/dist-1.0.dist-info/entry_points.txt",
        "[membench]\nx = mb_test_gone\ny = not a module\n",
    )
    monkeypatch.syspath_prepend(str(place.folder / "site"))
    first, second = place.discover().problems
    assert str(first).startswith("some-dist: no module named 'mb_test_gone'")
    assert "must be module or module:object" in str(second)


def test_the_shipped_plugins_are_sound(place: Place) -> None:
    registry = discover(folder=place.folder)
    assert registry.problems == ()
    assert shipped_folder().is_dir()


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import no_such_module",
            "cannot be loaded: line 1: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("x = 1\nx = (", "line 2: SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(0)", "line 2: it calls sys.exit; correct the file or remove it"),
        (
            "class Odd(BaseException): ...\nraise Odd('a\\nb\\x1b[31m')",
            "line 2: membench_plugin_bad",
        ),
        ("raise ValueError('a\\n\\x1b[31mb')", "line 1: ValueError: a [31mb; correct"),
        ("raise ValueError('x' * 10000)", "xxx...; correct the file"),
        ("x = 1\0", "cannot be loaded"),
        ("def register():\n    return []", "has no @hookimpl; write it above `def register():`"),
        (
            "from membench import hookimpl\n@hookimpl\ndef registr(): ...",
            "@hookimpl is on registr(), but the only hook",
        ),
        (
            "from membench import hookimpl\n@hookimpl\ndef register(add): ...",
            "write `def register():`",
        ),
        (
            "from membench import hookimpl\n@hookimpl\ndef register(): ...",
            "register() returned None; return a list",
        ),
        (
            "from membench import hookimpl\n@hookimpl\ndef register(): return 'ab'",
            "returned one str; return a list",
        ),
        (
            "from membench import hookimpl\n@hookimpl\ndef register(): return [1 / 0]",
            "line 3: ZeroDivisionError",
        ),
        (
            record("grid('x'), 'y'")[:-2].replace("[grid('x'), 'y'", "grid('x')"),
            "returned one Regularizer",
        ),
        (
            record("3"),
            "register() returned an int among its records; return a list of Regularizer, ",
        ),
        (record("grid"), "register() returned a function among its records"),
    ],
)
def test_what_cannot_be_loaded_is_one_line_and_the_rest_goes_on(
    place: Place, text: str, said: str
) -> None:
    assert said in place.problem(text)


@pytest.mark.parametrize(
    ("expression", "said"),
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
        ("grid('x', weights=3)", "weights must be a function, not an int"),
        ("grid('x', weights=None)", "acts nowhere; give it a function for a stage: batch, perturb"),
        ("grid('x', init=act)", "init makes a state that nothing changes; add update"),
        ("grid('x', redraw=True)", 'only group="control"'),
        ("grid('x', version='1')", "version must be an int"),
        ("grid('x', summary=None)", "summary and source must be strings"),
        ("grid('none')", "regularizer 'none' is already registered by membench"),
        (
            "grid('control')",
            "regularizer 'control': the board's own row has this name; take another",
        ),
        ("grid('x'), grid('x')", "regularizer 'x' is registered twice; rename one"),
        ("Architecture('Net', act)", "architecture 'Net': illegal name"),
        ("Architecture('net', None)", "build must be a function, not None"),
        ("Architecture('net', act, recipe={})", "recipe must be a membench.Recipe, not a dict"),
        (
            "Architecture('net', act, recipe=Recipe(optimizer='adam'))",
            "must be 'sgd' or 'adamw', not 'adam'",
        ),
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
            "grid('a'), Composite('a+none', tuple((i, 0) for i in range(5)))",
            "none trains the plain network",
        ),
    ],
)
def test_a_record_that_breaks_the_contract_is_refused_with_the_fix(
    place: Place, expression: str, said: str
) -> None:
    assert said in place.problem(record(expression))


def test_a_refused_record_leaves_the_sound_ones_of_its_file(place: Place) -> None:
    place.problem(record("grid('fine', strengths=(1, 2, 3, 4, math.inf)), grid('Bad')"))
    registry = place.discover()
    assert registry.regularizers["fine"].strengths[-1] == (math.inf,)
    loading._imported.clear()
    assert registry.regularizer("fine")[0].name == "fine"
    assert len(registry.problems) == 1  # such a file is read anew: a problem shows in every run


def test_a_control_may_redraw(place: Place) -> None:
    place.write("plugins/a.py", record("grid('again', weights=None, redraw=True, group='control')"))
    registry = place.discover()
    assert registry.problems == ()
    assert registry.regularizers["again"].redraw


def test_a_control_may_have_another_number_of_strengths(place: Place) -> None:
    place.write(
        "plugins/a.py", record("grid('slow', strengths=(1, 2, 3), group='control'), grid('b')")
    )
    registry = place.discover()
    assert registry.regularizers["slow"].strengths == ((1,), (2,), (3,))
    with pytest.raises(
        MembenchError, match="the parts' grids differ in length; register a Composite"
    ):
        registry.with_composition("b+slow")


def test_ctrl_c_during_an_import_is_not_a_problem_of_the_plugin(place: Place) -> None:
    place.write("plugins/a.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        place.discover()


def test_a_broken_link_is_a_problem(place: Place) -> None:
    (place.folder / "plugins").mkdir()
    (place.folder / "plugins" / "a.py").symlink_to("nowhere.py")
    (problem,) = place.discover().problems
    assert "FileNotFoundError" in problem.message


def test_what_a_plugin_prints_stays_out_of_stdout(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write("plugins/a.py", "print('hello')\n" + PLUGIN.replace("NAME", "a"))
    place.discover()
    out, err = capsys.readouterr()
    assert (out, err) == ("", "hello\n")


# ---------------------------------------------------------------------------------------------------- lookup


def test_an_unknown_name_brings_the_nearest_one(place: Place) -> None:
    place.write("plugins/a.py", PLUGIN.replace("NAME", "dropout"))
    registry = place.discover()
    with pytest.raises(MembenchError, match="unknown regularizer 'dropuot': did you mean dropout"):
        registry.regularizer("dropuot")
    with pytest.raises(MembenchError, match="unknown dataset 'mnist'"):
        registry.dataset("mnist")


def test_none_is_built_in_and_has_no_parts(place: Place) -> None:
    registry = place.discover()
    assert registry.regularizer("none") == ()
    assert (registry.regularizers["none"].group, registry.regularizers["none"].strengths) == (
        "baseline",
        (),
    )


def test_a_process_imports_a_plugin_once(place: Place) -> None:
    place.write("plugins/a.py", PLUGIN.replace("NAME", "a"))
    first = place.discover().regularizer("a")
    second = place.discover(fresh=False).regularizer("a")
    assert isinstance(first[0], Regularizer)
    assert first[0].weights is second[0].weights


def test_a_composition_keeps_the_order_and_pairs_the_grids(place: Place) -> None:
    text = "grid('a', batch=act), grid('b', strengths=(9, 8, 7, 6, 5), off=math.inf, hidden=act, skip=act)"
    place.write("plugins/ab.py", record(text))
    plain = place.discover()
    registry = plain.with_composition("b+a").with_composition("a+b")
    entry = registry.regularizers["b+a"]
    assert entry.strengths == ((9, 1), (8, 2), (7, 3), (6, 4), (5, 5))
    assert (entry.parts, entry.off, entry.group) == (("b", "a"), (math.inf, 0.0), "composition")
    assert (entry.acts_on, entry.has_skip) == (("batch", "hidden", "weights"), True)
    assert entry.code_hash != registry.regularizers["a+b"].code_hash
    assert [part.name for part in registry.regularizer("b+a")] == ["b", "a"]
    assert [part.name for part in plain.regularizer("a+b")] == ["a", "b"]
    assert "b+a" not in plain.regularizers
    assert registry.with_composition("a") is registry


def test_a_full_grid_stands_beside_the_paired_one_from_weak_to_strong(place: Place) -> None:
    text = "grid('a', strengths=(1, 2, 3, 4, 5)), grid('b', strengths=(.9, .8, .7, .6, .5), off=1)"
    place.write("plugins/ab.py", record(f"{text}, grid('c', strengths=(7, 8, 9), group='control')"))
    registry = place.discover().with_composition("a+b").with_composition("a+b", full=True)
    entry = registry.regularizers["a+b"]
    assert entry.strengths == ((1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6), (5, 0.5))
    assert entry.full[:4] == ((1, 0.9), (1, 0.8), (2, 0.9), (1, 0.7))
    assert (len(entry.full), entry.full[-1]) == (25, (5, 0.5))
    assert set(entry.full) == {(a, b) for a in (1, 2, 3, 4, 5) for b in (0.9, 0.8, 0.7, 0.6, 0.5)}
    assert (
        registry.with_composition("a+b", full=True) is registry.with_composition("a+b") is registry
    )
    uneven = registry.with_composition("a+c", full=True).regularizers["a+c"]
    assert (uneven.strengths, len(uneven.full), uneven.group) == ((), 15, "control")
    assert [part.name for part in registry.regularizer("a+c")] == ["a", "c"], (
        "a worker needs the parts, not the grid"
    )


def test_a_registered_composite_keeps_its_own_grid_beside_the_full_one(place: Place) -> None:
    own = "tuple((10 + i, 20 + i) for i in range(5))"
    place.write("plugins/ab.py", record(f"grid('a'), grid('b'), Composite('a+b', {own})"))
    entry = place.discover().with_composition("a+b", full=True).regularizers["a+b"]
    assert entry.strengths == ((10, 20), (11, 21), (12, 22), (13, 23), (14, 24))
    assert len(set(entry.full)) == 25 and not set(entry.full) & set(entry.strengths)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a+a", "appears twice"),
        ("a+x", "unknown regularizer"),
        ("a+", "''"),
        ("a+none", "leave it out"),
    ],
)
def test_a_composition_that_cannot_be_is_refused(place: Place, name: str, said: str) -> None:
    place.write("plugins/a.py", PLUGIN.replace("NAME", "a"))
    with pytest.raises(MembenchError, match=said):
        place.discover().with_composition(name)


def test_a_registered_composite_has_its_own_grid_wherever_its_parts_are(place: Place) -> None:
    place.write(
        "plugins/a.py",
        record("Composite('y+z', tuple((i, 1 - i / 4) for i in range(5)), summary='both')"),
    )
    place.write("plugins/y.py", record("grid('y')"))
    place.write("plugins/z.py", record("grid('z', group='control')"))
    for _ in ("imported", "cached"):
        registry = place.discover()
        entry = registry.regularizers["y+z"]
        assert registry.problems == ()
        assert entry.strengths == ((0, 1), (1, 0.75), (2, 0.5), (3, 0.25), (4, 0))
        assert (entry.summary, entry.group, entry.origin) == ("both", "control", "plugins/a.py")
        assert registry.with_composition("y+z") is registry
        assert [part.name for part in loading.load_records(entry)] == ["y", "z"]


# ---------------------------------------------------------------------------------------------------- source text


def test_the_hash_is_of_the_code_and_not_of_its_text() -> None:
    plain = hash_of("def f(x):\n    return x + 1\n")
    assert hash_of('"""Doc."""\n# why\ndef f( x ):\n    "doc"\n\n    return (x+1)') == plain
    assert hash_of("def f(x):\n    return x + 1.0\n") != plain
    assert hash_of("def f(x):\n    return None\n") != hash_of("def f(x):\n    return\n")


def test_the_hash_is_the_same_in_all_python_versions() -> None:
    text = "@d\nasync def f(a, /, b=1, *c, d: int = -2., **e) -> str:\n    return [lambda: f'{a!r:>{b}}', {**e}, b'', ...]"
    assert hash_of(text) == "198e9a25f88299d30f8374fbfaa503088c09e53e149ef51b191625e4d787c789"


def hash_of(text: str) -> str:
    return code_hash(ast.parse(text))


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        ("A b.  C. D 2020.", ("A b", "C. D 2020.")),
        ("A 1.5 b of i.e. c.\nC\n  D.", ("A 1.5 b of i.e. c", "C D.")),
        ("A\nb. c.", ("A b. c", "")),
        ("", ("", "")),
    ],
)
def test_a_docstring_holds_the_summary_and_the_source(doc: str, expected: tuple[str, str]) -> None:
    assert parse_docstring(ast.parse(f'"""{doc}"""')) == expected


# ---------------------------------------------------------------------------------------------------- cache


@pytest.fixture
def counted(place: Place) -> Callable[[], int]:
    """A plugin that counts its imports."""
    log = place.folder / "log"
    log.write_text("")
    place.write(
        "plugins/a.py",
        f"with open({str(log)!r}, 'a') as log: log.write('x')\n" + PLUGIN.replace("NAME", "a"),
    )
    return lambda: len(log.read_text())


def test_what_is_remembered_is_not_imported_until_it_is_loaded(
    place: Place, counted: Callable[[], int]
) -> None:
    first = place.discover()
    second = place.discover()
    assert counted() == 1
    assert second == first
    assert second.regularizer("a")[0].name == "a"
    assert counted() == 2


def test_an_edit_is_noticed(place: Place, counted: Callable[[], int]) -> None:
    before = place.discover().regularizers["a"]
    path = Path(before.path)
    path.write_text(path.read_text().replace("0.9", "0.99"))
    after = place.discover().regularizers["a"]
    assert after.strengths[-1] == (0.99,)
    assert after.code_hash != before.code_hash
    assert counted() == 2


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b"0" * 64 + b"\n{}", b"[" * 100_000])
def test_a_damaged_cache_is_rebuilt(
    place: Place, counted: Callable[[], int], damage: bytes
) -> None:
    expected = place.discover()
    (file,) = cache_folder().iterdir()
    file.write_bytes(damage)
    assert place.discover() == expected
    assert place.discover() == expected
    assert counted() == 2


def test_without_a_writable_cache_all_goes_on(place: Place, counted: Callable[[], int]) -> None:
    cache_folder().write_text("a file where the folder should be")
    assert place.discover() == place.discover()
    assert counted() == 2


def test_a_deleted_plugin_is_forgotten(place: Place, counted: Callable[[], int]) -> None:
    path = Path(place.discover().regularizers["a"].path)
    path.rename(place.folder / "plugins" / "b.py")
    assert place.discover().regularizers["a"].origin == "plugins/b.py"
    (file,) = cache_folder().iterdir()
    assert str(path) not in file.read_text()


def test_a_plugin_that_changed_since_it_was_read_is_not_run(place: Place) -> None:
    path = place.write("plugins/a.py", PLUGIN.replace("NAME", "a"))
    registry = place.discover()
    loading._imported.clear()
    stat = path.stat()
    path.write_text(path.read_text().replace("1 - ", "1 + "))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as on a file system with coarse times
    with pytest.raises(
        MembenchError, match=r"plugins/a.py: a has changed since it was read; start again"
    ):
        registry.regularizer("a")
    assert place.discover().regularizer("a")[0].name == "a"


def test_a_plugin_that_broke_since_it_was_read_says_how(place: Place) -> None:
    place.write("plugins/a.py", PLUGIN.replace("NAME", "a"))
    registry = place.discover()
    place.write("plugins/a.py", "1 / 0")
    assert registry.regularizer("a")[0].name == "a"  # this process goes on with what it imported
    loading._imported.clear()
    with pytest.raises(
        MembenchError, match=r"plugins/a.py: cannot be loaded: line 1: ZeroDivisionError"
    ) as caught:
        registry.regularizer("a")
    assert caught.value.code == ExitCode.FAILED


def test_a_grid_that_moved_in_a_helper_is_noticed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(place.folder))
    place.write("mb_test_grid.py", "GRID = (1, 2, 3, 4, 5)")
    place.write(
        "plugins/a.py", "import mb_test_grid\n" + record("grid('a', strengths=mb_test_grid.GRID)")
    )
    registry = place.discover()
    loading._imported.clear()
    sys.modules["mb_test_grid"].GRID = (2, 3, 4, 5, 6)
    with pytest.raises(MembenchError, match="has changed"):
        registry.regularizer("a")
    assert place.discover().regularizers["a"].strengths[0] == (2.0,)
    del sys.modules["mb_test_grid"]


@pytest.mark.parametrize(
    ("own", "xdg", "expected"),
    [("/a/b", "/c", "/a/b"), ("", "/c", "/c/membench"), ("", "not/absolute", "~/.cache/membench")],
)
def test_the_cache_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, own: str, xdg: str, expected: str
) -> None:
    monkeypatch.setenv("MEMBENCH_CACHE", own)
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert cache_folder() == Path(expected).expanduser()


def test_listing_needs_no_torch() -> None:
    code = "import sys, membench.registry.registry, membench.planning.select, membench.commands.list; print('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "False\n"
    )

"""plugins/README.md is true: its examples run, and its tables hold all of the contract."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer
from support.cli import REPO
from support.cli import Cli

from membench import Arrays
from membench import api
from membench.data import check_arrays

TEXT = (REPO / "plugins" / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
STAGES = dict(re.findall(r"^\| `([a-z]+)` \| (`\(.*)$", TEXT, re.MULTILINE))


def example(record: str) -> str:
    """Return the one example that registers a record of this type."""
    made = re.compile(rf"(return \[|^SUITE = ){record}\(", re.MULTILINE)
    found = [text for text in EXAMPLES if made.search(text)]
    assert len(found) == (2 if record == "Architecture" else 1)
    return found[0]


@pytest.mark.parametrize(
    "record", ["Composite", "Architecture", "Dataset", "Signal", "Optimizer", "Suite"]
)
def test_each_example_keeps_the_contract(record: str, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "mine.py").write_text(example(record))
    code, out, err = cli("check", "mine.py", "-n", "1")
    assert code == 0, out + err
    assert re.search(r"^1 plugin: \d+ passed$", out, re.MULTILINE), out


@pytest.mark.slow
def test_a_network_of_torchvision_keeps_the_contract(tmp_path: Path, cli: Cli) -> None:
    (text,) = [text for text in EXAMPLES if "models.resnet18" in text]
    (tmp_path / "mine.py").write_text(text)
    code, out, err = cli("check", "mine.py", "-n", "1")
    assert code == 0, out + err


@pytest.fixture
def loaders() -> dict[str, Callable[[Path], Arrays]]:
    """The examples of `load` that need files or another package."""
    (text,) = [text for text in EXAMPLES if "def load_npz" in text]
    names = {"np": np, "Arrays": Arrays, "Image": Image, "load_breast_cancer": load_breast_cancer}
    exec(text, names)
    return {name: value for name, value in names.items() if name.startswith("load_")}


def test_a_file_of_arrays_a_folder_of_images_and_a_table_are_data_sets(
    loaders: dict[str, Callable[[Path], Arrays]], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", x=random.random((40, 1, 5, 5)) * 255, y=np.arange(40) % 10)
    arrays = check_arrays("file", loaders["load_npz"](tmp_path))
    assert (arrays.x.shape, arrays.x.dtype, arrays.num_classes) == ((40, 1, 5, 5), np.uint8, 10)

    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        for i in range(3):
            pixels = random.integers(0, 255, (20, 30, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{i}.png")
    arrays = check_arrays("folder", loaders["load_images"](tmp_path))
    assert (arrays.x.shape, arrays.y.tolist()) == ((6, 3, 32, 32), [0, 0, 0, 1, 1, 1])

    arrays = check_arrays("table", loaders["load_table"](tmp_path))
    assert (arrays.x.shape, arrays.x.min(), arrays.x.max()) == ((569, 30, 1, 1), 0, 1)


def test_the_study_is_trained_and_finds_what_it_claims(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "sooner.py").write_text(example("Study"))
    code, out, err = cli("reproduce", "sooner", "-p", "sooner.py", "-n", "1", "--out", "out")
    assert code == 0, out + err
    assert "sooner: holds" in out
    assert (tmp_path / "out" / "sooner.svg").exists()


def test_the_hook_and_the_records_are_those_of_the_contract() -> None:
    hooks = [
        name
        for name, value in vars(api.Spec).items()
        if callable(value) and not name.startswith("_")
    ]
    assert hooks == ["register"]
    assert list(inspect.signature(api.Spec.register).parameters) == ["self"]
    assert "There is one hook, `register()`" in TEXT
    records = (
        api.Regularizer,
        api.Composite,
        api.Architecture,
        api.Dataset,
        api.Signal,
        api.Optimizer,
        api.Suite,
    )
    for record in records:
        row = re.search(rf"^\| `{record.__name__}\((.*?)\)` \|", TEXT, re.MULTILINE)
        assert row, record
        names = [word.strip().partition("=")[0] for word in row[1].split(",")]
        shown = [name for name in names if name != "..."]
        assert shown == [field.name for field in fields(record)][: len(shown)]


def test_the_recipe_and_its_schedules_are_those_of_the_contract() -> None:
    (shown,) = re.findall(r"`Recipe\((optimizer=\"sgd\", .*?)\)`", TEXT, re.DOTALL)
    words = [word.strip().partition("=") for word in shown.split(",")]
    assert {name: ast.literal_eval(value) for name, _, value in words} == asdict(api.Recipe())
    for schedule in api.SCHEDULES:
        assert f"`{schedule}`" in TEXT


def test_every_stage_has_a_row_and_no_other() -> None:
    assert tuple(STAGES) == api.STAGES


def lane_fields() -> dict[str, set[str]]:
    """Return field -> the stages where it is, as `Lane`'s docstring says."""
    text = " ".join((inspect.getdoc(api.Lane) or "").partition("By stage: ")[2].split())
    stage = r"\b(" + "|".join(api.STAGES) + r")\b"
    found = {}
    for names, stages in re.findall(r"((?:`\w+`(?: and )?)+) \(([^)]*)\)", text):
        for name in re.findall(r"`(\w+)`", names):
            found[name] = set(re.findall(stage, stages))
    return found


def test_every_field_of_the_lane_is_in_its_stages_rows() -> None:
    tree = ast.parse(Path(api.__file__).read_text("utf-8"))
    (lane,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Lane"]
    names = {node.target.id for node in lane.body if isinstance(node, ast.AnnAssign)}
    names |= {node.name for node in lane.body if isinstance(node, ast.FunctionDef)}
    by_stage = lane_fields()
    common = TEXT.partition("Common fields: ")[2].partition("Any other field")[0]
    for name in names - set(by_stage):
        assert re.search(rf"`{name}[`(]", common), name
    for stage, row in STAGES.items():
        column = set(re.findall(r"`(\w+)`", row.split(" | ")[1])) - {"state"}
        assert column == {name for name in names if stage in by_stage.get(name, ())}, stage


def test_what_ships_is_named(cli: Cli) -> None:
    shown = json.loads(cli("list", "--json")[1])
    for kind in ("signals", "datasets", "optimizers", "suites"):
        for plugin in shown[kind]:
            assert re.search(rf"`{plugin['name']}(@p)?`", TEXT), plugin["name"]

"""What planning asks of strangers' plugins is answered apart, and believed if it may be (R7)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sandboxed import skip_without_sandbox
from support.workspace import Workspace
from support.workspace import empty_workspace

from membench.api import Split
from membench.data import arrays_digest
from membench.data import check_classes
from membench.data import check_split
from membench.data import load_arrays
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution import strangers
from membench.execution.sandbox import Sandbox
from membench.execution.strangers import StrangersApart
from membench.planning.inputs import DatasetLoader
from membench.planning.inputs import SkipAnswers

DATASET = """\
import os, time
import numpy as np
from membench import Arrays, Dataset, hookimpl

def load(folder):
    BODY
    y = np.arange(30) % 3
    x = np.arange(30 * 8).reshape(30, 2, 2, 2).astype(np.uint8)
    return Arrays(x=x, y=y, num_classes=3, test=(x[:9], y[:9]))

@hookimpl
def register():
    return [Dataset("dots", load)]
"""

SKIPPING = """\
import os, time
from membench import Regularizer, hookimpl

def skip(net):
    BODY

def weights(params, lane):
    return params

@hookimpl
def register():
    return [Regularizer("picky", strengths=(1, 2, 3, 4, 5), weights=weights, skip=skip)]
"""


@pytest.fixture
def workspace(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """With the cache of all tests: each child would read all that ships."""
    made = empty_workspace(tmp_path, monkeypatch)
    monkeypatch.setenv("MEMBENCH_CACHE", str(cache))
    return made


@pytest.fixture
def apart() -> Iterator[StrangersApart]:
    asked = StrangersApart()
    yield asked
    asked.close()


def loader(workspace: Workspace, apart: StrangersApart, body: str = "pass") -> DatasetLoader:
    workspace.write("plugins/dots.py", DATASET.replace("BODY", body))
    return DatasetLoader(workspace.discover(), None, strangers=apart)


@pytest.mark.slow
def test_a_stranger_s_data_set_is_planned_as_if_it_were_loaded_here(
    workspace: Workspace, apart: StrangersApart
) -> None:
    data = loader(workspace, apart)
    assert data.image_size("dots") == ((2, 2, 2), 3)
    outline = data.arrays("dots")
    assert not any("dots" in name for name in sys.modules if name.startswith("membench_plugin"))
    arrays = load_arrays(data.registry.dataset("dots"))
    assert data.hash("dots") == arrays_digest(arrays)
    assert (outline.x.shape, outline.num_classes) == (arrays.x.shape, arrays.num_classes)
    assert np.array_equal(np.sort(outline.y), np.sort(arrays.y))
    assert np.array_equal(np.sort(outline.test[1]), np.sort(arrays.test[1]))
    check_classes(outline, "dots")
    check_split(outline, Split(9, 20, 10), "dots/mlp")
    with pytest.raises(MembenchError, match="30, and 9 for test"):
        check_split(outline, Split(10, 20, 10), "dots/mlp")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("os._exit(3)", r"plugins/dots\.py: its process ends: exit status 3"),
        ("os.kill(os.getpid(), 11)", r"plugins/dots\.py: its process ends: killed by SIGSEGV"),
        ("time.sleep(99)", r"plugins/dots\.py: its process ends: no result within 5 s"),
        ("raise FileNotFoundError('fetch it')", "data set 'dots' is missing: fetch it"),
        ("raise SystemExit(0)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("return 3", "has no attribute"),
    ],
)
def test_a_data_set_that_misbehaves_is_one_line(
    workspace: Workspace,
    apart: StrangersApart,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    message: str,
) -> None:
    if "sleep" in body:
        monkeypatch.setattr(strangers, "ANSWER_SECONDS", 5.0)
    data = loader(workspace, apart, body)
    with pytest.raises(MembenchError, match=message) as raised:
        data.arrays("dots")
    missing = isinstance(raised.value.__cause__, FileNotFoundError)
    assert missing == ("missing" in message)
    assert raised.value.code in (ExitCode.FAILED, ExitCode.USAGE)


OUTLINE = {"digest": "ab" * 32, "shape": [1, 2, 2], "counts": [3, 4], "test": None}


@pytest.mark.parametrize(
    "lie",
    [
        {"digest": "me"},
        {"digest": None},
        {"shape": [1, 2]},
        {"shape": [1, 2, 0]},
        {"shape": [1, 2, 10**12]},
        {"shape": "123"},
        {"counts": []},
        {"counts": [3, -1]},
        {"counts": [10**15, 1]},
        {"counts": [60_000_000] * 2},
        {"counts": [1] * 1_000_000},
        {"counts": ["a"]},
        {"test": [1.5]},
        {"more": 1},
    ],
    ids=lambda lie: str(lie)[:40],
)
def test_an_outline_that_none_can_have_is_refused(
    apart: StrangersApart, monkeypatch: pytest.MonkeyPatch, lie: dict[str, Any]
) -> None:
    from membench.registry.entry import PluginEntry

    entry = PluginEntry(kind="datasets", name="dots")
    for said in (OUTLINE, {**OUTLINE, **lie}):
        monkeypatch.setattr(apart, "_ask", lambda *_, said=said, **__: said)
        if said is OUTLINE:
            assert apart.outline(entry).arrays.x.shape == (7, 1, 2, 2)
            continue
        with pytest.raises(MembenchError, match="data set 'dots': "):
            apart.outline(entry)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return f'{net.num_classes} classes'", "3 classes"),
        ("return None", None),
        ("raise ValueError('no')", "its skip raised ValueError: no (plugins/picky.py:5)"),
        ("return 'x' * 5_000_000", "x" * 297 + "..."),
        ("os._exit(3)", "its skip ends its process: exit status 3"),
    ],
)
def test_a_skip_is_asked_apart(
    workspace: Workspace, apart: StrangersApart, body: str, reason: str | None
) -> None:
    workspace.write("plugins/picky.py", SKIPPING.replace("BODY", body))
    loader(workspace, apart)
    data = DatasetLoader(registry_with_shipped(workspace), None, strangers=apart)
    skips = SkipAnswers(data.registry, data, inspect=refuse)
    assert skips.reason("dots", "small-mlp", "picky") == reason
    assert bool(skips.problems) == ("its skip" in (reason or ""))


def refuse(*_: object) -> Any:
    raise AssertionError("no network is made here")


def registry_with_shipped(workspace: Workspace) -> Any:
    from membench.registry.registry import discover

    return discover((), workspace.folder)


@pytest.mark.slow
@pytest.mark.parametrize("sandboxed", [False, True])
def test_a_skip_that_ends_its_process_costs_its_own_cells(
    cli: Callable[..., tuple[int, str, str]], tmp_path: Path, sandboxed: bool
) -> None:
    if sandboxed:
        skip_without_sandbox()
    (tmp_path / "plugins").mkdir()
    text = SKIPPING.replace("BODY", f"if os.getpid() == {os.getpid()}: return\n    os._exit(0)")
    (tmp_path / "plugins" / "picky.py").write_text(text)
    words = ["run", "--suite", "smoke", "-k", "picky or dropout", "--collect-only"]
    code, out, err = cli(*words, *(["--sandbox"] if sandboxed else []))
    assert code == ExitCode.FAILED
    said = "plugins/picky.py: picky is left out: its skip ends its process: exit status 0"
    assert said in out + err
    assert "/dropout[0.5]/" in out
    assert "/picky[" not in out


@pytest.mark.slow
def test_the_child_that_reads_a_file_is_in_the_sandbox_too(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    skip_without_sandbox()
    monkeypatch.setenv("AWS_SECRET", "s3cr3t")
    body = "import os\nprint('found', os.getpid(), os.environ.get('AWS_SECRET'))\n"
    path = workspace.write("plugins/dots.py", body + DATASET.replace("BODY", "pass"))
    data = loader(workspace, StrangersApart(), "pass")
    source = data.registry.entry("datasets", "dots").plugin_source
    assert source is not None
    path.write_text(body + DATASET.replace("BODY", "pass"))
    boxed = StrangersApart(Sandbox.open(None))
    (entry,), problems = boxed.read(source)
    assert problems == []
    assert boxed._children == {}
    assert "found 2 None" in capsys.readouterr().err
    assert replace(entry, code_hash="") == replace(
        data.registry.entry("datasets", "dots"), code_hash=""
    )
    workspace.write("plugins/_name.py", "NAME = 'dots'")  # a file beside it that it imports
    path.write_text("from ._name import NAME\n" + path.read_text().replace('"dots"', "NAME"))
    (entry,), problems = boxed.read(source)
    assert (entry.name, entry.helpers, problems) == ("dots", ("_name.py",), [])
    path.write_text(body + "os._exit(7)")
    entries, (problem,) = boxed.read(source)
    assert entries == []
    assert "its process ends: exit status 7" in problem.message

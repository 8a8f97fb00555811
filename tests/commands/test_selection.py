"""A `-k` that selects nothing: why, and what to write instead."""

from __future__ import annotations

import pytest
from support.plans import SUITE
from support.plans import entry
from support.plans import registry

from membench.commands.selection import names_in
from membench.commands.selection import nothing_selected
from membench.errors import ExitCode

REGISTRY = registry(
    entry("architectures", "resnet8"),
    entry("datasets", "letters"),
    entry("signals", "class-noise", levels=True),
)
SKIPPED = {("dots", "mlp", "dropblock"): "no feature map"}


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("dropuot", "did you mean dropout?"),
        ("mlp and dropuot", "did you mean dropout?"),
        ("dropblock", "dropblock cannot act on dots/mlp: no feature map"),
        ("dropblock[0.3]", "dropblock[0.3] cannot act on dots/mlp: no feature map"),
        ("resnet8", "the suite has no resnet8 among its architectures: add --architectures"),
        ("letters", "the suite has no letters among its datasets: add --datasets letters"),
        (
            "class-noise@0.4",
            "no class-noise@0.4 among its signals: add --signals real,mixed@0.4,randY,class-noise",
        ),
        ("dropout[0.4]", "dropout has the strengths dropout[0.1], dropout[0.5]"),
        ("mlp and cnn", "no cell fits all of it"),
        ("qqqqqqqq", "no id has qqqqqqqq in it"),
    ],
)
def test_the_word_that_is_the_reason_is_named_and_how_an_id_looks(
    expression: str, reason: str
) -> None:
    error = nothing_selected(expression, SUITE, REGISTRY, SKIPPED)
    assert error.code is ExitCode.NOTHING
    assert str(error).startswith(f"-k {expression!r} selects no cell of suite small: ")
    assert reason in str(error)
    assert str(error).endswith(" (an id: dots/mlp/dropout[0.1]/real/seed0)")


def test_the_whole_names_of_a_suite_are_those_that_stand_in_its_ids() -> None:
    assert names_in(SUITE, REGISTRY) == {
        *("dots", "mlp", "cnn", "none", "low-lr", "dropout", "mixup", "dropout+mixup"),
        *("real", "mixed@0.4", "randY", "seed0", "seed1", "seed2"),
    }

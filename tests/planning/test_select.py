"""Expressions over the ids of cells: pytest's grammar, with the characters of such ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.planning.select import compile_expression

CELL = "mnist5k/mlp/dropout+mixup[0.5,0.3]/mixed@0.4/seed0"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("mlp", True),
        ("MLP", True),
        ("cnn", False),
        ("m", True),  # any part of the id, as in pytest
        ("not cnn", True),
        ("not not mlp", True),
        ("mlp and cnn", False),
        ("mlp or cnn", True),
        ("cnn and mlp or mlp", True),  # and binds closer than or
        ("cnn and (mlp or mlp)", False),
        ("mlp or mlp and cnn", True),
        ("not cnn and mlp", True),  # not binds closest
        ("not (cnn or mlp)", False),
        ("(((mlp)))", True),
        ("mixed@0.4", True),
        ("[0.5,0.3]", True),
        ("dropout+mixup[0.5", True),
        ("mnist5k/mlp/dropout", True),
        ("/seed0", True),
        ("a=b or mixed", True),
        ("5-k", False),
        (" mlp\tand(mixed)", True),
        ("android or orange or nothing", False),  # words that only start like operators
        ("", True),
        ("  ", True),
    ],
)
def test_an_expression_selects_cells(expression: str, expected: bool) -> None:
    assert compile_expression(expression)(CELL) is expected


@pytest.mark.parametrize(
    ("expression", "cell", "expected"),
    [
        ("dropout", "d/mlp/dropout[0.5]/real/seed1", True),
        ("Dropout", "d/mlp/dropout[0.5]/real/seed1", True),
        ("dropout", "d/mlp/input-dropout[0.5]/real/seed1", False),
        ("dropout", "d/mlp/dropout+mixup[0.5,0.3]/real/seed1", False),
        ("dropout[", "d/mlp/input-dropout[0.5]/real/seed1", True),
        ("none", "d/mlp/none/real/seed1", True),
        ("mlp", "d/small-mlp/none/real/seed1", False),
        ("seed1", "d/mlp/none/real/seed12", False),
        ("seed", "d/mlp/none/real/seed12", True),
        ("mixed@0.4", "d/mlp/none/mixed@0.45/seed1", False),
        ("mixed", "d/mlp/none/mixed@0.45/seed1", True),
        ("d", "d/mlp/none/real/seed1", True),
        ("d", "digits/mlp/dropout[0.5]/randY/seed1", False),
    ],
)
def test_a_word_that_is_a_whole_name_selects_what_has_that_name(
    expression: str, cell: str, expected: bool
) -> None:
    names = ["d", "mlp", "none", "dropout", "mixed@0.4", "seed1"]
    assert compile_expression(expression, names)(cell) is expected


@pytest.mark.parametrize(
    ("expression", "column", "message"),
    [
        ("mlp cnn", 5, "expected and, or, or the end; got 'cnn'"),
        ("mlp and", 8, "expected a word, ( or not; got the end"),
        ("and mlp", 1, "expected a word, ( or not; got 'and'"),
        ("mlp or or", 8, "got 'or'"),
        ("not", 4, "got the end"),
        ("()", 2, "got ')'"),
        ("(mlp", 5, "expected ); got the end"),
        ("mlp)", 4, "got ')'"),
        ("mlp & cnn", 5, "unexpected character '&'"),
        ("mlp 'x'", 5, 'unexpected character "\'"'),
        ("mlp OR cnn", 5, "got 'OR'"),
        ("(" * 5000, 101, "too deep"),
        ("not " * 5000, 401, "too deep"),
    ],
)
def test_a_mistake_is_reported_with_its_column(expression: str, column: int, message: str) -> None:
    with pytest.raises(MembenchError) as caught:
        compile_expression(expression)
    assert f"column {column}: " in str(caught.value)
    assert message in str(caught.value)
    assert caught.value.code == ExitCode.USAGE


def test_a_long_chain_is_not_too_deep() -> None:
    assert compile_expression(" or ".join(["cnn"] * 5000 + ["mlp"]))(CELL)


WORDS = st.sampled_from(["mlp", "cnn", "@0.4", "[0.5", "real"])
EXPRESSIONS = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        inner.map("not {}".format),
        inner.map("({})".format),
        st.tuples(inner, inner).map(" and ".join),
        st.tuples(inner, inner).map(" or ".join),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_and_or_and_not_mean_what_they_mean_in_python(expression: str) -> None:
    python = expression
    for word in ("mlp", "cnn", "@0.4", "[0.5", "real"):
        python = python.replace(word, str(word in CELL))
    assert compile_expression(expression)(CELL) is eval(python)


@given(st.text(alphabet="ma@,.[]()/ =-+\\andort\n'&", max_size=12))
def test_any_text_is_an_expression_or_gives_a_one_line_error(expression: str) -> None:
    try:
        compile_expression(expression)(CELL)
    except MembenchError as error:
        assert "\n" not in str(error)

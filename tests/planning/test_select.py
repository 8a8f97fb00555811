"""Expressions over cell ids: pytest's grammar, with the characters that ids are made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.planning.select import compile_expression

CELL = "mnist5k/mlp/dropout+mixup[0.5,0.3]/mixed@0.4/seed0"


@pytest.mark.parametrize(
    ("expr", "expected"),
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
def test_an_expression_picks_cells(expr: str, expected: bool) -> None:
    assert compile_expression(expr)(CELL) is expected


@pytest.mark.parametrize(
    ("expr", "column", "said"),
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
def test_a_mistake_is_named_with_its_column(expr: str, column: int, said: str) -> None:
    with pytest.raises(MembenchError) as caught:
        compile_expression(expr)
    assert f"column {column}: " in str(caught.value)
    assert said in str(caught.value)
    assert caught.value.code == ExitCode.USAGE


def test_long_chains_are_no_deep_ones() -> None:
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
def test_the_logic_is_pythons(expr: str) -> None:
    truth = expr
    for word in ("mlp", "cnn", "@0.4", "[0.5", "real"):
        truth = truth.replace(word, str(word in CELL))
    assert compile_expression(expr)(CELL) is eval(truth)


@given(st.text(alphabet="ma@,.[]()/ =-+\\andort\n'&", max_size=12))
def test_any_text_is_an_expression_or_one_line_of_error(expr: str) -> None:
    try:
        compile_expression(expr)(CELL)
    except MembenchError as error:
        assert "\n" not in str(error)

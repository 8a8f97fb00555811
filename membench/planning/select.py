"""The `-k` expressions of the command line: pytest's grammar over words that may be any part of a cell's id. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from membench.errors import MembenchError

Predicate = Callable[[str], bool]
_TOKEN = re.compile(
    r"[ \t]*(?:(?P<token>[()]|[\w:+\-.\[\]\\/@,=]+)|(?P<end>\Z)|(?P<bad>.))", re.DOTALL
)
_DEPTH = 100  #: of brackets and `not`s; Python's own stack would end a little later


def compile_expression(expr: str) -> Predicate:
    """A test of cell ids: words are looked for anywhere in the id, whatever their case; "" selects all.

    `mlp and not dropout`, `randY or mixed@0.4`, `(l1 or l2) and [0.1]`, `digits/mlp/none`.

    Raises:
        MembenchError: the expression is not well formed; the message names the column.
    """
    if not expr.strip():
        return lambda cell: True
    parser = _Parser(expr, _tokens(expr))
    accept = parser.any_of()
    if parser.token != "":
        raise parser.error("expected and, or, or the end")
    return lambda cell: accept(cell.lower())


def _tokens(expr: str) -> list[tuple[str, int]]:
    """Words, brackets and a final "", each with its column from 1."""
    tokens = []
    for match in _TOKEN.finditer(expr):
        if match["bad"] is not None:
            raise _error(expr, match.start("bad"), f"unexpected character {match['bad']!r}")
        tokens.append((match["token"] or "", match.start("token" if match["token"] else "end")))
    return tokens


def _error(expr: str, start: int, message: str) -> MembenchError:
    return MembenchError(f"-k {expr!r}: column {start + 1}: {message}")


@dataclass
class _Parser:
    """Recursive descent: `any_of` is a chain of or, `all_of` of and, `one` a word, a bracket or a not."""

    expr: str
    tokens: list[tuple[str, int]]
    at: int = 0
    depth: int = 0

    @property
    def token(self) -> str:
        return self.tokens[self.at][0]

    def error(self, message: str) -> MembenchError:
        got = repr(self.token) if self.token else "the end"
        return _error(self.expr, self.tokens[self.at][1], f"{message}; got {got}")

    def any_of(self) -> Predicate:
        parts = [self.all_of()]
        while self.take("or"):
            parts.append(self.all_of())
        return lambda cell: any(part(cell) for part in parts)

    def all_of(self) -> Predicate:
        parts = [self.one()]
        while self.take("and"):
            parts.append(self.one())
        return lambda cell: all(part(cell) for part in parts)

    def one(self) -> Predicate:
        self.depth += 1
        if self.depth > _DEPTH:
            raise self.error("too deep")
        part = self.negated() or self.bracketed() or self.word()
        self.depth -= 1
        return part

    def negated(self) -> Predicate | None:
        if not self.take("not"):
            return None
        part = self.one()
        return lambda cell: not part(cell)

    def bracketed(self) -> Predicate | None:
        if not self.take("("):
            return None
        part = self.any_of()
        if not self.take(")"):
            raise self.error("expected )")
        return part

    def word(self) -> Predicate:
        word = self.token.lower()
        if self.token in ("", "(", ")", "and", "or"):
            raise self.error("expected a word, ( or not")
        self.at += 1
        return lambda cell: word in cell

    def take(self, token: str) -> bool:
        found = self.token == token
        self.at += found
        return found

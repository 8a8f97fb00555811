"""The `-k` expressions of the command line. Pure.

The grammar is pytest's, over words. A word that is a whole name of the suite, as `dropout` or
`seed1`, selects what has that name and not `input-dropout`; another may be any part of a cell's id:

    expression = conjunction ("or" conjunction)*
    conjunction = operand ("and" operand)*
    operand = "not" operand | "(" expression ")" | word
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Collection
from dataclasses import dataclass

from membench.errors import MembenchError

Predicate = Callable[[str], bool]
_TOKEN = re.compile(
    r"[ \t]*(?:(?P<token>[()]|[\w:+\-.\[\]\\/@,=]+)|(?P<end>\Z)|(?P<bad>.))", re.DOTALL
)
_MAX_DEPTH = 100  #: of nested brackets and `not`s; Python's own stack would end a little later


def compile_expression(expression: str, names: Collection[str] = ()) -> Predicate:
    """Return the test of cell ids that an expression describes.

    Examples: `mlp and not dropout`, `randY or mixed@0.4`, `(l1 or l2) and [0.1]`,
    `digits/mlp/none`. The empty expression matches all. Upper and lower case are the same.

    Args:
        expression: as the user wrote it.
        names: whole names: a word that is one of them matches it as a part of the id between
            slashes, with strengths or without. Other words match anywhere.

    Raises:
        MembenchError: the expression is not well formed; the message names the column.
    """
    if not expression.strip():
        return lambda cell: True
    whole = {name.lower() for name in names}
    parser = _Parser(expression, _tokens(expression), whole)
    accepts = parser.expression()
    if parser.token != "":
        raise parser.error("expected and, or, or the end")
    return lambda cell: accepts(cell.lower())


def words(expression: str) -> list[str]:
    """Return the words of a well-formed expression, in its order."""
    tokens = [token for token, _ in _tokens(expression)]
    return [token for token in tokens if token not in ("", "(", ")", "and", "or", "not")]


def _tokens(text: str) -> list[tuple[str, int]]:
    """Return words, brackets and a final "", each with its position from 0."""
    tokens = []
    for match in _TOKEN.finditer(text):
        if match["bad"] is not None:
            raise _error(text, match.start("bad"), f"unexpected character {match['bad']!r}")
        tokens.append((match["token"] or "", match.start("token" if match["token"] else "end")))
    return tokens


def _error(text: str, position: int, message: str) -> MembenchError:
    return MembenchError(f"-k {text!r}: column {position + 1}: {message}")


@dataclass
class _Parser:
    """A recursive descent parser; its methods are named after the rules of the grammar."""

    text: str
    tokens: list[tuple[str, int]]
    names: Collection[str]  #: in lower case
    index: int = 0
    depth: int = 0

    @property
    def token(self) -> str:
        return self.tokens[self.index][0]

    def error(self, message: str) -> MembenchError:
        given = repr(self.token) if self.token else "the end"
        return _error(self.text, self.tokens[self.index][1], f"{message}; got {given}")

    def accept(self, token: str) -> bool:
        """Take the next token if it is this one."""
        if self.token != token:
            return False
        self.index += 1
        return True

    def expression(self) -> Predicate:
        parts = [self.conjunction()]
        while self.accept("or"):
            parts.append(self.conjunction())
        return lambda cell: any(part(cell) for part in parts)

    def conjunction(self) -> Predicate:
        parts = [self.operand()]
        while self.accept("and"):
            parts.append(self.operand())
        return lambda cell: all(part(cell) for part in parts)

    def operand(self) -> Predicate:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.error("too deep")
        if self.accept("not"):
            predicate = self.negation()
        elif self.accept("("):
            predicate = self.bracket()
        else:
            predicate = self.word()
        self.depth -= 1
        return predicate

    def negation(self) -> Predicate:
        operand = self.operand()
        return lambda cell: not operand(cell)

    def bracket(self) -> Predicate:
        inner = self.expression()
        if not self.accept(")"):
            raise self.error("expected )")
        return inner

    def word(self) -> Predicate:
        if self.token in ("", "(", ")", "and", "or"):
            raise self.error("expected a word, ( or not")
        word = self.token.lower()
        self.index += 1
        if word in self.names:
            return lambda cell: f"/{word}/" in f"/{cell}/" or f"/{word}[" in f"/{cell}"
        return lambda cell: word in cell

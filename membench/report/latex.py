"""A board as LaTeX: the claim and both lists as booktabs tables, fit for a paper."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
from dataclasses import replace

from membench.report.tables import CONTROLS
from membench.report.tables import with_controls
from membench.report.text import MINUS
from membench.report.text import filename
from membench.report.text import format_interval
from membench.report.text import plain
from membench.report.text import ranks
from membench.report.text import share_interval
from membench.report.text import signed
from membench.scoring.types import Board
from membench.scoring.types import Excess
from membench.scoring.types import Row

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def escape_latex(text: object) -> str:
    """Write foreign text so that LaTeX shows it literally."""
    return "".join(_SPECIAL.get(character, character) for character in plain(text, 2000))


def latex(board: Board, only: Collection[str] = ()) -> str:
    """Write the two ranked lists of a board; needs the packages booktabs and amssymb.

    Args:
        board: with complete rows.
        only: the entries that are shown; () = all. Ranks and claims are those of the whole board.
    """
    shown = board
    if only:
        shown = replace(board, rows=tuple(row for row in board.rows if row.entry in only))
    claim = _claim(board)
    suite = escape_latex(board.suite)
    held_back = _table(
        label=f"{filename(board.suite)}-held-back",
        caption=f"Noise held back $H$ on {suite}. {claim}",
        head=("rank", "entry", "$H$", r"$\Delta A$", "$H$ beyond training less"),
        rows=with_controls(shown.rows, shown, lambda row: row.H),
        cells=_cells_of_held_back,
    )
    recovery = _table(
        label=f"{filename(board.suite)}-recovery",
        caption=(
            f"Recovery $R$ on {suite}: the share of the accuracy that label noise costs which is "
            r"won back. $\Delta A$ is that of the strength which recovers most."
        ),
        head=("rank", "entry", "$R$", r"$\Delta A$", "$R$ beyond training less"),
        rows=with_controls(shown.by_recovery, shown, lambda row: row.R),
        cells=_cells_of_recovery,
    )
    return f"% needs \\usepackage{{booktabs,amssymb}}\n{held_back}\n{recovery}"


def _claim(board: Board) -> str:
    """Say what the marks and numbers of the first table mean, and how many hold the claim."""
    holding = sum(bool(row.claim and row.claim.holds) for row in board.rows)
    tested = sum(bool(row.claim) for row in board.rows)
    text = (
        r"$\Delta A$: points of test accuracy on real labels. $\pm$: 95\% interval over "
        f"{board.confirming} seeds. "
    )
    if tested:
        text += (
            rf"$\bullet$: noise is held back at no real cost, tested at 5\% for all "
            f"{tested} entries together; {holding} hold. "
            r"$\checkmark$: significantly more than training less, $\star$: than early stopping."
        )
    return text.strip()


def _cells_of_held_back(row: Row) -> tuple[str, ...]:
    mark = r"$\bullet$ " if row.claim and row.claim.holds else ""
    return (
        ranks(row.rank_H),
        f"{mark}{_name(row)}",
        share_interval(row.H),
        format_interval(row.dA, digits=1),
        _excess(row.excess_H, row.stopping_H),
    )


def _cells_of_recovery(row: Row) -> tuple[str, ...]:
    return (
        ranks(row.rank_R),
        _name(row),
        format_interval(row.R),
        format_interval(row.dA_recovery, digits=1),
        _excess(row.excess_R, row.stopping_R),
    )


def _name(row: Row) -> str:
    name = escape_latex(row.entry)
    return rf"\emph{{{name}}}" if row.entry in CONTROLS else name


def _excess(training_less: Excess | None, early_stopping: Excess | None) -> str:
    if training_less is None:
        return ""
    text = signed(training_less.value.mean)
    if training_less.significant:
        text += r" $\checkmark$"
    if early_stopping and early_stopping.significant:
        text += r" $\star$"
    return text


def _table(
    *,
    label: str,
    caption: str,
    head: Sequence[str],
    rows: Sequence[Row],
    cells: Callable[[Row], tuple[str, ...]],
) -> str:
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{caption}}}",
        rf"  \label{{tab:membench-{label}}}",
        r"  \begin{tabular}{rlrrr}",
        r"    \toprule",
        f"    {' & '.join(head)} \\\\",
        r"    \midrule",
    ]
    for row in rows:
        lines.append(f"    {' & '.join(_in_math(cell) for cell in cells(row))} \\\\")
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)


def _in_math(cell: str) -> str:
    """Write minus, plus-minus and dashes as LaTeX has them."""
    replaced = cell.replace("\N{EN DASH}", "--").replace("\N{EM DASH}", "---")
    if MINUS in cell or "±" in cell or (cell[:1] == "+" and cell[1:2].isdigit()):
        number, _, mark = replaced.partition(" $")
        math = number.replace(MINUS, "-").replace("±", r"\pm")
        return f"${math}$ ${mark}" if mark else f"${math}$"
    return replaced

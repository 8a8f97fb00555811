"""How wide text is in a figure, from a table: the same on every machine, whatever its fonts."""

from __future__ import annotations

#: Widths of the letters of DejaVu Sans over the font size, rounded up; ASCII is all that figures
#: write of foreign text.
_LETTERS = {
    "ijlIJ": 0.3,
    " ,./:;\\|-ft'": 0.4,
    '()[]!r"': 0.46,
    "*_`s?zcL": 0.56,
    "FkvxyPTYaeo": 0.62,
    "KAV": 0.69,
    "BRXZCUHN": 0.76,
    "D&GOQ": 0.79,
    "w#+<=>^~M": 0.87,
    "%mW@": 1.0,
}
_WIDTHS = {letter: width for letters, width in _LETTERS.items() for letter in letters}
_OTHERS = 0.64  #: digits, most small letters
_BOLD = 1.17  #: of a bold letter over a plain one, at the most


def text_width(text: str, font_size: float, bold: bool = False) -> float:
    """Estimate the width of text in points, a little too wide rather than too narrow.

    Args:
        text: one line.
        font_size: in points.
        bold: whether it is bold.
    """
    width = sum(_WIDTHS.get(letter, _OTHERS) for letter in text)
    return font_size * width * (_BOLD if bold else 1.0)

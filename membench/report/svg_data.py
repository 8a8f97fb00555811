"""A figure that matplotlib drew, as data from which a page draws it again.

An SVG in a page would bring styles that the page's policy forbids, identifiers that two figures
share, and colours of white paper. As data it is a third of the size, and the page chooses colours.
"""

from __future__ import annotations

import base64
import io
import re
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
#: What is taken over; whatever else an SVG may hold, scripts among it, is left out.
_TAGS = re.compile(
    "g|defs|path|use|text|tspan|clipPath|pattern|rect|circle|ellipse|line|polyline|polygon"
)
#: What else `render_svg` writes.
_FRAME = re.compile("svg|metadata|title|desc|style|image")
_METADATA = (
    "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}",
    "{http://purl.org/dc/elements/1.1/}",
    "{http://creativecommons.org/ns#}",
)
_ATTRIBUTES = re.compile(
    "d|x|y|x1|x2|y1|y2|cx|cy|r|rx|ry|width|height|points|transform|clip-path|viewBox|"
    "patternUnits|patternTransform"
)
_STYLES = re.compile(
    "fill|stroke|stroke-width|stroke-linecap|stroke-linejoin|stroke-dasharray|stroke-dashoffset|"
    "opacity|fill-opacity|stroke-opacity|fill-rule|font-size|font-weight|font-style|text-anchor"
)
_VALUE = re.compile(r"[\w\s#.,()%+-]*")  #: no address, no quote, no markup
_COLOR = re.compile(r"#[0-9a-f]{6}")
#: What is coloured by a value: these colours are data and the same on dark paper.
_MAPS = ("QuadMesh", "PolyQuadMesh", "TriMesh", "image")
_BLACK = "#000000"
LITERAL = "="  #: before a colour that is data
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def figure_data(svg: bytes) -> dict[str, Any]:
    """Turn an SVG into data, coordinates in points with one decimal.

    Args:
        svg: as `render_svg` makes it.

    Returns:
        `size`, [width, height]; `styles`, the distinct sets of style properties; and `parts`, each
        [tag, attributes, children or texts ...]. The attribute `s` is an index into `styles`. The
        colour of what is no data begins with "#", that of data with `LITERAL`. An image is
        ["image", attributes, colours, rows], a row a text with a letter a pixel.
    """
    root = ElementTree.fromstring(svg)
    _, _, width, height = (float(number) for number in root.attrib["viewBox"].split())
    return _Reader(root).read((width, height))


def check_svg(svg: bytes) -> None:
    """Check that an SVG that was drawn elsewhere draws, and does nothing else.

    Raises:
        ValueError: it is none, or has what acts or loads.
    """
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"its figure is no SVG: {error}") from error
    if root.tag != f"{_SVG}svg" or b"<!DOCTYPE" in svg or b"<?xml-stylesheet" in svg:
        raise ValueError("its figure is no SVG that `render_svg` makes")
    for element in root.iter():
        tag = element.tag.removeprefix(_SVG) if isinstance(element.tag, str) else ""
        is_drawing = _TAGS.fullmatch(tag) or _FRAME.fullmatch(tag)
        if not is_drawing and not element.tag.startswith(_METADATA):
            raise ValueError(f"its figure has a <{tag[:20]}>")
        if tag == "style" and re.search("url|import", element.text or "", re.IGNORECASE):
            raise ValueError("its figure has a style that loads something")
        for name, value in element.attrib.items():
            local = name.rpartition("}")[2].lower()
            is_link = local == "href" and not value.startswith(("#", "data:image/png;"))
            if is_link or local.startswith("on") or "script:" in value.lower():
                raise ValueError(f"its figure has the attribute {local[:20]}")


class _Reader:
    def __init__(self, root: Element) -> None:
        self.root = root
        self.styles: dict[tuple[tuple[str, str], ...], int] = {}
        #: identifier in the SVG -> the short one of the data; those that nothing uses have none
        self.names: dict[str, str] = {}
        for element in root.iter():
            for used in _used_names(element):
                self.names.setdefault(used, f"f{len(self.names)}")

    def read(self, size: tuple[float, float]) -> dict[str, Any]:
        parts = [part for child in self.root for part in self._parts(child)]
        return {
            "size": list(size),
            "styles": [dict(style) for style in self.styles],
            "parts": parts,
        }

    def _parts(
        self, element: Element, *, is_map: bool = False, inherits: bool = False
    ) -> list[Any]:
        """Return what an element becomes: nothing, itself, or its children if it adds nothing.

        Args:
            element: of the SVG.
            is_map: its colours are data.
            inherits: it has the colours of a group, or of what uses it.
        """
        tag = element.tag.removeprefix(_SVG) if isinstance(element.tag, str) else ""
        is_map = is_map or element.get("id", "").startswith(_MAPS)
        if tag == "image":
            return [_image(element)]
        if not _TAGS.fullmatch(tag):
            return []
        attributes = self._attributes(element)
        style = _style(element.get("style", ""), is_map=is_map)
        if not inherits and tag not in ("g", "defs"):
            # matplotlib leaves out what SVG fills with anyway
            style.setdefault("fill", f"{LITERAL * is_map}{_BLACK}")
        if style:
            known = tuple((name, self._renamed(value)) for name, value in sorted(style.items()))
            attributes["s"] = self.styles.setdefault(known, len(self.styles))
        inherits = inherits or bool(style) or tag == "defs"
        children: list[Any] = []
        for child in element:
            children += self._parts(child, is_map=is_map, inherits=inherits)
        if tag == "g" and (not attributes or not children):
            return children
        text = (element.text or "") if tag in ("text", "tspan") else ""
        return [[tag, attributes, *([text] if text.strip() else []), *children]]

    def _attributes(self, element: Element) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if element.get("id") in self.names:
            found["id"] = self.names[element.get("id", "")]
        link = element.get(_LINK, "")
        if link.removeprefix("#") in self.names:
            found["href"] = self.names[link.removeprefix("#")]
        for name, value in element.attrib.items():
            if (
                _ATTRIBUTES.fullmatch(name)
                and _VALUE.fullmatch(value)
                and not _is_idle(name, value)
            ):
                found[name] = _shortened(self._renamed(value))
        return found

    def _renamed(self, value: str) -> str:
        def rename(match: re.Match[str]) -> str:
            return f"url(#{self.names.get(match[1], '')})"

        return re.sub(r"url\(#([^)]*)\)", rename, value)


def _style(text: str, *, is_map: bool) -> dict[str, str]:
    """Read the properties of a style; fills of a map are data."""
    found = {}
    for part in text.split(";"):
        name, _, value = (word.strip() for word in part.partition(":"))
        if _STYLES.fullmatch(name) and _VALUE.fullmatch(value):
            is_data = is_map and name == "fill" and _COLOR.fullmatch(value)
            found[name] = f"{LITERAL}{value}" if is_data else value
    return found


def _used_names(element: Element) -> list[str]:
    """Return the identifiers that an element's attributes name."""
    values = [element.get(_LINK, "")] if element.get(_LINK, "").startswith("#") else []
    names = [value.removeprefix("#") for value in values]
    for value in element.attrib.values():
        names += re.findall(r"url\(#([^)]*)\)", value)
    return names


def _is_idle(name: str, value: str) -> bool:
    return name == "transform" and value.startswith("rotate(-0 ")


def _shortened(value: str) -> str:
    """Round the numbers of an attribute, and leave out the blanks that a path does not need."""
    rounded = re.sub(r"-?\d+\.\d+", lambda number: f"{round(float(number[0]), 1) + 0.0:g}", value)
    joined = re.sub(r"\s+", " ", rounded).strip()
    return re.sub(r" ?([A-Za-z]) (?=[-\d])", r"\1", joined) if joined[:1] == "M" else joined


def _image(element: Element) -> list[Any]:
    """Return the pixels of an embedded PNG; of more than 64 colours the nearest coarser ones."""
    from PIL import Image  # matplotlib needs it as well

    data = "".join(element.get(_LINK, "").partition("base64,")[2].split())
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        pixels = np.asarray(image.convert("RGB"))
    colors, places = _few_colors(pixels)
    rows = ["".join(_LETTERS[place] for place in row) for row in places]
    attributes = {}
    for name in ("x", "y", "width", "height", "transform"):
        value = element.get(name, "")
        if value and _VALUE.fullmatch(value):
            attributes[name] = _shortened(value)
    return ["image", attributes, colors, rows]


def _few_colors(pixels: NDArray[np.uint8]) -> tuple[list[str], NDArray[np.int64]]:
    """Reduce pixels [h, w, 3] to at most 64 colours.

    Returns:
        The colours as `#rrggbb`, and the place of each pixel's among them, [h, w].
    """
    height, width, _ = pixels.shape
    flat = pixels.reshape(-1, 3).astype(np.int64)
    for step in (1, 4, 8, 16, 32, 64, 128):
        coarse = np.minimum(flat // step * step + step // 2, 255)
        colors, places = np.unique(coarse, axis=0, return_inverse=True)
        if len(colors) <= len(_LETTERS):
            break
    words = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colors.tolist()]
    return words, places.reshape(height, width)

"""A page in Chromium, for the tests of the interactive pages."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

#: Debian's, Ubuntu's, and what GitHub's machines have.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in BROWSERS if (found := shutil.which(name))), None)
AXE = Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js"
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


class Opened:
    """A page with what went wrong on it and what it asked for."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(
            **{"viewport": {"width": 1024, "height": 900}, **options}
        )
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.set_default_timeout(5000)
        self.page.goto(address)

    @property
    def hash(self) -> str:
        return self.page.evaluate("location.hash")

    def broken_rules(self, only: Sequence[str] = ()) -> list[tuple[str, list[Any]]]:
        """The accessibility rules that axe-core finds broken, each with the first elements.

        A scheme changes colours alone, so the second can be held to their rules `only`.
        """
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text("utf-8"))
        options = {"preload": False, **({"runOnly": list(only)} if only else {})}
        found = self.page.evaluate("options => axe.run(document, options)", options)
        broken = []
        for violation in found["violations"]:
            targets = [node["target"] for node in violation["nodes"]]
            broken.append((violation["id"], targets[:3]))
        return broken

    def names(self) -> list[str]:
        """The entries of the list, from the top."""
        return self.page.locator("#table tbody th a").all_inner_texts()

    def column(self, title: str) -> list[str]:
        headers = self.page.locator("#table thead th").all_inner_texts()
        titles = [re.sub(r"\s*[▲▼]", "", text) for text in headers]
        cells = self.page.locator(f"#table tbody tr > :nth-child({titles.index(title) + 1})")
        return cells.all_inner_texts()

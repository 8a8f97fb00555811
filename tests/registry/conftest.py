"""The working folder of the registry's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.workspace import Workspace
from support.workspace import empty_workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return empty_workspace(tmp_path, monkeypatch)

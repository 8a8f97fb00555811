"""Shipped plugin files as modules, for tests of the functions inside them."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import module_from_spec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

PLUGINS = Path(__file__).parents[2] / "plugins"


@cache
def plugin(name: str) -> ModuleType:
    """`plugin("probes/sensitivity.py")`, executed once."""
    title = f"membench_tested_{name.removesuffix('.py').replace('/', '_')}"
    spec = spec_from_file_location(title, PLUGINS / name)
    sys.modules[title] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

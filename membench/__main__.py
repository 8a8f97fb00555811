"""Run `python -m membench` as the console script `membench`."""

from __future__ import annotations

import sys

from membench.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m membench` is the same program as the console script."""

import sys

from membench.cli import main

if __name__ == "__main__":
    sys.exit(main())

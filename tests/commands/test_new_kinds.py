"""`membench new` of every kind: what it proposes to try next can be run as it stands."""

from __future__ import annotations

import pytest
from support.cli import Cli

from membench.commands.kind_templates import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_proposed_to_try_next_can_be_run(kind: str, cli: Cli) -> None:
    code, out, err = cli("new", "my-idea", "--kind", kind)
    assert (code, err) == (0, "")
    proposed = [line.split()[1:] for line in out.splitlines() if line.startswith("  membench ")]
    assert proposed[0][0] == "check"
    assert proposed[1:]
    for words in proposed[1:]:
        code, ids, err = cli(*words, "--collect-only")
        assert (code, err) == (0, "")
        assert "cells" in ids.splitlines()[-1]

"""Folders and networks of a test alone, where Linux lets a user have namespaces."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def _can(flags: str) -> bool:
    try:
        done = subprocess.run(["unshare", flags, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


#: For tests of `on_small_disk` and `without_network`.
needs_small_disk = pytest.mark.skipif(
    not _can("-rm"), reason="`unshare -rm` is refused here: no small disk can be mounted"
)
needs_own_network = pytest.mark.skipif(
    not _can("-rn"), reason="`unshare -rn` is refused here: the network cannot be taken away"
)


def without_network(command: Sequence[str]) -> list[str]:
    """Return the command that runs another one without any network, not even the loopback."""
    return ["unshare", "-rn", *command]


def on_small_disk(folder: Path, options: str, command: Sequence[str], kept: Path) -> list[str]:
    """Return the command that runs another one while a small disk is mounted at a folder.

    Args:
        folder: where the disk is, for that command alone.
        options: of `mount`, as "size=64k" or "size=64k,ro".
        command: is run from the folder above it.
        kept: a folder, to be made, that gets what the disk holds in the end.
    """
    script = (
        'mount -t tmpfs -o "$1" none "$2" || exit 99; kept=$3; disk=$2; shift 3; '
        '"$@"; code=$?; cp -a "$disk" "$kept"; exit $code'
    )
    return ["unshare", "-rm", "sh", "-c", script, "sh", options, str(folder), str(kept), *command]

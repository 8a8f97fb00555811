"""A cache folder that another user has made is not believed (R12)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from membench import files
from membench.files import cache_folder


@pytest.fixture(autouse=True)
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user without a home folder."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("MEMBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")  # so that what is set in the test is taken back
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(files.atexit, "register", lambda *arguments: None)


def name_for_all(tmp_path: Path) -> Path:
    return tmp_path / f"membench-{os.getuid()}"


def test_who_has_no_home_gets_a_folder_that_nobody_else_can_write(tmp_path: Path) -> None:
    assert cache_folder() == name_for_all(tmp_path)
    assert name_for_all(tmp_path).stat().st_mode & 0o777 == 0o700
    assert cache_folder() == name_for_all(tmp_path)


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_that_others_can_write_is_not_used(mode: int, tmp_path: Path) -> None:
    name_for_all(tmp_path).mkdir()
    name_for_all(tmp_path).chmod(mode)
    folder = cache_folder()
    assert folder != name_for_all(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == folder  # one for all of this process, and its workers
    assert os.environ["MEMBENCH_CACHE"] == str(folder)


def test_a_link_that_leads_elsewhere_or_nowhere_is_not_followed_to_another_s_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_for_all(tmp_path).symlink_to("/proc/1")  # root's, whoever we are
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    (tmp_path / "membench-54321").symlink_to("/proc/1")
    assert cache_folder() not in (name_for_all(tmp_path), tmp_path / "membench-54321")


def test_a_folder_in_another_user_s_home_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `su`, which keeps HOME."""
    home = tmp_path / "home"
    (home / ".cache" / "membench").mkdir(parents=True)
    monkeypatch.setattr(Path, "home", lambda: home)
    assert cache_folder() == home / ".cache" / "membench"
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert not cache_folder().is_relative_to(home)
    monkeypatch.setenv("MEMBENCH_CACHE", str(home / "shared"))  # a team's, named on purpose
    assert cache_folder() == home / "shared"

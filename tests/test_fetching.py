"""Downloads from a local server are resumed, checked and mirrored, and fail with one line."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from support.cli import Cli

from membench import fetching
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.fetching import Remote
from membench.fetching import fetch_files
from membench.fetching import md5

BYTES = hashlib.sha256(b"membench").digest() * 8192  # 256 KiB, four blocks
SUM = hashlib.md5(BYTES).hexdigest()


@dataclass
class Site:
    """The files that the server gives, its faults, and the requests that it got."""

    files: dict[str, bytes]
    ranges: bool = True
    cut: int = 0  #: bytes after which a connection breaks off; 0 = it does not
    length: bool = True  #: send Content-Length
    address: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)  #: (path, Range)

    def remote(self, name: str = "a.gz", sum_: str = SUM, mirrors: tuple[str, ...] = ()) -> Remote:
        """Describe a file of this site, its address after the mirrors."""
        return Remote(name, (*mirrors, f"{self.address}/{name}"), sum_)


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's `Site` says."""

    def do_GET(self) -> None:
        site: Site = self.server.site
        wanted = self.headers.get("Range", "")
        site.requests.append((self.path, wanted))
        data = site.files.get(self.path)
        if data is None:
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.ranges else 0
        if start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if site.length:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : start + site.cut if site.cut else None])
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.site = Site({"/a.gz": BYTES}, address=f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.site
        server.shutdown()
        thread.join()


def fetch(folder: Path, *files: Remote) -> list[tuple[int, int]]:
    """Fetch files and return the progress that was reported."""
    progress: list[tuple[int, int]] = []
    fetch_files(folder, files, lambda done, total: progress.append((done, total)))
    return progress


def test_a_file_arrives_complete_with_its_progress_and_no_part_is_left(
    site: Site, tmp_path: Path
) -> None:
    progress = fetch(tmp_path / "new" / "folder", site.remote())
    assert (tmp_path / "new" / "folder" / "a.gz").read_bytes() == BYTES
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["a.gz"]
    assert progress[-1] == (len(BYTES), len(BYTES))
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)


def test_a_complete_file_is_not_fetched_again_and_a_damaged_one_is_replaced(
    site: Site, tmp_path: Path
) -> None:
    fetch(tmp_path, site.remote())
    fetch(tmp_path, site.remote())
    assert len(site.requests) == 1
    (tmp_path / "a.gz").write_bytes(BYTES[:-1] + b"!")
    fetch(tmp_path, site.remote())
    assert md5(tmp_path / "a.gz") == SUM


def test_a_partial_file_is_resumed_where_it_stopped(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.gz.part").write_bytes(BYTES[:100_000])
    progress = fetch(tmp_path, site.remote())
    assert site.requests == [("/a.gz", "bytes=100000-")]
    assert progress[0][0] > 100_000
    assert progress[-1] == (len(BYTES), len(BYTES))
    assert (tmp_path / "a.gz").read_bytes() == BYTES


def test_a_server_without_ranges_sends_the_whole_file_again(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    (tmp_path / "a.gz.part").write_bytes(BYTES[:100_000])
    fetch(tmp_path, site.remote())
    assert (tmp_path / "a.gz").read_bytes() == BYTES


def test_a_broken_connection_is_retried_as_long_as_it_brings_bytes(
    site: Site, tmp_path: Path
) -> None:
    site.cut = 100_000
    fetch(tmp_path, site.remote())
    assert [wanted for _, wanted in site.requests] == ["", "bytes=100000-", "bytes=200000-"]
    assert (tmp_path / "a.gz").read_bytes() == BYTES


def test_a_truncated_file_is_kept_as_a_part_and_the_message_says_so(
    site: Site, tmp_path: Path
) -> None:
    site.cut, site.ranges = 100_000, False
    with pytest.raises(MembenchError) as error:
        fetch(tmp_path, site.remote())
    assert error.value.code is ExitCode.FETCH
    assert (
        "the connection ended after 100,000 of 262,144 bytes; "
        "100,000 bytes are kept, the same command goes on"
    ) in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gz.part"]
    site.cut, site.ranges = 0, True
    fetch(tmp_path, site.remote())
    assert (tmp_path / "a.gz").read_bytes() == BYTES


def test_a_file_of_unknown_length_is_fetched_too(site: Site, tmp_path: Path) -> None:
    site.length = False
    assert {total for _, total in fetch(tmp_path, site.remote())} == {0}
    assert (tmp_path / "a.gz").read_bytes() == BYTES


def test_without_a_network_it_is_said_where_to_put_the_file(tmp_path: Path) -> None:
    with pytest.raises(MembenchError) as error:
        fetch(tmp_path / "mine", Remote("a.gz", ("http://127.0.0.1:9/a.gz",), SUM))
    path = tmp_path / "mine" / "a.gz"
    assert str(error.value) == (
        "cannot fetch a.gz from http://127.0.0.1:9/a.gz: Connection refused; "
        f"without a network, put the file (MD5 {SUM}) at {path} and repeat"
    )
    path.write_bytes(BYTES)
    assert fetch(tmp_path / "mine", Remote("a.gz", ("http://127.0.0.1:9/a.gz",), SUM)) == []


@pytest.mark.parametrize("part", [BYTES, BYTES + b"more"])
def test_a_part_that_is_already_complete_or_too_long_becomes_the_file(
    site: Site, tmp_path: Path, part: bytes
) -> None:
    (tmp_path / "a.gz.part").write_bytes(part)
    fetch(tmp_path, site.remote())
    assert (tmp_path / "a.gz").read_bytes() == BYTES


def test_a_part_of_another_file_is_discarded(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.gz.part").write_bytes(b"?" * 100_000)
    fetch(tmp_path, site.remote())
    assert [wanted for _, wanted in site.requests] == ["bytes=100000-", ""]
    assert (tmp_path / "a.gz").read_bytes() == BYTES


def test_a_wrong_checksum_is_an_error_and_leaves_no_file(site: Site, tmp_path: Path) -> None:
    with pytest.raises(
        MembenchError, match=f"MD5 {SUM}, not {'0' * 32}, and was removed$"
    ) as error:
        fetch(tmp_path, site.remote(sum_="0" * 32))
    assert error.value.code is ExitCode.FETCH
    assert list(tmp_path.iterdir()) == []


def test_the_next_address_resumes_what_the_first_sent(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.gz.part").write_bytes(BYTES[:100_000])
    fetch(tmp_path, site.remote(mirrors=(f"{site.address}/gone/a.gz",)))
    assert site.requests == [("/gone/a.gz", "bytes=100000-"), ("/a.gz", "bytes=100000-")]
    assert (tmp_path / "a.gz").read_bytes() == BYTES


def test_every_address_that_failed_is_named_with_its_reason(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes the connection and never answers
        monkeypatch.setattr(fetching, "TIMEOUT", 0.05)
        silent = f"http://127.0.0.1:{mute.getsockname()[1]}/a.gz"
        urls = ("http://127.0.0.1:9/a.gz", silent, f"{site.address}/gone")
        with pytest.raises(MembenchError) as error:
            fetch(tmp_path, Remote("a.gz", urls, SUM))
    assert str(error.value) == (
        "cannot fetch a.gz from http://127.0.0.1:9/a.gz: Connection refused; "
        f"{silent}: no answer in 0.05 seconds; {site.address}/gone: the server said 404 Not Found"
    )


def test_an_interrupt_keeps_what_has_arrived(site: Site, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_files(tmp_path, [site.remote()], stop)
    begun = (tmp_path / "a.gz.part").stat().st_size
    assert 0 < begun < len(BYTES)
    fetch(tmp_path, site.remote())
    assert site.requests[-1] == ("/a.gz", f"bytes={begun}-")
    assert (tmp_path / "a.gz").read_bytes() == BYTES


def test_a_folder_that_cannot_be_written_is_a_disk_error(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MembenchError, match=r"cannot write .*file") as error:
        fetch(tmp_path / "file", site.remote())
    assert error.value.code is ExitCode.DISK


# --- membench data -------------------------------------------------------------------------------

PLUGIN = """\
import numpy as np
from membench import Arrays, Dataset, hookimpl
from membench.fetching import Remote, fetch_files

FILE = Remote("a.gz", ("{address}/a.gz",), "{sum}")

def load(folder):
    if not (folder / "a.gz").exists():
        raise FileNotFoundError(f"no a.gz in {{folder}}: membench data fetch mine")
    grey = np.frombuffer((folder / "a.gz").read_bytes(), np.uint8)
    return Arrays(grey.reshape(-1, 1, 8, 8), np.arange(len(grey) // 64) % 10, 10)

@hookimpl
def register():
    return [Dataset("mine", load, lambda folder, progress: fetch_files(folder, [FILE], progress))]
"""


@pytest.fixture
def fetched_plugin(site: Site, tmp_path: Path) -> Site:
    """Register a data set that is fetched from the site, as a plugin of the working folder."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text(PLUGIN.format(address=site.address, sum=SUM))
    return site


def test_a_fetched_data_set_is_verified_and_planned(
    fetched_plugin: Site, cli: Cli, tmp_path: Path
) -> None:
    code, _, err = cli("data", "fetch", "mine", "--data-dir", "data")
    assert code == 0, err
    assert (tmp_path / "data" / "mine" / "arrays.sha256").exists()
    code, out, _ = cli("data", "fetch", "mine", "--data-dir", "data")
    assert (code, len(fetched_plugin.requests)) == (0, 1)
    assert out.startswith("mine is here: 4096 images of 1x8x8, 10 classes, SHA-256 ")
    code, out, _ = cli("data", "verify", "mine", "--data-dir", "data")
    assert code == 0
    assert "whole" in out
    code, out, _ = cli("plan", "--datasets", "mine", "--architectures", "mlp", "--data-dir", "data")
    assert code == 0
    assert "suite quick-custom-" in out


def test_the_folder_can_be_set_in_the_environment(
    fetched_plugin: Site, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMBENCH_DATA", str(tmp_path / "mine-too"))
    assert cli("data", "fetch", "mine")[0] == 0
    assert (tmp_path / "mine-too" / "mine" / "a.gz").exists()


def test_arrays_that_changed_since_they_were_fetched_are_reported_as_damaged(
    fetched_plugin: Site, cli: Cli, tmp_path: Path
) -> None:
    cli("data", "fetch", "mine", "--data-dir", "data")
    (tmp_path / "data" / "mine" / "a.gz").write_bytes(BYTES[64:])
    code, out, _ = cli("data", "verify", "mine", "--data-dir", "data")
    assert code == 1
    assert "damaged" in out
    assert "other arrays than were fetched" in " ".join(out.split())
    assert cli("data", "fetch", "mine", "--data-dir", "data")[0] == 0
    assert cli("data", "verify", "mine", "--data-dir", "data")[0] == 0


def test_verify_never_breaks_a_path(
    fetched_plugin: Site, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    folder = tmp_path / "a-folder-of-data-sets-with-a-name" / "that-is-longer-than-the-terminal"
    _, out, _ = cli("data", "verify", "svhn", "digits", "--data-dir", str(folder))
    header, svhn, digits = out.splitlines()
    assert header.split() == ["data", "set", "state", "what"]
    assert svhn.endswith(f"; to get it: membench data fetch svhn --data-dir {folder}")
    assert digits.startswith("digits    whole   1797 images")


def test_verify_shows_all_data_sets_and_fails_for_named_ones_only(
    fetched_plugin: Site, cli: Cli
) -> None:
    code, out, _ = cli("data", "verify", "--data-dir", "data")
    text = " ".join(out.split())
    assert code == 0
    assert "digits whole 1797 images of 1x8x8, 10 classes" in text
    assert "membench data fetch svhn --data-dir" in text
    code, out, _ = cli("data", "verify", "mine", "--data-dir", "data")
    assert code == 1
    assert "absent" in out


def test_a_failed_download_is_one_line_with_exit_code_12(fetched_plugin: Site, cli: Cli) -> None:
    fetched_plugin.files.clear()
    code, out, err = cli("data", "fetch", "mine", "--data-dir", "data")
    assert (code, out) == (ExitCode.FETCH, "")
    assert err.strip().startswith("membench: cannot fetch a.gz from http://127.0.0.1:")
    assert len(err.strip().splitlines()) == 1


def test_a_data_set_that_ships_with_a_package_needs_no_download(cli: Cli) -> None:
    code, out, _ = cli("data", "fetch", "digits", "--data-dir", "data")
    assert code == 0
    assert "digits is here: 1797 images of 1x8x8" in out


def test_a_run_without_its_data_set_says_how_to_get_it_and_downloads_nothing(
    fetched_plugin: Site, cli: Cli
) -> None:
    words = ("--suite", "smoke", "--datasets", "mine", "--data-dir", "data")
    code, _, err = cli("run", "--all", *words)
    assert code == ExitCode.USAGE
    assert "data set 'mine' is missing: no a.gz in" in err
    assert "membench data fetch mine" in err
    assert fetched_plugin.requests == []


SIGNAL = """\
import numpy as np
from membench import Signal, hookimpl
from membench.fetching import Remote, fetch_files

FILE = Remote("a.gz", ("{address}/a.gz",), "{sum}")

def people(x, y, level, draw, train):
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    path = draw.folder / "a.gz"
    if not path.exists():
        raise FileNotFoundError(f"there is no {{path}}: membench data fetch people")
    given = np.frombuffer(path.read_bytes(), np.uint8)[draw.rows] % draw.num_classes
    return x, given.astype(y.dtype), given != y

def fetch(folder, progress):
    fetch_files(folder, [FILE], progress)

@hookimpl
def register():
    return [Signal("people", people, noise="labels", levels=("rough", "fine"), fetch=fetch)]
"""
PEOPLE = ("--suite", "smoke", "--signals", "real,people@rough", "-k", "none", "--data-dir", "data")


@pytest.fixture
def fetched_signal(site: Site, tmp_path: Path) -> Site:
    """Register a signal whose labels are fetched from the site."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "people.py").write_text(SIGNAL.format(address=site.address, sum=SUM))
    return site


def test_the_file_of_a_signal_is_fetched_and_verified(fetched_signal: Site, cli: Cli) -> None:
    folder = ("--data-dir", "data")
    code, out, _ = cli("data", "verify", "people", *folder)
    assert code == 1
    assert "absent" in out
    code, out, _ = cli("data", "fetch", "people", *folder)
    assert code == 0
    assert re.fullmatch("people: files of a signal in .*/data/people\n", out)
    assert cli("data", "fetch", "people", *folder)[0] == 0
    assert len(fetched_signal.requests) == 1
    code, out, _ = cli("data", "verify", *folder)
    assert code == 0
    assert re.search("people +whole", out)
    assert re.search("cifar10n +absent", out)


def test_a_signal_whose_file_is_absent_is_refused_before_anything_is_trained(
    fetched_signal: Site, cli: Cli
) -> None:
    code, out, err = cli("run", *PEOPLE, "--out", "o")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "signal 'people' lacks a file: there is no " in err
    assert cli("plan", *PEOPLE)[0] == 0  # a plan that is only shown says it, and goes on
    assert "membench data fetch people" in cli("plan", *PEOPLE)[2]
    cli("data", "fetch", "people", "--data-dir", "data")
    assert "lacks" not in cli("plan", *PEOPLE)[2]
    assert len(fetched_signal.requests) == 1


def test_a_name_that_nothing_can_be_fetched_for_is_refused(cli: Cli) -> None:
    code, _, err = cli("data", "fetch", "cifar10m")
    assert code == ExitCode.USAGE
    assert "unknown data set 'cifar10m': did you mean cifar10" in err
    code, _, err = cli("data", "fetch", "randY")
    assert "unknown data set 'randY'" in err

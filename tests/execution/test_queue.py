"""Which pack comes next, and what counts as a message: the pure parts of the pool."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trainers import make_pack

from membench.errors import MembenchError
from membench.execution.protocol import MAX_MESSAGE
from membench.execution.protocol import TRAINING_MESSAGES
from membench.execution.protocol import Inbox
from membench.execution.protocol import Pipe
from membench.execution.protocol import send
from membench.execution.queue import Queue
from membench.execution.queue import estimated_work
from membench.execution.worker import worker_command
from membench.planning.packs import Pack
from membench.text import explain
from membench.text import short


def program(name: str, *epochs: int) -> list[Pack]:
    return [make_pack(name, index, epochs=n) for index, n in enumerate(epochs)]


def taken(
    queue: Queue, compiled: set[tuple[str, str, str]], busy: list[tuple[str, str, str]]
) -> tuple[str, int]:
    pack = queue.take(compiled, busy)
    return pack.program[2], pack.recipe.epochs


def test_the_program_with_most_work_and_its_longest_pack_come_first() -> None:
    queue = Queue([*program("small", 5), *program("large", 2, 4, 3)])
    assert taken(queue, set(), []) == ("large", 4)


def test_a_worker_gets_packs_of_programs_it_has_compiled_first() -> None:
    queue = Queue([*program("mine", 1, 1), *program("large", 9)])
    mine = make_pack("mine").program
    assert [taken(queue, {mine}, [])[0] for _ in range(3)] == ["mine", "mine", "large"]


def test_an_unshared_program_comes_before_a_larger_shared_one() -> None:
    queue = Queue([*program("theirs", 9, 9, 9), *program("small", 1)])
    theirs = make_pack("theirs").program
    assert [taken(queue, set(), [theirs])[0] for _ in range(2)] == ["small", "theirs"]


def in_environment(packs: list[Pack], environment: str) -> list[Pack]:
    return [replace(pack, environment=environment) for pack in packs]


def names_taken(queue: Queue, environment: str) -> list[str]:
    """Take all that a worker of an environment can have."""
    packs = iter(lambda: queue.take((), (), environment=environment), None)
    return [pack.program[2] for pack in packs]


def two_kinds(*names: str) -> Queue:
    """Packs of the baseline and of entries, for the home "h" and for "e" elsewhere."""
    packs = [make_pack(name, index) for name in ("none", *names) for index in (0, 1)]
    queue = Queue(packs, home="h")
    queue.add(in_environment(packs, "e"))
    return queue


def test_an_entry_is_trained_in_the_environment_of_its_first_pack_and_in_no_other() -> None:
    queue = two_kinds("mine", "theirs")
    first = queue.take((), (), environment="e")
    assert first.environment == "e" and first.program[2] in ("mine", "theirs")
    (other,) = {"mine", "theirs"} - {first.program[2]}
    queue.add([make_pack(first.program[2], 2)])  # of the second phase, planned at home too soon
    assert names_taken(queue, "h") == ["none", "none", other, other]
    assert names_taken(queue, "e") == ["none", "none", first.program[2]]
    assert len(queue) == 0


def test_a_baseline_is_trained_elsewhere_only_where_an_entry_is() -> None:
    queue = two_kinds("mine")
    assert queue.take((), (), environment="e").program[2] == "mine"  # and not `none`
    queue = two_kinds("mine")
    assert names_taken(queue, "h") == ["none", "none", "mine", "mine"]
    assert not queue.waits_for("e") and len(queue) == 0
    queue = two_kinds("mine")
    assert names_taken(queue, "e") == ["mine", "none", "none", "mine"]
    assert not queue.waits_for("h") and len(queue) == 0
    alone = Queue([make_pack("none")], home="h")
    assert names_taken(alone, "h") == ["none"]


def test_an_entry_with_records_stays_in_their_environment() -> None:
    queue = two_kinds("mine", "theirs")
    queue.bind("mine", "e")
    queue.bind("mine", "h")
    assert names_taken(queue, "h") == ["none", "none", "theirs", "theirs"]
    assert names_taken(queue, "e") == ["none", "none", "mine", "mine"]


def test_a_pack_that_is_put_back_waits_for_its_environment() -> None:
    queue = two_kinds("mine")
    queue.put_back(queue.take((), (), environment="e"))
    assert names_taken(queue, "h") == []
    assert queue.waits_for("e") and len(queue) == 4


def test_the_plain_network_comes_first_and_a_second_worker_leaves_it_to_the_first() -> None:
    plain = make_pack("none").program
    queue = Queue([*program("large", 9), *program("none", 1, 1), *program("small", 1)])
    assert taken(queue, {make_pack("large").program}, []) == ("none", 1)
    assert taken(queue, set(), [plain]) == ("large", 9)
    assert taken(queue, {plain}, []) == ("none", 1)


def test_packs_that_are_added_wait_behind_equal_ones_of_their_program() -> None:
    queue = Queue(program("one", 2, 2))
    later = [make_pack("one", index, epochs=2) for index in (5, 6)] + program("other", 9)
    queue.add(later)
    assert taken(queue, set(), []) == ("other", 9)
    packs = [queue.take({make_pack("one").program}, []) for _ in range(4)]
    assert packs == [*program("one", 2, 2), *later[:2]]
    assert len(queue) == 0


def test_programs_are_shared_where_most_is_left_for_each() -> None:
    queue = Queue([*program("crowded", 4, 4, 4), *program("quiet", 5, 5)])
    busy = [make_pack("crowded").program] * 2 + [make_pack("quiet").program]
    assert taken(queue, set(), busy)[0] == "quiet"


def test_equal_packs_come_in_the_order_of_the_plan_and_a_retried_one_at_once() -> None:
    packs = program("p", 1, 1, 1)
    queue = Queue(packs)
    assert queue.take((), ()) == packs[0]
    assert queue.take((), ()) == packs[1]
    queue.put_back(packs[0])
    assert [queue.take((), ()) for _ in range(3)] == [packs[0], packs[2], None]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(1, 5)),
        unique_by=lambda t: t[:2],
    )
)
def test_every_pack_is_taken_once(shapes: list[tuple[str, int, int]]) -> None:
    packs = [make_pack(name, index, epochs=epochs) for name, index, epochs in shapes]
    queue = Queue(packs)
    assert sorted(map(repr, packs)) == sorted(repr(queue.take((), ())) for _ in packs)
    assert len(queue) == 0 and queue.take((), ()) is None


def test_work_grows_with_width_budget_and_examples() -> None:
    assert estimated_work(make_pack(width=3, epochs=7)) == 3 * 7 * 10


@given(st.lists(st.integers(1, 30)), st.binary())
def test_messages_are_whole_however_their_bytes_are_cut(cuts: list[int], junk: bytes) -> None:
    messages = [{"kind": "progress", "done": 0.5}, {"kind": "ready"}]
    data = (
        junk.replace(b"\n", b"")
        + b"\n"
        + b"".join(json.dumps(m).encode() + b"\n" for m in messages)
    )
    inbox, received = Inbox(TRAINING_MESSAGES), []
    for cut in [*cuts, len(data)]:
        received += inbox.feed(data[:cut])
        data = data[cut:]
    assert received == messages


@pytest.mark.parametrize(
    "line", ["", "[]", "1", '{"kind":"other"}', '{"kind":["ready"]}', "{", '"ready"', "\udc80"]
)
def test_a_line_that_is_not_a_message_is_dropped(line: str) -> None:
    assert Inbox(TRAINING_MESSAGES).feed(line.encode(errors="surrogateescape") + b"\n") == []


def test_a_line_without_end_is_kept_up_to_the_size_of_a_message() -> None:
    inbox = Inbox(TRAINING_MESSAGES)
    for _ in range(5):
        inbox.feed(b"x" * MAX_MESSAGE)
    assert len(inbox.incomplete) == MAX_MESSAGE


def test_a_pipe_returns_what_was_written_and_notices_its_end() -> None:
    read_fd, write_fd = os.pipe()
    pipe = Pipe(read_fd)
    assert (pipe.read(), pipe.open) == (b"", True)
    send(write_fd, "ready", device="cpu")
    assert Inbox(TRAINING_MESSAGES).feed(pipe.read()) == [{"kind": "ready", "device": "cpu"}]
    os.close(write_fd)
    assert (pipe.read(), pipe.open) == (b"", False)
    pipe.close()
    pipe.close()


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\n\tb\x1b[0m\u202e", "a b [0m"), ("x" * 400, "x" * 297 + "..."), ("\udc80\x00", "")],
)
def test_a_reason_is_one_short_printable_line(text: str, line: str) -> None:
    assert short(text) == line


def caught(action: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as info:
        action()
    return info.value


def test_an_error_is_explained_by_the_plugins_line_and_not_by_the_library_below_it() -> None:
    error = caught(lambda: json.loads("{"))
    assert re.search(r"\(execution/test_queue\.py:\d+\)$", explain(error))
    assert explain(error).startswith("JSONDecodeError: Expecting property name")


def test_a_broken_contract_is_explained_in_its_own_words() -> None:
    assert explain(MembenchError("stage loss: shape [3]")) == "stage loss: shape [3]"


def test_a_long_explanation_keeps_its_place() -> None:
    def fail() -> None:
        raise ValueError("long " * 200)

    assert len(explain(caught(fail))) == 300
    assert "... (execution/test_queue.py:" in explain(caught(fail))


def test_a_workers_command_names_plugins_device_and_data(tmp_path: Path) -> None:
    command = worker_command(tmp_path, device="cuda", plugins=["a.py", "b"])
    assert (
        " ".join(command[1:])
        == f"-m membench.execution.worker --device cuda --out {tmp_path} --plugin a.py --plugin b"
    )
    assert worker_command(tmp_path, data=Path("/sets"))[-2:] == ["--data-dir", "/sets"]


def test_a_worker_is_given_packs_of_the_files_that_it_has_imported_and_no_others() -> None:
    queue = Queue([make_pack("a", file="a.py"), make_pack("b", file="b.py"), make_pack("c")])
    files = frozenset({"b.py"})
    assert queue.take((), (), files).program[2] == "b"
    assert queue.take((), (), files) is None
    assert queue.take((), (), frozenset()).program[2] == "c"
    assert queue.take((), (), None).program[2] == "a"

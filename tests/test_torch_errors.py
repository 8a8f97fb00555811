"""What is known of torch's messages, and that a plugin's own stay its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from membench.testing.subject import describe_error
from membench.text import explain
from membench.torch_errors import torch_says

X = torch.ones(2, 3)


def uses_a_tensor_of_an_earlier_call() -> None:
    kept = []
    torch.vmap(lambda x: (kept.append(x), x)[1])(X)
    kept[0] + 1


@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("a tensor is made a number", lambda: torch.vmap(lambda x: x * x.sum().item())(X)),
        ("an if, while", lambda: torch.vmap(lambda x: x if x.sum() > 0 else -x)(X)),
        ("one of torch's own random", lambda: torch.vmap(lambda x: x * torch.rand(3))(X)),
        ("a mask or a value chooses", lambda: torch.vmap(lambda x: x[x > 0])(X)),
        ("a tensor of an earlier call", uses_a_tensor_of_an_earlier_call),
        ("a tensor is changed in place", lambda: X.clone()[0].requires_grad_().mul_(2)),
    ],
)
def test_what_torch_says_is_put_in_our_own_words(what: str, call: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError) as caught:
        call()
    known = torch_says(caught.value)
    assert known is not None, caught.value
    assert known.what.startswith(what)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the random share must be below 1"),
        ValueError("changed in-place by hand"),
        RuntimeError("no random numbers are left"),
        KeyError("escaped"),
    ],
)
def test_an_error_of_a_plugin_keeps_its_own_message(error: Exception) -> None:
    assert torch_says(error) is None
    assert str(error) in explain(error)
    assert str(error) in describe_error(error)

"""Networks as they come: torchvision's, and others that were not written for membench."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from support.engine import CLASSES
from support.engine import ToyRun
from support.engine import parts
from torch import Tensor
from torch import nn
from torchvision import models

from membench.api import Architecture
from membench.api import Recipe
from membench.engine.adapted import build
from membench.engine.network import batch_norm_buffers
from membench.engine.network import inspect_network
from membench.errors import MembenchError
from membench.nn import BatchNorm
from membench.testing.toy import lane_data

pytestmark = pytest.mark.usefixtures("worker_like")

#: One line each, as an author would write them.
AS_THEY_COME = {
    "resnet18": lambda shape, classes: models.resnet18(num_classes=classes),
    "mobilenet": lambda shape, classes: models.mobilenet_v3_small(num_classes=classes, dropout=0.0),
}
GREY, COLOUR = (1, 32, 32), (3, 32, 32)


def untapped(h: Tensor, kind: str = "hidden") -> Tensor:
    return h


def plain_and_adapted(name: str, shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    """The network as it comes and as the engine takes it, from one seed."""
    torch.manual_seed(3)
    plain = AS_THEY_COME[name](shape, 5)
    torch.manual_seed(3)
    return plain, build(Architecture(name, AS_THEY_COME[name]), shape, 5)


def as_rgb(x: Tensor) -> Tensor:
    return x.expand(-1, 3, -1, -1)


@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["1 channel", "3 channels"])
@pytest.mark.parametrize("name", AS_THEY_COME)
def test_torchvisions_networks_compute_what_they_compute_by_themselves(
    name: str, shape: tuple[int, int, int]
) -> None:
    """In training mode, its gradients and running statistics too, then in evaluation mode."""
    plain, adapted = plain_and_adapted(name, shape)
    x = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    target = torch.arange(6) % 5
    losses = []
    for logits in (plain(as_rgb(x)), adapted(x, untapped)):
        loss = nn.functional.cross_entropy(logits, target)
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    theirs = dict(plain.named_parameters())
    for weight_name, weight in adapted.named_parameters():
        assert torch.allclose(weight.grad, theirs[weight_name].grad, rtol=1e-3, atol=1e-4)
    their_buffers = dict(plain.named_buffers())
    assert batch_norm_buffers(adapted)
    for buffer_name, buffer in batch_norm_buffers(adapted).items():
        assert torch.allclose(buffer, their_buffers[buffer_name], rtol=1e-4, atol=1e-5)
    plain.eval()
    adapted.eval()
    assert torch.allclose(plain(as_rgb(x)), adapted(x, untapped), rtol=1e-3, atol=1e-4)


class Small(nn.Module):
    """A convnet of plain torch, with batch norm, in-place ReLU and pooling."""

    def __init__(self, classes: int, first: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(first, 4, 3, padding=1),
            nn.BatchNorm2d(4, momentum=0.3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Sequential(nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(x).flatten(1)))


SMALL = Architecture("small", lambda shape, classes: Small(classes))


def test_a_lane_is_the_plain_network_trained_by_itself() -> None:
    """Two epochs of the engine, stacked, against a plain loop of torch over the same batches."""
    run = ToyRun((), ((), ()), SMALL, recipe=Recipe(lr=0.1, batch=8, epochs=2))
    trainer = run.trained(epochs=2)
    orders = run.orders(epochs=2)
    data = trainer.data
    for lane in range(2):
        torch.manual_seed(100 + run.seeds[lane])
        plain = Small(CLASSES)
        sgd = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
        x = data.inputs(data.rows[lane : lane + 1], slice(lane, lane + 1))[0]
        for order in orders:
            for batch in order[lane]:
                sgd.zero_grad()
                nn.functional.cross_entropy(plain(x[batch]), data.labels[lane, batch]).backward()
                sgd.step()
        for name, weight in plain.named_parameters():
            assert torch.allclose(trainer.state["params"][name][lane], weight, atol=1e-4), name
        stored = dict(plain.named_buffers())
        for name, buffer in trainer.state["buffers"].items():
            assert torch.allclose(buffer[lane], stored[name], atol=1e-4), name
        accuracy = (plain.eval()(x).argmax(1) == data.labels[lane]).float()
        correct = trainer.evaluate(data.rows, data.labels).correct[lane].float()
        assert torch.equal(accuracy, correct)


def test_its_taps_are_after_its_activations_and_regularizers_act_there() -> None:
    net = inspect_network(SMALL, (1, 8, 8), CLASSES)
    assert net.taps == (("hidden", (4, 8, 8)), ("hidden", (6,)))
    assert net.has_batch_norm
    plain = ToyRun((), ((),), SMALL).trained(epochs=1).state["params"]["head.0.weight"]
    dropped = ToyRun(parts("dropout"), ((0.5,),), SMALL).trained(epochs=1)
    assert not torch.equal(dropped.state["params"]["head.0.weight"], plain)


@pytest.mark.slow
def test_a_small_one_is_compiled_as_others_are() -> None:
    run = ToyRun((), ((), ()), SMALL)
    eager = run.trained(epochs=2).state["params"]
    compiled = run.trained(epochs=2, compiled=True).state["params"]
    for name, weight in eager.items():
        assert torch.allclose(compiled[name], weight, atol=1e-4), name


def plain_gradients(plain: nn.Module, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The gradients of plain torch, in the precision of the network, as doubles."""
    x = as_rgb(x).to(next(plain.parameters()).dtype)
    nn.functional.cross_entropy(plain(x), labels).backward()
    return {name: weight.grad.double() for name, weight in plain.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("name", AS_THEY_COME)
def test_a_compiled_step_of_torchvisions_networks_is_as_exact_as_plain_torch(name: str) -> None:
    """One step, stacked: with maps of 1x1, float32 itself is percents away from float64."""
    recipe = Recipe(lr=0.5, batch=32, epochs=1)
    run = ToyRun(
        (), ((), ()), Architecture(name, AS_THEY_COME[name]), recipe, data=lane_data(2, 32)
    )
    trainer = run.trained(epochs=1, compiled=True)
    before = run.trained(epochs=0).state["params"]
    (batch,) = run.orders(epochs=1)[0][0]
    x = trainer.data.inputs(trainer.data.rows[:1], slice(0, 1))[0][batch]
    labels = trainer.data.labels[0, batch]
    gradients = {}
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(100 + run.seeds[0])
        plain = AS_THEY_COME[name]((1, 8, 8), CLASSES).to(dtype)
        gradients[dtype] = plain_gradients(plain, x, labels)
    single = gradients[torch.float32]
    all_errors, all_of_plain = 0.0, 0.0
    for weight_name, gradient in gradients[torch.float64].items():
        step = before[weight_name][0] - trainer.state["params"][weight_name][0]
        error = ((step.double() / recipe.lr - gradient).norm() / gradient.norm()).item()
        of_plain = ((single[weight_name] - gradient).norm() / gradient.norm()).item()
        assert error <= 3 * of_plain + 1e-3, weight_name
        all_errors += error**2
        all_of_plain += of_plain**2
    assert all_errors <= all_of_plain


def test_the_activations_of_a_gate_are_no_taps() -> None:
    taps = []

    def tap(h: Tensor, kind: str = "hidden") -> Tensor:
        taps.append(tuple(h.shape[1:]))
        return h

    _, adapted = plain_and_adapted("mobilenet", COLOUR)
    adapted.eval()(torch.zeros(1, *COLOUR), tap)
    assert len(taps) > 10
    assert not [
        shape for shape in taps if shape[1:] == (1, 1) and len(shape) == 3 and shape[0] < 96
    ]


def test_a_batch_norm_of_torch_keeps_its_momentum_and_its_names() -> None:
    module = build(SMALL, (1, 8, 8), CLASSES)
    norm = module.features[1]
    assert isinstance(norm, BatchNorm) and norm.momentum == 0.3
    assert "features.1.running_mean" in batch_norm_buffers(module)
    assert {name for name, _ in module.named_parameters()} == {
        name for name, _ in Small(CLASSES).named_parameters()
    }


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, mask: Tensor, more: Tensor) -> Tensor:
        return x


class WithConstant(Small):
    def __init__(self) -> None:
        super().__init__(CLASSES)
        self.register_buffer("scale", torch.ones(1))


def with_rate(rate: float) -> nn.Module:
    module = Small(CLASSES)
    module.dropout = nn.Dropout(rate)
    return module


def cumulative() -> nn.Module:
    """torch's batch norm with the plain average of all batches."""
    module = Small(CLASSES)
    module.features[1] = nn.BatchNorm2d(4, momentum=None)
    return module


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (partial(with_rate, 0.5), r"dropout is Dropout\(p=0.5\): build it with p = 0"),
        (
            lambda: models.mobilenet_v3_small(num_classes=3),
            r"classifier.2 is Dropout\(p=0.2\): .*dropout=0.0",
        ),
        (TwoInputs, r"forward takes \(x: .*mask: .*\).*: write forward\(self, x\)"),
        (WithConstant, r"has buffers \(scale\)"),
        (cumulative, r"has buffers \(features.1.num_batches_tracked.*\)"),
    ],
)
def test_what_cannot_be_trained_here_says_the_line_to_change(
    make: Callable[[], nn.Module], said: str
) -> None:
    with pytest.raises(MembenchError, match=said):
        inspect_network(Architecture("mine", lambda shape, classes: make()), (1, 8, 8), CLASSES)

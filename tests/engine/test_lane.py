"""What a stage function may ask of its lane: the table of design, section 3, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.engine import CLASSES
from support.engine import CNN
from support.engine import MLP
from support.engine import ToyRun
from support.engine import bitwise_equal
from support.engine import lane_data
from support.engine import one_lane
from torch.func import functional_call
from torch.utils._pytree import tree_map

from membench.api import COMMON_FIELDS
from membench.api import STAGE_FIELDS
from membench.api import STAGES
from membench.api import Lane
from membench.api import Params
from membench.api import Recipe
from membench.api import Regularizer
from membench.engine.costs import count_stacked_step
from membench.engine.lane import DRAWS
from membench.engine.lane import LaneView
from membench.engine.step import Step
from membench.engine.step import untapped
from membench.errors import LaneError

#: design, section 3, "lane has besides the common fields"; `clean` is for controls.
TABLE = {
    "batch": "index forward clean",
    "perturb": "",
    "hidden": "index tap kind",
    "loss": "index x params activations forward clean",
    "penalty": "index x y activations forward",
    "grads": "index x y logits gradient",
    "weights": "before",
    "init": "",
    "update": "before index x y logits grads gradient forward",
    "readout": "",
}
SPECIAL = sorted({field for fields in TABLE.values() for field in fields.split()})


def results(stage: str, args: tuple) -> Any:
    """What a function that changes nothing returns at the stage."""
    if stage in ("init", "update"):
        return {"kept": torch.zeros(2)}
    if stage == "penalty":
        return 0.0 * sum(w.sum() for w in args[0].values())
    return args[:2] if stage == "batch" else args[0]


def lanes(group: str = "other") -> dict[str, LaneView]:
    """The lane that each stage of a real step is called with, `hidden` at its last tap."""
    seen: dict[str, LaneView] = {}

    def act(stage: str) -> Any:
        def function(*args: Any) -> Any:
            seen[stage] = args[-1]
            return results(stage, args)

        return function

    acting = Regularizer("all", (1.0,), group=group, **{stage: act(stage) for stage in STAGES})
    toy_run = ToyRun((acting,), ((0.5,),))
    trainer, order = toy_run.trainer(), toy_run.orders()[0]
    trainer.train_epoch(order)
    with torch.no_grad():
        trainer.evaluate(trainer.data.rows, trainer.data.labels)
    return seen


@pytest.fixture(scope="module")
def seen() -> dict[str, LaneView]:
    return lanes()


def test_every_stage_is_called(seen: dict[str, LaneView]) -> None:
    assert sorted(seen) == sorted(STAGES) == sorted(TABLE)


@pytest.mark.parametrize("stage", STAGES)
def test_common_fields_are_there_in_every_stage(seen: dict[str, LaneView], stage: str) -> None:
    missing = {field for field in set(COMMON_FIELDS) - {"state"} if not hasattr(seen[stage], field)}
    assert missing == set()
    assert hasattr(seen[stage], "state") == (stage != "init")
    for draw in DRAWS:
        assert callable(getattr(seen[stage], draw))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_the_fields_of_the_table_and_no_other(
    seen: dict[str, LaneView], stage: str
) -> None:
    there = {field for field in SPECIAL if hasattr(seen[stage], field)}
    assert there == set(TABLE[stage].split()) - {"clean"}


@pytest.mark.parametrize(
    ("stage", "field"),
    [(s, f) for s in STAGES for f in SPECIAL if f not in TABLE[s].split()],
    ids="-".join,
)
def test_a_field_of_another_stage_is_refused_with_field_stage_and_where_it_is_valid(
    seen: dict[str, LaneView], stage: str, field: str
) -> None:
    valid = ", ".join(s for s in STAGES if field in TABLE[s].split())
    with pytest.raises(LaneError) as error:
        getattr(seen[stage], field)
    assert str(error.value) == f"lane.{field} is not there in stage {stage!r}: it is in {valid}"


@pytest.mark.parametrize("stage", STAGES)
def test_an_invented_field_is_refused_with_the_ones_there_are(
    seen: dict[str, LaneView], stage: str
) -> None:
    with pytest.raises(
        LaneError, match=rf"lane\.epoch does not exist in stage .{stage}.: there are .*, step,"
    ):
        _ = seen[stage].epoch


def test_a_misspelt_field_is_refused_with_the_nearest_one(seen: dict[str, LaneView]) -> None:
    with pytest.raises(
        LaneError, match=r"lane\.strenght does not exist .*did you mean lane\.strength\?"
    ):
        _ = seen["batch"].strenght


def test_init_has_no_state_and_says_why(seen: dict[str, LaneView]) -> None:
    with pytest.raises(
        LaneError, match=r"lane\.state is not there in stage 'init': init is what makes it"
    ):
        _ = seen["init"].state


@pytest.mark.parametrize("stage", ["batch", "loss"])
def test_only_controls_see_what_is_clean(seen: dict[str, LaneView], stage: str) -> None:
    with pytest.raises(LaneError, match=r"lane\.clean: only .*'control'"):
        _ = seen[stage].clean
    assert lanes("control")[stage].clean.shape == (8,)


def reachable(value: Any, seen: set[int]) -> Iterator[Any]:
    """All that attributes lead to, recursively; a function's closure is not of the contract."""
    if id(value) not in seen and not isinstance(
        value, (int, float, str, tuple, torch.Tensor, ModuleType)
    ):
        seen.add(id(value))
        yield value
        for name in dir(value):
            if not name.startswith("__"):
                yield from reachable(getattr(value, name, None), seen)


@pytest.mark.parametrize(
    ("stage", "field"),
    [
        ("batch", "forward"),
        ("loss", "forward"),
        ("grads", "gradient"),
        ("update", "forward"),
        ("update", "gradient"),
    ],
)
def test_no_attribute_of_what_a_lane_can_call_leads_to_the_step(
    seen: dict[str, LaneView], stage: str, field: str
) -> None:
    """The step knows which examples are corrupted."""
    met = list(reachable(getattr(seen[stage], field), set()))
    assert met and not any(isinstance(value, Step) or hasattr(value, "clean") for value in met)


def test_a_lane_error_is_an_attribute_error() -> None:
    assert issubclass(LaneError, AttributeError)  # hasattr works


def test_the_api_page_names_the_fields_that_there_are() -> None:
    declared = set(Lane.__annotations__) | {name for name in vars(Lane) if not name.startswith("_")}
    assert declared == {*COMMON_FIELDS, *STAGE_FIELDS, *DRAWS}
    assert set(STAGE_FIELDS) == set(SPECIAL)
    for field, stages in STAGE_FIELDS.items():
        assert set(stages) == {s for s in STAGES if field in TABLE[s].split()}


def step(strength: float = 0.5, t: int = 7, **stages: Any) -> Any:
    toy_run = ToyRun((Regularizer("part", (1.0,), **stages),), ((strength,),), steps=40)
    return one_lane(toy_run.trainer(), toy_run.orders()[0], t)


def test_common_fields_hold_what_their_names_say() -> None:
    s = step()
    lane = s.lane(0, "perturb")
    assert (lane.steps, lane.num_classes, lane.num_examples) == (40, CLASSES, 24)
    assert all(type(v) is int for v in (lane.steps, lane.num_classes, lane.num_examples))
    assert lane.step.shape == lane.lr.shape == lane.strength.shape == lane.progress.shape == ()
    assert (lane.step.item(), lane.progress.item()) == (7, pytest.approx(7 / 40))
    assert lane.step.dtype == torch.int32
    assert (lane.lr.item(), lane.strength.item()) == (pytest.approx(0.1), 0.5)
    assert bitwise_equal(lane.initial, s.params)


@pytest.mark.parametrize("float_pool", [False, True])
def test_a_pixel_is_one_grey_level_in_units_of_x(float_pool: bool) -> None:
    toy_run = ToyRun(
        (Regularizer("part", (1.0,)),), ((1.0,),), data=lane_data(1, float_pool=float_pool)
    )
    s = one_lane(toy_run.trainer(), toy_run.orders()[0])
    raw = toy_run.data.images[toy_run.data.rows[0, s.index]].float()
    grey = raw * (255 if float_pool else 1)
    pixel = s.lane(0, "batch").pixel
    assert pixel.shape == (1, 1, 1)
    assert torch.allclose((grey - grey[0]) * pixel, s.x - s.x[0], atol=1e-5)


def test_taps_are_counted_and_branches_named() -> None:
    found = []

    def hidden(h: torch.Tensor, lane: LaneView) -> torch.Tensor:
        found.append((lane.tap, lane.kind, tuple(h.shape)))
        return h

    toy_run = ToyRun((Regularizer("note", (1.0,), hidden=hidden),), ((1.0,),), architecture=CNN)
    s = one_lane(toy_run.trainer(), toy_run.orders()[0])
    s.gradient(s.params, 1)
    assert found == [(0, "hidden", (8, 5, 2, 2)), (1, "branch", (8, 20))]


def test_activations_are_the_taps_after_hidden() -> None:
    found = {}

    def penalty(params: Any, lane: LaneView) -> torch.Tensor:
        found["penalty"] = [a.detach() for a in lane.activations]
        return lane.activations[0].sum() * 0

    def loss(
        losses: torch.Tensor, logits: torch.Tensor, y: torch.Tensor, lane: LaneView
    ) -> torch.Tensor:
        found["loss"] = [a.detach() for a in lane.activations]
        lane.forward(lane.x, train=True), lane.forward(lane.x)
        return losses

    s = step(hidden=lambda h, lane: h + 7, penalty=penalty, loss=loss)
    s.gradient(s.params, 1)
    assert [a.shape for a in found["loss"]] == [(8, 6), (8, 5)]
    assert bitwise_equal(found["loss"], found["penalty"])
    assert min(a.min() for a in found["loss"]) >= 7


def test_each_part_of_a_composition_has_its_own_strength_and_state() -> None:
    def counter(name: str, scale: float) -> Regularizer:
        def update(params: dict, lane: Any) -> dict:
            return {"n": lane.state["n"] + lane.strength}

        return Regularizer(
            name, (1.0,), init=lambda params, lane: {"n": lane.strength * scale}, update=update
        )

    trainer = ToyRun((counter("one", 10), counter("two", 100)), ((0.5, 0.25),)).trained(epochs=1)
    assert [state["n"].tolist() for state in trainer.state["states"]] == [
        [5 + 3 * 0.5],
        [25 + 3 * 0.25],
    ]


# --- what `update` sees ---------------------------------------------------------------------------


def take_step(toy_run: ToyRun) -> dict[str, Any]:
    """Take the first step of one lane as it is: not stacked, so that stages can keep tensors."""
    trainer = toy_run.trainer()
    state, constants = (tree_map(lambda v: v[0], t) for t in (trainer.state, trainer.constants))
    s = one_lane(trainer, toy_run.orders()[0])
    batch = {"x": s.x, "y": s.y, "index": s.index, "clean": s.clean}
    return toy_run.program.step(state, constants, batch, torch.tensor(0, dtype=torch.int32))


def plain_gradient(params: Params, x: torch.Tensor, y: torch.Tensor) -> Params:
    """The gradient of the mean cross-entropy, by torch's autograd and torch's own loss."""
    variables = {name: w.detach().clone().requires_grad_() for name, w in params.items()}
    loss = F.cross_entropy(functional_call(plain_module(), variables, (x, untapped)), y.argmax(1))
    grads = torch.autograd.grad(loss, list(variables.values()))
    return dict(zip(variables, grads, strict=True))


def plain_module() -> torch.nn.Module:
    return MLP.build((1, 8, 8), CLASSES)


def assert_close(actual: Params, expected: Params) -> None:
    for name, values in expected.items():
        assert torch.allclose(actual[name], values, atol=1e-6, rtol=1e-4), name


def test_update_sees_the_optimizer_s_gradient_the_objective_s_and_the_network() -> None:
    seen: dict[str, Any] = {}

    def perturb(params: Params, lane: Any) -> Params:
        seen["noise"] = {name: lane.normal(w.shape) for name, w in params.items()}
        return {name: w + 0.1 * seen["noise"][name] for name, w in params.items()}

    def update(params: Params, lane: Any) -> dict[str, Any]:
        seen.update(params=params, before=lane.before, x=lane.x, y=lane.y, grads=lane.grads)
        seen["whole"] = lane.gradient(lane.before)
        seen["rows"] = lane.gradient(lane.before, torch.tensor([3, 1]))
        seen["logits"], seen["old"] = lane.forward(lane.x), lane.forward(lane.x, lane.before)
        return {}

    left = Regularizer("left", (1.0,), grads=lambda g, p, lane: {k: 2 * v for k, v in g.items()})
    right = Regularizer(
        "right",
        (1.0,),
        perturb=perturb,
        grads=lambda g, p, lane: {k: v + 1 for k, v in g.items()},
        update=update,
    )
    take_step(ToyRun((left, right), ((1.0, 1.0),)))
    x, y, before = seen["x"], seen["y"], seen["before"]
    moved = {name: w + 0.1 * seen["noise"][name] for name, w in before.items()}
    whole, rows = plain_gradient(moved, x, y), plain_gradient(moved, x[[3, 1]], y[[3, 1]])
    assert_close(seen["grads"], {name: 2 * g + 1 for name, g in whole.items()})
    # `gradient` is that of the `grads` stage: the parts to the left have acted, this one has not
    assert_close(seen["whole"], {name: 2 * g for name, g in whole.items()})
    assert_close(seen["rows"], {name: 2 * g for name, g in rows.items()})
    assert_close(
        seen["params"], {name: w - 0.1 * seen["grads"][name] for name, w in before.items()}
    )
    for logits, params in (("logits", seen["params"]), ("old", before)):
        expected = functional_call(plain_module(), params, (x, untapped))
        assert torch.allclose(seen[logits], expected, atol=1e-6)


def test_the_gradient_of_update_has_the_step_s_draws_and_its_forward_has_fresh_ones() -> None:
    seen: dict[str, Any] = {}

    def update(params: Params, lane: Any) -> dict[str, Any]:
        seen["same"] = bitwise_equal(lane.gradient(lane.before), lane.grads)
        seen["tapped"] = [lane.forward(lane.x, lane.before, train=True) for _ in range(2)]
        seen["main"] = lane.logits
        return {}

    noisy = Regularizer(
        "noisy", (1.0,), hidden=lambda h, lane: h + lane.normal(h.shape), update=update
    )
    take_step(ToyRun((noisy,), ((1.0,),)))
    assert seen["same"]
    first, second = seen["tapped"]
    assert not torch.allclose(first, second)
    assert not torch.allclose(first, seen["main"])


def test_what_update_could_see_and_does_not_ask_for_costs_nothing() -> None:
    def counted(**stages: Any) -> tuple[int, int]:
        run = ToyRun((Regularizer("part", (1.0,), **stages),), ((1.0,),))
        count = count_stacked_step(run.trainer())
        return count.flops, count.kernels

    def ask(params: Params, lane: Any) -> dict[str, Any]:
        lane.gradient(params)
        return {}

    assert counted(update=lambda params, lane: {}) == counted(weights=lambda params, lane: params)
    assert counted(update=ask)[0] == 2 * counted()[0]


# --- the mean rate --------------------------------------------------------------------------------


@pytest.mark.parametrize(("schedule", "mean"), [("constant", 0.3), ("cosine", 0.3 * 41 / 80)])
def test_the_mean_rate_is_that_of_the_recipe_s_steps(schedule: str, mean: float) -> None:
    """Half of the sum over 40 steps of 1 + cos(pi t / 40) is 41 / 2."""
    recipe = Recipe(lr=0.3, batch=8, schedule=schedule)
    toy_run = ToyRun((Regularizer("part", (1.0,)),), ((1.0,),), recipe=recipe, steps=40)
    lanes = [
        one_lane(toy_run.trainer(), toy_run.orders()[0], t).lane(0, "weights") for t in range(40)
    ]
    assert lanes[7].mean_lr == pytest.approx(mean, rel=1e-9)
    assert torch.stack([lane.lr for lane in lanes]).mean().item() == pytest.approx(mean, rel=1e-5)

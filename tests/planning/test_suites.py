"""Suites as a command asks for them: what they are called, their seeds, splits and recipes."""

from __future__ import annotations

import re
from dataclasses import asdict
from dataclasses import replace

import pytest
from support.plans import SUITE
from support.plans import entry
from support.plans import plan_of
from support.plans import registry
from support.suites import shipped_suite

from membench.api import Recipe
from membench.api import Split
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.planning.suites import default_split
from membench.planning.suites import narrow
from membench.planning.suites import recipe_of
from membench.planning.suites import split_of

QUICK = shipped_suite("quick")


def is_custom(name: str) -> bool:
    return re.fullmatch("quick-custom-[0-9a-f]{4}", name) is not None


def test_a_data_set_without_a_split_in_the_suite_gets_a_default_one() -> None:
    assert default_split(1797, 0) == Split(test=718, train=539, validation=539)
    assert default_split(60000, 10000) == Split(test=10000, train=1000, validation=1000)


def test_a_requested_training_size_leaves_images_for_validation() -> None:
    assert default_split(60000, 10000, 5000) == Split(test=10000, train=5000, validation=1000)
    assert default_split(60000, 10000, 59900) == Split(test=10000, train=59900, validation=100)
    assert default_split(1797, 0, 60) == Split(test=718, train=60, validation=539)
    assert split_of(narrow(QUICK, train=500), "mnist5k") == Split(2000, 500, 1000)


def test_requested_epochs_replace_those_of_the_suite_and_of_the_architecture() -> None:
    plugins = registry(mlp={"recipe": asdict(Recipe(lr=0.3, epochs=9))})
    assert recipe_of(QUICK, plugins, "mnist5k/mlp") == Recipe(lr=0.05, epochs=50)
    assert recipe_of(QUICK, plugins, "digits/mlp") == Recipe(lr=0.3, epochs=9)
    short = narrow(QUICK, epochs=2)
    assert recipe_of(short, plugins, "mnist5k/mlp") == Recipe(lr=0.05, epochs=2)
    assert recipe_of(short, plugins, "digits/mlp") == Recipe(lr=0.3, epochs=2)
    lion = narrow(QUICK, optimizer="lion", lr=0.001)
    assert recipe_of(lion, plugins, "mnist5k/mlp") == Recipe("lion", lr=0.001, epochs=50)


def test_a_part_of_a_suite_keeps_its_name_and_anything_else_gets_another() -> None:
    assert narrow(QUICK) == QUICK
    part = narrow(QUICK, datasets=("mnist5k",), architectures=("mlp",))
    assert (part.name, part.architectures) == ("quick", ("mlp",))
    assert is_custom(narrow(QUICK, datasets=("digits",)).name)
    assert is_custom(narrow(QUICK, architectures=("mlp", "vit")).name)
    assert is_custom(narrow(QUICK, train=500).name)
    assert is_custom(narrow(QUICK, epochs=5).name)
    assert is_custom(narrow(QUICK, optimizer="lion").name)
    assert is_custom(narrow(QUICK, lr=0.5).name)


def test_other_wishes_get_other_boards_and_parts_of_one_wish_share_theirs() -> None:
    wishes = (
        {"epochs": 5},
        {"epochs": 6},
        {"train": 5},
        {"lr": 0.5},
        {"optimizer": "lion"},
        {"optimizer": "lion", "lr": 0.5},
        {"seeds": (7,)},
        {"signals": ("real", "randY")},
        {"datasets": ("digits",)},
        {"architectures": ("vit",)},
        {"architectures": ("mlp", "vit", "mlp-mixer")},
    )
    names = [narrow(QUICK, **wish).name for wish in wishes]
    assert len(set(names)) == len(names)
    part = narrow(QUICK, epochs=5, architectures=("mlp",))
    assert part.name == names[0], "a part of the suite's networks, of the same budget"


def test_requested_seeds_replace_the_confirming_ones_in_a_suite_of_another_name() -> None:
    custom = narrow(QUICK, seeds=(20, 21))
    assert is_custom(custom.name)
    assert (custom.choosing, custom.confirming) == ((0, 1, 2), (20, 21))
    assert is_custom(narrow(QUICK, seeds=(3, 4)).name)
    assert narrow(QUICK, seeds=QUICK.confirming[::-1]) == QUICK


def test_a_requested_seed_on_which_the_suite_chooses_is_refused() -> None:
    with pytest.raises(MembenchError) as refused:
        narrow(QUICK, seeds=(2, 3))
    assert str(refused.value) == (
        "--seeds: suite 'quick' chooses strengths on seed 2, so it cannot be read there; "
        "give other seeds than 0, 1, 2"
    )
    assert refused.value.code == ExitCode.USAGE


def test_requested_signals_replace_those_of_the_suite_in_one_of_another_name() -> None:
    custom = narrow(QUICK, signals=("mixed@0.2", "my-noise", "mixed@0.2"))
    assert is_custom(custom.name) and custom.signals == ("mixed@0.2", "my-noise")
    assert is_custom(narrow(QUICK, signals=("real", "randY")).name)
    assert narrow(QUICK, signals=("randY", "mixed@0.4", "real")) == QUICK


def test_what_is_uncalibrated_is_left_out_unless_it_is_asked_for_by_name() -> None:
    suite = replace(
        QUICK,
        datasets=("mnist5k", "digits"),
        splits={**QUICK.splits, "digits": Split(400, 30, 200)},
        uncalibrated={"digits": "too few", "cnn": "too slow"},
    )
    planned = narrow(suite)
    assert (planned.name, planned.datasets, planned.architectures) == (
        "quick",
        ("mnist5k",),
        ("mlp",),
    )
    assert planned.left_out == {"digits": "too few", "cnn": "too slow"}
    asked = narrow(suite, datasets=("digits",), architectures=("mlp", "cnn"))
    assert (asked.name, asked.datasets, asked.architectures, asked.left_out) == (
        "quick",
        ("digits",),
        ("mlp", "cnn"),
        {},
    )


def test_requested_probes_come_to_those_of_the_suite_and_leave_it_its_name() -> None:
    probing = narrow(QUICK, probes=("margin", "csr", "margin"))
    assert (probing.name, probing.probes) == ("quick", ("margin", "csr"))
    assert narrow(probing, probes=("norms",)).probes == ("margin", "csr", "norms")


@pytest.mark.parametrize(
    ("name", "version", "choosing", "confirming"),
    [
        ("smoke", 4, (0,), (1, 2)),
        ("quick", 2, (0, 1, 2), tuple(range(3, 13))),
        ("quick-adamw", 1, (0, 1, 2), tuple(range(3, 13))),
        ("quick-noise", 1, (0, 1, 2), tuple(range(3, 13))),
        ("fashion", 2, (0, 1, 2), tuple(range(3, 13))),
        ("standard", 3, (0, 1, 2), tuple(range(3, 8))),
    ],
)
def test_the_shipped_suites_have_the_seeds_of_the_protocol(
    name: str, version: int, choosing: tuple[int, ...], confirming: tuple[int, ...]
) -> None:
    suite = shipped_suite(name)
    assert (suite.name, suite.version) == (name, version)
    assert (suite.choosing, suite.confirming) == (choosing, confirming)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            Recipe("lion"),
            "recipe of dots/mlp: unknown optimizer 'lion'; known: adamw, sgd",
        ),
        (
            Recipe(schedule="step"),
            "recipe of dots/mlp: unknown schedule 'step'; known: constant, cosine, warmup-cosine",
        ),
    ],
)
def test_an_unknown_optimizer_or_schedule_is_refused_when_it_is_planned(
    recipe: Recipe, message: str
) -> None:
    suite = replace(SUITE, recipes={("dots", "mlp"): recipe})
    with pytest.raises(MembenchError) as refused:
        plan_of(suite)
    assert str(refused.value) == message
    assert refused.value.code == ExitCode.USAGE


def test_a_registered_optimizer_is_planned() -> None:
    suite = replace(SUITE, recipes={("dots", "mlp"): Recipe("lion", schedule="warmup-cosine")})
    plan = plan_of(suite, registry(entry("optimizers", "lion")))
    assert plan.packs()[0].recipe.optimizer == "lion"

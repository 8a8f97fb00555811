"""The list of the checks, by kind of record, in the order in which they run. No torch."""

from __future__ import annotations

from membench.testing.subject import Check
from membench.testing.table_others import ARCHITECTURES
from membench.testing.table_others import DATASETS
from membench.testing.table_others import QUIET
from membench.testing.table_others import SAID
from membench.testing.table_others import SIGNALS

SEES = Check(
    "tensors-only",
    "the file reaches for nothing but tensors",
    "use torch, numpy and math alone; what a run needs is on lane",
    "said:tensors_only",
)
REGULARIZERS = (
    *SAID,
    Check(
        "units",
        "the docstring says what a strength is, with unit and range",
        'add a sentence "Strength: the rate, 0 to below 1."',
        "said:units",
        warns=True,
    ),
    Check("grid", "strengths are finite and go from weak to strong", "order them away from off", "said:grid"),
    SEES,
    QUIET,
    Check("skip", "skip returns None or a reason", "return None, or a string that says why", "stages:skip"),
    Check(
        "lane-only",
        "functions use the lane's fields and nothing behind them",
        'use only what README, "The contract", lists: the rest changes without notice',
        "stages:lane_only",
    ),
    Check("calls", "every function can be called", "mend the error", "stages:calls", ("lane-only",)),
    Check(
        "shapes", "functions return the shapes and types they were given", "return these", "stages:shapes", ("calls",)
    ),
    Check("stacks", "a step runs stacked over lanes, on an MLP", "write for tensors", "runs:stacks", ("shapes",)),
    Check(
        "off-value",
        "at off each function returns its input to the last bit, and its gradient",
        "write the formula so that off leaves everything as it is: a mix (1 - s) * plain + s * other, or another off",
        "stages:off_value",
        ("shapes",),
    ),
    Check(
        "off-run",
        "training at off is training without it, to the last bit",
        "let every stage do nothing at off: weights, slots and readout too",
        "runs:off_run",
        ("stacks", "off-value"),
    ),
    Check(
        "acts",
        "the strongest strength changes the weights, and is not the second strongest",
        "use lane.strength, and let the grid reach to where real accuracy breaks",
        "runs:acts",
        ("stacks",),
    ),
    Check(
        "near-off",
        "a strength a hair from off does nearly nothing",
        "let the effect grow from off on, or mix it in: (1 - s) * plain + s * other",
        "runs:near_off",
        ("stacks", "off-value", "off-run"),
    ),
    Check(
        "finite",
        "at every strength, losses, weights and gradients stay finite",
        "take eps into roots and quotients, log_softmax for log(softmax), or end the grid earlier",
        "runs:finite",
        ("stacks",),
    ),
    Check(
        "finite-at-edges",
        "confident logits, zero gradients, zero weights and zero inputs give finite values and gradients",
        "log_softmax for log(softmax); clamp_min before a quotient, an eps below a root: sqrt has no gradient at 0",
        "edges:finite_at_edges",
        ("shapes",),
    ),
    Check(
        "labels",
        "labels stay shares that add up to 1",
        "mix y with the weights that x is mixed with",
        "stages:labels",
        ("shapes",),
        warns=True,
    ),
    Check(
        "inputs-untouched",
        "functions leave what they are given as it was",
        "write a new tensor: h * mask, not h *= mask; dict(params), not params[name] = ...",
        "stages:inputs_untouched",
        ("calls",),
    ),
    Check(
        "globals-untouched",
        "random state, torch's settings, environment and folder are left alone",
        "set nothing; draw from lane.uniform, lane.normal or lane.permutation",
        "watch:globals_untouched",
        ("calls",),
    ),
    Check(
        "keeps-nothing",
        "nothing is kept between calls but in lane.state",
        "return what must last from init and update, read it from lane.state",
        "watch:keeps_nothing",
        ("calls",),
    ),
    Check(
        "looks-nowhere",
        "functions open no file, walk no stack and start nothing",
        "compute from the arguments and lane alone",
        "watch:looks_nowhere",
        ("calls",),
    ),
    Check(
        "repeats",
        "the same key gives the same result",
        "draw from lane; read no clock, counter or global",
        "runs:repeats",
        ("stacks",),
    ),
    Check(
        "draws",
        "another key gives other results, where it draws",
        "use what is drawn, or do not draw",
        "runs:draws",
        ("stacks",),
    ),
    Check(
        "neighbours",
        "a lane alone is the same lane among others",
        "use nothing that other runs can change",
        "runs:neighbours",
        ("stacks",),
    ),
    Check(
        "interrupted",
        "a run that stops and goes on ends where an uninterrupted one does",
        "keep all that lasts in the state that init and update return",
        "runs:interrupted",
        ("stacks", "repeats"),
    ),
    Check(
        "penalty-gradient",
        "the penalty's gradient is that of finite differences",
        "no detach, no_grad, round or argmax between params and the penalty",
        "stages:penalty_gradient",
        ("shapes",),
    ),
    Check(
        "last-batch",
        "a batch of another size works",
        "take sizes from the arguments' shapes, never a constant",
        "edges:last_batch",
        ("shapes",),
    ),
    Check(
        "batch-of-one",
        "a batch of one works and stays finite",
        "no variance over a batch of one: use unbiased=False or a mean",
        "edges:batch_of_one",
        ("shapes", "finite"),
    ),
    Check(
        "on-cnn", "it works on [n, c, h, w] taps", "sum over h.flatten(1), not over axis 1", "runs:on_cnn", ("stacks",)
    ),
    Check(
        "on-vit",
        "it works on [n, tokens, features] taps",
        "sum over h.flatten(1), not over given axes",
        "runs:on_vit",
        ("stacks",),
    ),
    Check(
        "composes",
        "with dropout on either side it runs, and a dropout at off changes nothing",
        "act on what the stage is given, not on lane.initial or a copy",
        "runs:composes",
        ("stacks",),
    ),
    Check(
        "no-wait",
        "a step never makes a GPU wait for the host",
        "no .item(), no nonzero, no boolean index: torch.where, or a sum with weights",
        "traces:no_wait",
        ("stacks",),
        lenient=True,
    ),
    Check(
        "one-device",
        "every tensor is made on the lane's device",
        "name the device: torch.arange(n, device=x.device), or x.new_zeros(n)",
        "traces:one_device",
        ("stacks",),
        lenient=True,
    ),
    Check(
        "one-graph",
        "torch.compile takes each function in one graph",
        "plain torch operations only: no print, no try, no numpy; else it runs uncompiled, which is slower",
        "traces:one_graph",
        ("stacks",),
        lenient=True,
    ),
    Check(
        "no-warnings",
        "a step raises no warning",
        "mend what the warning names",
        "traces:no_warnings",
        ("stacks",),
        True,
    ),
    Check(
        "cost",
        "a step costs at most 10 times the plain one",
        "no loop over examples or weights: one tensor operation for all",
        "traces:cost",
        ("stacks",),
        warns=True,
    ),
)


CHECKS: dict[str, dict[str, Check]] = {
    kind: {check.name: check for check in checks}
    for kind, checks in (
        ("regularizers", REGULARIZERS),
        ("architectures", ARCHITECTURES),
        ("datasets", DATASETS),
        ("signals", SIGNALS),
    )
}

"""The table of all checks: for each kind of plugin, in the order in which they run.

A check names its function as "module:function", so that this table imports no torch. Its name is
a word of `membench check -k` and does not change.
"""

from __future__ import annotations

from dataclasses import replace

from membench.testing.check import Check

# --- every kind -----------------------------------------------------------------------------------

SUMMARY = Check(
    name="summary",
    title="the docstring's first sentence says what it is",
    mend="write it in 20 to 160 letters",
    function="static:summary",
)
SOURCE = Check(
    name="source",
    title="the docstring names a source with a year",
    mend="add authors, title and year after it",
    function="static:source",
)
#: Of data and networks, which may be one's own.
SOURCE_WANTED = replace(
    SOURCE,
    mend="add authors, title and year after it; of your own, your name and the year",
    warns=True,
)
QUIET = Check(
    name="import-is-quiet",
    title="importing the file changes no global state",
    mend="do nothing at import but define functions",
    function="side_effect_checks:import_is_quiet",
)

# --- what trains ----------------------------------------------------------------------------------

NO_WAIT = Check(
    name="no-wait",
    title="a step never makes a GPU wait for the host",
    mend="no .item(), no nonzero, no boolean index: torch.where, or a sum with weights",
    function="gpu_checks:no_wait",
    needs=("stacks",),
    lenient=True,
)
ONE_DEVICE = Check(
    name="one-device",
    title="every tensor is made on the lane's device",
    mend="name the device: torch.arange(n, device=x.device), or x.new_zeros(n)",
    function="gpu_checks:one_device",
    needs=("stacks",),
)
ONE_GRAPH = Check(
    name="one-graph",
    title="the compiler takes a step in one graph",
    mend="plain torch operations on the tensors that it is given: none that a module or a "
    "closure keeps, no numpy; else it runs uncompiled, which is slower",
    function="gpu_checks:one_graph",
    needs=("stacks",),
    lenient=True,
)
NO_WARNINGS = Check(
    name="no-warnings",
    title="a step raises no warning",
    mend="mend what the warning names",
    function="gpu_checks:no_warnings",
    needs=("stacks",),
    warns=True,
)

# --- regularizers ---------------------------------------------------------------------------------

REGULARIZERS = (
    SUMMARY,
    SOURCE,
    Check(
        name="units",
        title="the docstring says what a strength is, with unit and range",
        mend='add a sentence "Strength: the rate, 0 to below 1."',
        function="static:units",
        warns=True,
    ),
    Check(
        name="grid",
        title="strengths are finite and go from weak to strong",
        mend="order them away from off",
        function="static:grid",
    ),
    Check(
        name="tensors-only",
        title="the file reaches for nothing but tensors",
        mend="use torch, numpy and math alone; what a run needs is on lane",
        function="static:tensors_only",
    ),
    QUIET,
    Check(
        name="skip",
        title="skip returns None or a reason, and leaves a network to check it on",
        mend="return None, or a string that says why",
        function="stage_checks:skip",
    ),
    Check(
        name="lane-only",
        title="functions use the lane's fields and nothing behind them",
        mend='use only what plugins/README.md lists as "The contract": the rest may change',
        function="stage_checks:lane_only",
        needs=("skip",),
    ),
    Check(
        name="calls",
        title="every function can be called",
        mend="mend the error",
        function="stage_checks:calls",
        needs=("lane-only",),
    ),
    Check(
        name="shapes",
        title="functions return the shapes and types they were given",
        mend="return these",
        function="stage_checks:shapes",
        needs=("calls",),
    ),
    Check(
        name="inputs-untouched",
        title="functions leave what they are given as it was",
        mend="write a new tensor: h * mask, not h *= mask; dict(params), not params[name] = ...",
        function="stage_checks:inputs_untouched",
        needs=("shapes",),
    ),
    Check(
        name="stacks",
        title="a step runs stacked over lanes, on an MLP",
        mend="write for tensors",
        function="training_checks:stacks",
        needs=("inputs-untouched",),
    ),
    Check(
        name="finite",
        title="at every strength, losses, weights and gradients stay finite",
        mend="take eps into roots and quotients, log_softmax for log(softmax), "
        "or end the grid earlier",
        function="training_checks:finite",
        needs=("stacks",),
    ),
    Check(
        name="off-value",
        title="at off each function returns its input, and its gradient, up to rounding",
        mend="write the formula so that off leaves everything as it is: "
        "a mix (1 - s) * plain + s * other, or another off",
        function="stage_checks:off_value",
        needs=("shapes", "finite"),
    ),
    Check(
        name="off-run",
        title="training at off is training without it, up to rounding",
        mend="let every stage do nothing at off: weights, slots and readout too",
        function="training_checks:off_run",
        needs=("stacks", "off-value"),
    ),
    Check(
        name="acts",
        title="the strongest strength changes the weights, and is not the second strongest",
        mend="use lane.strength, and let the grid reach to where real accuracy breaks",
        function="training_checks:acts",
        needs=("finite", "off-run"),
    ),
    Check(
        name="near-off",
        title="a strength a hair from off does nearly nothing",
        mend="let the effect grow from off on, or mix it in: (1 - s) * plain + s * other",
        function="training_checks:near_off",
        needs=("acts",),
    ),
    Check(
        name="limit",
        title="at limit, the natural end of the grid, training stays finite",
        mend="give the strongest value that makes sense, or no limit where there is none",
        function="stage_checks:limit",
        needs=("finite",),
    ),
    Check(
        name="finite-at-edges",
        title="confident logits, zero gradients, zero weights and zero inputs "
        "give finite values and gradients",
        mend="log_softmax for log(softmax); clamp_min before a quotient, an eps below a root: "
        "sqrt has no gradient at 0",
        function="stage_checks:finite_at_edges",
        needs=("shapes", "finite"),
    ),
    Check(
        name="labels",
        title="labels stay shares that add up to 1",
        mend="mix y with the weights that x is mixed with",
        function="stage_checks:labels",
        needs=("finite",),
        warns=True,
    ),
    Check(
        name="globals-untouched",
        title="random state, torch's settings, environment and folder are left alone",
        mend="set nothing; draw from lane.uniform, lane.normal or lane.permutation",
        function="side_effect_checks:globals_untouched",
        needs=("stacks",),
    ),
    Check(
        name="keeps-nothing",
        title="nothing is kept between calls but in lane.state",
        mend="return what must last from init and update, read it from lane.state",
        function="side_effect_checks:keeps_nothing",
        needs=("inputs-untouched",),
    ),
    Check(
        name="looks-nowhere",
        title="functions open no file, walk no stack and start nothing",
        mend="compute from the arguments and lane alone",
        function="side_effect_checks:looks_nowhere",
        needs=("shapes",),
    ),
    Check(
        name="repeats",
        title="the same key gives the same result",
        mend="draw from lane; read no clock, counter or global",
        function="training_checks:repeats",
        needs=("finite",),
    ),
    Check(
        name="draws",
        title="another key gives other results, where it draws",
        mend="use what is drawn, or do not draw",
        function="training_checks:draws",
        needs=("repeats",),
    ),
    Check(
        name="neighbours",
        title="a lane alone is the same lane among others",
        mend="use nothing that other runs can change",
        function="training_checks:neighbours",
        needs=("finite",),
    ),
    Check(
        name="interrupted",
        title="a run that stops and goes on ends where an uninterrupted one does",
        mend="keep all that lasts in the state that init and update return",
        function="training_checks:interrupted",
        needs=("finite", "repeats"),
    ),
    Check(
        name="penalty-gradient",
        title="the penalty's gradient is that of finite differences",
        mend="no detach, no_grad, round or argmax between params and the penalty",
        function="stage_checks:penalty_gradient",
        needs=("finite",),
    ),
    Check(
        name="last-batch",
        title="a batch of another size works",
        mend="take sizes from the arguments' shapes, never a constant",
        function="stage_checks:last_batch",
        needs=("finite",),
    ),
    Check(
        name="batch-of-one",
        title="a batch of one works and stays finite",
        mend="no variance over a batch of one: use unbiased=False or a mean",
        function="stage_checks:batch_of_one",
        needs=("shapes", "finite"),
    ),
    Check(
        name="on-cnn",
        title="it works on [n, c, h, w] taps",
        mend="sum over h.flatten(1), not over axis 1",
        function="training_checks:on_cnn",
        needs=("off-run",),
    ),
    Check(
        name="on-vit",
        title="it works on [n, tokens, features] taps",
        mend="sum over h.flatten(1), not over given axes",
        function="training_checks:on_vit",
        needs=("off-run",),
    ),
    Check(
        name="composes",
        title="with dropout on either side it runs, and a dropout at off changes nothing",
        mend="act on what the stage is given, not on lane.initial or a copy",
        function="training_checks:composes",
        needs=("off-run", "repeats"),
    ),
    NO_WAIT,
    ONE_DEVICE,
    ONE_GRAPH,
    NO_WARNINGS,
    Check(
        name="cost",
        title="a step costs at most 10 times the plain one",
        mend="no loop over examples or weights: one tensor operation for all",
        function="gpu_checks:cost",
        needs=("stacks",),
        warns=True,
    ),
)

# --- architectures --------------------------------------------------------------------------------

ARCHITECTURES = (
    SUMMARY,
    SOURCE_WANTED,
    QUIET,
    Check(
        name="recipe",
        title="the recipe's optimizer is registered and its schedule exists",
        mend="correct the name, or register an Optimizer of this name",
        function="architecture_checks:recipe",
    ),
    Check(
        name="builds",
        title="it builds for small and coloured images",
        mend="take sizes from input_shape",
        function="architecture_checks:builds",
    ),
    Check(
        name="logits",
        title="forward gives [n, classes] finite logits, for one image too",
        mend="end in a layer of num_classes; take n from the input",
        function="architecture_checks:logits",
        needs=("builds",),
    ),
    Check(
        name="float32",
        title="all weights are float32",
        mend="set no type",
        function="architecture_checks:float32",
        needs=("builds",),
    ),
    Check(
        name="same-weights",
        title="torch's seed decides the initial weights, and another seed gives others",
        mend="initialise with torch's functions, in build alone",
        function="architecture_checks:same_weights",
        needs=("builds",),
    ),
    Check(
        name="taps",
        title="hidden activations go through the tap, and what it returns is used",
        mend="write h = tap(h) after each hidden activation, "
        "with h [n, features], [n, tokens, features] or [n, c, h, w]",
        function="architecture_checks:taps",
        needs=("logits",),
    ),
    Check(
        name="steady",
        title="the same images give the same logits",
        mend="no dropout and no random number inside: that is for regularizers",
        function="architecture_checks:steady",
        needs=("logits",),
    ),
    Check(
        name="gradients",
        title="every weight gets a finite gradient",
        mend="use every parameter in forward, detach nothing",
        function="architecture_checks:gradients",
        needs=("logits",),
    ),
    Check(
        name="trains",
        title="the engine trains it, stacked, and the loss falls",
        mend="use membench.nn where vmap has no rule: PatchConv, attention as matmul and softmax",
        function="architecture_checks:trains",
        needs=("gradients", "taps", "recipe"),
    ),
)

# --- data sets ------------------------------------------------------------------------------------

DATASETS = (
    SUMMARY,
    SOURCE_WANTED,
    QUIET,
    Check(
        name="loads",
        title="load gives what Arrays promises",
        mend="mend what the message names",
        function="data_checks:loads",
    ),
    Check(
        name="same-arrays",
        title="load gives the same arrays again",
        mend="sort, and draw nothing",
        function="data_checks:same_arrays",
        needs=("loads",),
    ),
    Check(
        name="values",
        title="images are in range and not all alike, of two classes or more",
        mend="uint8 0-255 or float32 0-1; labels 0 to num_classes - 1",
        function="data_checks:values",
        needs=("loads",),
    ),
    Check(
        name="apart",
        title="no training image is in the test set",
        mend="take the doubles out of the training set",
        function="data_checks:no_shared_images",
        needs=("loads",),
        warns=True,
    ),
)

# --- signals --------------------------------------------------------------------------------------

SIGNALS = (
    SUMMARY,
    SOURCE_WANTED,
    QUIET,
    Check(
        name="applies",
        title="apply gives (x, y, changed) of the right shapes",
        mend="return these; if it needs a level, give levels=True",
        function="data_checks:applies",
    ),
    Check(
        name="levels",
        title="at a higher level it changes more examples, at each named one some",
        mend="change the share `level` of the examples, or leave levels=True out",
        function="data_checks:levels",
        needs=("applies",),
    ),
    Check(
        name="inputs-untouched",
        title="apply leaves its arrays alone",
        mend="copy before writing",
        function="data_checks:arrays_untouched",
        needs=("applies",),
    ),
    Check(
        name="same-bytes",
        title="the same draw gives the same bytes, another one others",
        mend="take all random numbers from draw",
        function="data_checks:same_bytes",
        needs=("applies",),
    ),
    Check(
        name="changed",
        title="what is not marked as changed is as it was",
        mend="mark each example whose inputs or label may be others",
        function="data_checks:changed",
        needs=("applies",),
    ),
    Check(
        name="noise",
        title='noise="labels" leaves inputs alone, noise="inputs" labels; '
        "both leave validation and test alone",
        mend="let noise say what is changed, and return x, y as they are if not train",
        function="data_checks:noise",
        needs=("applies",),
    ),
)

# --- optimizers -----------------------------------------------------------------------------------

OPTIMIZERS = (
    SUMMARY,
    SOURCE,
    Check(
        name="tensors-only",
        title="the file reaches for nothing but tensors",
        mend="use torch, numpy and math alone; what a step needs is in the arguments",
        function="static:tensors_only",
    ),
    QUIET,
    Check(
        name="calls",
        title="init and update can be called",
        mend="write init(params, recipe) and update(params, grads, slots, lr, t, recipe)",
        function="optimizer_checks:calls",
    ),
    Check(
        name="shapes",
        title="init returns a nested dict of tensors; update returns weights and slots like those "
        "that it is given",
        mend="return these",
        function="optimizer_checks:shapes",
        needs=("calls",),
    ),
    Check(
        name="inputs-untouched",
        title="init and update leave what they are given as it was",
        mend="write new tensors and new dicts: {k: w - lr * g for ...}, not w -= lr * g",
        function="optimizer_checks:inputs_untouched",
        needs=("shapes",),
    ),
    Check(
        name="globals-untouched",
        title="random state, torch's settings, environment and folder are left alone",
        mend="set nothing, and draw nothing",
        function="optimizer_checks:globals_untouched",
        needs=("shapes",),
    ),
    Check(
        name="keeps-nothing",
        title="nothing is kept between steps but in the slots",
        mend="return what must last among the slots",
        function="optimizer_checks:keeps_nothing",
        needs=("shapes",),
    ),
    Check(
        name="looks-nowhere",
        title="functions open no file, walk no stack and start nothing",
        mend="compute from the arguments alone",
        function="optimizer_checks:looks_nowhere",
        needs=("shapes",),
    ),
    Check(
        name="repeats",
        title="the same arguments give the same result",
        mend="draw no random number; read no clock, counter or global",
        function="optimizer_checks:repeats",
        needs=("shapes",),
    ),
    Check(
        name="finite-at-edges",
        title="zero gradients and zero weights give finite weights and slots",
        mend="an eps below a root and in a quotient: clamp_min, sqrt(v) + eps",
        function="optimizer_checks:finite_at_edges",
        needs=("shapes",),
    ),
    Check(
        name="stacks",
        title="a step runs stacked over lanes, on an MLP",
        mend="write for tensors: no float(), no if on a tensor",
        function="optimizer_checks:stacks",
        needs=("shapes",),
    ),
    Check(
        name="finite",
        title="losses, weights and slots stay finite",
        mend="keep the step's size in bounds: it is lr that a recipe chooses",
        function="optimizer_checks:finite",
        needs=("stacks",),
    ),
    Check(
        name="neighbours",
        title="a lane alone is the same lane among others",
        mend="use nothing that other runs can change",
        function="optimizer_checks:neighbours",
        needs=("stacks",),
    ),
    Check(
        name="acts",
        title="training moves the weights",
        mend="return other weights than those given",
        function="optimizer_checks:acts",
        needs=("stacks",),
    ),
    Check(
        name="learning-rate",
        title="at a learning rate of 0 the weights stay",
        mend="scale all of the step by lr, decay too: schedules and the control of lower rates act "
        "through it",
        function="optimizer_checks:learning_rate",
        needs=("stacks",),
        warns=True,
    ),
    NO_WAIT,
    ONE_DEVICE,
    ONE_GRAPH,
    NO_WARNINGS,
)

# --- suites ---------------------------------------------------------------------------------------

SUITES = (
    SUMMARY,
    QUIET,
    Check(
        name="names",
        title="data sets, architectures, signals and probes are registered",
        mend="correct the name, or register it",
        function="suite_checks:names",
    ),
    Check(
        name="recipes",
        title="each task's optimizer and schedule are known, and a batch fits into its data",
        mend="correct the recipe",
        function="suite_checks:recipes",
        needs=("names",),
    ),
    Check(
        name="splits",
        title="the data sets that are at hand have as many images as their splits take",
        mend="take fewer",
        function="suite_checks:splits",
        needs=("names",),
    ),
)

# --- probes ---------------------------------------------------------------------------------------

PROBES = (
    SUMMARY,
    SOURCE_WANTED,
    QUIET,
    Check(
        name="measures",
        title="it measures two networks at each checkpoint, on real and on wrong labels",
        mend="return a dict of numbers or 1-d tensors by name, the same names each time",
        function="probe_checks:measures",
    ),
    Check(
        name="finite",
        title="what it measures is finite",
        mend="clamp a count before a quotient: no label may be wrong",
        function="probe_checks:finite",
        needs=("measures",),
        warns=True,
    ),
    Check(
        name="repeats",
        title="the same run gives the same numbers",
        mend="draw from lane; read no clock, counter or global",
        function="probe_checks:repeats",
        needs=("measures",),
    ),
    Check(
        name="leaves-training-alone",
        title="a run with it ends as one without it, to the last bit",
        mend="change nothing that it is given; let update return its own state alone",
        function="probe_checks:leaves_training_alone",
        needs=("measures",),
    ),
)

# --- studies --------------------------------------------------------------------------------------

STUDIES = (
    SUMMARY,
    SOURCE_WANTED,
    QUIET,
    Check(
        name="claim",
        title="the claim is a sentence",
        mend="write what the paper says, so that it can be false",
        function="study_checks:says_its_claim",
    ),
    Check(
        name="plans",
        title="all that its arms name is registered, and their recipes are sound",
        mend="correct the name, register it, or give it in records=",
        function="study_checks:plans",
    ),
    Check(
        name="fits",
        title="each arm has a name of its own, cells, and a batch that its data fill",
        mend="correct the arm",
        function="study_checks:fits",
    ),
    Check(
        name="analyses",
        title="analyse takes the results",
        mend="write def analyse(results)",
        function="study_checks:analyses",
    ),
)

# --- by kind --------------------------------------------------------------------------------------


def _by_name(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.name: check for check in checks}


#: The kinds as the registry names them.
CHECKS: dict[str, dict[str, Check]] = {
    "regularizers": _by_name(REGULARIZERS),
    "architectures": _by_name(ARCHITECTURES),
    "datasets": _by_name(DATASETS),
    "signals": _by_name(SIGNALS),
    "optimizers": _by_name(OPTIMIZERS),
    "suites": _by_name(SUITES),
    "probes": _by_name(PROBES),
    "studies": _by_name(STUDIES),
}

"""The checks of architectures, data sets and signals, in the order in which they run. No torch."""

from __future__ import annotations

from membench.testing.subject import Check

SAID = (
    Check("summary", "the docstring's first sentence says what it is", "write it in 20 to 160 letters", "said:summary"),
    Check("source", "the docstring names a source with a year", "add authors, title and year after it", "said:source"),
)
QUIET = Check(
    "import-is-quiet",
    "importing the file changes no global state",
    "do nothing at import but define functions",
    "watch:import_is_quiet",
)

ARCHITECTURES = (
    *SAID,
    QUIET,
    Check("builds", "it builds for small and coloured images", "take sizes from input_shape", "others:builds"),
    Check(
        "logits",
        "forward gives [n, classes] finite logits, for one image too",
        "end in a layer of num_classes; take n from the input",
        "others:logits",
        ("builds",),
    ),
    Check("float32", "all weights are float32", "set no type", "others:float32", ("builds",)),
    Check(
        "same-weights",
        "torch's seed decides the initial weights, and another seed gives others",
        "initialise with torch's functions, in build alone",
        "others:same_weights",
        ("builds",),
    ),
    Check(
        "taps",
        "hidden activations go through the tap, and what it returns is used",
        "write h = tap(h) after each hidden activation, with h [n, features], [n, tokens, features] or [n, c, h, w]",
        "others:taps",
        ("logits",),
    ),
    Check(
        "steady",
        "the same images give the same logits",
        "no dropout and no random number inside: that is for regularizers",
        "others:steady",
        ("logits",),
    ),
    Check(
        "gradients",
        "every weight gets a finite gradient",
        "use every parameter in forward, detach nothing",
        "others:gradients",
        ("logits",),
    ),
    Check(
        "trains",
        "the engine trains it, stacked, and the loss falls",
        "use membench.nn where vmap has no rule: PatchConv, attention as matmul and softmax",
        "others:trains",
        ("gradients", "taps"),
    ),
)
DATASETS = (
    *SAID,
    QUIET,
    Check("loads", "load gives what Arrays promises", "mend what the message names", "arrays:loads"),
    Check(
        "same-arrays", "load gives the same arrays again", "sort, and draw nothing", "arrays:same_arrays", ("loads",)
    ),
    Check(
        "values",
        "images are finite, in range and not all alike; every class occurs",
        "uint8 0-255 or float32 0-1; labels 0 to num_classes - 1, each of them used",
        "arrays:values",
        ("loads",),
    ),
    Check(
        "apart",
        "no training image is in the test set",
        "take the doubles out of the training set",
        "arrays:apart",
        ("loads",),
        warns=True,
    ),
)
SIGNALS = (
    *SAID,
    QUIET,
    Check("applies", "apply gives (x, y, changed) of the right shapes", "return these", "arrays:applies"),
    Check(
        "inputs-untouched",
        "apply leaves its arrays alone",
        "copy before writing",
        "arrays:arrays_untouched",
        ("applies",),
    ),
    Check(
        "same-bytes",
        "the same draw gives the same bytes, another one others",
        "take all random numbers from draw",
        "arrays:same_bytes",
        ("applies",),
    ),
    Check(
        "changed",
        "what is not marked as changed is as it was",
        "mark each example whose inputs or label may be others",
        "arrays:changed",
        ("applies",),
    ),
    Check(
        "noise",
        'noise="labels" leaves inputs alone, noise="inputs" labels; both leave validation and test alone',
        "let noise say what is changed, and return x, y as they are if not train",
        "arrays:noise",
        ("applies",),
    ),
)

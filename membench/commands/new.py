"""`membench new NAME`: write a commented plugin file that passes `membench check`.

There is a template for each stage of the training step here; those of the other kinds are in
`kind_templates`.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from membench.commands import session
from membench.commands.kind_templates import KINDS
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.files import disk_errors
from membench.registry.registry import KINDS as REGISTRY_KINDS
from membench.registry.validation import NAME


def new(options: argparse.Namespace) -> int:
    """Write a plugin's file and print what to do next.

    Raises:
        MembenchError: the name is illegal or taken, the stage is unknown, or the file exists.
    """
    name: str = options.name
    folder: Path = options.out
    if options.kind == "regularizer":
        text = render(name, options.stage or "loss")
        tries: tuple[str, ...] = (
            "run --suite smoke -k NAME --out my-board",
            "run -k NAME --out my-board",
        )
    else:
        if options.stage is not None:
            raise MembenchError(f"--stage is of regularizers, not of kind {options.kind}")
        text = render_kind(name, options.kind)
        tries = KINDS[options.kind].tries
    path = folder / f"{name.replace('-', '_')}.py"
    if path.exists():
        raise _there_already(path)
    registry = session.load_registry(options)
    if any(name in getattr(registry, kind) for kind in REGISTRY_KINDS):
        raise MembenchError(f"{name!r} is registered already: take another name")
    with disk_errors("write", path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise _there_already(path) from None
    plugin_option = "" if folder == Path("plugins") else f" -p {path}"
    print(f"wrote {path}: change what it does, then")
    print(f"  membench check {path}")
    for words in tries:
        print(f"  membench {words.replace('NAME', name)}{plugin_option}")
    return ExitCode.OK


def _there_already(path: Path) -> MembenchError:
    return MembenchError(f"{path} is there already: take another name, or remove it")


def render_kind(name: str, kind: str) -> str:
    """Return the text of a plugin file of a kind other than regularizers.

    Raises:
        MembenchError: the name is illegal.
    """
    _check_name(name)
    return KINDS[kind].text.replace("NAME", name)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or name == "none":
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        hint = f"; try {near}" if near and near not in (name, "none") else ""
        raise MembenchError(
            f"illegal name {name!r}: lower-case letters, digits and hyphens, a letter first{hint}"
        )


def render(name: str, stage: str) -> str:
    """Return the text of a regularizer's file.

    Raises:
        MembenchError: the name is illegal or the stage is unknown.
    """
    _check_name(name)
    template_name = SHARED_TEMPLATES.get(stage, stage)
    if template_name not in TEMPLATES:
        raise unknown_name("stage", stage, [*TEMPLATES, *SHARED_TEMPLATES])
    template = TEMPLATES[template_name]
    stages = re.findall(r"^def (\w+)\(", template.functions, re.MULTILINE)
    return PLUGIN_FILE.format(
        name=name,
        group=template.group,
        summary=template.summary,
        source=template.source,
        strength=template.strength,
        functions=template.functions,
        stages=", ".join(f"{stage}={stage}" for stage in stages),
    )


@dataclass(frozen=True, kw_only=True)
class Template:
    """A small, known method that acts at one stage, so that a new file passes the check."""

    group: str
    summary: str
    source: str
    strength: str  #: what the strength is, its range and unit
    functions: str  #: one for each stage that the method needs, named as the stage


PLUGIN_FILE = '''"""{summary}

{source}
{strength}
"""

from membench import Regularizer
from membench import hookimpl

{functions}

@hookimpl
def register():
    # five strengths, from "no visible effect" to "real accuracy breaks"; 0 is off, exactly
    return [Regularizer("{name}", strengths=(0.1, 0.3, 0.5, 0.7, 0.9), group="{group}", {stages})]
'''

#: stages whose template is another stage's, since one method needs them all
SHARED_TEMPLATES = {"init": "readout", "update": "readout"}

#: stage -> what a new file holds
TEMPLATES = {
    "batch": Template(
        group="data",
        summary="Shifts the contrast of each image by a random factor of at most 1 + s.",
        source="Krizhevsky, Sutskever and Hinton, NeurIPS 2012 (put your own source here).",
        strength="Strength: the largest relative change s of the contrast, 0 to 1.",
        functions='''
def batch(x, y, lane):
    """x [n, c, h, w], standardised; y [n, classes], soft labels."""
    draw = 2 * lane.uniform((x.shape[0], 1, 1, 1)) - 1  # one for each image
    return x * (1 + lane.strength * draw), y
''',
    ),
    "perturb": Template(
        group="weights",
        summary="Each forward pass sees every weight scaled by a random factor around 1.",
        source="Wan, Zeiler, Zhang, LeCun and Fergus, ICML 2013 (put your own source here).",
        strength="Strength: the largest relative change s of a weight, 0 to 1.",
        functions='''
def perturb(params, lane):
    """params: name -> weights, for this step's forward pass; the update goes to the weights."""
    scales = {name: 2 * lane.uniform(w.shape) - 1 for name, w in params.items()}
    return {name: w * (1 + lane.strength * scales[name]) for name, w in params.items()}
''',
    ),
    "hidden": Template(
        group="model",
        summary="Scales each hidden unit by a random factor around 1.",
        source="Srivastava et al., JMLR 15, 2014, section 10 (put your own source here).",
        strength="Strength: the largest relative change s of a unit, 0 to 1.",
        functions='''
def hidden(h, lane):
    """h [n, features], [n, tokens, features] or [n, channels, height, width], at every tap."""
    return h * (1 + lane.strength * (2 * lane.uniform(h.shape) - 1))
''',
    ),
    "loss": Template(
        group="loss",
        summary="Confidence penalty: s times the entropy of the prediction is a reward.",
        source="Pereyra et al. 2017, arXiv:1701.06548 (put your own source here).",
        strength="Strength: the weight s of the entropy, 0 up, in nats per nat of loss.",
        functions='''
def loss(losses, logits, y, lane):
    """losses [n], of each example; logits and soft labels y [n, classes]."""
    logp = logits.log_softmax(-1)
    return losses + lane.strength * (logp.exp() * logp).sum(-1)
''',
    ),
    "penalty": Template(
        group="weights",
        summary="Adds s times the sum of the absolute values of all weight matrices to the loss.",
        source="Tibshirani, J. R. Stat. Soc. B 58, 1996 (put your own source here).",
        strength="Strength: the coefficient s, 0 up, in hundredths of a nat per unit of weight.",
        functions='''
def penalty(params, lane):
    """One number, added to the mean loss; dim() > 1 are the weight matrices, the others biases."""
    return 0.01 * lane.strength * sum(w.abs().sum() for w in params.values() if w.dim() > 1)
''',
    ),
    "grads": Template(
        group="gradient",
        summary="Adds Gaussian noise of standard deviation s / 100 to the gradient.",
        source="Neelakantan et al. 2015, arXiv:1511.06807 (put your own source here).",
        strength="Strength: the noise's standard deviation s, 0 up, "
        "in hundredths of a nat per unit of weight.",
        functions='''
def grads(grads, params, lane):
    """grads: name -> gradient, as params. lane.gradient(params) gives it at other weights."""
    return {name: g + 0.01 * lane.strength * lane.normal(g.shape) for name, g in grads.items()}
''',
    ),
    "weights": Template(
        group="weights",
        summary="Decoupled decay: after each step the weights shrink by the learning rate times s.",
        source="Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101 (put your own source here).",
        strength="Strength: the decay s, 0 up, per unit of learning rate and step.",
        functions='''
def weights(params, lane):
    """params: name -> weights after the optimizer's update; lane.before has those before it."""
    return {name: w * (1 - lane.lr * lane.strength) for name, w in params.items()}
''',
    ),
    "readout": Template(
        group="trajectory",
        summary="Evaluates an exponential moving average of the weights.",
        source="Polyak and Juditsky, SIAM J. Control Optim. 30, 1992 (put your own source here).",
        strength="Strength: the decay s of the average, 0 to below 1, per step.",
        functions='''
def init(params, lane):
    """The state at step 0: a dict of tensors, whose shapes stay."""
    return {"average": params}


def update(params, lane):
    """The new state, at the end of each step; nothing else may be kept between steps."""
    old, s = lane.state["average"], lane.strength
    return {"average": {name: s * old[name] + (1 - s) * w for name, w in params.items()}}


def readout(params, lane):
    """The weights that are evaluated."""
    return lane.state["average"]
''',
    ),
}

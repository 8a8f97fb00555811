"""`membench new NAME`: a commented plugin file that passes the check, one template a stage, and what to do next."""

from __future__ import annotations

import re
from pathlib import Path

from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.files import disk_errors
from membench.registry.discovery import shipped_folder
from membench.registry.validation import NAME

_FILE = '''"""{summary}

{source}
{strength}
"""

from membench import Regularizer
from membench import hookimpl

{body}

@hookimpl
def register():
    # five strengths, from "no visible effect" to "real accuracy breaks"; 0 is off and does exactly nothing
    return [Regularizer("{name}", strengths=(0.1, 0.3, 0.5, 0.7, 0.9), group="{group}", {stages})]
'''
#: stage -> (group, summary, source, strength, functions). What each does is known and small, so that the check passes.
_STAGES: dict[str, tuple[str, str, str, str, str]] = {
    "batch": (
        "data",
        "Shifts the contrast of each image by a random factor of at most 1 + s.",
        "Krizhevsky, Sutskever and Hinton, NeurIPS 2012 (put your own source here).",
        "Strength: the largest relative change s of the contrast, 0 to 1.",
        '''
def batch(x, y, lane):
    """x [n, c, h, w], standardised; y [n, classes], soft labels."""
    factor = 1 + lane.strength * (2 * lane.uniform((x.shape[0], 1, 1, 1)) - 1)  # a draw for each image
    return x * factor, y
''',
    ),
    "perturb": (
        "weights",
        "Each forward pass sees every weight scaled by a random factor around 1.",
        "Wan, Zeiler, Zhang, LeCun and Fergus, ICML 2013 (put your own source here).",
        "Strength: the largest relative change s of a weight, 0 to 1.",
        '''
def perturb(params, lane):
    """params: name -> weights. For this step's forward pass only; the update goes to the weights themselves."""
    return {name: w * (1 + lane.strength * (2 * lane.uniform(w.shape) - 1)) for name, w in params.items()}
''',
    ),
    "hidden": (
        "model",
        "Scales each hidden unit by a random factor around 1.",
        "Srivastava et al., JMLR 15, 2014, section 10 (put your own source here).",
        "Strength: the largest relative change s of a unit, 0 to 1.",
        '''
def hidden(h, lane):
    """h [n, features], [n, tokens, features] or [n, channels, height, width], at every tap of the network."""
    return h * (1 + lane.strength * (2 * lane.uniform(h.shape) - 1))
''',
    ),
    "loss": (
        "loss",
        "Confidence penalty: s times the entropy of the prediction is a reward.",
        "Pereyra et al. 2017, arXiv:1701.06548 (put your own source here).",
        "Strength: the weight s of the entropy, 0 up, in nats per nat of loss.",
        '''
def loss(losses, logits, y, lane):
    """losses [n], of each example; logits and soft labels y [n, classes]."""
    logp = logits.log_softmax(-1)
    return losses + lane.strength * (logp.exp() * logp).sum(-1)
''',
    ),
    "penalty": (
        "weights",
        "Adds s times the sum of the absolute values of all weight matrices to the loss.",
        "Tibshirani, J. R. Stat. Soc. B 58, 1996 (put your own source here).",
        "Strength: the coefficient s, 0 up, in hundredths of a nat per unit of weight.",
        '''
def penalty(params, lane):
    """One number, added to the mean loss; dim() > 1 are the weight matrices, the others biases."""
    return 0.01 * lane.strength * sum(w.abs().sum() for w in params.values() if w.dim() > 1)
''',
    ),
    "grads": (
        "gradient",
        "Adds Gaussian noise of standard deviation s / 100 to the gradient.",
        "Neelakantan et al. 2015, arXiv:1511.06807 (put your own source here).",
        "Strength: the noise's standard deviation s, 0 up, in hundredths of a nat per unit of weight.",
        '''
def grads(grads, params, lane):
    """grads: name -> gradient, as params. lane.gradient(params) gives it at other weights."""
    return {name: g + 0.01 * lane.strength * lane.normal(g.shape) for name, g in grads.items()}
''',
    ),
    "weights": (
        "weights",
        "Decoupled decay: after each step the weights shrink by the learning rate times s.",
        "Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101 (put your own source here).",
        "Strength: the decay s, 0 up, per unit of learning rate and step.",
        '''
def weights(params, lane):
    """params: name -> weights after the optimizer's update; lane.before has those from before it."""
    return {name: w * (1 - lane.lr * lane.strength) for name, w in params.items()}
''',
    ),
    "readout": (
        "trajectory",
        "Evaluates an exponential moving average of the weights.",
        "Polyak and Juditsky, SIAM J. Control Optim. 30(4), 1992 (put your own source here).",
        "Strength: the decay s of the average, 0 to below 1, per step.",
        '''
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
_ALIKE = {"init": "readout", "update": "readout"}


def new(name: str, stage: str, folder: Path) -> int:
    """Write `folder/name.py` and say what to do next. Returns the exit code.

    Raises:
        MembenchError: the name is illegal or taken, the stage is unknown, or the file is there already.
    """
    text, path = render(name, stage), folder / f"{name.replace('-', '_')}.py"
    if any((shipped_folder() / "regularizers").glob(path.name)):
        raise MembenchError(f"{name!r} ships with membench: take another name")
    with disk_errors("write", path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise MembenchError(
                f"{path} is there already: take another name, or remove it"
            ) from None
    print(f"wrote {path}: change what it does, then")
    print(f"  membench check {path}")
    found = "" if folder == Path("plugins") else f" -p {path}"
    print(f"  membench run --suite smoke -k {name}{found}")
    print(f"  membench run -k {name}{found}")
    return 0


def render(name: str, stage: str) -> str:
    """The file's text."""
    if not NAME.fullmatch(name) or name == "none":
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        hint = f"; try {near}" if near and near not in (name, "none") else ""
        raise MembenchError(
            f"illegal name {name!r}: lower-case letters, digits and hyphens, a letter first{hint}"
        )
    chosen = _ALIKE.get(stage, stage)
    if chosen not in _STAGES:
        raise unknown_name("stage", stage, [*_STAGES, *_ALIKE])
    group, summary, source, strength, body = _STAGES[chosen]
    functions = re.findall(r"^def (\w+)\(", body, re.MULTILINE)
    stages = ", ".join(f"{f}={f}" for f in functions)
    return _FILE.format(
        name=name,
        group=group,
        summary=summary,
        source=source,
        strength=strength,
        body=body,
        stages=stages,
    )

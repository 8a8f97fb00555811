"""Plugins with one planted bug each, beside the check that must find it."""

from __future__ import annotations

import re
from dataclasses import dataclass

SAID = """Does something small that the test wants to see found.

A. Nobody, 2020. Strength: the size s of the effect, 0 to 1."""
GRID = "(0.1, 0.3, 0.5, 0.7, 0.9)"


@dataclass(frozen=True)
class Mutant:
    """A plugin file with a bug."""

    check: str  #: the one that is meant for it; "" = the registry refuses it
    body: str
    said: str = SAID
    grid: str = GRID
    more: str = ""  #: further arguments of the record

    @property
    def text(self) -> str:
        """The whole file."""
        stages = ", ".join(
            f"{name}={name}"
            for name in re.findall(r"^def (\w+)\([^)]*\blane\b", self.body, re.MULTILINE)
        )
        record = f'Regularizer("mutant", strengths={self.grid}, {stages}{self.more})'
        head = (
            f'"""{self.said}\n"""\n\nimport torch\n\nfrom membench import Regularizer, hookimpl\n\n'
        )
        return f"{head}{self.body}\n\n@hookimpl\ndef register():\n    return [{record}]\n"


NOISE = "def hidden(h, lane):\n    return h + lane.strength * lane.normal(h.shape)"
SHRINK = (
    "def weights(params, lane):\n"
    "    return {k: w * (1 - 0.1 * lane.strength) for k, w in params.items()}"
)


def hidden(*lines: str, before: str = "") -> str:
    """A `hidden` stage of these lines."""
    return f"{before}\n\ndef hidden(h, lane):\n" + "\n".join(f"    {line}" for line in lines)


MUTANTS = {
    "no summary": Mutant("summary", NOISE, said="Noise.\n\nA. Nobody, 2020. Strength: s."),
    "no source": Mutant(
        "source",
        NOISE,
        said="Does something small that the test wants.\n\nMy own idea. Strength: s.",
    ),
    "no units": Mutant(
        "units", NOISE, said="Does something small that the test wants.\n\nA. Nobody, 2020."
    ),
    "an infinite strength": Mutant("grid", SHRINK, grid="(0.1, 0.2, 0.3, 0.4, float('inf'))"),
    "from strong to weak": Mutant("grid", SHRINK, grid="(0.9, 0.7, 0.5, 0.3, 0.1)"),
    "nothing is left at the limit": Mutant(
        "limit", hidden("return h / (1 - lane.strength)"), more=", limit=1.0"
    ),
    "torch is seeded at import": Mutant("import-is-quiet", f"torch.manual_seed(0)\n\n{NOISE}"),
    "the default type is set at import": Mutant(
        "import-is-quiet", f"torch.set_default_dtype(torch.float64)\n\n{SHRINK}"
    ),
    "skip answers True": Mutant("skip", SHRINK, more=", skip=lambda net: True"),
    "skip is empty": Mutant("skip", SHRINK, more=", skip=lambda net: ''"),
    "reads the lane's key": Mutant(
        "lane-only", hidden("return h * (1 - lane.strength * (lane._stream.key != 0).sum())")
    ),
    "a field of another stage": Mutant("calls", hidden("return h * lane.strength * lane.x.mean()")),
    "a name that is not there": Mutant("calls", hidden("return h * lane.strenght")),
    "float64 comes back": Mutant("shapes", hidden("return h.double() * (1 - lane.strength)")),
    "biases are lost": Mutant(
        "shapes",
        "def weights(params, lane):\n    return {k: w for k, w in params.items() if w.dim() > 1}",
    ),
    "the penalty is a vector": Mutant(
        "shapes",
        "def penalty(params, lane):\n"
        "    return lane.strength * next(iter(params.values())).square().sum(1)",
    ),
    "an if on the strength": Mutant(
        "stacks", hidden("return 0.5 * h if lane.strength > 0.05 else h")
    ),
    "torch's own dropout": Mutant(
        "stacks", hidden("return h * (torch.rand_like(h) >= lane.strength)")
    ),
    "a mask that chooses": Mutant(
        "stacks",
        "def loss(losses, logits, y, lane):\n"
        "    return losses + losses[losses > lane.strength].sum()",
    ),
    "strength to a number": Mutant("stacks", hidden("return h * (1 - lane.strength.item())")),
    "off is not off": Mutant("off-value", hidden("return h * (0.9 - 0.5 * lane.strength)")),
    "off halves the gradient": Mutant(
        "off-value", hidden("return h.detach() + (1 + lane.strength) / 2 * (h - h.detach())")
    ),
    "off acts at the second tap": Mutant(
        "off-run", hidden("return h * (1 - lane.strength) if lane.tap == 0 else h * 0.5")
    ),
    "strength does nothing": Mutant("acts", hidden("return h * 1.0")),
    "any strength does the same": Mutant(
        "acts", hidden("return h * (1 - 0.5 * torch.sign(lane.strength))")
    ),
    "all at once": Mutant(
        "near-off", hidden("s = lane.strength", "return torch.where(s > 0, h * (0.3 - 0.3 * s), h)")
    ),
    "weights explode": Mutant(
        "finite",
        "def weights(params, lane):\n"
        "    return {k: w * (1 + 1e30 * lane.strength) for k, w in params.items()}",
    ),
    "log of softmax": Mutant(
        "finite-at-edges",
        "def loss(losses, logits, y, lane):\n"
        "    own = -(y * logits.softmax(1).log()).sum(1)\n"
        "    return (1 - lane.strength) * losses + lane.strength * own",
    ),
    "a root at zero": Mutant(
        "finite-at-edges",
        "def penalty(params, lane):\n"
        "    return lane.strength * sum(w.square().sum().sqrt() for w in params.values())",
    ),
    "a quotient by the norm": Mutant(
        "finite-at-edges",
        "def grads(grads, params, lane):\n"
        "    norm = sum(g.square().sum() for g in grads.values()) ** 0.5\n"
        "    return {k: (1 - lane.strength) * g + lane.strength * g / norm\n"
        "            for k, g in grads.items()}",
    ),
    "labels grow": Mutant(
        "labels", "def batch(x, y, lane):\n    return x, y * (1 + lane.strength)"
    ),
    "written in place": Mutant("inputs-untouched", hidden("return h.mul_(1 - lane.strength)")),
    "the dict is written": Mutant(
        "inputs-untouched",
        "def weights(params, lane):\n    for k in params:\n"
        "        params[k] = params[k] * (1 - lane.strength)\n"
        "    return params",
    ),
    "the first weights are written": Mutant(
        "inputs-untouched",
        "def weights(params, lane):\n    for w in lane.initial.values():\n        w.mul_(0.5)\n"
        "    return {k: w * (1 - lane.strength) for k, w in params.items()}",
    ),
    "torch is seeded in the step": Mutant(
        "globals-untouched", hidden("torch.manual_seed(1)", "return h * (1 - lane.strength)")
    ),
    "a setting in the step": Mutant(
        "globals-untouched",
        hidden("torch.set_float32_matmul_precision('medium')", "return h * (1 - lane.strength)"),
    ),
    "a list of calls": Mutant(
        "keeps-nothing",
        hidden("SEEN.append(1)", "return h * (1 - lane.strength)", before="SEEN = []"),
    ),
    "a global counter": Mutant(
        "keeps-nothing",
        hidden("global count", "count += 1", "return h * (1 - lane.strength)", before="count = 0"),
    ),
    "an attribute of the function": Mutant(
        "keeps-nothing",
        hidden("hidden.calls = getattr(hidden, 'calls', 0) + 1", "return h * (1 - lane.strength)"),
    ),
    "a tensor kept by default": Mutant(
        "keeps-nothing",
        "def hidden(h, lane, kept={}):\n    kept['n'] = kept.get('n', 0) + 1\n"
        "    return h * (1 - lane.strength)",
    ),
    "a folder through torch": Mutant(
        "looks-nowhere", hidden("torch.os.listdir('.')", "return h * (1 - lane.strength)")
    ),
    "every run is another": Mutant(
        "repeats",
        hidden("N[0] += 1", "return h * (1 - lane.strength / N[0])", before="N = [0]"),
    ),
    "draws for nothing": Mutant(
        "draws", hidden("return h * (1 - lane.strength) + 0 * lane.normal(h.shape)")
    ),
    "who came before": Mutant(
        "neighbours",
        hidden("N.append(1)", "return h * (1 - lane.strength / len(N))", before="N = []"),
    ),
    "state in a global": Mutant(
        "interrupted",
        hidden(
            "if int(lane.step) == 0 and lane.tap == 0:",
            "    N.clear()",
            "N.append(1)",
            "return h * (1 - lane.strength / len(N))",
            before="N = []",
        ),
    ),
    "a penalty without gradient": Mutant(
        "penalty-gradient",
        "def penalty(params, lane):\n"
        "    return lane.strength * sum(w.detach().square().sum() for w in params.values())",
    ),
    "a penalty that rounds": Mutant(
        "penalty-gradient",
        "def penalty(params, lane):\n"
        "    q = [w + (10 * w).round() / 10 for w in params.values()]\n"
        "    return lane.strength * sum(v.square().sum() for v in q)",
    ),
    "eight examples for ever": Mutant(
        "last-batch",
        "def batch(x, y, lane):\n    return x + lane.strength * lane.normal((8, 1, 1, 1)), y",
    ),
    "the deviation of one": Mutant(
        "batch-of-one",
        "def batch(x, y, lane):\n    z = x / (x.std(0) + 1e-3)\n"
        "    return x + lane.strength * (z - x), y",
    ),
    "one axis of units": Mutant(
        "on-cnn", hidden("return h * (lane.uniform((h.shape[0], h.shape[1])) >= lane.strength)")
    ),
    "no tokens": Mutant(
        "on-vit",
        hidden(
            "view = {2: (-1, 1), 4: (-1, 1, 1, 1)}[h.dim()]",
            "return h * (1 - lane.strength * lane.uniform((h.shape[0],)).reshape(view))",
        ),
    ),
    "the step's number as a number": Mutant(
        "no-wait", hidden("return h * (1 - lane.strength / (1 + int(lane.step)))")
    ),
    "a mask read": Mutant(
        "no-wait",
        hidden(
            "r = torch.arange(h.shape[0], device=h.device)",
            "return h * (1 - lane.strength * r[r > 1].sum() / 99)",
        ),
    ),
    "a tensor without a device": Mutant(
        "one-device", hidden("return h * (1 - lane.strength * torch.arange(h.shape[1]) / 99)")
    ),
    "a tensor that the module keeps": Mutant(
        "one-graph",
        hidden("return h * (1 - lane.strength * HALF)", before="HALF = torch.tensor(0.5)"),
    ),
    "a warning": Mutant(
        "no-warnings",
        hidden("warnings.warn('old')", "return h * (1 - lane.strength)", before="import warnings"),
    ),
    "a loop over forwards": Mutant(
        "cost",
        "def penalty(params, lane):\n"
        "    outputs = [lane.forward(lane.x * (1 + i)) for i in range(40)]\n"
        "    return lane.strength * sum(out.square().mean() for out in outputs)",
    ),
    "four strengths": Mutant("", SHRINK, grid="(0.1, 0.2, 0.3, 0.4)"),
    "off in the grid": Mutant("", SHRINK, grid="(0.0, 0.1, 0.2, 0.3, 0.4)"),
    "strengths twice": Mutant("", SHRINK, grid="(0.1, 0.1, 0.2, 0.3, 0.4)"),
    "acts nowhere": Mutant("", "x = 1"),
    "an error at import": Mutant("", f"{SHRINK}\n\n1 / 0"),
}

INNOCENT = {
    "noise": Mutant("", NOISE),
    "shrink": Mutant("", SHRINK),
    "off at infinity": Mutant(
        "",
        "def grads(grads, params, lane):\n    s = lane.strength\n"
        "    return {k: g.clamp(-s, s) for k, g in grads.items()}",
        grid="(1.0, 0.3, 0.1, 0.03, 0.01)",
        more=", off=float('inf')",
    ),
    "reads its neighbours in the batch": Mutant(
        "",
        "def batch(x, y, lane):\n    other = lane.permutation(x.shape[0])\n"
        "    return x + lane.strength * (x[other] - x), y + lane.strength * (y[other] - y)",
    ),
    "state by example": Mutant(
        "",
        "def init(params, lane):\n"
        "    w = next(iter(params.values()))\n"
        "    return {'mean': w.new_zeros(lane.num_examples, lane.num_classes)}\n\n\n"
        "def update(params, lane):\n"
        "    old = lane.state['mean'][lane.index]\n"
        "    new = 0.9 * old + 0.1 * lane.logits.softmax(1)\n"
        "    return {'mean': lane.state['mean'].index_copy(0, lane.index, new)}\n\n\n"
        "def loss(losses, logits, y, lane):\n"
        "    target = lane.state['mean'][lane.index]\n"
        "    return losses - lane.strength * (target * logits.log_softmax(1)).sum(1)",
    ),
}

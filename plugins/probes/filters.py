"""What the first layer looks for: the power of its filters at low spatial frequencies.

After figure 2 of Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017,
arXiv:1706.05394, which has no number. White noise has a concentration of 1 on average, whatever the
size of the filter; so have initial weights.
"""

import math

import torch
from torch import Tensor

from membench import Probe
from membench import hookimpl
from membench.api import Params
from membench.errors import MembenchError
from membench.probes import Metrics
from membench.probes import ProbeData
from membench.probes import ProbeLane

CUT = 0.25  #: cycles per pixel: coarser is low
MOST = 4096  #: numbers in the picture


def first_filters(params: Params, shape: tuple[int, int, int]) -> Tensor:
    """Return the first weight matrix as images [units, c, h, w].

    A convolution's is one; a fully connected one is as large as the input [c, h, w]; of patches
    (`PatchConv`) the channel runs fastest.

    Raises:
        MembenchError: it is none of these.
    """
    w = next(w for w in params.values() if w.dim() > 1)
    if w.dim() == 4:
        return w
    side = math.isqrt(w.shape[1] // shape[0])
    if w.dim() == 2 and w.shape[1] == math.prod(shape):
        return w.reshape(-1, *shape)
    if w.dim() == 2 and w.shape[1] == shape[0] * side * side:
        return w.reshape(-1, side, side, shape[0]).permute(0, 3, 1, 2)
    raise MembenchError(
        f"probe filters: weights {list(w.shape)} are no filters for inputs {list(shape)}"
    )


def concentration(filters: Tensor) -> Tensor:
    """Compute the share of a filter's power below `CUT`, over the share of frequencies there.

    Its mean is taken out first, by channel; a filter without any power has 1.

    Args:
        filters: [units, c, h, w], h and w at least 4.

    Returns:
        [units].
    """
    power = torch.fft.fft2(filters.to(torch.float64)).abs().square().sum(1)
    h, w = filters.shape[-2:]
    radius = torch.hypot(
        *torch.meshgrid(torch.fft.fftfreq(h), torch.fft.fftfreq(w), indexing="ij")
    ).to(power.device)
    low, rest = (radius > 0) & (radius <= CUT), radius > CUT
    below, above = power[:, low].sum(1), power[:, rest].sum(1)
    share = low.sum() / (low.sum() + rest.sum())
    whole = below + above
    return torch.where(whole > 0, below / whole.clamp_min(1e-30) / share, torch.ones_like(whole))


def measure(params: Params, data: ProbeData, lane: ProbeLane) -> Metrics:
    """Return the mean concentration, now, at step 0 and of the change since.

    Beside it, how far the filters moved, and those that changed most, flat, with their shape.
    """
    channels, height, width = data.x.shape[1:]
    shape = (channels, height, width)
    now, start = first_filters(params, shape), first_filters(lane.initial, shape)
    change = now - start
    largest = change.flatten(1).norm(dim=1).argsort(descending=True, stable=True)
    shown = now[largest[: max(1, MOST // now[0].numel())]]
    return {
        "concentration": concentration(now).mean(),
        "initial": concentration(start).mean(),
        "change": concentration(change).mean(),
        "moved": change.norm() / start.norm(),
        "shape": torch.tensor(shown.shape[1:]),
        "picture": shown.flatten(),
    }


@hookimpl
def register() -> list[Probe]:
    return [Probe("filters", measure, at="end")]

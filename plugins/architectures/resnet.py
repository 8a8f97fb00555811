"""Residual networks for 32x32 images: three stages of 3x3 convolutions with 16, 32 and 64 channels.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385,
section 4.2: one convolution, then stages of n blocks of two, the second and third stage at half the
size of the one before; shortcuts without weights (option A: every other pixel, the new channels
zero), the mean over all places, a linear layer. That makes 6n + 2 layers, and for images in colour
and 10 classes 75,290 weights with n = 1, 269,722 weights (their 0.27 million) with n = 3.
Initialised after He et al., ICCV 2015, arXiv:1502.01852. The paper's rate falls in steps, here as a
cosine; its weight decay is left to regularizers. In the -gn networks, groups of 16 channels are
normalised in place of the batch: Wu and He, "Group Normalization", ECCV 2018, arXiv:1803.08494, one
of the sizes in its table 3. Each block's residual is a branch. Images of any size.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor
from torch import nn

from membench import Architecture
from membench import Recipe
from membench import hookimpl
from membench.nn import BatchNorm
from membench.nn import Conv
from membench.nn import tapped

WIDTHS = (16, 32, 64)
GROUP = 16  # channels


class GroupNorm(nn.GroupNorm):
    """The group norm of torch, over activations [n, h, w, c]."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels // GROUP, channels)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


NORMS: dict[str, Callable[[int], nn.Module]] = {"": partial(BatchNorm, axis=-1), "-gn": GroupNorm}


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.stride = outputs // inputs
        self.more = (outputs - inputs) // 2  # channels of zeros at either end of the shortcut
        self.first = Conv(inputs, outputs, 3, stride=self.stride, pad=1, bias=False)
        self.second = Conv(outputs, outputs, 3, pad=1, bias=False)
        self.norms = nn.ModuleList([norm(outputs), norm(outputs)])

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        """Transform x [n, h, w, inputs] to [n, h / stride, w / stride, outputs], rounded up."""
        h = tapped(tap, F.relu(self.norms[0](self.first(x))))
        h = tapped(tap, self.norms[1](self.second(h)), "branch")
        shortcut = F.pad(x[:, :: self.stride, :: self.stride], (self.more, self.more))
        return tapped(tap, F.relu(shortcut + h))


class ResNet(nn.Module):
    def __init__(
        self, channels: int, num_classes: int, n: int, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.stem, self.norm = Conv(channels, WIDTHS[0], 3, pad=1, bias=False), norm(WIDTHS[0])
        widths = [WIDTHS[0], *(width for width in WIDTHS for _ in range(n))]
        self.blocks = nn.ModuleList(Block(a, b, norm) for a, b in pairwise(widths))
        self.head = nn.Linear(WIDTHS[-1], num_classes)
        for module in self.modules():
            if isinstance(module, Conv):
                nn.init.kaiming_normal_(module.linear.weight, nonlinearity="relu")

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        h = tapped(tap, F.relu(self.norm(self.stem(x.permute(0, 2, 3, 1)))))
        for block in self.blocks:
            h = block(h, tap)
        return self.head(h.mean(dim=(1, 2)))


def build(input_shape: tuple[int, int, int], num_classes: int, n: int, norm: str) -> nn.Module:
    return ResNet(input_shape[0], num_classes, n, NORMS[norm])


def architecture(n: int, norm: str) -> Architecture:
    return Architecture(
        f"resnet{6 * n + 2}{norm}",
        partial(build, n=n, norm=norm),
        recipe=Recipe(lr=0.1, batch=100, epochs=100, schedule="cosine"),
        summary=f"Residual network of {6 * n + 2} layers for 32x32 images, "
        f"{'group' if norm else 'batch'} norm.",
    )


@hookimpl
def register() -> list[Architecture]:
    return [architecture(n, norm) for n in (1, 3) for norm in NORMS]

"""Fully connected, two hidden layers of 1024 ReLU units, which fit 50,000 random labels.

`mlp` (after Arpit et al., ICML 2017, arXiv:1706.05394) four times as wide: of 50,000 random labels
of Fashion-MNIST `mlp` learns three quarters and no more. Initialised after He et al., ICCV 2015,
arXiv:1502.01852: with torch's default the loss is 2.303 after six epochs of AdamW at .001.
1,863,690 weights for 28x28 images and 10 classes.
"""

import math

from torch import nn

from membench import Architecture
from membench import Recipe
from membench import hookimpl
from membench.nn import MLP


def build(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    network = MLP(math.prod(input_shape), (1024, 1024), num_classes)
    for layer in (*network.hidden, network.head):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return network


@hookimpl
def register() -> list[Architecture]:
    return [
        Architecture(
            "wide-mlp", build, recipe=Recipe(lr=0.02, batch=100, epochs=100, schedule="cosine")
        )
    ]

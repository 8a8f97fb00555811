"""Matrix products in bfloat16: a pass over a compiled step, for CPUs that have it in hardware.

torch's `set_float32_matmul_precision("medium")` reaches bfloat16 on CPUs with AMX only; on one with
AVX512-BF16 but no AMX it stays at the speed of fp32. This pass does what autocast does, to the
products alone: weights, activations, gradients and all that a plugin sees stay float32; each
product rounds its operands and its result to bfloat16 and sums in float32.
`membench.engine.compiled` hands it to Inductor.

Measured on one core of an AMD EPYC with AVX512-BF16 (torch 2.14.1, dropout, 15 lanes), a lane-step:
mlp 1.85 -> 1.0 ms, cnn 1.96 -> 1.05 ms.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch._inductor.custom_graph_pass import get_hash_for_files
from torch.fx import Graph
from torch.fx import Node

from membench.engine import products
from membench.engine.products import MIN_MULTIPLICATIONS
from membench.engine.products import PRODUCTS

aten = torch.ops.aten
RESHAPES = {aten.view.default, aten._unsafe_view.default, aten.reshape.default}
VIEWS = {aten.permute.default, aten.expand.default, aten.squeeze.dim, aten.unsqueeze.default}

Bfloat16Nodes = dict[Node, Node]  #: node -> the same in bfloat16


def is_supported() -> bool:
    """Tell whether torch's precision is `medium` and this CPU multiplies bfloat16 in hardware.

    Where that is the slower way, the driver has told the worker to train at another precision
    (`membench.engine.matmul_trial`).
    """
    in_hardware = bool(torch.cpu._is_avx512_bf16_supported())
    return torch.get_float32_matmul_precision() == "medium" and in_hardware


class Bfloat16MatmulPass(CustomGraphPass):
    """A pass that rewrites large products of a differentiated graph, before it is lowered."""

    def __call__(self, graph: Graph) -> None:
        """Rewrite the products in place."""
        rounded: Bfloat16Nodes = {}
        for node in list(graph.nodes):
            is_product = node.op == "call_function" and node.target in PRODUCTS
            if is_product and _is_large_enough(node):
                _rewrite_product(graph, node, rounded)

    def uuid(self) -> Any:
        """Return what identifies the pass in Inductor's cache: the hash of its two files."""
        return get_hash_for_files((__file__, products.__file__))


def _is_large_enough(node: Node) -> bool:
    first = PRODUCTS[node.target]
    a, b = _value(node.args[first]), _value(node.args[first + 1])
    multiplications = a.shape[-2] * a.shape[-1] * b.shape[-1]
    return bool(a.dtype == torch.float32 and multiplications >= MIN_MULTIPLICATIONS)


def _rewrite_product(graph: Graph, node: Node, rounded: Bfloat16Nodes) -> None:
    """Replace a product by that of the rounded factors, cast back to float32.

    What `addmm` adds is added to that, in float32.
    """
    first = PRODUCTS[node.target]
    is_matrix = _value(node.args[first]).dim() == 2
    with graph.inserting_before(node):
        a = _round(graph, _node(node.args[first]), rounded)
        b = _round(graph, _node(node.args[first + 1]), rounded)
        product = _call(graph, aten.mm.default if is_matrix else aten.bmm.default, a, b)
        result = _cast(graph, product, torch.float32)
        if first:
            alpha, beta = node.kwargs.get("alpha", 1), node.kwargs.get("beta", 1)
            added = node.args[0]
            if alpha != 1:
                result = _call(graph, aten.mul.Tensor, result, alpha)
            if beta != 1:
                added = _call(graph, aten.mul.Tensor, added, beta)
            result = _call(graph, aten.add.Tensor, added, result)
    node.replace_all_uses_with(result)
    graph.erase_node(node)


def _round(graph: Graph, node: Node, rounded: Bfloat16Nodes) -> Node:
    """Return a node in bfloat16, rounded once for all products that it is a factor of.

    Weights, inputs and errors are each a factor of two or three. A view of a node becomes the same
    view of that node rounded: if a convolution's patches were rounded after they are laid out,
    Inductor would write them in a loop over the view's shape that it cannot vectorize: 208 us a
    lane-step, not 8.
    """
    if node in rounded:
        return rounded[node]
    if node.target in VIEWS:
        base = _round(graph, _node(node.args[0]), rounded)
        rounded[node] = _call(graph, node.target, base, *node.args[1:])
    elif node.target in RESHAPES and _value(node.args[0]).is_contiguous():
        base = _round(graph, _node(node.args[0]), rounded)
        size, stride = list(_value(node).size()), list(_value(node).stride())
        rounded[node] = _call(graph, aten.as_strided.default, base, size, stride)
    else:
        rounded[node] = _cast(graph, node, torch.bfloat16)
    return rounded[node]


def _cast(graph: Graph, node: Node, dtype: torch.dtype) -> Node:
    return _call(graph, torch.ops.prims.convert_element_type.default, node, dtype)


def _call(graph: Graph, target: Any, *args: Any) -> Node:
    """Add a call to the graph; its node gets the fake tensor that later passes ask for."""
    node = graph.call_function(target, args)
    values = [_value(arg) if isinstance(arg, Node) else arg for arg in args]
    with values[0].fake_mode:
        node.meta["val"] = target(*values)
    return node


def _node(argument: Any) -> Node:
    """Return an argument that is a node, as the tensors of every call in a graph are."""
    if not isinstance(argument, Node):
        raise TypeError(f"expected a node of the graph, not {argument!r}")
    return argument


def _value(argument: Any) -> Any:
    """Return the fake tensor that stands for a node's result."""
    return _node(argument).meta["val"]

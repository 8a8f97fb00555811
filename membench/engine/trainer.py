"""Many lanes of one program, trained together: their stacked state, and all that changes it.

`Trainer.step` runs `Program.step` under `vmap`, eagerly; after `Trainer.compile` an epoch runs
compiled steps (`membench.engine.compiled`), and on a GPU it replays a CUDA graph, as after
`Trainer.capture` (`membench.engine.capture`). Evaluation is in `membench.engine.evaluate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from membench.api import Params
from membench.engine.capture import CapturedStep
from membench.engine.capture import is_out_of_memory
from membench.engine.counter import tree_bytes
from membench.engine.evaluate import Evaluation
from membench.engine.evaluate import Readout
from membench.engine.evaluate import evaluate
from membench.engine.evaluate import running_statistics
from membench.engine.lane_tensors import LaneTensors
from membench.engine.lane_tensors import standardise
from membench.engine.network import initial_buffers
from membench.engine.step import Program
from membench.engine.step import Tree
from membench.nn import one_hot

if TYPE_CHECKING:
    from membench.engine.compiled import LaneGroup


class Trainer:
    """L lanes of one program; `train_epoch` trains them all, `evaluate` reads them."""

    def __init__(
        self,
        program: Program,
        weights: list[Params],
        strengths: Tensor,
        keys: Tensor,
        data: LaneTensors,
    ) -> None:
        """Stack the lanes at step 0, on the device of their data.

        Args:
            program: what the lanes share.
            weights: each lane's initial weights, on any device.
            strengths: [L, parts] float32.
            keys: [L, 1] int32, from which each lane's random numbers are hashed.
            data: each lane's training data.
        """
        device = data.images.device
        self.program, self.data = program, data
        #: 0-d int32 on the device: how many steps were taken
        self.step_index = torch.zeros((), dtype=torch.int32, device=device)
        initial = {
            name: torch.stack([own[name] for own in weights]).to(device) for name in weights[0]
        }
        #: what training does not change, stacked over lanes (`Program` says what is in it)
        self.constants: Tree = {
            "initial": initial,
            "strengths": strengths,
            "key": keys,
            "std": data.std,
        }
        params = {name: w.clone() for name, w in initial.items()}
        states = vmap(program.initial_states, in_dims=(0, 0, None))(
            params, self.constants, self.step_index
        )
        #: what a step changes, stacked over lanes; its tensors stay in place
        self.state: Tree = {
            "params": params,
            "slots": clone_tree(vmap(program.initial_slots)(params)),
            "states": [clone_tree(state) for state in states],
            "buffers": initial_buffers(program.module, len(weights), device),
            "diverged_at": torch.full((len(weights),), -1, dtype=torch.int32, device=device),
        }
        #: once compiled: the lanes that step together; the first group counts in `step_index`
        self.groups: list[LaneGroup] = []
        self.graph: CapturedStep | None = None  #: once captured, on a GPU
        #: lanes in one pass of an evaluation; on a CPU one, because a wider pass waits for memory
        self.eval_lanes = 1 if device.type == "cpu" else len(weights)

    def step(self, index: Tensor) -> None:
        """Take one eager step of all lanes on the batch `index`, [L, batch] int64."""
        step_in_place(self.program, self.state, self.constants, self.data, index, self.step_index)

    def train_epoch(self, order: Tensor) -> None:
        """Train one epoch in the given order, [L, steps, batch]."""
        if self.graph is not None:
            self.graph.epoch(order)
        elif self.groups:
            for group in self.groups:
                for index in _by_step(order[group.lanes]):
                    group.step(index)
        else:
            for index in _by_step(order):
                self.step(index)

    def compile(self, order: Tensor) -> str:
        """Run the step as one compiled program from now on.

        On a CPU the lanes step in groups, on a GPU all at once in a CUDA graph. At torch's matmul
        precision `medium` a CPU that can multiplies in bfloat16 (`membench.engine.bf16`). The
        program is tried on a copy of the lanes, so that a failure half-way leaves no trace in the
        weights.

        Args:
            order: [L, steps, batch] int64, the order of an epoch; every epoch's has its shape.

        Returns:
            "", or the reason why the step stays eager: the numbers are the same, slower.

        Raises:
            torch.OutOfMemoryError: the lanes do not fit into the GPU's memory.
        """
        # imported here: Inductor takes 1 to 2 s to load, and eager packs never need it
        from membench.engine import bf16
        from membench.engine import compiled

        on_cpu = order.device.type == "cpu"
        program = compiled.compiled_step(
            step_in_place, self.program, on_cpu=on_cpu, bfloat16=on_cpu and bf16.is_supported()
        )
        lane_slices = [slice(None)]
        if on_cpu:
            lane_count = len(self.state["diverged_at"])
            lane_bytes = tree_bytes(self.state["params"]) // lane_count
            lane_slices = compiled.lane_groups(lane_count, lane_bytes)
        # contiguous like every index that follows: compiled programs insist on strides
        index = order[lane_slices[0], 0].contiguous()
        state, *others = self.arguments(lane_slices[0], index, self.step_index.clone())
        trial = (clone_tree(state), *others)
        groups: list[LaneGroup] = []
        graph = None
        try:
            for lanes in lane_slices:
                step_index = self.step_index.clone() if groups else self.step_index
                arguments = self.arguments(lanes, index, step_index)
                step = program.bind(trial, arguments, index)
                groups.append(compiled.LaneGroup(lanes=lanes, step=step))
            if not on_cpu:
                warmup = program.bind(trial, trial, index)
                graph = CapturedStep(groups[0].step, warmup, index)
        except Exception as error:  # plugins, Inductor and the C++ compiler raise anything
            return f"ran uncompiled: {_first_line(error)}"
        self.groups, self.graph = groups, graph
        return ""

    def capture(self, order: Tensor) -> str:
        """Replay the eager step as a CUDA graph from now on, without compiling anything.

        It is tried on a copy of the lanes, as by `compile`.

        Args:
            order: [L, steps, batch] int64 on a GPU, the order of an epoch.

        Returns:
            "", or the reason why each step is launched anew: the numbers are the same, slower.

        Raises:
            torch.OutOfMemoryError: the lanes do not fit into the GPU's memory.
        """
        index = order[:, 0].contiguous()
        state, constants, data, _, step_index = self.arguments(
            slice(None), index, self.step_index.clone()
        )
        trial = clone_tree(state)

        def warmup(batch: Tensor) -> None:
            step_in_place(self.program, trial, constants, data, batch, step_index)

        try:
            self.graph = CapturedStep(self.step, warmup, index)
        except Exception as error:  # a plugin's code runs in it
            return f"ran without a CUDA graph: {_first_line(error)}"
        return ""

    @torch.no_grad()
    def readout(self) -> Readout:
        """Return what is evaluated now, of all lanes.

        Running statistics are those of training, unless a `readout` stage gives other weights than
        the trained ones.
        """
        params = vmap(self.program.readout, in_dims=(0, 0, None))(
            self.state, self.constants, self.step_index
        )
        buffers = self.state["buffers"]
        if buffers and self.program.acting("readout"):
            buffers = running_statistics(self.program, params, buffers, self.data, self.eval_lanes)
        return Readout(params, buffers)

    @torch.no_grad()
    def evaluate(self, rows: Tensor, labels: Tensor, readout: Readout | None = None) -> Evaluation:
        """Evaluate all lanes.

        Args:
            rows: [L, m] int64, rows of `data.images`.
            labels: [L, m] int64.
            readout: what `readout` returned, where several splits are read at once; None = call it.
        """
        if readout is None:
            readout = self.readout()
        return evaluate(self.program, readout, self.data, rows, labels, self.eval_lanes)

    def arguments(self, lanes: slice, index: Tensor, step_index: Tensor) -> tuple[Any, ...]:
        """Return what `step_in_place` takes after the program, as views of the trainer's memory.

        Args:
            lanes: which of them.
            index: [l, batch] int64, the batches of these lanes.
            step_index: 0-d int32.
        """
        return (
            _of_lanes(self.state, lanes),
            _of_lanes(self.constants, lanes),
            self.data.of_lanes(lanes),
            index,
            step_index,
        )


def step_in_place(
    program: Program,
    state: Tree,
    constants: Tree,
    data: LaneTensors,
    index: Tensor,
    step_index: Tensor,
) -> None:
    """Take one step of stacked lanes; writes `state` and `step_index`.

    Args:
        program: what the lanes share.
        state: what the step changes, stacked.
        constants: what it does not change, stacked.
        data: the lanes' training data.
        index: [L, batch] int64, which of each lane's training examples are in the batch.
        step_index: 0-d int32.
    """
    x = standardise(data.images[data.rows.gather(1, index)], data.mean, data.std)
    y = one_hot(data.labels.gather(1, index), program.sizes.num_classes)
    batch = {"x": x, "y": y, "index": index, "clean": data.clean.gather(1, index)}
    stacked_step = vmap(program.step, in_dims=(0, 0, 0, None))
    _copy_tree(state, stacked_step(state, constants, batch, step_index))
    step_index.add_(1)


def clone_tree(tree: Any) -> Any:
    """Copy every leaf to memory that it shares with none: a state may be a view of the weights."""
    return tree_map(lambda leaf: leaf.clone(memory_format=torch.contiguous_format), tree)


def _first_line(error: Exception) -> str:
    """Return what an error says in its first line; one that is of memory goes on as such.

    Raises:
        torch.OutOfMemoryError: the error is of memory, or came from one.
    """
    lines = str(error).strip().splitlines() or [""]
    if is_out_of_memory(error):
        raise torch.OutOfMemoryError(lines[0])
    return f"{type(error).__name__}: {lines[0]}"


def _by_step(order: Tensor) -> Tensor:
    """Return an order [L, steps, batch] as [steps, L, batch], contiguous."""
    return order.transpose(0, 1).contiguous()


def _of_lanes(tree: Any, lanes: slice) -> Any:
    """Return views of some lanes of every leaf."""
    return tree_map(lambda leaf: leaf[lanes], tree)


def _copy_tree(old: Any, new: Any) -> None:
    """Write the new leaves over the old ones."""
    keys = old.keys() if isinstance(old, dict) else range(len(old))
    for key in keys:
        if isinstance(old[key], Tensor):
            old[key].copy_(new[key])
        else:
            _copy_tree(old[key], new[key])

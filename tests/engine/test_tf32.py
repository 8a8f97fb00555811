"""What TF32 does to the numbers of a pack, seen on a CPU: why test_gpu.py tolerates that much."""

from __future__ import annotations

import pytest
import torch
from support.cuda import TF32_EARLY
from support.cuda import Tf32Products
from support.cuda import early_losses
from support.cuda import pack_records

pytestmark = pytest.mark.usefixtures("worker_like")


def test_a_product_s_factors_keep_ten_bits_of_mantissa() -> None:
    kept, lost = 1 + 2**-10, 1 + 2**-12
    left, right = torch.tensor([[kept, lost]]), torch.eye(2)
    with Tf32Products():
        assert (left @ right).tolist() == [[kept, 1.0]]
        assert (left + 0).tolist() == left.tolist()  # nothing but products is rounded


@pytest.mark.parametrize("name", ["dropout+adversarial", "sam"])
def test_the_first_losses_in_tf32_are_near_those_of_full_fp32(name: str) -> None:
    """Of the regularizers that test_gpu.py compares, the two that carry a rounding furthest."""
    full = pack_records("cpu", False, name, signals=("real",))
    with Tf32Products():
        short = pack_records("cpu", False, name, signals=("real",))
    for expected, record in zip(full, short, strict=True):
        assert record.loss != expected.loss
        assert early_losses(record) == pytest.approx(early_losses(expected), abs=TF32_EARLY)

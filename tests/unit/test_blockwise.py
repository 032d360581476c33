"""Losses in blocks of rows against the same with all scores at once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import blockwise as slow

from fairseq_bso.core import blockwise
from fairseq_bso.core.blockwise import log_partition


@pytest.fixture(autouse=True, params=[1, 2**21], ids=["16 rows a block", "one block"])
def block(request, monkeypatch):
    """The fewest rows that a block can have, and all."""
    monkeypatch.setattr(blockwise, "CPU_BLOCK", request.param)


def layer(seed, rows, words, units=3, dtype=torch.float64):
    """Random outputs (N, H), weight (V, H) and bias (V,) that want gradients."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (rows, units), (words, units), (words,)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def assert_gradients_equal(ours, theirs, inputs, **tolerance):
    found, expected = torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs)
    for one, other in zip(found, expected):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, **tolerance)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16), rows=st.integers(0, 50), words=st.integers(1, 9))
def test_log_partition_and_its_gradients_equal_the_twin(seed, rows, words):
    inputs = layer(seed, rows, words)
    ours, theirs = log_partition(*inputs), slow.log_partition(*inputs)
    torch.testing.assert_close(ours, theirs)
    direction = torch.randn(rows, dtype=torch.float64)
    assert_gradients_equal(ours @ direction, theirs @ direction, inputs)


def test_log_partition_of_scores_whose_exponentials_overflow():
    outputs, weight, bias = layer(0, 40, 7, dtype=torch.float32)
    scale = 1000.0
    torch.testing.assert_close(
        log_partition(outputs * scale, weight, bias), slow.log_partition(outputs * scale, weight, bias)
    )


def test_log_partition_gradcheck_and_frozen_parts():
    inputs = layer(1, 35, 5)
    assert torch.autograd.gradcheck(log_partition, inputs)
    for frozen in range(3):
        parts = [part.detach() if index == frozen else part for index, part in enumerate(inputs)]
        rest = [part for index, part in enumerate(parts) if index != frozen]
        assert_gradients_equal(log_partition(*parts).sum(), slow.log_partition(*parts).sum(), rest)


def test_log_partition_without_gradient_is_a_plain_tensor():
    inputs = layer(1, 20, 5)
    with torch.no_grad():
        assert not log_partition(*inputs).requires_grad
    assert not log_partition(*(part.detach() for part in inputs)).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_log_partition_of_a_16_bit_model_is_float32(dtype):
    inputs = [part.detach().to(dtype).requires_grad_() for part in layer(1, 40, 50)]
    exact = [part.detach().double().requires_grad_() for part in inputs]
    ours, theirs = log_partition(*inputs), slow.log_partition(*exact)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=0.03)
    for one, other in zip(torch.autograd.grad(ours.sum(), inputs), torch.autograd.grad(theirs.sum(), exact)):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), other, rtol=0.02, atol=0.05)

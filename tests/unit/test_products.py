"""The vocabulary product against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from fairseq_bso.core.products import linear


@pytest.mark.parametrize("shape", [(700,), (35, 20), (3,)])
def test_linear_and_its_gradients_equal_torchs(shape):
    """The first two are large enough for oneDNN where torch has it, the last is not."""
    torch.manual_seed(0)
    given = torch.randn(*shape, 32, requires_grad=True)
    weight, bias = torch.randn(900, 32, requires_grad=True), torch.randn(900, requires_grad=True)
    fast, plain = linear(given, weight, bias), F.linear(given, weight, bias)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-4)
    direction = torch.randn_like(plain)
    for ours, theirs in zip(
        torch.autograd.grad(fast, (given, weight, bias), direction),
        torch.autograd.grad(plain, (given, weight, bias), direction),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_linear_takes_views_and_other_types():
    torch.manual_seed(0)
    given, weight, bias = torch.randn(32, 700).t(), torch.randn(32, 900).t(), torch.randn(900)
    torch.testing.assert_close(linear(given, weight, bias), F.linear(given, weight, bias), rtol=1e-5, atol=1e-4)
    for dtype in (torch.float64, torch.bfloat16):
        parts = given.to(dtype), weight.to(dtype), bias.to(dtype)
        torch.testing.assert_close(linear(*parts), F.linear(*parts))


def test_a_frozen_weight_gets_no_gradient():
    given, weight, bias = torch.randn(700, 32, requires_grad=True), torch.randn(900, 32), torch.randn(900)
    linear(given, weight, bias).sum().backward()
    torch.testing.assert_close(given.grad, weight.sum(0).expand(700, -1), rtol=1e-4, atol=1e-3)

"""Matrix products, compared with torch's own."""

import pytest
import torch
import torch.nn.functional as F

from fairseq_bso import linear as quick
from fairseq_bso.blockwise import log_partition
from fairseq_bso.linear import linear, multiply
from fairseq_bso.search.scorer import Scorer


@pytest.fixture(autouse=True, params=["the plain products", "oneDNN"])
def library(request, monkeypatch):
    """Uses each library in turn, whichever is faster on this CPU."""
    wanted = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if request.param == "oneDNN" else None
    monkeypatch.setattr(quick, "_ONEDNN", wanted)


@pytest.mark.parametrize("shape", [(700,), (35, 20), (3,)])
def test_linear_and_its_gradients_equal_torchs(shape):
    """The first two shapes are large enough for oneDNN, if torch has it; the last shape is not."""
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


@pytest.mark.parametrize("rows", [2, 700])
@pytest.mark.parametrize("added", [None, (900,), "rows"])
def test_multiply_equals_torchs_product(rows, added):
    torch.manual_seed(0)
    given, weight = torch.randn(rows, 32), torch.randn(900, 32)
    added = None if added is None else torch.randn((rows, 900) if added == "rows" else added)
    expected = F.linear(given, weight) + (0 if added is None else added)
    torch.testing.assert_close(multiply(given, weight, added), expected, rtol=1e-5, atol=1e-4)
    assert added is None or not torch.equal(added, expected), "what is added stays as it was"


def test_linear_without_bias():
    torch.manual_seed(0)
    given, weight = torch.randn(700, 32), torch.randn(900, 32, requires_grad=True)
    made = linear(given, weight)
    torch.testing.assert_close(made, F.linear(given, weight), rtol=1e-5, atol=1e-4)
    made.sum().backward()
    torch.testing.assert_close(weight.grad, given.sum(0).expand(900, -1), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_z_is_that_of_the_softmax(temperature):
    """There are more rows than fit one block, and the exponentials of the scores would overflow."""
    torch.manual_seed(0)
    scorer = Scorer(torch.randn(9000, 8), 100 * torch.randn(9000))
    outputs = torch.randn(130, 8)
    expected = (F.linear(outputs, scorer.weight, scorer.bias) / temperature).logsumexp(1)
    found = log_partition(outputs / temperature, scorer.weight, scorer.bias / temperature)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)

"""The hand-written gradients of the decoder's inner loop, compared with autograd's."""

import pytest
import torch

from fairseq_bso import linear as quick
from fairseq_bso.models.deferred_gradients import AttentionMemory, RecurrentWeight, lstm_cell


def _double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def _plain_lstm_cell(gates, cell):
    input_gate, forget_gate, output_gate, candidate = gates.chunk(4, 1)
    cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
    return torch.sigmoid(output_gate) * torch.tanh(cell), cell


def test_lstm_cell_equals_its_definition_and_passes_gradcheck():
    gates, cell = _double(3, 8), _double(3, 2)
    for fast, plain in zip(lstm_cell(gates, cell), _plain_lstm_cell(gates, cell)):
        torch.testing.assert_close(fast, plain)
    assert torch.autograd.gradcheck(lstm_cell, (gates, cell))


def _recurrence(product, inputs, steps, hidden):
    """``hidden = tanh(inputs + W hidden)`` with fewer rows at every step, like a batch of different lengths."""
    total = hidden.new_zeros(())
    for step in range(steps):
        hidden = torch.tanh(product(hidden, inputs[: hidden.size(0)]))
        total = total + (hidden * (step + 1)).sum()
        hidden = hidden[: max(1, hidden.size(0) - 1)]
    return total


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_recurrent_weight_gathers_the_gradient_of_all_steps(steps):
    weight, inputs, hidden = _double(4, 4), _double(3, 4), _double(3, 4)
    fast = torch.autograd.grad(_recurrence(RecurrentWeight(weight), inputs, steps, hidden), (weight, inputs, hidden))
    plain = torch.autograd.grad(
        _recurrence(lambda inputs, bias: bias + inputs @ weight.t(), inputs, steps, hidden), (weight, inputs, hidden)
    )
    for ours, theirs in zip(fast, plain):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("frozen", [False, True])
def test_recurrent_weight_of_a_usual_size_equals_the_plain_products(frozen, monkeypatch):
    """Every product is large enough for oneDNN, if torch has it."""
    monkeypatch.setattr(quick, "_ONEDNN", getattr(torch.ops.mkldnn, "_linear_pointwise", None))
    torch.manual_seed(0)
    weight, inputs, hidden = torch.randn(256, 256) / 16, torch.randn(90, 256), torch.randn(90, 256)
    wanted = [inputs.requires_grad_(), hidden.requires_grad_(), *([] if frozen else [weight.requires_grad_()])]
    fast = torch.autograd.grad(_recurrence(RecurrentWeight(weight), inputs, 3, hidden), wanted)
    plain = torch.autograd.grad(_recurrence(lambda inputs, bias: bias + inputs @ weight.t(), inputs, 3, hidden), wanted)
    for ours, theirs in zip(fast, plain):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_recurrent_weight_that_reaches_no_loss_gets_no_gradient():
    weight, other = _double(2, 2), _double(2, 2)
    RecurrentWeight(weight)
    other.sum().backward()
    assert weight.grad is None


def test_recurrent_weight_clears_its_calls_after_each_backward():
    weight, given = _double(2, 2), _double(3, 2)
    product = RecurrentWeight(weight)
    loss = product(given, given.new_zeros(2)).sum()
    first = torch.autograd.grad(loss, weight, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(loss, weight)[0], first)


def test_a_backward_that_passes_by_the_weight_is_not_counted_twice():
    weight, given = _double(2, 2), _double(3, 2)
    loss = RecurrentWeight(weight)(given, given.new_zeros(2)).sum()
    torch.autograd.grad(loss, given, retain_graph=True)
    expected = torch.autograd.grad((given @ weight.t()).sum(), weight)[0]
    torch.testing.assert_close(torch.autograd.grad(loss, weight)[0], expected)


def _plain_attention(query, keys, values, mask):
    scores = (query @ keys.transpose(1, 2)).masked_fill(mask.unsqueeze(1), -torch.inf)
    weights = scores.softmax(2)
    return weights @ values, weights


@pytest.mark.parametrize("steps", [1, 3])
def test_attention_memory_gathers_the_gradient_of_all_steps(steps):
    keys, values, query = _double(2, 5, 3), _double(2, 5, 4), _double(2, 2, 3)
    mask = torch.tensor([[False] * 5, [False, False, True, True, True]])

    def total(attend):
        found, asked = query.new_zeros(()), query
        for _ in range(steps):
            context = attend(asked)[0]
            found = found + (context**2).sum()
            asked = torch.sin(asked + context[..., :3])
        return found

    fast = torch.autograd.grad(total(AttentionMemory(keys, values, mask)), (keys, values, query))
    plain = torch.autograd.grad(total(lambda asked: _plain_attention(asked, keys, values, mask)), (keys, values, query))
    for ours, theirs in zip(fast, plain):
        torch.testing.assert_close(ours, theirs)


def test_weights_lost_in_rounding_get_no_denormal_gradient():
    """The scores are 0, -30, -60 and -95. The last two weights, 9e-27 and 6e-42, count as zero."""
    torch.manual_seed(0)
    query = torch.tensor([[[1.0, 0.1]]], requires_grad=True)  # (1, 1, 2)
    keys = torch.tensor([[[0.0, 0.0], [-30.0, 0.0], [-60.0, 0.0], [-95.0, 0.0]]], requires_grad=True)
    values = torch.randn(1, 4, 3, requires_grad=True)
    context, weights = AttentionMemory(keys, values, None)(query)
    torch.testing.assert_close(weights[0, 0, :2], torch.tensor([1.0, 9.36e-14]))
    assert weights[0, 0, 1] > 0 and (weights[0, 0, 2:] == 0).all()
    for gradient in torch.autograd.grad((context * 1e-12).sum(), (query, keys, values)):
        sizes = gradient.abs()
        assert not ((sizes > 0) & (sizes < torch.finfo(torch.float32).tiny)).any()


def test_without_gradient_the_plain_products_are_taken():
    weight, given = _double(2, 2), _double(3, 2)
    product = RecurrentWeight(weight)
    with torch.no_grad():
        assert not product(given, given.new_zeros(2)).requires_grad
    assert not product.calls

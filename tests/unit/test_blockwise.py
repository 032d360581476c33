"""Losses in blocks of rows, compared with the same losses of all scores at once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import blockwise as slow

from fairseq_bso import blockwise, linear
from fairseq_bso.blockwise import log_partition
from fairseq_bso.blockwise_cross_entropy import cross_entropy
from fairseq_bso.compat import torch_version
from fairseq_bso.distill.blockwise_loss import block_word_loss, rows_of_scorers
from fairseq_bso.distill.teacher_distribution import mixture, teacher_distribution
from fairseq_bso.distill.word_loss import word_loss
from fairseq_bso.search.scorer import Scorer


@pytest.fixture(autouse=True, params=[(1, 1), blockwise.CPU_SCORES], ids=["16 rows a block", "one block"])
def block(request, monkeypatch):
    """Uses the smallest possible block, or one block of all rows."""
    monkeypatch.setattr(blockwise, "CPU_SCORES", request.param)


@pytest.fixture(params=["the plain products", "oneDNN"])
def library(request, monkeypatch):
    """Uses each library in turn, whichever is faster on this CPU."""
    wanted = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if request.param == "oneDNN" else None
    monkeypatch.setattr(linear, "_ONEDNN", wanted)


IN_FLOAT16 = pytest.mark.skipif(torch_version() < (2, 1), reason="torch multiplies float16 on a CPU since 2.1")


def layer(seed, rows, words, units=3, dtype=torch.float64):
    """Random outputs (N, H), weight (V, H) and bias (V,) that require gradients."""
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=IN_FLOAT16)])
def test_log_partition_of_a_16_bit_model_is_float32(dtype):
    inputs = [part.detach().to(dtype).requires_grad_() for part in layer(1, 40, 50)]
    exact = [part.detach().double().requires_grad_() for part in inputs]
    ours, theirs = log_partition(*inputs), slow.log_partition(*exact)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=0.03)
    for one, other in zip(torch.autograd.grad(ours.sum(), inputs), torch.autograd.grad(theirs.sum(), exact)):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), other, rtol=0.02, atol=0.05)


PADDING = 1
LOSSES = {
    "smoothing": st.sampled_from([0.0, 0.1]),
    "self_normalize": st.sampled_from([0.0, 0.3]),
}


def targets(seed, rows, words):
    return torch.randint(words, (rows,), generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16), rows=st.integers(0, 50), words=st.integers(2, 9), **LOSSES)
def test_cross_entropy_and_its_gradients_equal_the_twin(seed, rows, words, smoothing, self_normalize):
    inputs, target = layer(seed, rows, words), targets(seed, rows, words)
    ours = cross_entropy(*inputs, target, PADDING, smoothing, self_normalize, count_correct=True)
    theirs = slow.cross_entropy(*inputs, target, PADDING, smoothing, self_normalize)
    for one, other in zip(ours, theirs):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-6, atol=1e-6)
    assert_gradients_equal(3 * ours.loss, 3 * theirs[0], inputs)


@given(seed=st.integers(0, 2**16), frozen=st.sets(st.integers(0, 2), max_size=3), **LOSSES)
def test_cross_entropy_makes_only_the_gradients_that_are_wanted(seed, frozen, smoothing, self_normalize):
    inputs = layer(seed, 20, 6)
    parts = [part.detach() if index in frozen else part for index, part in enumerate(inputs)]
    rest = [part for part in parts if part.requires_grad]
    target = targets(seed, 20, 6)
    ours = cross_entropy(*parts, target, PADDING, smoothing, self_normalize).loss
    assert ours.requires_grad == bool(rest)
    if rest:
        assert_gradients_equal(ours, slow.cross_entropy(*parts, target, PADDING, smoothing, self_normalize)[0], rest)
    with torch.no_grad():
        assert torch.equal(cross_entropy(*inputs, target, PADDING, smoothing, self_normalize).loss, ours)


def test_a_weight_that_is_used_elsewhere_too_gets_both_gradients():
    inputs, target = layer(3, 20, 6), targets(3, 20, 6)

    def tied(loss):
        outputs, weight, bias = inputs
        fed = outputs + weight.index_select(0, target)  # an embedding
        return 2 * loss(fed, weight, bias, target, PADDING)[0] + loss(fed, weight, bias, target, PADDING)[0].square()

    assert_gradients_equal(tied(cross_entropy), tied(slow.cross_entropy), inputs)


def test_a_second_backward_is_refused():
    loss = cross_entropy(*layer(1, 20, 6), targets(1, 20, 6), PADDING).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="can go backward only once"):
        loss.backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=IN_FLOAT16)])
@pytest.mark.parametrize("smoothing, self_normalize", [(0.0, 0.0), (0.1, 0.2)])
def test_cross_entropy_of_a_16_bit_model_is_float32(dtype, smoothing, self_normalize):
    inputs = [part.detach().to(dtype).requires_grad_() for part in layer(1, 40, 50)]
    exact, target = [part.detach().double().requires_grad_() for part in inputs], targets(2, 40, 50)
    ours = cross_entropy(*inputs, target, PADDING, smoothing, self_normalize)
    theirs = slow.cross_entropy(*exact, target, PADDING, smoothing, self_normalize)
    assert ours.loss.dtype == ours.nll.dtype == torch.float32
    torch.testing.assert_close(ours.loss.double(), theirs[0], rtol=0.01, atol=0)
    for one, other in zip(torch.autograd.grad(ours.loss, inputs), torch.autograd.grad(theirs[0], exact)):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), other, rtol=0.02, atol=0.05)


@IN_FLOAT16
def test_float16_keeps_the_gradients_of_unlikely_words():
    """Each of 20,000 words has a probability of 5e-5. The gradient of a wrong word is 5e-5 times the output, 1e-3."""
    outputs = torch.full((1, 1), 1e-3, dtype=torch.float16)
    weight = torch.zeros(20000, 1, dtype=torch.float16, requires_grad=True)
    loss = cross_entropy(outputs, weight, weight.new_zeros(20000), torch.tensor([2]), PADDING).loss
    (gradient,) = torch.autograd.grad(loss * 2**14, weight)  # like a gradient scaler
    torch.testing.assert_close(gradient[3:].float(), torch.full((19997, 1), 2**14 * 1e-3 / 20000), rtol=2e-3, atol=0)


def test_products_that_are_large_enough_for_onednn(library):
    inputs = layer(1, 150, 3000, units=64, dtype=torch.float32)
    inputs = [(part.detach() / 4).requires_grad_() for part in inputs]
    target = targets(2, 150, 3000)
    ours, theirs = (loss(*inputs, target, PADDING, 0.1, 0.1) for loss in (cross_entropy, slow.cross_entropy))
    torch.testing.assert_close(ours.loss, theirs[0], rtol=1e-6, atol=0)
    assert_gradients_equal(ours.loss, theirs[0], inputs, rtol=1e-5, atol=1e-5)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(0, 40),
    members=st.integers(1, 2),
    weight=st.sampled_from([0.3, 1.0]),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
    top_k=st.integers(0, 5),
    smoothing=st.sampled_from([0.0, 0.1]),
)
def test_distillation_equals_that_of_all_log_probabilities(seed, rows, members, weight, temperature, top_k, smoothing):
    """The teacher's distribution is given for all rows, or computed on demand. `word_loss` has its own reference."""
    inputs, target = layer(seed, rows, 6), targets(seed, rows, 6)
    teachers = [[part.detach().float() for part in layer(seed + 1 + member, rows, 6, 4)] for member in range(members)]
    options = weight, temperature, smoothing
    mean = mixture([torch.nn.functional.linear(*each).log_softmax(1) for each in teachers])
    whole = teacher_distribution(mean, temperature, top_k)
    student = torch.nn.functional.linear(*inputs).log_softmax(1)
    expected = word_loss(student, target, PADDING, whole, *options)
    scorers = [(outputs, Scorer(weights, bias)) for outputs, weights, bias in teachers]
    for teacher in (whole.at, rows_of_scorers(scorers, temperature, top_k)):
        found = block_word_loss(inputs[0], Scorer(*inputs[1:]), target, PADDING, teacher, *options)
        for one, other in zip(found, expected):
            torch.testing.assert_close(one.double(), other.double(), rtol=1e-6, atol=1e-5)
        gradients = torch.autograd.grad(found.loss, inputs)
        retained = word_loss(torch.nn.functional.linear(*inputs).log_softmax(1), target, PADDING, whole, *options).loss
        for one, other in zip(gradients, torch.autograd.grad(retained, inputs)):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_distillation_without_a_teacher_is_cross_entropy(smoothing):
    inputs, target = layer(4, 20, 6), targets(4, 20, 6)
    found = block_word_loss(inputs[0], Scorer(*inputs[1:]), target, PADDING, label_smoothing=smoothing)
    plain = cross_entropy(*inputs, target, PADDING, smoothing)
    assert torch.equal(found.loss, plain.loss) and torch.equal(found.nll, plain.nll)
    assert not found.distillation and not found.entropy and not found.agreement

"""The word-level loss and the ranking of hypotheses, compared with their references and with values by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import distillation as slow

from fairseq_bso.distill import teacher_distribution as distribution_module
from fairseq_bso.distill.ranking import rank_by_sentence_bleu
from fairseq_bso.distill.teacher_distribution import mixture, teacher_distribution
from fairseq_bso.distill.word_loss import word_loss

PADDING = 1


def draw_log_probs(seed, *shape):
    """Random float64 log-probabilities without ties."""
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(2 * torch.randn(*shape, generator=generator, dtype=torch.float64), -1)


def made(student, teachers, target, weight, temperature, top_k, smoothing):
    soft = teacher_distribution(mixture(teachers), temperature, top_k)
    return word_loss(student, target, PADDING, soft, weight, temperature, smoothing)


options = {
    "seed": st.integers(0, 2**16),
    "words": st.integers(1, 4),
    "vocabulary": st.integers(3, 7),
    "members": st.integers(1, 3),
    "weight": st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    "temperature": st.sampled_from([0.5, 1.0, 3.0]),
    "top_k": st.integers(0, 8),
    "smoothing": st.sampled_from([0.0, 0.1]),
}


@settings(max_examples=40)
@given(**options)
def test_the_word_loss_equals_its_slow_twin(seed, words, vocabulary, members, weight, temperature, top_k, smoothing):
    student = draw_log_probs(seed, words, vocabulary)
    teachers = [draw_log_probs(seed + 1 + member, words, vocabulary) for member in range(members)]
    target = torch.randint(vocabulary, (words,), generator=torch.Generator().manual_seed(seed))
    found = made(student, teachers, target, weight, temperature, top_k, smoothing)
    expected = [0.0] * 5
    for word in range(words):
        if target[word] != PADDING:
            one = slow.word_loss(
                student[word].exp().tolist(),
                [teacher[word].exp().tolist() for teacher in teachers],
                int(target[word]),
                weight,
                temperature,
                top_k,
                smoothing,
            )
            expected = [total + part for total, part in zip(expected, one)]
    for value, right in zip(found, expected):
        assert value.item() == pytest.approx(right, abs=1e-9)


@given(seed=st.integers(0, 2**16), temperature=st.sampled_from([1.0, 3.0]), top_k=st.sampled_from([0, 2]))
def test_overwriting_the_teachers_probabilities_changes_no_result(seed, temperature, top_k):
    results = []
    for in_place in (False, True):
        logits, teacher = draw_log_probs(seed, 4, 6).requires_grad_(), draw_log_probs(seed + 1, 4, 6)
        soft = teacher_distribution(teacher, temperature, top_k, in_place)
        found = word_loss(
            torch.log_softmax(logits, -1), torch.tensor([2, 1, 4, 5]), PADDING, soft, 0.5, temperature, 0.1
        )
        found.loss.backward()
        results.append((*found, logits.grad))
    for one, other in zip(*results):
        assert torch.equal(one, other)


@pytest.mark.parametrize("block", [1, 7, 13])
def test_blocks_of_words_change_no_result(block, monkeypatch):
    student, teacher = draw_log_probs(1, 5, 6), draw_log_probs(2, 5, 6)
    target = torch.tensor([2, 1, 4, 5, 3])
    whole = word_loss(student, target, PADDING, teacher_distribution(teacher, 2.0), 0.5, 2.0, 0.1)
    monkeypatch.setattr(distribution_module, "_BLOCK", block)
    parts = word_loss(student, target, PADDING, teacher_distribution(teacher, 2.0), 0.5, 2.0, 0.1)
    torch.testing.assert_close(tuple(whole), tuple(parts))


def test_a_batch_without_words_has_loss_0():
    student = draw_log_probs(0, 0, 6).requires_grad_()
    found = word_loss(
        student, torch.zeros(0, dtype=torch.int64), PADDING, teacher_distribution(draw_log_probs(0, 0, 6)), 0.5
    )
    found.loss.backward()
    assert found.loss == 0 and student.grad.shape == (0, 6)


@settings(max_examples=40)
@given(**options)
def test_the_gradient_is_that_of_finite_differences(
    seed, words, vocabulary, members, weight, temperature, top_k, smoothing
):
    teachers = [draw_log_probs(seed + 1 + member, words, vocabulary) for member in range(members)]
    target = torch.randint(vocabulary, (words,), generator=torch.Generator().manual_seed(seed))
    target[0] = 2
    logits = draw_log_probs(seed, words, vocabulary).requires_grad_()

    def loss(given_logits):
        student = torch.log_softmax(given_logits, -1)
        return made(student, teachers, target, weight, temperature, top_k, smoothing).loss

    loss(logits).backward()
    step = 1e-6
    for index in range(logits.numel()):
        change = torch.zeros(logits.numel(), dtype=torch.float64)
        change[index] = step
        change = change.view_as(logits)
        with torch.no_grad():
            slope = (loss(logits + change) - loss(logits - change)) / (2 * step)
        assert logits.grad.view(-1)[index].item() == pytest.approx(slope.item(), abs=1e-6)


@given(seed=st.integers(0, 2**16), temperature=st.sampled_from([0.5, 1.0, 4.0]), top_k=st.integers(0, 3))
def test_a_teacher_equal_to_the_student_gives_its_entropy_and_no_gradient(seed, temperature, top_k):
    logits = draw_log_probs(seed, 3, 6).requires_grad_()
    student = torch.log_softmax(logits, -1)
    target = torch.tensor([2, 3, 4])
    soft = teacher_distribution(student.detach(), temperature)
    found = word_loss(student, target, PADDING, soft, 1.0, temperature)
    assert found.loss.item() == pytest.approx(temperature**2 * found.entropy.item())
    assert found.agreement == 3
    found.loss.backward()
    assert logits.grad.abs().max() < 1e-12


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weight_0_is_fairseqs_loss_to_the_bit(smoothing):
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

    logits = torch.randn(50, 40, generator=torch.Generator().manual_seed(3))
    target = torch.randint(40, (50,), generator=torch.Generator().manual_seed(4))
    teacher = teacher_distribution(draw_log_probs(5, 50, 40).float(), 2.0)
    gradients = []
    for ours in (True, False):
        given_logits = logits.clone().requires_grad_()
        student = torch.log_softmax(given_logits, -1)
        if ours:
            loss = word_loss(student, target, PADDING, teacher, 0.0, 2.0, smoothing).loss
        elif smoothing:
            loss, _ = label_smoothed_nll_loss(student, target, smoothing, PADDING)
        else:
            loss = torch.nn.functional.nll_loss(student, target, ignore_index=PADDING, reduction="sum")
        loss.backward()
        gradients.append((loss.detach(), given_logits.grad))
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert torch.equal(gradients[0][1], gradients[1][1])


def test_impossible_words_of_the_teacher_add_nothing():
    teacher = torch.tensor([[0.5, 0.5, 0.0]]).log()
    student = torch.tensor([[0.25, 0.25, 0.5]]).log()
    soft = teacher_distribution(teacher)
    assert soft.entropy.item() == pytest.approx(math.log(2))
    found = word_loss(student, torch.tensor([2]), PADDING, soft, 1.0)
    assert found.loss.item() == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda lp, t: teacher_distribution(lp, 0.0), "temperature is 0.0, but must be above 0"),
        (lambda lp, t: teacher_distribution(lp, math.inf), "temperature is inf, but must be above 0 and finite"),
        (lambda lp, t: teacher_distribution(lp, 1.0, -1), "top k is -1, but must be at least 0"),
        (lambda lp, t: word_loss(lp, t, PADDING, None, 1.5), "the weight is 1.5"),
        (lambda lp, t: word_loss(lp, t, PADDING, None, 0.5, 1.0, 1.0), "label smoothing is 1.0, but"),
    ],
)
def test_options_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(draw_log_probs(0, 1, 4), torch.tensor([2]))


sentences = st.lists(st.integers(0, 3), max_size=6)


@given(golds=st.lists(sentences, min_size=1, max_size=3), data=st.data(), fill=st.integers(-1, 3))
def test_the_ranking_equals_its_slow_twin(golds, data, fill):
    beam = data.draw(st.integers(1, 4))
    lists = [[data.draw(sentences) for _ in range(beam)] for _ in golds]
    longest = max(len(words) for hypotheses in lists for words in hypotheses)
    hypotheses = torch.full((len(golds), beam, longest), fill)
    gold = torch.full((len(golds), max(map(len, golds))), fill)
    for row, words in enumerate(golds):
        gold[row, : len(words)] = torch.tensor(words, dtype=torch.int64)
        for place, hypothesis in enumerate(lists[row]):
            hypotheses[row, place, : len(hypothesis)] = torch.tensor(hypothesis, dtype=torch.int64)
    lengths = torch.tensor([[len(words) for words in each] for each in lists])
    order = rank_by_sentence_bleu(hypotheses, lengths, gold, torch.tensor([len(words) for words in golds])).tolist()
    for row, words in enumerate(golds):
        values = [slow.sentence_bleu(hypothesis, words) for hypothesis in lists[row]]
        assert sorted(order[row]) == list(range(beam))
        for before, after in zip(order[row], order[row][1:]):
            assert values[before] >= values[after] - 1e-6
            if lists[row][before] == lists[row][after]:
                assert before < after  # equal hypotheses keep the order of the search


def test_ranked_by_hand():
    """Gold is a b c d.

    The hypothesis a b c x has precisions 3/4, 3/4, 2/3, 1/2. The hypothesis a b has precisions 1, 1, 1, 1 and the
    brevity penalty exp(1 - 4 / 2) = 0.368. The hypothesis c d a b has precisions 1, 3/4, 1/3, 1/2.
    """
    a, b, c, d, x = range(5)
    hypotheses = torch.tensor([[[a, b, x, x], [c, d, a, b], [a, b, c, x], [a, b, c, d]]])
    order = rank_by_sentence_bleu(
        hypotheses, torch.tensor([[2, 4, 4, 4]]), torch.tensor([[a, b, c, d]]), torch.tensor([4])
    )
    assert order.tolist() == [[3, 2, 1, 0]]

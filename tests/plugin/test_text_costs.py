"""Costs of texts: their values on every kind of text, whole batches, costs that fail, and the example of one's own."""

import itertools
import re
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from random import Random

import bso_runs
import pytest
import sacrebleu
import torch
from bso_runs import make_batch, make_model
from fairseq.utils import import_user_module
from reference import fakes, stock

from fairseq_bso import register_text_cost
from fairseq_bso.bso.losses import NBestLists, get_loss
from fairseq_bso.bso.text_costs import Compared, TextCost, TextCosts, get_text_cost, text_cost_names
from fairseq_bso.errors import UserError
from fairseq_bso.search.finished_search import Finished

ROOT = Path(__file__).resolve().parents[2]
END, PADDING = 2, 1
criterion = partial(bso_runs.criterion, loss="risk")
OURS = ["chrf", "hamming", "sentence_bleu", "ter"]
TEXTS = ["the cat sat on the mat", "", "the cat", "dogs bark", "cat", "Cat.", "the the the the", "a b a b"]


def by_sacrebleu(name, text, right):
    """The cost of one pair by sacrebleu's own functions, or by plain loops."""
    if name == "sentence_bleu":
        return max(0.0, 1 - sacrebleu.sentence_bleu(text, [right], use_effective_order=True).score / 100)
    if name == "chrf":
        return max(0.0, 1 - sacrebleu.sentence_chrf(text, [right]).score / 100)
    if name == "ter":
        return min(1.0, sacrebleu.sentence_ter(text, [right]).score / 100)
    words, others, wrong = text.split(), right.split(), 0
    for place in range(max(len(words), len(others))):
        wrong += words[place : place + 1] != others[place : place + 1]
    return wrong / max(len(words), len(others)) if words or others else 0.0


@pytest.mark.parametrize("name", OURS)
def test_costs_of_all_pairs_equal_those_of_each_pair(name):
    """With empty texts and texts of one word, in one batch."""
    pairs = list(itertools.product(TEXTS, TEXTS))
    costs = get_text_cost(name).function(*map(list, zip(*pairs)))
    assert costs == pytest.approx([by_sacrebleu(name, *pair) for pair in pairs])
    assert all(0 <= cost <= 1 for cost in costs)
    equal = [cost for cost, (text, right) in zip(costs, pairs) if text == right and text]
    assert equal == pytest.approx([0] * len(equal), abs=1e-9) and get_text_cost(name).function([], []) == []


def test_hamming_counts_places():
    found = get_text_cost("hamming").function(["a b c", "a", "", "", "b a c"], ["a x c d", "b", "a b", "", "a b c"])
    assert found == pytest.approx([0.5, 1, 1, 0, 2 / 3])


def task_of(pieces):
    task = fakes.FakeTask(words=0)
    for piece in pieces:
        task.target_dictionary.add_symbol(piece)
    return task


def test_text_costs_join_subwords_and_count_equal_pairs_once():
    task, seen = task_of(["▁a", "b", "▁c"]), []

    @register_text_cost("noting")
    def noting(hypotheses, references):
        seen.extend(zip(hypotheses, references))
        return [len(one) for one in hypotheses]

    costs = TextCosts("noting", task, "sentencepiece")
    every = [((4, 5, 6, END), (6, END)), ((END,), (4, END)), ((4, 5, 6, END), (6, END)), ((4, 5, 6, 0, END), (6, END))]
    assert costs([Compared(*pair, (END,)) for pair in every]) == [4, 0, 4, 4]
    assert seen == [("ab c", "c"), ("", "a")]


@pytest.mark.parametrize("options", [{"loss": "risk"}, {"target": "oracle"}])
def test_an_unknown_way_of_joining_subwords_is_refused_before_training(options):
    with pytest.raises(UserError, match="--text-remove-bpe bpe is not known: give sentencepiece, subword_nmt or"):
        bso_runs.criterion(task_of([]), text_remove_bpe="bpe", **options)


def test_a_cost_with_sources_gets_three_lists_of_a_whole_batch():
    task, seen = task_of(["a", "b", "c"]), []

    @register_text_cost("noting sources", sources=True)
    def noting(hypotheses, references, sources):
        seen.append((hypotheses, references, sources))
        return torch.arange(len(hypotheses)) + 1.5

    finished = Finished(
        torch.tensor([[[4, 5, END], [END, 1, 1]], [[4, 5, END], [1, 1, 1]]]),
        torch.tensor([[3, 1], [3, 0]]),
        torch.zeros(2, 2),
    )
    costs = TextCosts("noting sources", task).of_finished(
        finished, [(4, END), (4, END)], torch.tensor([[PADDING, 6, END], [6, 6, END]])
    )
    assert seen == [(["a b", "", "a b"], ["a", "a", "a"], ["c", "c", "c c"])]
    assert costs.tolist() == [[1.5, 2.5], [3.5, 0]]


def test_a_batch_without_hypotheses_asks_for_no_cost():
    nothing = Finished(torch.ones(2, 3, 4).long(), torch.zeros(2, 3).long(), torch.zeros(2, 3))
    made = TextCosts("ter", task_of([]))
    made.cost = failing
    assert made.of_finished(nothing, [(END,), (END,)], torch.ones(2, 1).long()).tolist() == [[0] * 3] * 2


@pytest.mark.parametrize("name", OURS)
def test_equal_hypotheses_give_their_cost_as_risk_and_no_gradient(name):
    """Empty ones, and ones of one word; a softmax over equal costs moves nothing."""
    for text in ("", "cat"):
        cost = get_text_cost(name).function([text], ["the cat"])[0]
        scores = torch.tensor([[-1.0, -2.0, -5.0]], dtype=torch.float64, requires_grad=True)
        found = NBestLists(scores, torch.ones(1, 3).long(), torch.full((1, 3), cost).double(), scores < 0, 1.0)
        risk = get_loss("risk").function(found)
        assert risk.item() == pytest.approx(cost)
        assert torch.autograd.grad(risk, scores)[0].abs().max() < 1e-9


def failing(hypotheses, references):
    raise RuntimeError("no network")


@pytest.mark.parametrize(
    "function, message",
    [
        (failing, "raised RuntimeError (no network)"),
        (lambda one, right: [float("nan")] * len(one), "returned nan for the hypothesis"),
        (lambda one, right: [-float("inf")] * len(one), "returned -inf for the hypothesis"),
        (lambda one, right: [1.0], "returned 1 number for"),
        (lambda one, right: [1.0] * (len(one) + 1), "numbers for"),
        (lambda one, right: None, "raised TypeError"),
        (lambda one, right: ["high"] * len(one), "raised ValueError"),
        (lambda one, right, source: [1.0] * len(one), "gets two lists of texts and returns a number for each pair"),
    ],
    ids=["raises", "nan", "inf", "too few", "too many", "nothing", "words", "three lists"],
)
@pytest.mark.parametrize("options", [{}, {"loss": "margin", "target": "oracle"}], ids=["risk", "oracle"])
def test_a_cost_that_fails_is_one_line(function, message, options):
    task = fakes.FakeTask(words=6)
    made = criterion(task, **options)
    made.text_costs.cost = TextCost(function, with_sources=False)
    with pytest.raises(UserError, match=re.escape(message)):
        made(make_model("bso_lstm", 1, task), stock.batch(task, *make_batch(Random(1))))


@pytest.fixture(scope="module")
def example():
    """The user-dir of user_dir_examples/custom_losses, imported once."""
    import_user_module(Namespace(user_dir=str(ROOT / "user_dir_examples" / "custom_losses")))
    return sys.modules["custom_losses"]


def test_the_example_of_a_neural_cost_takes_a_batch_of_texts(example):
    assert "embedding" in text_cost_names()
    texts = ["the cat sat", "the cat sat", "", "dogs"]
    right, sources = ["the cat sat", "dogs bark", "the cat", "dogs"], ["die Katze", "die Katze", "", "Hunde"]
    together = example.embedding(texts, right, sources)
    alone = [example.embedding([one], [other], [source])[0] for one, other, source in zip(texts, right, sources)]
    assert together == pytest.approx(alone, abs=1e-6)
    assert together[0] < together[1] and together[2] == 1 and together[3] < 0.2


def test_the_example_of_a_loss_is_that_of_plain_loops(example):
    random, generator = Random(1), torch.Generator().manual_seed(1)
    scores = (-10 * torch.rand(4, 5, generator=generator, dtype=torch.float64)).requires_grad_()
    lengths = torch.tensor([[random.randint(0, 4) for _ in range(5)] for _ in range(4)])
    costs = torch.tensor([[random.choice([0.0, 0.3, 1.0]) for _ in range(5)] for _ in range(4)]).double()
    right = scores.sum() * 0
    for b, i, j in itertools.product(range(4), range(5), range(5)):
        if lengths[b, i] and lengths[b, j] and costs[b, i] < costs[b, j]:
            gap = scores[b, i] / lengths[b, i] - scores[b, j] / lengths[b, j]
            right = right + (costs[b, j] - costs[b, i] - gap).clamp(min=0)
    ours = get_loss("ranked_pairs").function(NBestLists(scores, lengths, costs, lengths > 0, 1.0))
    torch.testing.assert_close(ours, right)
    torch.testing.assert_close(*(torch.autograd.grad(value, scores)[0] for value in (ours, right)))


@pytest.mark.parametrize("options", [{"loss": "ranked_pairs"}, {"loss": "log_beam", "target": "oracle"}])
def test_the_examples_train_a_model_together(example, options):
    task = fakes.FakeTask(words=6)
    model, sample = make_model("bso_lstm", 1, task), stock.batch(task, *make_batch(Random(2)))
    with torch.no_grad():
        model.decoder.output_bias[END] += 3  # several hypotheses end
    found, _, logged = criterion(task, text_cost="embedding", **options)(model, sample)
    found.backward()
    assert torch.isfinite(found) and logged["search_loss"] > 0

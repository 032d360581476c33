"""BSO of ``bso_lstm`` under a constraint and over search words, compared with the reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import constraints as slow
from reference import fakes, lstm

from fairseq_bso.bso.criterion import BeamSearchOptimizationCriterion
from fairseq_bso.decoding.constraint import Constraint
from fairseq_bso.search.search_words import EstimatedLogZ

END = 2
LABELS = ["@L_a", "@R_a", "@R_b"]


class ConstrainedTask(fakes.FakeTask):
    """A task with a constraint, like ``--task bso_translation``."""

    def __init__(self, name):
        super().__init__(words=4)
        for label in LABELS:
            self.target_dictionary.add_symbol(label)
        self.name, self.labels = name, {self.target_dictionary.index(label) for label in LABELS}
        self.batch_constraint = Constraint(name, self.source_dictionary, self.target_dictionary)

    def allows(self, source, prefix):
        """The words that may follow, from the reference; ``source`` ends in ``</s>``."""
        if self.name == "word_order":
            return slow.word_order(source[:-1], prefix, END)
        return slow.arc_standard(source[:-1], prefix, END, self.labels)


def bso(task, model, sources, golds, beam, **options):
    """(loss, logging output, gradients) of the criterion."""
    given = {"initial_beam": 2, "updates_per_beam": 0, "delta": "zero_one", "margin": 1.0, "nll_weight": 0.0}
    given.update({"search_dtype": "model", "search_screen": 2, "sentence_avg": False, **options})
    net_input, target = fakes.batch(model, sources, golds)
    sample = {"net_input": net_input, "target": target, "ntokens": sum(map(len, golds)), "id": torch.arange(len(golds))}
    loss, _, logged = BeamSearchOptimizationCriterion(task, beam, **given)(model, sample)
    return loss, logged, gradients(model, loss)


def gradients(model, loss):
    """The gradient of every parameter; zero if the loss does not depend on it."""
    parameters = list(model.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True) if loss.requires_grad else [None] * len(parameters)
    return [torch.zeros_like(one) if part is None else part for one, part in zip(parameters, found)]


@st.composite
def allowed_pairs(draw, name):
    """(sources, golds) that the constraint allows."""
    task, random = ConstrainedTask(name), draw(st.randoms(use_true_random=False))
    sources = draw(st.lists(st.lists(st.sampled_from([4, 5, 6, 7]), min_size=1, max_size=4), min_size=1, max_size=3))
    golds = []
    for source in sources:
        gold = []
        while END not in gold:
            gold.append(random.choice(sorted(task.allows([*source, END], gold))))
        golds.append(gold)
    return [[*source, END] for source in sources], golds


@pytest.mark.parametrize("name", ["word_order", "arc_standard"])
@pytest.mark.parametrize("scorer", ["softmax", "summed", "unnormalized"])
@settings(max_examples=20)
@given(data=st.data(), beam=st.integers(2, 5), seed=st.integers(0, 999))
def test_constrained_loss_and_gradients_equal_the_twin(name, scorer, data, beam, seed):
    """The search is exact for every scorer. Raw scores of the candidates are exact with any number of search words."""
    task = ConstrainedTask(name)
    sources, golds = data.draw(allowed_pairs(name))
    rival = scorer != "unnormalized" and data.draw(st.booleans())
    search_words = 0 if scorer == "softmax" else data.draw(st.sampled_from([0, 1, 16]))
    model = fakes.model(seed, task, scorer=scorer)
    lenpen = (1.0 if scorer == "softmax" else 0.0) if rival else None
    finished = "rival" if rival else "dropped"
    fast, logged, found = bso(task, model, sources, golds, beam, search_words=search_words, finished=finished)
    expected, gaps = lstm.beam_search_loss(model, sources, golds, beam, "zero_one", None, lenpen, task.allows)
    assert logged["violations"] == len(gaps)
    assert float(logged["gold_gap"]) == pytest.approx(sum(gaps), abs=1e-6)
    torch.testing.assert_close(fast, expected)
    for ours, theirs in zip(found, gradients(model, expected)):
        torch.testing.assert_close(ours, theirs)


def test_a_constrained_softmax_search_over_all_words_is_the_exact_one():
    task = ConstrainedTask("word_order")
    model = fakes.model(5, task, scorer="softmax")
    with torch.no_grad():  # padding, which no search ranks, has no share of Z
        model.decoder.output_bias[model.decoder.dictionary.pad()] = -40
    sources, golds = [[4, 5, 6, 7, 4, END], [7, 6, END]], [[7, 4, 4, 6, 5, END], [6, 7, END]]
    exact, every = (bso(task, model, sources, golds, 4, search_words=n) for n in (0, len(task.target_dictionary)))
    assert exact[1]["violations"] > 0
    torch.testing.assert_close(every[0], exact[0])
    torch.testing.assert_close(every[2], exact[2])


def test_a_violator_that_exact_scores_do_not_confirm_costs_nothing(monkeypatch):
    """The search overestimates hypotheses beside gold. The loss nevertheless consists of exact gaps."""
    estimate, seen = EstimatedLogZ.of_others, []
    monkeypatch.setattr(EstimatedLogZ, "of_others", lambda *args: estimate(*args) - 3)
    task = fakes.FakeTask(words=12)
    model = fakes.model(1, task, scorer="softmax")
    sources, golds = [[5, 6, 7, END], [4, 5, END]], [[8, 9, 5, 12, 8, END], [9, 9, 9, 9, END]]
    with torch.no_grad():
        model.decoder.output_bias[torch.tensor([END, 5, 8, 9, 12])] += 4
    forward = model.forward
    model.forward = lambda *args, **given: seen.append(forward(*args, **given)) or seen[-1]
    loss, logged, _ = bso(task, model, sources, golds, 4, search_words=1)
    gaps, thought = seen[0].gaps, seen[0].violations.gaps
    assert logged["violations"] == gaps.numel() and (thought < 1).all() and (gaps > 1).any() and (gaps < 1).any()
    torch.testing.assert_close(loss, (1 - gaps)[gaps < 1].sum())


@pytest.mark.parametrize("constrained", [False, True])
def test_bfloat16_beside_search_words_finds_what_float64_finds(constrained):
    task = ConstrainedTask("word_order") if constrained else fakes.FakeTask()
    model = fakes.model(3, task, scorer="softmax").float()
    sources, golds = [[4, 5, 6, 7, END]], [[7, 5, 4, 6, END]]
    exact, _, wanted = bso(task, model, sources, golds, 3, search_words=4)
    screened, logged, found = bso(task, model, sources, golds, 3, search_words=4, search_dtype="bfloat16")
    assert logged["violations"] > 0
    torch.testing.assert_close(screened, exact)
    torch.testing.assert_close(found, wanted)

"""``--target oracle`` on real models, against plain loops; sentences without an oracle; what is refused."""

import math
import re
from functools import lru_cache, partial
from random import Random

import bso_runs
import pytest
import torch
from bso_runs import bleu_cost, make_model
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import constraints as slow
from reference import fakes, lstm, oracle, stock, whole_prefixes

from fairseq_bso.bso.options import FINISHED_BEAM
from fairseq_bso.bso.oracle import with_oracle
from fairseq_bso.decoding.constraint import Constraint
from fairseq_bso.errors import UserError
from fairseq_bso.models.any_model import prefix_score
from fairseq_bso.search.finished_search import Finished, lowest_cost
from fairseq_bso.search.segments import SearchOptions

pytestmark = pytest.mark.usefixtures("double_precision")

END, PADDING = 2, 1
make_batch = partial(bso_runs.make_batch, shortest=2)


def criterion(task, beam=3, **options):
    """The criterion; the search for the oracle has the beam of the update if ``options`` say nothing else."""
    own = {} if "target" in options else {"target": "oracle", "oracle_beam": beam}
    return bso_runs.criterion(task, beam, **{**own, **options})


def oracles(model, task, batch, beam, allows=None):
    """The oracles of a batch by plain loops."""
    found, normalized = [], prefix_score(model).normalized
    longest = max(map(len, batch[1]))
    for source, gold in zip(*batch):
        scores = whole_prefixes.Scores(model, source) if not hasattr(model, "prefix_score") else None

        @lru_cache(None)
        def local(prefix, source=source, scores=scores):
            with torch.no_grad():
                values = scores(prefix) if scores else lstm.scores_after(model, source, prefix)
                values = values.log_softmax(0) if normalized else values
            allowed = range(len(values)) if allows is None else allows(source, prefix)
            return [v if word in allowed and word != PADDING else -math.inf for word, v in enumerate(values.tolist())]

        length = longest + longest // 4 + 2
        found.append(oracle.oracle(local, gold, bleu_cost(task), beam, END, length, normalized))
    return found


def gradients(model, loss):
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [torch.zeros_like(one) if part is None else part for one, part in zip(model.parameters(), found)]


@pytest.mark.parametrize("name", ["transformer", "lstm", "fconv", "bso_lstm", "bso_lstm summed"])
def test_the_oracle_of_plain_loops_takes_golds_place(name):
    different = 0
    for seed, loss in enumerate(["margin", "cost_margin", "log_beam"]):
        task, beam = fakes.FakeTask(words=6), 2 + seed
        model, (sources, golds) = make_model(name, seed, task), make_batch(Random(seed))
        right = oracles(model, task, (sources, golds), beam)
        different += sum(one != gold for one, gold in zip(right, golds))
        ours, size, logged = criterion(task, beam, loss=loss)(model, stock.batch(task, sources, golds))
        theirs, _, _ = criterion(task, beam, loss=loss, target="reference")(model, stock.batch(task, sources, right))
        assert size == sum(map(len, right))
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(gradients(model, ours), gradients(model, theirs))
        costs = [bleu_cost(task)(*pair) for pair in zip(right, golds)]
        if int(logged["oracles"]) == 3:
            assert float(logged["oracle_cost"]) == pytest.approx(sum(costs), abs=1e-5)
    assert different > 1  # many sentences of a random model have no finished hypothesis


def test_the_margin_loss_is_that_of_whole_prefixes_along_the_oracle():
    task = fakes.FakeTask(words=6)
    model, (sources, golds) = make_model("transformer", 2, task), make_batch(Random(2))
    right = oracles(model, task, (sources, golds), 4)
    expected = whole_prefixes.beam_search_loss(model, sources, right, whole_prefixes.Options(4, nll_weight=0.25))
    found, _, _ = criterion(task, 4)(model, stock.batch(task, sources, golds))
    torch.testing.assert_close(found, expected.loss)
    assert right != golds and found > 0


def test_the_oracle_has_a_beam_of_its_own():
    task = fakes.FakeTask(words=6)
    model, batch = make_model("bso_lstm", 1, task), make_batch(Random(1))
    wide = oracles(model, task, batch, 8)
    assert wide != oracles(model, task, batch, 2)
    for named, found in ((8, wide), (0, oracles(model, task, batch, FINISHED_BEAM))):
        ours, _, _ = criterion(task, 2, oracle_beam=named)(model, stock.batch(task, *batch))
        theirs, _, _ = criterion(task, 2, target="reference")(model, stock.batch(task, batch[0], found))
        torch.testing.assert_close(ours, theirs)


@settings(max_examples=4)
@given(st.integers(0, 999), st.integers(2, 5), st.randoms(use_true_random=False))
def test_the_oracle_of_a_constrained_search_obeys_the_constraint(seed, beam, random):
    task = fakes.FakeTask(words=4)
    task.batch_constraint = Constraint("word_order", task.source_dictionary, task.target_dictionary)
    sources = [[random.randint(4, 7) for _ in range(length)] + [END] for length in (4, 3, 2)]
    golds = [[*random.sample(words[:-1], len(words) - 1), END] for words in sources]
    for name in ("bso_lstm summed", "transformer"):
        model = make_model(name, seed, task)

        def allows(source, prefix):
            return slow.word_order(source[:-1], prefix, END)

        right = oracles(model, task, (sources, golds), beam, allows)
        assert all(sorted(one) == sorted(gold) for one, gold in zip(right, golds))
        ours, _, _ = criterion(task, beam)(model, stock.batch(task, sources, golds))
        theirs, _, _ = criterion(task, beam, target="reference")(model, stock.batch(task, sources, right))
        torch.testing.assert_close(ours, theirs)


def finished(rows):
    """The finished hypotheses of sentences, each a list of (length, score)."""
    lengths, scores = (torch.tensor([[one[place] for one in row] for row in rows]) for place in (0, 1))
    return Finished(lengths.unsqueeze(2), lengths, scores.double())


def test_an_empty_hypothesis_takes_no_place_and_of_equal_costs_decodings_best_wins():
    rows = [
        [(1, -0.1), (3, -9.0), (2, -5.0)],  # the empty one is the cheapest
        [(2, -4.0), (8, -8.0), (2, -3.0)],  # all costs are equal
        [(1, -0.1), (0, -math.inf), (0, -math.inf)],  # the empty one alone has ended
        [(0, -math.inf)] * 3,  # nothing has ended
    ]
    costs = torch.tensor([[0.0, 0.5, 0.7], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert lowest_cost(finished(rows), costs, True).tolist() == [1, 1, -1, -1]
    assert lowest_cost(finished(rows), costs, False).tolist() == [1, 2, -1, -1]


@settings(max_examples=100)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(-4, 0), st.integers(0, 2)), min_size=3, max_size=3),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_the_lowest_cost_is_that_of_the_reference(rows, normalized):
    rows = [[(n, s + k / 64 if n else -math.inf, c) for k, (n, s, c) in enumerate(row)] for row in rows]
    found = lowest_cost(finished(rows), torch.tensor([[c for _, _, c in row] for row in rows]).double(), normalized)
    for row, slot in zip(rows, found.tolist()):
        paths = [((place,) * n, score, cost) for place, (n, score, cost) in enumerate(row)]
        right = oracle.lowest_cost(paths, normalized)
        assert (None if slot < 0 else paths[slot][0]) == right


def endless(model, bias):
    """The model with another bias of ``</s>``."""
    with torch.no_grad():
        model.decoder.output_bias[END] += bias
    return model


@pytest.mark.parametrize("bias, beam", [(-1e4, 4), (1e4, 1)], ids=["nothing ends", "all are empty"])
def test_without_an_oracle_the_reference_stays(bias, beam):
    task = fakes.FakeTask(words=6)
    model, sample = endless(make_model("bso_lstm", 1, task), bias), stock.batch(task, *make_batch(Random(1)))
    ours, size, logged = criterion(task, 4, oracle_beam=beam)(model, sample)
    theirs, right_size, _ = criterion(task, 4, target="reference")(model, sample)
    torch.testing.assert_close(ours, theirs)
    assert size == right_size and int(logged["oracles"]) == 0 and float(logged["oracle_cost"]) == 0


@pytest.mark.parametrize("name", ["bso_lstm", "transformer"])
def test_the_search_for_the_oracle_is_without_dropout_and_gradient(name):
    task = fakes.FakeTask(words=6)
    drop = {"dropout": 0.7}
    model = fakes.model(2, task, scorer="softmax", init_range=1.6, **drop) if name == "bso_lstm" else None
    model = model or stock.model(name, 2, task, **drop)
    sample, made = stock.batch(task, *make_batch(Random(2))), criterion(task, 3)
    found = []
    for training in (False, True):
        model.train(training)
        before = torch.get_rng_state()
        found.append(with_oracle(model, sample, PADDING, made.text_costs, SearchOptions(3, 1.0)).sample)
        assert torch.equal(before, torch.get_rng_state())
    for part in ("target", "ntokens"):
        assert torch.equal(*(torch.as_tensor(one[part]) for one in found))
    assert all(one.training for one in model.modules())
    loss, _, _ = made(model, sample)
    loss.backward()
    assert torch.isfinite(loss) and any(one.grad is not None for one in model.parameters())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"loss": "risk"}, "--target has no meaning with --loss risk, which looks at finished hypotheses"),
        ({"oracle_beam": -1}, "--oracle-beam is -1, but must be at least 0"),
        ({"risk_reference": True}, "--risk-reference has no meaning with --loss margin"),
        ({"text_cost": "nothing"}, "unknown text cost 'nothing'; choose from: "),
        (
            {"target": "reference", "text_cost": "ter", "oracle_beam": 4},
            "--text-cost, --oracle-beam has no meaning with --loss margin, which looks at the beam: leave it out, or "
            "choose another --loss or --target",
        ),
    ],
)
def test_options_without_meaning_are_refused(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        bso_runs.criterion(fakes.FakeTask(), **{"target": "oracle", **options})


def test_an_oracle_needs_whole_scores():
    task = fakes.FakeTask(words=6)
    model = make_model("bso_lstm unnormalized", 1, task)
    with pytest.raises(UserError, match="--target oracle compares whole hypotheses, but --scorer unnormalized"):
        criterion(task)(model, stock.batch(task, *make_batch(Random(1))))

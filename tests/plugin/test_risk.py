"""``--loss risk`` and the other losses of the criterion on real models, against plain loops; and their bad input."""

import math
import re
from functools import lru_cache, partial
from pathlib import Path
from random import Random

import bso_runs
import pytest
import torch
from bso_runs import bleu_cost, make_batch, make_model
from reference import fakes, lstm, stock
from reference.finished_search import finished_search
from reference.whole_prefixes import Scores

from fairseq_bso.bso.losses import get_loss
from fairseq_bso.bso.text_costs import get_text_cost
from fairseq_bso.errors import UserError
from fairseq_bso.models import packing

pytestmark = pytest.mark.usefixtures("double_precision")

END = 2
MODELS = stock.of_these(
    "transformer", "transformer_learned_pre_norm", "lstm", "lightconv", "fconv", "bso_lstm", "bso_lstm summed"
)
criterion = partial(bso_runs.criterion, loss="risk")


def expected(model, task, batch, options, beam):
    """The loss in plain loops: every prefix is run again."""
    sources, golds = batch
    padding, risk, nll = task.target_dictionary.pad(), 0.0, 0.0
    longest = max(map(len, golds))
    longest += longest // 4 + 2
    for source, gold in zip(sources, golds):
        summed = hasattr(model, "prefix_score") and not model.prefix_score.normalized
        scores = lru_cache(None)(partial(lstm.scores_after, model, source)) if summed else Scores(model, source)

        def local(prefix, scores=scores):
            return [-float("inf") if word == padding else value for word, value in enumerate(scores(prefix).tolist())]

        def total(path, scores=scores):
            return sum(scores(path[:place])[word] for place, word in enumerate(path))

        paths = [path for path, _ in finished_search(local, beam, END, longest, True)]
        paths += [tuple(gold)] if options.get("risk_reference") else []
        nll = nll - sum(scores(tuple(gold[:place])).log_softmax(0)[word] for place, word in enumerate(gold))
        if paths:
            means = torch.stack([total(path) / len(path) for path in paths])
            weights = (options.get("risk_alpha", 1.0) * means).softmax(0)
            risk = risk + (weights * torch.tensor([bleu_cost(task)(path, gold) for path in paths])).sum()
    return risk * sum(map(len, golds)) / len(golds) + 0.25 * nll


@pytest.mark.parametrize("name", MODELS)
def test_risk_and_its_gradients_are_those_of_plain_loops(name, monkeypatch):
    risks = []
    monkeypatch.setattr(packing, "LEAST_SAVED", -1)
    for seed in range(4):
        monkeypatch.setattr(packing, "SMALLEST_GROUP", 1 if seed < 2 else 16)
        task = fakes.FakeTask(words=6)
        model, batch, beam = make_model(name, seed, task), make_batch(Random(seed)), 2 + seed
        options = {"risk_alpha": 0.5, "risk_reference": True} if seed % 2 else {}
        loss, sample_size, logged = criterion(task, beam, **options)(model, stock.batch(task, *batch))
        right = expected(model, task, batch, options, beam)
        assert sample_size == sum(map(len, batch[1]))
        risks.append(float(logged["search_loss"]))
        torch.testing.assert_close(loss.detach(), right.detach(), rtol=1e-5, atol=1e-6)
        ours = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        theirs = torch.autograd.grad(right, list(model.parameters()), allow_unused=True)
        for one, other, (label, _) in zip(ours, theirs, model.named_parameters()):
            one, other = (torch.zeros(()) if part is None else part for part in (one, other))
            torch.testing.assert_close(one + 0 * other, other, rtol=1e-5, atol=1e-6, msg=f"gradient of {label}")
    assert max(risks) > 0


@pytest.mark.parametrize("loss", ["cost_margin", "log_beam", "margin"])
@pytest.mark.parametrize("name", ["transformer", "bso_lstm", "fconv"])
def test_losses_over_the_beam_run_on_every_kind_of_model(name, loss):
    task = fakes.FakeTask(words=6)
    model, sample = make_model(name, 1, task), stock.batch(task, *make_batch(Random(1)))
    found, _, logged = criterion(task, 4, loss=loss)(model, sample)
    found.backward()
    assert found.item() > 0 and logged["violations"] > 0
    assert all(torch.isfinite(one.grad).all() for one in model.parameters() if one.grad is not None)


@pytest.mark.parametrize("loss", ["risk", "cost_margin", "log_beam", "margin"])
@pytest.mark.parametrize("search_words", [0, 4])
def test_a_model_of_nan_has_a_loss_of_nan(loss, search_words):
    task = fakes.FakeTask(words=6)
    model = make_model("bso_lstm", 1, task)
    torch.nn.init.constant_(model.decoder.output_weight, math.nan)
    found, _, _ = criterion(task, loss=loss, search_words=search_words)(
        model, stock.batch(task, *make_batch(Random(1)))
    )
    assert found.isnan()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"loss": "nothing"}, "unknown loss 'nothing'; choose from: "),
        ({"text_cost": "nothing"}, "unknown text cost 'nothing'; choose from: "),
        ({"risk_alpha": 0.0}, "--risk-alpha is 0.0, but must be above 0, and finite"),
        ({"loss": "margin", "risk_reference": True}, "--risk-reference has no meaning with --loss margin"),
        ({"finished": "rival"}, "--finished has no meaning with --loss risk"),
    ],
)
def test_options_without_meaning_are_refused(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        criterion(fakes.FakeTask(), **options)


def test_hypotheses_that_would_never_end_do_so_at_the_limit_and_the_model_learns_from_them():
    task = fakes.FakeTask(words=6)
    model, sample = make_model("bso_lstm", 1, task), stock.batch(task, *make_batch(Random(1)))
    torch.nn.init.constant_(model.decoder.output_bias[END], -100.0)
    loss, _, logged = criterion(task, 3)(model, sample)
    assert logged["hypotheses"] == 3 * logged["nsentences"]
    among_all_words, _, _ = criterion(task, 3, search_words=len(task.target_dictionary) - 1)(model, sample)
    torch.testing.assert_close(among_all_words, loss)
    loss.backward()
    assert loss > 0 and float(model.decoder.output_weight.grad.abs().max()) > 0


def test_risk_needs_whole_scores():
    task = fakes.FakeTask(words=6)
    model = fakes.model(1, task, scorer="unnormalized", init_range=1.0)
    with pytest.raises(UserError, match="compares whole hypotheses, but --scorer unnormalized"):
        criterion(task)(model, stock.batch(task, *make_batch(Random(1))))


def test_the_documented_loss_and_cost_of_ones_own_work():
    page = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], {})
    assert get_loss("contrast").over == "beam" and get_text_cost("length").function(["a b"], ["a"]) == [0.1]
    task = fakes.FakeTask(words=6)
    sample = stock.batch(task, *make_batch(Random(2)))
    for options in ({"loss": "contrast"}, {"text_cost": "length"}):
        found, _, _ = criterion(task, **options)(make_model("transformer", 1, task), sample)
        assert torch.isfinite(found)

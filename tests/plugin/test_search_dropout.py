"""``--search-dropout none``: the search of an update is that of a model without dropout; the loss keeps its dropout."""

from random import Random

import pytest
import torch
from bso_runs import END, criterion, make_batch
from reference import fakes, stock

from fairseq_bso.bso import criterion as criterion_module
from fairseq_bso.models.training_search import search_in_training
from fairseq_bso.search.segments import SearchOptions, search_along_gold

pytestmark = pytest.mark.usefixtures("double_precision")

DROPOUT = {
    "bso_lstm": lambda task, rate: fakes.model(1, task, init_range=1.6, dropout=rate, scorer="softmax"),
    "transformer": lambda task, rate: stock.model("transformer", 1, task, dropout=rate),
    "lstm": lambda task, rate: stock.model("lstm", 1, task, encoder_dropout_in=rate, decoder_dropout_out=rate),
}
LOSSES = [{"loss": "margin"}, {"loss": "cost_margin"}, {"loss": "risk"}, {"loss": "margin", "target": "oracle"}]


def make(name, rate, seed=0):
    task = fakes.FakeTask(words=6)
    return task, DROPOUT[name](task, rate).train(), stock.batch(task, *make_batch(Random(seed), shortest=3))


def gradients(model, loss):
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [torch.zeros(()) if one is None else one for one in found]


@pytest.mark.parametrize("options", LOSSES, ids=str)
@pytest.mark.parametrize("name", DROPOUT)
def test_a_model_without_dropout_has_the_same_loss_and_gradients_in_both_ways(name, options):
    task, model, sample = make(name, 0.0)
    shared, none = (criterion(task, 4, search_dropout=way, **options)(model, sample)[0] for way in ("shared", "none"))
    assert shared.item() > 0
    torch.testing.assert_close(none, shared)
    torch.testing.assert_close(gradients(model, none), gradients(model, shared))


@pytest.mark.parametrize("name", DROPOUT)
def test_violations_are_those_of_the_model_without_dropout(name, monkeypatch):
    """The rivals of every update are the same, while its loss draws new dropout."""
    task, model, sample = make(name, 0.5)
    options = SearchOptions(beam=4, margin=1.0)

    def search(decoder, gold):
        return search_along_gold(decoder, gold, options)

    with torch.no_grad():
        right = search_in_training(model.eval(), sample["net_input"], sample["target"], search).violations
    model.train()
    score, seen = criterion_module.score_found, []
    monkeypatch.setattr(
        criterion_module, "score_found", lambda *given, **more: seen.append(given[2]) or score(*given, **more)
    )
    losses = [criterion(task, 4, search_dropout="none")(model, sample)[0] for _ in range(3)]
    assert len(seen) == 3
    for found in seen:
        assert torch.equal(found.violations.times, right.times) and torch.equal(found.violations.paths, right.paths)
    assert right.times.numel() > 0
    assert losses[0] != losses[1] != losses[2]
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("name", DROPOUT)
def test_hypotheses_of_risk_are_those_of_decoding(name, monkeypatch):
    task, model, sample = make(name, 0.5)
    with torch.no_grad():
        right = found_by_risk(task, model.eval(), sample, "shared", monkeypatch)
    found = found_by_risk(task, model.train(), sample, "none", monkeypatch)
    assert (right.paths == END).any()
    assert torch.equal(found.paths, right.paths) and torch.equal(found.scores, right.scores)


def found_by_risk(task, model, sample, way, monkeypatch):
    """The finished hypotheses of one update."""
    search, seen = criterion_module.finished_search, []

    def noting(*given, **more):
        seen.append(search(*given, **more))
        return seen[-1]

    with monkeypatch.context() as patch:
        patch.setattr(criterion_module, "finished_search", noting)
        loss = criterion(task, 4, loss="risk", search_dropout=way)(model, sample)[0]
    assert torch.isfinite(loss)
    return seen[-1]

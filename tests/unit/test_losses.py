"""The losses over the beam and over finished hypotheses, against plain loops over one sentence."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import finished_search as slow_finished
from reference import search as slow
from reference.decoder import local_scores, tensor_scores
from search_cases import END, gold_run, padded_cases, search_finished

from fairseq_bso.bso.losses import NBestLists, OnBeam, cost_margin, get_loss, log_beam, register_loss, risk
from fairseq_bso.search.scorer import SCORERS
from fairseq_bso.search.segments import SearchOptions, search_and_score

CUMULATIVE = [score for score in SCORERS.values() if score.cumulative]


def tensor_score(table, sentence, scorer):
    """``s`` of a whole path, with gradient."""
    local = tensor_scores(table, sentence, scorer)

    def total(path):
        return sum((local(path[:time])[word] for time, word in enumerate(path)), table.sum() * 0)

    return total


def beams_of(table, golds, beam, scorer, padding):
    """{(sentence, time): all on the beam but gold} of every violation and every last word, by the slow search.

    A step with a violation keeps gold alone; the rivals are then those among the K best candidates, as they were."""
    found = {}
    for sentence, words in enumerate(golds):
        score = local_scores(table, sentence, scorer, [padding])
        violations, beams = slow.search(words, score, beam, END, 1.0, True)
        violated = {violation.time for violation in violations}
        before = [()]
        for time in range(len(words)):
            gold = tuple(words[: time + 1])
            if time in violated or time == len(words) - 1:
                candidates = []
                for prefix in sorted(before, key=lambda one: one != tuple(words[:time])):  # gold first; stable
                    if prefix and prefix[-1] == END:
                        continue
                    value = slow.prefix_score(score, prefix)
                    for word, local in enumerate(score(prefix)):
                        if local > -math.inf:
                            candidates.append((value + local, (*prefix, word)))
                top = sorted(candidates, key=lambda one: -one[0])[:beam]
                found[sentence, time] = [path for _, path in top if path != gold][: beam - 1]
            before = beams[time]
    return found


@settings(max_examples=80)
@given(padded_cases(), st.sampled_from(CUMULATIVE))
def test_losses_over_the_beam_and_their_gradients_are_those_of_the_reference(case, scorer):
    table, golds, beam = case
    padding = table.size(1) - 1
    table = table.clone().requires_grad_()
    decoder, gold = gold_run(table, golds, scorer, padding)
    found = search_and_score(decoder, gold, SearchOptions(beam, 1.0, rivals=True))
    rivals = found.rivals
    paths = [
        (int(sentence), int(time), tuple(path[: int(time) + 1].tolist()))
        for sentence, time, path in zip(rivals.sentences, rivals.times, rivals.paths)
    ]
    right = beams_of(table.detach(), golds, beam, scorer, padding)
    assert set(paths) == {(*step, path) for step, others in right.items() for path in others}
    steps = sorted({(sentence, time) for sentence, time, _ in paths})
    assert found.events.unique().numel() == len(steps)
    costs = torch.arange(1.0, len(paths) + 1, dtype=torch.float64) / (len(paths) + 1)
    width = beam - 1
    parts = {name: torch.zeros(len(steps), width, dtype=torch.float64) for name in ("costs", "alive")}
    gaps = [[table.new_zeros(())] * width for _ in steps]
    expected = {"cost_margin": table.sum() * 0, "log_beam": table.sum() * 0}
    for event, (sentence, time) in enumerate(steps):
        own = [index for index, path in enumerate(paths) if path[:2] == (sentence, time)]
        total = tensor_score(table, sentence, scorer)
        right_score = total(golds[sentence][: time + 1])
        rival_scores = [total(paths[index][2]) for index in own]
        for place, index in enumerate(own):
            gaps[event][place] = found.gaps[index]
            parts["costs"][event, place], parts["alive"][event, place] = costs[index], 1
            torch.testing.assert_close(found.gaps[index], right_score - rival_scores[place])
        worst = [costs[index] - right_score + value for index, value in zip(own, rival_scores)]
        expected["cost_margin"] = expected["cost_margin"] + max([*worst, table.sum() * 0], key=lambda one: one.item())
        everyone = torch.stack([right_score, *rival_scores])
        expected["log_beam"] = expected["log_beam"] - everyone.log_softmax(0)[0]
    rows = torch.stack([torch.stack(row) for row in gaps]) if steps else table.new_zeros(0, width)
    on_beam = OnBeam(rows, parts["costs"], parts["alive"].bool(), 1.0)
    for name, function in (("cost_margin", cost_margin), ("log_beam", log_beam)):
        ours = function(on_beam) + table.sum() * 0
        torch.testing.assert_close(ours, expected[name])
        gradients = [torch.autograd.grad(value, table, retain_graph=True)[0] for value in (ours, expected[name])]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("scorer", CUMULATIVE)
def test_risk_over_all_outputs_is_the_exact_expectation(scorer):
    """With alpha 1 and no division by length, which equal lengths make a matter of alpha, risk is the expected cost."""
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(211, 4, generator=generator, dtype=torch.float64).requires_grad_()
    decoder, gold = gold_run(table, [[1, 2, END]], scorer, 3)
    every = slow_finished.all_outputs([END, 1, 2], END, 3)
    found = search_finished(decoder, gold, SearchOptions(2 * len(every), 1.0))
    cost_of = {path: (len(path) + sum(path)) / 10 for path in every}
    lengths, alive = found.finished.lengths, found.finished.lengths > 0
    costs = torch.zeros(lengths.shape, dtype=torch.float64)
    for k, length in enumerate(lengths[0].tolist()):
        if length:
            costs[0, k] = cost_of[tuple(found.finished.paths[0, k, :length].tolist())]
    ours = risk(NBestLists(found.scores, lengths, costs, alive, 0.7))
    total = tensor_score(table, 0, scorer)
    weights = torch.stack([0.7 * total(path) / len(path) for path in every]).softmax(0)
    right = (weights * torch.tensor([cost_of[path] for path in every], dtype=torch.float64)).sum()
    torch.testing.assert_close(ours, right)
    torch.testing.assert_close(*[torch.autograd.grad(value, table)[0] for value in (ours, right)])


def test_log_beam_over_all_sequences_is_the_globally_normalized_likelihood():
    scores = torch.tensor([2.0, -1.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    gaps = (scores[0] - scores[1:]).unsqueeze(0)
    found = OnBeam(gaps, torch.ones_like(gaps), torch.ones_like(gaps, dtype=torch.bool), 1.0)
    torch.testing.assert_close(log_beam(found), -scores.log_softmax(0)[0])


def test_what_is_not_there_counts_nothing():
    gaps = torch.tensor([[0.5, -100.0], [-7.0, -100.0]], dtype=torch.float64, requires_grad=True)
    alive = torch.tensor([[True, False], [False, False]])
    found = OnBeam(gaps, torch.full_like(gaps, 2.0).detach(), alive, 1.0)
    loss = cost_margin(found) + log_beam(found)
    loss.backward()
    assert loss.item() == pytest.approx(1.5 + math.log(1 + math.exp(-0.5)))
    assert gaps.grad[~alive].tolist() == [0, 0, 0]
    scores = torch.tensor([[1.0, 5.0], [2.0, 3.0]], requires_grad=True)
    some = NBestLists(scores, torch.tensor([[2, 0], [0, 0]]), torch.ones(2, 2), alive, 1.0)
    risk(some).backward()
    assert risk(some).item() == 1 and not scores.grad.any()


def test_a_name_is_registered_once_and_says_what_it_looks_at():
    with pytest.raises(ValueError, match="already registered"):
        register_loss("risk", over="finished")
    with pytest.raises(ValueError, match="violators, beam, finished"):
        register_loss("mine", over="words")
    with pytest.raises(ValueError, match="choose from: .*cost_margin, log_beam, margin,.*risk"):
        get_loss("nothing")
    assert get_loss("risk").over == "finished"

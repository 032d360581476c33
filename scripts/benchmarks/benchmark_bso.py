"""Measurements of benchmark.py on BSO updates: their time, the time of another build, and the parts of the time."""

import statistics
from argparse import Namespace

import torch
from benchmark_peer import Peer
from benchmark_setup import Contender, OrderingTask, bso_criterion, make_batches, make_bso_lstm, ratio, to_ordering
from benchmark_setup import synchronised_time as now
from benchmark_training import shares_of_parts
from fairseq.criterions.cross_entropy import CrossEntropyCriterion

from fairseq_bso.models.decoder import DecoderPass
from fairseq_bso.search import segments, violation_reset
from fairseq_bso.search.recurrent import RecurrentDecoder

BEAMS = (2, 6, 11)
SCORERS = ("unnormalized", "summed", "softmax")


def trained_states(task, options):
    """Parameters after a short NLL training on the noisy chain.

    For the score of the last word alone, a shorter BSO training follows."""
    more = make_batches(task, Namespace(**{**vars(options), "seed": options.seed + 1}), 64)
    nll = Contender(make_bso_lstm(task, options, "softmax"), CrossEntropyCriterion(task, False), 1e-2)
    for index in range(options.training):
        nll.update(more[index % len(more)])
    bso = Contender(make_bso_lstm(task, options, "unnormalized"), bso_criterion(task, 6), 1e-3)
    bso.model.load_state_dict(nll.model.state_dict())
    for index in range(options.training // 4):
        bso.update(more[index % len(more)])
    states = dict.fromkeys(SCORERS, nll.model.state_dict())
    return {**states, "unnormalized": bso.model.state_dict()}


def fresh_states(task, options):
    """Untrained parameters: nearly every word is a violation."""
    return dict.fromkeys(SCORERS, make_bso_lstm(task, options, "softmax").state_dict())


def updates(task, options, batches, states):
    """BSO / NLL at several beams: every scorer, over search words and exactly.

    With `--beside`, the score of the last word alone is also measured in the other build."""
    cases = {}
    for beam in BEAMS:
        for scorer in SCORERS:
            cases[f"{scorer}, beam {beam}"] = scorer, bso_criterion(task, beam)
            cases[f"{scorer}, beam {beam}, --search-words 0"] = scorer, bso_criterion(task, beam, search_words=0)
    peers = {f"other build, unnormalized, beam {beam}": ("unnormalized", beam, False) for beam in BEAMS}
    return race_with_nll(task, options, batches, states, cases, peers)


def constrained_updates(options, batches, states):
    """BSO-Con / NLL at several beams, on sources that are shuffled targets."""
    task = OrderingTask(options.vocabulary)
    cases = {f"{scorer}, beam {beam}": (scorer, bso_criterion(task, beam)) for beam in BEAMS for scorer in SCORERS}
    peers = {f"other build, unnormalized, beam {beam}": ("unnormalized", beam, True) for beam in BEAMS}
    return race_with_nll(task, options, to_ordering(batches, options), states, cases, peers)


def race_with_nll(task, options, batches, states, cases, peers):
    """Times one update of every case in every round, with an NLL update of its own model.

    Each is timed in its second update in a row, as in `time_in_turn`. With learning rate 0 the parameters stay.

    Returns:
        medians and violations.
    """
    contenders = {"nll": contender(task, options, states, "softmax", CrossEntropyCriterion(task, False))}
    contenders.update({name: contender(task, options, states, *case) for name, case in cases.items()})
    peer = Peer(options.beside, options, states, peers) if options.beside else None
    seconds = {name: [] for name in (*contenders, *(peers if peer else ()))}
    logged = {}
    for index in range(options.warm_up + options.rounds):
        before, this = (index - 1) % len(batches), index % len(batches)
        for name in seconds:
            if name in contenders:
                contenders[name].update(batches[before])
                start = now(options.device)
                logged[name] = contenders[name].update(batches[this])
                taken = now(options.device) - start
            else:
                peer.update(name, before)
                taken = peer.update(name, this)
            if index >= options.warm_up:
                seconds[name].append(taken)
    if peer:
        peer.close()
    nll = seconds.pop("nll")
    results = {"nll seconds": round(statistics.median(nll), 4)}
    for name, taken in seconds.items():
        results[name] = ratio(taken, nll)
        if name in logged:
            results[name]["violations per token"] = round(logged[name]["violations"] / logged[name]["ntokens"], 3)
    return results


def contender(task, options, states, scorer, criterion):
    """A model with the parameters of `states`, which its updates do not change."""
    model = make_bso_lstm(task, options, scorer)
    model.load_state_dict(states[scorer])
    return Contender(model, criterion, 0.0)


def breakdown(task, options, batches, states, scorer="softmax", beam=6):
    """The share of each part in the time of a BSO update."""
    contestant = contender(task, options, states, scorer, bso_criterion(task, beam))
    parts = [
        (contestant.model.encoder, "forward", "encode"),
        (DecoderPass, "along", "gold run"),
        (segments, "make_search", "words after gold"),
        (violation_reset.Searcher, "run", "search"),
        (RecurrentDecoder, "score", "segments and their scores"),
        (segments, "violation_gaps", "segments and their scores"),
        (segments, "log_partition", "of these log Z"),
        (torch.Tensor, "backward", "backward"),
    ]
    return shares_of_parts(contestant, parts, batches, batches, options.device)

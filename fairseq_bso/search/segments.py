"""One batch of beam search optimization: the search along gold, and exact scores of its violations.

A violator that left gold at word ``branch`` shares gold's prefix up to that word. Only the *segment* from there on is
its own. The gap of a violation is the difference of two sums over a segment, gold's and the violator's. Segments of one
sentence never overlap in time.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from ..blockwise import log_partition
from ..blockwise_cross_entropy import cross_entropy
from .candidate_search import CandidateSearch, ExactLogZ
from .constraints import BatchConstraint
from .decoder import Decoder, GoldRun, Scored
from .scorer import PrefixScore, Scorer
from .search_words import Agreement, EstimatedLogZ, agreement, search_words
from .violation_reset import Search, violation_reset_search
from .violations import Rules, Violations, ragged
from .vocabulary_search import VocabularyProduct, VocabularySearch, best_after_gold


class SearchOptions(NamedTuple):
    """How a model searches in training."""

    beam: int
    """K"""
    margin: float
    """the margin by which gold must beat a violator"""
    dtype: Optional[torch.dtype] = None
    """type of the vocabulary-wide product; None is the model's own"""
    screen: int = 2
    """multiples of the beam that survive a low-precision product"""
    search_words: int = 0
    """number of best words after each gold prefix that the search of a sentence ranks; 0 is the whole vocabulary"""
    finished_lenpen: Optional[float] = None
    """if given, finished hypotheses stay rivals, by ``s / length ** lenpen``"""
    nll: bool = False
    """whether the negative log-likelihood of the gold words is wanted too"""
    constraint: Optional[BatchConstraint] = None
    """the constraint; None allows any word"""
    rivals: bool = False
    """whether all on the beam besides gold is scored, at violations and at gold's last word, not the violators alone"""
    compare: bool = False
    """whether to also run the exact search, and report the agreement of the search over search words with it"""
    end_at_limit: bool = False
    """whether the search for finished hypotheses lets nothing but ``</s>`` follow at the limit of the length"""
    whole_gold: bool = True
    """whether the search for finished hypotheses scores the whole of gold too; needed by ``nll``"""


class SearchScores(NamedTuple):
    """The result of a search in training."""

    gaps: Tensor
    """(M,) exact gold score minus the score of each rival, with gradient"""
    rivals: Violations
    """the M hypotheses: the violators, or all on the beam besides gold"""
    events: Tensor
    """(M,) int64, a number for each step of a sentence: rivals of the same step compete with each other"""
    violations: Violations
    """the violations of the batch"""
    nll: Optional[Tensor]
    """() negative log-likelihood of the gold words"""
    agreement: Optional[Agreement]
    """comparison of the search with the exact one"""


class Found(NamedTuple):
    """The result of a search along gold, without gradient. Fields with names of ``SearchScores`` are the same."""

    rivals: Violations
    events: Tensor
    """(M,) int64"""
    violations: Violations
    agreement: Optional[Agreement]
    gold_outputs: Tensor
    """(T, B, H) those of the gold run of this search"""
    gold_log_z: Optional[Tensor]
    """(T, B) ``log Z`` after every gold prefix of this search, if it is known"""


def search_and_score(decoder: Decoder, gold: GoldRun, options: SearchOptions) -> SearchScores:
    """Searches along gold and scores the violations.

    Args:
        decoder: the model on this batch.
        gold: the gold run of the search, with gradient if the decoder needs no other for the loss.
        options: the options of the search.
    """
    return score_found(decoder, gold, search_along_gold(decoder, gold, options), options)


def search_along_gold(decoder: Decoder, gold: GoldRun, options: SearchOptions) -> Found:
    """The search alone, without gradient; the arguments are those of ``search_and_score``."""
    on_cpu, gold = gold.words.device.type == "cpu", gold.detach()
    score, lenpen = decoder.prefix_score, options.finished_lenpen
    rules = Rules(options.beam, decoder.end, decoder.padding, options.margin, score.cumulative, lenpen)
    with torch.no_grad():
        search, words = make_search(decoder, gold, options)
        found, agreed = violation_reset_search(gold, search, decoder, rules, on_cpu), None
        if options.compare and words is not None:
            with torch.random.fork_rng(devices=[]):  # the loss must not depend on the comparison
                exact, _ = make_search(decoder, gold, options._replace(search_words=0))
                other = violation_reset_search(gold, exact, decoder, rules, on_cpu)
            agreed = agreement(found, other, gold, words, decoder.padding)
    rivals, events = found.violations, torch.arange(found.violations.times.numel(), device=gold.words.device)
    if options.rivals:
        rivals, events = found.trace.rivals(gold.words, gold.lengths, rules)
    return Found(rivals, events, found.violations, agreed, gold.outputs, search.gold_log_z)


def score_found(decoder: Decoder, gold: GoldRun, found: Found, options: SearchOptions) -> SearchScores:
    """Scores what a search found.

    Args:
        decoder, gold, options: as in ``search_and_score``.
        found: by a search on the same batch, with this gold run or another.
    """
    score = decoder.prefix_score
    scored, words = decoder.score(gold, found.rivals)
    log_z = found.gold_log_z
    if log_z is not None and not _equal(scored.outputs.detach(), found.gold_outputs):
        log_z = None
    gaps = violation_gaps(scored, words, found.rivals, decoder.scorer, score, options.finished_lenpen, log_z)
    nll = gold_nll(scored, decoder.scorer, decoder.padding) if options.nll else None
    return SearchScores(gaps, found.rivals, found.events, found.violations, nll, found.agreement)


def _equal(scored: Tensor, searched: Tensor) -> bool:
    """Whether the gold runs of loss and search have the same outputs: not if dropout was drawn anew, or in one alone.

    Values are compared on a CPU only: the host would have to wait for another device.
    """
    same = scored.data_ptr() == searched.data_ptr()
    return same or scored.device.type == "cpu" and torch.allclose(scored, searched, rtol=1e-5, atol=1e-5)


def make_search(decoder: Decoder, gold: GoldRun, options: SearchOptions) -> Tuple[Search, Optional[Tensor]]:
    """Builds the search for the best next words: under the constraint, among search words, or in the whole vocabulary.

    Args:
        decoder, options: as in ``search_and_score``.
        gold: the gold run, detached.

    Returns:
        the search, and the search words (B, C) if it is not exact.
    """
    scorer, score, padding = decoder.scorer, decoder.prefix_score, decoder.padding
    constraint = options.constraint
    if constraint is not None and not score.normalized:
        return CandidateSearch(scorer, constraint, gold), None
    product = VocabularyProduct(scorer, [padding], options.dtype, options.screen)
    if options.search_words == 0:
        if constraint is None:
            return VocabularySearch(product, gold, options.beam, score.normalized), None
        return CandidateSearch(scorer, constraint, gold, ExactLogZ(product, gold)), None
    best = best_after_gold(product, gold, max(options.beam, options.search_words), score.normalized)
    words = search_words(best, gold, padding)
    log_z: Optional[EstimatedLogZ] = None
    if score.normalized:
        log_z = EstimatedLogZ(scorer, words, gold, best, padding, exact_gold=not product.screened)
    if constraint is not None:
        return CandidateSearch(scorer, constraint, gold, log_z), words
    shared = None if log_z is None else log_z.own
    return CandidateSearch(scorer, BatchConstraint(words, padding), gold, log_z, best, shared), words


def gold_nll(gold: GoldRun, scorer: Scorer, padding: int) -> Tensor:
    """() the negative log-likelihood of the gold words."""
    words = gold.words.t().masked_fill(~gold.inside, padding).flatten()  # (T * B,)
    return cross_entropy(gold.outputs.flatten(0, 1), scorer.weight, scorer.bias, words, padding).loss


def violation_gaps(
    gold: GoldRun,
    violators: Scored,
    violations: Violations,
    scorer: Scorer,
    score: PrefixScore,
    finished_lenpen: Optional[float] = None,
    gold_log_z: Optional[Tensor] = None,
) -> Tensor:
    """Gold score minus violator score of every violation, exact and with gradient.

    If the score of a prefix is a sum, the words that gold and violator share cancel out. The gap is then the difference
    of the sums over the words from the branch on. Both have the same prefix at the branch, so its ``log Z`` also
    cancels out.

    Args:
        gold: the gold run, with gradient.
        violators: the violators' own words, with gradient.
        violations: M violations.
        scorer: the output layer.
        score: the local scores and the scores of prefixes.
        finished_lenpen: as in the search's rules.
        gold_log_z: (T, B) ``log Z`` after every gold prefix, if it is known.

    Returns:
        (M,) float.
    """
    factor = length_factors(gold, violations, finished_lenpen)  # (M,)
    words, weights, is_gold = _compared_words(gold, violators, violations, score, factor)
    gaps = torch.zeros_like(factor).index_add(0, words.owners, weights * scorer.score_words(words.outputs, words.words))
    if not score.normalized:
        return gaps
    # At the branch gold and violator have the same prefix: its log Z counts once, with the difference of the weights.
    at_branch = torch.where(is_gold, 1 - factor[words.owners], torch.zeros_like(weights))  # (N,)
    weights = torch.where(words.places == violations.branches[words.owners], at_branch, weights)
    return gaps - _weighted_log_z(words, weights, is_gold, violations, scorer, gold_log_z)


def _compared_words(
    gold: GoldRun, violators: Scored, violations: Violations, score: PrefixScore, factor: Tensor
) -> Tuple[Scored, Tensor, Tensor]:
    """The words whose raw scores make the gap of each violation.

    Args:
        gold, violators, violations, score: as in ``violation_gaps``.
        factor: (M,) of ``length_factors``.

    Returns:
        N words, gold's first, their weights (N,) in the gap, and whether each is gold's (N,).
    """
    start = torch.where(factor == 1, violations.branches, torch.zeros_like(violations.branches))  # (M,)
    if not score.cumulative:
        start = violations.times
        violators = violators.select(violators.places == violations.ends[violators.owners])
    gold_words = _gold_words(gold, violations, start)
    # Gold's words count in full from the branch on. Before the branch, the violator's share of them is subtracted.
    shared_weights = 1 - factor[gold_words.owners]
    before_branch = gold_words.places < violations.branches[gold_words.owners]
    gold_weights = torch.where(before_branch, shared_weights, torch.ones_like(shared_weights))
    weights = torch.cat([gold_weights, -factor[violators.owners]])  # (N,)
    words = Scored(*(torch.cat(pair) for pair in zip(gold_words, violators)))
    return words, weights, torch.arange(weights.numel(), device=weights.device) < gold_words.words.numel()


def _weighted_log_z(
    words: Scored,
    weights: Tensor,
    is_gold: Tensor,
    violations: Violations,
    scorer: Scorer,
    gold_log_z: Optional[Tensor],
) -> Tensor:
    """(M,) the sum of ``weight * log Z`` over the words of each violation, (N,) each.

    ``log Z`` is computed only for weights other than 0. ``is_gold`` marks gold's words, which come first;
    ``gold_log_z`` is as in ``violation_gaps``.
    """
    counted = (weights != 0).nonzero().squeeze(1)
    words, of_gold, known = words.select(counted), int(is_gold[counted].sum()), None
    if gold_log_z is not None:
        known = gold_log_z[words.places[:of_gold], violations.sentences[words.owners[:of_gold]]]
    log_z = log_partition(words.outputs, scorer.weight, scorer.bias, known)
    sums = log_z.new_zeros(violations.times.numel())
    return sums.index_add(0, words.owners, weights[counted] * log_z)


def length_factors(gold: GoldRun, violations: Violations, finished_lenpen: Optional[float]) -> Tensor:
    """(M,) float, the factor of the violator's sum relative to gold's.

    It differs from 1 only if the violator ended earlier and gold ends at the violation.
    """
    length = (violations.times + 1).to(torch.promote_types(gold.outputs.dtype, torch.float32))  # (M,)
    if not finished_lenpen:
        return torch.ones_like(length)
    ended = (violations.ends < violations.times) & (gold.lengths[violations.sentences] == length)
    return torch.where(ended, (length / (violations.ends + 1)) ** finished_lenpen, torch.ones_like(length))


def _gold_words(gold: GoldRun, violations: Violations, start: Tensor) -> Scored:
    """Gold's words from ``start`` (M,) to each violation."""
    owners, places = ragged(start, violations.times - start + 1)
    sentences = violations.sentences[owners]
    outputs = gold.outputs.flatten(0, 1).index_select(0, places * gold.words.size(0) + sentences)
    return Scored(outputs, gold.words[sentences, places], owners, places)

"""One batch of beam search optimization: the search along gold, and exact scores of its violations.

A model provides its output layer, its run along gold and a ``Decoder``. The rest is the same for all models.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from .blockwise import cross_entropy
from .candidate_search import CandidateSearch, ExactLogTotals, LogTotals
from .constraints import BatchConstraint
from .decoder import Decoder, GoldRun
from .scorer import PrefixScore, Scorer
from .search_words import Agreement, SearchWordsLogTotals, agreement, search_words
from .segments import violation_gaps
from .violation_reset import Search, violation_reset_search
from .violations import Rules, Violations
from .vocabulary_search import VocabularyProduct, VocabularySearch, best_after_gold


class SearchOptions(NamedTuple):
    """How a model searches in training."""

    beam: int
    margin: float
    dtype: Optional[torch.dtype] = None
    """type of the vocabulary-wide product; None is the model's own"""
    screen: int = 2
    """multiples of the beam that survive a low-precision product"""
    search_words: int = 0
    """number of best words after each gold prefix that the search of a sentence ranks; 0 is the whole vocabulary"""
    finished_lenpen: Optional[float] = None
    """if given, finished hypotheses stay rivals, by ``s / length ** lenpen``"""
    nll: bool = False
    """whether log-probabilities of the gold words are wanted too"""
    constraint: Optional[BatchConstraint] = None
    """the successor function; None allows any word"""
    compare: bool = False
    """whether to also run the exact search, and report the agreement of the search over search words with it"""


class SearchScores(NamedTuple):
    """The result of a search in training."""

    gaps: Tensor
    """(M,) exact gold score minus violator score, with gradient"""
    violations: Violations
    nll: Optional[Tensor]
    """() negative log-likelihood of the gold words"""
    agreement: Optional[Agreement]
    """comparison of the search with the exact one"""


def search_and_score(
    decoder: Decoder, gold: GoldRun, scorer: Scorer, score: PrefixScore, padding: int, end: int, options: SearchOptions
) -> SearchScores:
    """Searches along gold and scores the violations.

    Args:
        decoder: extends hypotheses.
        gold: the gold run, with gradient.
        scorer: the output layer.
        score: the local scores and the scores of prefixes.
        padding: the padding symbol, which follows no prefix.
        end: ``</s>``.
        options: the options of the search.
    """
    on_cpu, bare = gold.words.device.type == "cpu", gold.detach()
    rules = Rules(options.beam, end, padding, options.margin, score.cumulative, options.finished_lenpen)
    with torch.no_grad():
        search, words = make_search(bare, scorer, score, padding, options)
        found, agreed = violation_reset_search(bare, search, decoder, rules, on_cpu), None
        if options.compare and words is not None:
            exact, _ = make_search(bare, scorer, score, padding, options._replace(search_words=0))
            agreed = agreement(found, violation_reset_search(bare, exact, decoder, rules, on_cpu), bare, words, padding)
    totals = search.gold_log_totals
    gaps = violation_gaps(gold, found.violations, decoder, scorer, score, options.finished_lenpen, totals)
    nll = gold_nll(gold, scorer, padding) if options.nll else None
    return SearchScores(gaps, found.violations, nll, agreed)


def make_search(
    gold: GoldRun, scorer: Scorer, score: PrefixScore, padding: int, options: SearchOptions
) -> Tuple[Search, Optional[Tensor]]:
    """Builds the search for the best successors: under the constraint, among search words, or in the whole vocabulary.

    Args:
        gold: the gold run, detached.
        scorer, score, padding, options: as in ``search_and_score``.

    Returns:
        the search, and the search words (B, C) if it is not exact.
    """
    constraint = options.constraint
    totals: Optional[LogTotals] = None
    if constraint is not None and not score.normalized:
        return CandidateSearch(scorer, constraint, gold), None
    product = VocabularyProduct(scorer, [padding], options.dtype, options.screen)
    if options.search_words == 0:
        if constraint is None:
            return VocabularySearch(product, gold, options.beam, score.normalized), None
        return CandidateSearch(scorer, constraint, gold, ExactLogTotals(product, gold)), None
    best = best_after_gold(product, gold, max(options.beam, options.search_words), score.normalized)
    words = search_words(best, gold, padding)
    if score.normalized:
        totals = SearchWordsLogTotals(scorer, words, gold, best, padding, exact_gold=not product.screened)
    if constraint is not None:
        return CandidateSearch(scorer, constraint, gold, totals), words
    return CandidateSearch(scorer, BatchConstraint(words, padding), gold, totals, best), words


def gold_nll(gold: GoldRun, scorer: Scorer, padding: int) -> Tensor:
    """() the negative log-likelihood of the gold words."""
    return cross_entropy(
        gold.outputs.flatten(0, 1), scorer.weight, scorer.bias, gold.words.t().reshape(-1), padding
    ).loss

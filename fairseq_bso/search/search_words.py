"""Search words: the few words that the search of a sentence ranks, and their agreement with the exact search.

A word that is among the best after no gold prefix of a sentence hardly ever enters its beam. The search words are the
union of the best words over the sentence. They cost one product along gold, which the loss needs anyway.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Set, Tuple

import torch
from torch import Tensor

from .candidate_search import CandidateScorer
from .constraints import distinct
from .decoder import GoldRun
from .scorer import Scorer
from .violation_reset import BeamState, SearchResult
from .violations import Trace, Violations
from .vocabulary_search import BestWords

Words = Tuple[int, ...]
# The number of words of a batch that the estimate of log Z always counts: those in the search words of most sentences.
COMMON_WORDS = 512


def search_words(best: BestWords, gold: GoldRun, padding: int) -> Tensor:
    """The words that a search ranks: those among the best after some gold prefix of a sentence, and gold's own.

    Args:
        best: (T, B, n); scores are ``-inf`` beyond a sentence's length.
        gold: the gold run.
        padding: the id that pads rows.

    Returns:
        (B, C) int64, each word once, ascending, then padding.
    """
    found, exists = (part.transpose(0, 1).flatten(1) for part in (best.words, best.scores > -torch.inf))  # (B, T * n)
    words = distinct(torch.cat([found, gold.words], 1), torch.cat([exists, gold.inside.t()], 1), padding)
    return words[:, : int((words != padding).sum(1).max())]


class EstimatedLogZ:
    """An estimate of ``log Z`` from few words: the most common search words of the batch, and a sentence's own ones.

    ``log Z`` of a hypothesis of t words is estimated as ``log sum exp f`` over these words, plus ``rest[t]``.
    ``rest[t]`` is what all other words add to that sum after the gold prefix of t words, where ``log Z`` is known.

    Args:
        scorer: the output layer.
        words: (B, C) int64, the search words.
        gold: the gold run, detached.
        best: (T, B, n) the best words after gold, with ``log_z``.
        padding: the id that pads rows of ``words``.
        exact_gold: whether ``best.log_z`` is exact.
    """

    def __init__(
        self, scorer: Scorer, words: Tensor, gold: GoldRun, best: BestWords, padding: int, exact_gold: bool = True
    ) -> None:
        assert best.log_z is not None
        self.exact_gold, self.gold = exact_gold, best.log_z
        tally = torch.bincount(words.flatten(), minlength=scorer.bias.numel())  # (V,)
        tally[padding] = 0
        common = tally.topk(min(COMMON_WORDS, tally.numel())).indices  # (U,)
        is_common = torch.zeros_like(tally, dtype=torch.bool)
        is_common[common] = True
        self.own = CandidateScorer(scorer, words)
        skipped = (words == padding) | is_common[words]  # (B, C) the common words are summed once, with the others
        self.own_mask = torch.zeros_like(self.own.bias).masked_fill(skipped, -torch.inf).unsqueeze(1)  # (B, 1, C)
        self.common = CandidateScorer(scorer, common.unsqueeze(0))
        gold_outputs = gold.outputs.transpose(0, 1)  # (B, T, H)
        rest = self.gold - self._log_sum(gold_outputs, self.own(gold_outputs)).t()  # (T, B)
        time = torch.arange(rest.size(0), device=rest.device).unsqueeze(1)  # (T, 1)
        self.rest = rest.gather(0, torch.minimum(time, gold.lengths - 1))  # hypotheses may be longer than gold

    def of_others(self, kept: BeamState, t: int, outputs: Tensor, own: Optional[Tensor] = None) -> Tensor:
        """(B, W) of the other hypotheses; empty places hold arbitrary values."""
        return self._log_sum(outputs, self.own(outputs) if own is None else own) + self.rest[t].unsqueeze(1)

    def _log_sum(self, outputs: Tensor, own: Tensor) -> Tensor:
        """(B, W, H), scores (B, W, C) -> (B, W) ``log sum exp f`` over the common and the own words."""
        return torch.logaddexp(self.common(outputs).logsumexp(2), (own + self.own_mask).logsumexp(2))


class Agreement(NamedTuple):
    """Agreement of a search over search words with the exact one, on one batch."""

    words: float
    """mean number of search words per sentence"""
    sentences: int
    kept: float
    """share of the hypotheses kept over search words that the exact search also keeps, at the same step"""
    violators: float
    """share of the violators found over search words that the exact search also finds, at the same step; 1 for none"""


def agreement(search: SearchResult, exact: SearchResult, gold: GoldRun, words: Tensor, padding: int) -> Agreement:
    """Compares a search over search words with the exact one.

    Args:
        search, exact: the results of the two searches.
        gold: the gold run of both.
        words: (B, C) the search words.
        padding: the id that pads rows of ``words``.
    """
    return Agreement(
        words=float((words != padding).sum(1).float().mean()),
        sentences=words.size(0),
        kept=_share(kept_hypotheses(search.trace, gold), kept_hypotheses(exact.trace, gold)),
        violators=_share(_violators(search.violations), _violators(exact.violations)),
    )


def _share(found: Set[Words], exact: Set[Words]) -> float:
    return len(found & exact) / len(found) if found else 1.0


def kept_hypotheses(trace: Trace, gold: GoldRun) -> Set[Words]:
    """(sentence, step, words ...) of every hypothesis other than gold that a search kept."""
    parents, words = trace.parents.tolist(), trace.words.tolist()  # T of B of K
    holds = torch.stack([decision.alive | (decision.ended > 0) for decision in trace.decisions]).tolist()  # T of B of W
    found = set()
    for sentence, right in enumerate(gold.words.tolist()):
        before: Dict[int, Words] = {0: ()}  # the hypothesis in each slot
        for t in range(len(words)):
            now = {0: tuple(right[: t + 1])}
            for slot, held in enumerate(holds[t][sentence], start=1):
                if held:
                    now[slot] = (*before[parents[t][sentence][slot]], words[t][sentence][slot])
                    found.add((sentence, t, *now[slot]))
            before = now
    return found


def _violators(violations: Violations) -> Set[Words]:
    rows = zip(violations.sentences.tolist(), violations.times.tolist(), violations.paths.tolist())
    return {(sentence, time, *path[: time + 1]) for sentence, time, path in rows}

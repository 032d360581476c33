"""Exact scores of finished hypotheses and of gold, with gradient."""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from ..blockwise import log_partition
from .decoder import Decoder, GoldRun, Scored
from .finished_search import Finished
from .prefixes import Prefixes, distinct_prefixes
from .segments import SearchOptions, gold_nll
from .violations import Violations


class FinishedScores(NamedTuple):
    """Finished hypotheses and gold, scored with gradient."""

    finished: Finished
    scores: Tensor
    """(B, K) float, the sum of local scores; 0 for none"""
    gold: Tensor
    """(B,) float, if the whole of gold is scored"""
    nll: Optional[Tensor]
    """() negative log-likelihood of the gold words, if it is wanted"""


def finished_scores(decoder: Decoder, gold: GoldRun, finished: Finished, options: SearchOptions) -> FinishedScores:
    """Scores finished hypotheses with gradient. ``log Z`` of a prefix that several hypotheses share is computed once.

    Args:
        decoder: the model on this batch.
        gold: its gold run.
        finished: hypotheses.
        options: say whether the whole of gold is scored. Otherwise gold words count 0 where no hypothesis shares them.
    """
    sentences, beam, _ = finished.paths.shape
    existing = (finished.lengths.view(-1) > 0).nonzero().squeeze(1)  # (M,) in a flat B * K
    found = _as_violations(finished, existing, gold.words)
    gold, own = decoder.score(gold, found)
    needed = _needed_gold_words(gold, found, options.whole_gold)  # (G,)
    prefixes = _numbered_prefixes(found, own, needed, sentences)
    of_gold, of_own = _local_scores(decoder, gold, own, needed, prefixes)  # (T, B), (N,)
    gold_sums = torch.cat([of_gold.new_zeros(1, sentences), of_gold.cumsum(0)])  # (T + 1, B)
    sums = gold_sums[found.branches, found.sentences].index_add(0, own.owners, of_own)  # (M,)
    scores = sums.new_zeros(sentences * beam).index_copy(0, existing, sums).view(sentences, beam)
    whole_gold = gold_sums[gold.lengths, torch.arange(sentences, device=sums.device)]  # (B,)
    nll = None
    if options.nll:  # raw scores are no log-probabilities
        normalized = decoder.prefix_score.normalized
        nll = -of_gold.sum() if normalized else gold_nll(gold, decoder.scorer, decoder.padding)
    return FinishedScores(finished, scores, whole_gold, nll)


def _needed_gold_words(gold: GoldRun, found: Violations, whole: bool) -> Tensor:
    """(G,) int64, ascending places in a flat ``T * B``: all gold words, or those up to a sentence's last branch."""
    last = gold.lengths - 1
    if not whole:  # gold words after a sentence's last branch are in no score
        last = torch.full_like(last, -1).scatter_reduce(0, found.sentences, found.branches, "amax")
    time = torch.arange(gold.words.size(1), device=last.device).unsqueeze(1)  # (T, 1)
    return (time <= last).view(-1).nonzero().squeeze(1)


def _local_scores(
    decoder: Decoder, gold: GoldRun, own: Scored, needed: Tensor, prefixes: Prefixes
) -> Tuple[Tensor, Tensor]:
    """The local scores of the gold words (T, B), 0 for those that are not needed, and of N own words (N,)."""
    scorer, (sentences, time) = decoder.scorer, gold.words.shape
    gold_outputs = gold.outputs.flatten(0, 1).index_select(0, needed)  # (G, H)
    outputs = torch.cat([gold_outputs, own.outputs.index_select(0, prefixes.words)])  # (G + U, H)
    of_gold = scorer.score_words(outputs[: needed.numel()], gold.words.t().reshape(-1)[needed])  # (G,)
    of_own = scorer.score_words(outputs.index_select(0, prefixes.numbers), own.words)  # (N,)
    if decoder.prefix_score.normalized:
        log_z = log_partition(outputs, scorer.weight, scorer.bias)  # (G + U,)
        of_gold, of_own = of_gold - log_z[: needed.numel()], of_own - log_z.index_select(0, prefixes.numbers)
    return of_own.new_zeros(time * sentences).index_copy(0, needed, of_gold).view(time, sentences), of_own


def _as_violations(finished: Finished, existing: Tensor, gold: Tensor) -> Violations:
    """The hypotheses ``existing`` (M,) of a flat ``B * K``, as violators that leave the gold words (B, T) once."""
    owners = existing.div(finished.paths.size(1), rounding_mode="floor")
    paths, ends = finished.paths.flatten(0, 1)[existing], finished.lengths.view(-1)[existing] - 1
    place = torch.arange(paths.size(1), device=ends.device)  # (T,)
    differs = (paths != gold[owners]) & (place <= ends.unsqueeze(1))  # (M, T)
    branches = torch.where(differs.any(1), differs.long().argmax(1), ends)  # (M,)
    return Violations(
        sentences=owners,
        times=ends,
        resets=torch.zeros_like(ends),
        branches=branches,
        ends=ends,
        paths=paths,
        gaps=torch.zeros_like(ends, dtype=torch.float32),
    )


def _numbered_prefixes(found: Violations, own: Scored, needed: Tensor, sentences: int) -> Prefixes:
    """The prefixes of hypotheses' own words: the G needed gold prefixes come first, then U others.

    Args:
        found: M hypotheses.
        own: their N own words, from the branch on. A word at the branch follows a gold prefix.
        needed: (G,) int64, ascending places of gold words in a flat ``T * B``; those at branches are among them.
        sentences: B.

    Returns:
        ``words`` (U,) for the prefixes that are not gold's, and ``numbers`` (N,) below G + U.
    """
    later = (own.places != found.branches[own.owners]).nonzero().squeeze(1)
    others = distinct_prefixes(found, own.owners[later], own.places[later])
    of_gold = torch.searchsorted(needed, own.places * sentences + found.sentences[own.owners])  # (N,) at branches
    return Prefixes(later[others.words], of_gold.index_copy(0, later, needed.numel() + others.numbers))

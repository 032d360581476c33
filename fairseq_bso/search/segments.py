"""Violating segments: the words by which a violator differs from gold, decoded and scored with gradient.

A violator that left gold at word ``branch`` shares gold's state up to that word; only its own words are new. Segments
of one sentence never overlap in time. All of them together are therefore at most one more run over the target.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .blockwise import log_partition
from .decoder import Decoder, GoldRun, Rows
from .scorer import PrefixScore, Scorer
from .violations import Violations


class Scored(NamedTuple):
    """N words of M violations, with the outputs that score them."""

    outputs: Tensor
    """(N, H)"""
    words: Tensor
    """(N,) int64"""
    owners: Tensor
    """(N,) int64, the violation that a word belongs to"""
    places: Tensor
    """(N,) int64, the position of a word in its sentence"""

    def select(self, index: Tensor) -> Scored:
        """The words at ``index``, (N',) int64 or (N,) bool."""
        index = index.nonzero().squeeze(1) if index.dtype == torch.bool else index
        return Scored(*(part.index_select(0, index) for part in self))


def violation_gaps(
    gold: GoldRun,
    violations: Violations,
    decoder: Decoder,
    scorer: Scorer,
    score: PrefixScore,
    finished_lenpen: Optional[float] = None,
    gold_log_totals: Optional[Tensor] = None,
) -> Tensor:
    """Gold score minus violator score of every violation, exact and with gradient.

    If the score of a prefix is a sum, the words that gold and violator share cancel out. The gap is then the difference
    of the sums over the words from the branch on. Both have the same prefix at the branch, so its ``log Z`` also
    cancels out.

    Args:
        gold: the gold run, with gradient.
        violations: M violations.
        decoder: extends hypotheses, with gradient.
        scorer: the output layer.
        score: the local scores and the scores of prefixes.
        finished_lenpen: as in the search's rules.
        gold_log_totals: (T, B) ``log Z`` after every gold prefix, if it is known.

    Returns:
        (M,) float.
    """
    factor = length_factors(gold, violations, finished_lenpen)  # (M,)
    violators = _violators_words(gold, violations, decoder)
    start = torch.where(factor == 1, violations.branches, torch.zeros_like(violations.branches))
    if not score.cumulative:
        start = violations.times
        violators = violators.select(violators.places == violations.ends[violators.owners])
    golds = _golds_words(gold, violations, start)
    # Gold's words count in full from the branch on. Before the branch, the violator's share of them is subtracted.
    taken_back = 1 - factor[golds.owners]
    own = torch.where(golds.places < violations.branches[golds.owners], taken_back, torch.ones_like(taken_back))
    weights = torch.cat([own, -factor[violators.owners]])  # (N,)
    words = Scored(*(torch.cat(pair) for pair in zip(golds, violators)))
    gaps = torch.zeros_like(factor).index_add(0, words.owners, weights * scorer.score_words(words.outputs, words.words))
    if not score.normalized:
        return gaps
    is_gold = torch.arange(weights.numel(), device=weights.device) < golds.words.numel()
    # At the branch gold and violator have the same prefix: its log Z counts once, with the difference of the weights.
    at_branch = torch.where(is_gold, 1 - factor[words.owners], torch.zeros_like(weights))
    weights = torch.where(words.places == violations.branches[words.owners], at_branch, weights)
    return gaps - _weighted_log_totals(words, weights, is_gold, violations, scorer, gold_log_totals)


def _weighted_log_totals(
    words: Scored,
    weights: Tensor,
    is_gold: Tensor,
    violations: Violations,
    scorer: Scorer,
    gold_log_totals: Optional[Tensor],
) -> Tensor:
    """(M,) the sum of ``weight * log Z`` over the words of each violation, (N,) each.

    ``log Z`` is computed only for weights other than 0. ``is_gold`` marks gold's words, which come first;
    ``gold_log_totals`` is as in ``violation_gaps``.
    """
    counted = (weights != 0).nonzero().squeeze(1)
    words, of_gold, known = words.select(counted), int(is_gold[counted].sum()), None
    if gold_log_totals is not None:
        known = gold_log_totals[words.places[:of_gold], violations.sentences[words.owners[:of_gold]]]
    log_totals = log_partition(words.outputs, scorer.weight, scorer.bias, known)
    sums = log_totals.new_zeros(violations.times.numel())
    return sums.index_add(0, words.owners, weights[counted] * log_totals)


def length_factors(gold: GoldRun, violations: Violations, finished_lenpen: Optional[float]) -> Tensor:
    """(M,) float, the factor of the violator's sum relative to gold's.

    It differs from 1 only if the violator ended earlier and gold ends at the violation.
    """
    length = (violations.times + 1).to(torch.promote_types(gold.outputs.dtype, torch.float32))  # (M,)
    if not finished_lenpen:
        return torch.ones_like(length)
    ended = (violations.ends < violations.times) & (gold.lengths[violations.sentences] == length)
    return torch.where(ended, (length / (violations.ends + 1)) ** finished_lenpen, torch.ones_like(length))


def _golds_words(gold: GoldRun, violations: Violations, start: Tensor) -> Scored:
    """Gold's words from ``start`` (M,) to each violation."""
    owners, places = ragged(start, violations.times - start + 1)
    sentences = violations.sentences[owners]
    outputs = gold.outputs.flatten(0, 1).index_select(0, places * gold.words.size(0) + sentences)
    return Scored(outputs, gold.words[sentences, places], owners, places)


def ragged(start: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
    """The concatenated ranges ``start[m] .. start[m] + lengths[m] - 1``: the index m (N,) and the number (N,)."""
    owners = torch.repeat_interleave(torch.arange(start.numel(), device=start.device), lengths)
    before = lengths.cumsum(0) - lengths
    return owners, torch.arange(owners.numel(), device=start.device) - before[owners] + start[owners]


def _violators_words(gold: GoldRun, violations: Violations, decoder: Decoder) -> Scored:
    """Decodes the violators' own words with gradient, longest first, from the gold states that they branch off."""
    sentences = gold.words.size(0)
    lengths, order = (violations.ends - violations.branches).sort(descending=True, stable=True)  # (M,) new steps
    running = _longer_than(lengths)  # running[j]: the number of segments that have a step j
    branch, sentence = violations.branches[order], violations.sentences[order]
    start = branch * sentences + sentence  # (M,) into the flat (T * B) gold states
    moving = running[0] if running else 0
    rank = _rank_within_sentences(sentence[:moving], sentences)
    widths = _widths(rank, running)
    states = tuple(part.flatten(0, 1).index_select(0, start[:moving]) for part in gold.states)
    found = [gold.outputs.flatten(0, 1).index_select(0, start)]  # the first word follows gold's own prefix
    inputs = _embed_segments(violations.paths[order], sentence, branch, running, decoder)
    for j, embedded in enumerate(inputs):
        states = tuple(part[: running[j]] for part in states)
        slots, times = sentence[: running[j]] * widths[j] + rank[: running[j]], branch[: running[j]] + j + 1
        outputs, states = decoder.advance(embedded, states, Rows(slots, widths[j], False), times)
        found.append(outputs)
    counts = [order.numel(), *running]
    owners = torch.cat([order[:count] for count in counts])
    steps = torch.repeat_interleave(torch.arange(len(counts), device=owners.device), owners.new_tensor(counts))
    places = violations.branches[owners] + steps
    return Scored(torch.cat(found), violations.paths[owners, places], owners, places)


def _embed_segments(
    paths: Tensor, sentence: Tensor, branch: Tensor, running: List[int], decoder: Decoder
) -> Sequence[Tensor]:
    """The inputs of all segments in one call: for each step j, (running[j], I)."""
    if not running:
        return []
    row = torch.cat([torch.arange(count, device=paths.device) for count in running])  # (sum of running,)
    step = torch.repeat_interleave(
        torch.arange(len(running), device=paths.device), torch.tensor(running, device=paths.device)
    )
    place = branch[row] + step
    return decoder.embed(paths[row, place], sentence[row], place + 1).split(running)


def _longer_than(lengths: Tensor) -> List[int]:
    """For j = 0, 1, ...: the number of lengths above j. Only here does the host read the number of segments."""
    if lengths.numel() == 0:
        return []
    tally = torch.bincount(lengths)  # (longest + 1,)
    return tally.flip(0).cumsum(0).flip(0)[1:].tolist()


def _rank_within_sentences(sentence: Tensor, sentences: int) -> Tensor:
    """(M,) the sentence of each segment -> (M,) the number of earlier segments of the same sentence."""
    grouped, order = sentence.sort(stable=True)
    tally = torch.bincount(sentence, minlength=sentences)  # (B,)
    first = tally.cumsum(0) - tally
    rank = torch.empty_like(sentence)
    rank[order] = torch.arange(sentence.numel(), device=sentence.device) - first[grouped]
    return rank


def _widths(rank: Tensor, running: List[int]) -> List[int]:
    """For each step, the largest number of running segments of a sentence: attention needs only as many slots."""
    if not running:
        return []
    last = torch.tensor(running, device=rank.device) - 1
    return (rank.cummax(0).values[last] + 1).tolist()

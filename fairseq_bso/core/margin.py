"""The BSO loss (Wiseman & Rush 2016, equation 5 of section 4.1) and the ragged batch of violating segments.

A violator that left gold at word ``branch`` and violates at word ``time`` shares gold's state up to ``branch``; only
``time - branch`` of its steps are new. Segments of one sentence never overlap in time, so all of them together are at
most one more run over the target.
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

import torch
from torch import Tensor

from .violation_reset import Decoder, GoldRun, Rows, Violations


def margin_loss(gold_scores: Tensor, violator_scores: Tensor, costs: Tensor, margin: float = 1.0) -> Tensor:
    """``sum over violations of Delta * (margin - g + f(violator))``.

    Args:
        gold_scores: (M,) scores of the gold words at the violations.
        violator_scores: (M,) scores of the violators' last words.
        costs: (M,) Delta of each violation; a constant, no gradient goes through it.
        margin: the margin of the search.

    Returns:
        () the summed loss; zero, and still attached to the graph, where there is no violation.
    """
    return (costs.detach() * (margin - gold_scores + violator_scores)).sum()


def violator_outputs(gold: GoldRun, violations: Violations, decoder: Decoder) -> Tensor:
    """Runs the violating segments with gradient, longest first, from the gold states they branch off.

    Args:
        gold: the gold run, with gradient.
        violations: M violations.
        decoder: extends hypotheses, with gradient.

    Returns:
        (M, H) the outputs that score each violator's last word.
    """
    sentences = gold.words.size(0)
    lengths, order = (violations.times - violations.branches).sort(descending=True, stable=True)  # (M,) new steps
    running = _longer_than(lengths)  # running[j]: how many segments have a step j
    branch, sentence = violations.branches[order], violations.sentences[order]
    start = branch * sentences + sentence  # (M,) into the flat (T * B) gold states
    moving = running[0] if running else 0
    rank = _rank_within_sentences(sentence[:moving], sentences)
    widths = _widths(rank, running)
    states = tuple(part.flatten(0, 1).index_select(0, start[:moving]) for part in gold.states)
    finished: List[Tensor] = [gold.outputs.flatten(0, 1).index_select(0, start[moving:])]
    inputs = _embed_segments(violations.paths[order], sentence, branch, running, decoder)
    for j, embedded in enumerate(inputs):
        slots, times = sentence[: running[j]] * widths[j] + rank[: running[j]], branch[: running[j]] + j + 1
        rows = Rows(slots, widths[j], False)
        outputs, states = decoder.advance(embedded, states, rows, times)
        going_on = running[j + 1] if j + 1 < len(running) else 0
        finished.append(outputs[going_on:])
        states = tuple(part[:going_on] for part in states)
    longest_first = torch.cat(finished[::-1])  # (M, H)
    return longest_first.index_select(0, order.argsort())


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
    """``[how many lengths > j for j = 0 ..]``, on the host: the one time that the number of segments is asked for."""
    if lengths.numel() == 0:
        return []
    tally = torch.bincount(lengths)  # (longest + 1,)
    return tally.flip(0).cumsum(0).flip(0)[1:].tolist()


def _rank_within_sentences(sentence: Tensor, sentences: int) -> Tensor:
    """(M,) the sentence of each segment -> (M,) how many segments of the same sentence stand before it."""
    grouped, order = sentence.sort(stable=True)
    tally = torch.bincount(sentence, minlength=sentences)  # (B,)
    first = tally.cumsum(0) - tally
    rank = torch.empty_like(sentence)
    rank[order] = torch.arange(sentence.numel(), device=sentence.device) - first[grouped]
    return rank


def _widths(rank: Tensor, running: List[int]) -> List[int]:
    """For each step, the most segments that any sentence still runs: attention asks no more places than that."""
    if not running:
        return []
    last = torch.tensor(running, device=rank.device) - 1
    return (rank.cummax(0).values[last] + 1).tolist()


def words_since_reset(violations: Violations, gold_words: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """What a Delta compares: the violator's and gold's words since the last reset.

    Args:
        violations: M violations.
        gold_words: (B, T) int64.

    Returns:
        hypothesis (M, L), gold (M, L) and lengths (M,); places beyond a length hold other words.
    """
    lengths = violations.times - violations.resets + 1  # (M,)
    longest = int(lengths.max()) if lengths.numel() > 0 else 0
    offset = torch.arange(longest, device=lengths.device)
    places = (violations.resets.unsqueeze(1) + offset).clamp(max=gold_words.size(1) - 1)  # (M, L)
    gold = gold_words.index_select(0, violations.sentences)
    return violations.paths.gather(1, places), gold.gather(1, places), lengths

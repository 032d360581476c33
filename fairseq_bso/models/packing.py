"""Gold and the violators' segments of a sentence as *one* sequence, for a decoder that is given positions and a mask.

A word of a segment sees the gold words before its branch, and the words of its own segment before it. A prefix that
several segments of a sentence share is in the sequence once.
"""

from __future__ import annotations

from typing import List, NamedTuple

import torch
from torch import Tensor

from ..search.prefixes import distinct_prefixes
from ..search.violations import Violations, ragged

MOST_GROUPS = 4
"""into how many groups a CPU splits a batch by the length of packed sequences, so that less is spent on padding"""
SMALLEST_GROUP = 16
"""sentences"""


class Segments(NamedTuple):
    """The segment words of M violations: N that are scored, by U distinct prefixes, in groups of sentences."""

    owners: Tensor
    """(N,) int64, the violation of each word"""
    places: Tensor
    """(N,) int64, the position of each word in its sentence"""
    numbers: Tensor
    """(N,) int64 below U, the prefix of each word"""
    words: Tensor
    """(U,) int64 below N: for each prefix, one of its words"""
    sentences: Tensor
    """(B,) int64, the sentences in the order of the groups; prefixes have the order of their sentences"""
    group_sizes: List[int]
    """the number of sentences of each group"""
    prefix_counts: List[int]
    """the number of prefixes of each group"""


class Pack(NamedTuple):
    """Gold and the segments of b sentences in sequences of L words: first the T of gold."""

    sentences: Tensor
    """(b,) int64"""
    tokens: Tensor
    """(b, L) int64, the input words"""
    depths: Tensor
    """(b, L) int64, the number of words before each in its own prefix"""
    hidden: Tensor
    """(b, L, L) bool, True where a word (second axis) must not see another (third axis)"""
    columns: Tensor
    """(u,) int64, the place in the flat ``b * L`` sequences of the last word of each prefix"""


def segments_of(violations: Violations, sentences: int, grouped: bool) -> Segments:
    """The segment words of M violations of B sentences, in groups of sentences or all in one."""
    owners, places = ragged(violations.branches + 1, violations.ends - violations.branches)  # (N,) all but the first
    prefixes = distinct_prefixes(violations, owners, places)
    of_sentence = violations.sentences[owners[prefixes.words]]  # (U,)
    counts = torch.bincount(of_sentence, minlength=sentences)  # (B,)
    groups = max(1, min(MOST_GROUPS, sentences // SMALLEST_GROUP)) if grouped else 1
    ascending = counts.argsort(stable=True) if groups > 1 else torch.arange(sentences, device=counts.device)  # (B,)
    sizes = [sentences * (group + 1) // groups - sentences * group // groups for group in range(groups)]
    of_groups = [int(part.sum()) for part in counts[ascending].split(sizes)] if groups > 1 else [of_sentence.numel()]
    order = ascending.argsort()[of_sentence].argsort(stable=True)  # (U,)
    numbers = order.argsort()[prefixes.numbers]
    return Segments(owners, places, numbers, prefixes.words[order], ascending, sizes, of_groups)


def packs(inputs: Tensor, violations: Violations, segments: Segments, end: int) -> List[Pack]:
    """Packs gold inputs (B, T) and segments, one pack for each group. ``end`` pads the sequences."""
    numbers = violations.paths.new_zeros(violations.paths.shape)  # (M, T) the prefix before each segment word
    numbers[segments.owners, segments.places] = segments.numbers
    found, first = [], 0
    for sentences, words in zip(
        segments.sentences.split(segments.group_sizes), segments.words.split(segments.prefix_counts)
    ):
        owners, places = segments.owners[words], segments.places[words]  # (u,)
        found.append(_pack(inputs, violations, sentences, owners, places, numbers - first, end))
        first += words.numel()
    return found


def _pack(
    inputs: Tensor,
    violations: Violations,
    sentences: Tensor,
    owners: Tensor,
    places: Tensor,
    numbers: Tensor,
    end: int,
) -> Pack:
    """One group of b sentences with u prefixes.

    Args:
        inputs, violations, end: as in ``packs``.
        sentences: (b,) int64.
        owners, places: (u,) int64, a violation with this prefix, and the place of the word that follows it; in the
            order of the sentences.
        numbers: (M, T) int64, the prefix before each segment word.
    """
    (count, time), total = (sentences.numel(), inputs.size(1)), owners.numel()
    index = torch.arange(total, device=owners.device)
    row_of = torch.zeros_like(inputs[:, 0]).index_copy_(0, sentences, torch.arange(count, device=inputs.device))  # (B,)
    rows = row_of[violations.sentences[owners]]  # (u,) below b, ascending
    tally = torch.bincount(rows, minlength=count)  # (b,)
    start = tally.cumsum(0) - tally
    length = time + (int(tally.max()) if total else 0)
    columns = rows * length + time + index - start[rows]  # (u,)

    def packed(gold: Tensor, own: Tensor, filler: int) -> Tensor:
        """gold (T,) or (b, T), own (u,) -> (b, L), padded with ``filler``."""
        sequences = inputs.new_full((count, length), filler)
        sequences[:, :time] = gold
        return sequences.view(-1).index_copy_(0, columns, own).view(count, length)

    depth = torch.arange(time, device=inputs.device)
    tokens = packed(inputs[sentences], violations.paths[owners, places - 1], end)
    depths = packed(depth, places, 0)
    seen = packed(depth, violations.branches[owners], 0)  # the last gold input that a word sees
    visible = torch.zeros(count, length, length, dtype=torch.bool, device=inputs.device)
    visible[:, :, :time] = depth <= seen.unsqueeze(2)
    later, before = ragged(violations.branches[owners] + 1, places - violations.branches[owners])  # pairs of u, depths
    earlier = numbers[owners[later], before]  # the prefixes within the prefix itself, which is among them
    visible.view(-1, length)[columns[later], columns[earlier].remainder(length)] = True
    return Pack(sentences, tokens, depths, ~visible, columns)

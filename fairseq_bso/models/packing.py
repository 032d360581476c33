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
"""the fewest sentences of a group"""
LEAST_SAVED = 0.1
"""share of the packed words, padding included, that groups must save: each group is a pass of its own"""


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
    mask: Tensor
    """(b, L, L) bool, the mask of self-attention: True where a word (second axis) must not see another (third axis)"""
    columns: Tensor
    """(u,) int64, the place in the flat ``b * L`` sequences of the last word of each prefix"""


def segments_of(violations: Violations, sentences: int, grouped: bool) -> Segments:
    """The segment words of M violations of B sentences, in groups of sentences or all in one."""
    owners, places = ragged(violations.branches + 1, violations.ends - violations.branches)  # (N,) all but the first
    prefixes = distinct_prefixes(violations, owners, places)
    of_sentence = violations.sentences[owners[prefixes.words]]  # (U,)
    counts = torch.bincount(of_sentence, minlength=sentences)  # (B,) the prefixes of each sentence
    sizes = _group_sizes(counts, violations.paths.size(1)) if grouped else [sentences]
    in_groups, prefix_counts = torch.arange(sentences, device=counts.device), [of_sentence.numel()]  # (B,)
    if len(sizes) > 1:
        in_groups = counts.argsort(stable=True)
        prefix_counts = [int(part.sum()) for part in counts[in_groups].split(sizes)]
    order = in_groups.argsort()[of_sentence].argsort(stable=True)  # (U,)
    numbers = order.argsort()[prefixes.numbers]  # (N,)
    return Segments(owners, places, numbers, prefixes.words[order], in_groups, sizes, prefix_counts)


def _group_sizes(counts: Tensor, time: int) -> List[int]:
    """The number of sentences of each group, for T gold words and (B,) prefixes of each sentence."""
    sentences = counts.numel()
    groups = max(1, min(MOST_GROUPS, sentences // SMALLEST_GROUP))
    ends = [sentences * (group + 1) // groups for group in range(groups)]
    sizes = [end - begin for begin, end in zip([0, *ends], ends)]
    lengths = [time + count for count in sorted(counts.tolist())]
    words = sum(size * lengths[end - 1] for size, end in zip(sizes, ends))  # with padding
    return sizes if words <= (1 - LEAST_SAVED) * sentences * lengths[-1] else [sentences]


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
    count, time = sentences.numel(), inputs.size(1)
    row_of = torch.zeros_like(inputs[:, 0]).index_copy_(0, sentences, torch.arange(count, device=inputs.device))  # (B,)
    rows = row_of[violations.sentences[owners]]  # (u,) below b, ascending
    counts = torch.bincount(rows, minlength=count)  # (b,) the prefixes of each sentence
    first = counts.cumsum(0) - counts  # (b,) the first prefix of each sentence
    rank = torch.arange(owners.numel(), device=owners.device) - first[rows]  # (u,) among the prefixes of its sentence
    length = time + (int(counts.max()) if owners.numel() else 0)
    columns = rows * length + time + rank  # (u,)

    def packed(gold: Tensor, own: Tensor, filler: int) -> Tensor:
        """gold (T,) or (b, T), own (u,) -> (b, L), padded with ``filler``."""
        sequences = inputs.new_full((count, length), filler)
        sequences[:, :time] = gold
        return sequences.view(-1).index_copy_(0, columns, own).view(count, length)

    depth = torch.arange(time, device=inputs.device)  # (T,)
    tokens = packed(inputs[sentences], violations.paths[owners, places - 1], end)
    depths = packed(depth, places, 0)
    last_gold = packed(depth, violations.branches[owners], 0)
    visible = _visible(violations, owners, places, numbers, columns, last_gold)
    return Pack(sentences, tokens, depths, ~visible, columns)


def _visible(
    violations: Violations, owners: Tensor, places: Tensor, numbers: Tensor, columns: Tensor, last_gold: Tensor
) -> Tensor:
    """Which words of one group see which others.

    Args:
        violations, owners, places, numbers: as in ``_pack``.
        columns: (u,) int64, as in ``Pack``.
        last_gold: (b, L) int64, the last gold input that each word sees.

    Returns:
        (b, L, L) bool, True where a word (second axis) sees another (third axis).
    """
    (count, length), time = last_gold.shape, violations.paths.size(1)
    visible = torch.zeros(count, length, length, dtype=torch.bool, device=last_gold.device)
    visible[:, :, :time] = torch.arange(time, device=last_gold.device) <= last_gold.unsqueeze(2)
    branches = violations.branches[owners]  # (u,)
    later, place = ragged(branches + 1, places - branches)  # each prefix, with the places after its own words
    earlier = numbers[owners[later], place]  # the prefix before such a place; the last one is the prefix itself
    visible.view(-1, length)[columns[later], columns[earlier].remainder(length)] = True
    return visible

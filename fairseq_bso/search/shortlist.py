"""``shortlist``: only the likeliest translations of the source words, the commonest words and ``</s>`` may come out.

The words of a sentence follow from its source words alone, so an output does not depend on other sentences.
``bso_runtime/shortlist.py`` is the same for exported models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import torch
from torch import Tensor

from .constraints import BatchConstraint, Vocabulary, register_successors


@dataclass(frozen=True)
class ShortlistTable:
    """Words of the target dictionary, by the source words that they translate."""

    common: Tensor
    """(m,) int64 the words of every sentence"""
    words: Tensor
    """(V, n) int64 the words of each source word, padded"""


class Shortlist(BatchConstraint):
    """The words of each sentence, at any place of an output.

    Args:
        words: (B, S) int64 ids of the *source* dictionary, left-aligned.
        lengths: (B,).
        vocabulary: with the table.
        gold: (B, T) the targets of training, padded. Their words are added, so that no pair is lost.

    Raises:
        ValueError: the vocabulary has no table.
    """

    reads_source = True
    takes_gold = True
    among_candidates = True
    decides_end = False

    def __init__(self, words: Tensor, lengths: Tensor, vocabulary: Vocabulary, gold: Optional[Tensor] = None) -> None:
        table = vocabulary.shortlist
        if table is None:
            raise ValueError("no shortlist was given")
        place = torch.arange(words.size(1), device=words.device)  # (S,)
        likely = table.words.to(words.device)[words]  # (B, S, n)
        likely = likely.masked_fill((place >= lengths.unsqueeze(1)).unsqueeze(2), vocabulary.padding)
        inside = torch.zeros(words.size(0), len(vocabulary.symbols), dtype=torch.bool, device=words.device)  # (B, V)
        inside[:, table.common.to(words.device)] = True
        inside.scatter_(1, likely.flatten(1), True)
        if gold is not None:
            inside.scatter_(1, gold, True)
        inside[:, : vocabulary.end] = inside[:, vocabulary.padding] = False
        inside[:, vocabulary.end] = True
        super().__init__(columns_of(inside, vocabulary.padding), vocabulary.padding)


def columns_of(inside: Tensor, padding: int) -> Tensor:
    """Which words (B, V) -> their ids (B, C), ascending, then padding."""
    sentences, words = inside.nonzero(as_tuple=True)  # (N,)
    counts = inside.sum(1)
    starts = counts.cumsum(0) - counts
    columns = torch.arange(words.numel(), device=words.device) - starts[sentences]  # (N,)
    found = inside.new_full((inside.size(0), int(counts.max())), padding, dtype=torch.long)
    found[sentences, columns] = words
    return found


register_successors("shortlist", Shortlist)

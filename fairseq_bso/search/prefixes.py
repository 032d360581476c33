"""The distinct prefixes of a batch's hypotheses: what several hypotheses of a sentence share is computed once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .violations import Violations


class Prefixes(NamedTuple):
    """The U distinct prefixes of N words of M hypotheses. A prefix is a sentence and all words before a place."""

    words: Tensor
    """(U,) int64 below N, for each prefix one of the words that follow it"""
    numbers: Tensor
    """(N,) int64 below U, the prefix of each word"""


def distinct_prefixes(hypotheses: Violations, owners: Tensor, places: Tensor) -> Prefixes:
    """Finds the prefixes that several hypotheses of a sentence share.

    In the lexicographic order of hypotheses, all that share a prefix are neighbours.

    Args:
        hypotheses: M hypotheses of T words at most.
        owners: (N,) int64, the hypothesis of each word.
        places: (N,) int64, the position of each word, up to the end of its hypothesis.
    """
    sentences, paths = hypotheses.sentences.unsqueeze(1), hypotheses.paths
    if owners.numel() == 0:
        return Prefixes(owners, owners)
    rows, rank = torch.cat([sentences, paths], 1).unique(dim=0, return_inverse=True)  # (R, 1 + T) sorted, (M,)
    differs = (rows[1:] != rows[:-1]).cumsum(1) > 0  # (R - 1, 1 + T) by their sentence, or a word up to each place
    number = torch.arange(1, rows.size(0), device=rank.device).unsqueeze(1)  # (R - 1, 1)
    first = torch.zeros_like(rows[:, :-1])  # (R, T) the first row with the same words before each place
    first[1:] = torch.where(differs[:, :-1], number, 0).cummax(0).values
    keys = first[rank[owners], places] * paths.size(1) + places  # (N,)
    words = torch.full_like(first.view(-1), -1).scatter_(0, keys, torch.arange(keys.numel(), device=keys.device))
    there = words >= 0  # (R * T,) whether a word has this prefix
    numbers = (there.cumsum(0) - 1)[keys]
    return Prefixes(words[there], numbers)

"""Mixed inputs of teacher forcing: which previous words are the model's own or ``<unk>``, and their share by update.

Scheduled sampling (Bengio et al. 2015, arXiv 1506.03099) and word dropout (Iyyer et al. 2015; Bowman et al. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

SCHEDULES = ("linear", "exponential", "inverse_sigmoid")


@dataclass(frozen=True)
class SamplingSchedule:
    """The share of gold among the previous words at update ``i``: ``e(i)`` of Bengio et al. 2015, section 2.4.

    ``linear`` is ``k - slope * i``, ``exponential`` is ``k ** i``, ``inverse_sigmoid`` is ``k / (k + exp(i / k))``. No
    share is below ``floor``.

    Raises:
        ValueError: for a parameter out of the schedule's range.
    """

    name: str
    k: float
    slope: float
    floor: float

    def __post_init__(self) -> None:
        low, high = {"linear": (0.0, 1.0), "exponential": (0.0, 1.0), "inverse_sigmoid": (1.0, 1e9)}[self.name]
        if not low <= self.k <= high:
            raise ValueError(
                f"--sampling-k is {self.k}, but --sampling-schedule {self.name} needs one from {low:g} to {high:g}"
            )
        if not 0 <= self.slope <= 1:
            raise ValueError(f"--sampling-slope is {self.slope}, but must be from 0 to 1")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"--sampling-floor is {self.floor}, but must be from 0 to 1")

    def gold_share(self, update: int) -> float:
        """The share at update number ``update``, counted from 0."""
        if self.name == "linear":
            share = self.k - self.slope * update
        elif self.name == "exponential":
            share = self.k**update
        else:
            exponent = min(update / self.k, 700.0)  # float64 holds exp(700)
            share = self.k / (self.k + torch.tensor(exponent, dtype=torch.float64).exp().item())
        return min(1.0, max(self.floor, share))


class Draws(NamedTuple):
    """The random decisions of a batch, drawn once: every pass over it takes the same."""

    own: Tensor
    """(B, T) bool, the previous words that are the model's own"""
    unknown: Tensor
    """(B, T) bool, the gold words that are ``<unk>``; none of them is own"""
    numbers: Tensor
    """(B, T) float in [0, 1), which decide on the word that follows each place"""


def draw(previous: Tensor, padding: int, kept: int, gold_share: float, word_dropout: float) -> Draws:
    """Draws from torch's own random numbers, which fairseq seeds by ``--seed`` and the update.

    Args:
        previous: (B, T) int64, the input words of teacher forcing; the first one of a sentence always stays.
        padding: the padding symbol.
        kept: number of further words at the beginning that stay.
        gold_share: of the previous words.
        word_dropout: the share of ``<unk>`` among gold words.
    """
    numbers = torch.rand(3, *previous.shape, device=previous.device)
    is_word = previous != padding
    replaceable = is_word & (is_word.cumsum(1) > 1 + kept)  # (B, T)
    own = replaceable & (numbers[0] >= gold_share)
    return Draws(own, replaceable & ~own & (numbers[1] < word_dropout), numbers[2])


def mixed(previous: Tensor, draws: Draws, following: Tensor, unknown: int) -> Tensor:
    """The inputs (B, T): gold, own words and ``unknown``.

    Args:
        previous: (B, T) int64, gold.
        draws: the random decisions.
        following: (B, T) int64, the model's own word after each place.
        unknown: the symbol ``<unk>``.
    """
    shifted = torch.cat([previous[:, :1], following[:, :-1]], 1)  # (B, T)
    return torch.where(draws.own, shifted, previous.masked_fill(draws.unknown, unknown))


def followed_by_own(draws: Draws) -> Tensor:
    """(B, T) bool, the places after which the model's own word is fed."""
    return torch.cat([draws.own[:, 1:], torch.zeros_like(draws.own[:, :1])], 1)


def own_words(scores: Tensor, draws: Draws, padding: int, sampled: bool) -> Tensor:
    """The model's own word after each place that an own word follows; ``padding`` elsewhere: (B, T) int64.

    Args:
        scores: (N, V), log-probabilities or raw scores at these N places.
        draws: the random decisions; ``numbers`` are the values of the cumulative distribution at the words.
        padding: the padding symbol, which is never chosen.
        sampled: draw from the distribution; otherwise the most probable word.
    """
    wanted = followed_by_own(draws)
    probabilities = scores.float().softmax(1)  # (N, V)
    probabilities[:, padding] = 0
    words = probabilities.argmax(1)  # (N,)
    if sampled:
        cumulative = probabilities.cumsum(1)  # (N, V)
        drawn = draws.numbers[wanted].unsqueeze(1).to(cumulative.dtype) * cumulative[:, -1:]
        words = torch.searchsorted(cumulative, drawn, right=True).squeeze(1).clamp(max=probabilities.size(1) - 1)
    return torch.full_like(wanted, padding, dtype=torch.long).masked_scatter(wanted, words)

"""Margin violations: the rules of a violation, and the violations of a batch."""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor


class Rules(NamedTuple):
    """The rules of a violation."""

    beam: int
    """K >= 2"""
    end: int
    """the word id of ``</s>``; a hypothesis that ended has no successors"""
    padding: int
    """the id that fills paths after a violator's ``</s>``"""
    margin: float = 1.0
    """the margin by which gold must beat the violator, > 0"""
    cumulative: bool = True
    """whether the score of a prefix is the sum over its words; otherwise it is the score of the last word alone"""
    finished_lenpen: Optional[float] = None
    """if given, hypotheses that ended stay in the comparison, and gold must beat them by ``s / length ** lenpen``"""

    def check(self) -> None:
        """Checks the rules.

        Raises:
            ValueError: if gold could leave the beam unnoticed.
        """
        if self.beam < 2:
            raise ValueError(
                f"the train beam is {self.beam}, but must be at least 2: with one hypothesis gold has no rival"
            )
        if self.margin <= 0:
            raise ValueError(
                f"the margin is {self.margin}, but must be above 0, or gold could leave the beam unnoticed"
            )


class Violations(NamedTuple):
    """All margin violations of a batch, in order of (time, sentence)."""

    sentences: Tensor
    """(M,) int64"""
    times: Tensor
    """(M,) int64, from 0"""
    resets: Tensor
    """(M,) int64: words ``resets..times`` were searched since the last reset (``r + 1 .. t`` of the paper)"""
    branches: Tensor
    """(M,) int64 in ``[resets, times]``: the first word in which the violator differs from gold, or ``times`` if only
    its last word differs"""
    ends: Tensor
    """(M,) int64 in ``[branches, times]``: the violator's last word, before ``times`` if it had ended"""
    paths: Tensor
    """(M, T) int64: the violator up to and including ``ends``, padding from there to ``times``, gold words elsewhere"""
    gaps: Tensor
    """(M,) float: gold score minus violator score, as computed in the search"""


def ragged(start: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
    """The concatenated ranges ``start[m] .. start[m] + lengths[m] - 1``: the index m (N,) and the number (N,)."""
    owners = torch.repeat_interleave(torch.arange(start.numel(), device=start.device), lengths)
    before = lengths.cumsum(0) - lengths
    return owners, torch.arange(owners.numel(), device=start.device) - before[owners] + start[owners]

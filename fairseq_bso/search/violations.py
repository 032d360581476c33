"""Margin violations: the rules of a violation, the decisions of a search, and the violations of a batch."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from .topk import recover_paths


class Rules(NamedTuple):
    """The rules of a violation."""

    beam: int
    """K >= 2"""
    end: int
    """the word id of ``</s>``; a hypothesis that ended is never extended"""
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


class Decision(NamedTuple):
    """The decision of one step for every sentence."""

    violated: Tensor
    """(B,) bool"""
    gap: Tensor
    """(B,) float"""
    violator_slot: Tensor
    """(B,) int64"""
    violator_word: Tensor
    """(B,) int64, padding for a hypothesis that had ended"""
    exists: Tensor
    """(B, W) bool, whether the top K hold such another hypothesis than gold, kept or not; True for a NaN gap"""
    slots: Tensor
    """(B, W) int64, the parents of the other hypotheses kept"""
    words: Tensor
    """(B, W) int64, padding for hypotheses that had ended"""
    scores: Tensor
    """(B, W) float, the score minus that of the gold prefix"""
    alive: Tensor
    """(B, W) bool, whether a kept hypothesis can be extended"""
    ended: Tensor
    """(B, W) int64, as in BeamState"""


class Trace(NamedTuple):
    """The decisions of all steps, and the back-pointers of each hypothesis."""

    decisions: List[Decision]
    """T decisions"""
    parents: Tensor
    """(T, B, K) int64; slot 0 is gold"""
    words: Tensor
    """(T, B, K) int64"""

    def violations(self, gold: Tensor, rules: Rules) -> Violations:
        """Gathers the violations of all steps, along gold words (B, T). Nothing else counts violations."""
        violated = self._over_time("violated")  # (T, B)
        times, sentences = violated.nonzero(as_tuple=True)  # (M,)
        slots, words, gaps = (
            self._over_time(name)[times, sentences] for name in ("violator_slot", "violator_word", "gap")
        )
        return self._paths(gold, rules, times, sentences, slots, words, gaps)

    def rivals(self, gold: Tensor, lengths: Tensor, rules: Rules) -> Tuple[Violations, Tensor]:
        """All that is on the beams besides gold at violations and at the last words of gold.

        Args:
            gold: (B, T) int64, the gold words.
            lengths: (B,) int64.
            rules: the rules of a violation.

        Returns:
            M' rivals, in the form of violations, and the place (t, b) of each in a flat ``T * B``: (M',) int64.
        """
        violated, exists = self._over_time("violated"), self._over_time("exists")  # (T, B), (T, B, W)
        final = torch.arange(violated.size(0), device=lengths.device).unsqueeze(1) == lengths - 1  # (T, B)
        times, sentences, others = (exists & (violated | final).unsqueeze(2)).nonzero(as_tuple=True)  # (M',)
        slots, words, scores = (
            self._over_time(name)[times, sentences, others] for name in ("slots", "words", "scores")
        )
        found = self._paths(gold, rules, times, sentences, slots, words, -scores)
        return found, times * lengths.numel() + sentences

    def _over_time(self, name: str) -> Tensor:
        return torch.stack([getattr(decision, name) for decision in self.decisions])

    def _paths(
        self, gold: Tensor, rules: Rules, times: Tensor, sentences: Tensor, slots: Tensor, last: Tensor, gaps: Tensor
    ) -> Violations:
        """Recovers the words of hypotheses that step ``times`` (M,) makes of ``slots`` (M,) and ``last`` words (M,)."""
        violated = self._over_time("violated")
        time = torch.arange(violated.size(0), device=violated.device)  # (T,)
        restarts = torch.where(violated, time.unsqueeze(1) + 1, torch.zeros_like(violated, dtype=torch.long))
        # (T, B) the first word that was searched since the last reset before each step
        resets = torch.cat([torch.zeros_like(restarts[:1]), restarts.cummax(0).values[:-1]])
        paths, branches = recover_paths(self.parents, self.words, gold, sentences, times, slots)
        paths.scatter_(1, times.unsqueeze(1), last.unsqueeze(1))
        after_end = (paths == rules.padding) & (time <= times.unsqueeze(1)) & (time > branches.unsqueeze(1))  # (M, T)
        ends = times - after_end.sum(1)
        return Violations(sentences, times, resets[times, sentences], branches, ends, paths, gaps)


def ragged(start: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
    """The concatenated ranges ``start[m] .. start[m] + lengths[m] - 1``: the index m (N,) and the number (N,)."""
    owners = torch.repeat_interleave(torch.arange(start.numel(), device=start.device), lengths)
    before = lengths.cumsum(0) - lengths
    return owners, torch.arange(owners.numel(), device=start.device) - before[owners] + start[owners]

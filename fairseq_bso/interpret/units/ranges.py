"""The ranges of a corpus that a pattern search may find, and the best of them; `patterns` says what a match is.

T is the number of steps (`steps`), n of selected cells, R of a cell's runs, M of ranges. All of it runs on the CPU.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

import torch
from torch import Tensor

__all__ = ["Rule", "Runs", "best_ranges", "largest", "matching_cells", "runs_of"]


class Rule(NamedTuple):
    """When a cell matches."""

    level: int
    left: int
    right: int
    minimum_length: int
    above: bool

    def on(self, levels: Tensor) -> Tensor:
        """levels int8 -> bool of the same shape."""
        return levels >= self.level if self.above else levels <= -self.level


class Runs(NamedTuple):
    """Where one cell is on, in order of time. The last run is beyond the corpus, so that every step has a next one."""

    firsts: Tensor
    """(R + 1,) int64, first step of the run"""
    lasts: Tensor
    """(R + 1,) int64, last step"""
    fits: Tensor
    """(R + 1,) bool: long enough, and off long enough before (where `left` > 0) and after"""

    def through(self, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """steps (m,) -> first and last step of the run through each, and whether it fits; where the cell is off, those
        of the run that follows, whose first step is a later one."""
        places = torch.searchsorted(self.lasts, steps)  # (m,)
        return self.firsts[places], self.lasts[places], self.fits[places]


def runs_of(on: Tensor, rule: Rule) -> Runs:
    """on (T,) bool -> its runs."""
    framed = on.new_zeros(on.numel() + 2)  # (T + 2,)
    framed[1:-1] = on
    changes = (framed[1:] != framed[:-1]).nonzero().squeeze(1)  # (2R,): on, off, on, off
    firsts, afters = changes[0::2], changes[1::2]  # (R,)
    fits = afters - firsts >= rule.minimum_length
    gaps = firsts[1:] - afters[:-1]  # (R - 1,) steps between a run and the next
    if rule.left:
        fits[1:] &= gaps >= rule.left
    if rule.right:
        fits[:-1] &= gaps >= rule.right
    beyond = firsts.new_full((1,), on.numel())
    return Runs(torch.cat([firsts, beyond]), torch.cat([afters - 1, beyond]), torch.cat([fits, fits.new_zeros(1)]))


def best_ranges(runs: Sequence[Runs], rule: Rule, steps: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Starts, lengths and overlap (M,) of the `count` best candidates by overlap, length, start, the best first."""
    if not runs or not steps:
        nothing = torch.zeros(0, dtype=torch.long)
        return nothing, nothing, nothing
    if rule.right == 0:
        starts, lengths, overlap = _ranges_from(_best_starts(runs, rule, steps, count), runs, rule)
    else:
        # Whoever counts ends with the range: candidates are runs that fit, from any turning on within them if the steps
        # before do not matter.
        pairs = [_whole_runs(one) for one in runs] if rule.left else _cut_runs(runs, rule, steps, count)
        keys = torch.cat([firsts * (steps + 1) + lengths for firsts, lengths in pairs])  # one key per range and cell
        keys, overlap = keys.unique(return_counts=True)  # (M,) in order of start
        starts = keys.div(steps + 1, rounding_mode="floor")
        lengths = keys - starts * (steps + 1)
    order = largest(overlap * (steps + 1) + lengths, count)
    return starts[order], lengths[order], overlap[order]


def _best_starts(runs: Sequence[Runs], rule: Rule, steps: int, count: int) -> Tensor:
    """(m,) int64 in order of time: the `count` starts with the best candidate, if `right` is 0.

    All cells that may match at a start do so up to where the first of them ends: a candidate, and the best of this
    start.
    """
    cells_at = torch.zeros(steps + 2, dtype=torch.int32)  # how many cells may match from a step on
    turns_on = torch.zeros(steps + 1, dtype=torch.bool)
    for one in runs:
        turns_on[one.firsts] = True
        firsts, lasts = one.firsts[one.fits], one.lasts[one.fits]
        cells_at[firsts] += 1
        if not rule.left:  # from every step of the run that leaves enough of it; summed up below
            cells_at[lasts + 2 - rule.minimum_length] -= 1
    if not rule.left:
        cells_at = cells_at.cumsum(0, dtype=torch.int32)
    starts = (turns_on[:-1] & (cells_at[:steps] > 0)).nonzero().squeeze(1)  # (m,)
    most = cells_at[starts]  # (m,)
    if starts.numel() > count:
        # `count` starts have this many cells or more, so that those with fewer need no closer look.
        starts = starts[most >= most.kthvalue(starts.numel() - count + 1).values]
        shortest = torch.full_like(starts, steps)  # (m,)
        for one in runs:
            firsts, lasts, fits = one.through(starts)
            lengths = lasts - starts + 1
            counted = fits & (firsts == starts if rule.left else (firsts <= starts) & (lengths >= rule.minimum_length))
            shortest = torch.where(counted, torch.minimum(shortest, lengths), shortest)
        starts = starts[largest(cells_at[starts].long() * (steps + 1) + shortest, count).sort().values]
    return starts


def _ranges_from(starts: Tensor, runs: Sequence[Runs], rule: Rule) -> tuple[Tensor, Tensor, Tensor]:
    """starts (m,) -> starts, lengths and overlap (M,) of all candidates that begin there, in order of start, if `right`
    is 0: then a cell that counts does so up to any end that its run reaches."""
    ends, counts = [], []
    for one in runs:
        firsts, lasts, fits = one.through(starts)
        on = firsts <= starts
        ends.append(torch.where(on, lasts, torch.full_like(lasts, -1)))
        counts.append(fits & (firsts == starts if rule.left else on))
    last, order = torch.stack(ends, 1).sort(1, descending=True)  # (m, n) ends of the runs through a start, latest first
    overlap = torch.stack(counts, 1).gather(1, order).cumsum(1)  # (m, n)
    lengths = last - starts.unsqueeze(1) + 1
    final = torch.ones_like(order, dtype=torch.bool)  # of equal ends the last has summed up all
    final[:, :-1] = last[:, 1:] != last[:, :-1]
    at, place = (final & (lengths >= rule.minimum_length) & (overlap > 0)).nonzero(as_tuple=True)  # (M,)
    return starts[at], lengths[at, place], overlap[at, place]


def _whole_runs(one: Runs) -> tuple[Tensor, Tensor]:
    """Start and length of every run that fits."""
    firsts = one.firsts[one.fits]
    return firsts, one.lasts[one.fits] - firsts + 1


def _cut_runs(runs: Sequence[Runs], rule: Rule, steps: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """n of starts and lengths (r,): the runs that fit from every step on where a selected cell turns on, if `left` is 0
    and `right` is not. Only runs to the `count` ends with the best candidate.

    All cells whose runs end at a step match from where the last of them turns on: a candidate, and the best of this
    end.
    """
    cells_to = torch.zeros(steps + 1, dtype=torch.long)  # how many cells have a run that fits and ends at a step
    latest = torch.zeros(steps + 1, dtype=torch.long)  # the last first step of these runs
    turns_on = torch.zeros(steps + 1, dtype=torch.bool)
    for one in runs:
        turns_on[one.firsts] = True
        firsts, lasts = one.firsts[one.fits], one.lasts[one.fits]
        cells_to[lasts] += 1
        latest[lasts] = torch.maximum(latest[lasts], firsts)
    ends = cells_to.nonzero().squeeze(1)  # (m,)
    ends = ends[largest(cells_to[ends] * (steps + 1) + ends - latest[ends] + 1, count)]
    chosen = torch.zeros(steps + 1, dtype=torch.bool)
    chosen[ends] = True
    starts = turns_on[:-1].nonzero().squeeze(1)  # (s,)
    pairs = []
    for one in runs:
        taken = one.fits & chosen[one.lasts]
        firsts, lasts = one.firsts[taken], one.lasts[taken]  # (r,)
        begin = torch.searchsorted(starts, firsts)
        counts = torch.searchsorted(starts, lasts - rule.minimum_length + 1, right=True) - begin
        offsets = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        within = starts[begin.repeat_interleave(counts) + offsets]
        pairs.append((within, lasts.repeat_interleave(counts) - within + 1))
    return pairs


def matching_cells(runs: Sequence[Runs], rule: Rule, starts: Tensor, lengths: Tensor) -> Tensor:
    """starts and lengths (M,) -> (M, n) bool, which cells match."""
    ends = starts + lengths - 1
    matching = torch.zeros(starts.numel(), len(runs), dtype=torch.bool)
    for place, one in enumerate(runs):
        firsts, lasts, fits = one.through(starts)
        begins = firsts == starts if rule.left else firsts <= starts
        matching[:, place] = fits & begins & (lasts == ends if rule.right else lasts >= ends)
    return matching


def largest(keys: Tensor, count: int) -> Tensor:
    """keys (m,) -> the places of the `count` largest, the largest first, the first of equal ones first."""
    places = torch.arange(keys.numel())
    if keys.numel() > count:
        bound = keys.kthvalue(keys.numel() - count + 1).values
        above, equal = (keys > bound).nonzero().squeeze(1), (keys == bound).nonzero().squeeze(1)
        places = torch.cat([above, equal[: count - above.numel()]]).sort().values
    return places[keys[places].sort(descending=True, stable=True).indices]

"""Cells that switch on together: which do so at a range of words, and at which other ranges (Strobelt et al. 2016,
arXiv 1606.07461).

States come as levels: int8, a hundred times the value, cut toward zero. A cell is *on* at a step where its level is at
least that of the threshold (direction "above"), or at most its negative ("below"). A cell *matches* a range of steps if
it is on at each of them and off at the `left` steps before and the `right` steps after; outside the corpus all is off.

T is the number of steps of a corpus, n of selected cells, C of all cells, R of a cell's runs, M of matches.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from .block_counts import OtherCells, count_others
from .ranges import Rule, best_ranges, largest, matching_cells, runs_of

__all__ = [
    "DIRECTIONS",
    "FAST_CANDIDATES",
    "FAST_STEPS",
    "PRECISE_CANDIDATES",
    "Matches",
    "OtherCells",
    "find_matches",
    "selected_cells",
]

DIRECTIONS = ("above", "below")
PRECISE_CANDIDATES = 10_000
# A fast search has fewer candidates and is given these first steps of the corpus alone.
FAST_CANDIDATES = 1_000
FAST_STEPS = 500_000


class Matches(NamedTuple):
    """Ranges of a corpus, the best first."""

    starts: Tensor
    """(M,) int64, the first step"""
    lengths: Tensor
    """(M,) int64, in steps"""
    overlap: Tensor
    """(M,) int64 >= 1, how many selected cells match the range"""
    others: Tensor
    """(M,) int64, how many other cells match it; zeros where none were given"""
    matching: Tensor
    """(M, n) bool, which selected cells match the range"""
    candidates: int
    """how many ranges were ranked: all there are, or as many as were asked for"""


def selected_cells(rows: Tensor, level: int, before: int, after: int, direction: str = "above") -> Tensor:
    """The cells that are on throughout a range and off around it.

    Args:
        rows: (before + length + after, C) int8, the levels around and in the range. At the edge of the corpus `before`
            and `after` are smaller than what is asked for: steps that do not exist count as off.
        level: of the threshold, a hundred times as large, 1 to 127.
        before: how many of the rows come before the range.
        after: how many come after it.
        direction: "above" or "below".

    Returns:
        (C,) bool.

    Raises:
        ValueError: an argument is out of its range, or no row is left for the range.
    """
    _check_levels("rows", rows)
    rule = _rule(level, before, after, 1, direction)
    length = rows.size(0) - before - after
    if length < 1:
        raise ValueError(
            f"{rows.size(0)} rows with {before} before and {after} after the range leave {length} for the range, "
            "but it must have at least 1"
        )
    on = rule.on(rows)  # (before + length + after, C)
    inside = on[before : before + length].all(0)
    return inside & ~on[:before].any(0) & ~on[before + length :].any(0)


def find_matches(
    cells: Tensor,
    level: int,
    left: int,
    right: int,
    minimum_length: int = 2,
    limit: int = 50,
    candidates: int = PRECISE_CANDIDATES,
    direction: str = "above",
    others: Optional[OtherCells] = None,
    exclude: Optional[tuple[int, int]] = None,
) -> Matches:
    """The ranges of a corpus where most of the selected cells match.

    A candidate begins where a selected cell turns on, and ends where the run of a selected cell that is on there ends;
    at least one of them matches it. Of these the best `candidates` by overlap, then length, then start are ranked: most
    selected cells first, then fewest others, then the longest, then the earliest.

    Nothing is searched twice: a start (or an end) has one best candidate that can be told from the runs alone, and the
    best `candidates` of all begin (or end) at as many of the best of these.

    Args:
        cells: (n, T) int8, the levels of the selected cells.
        level: of the threshold, a hundred times as large, 1 to 127.
        left: how many steps before a range a cell must be off; 0 for any.
        right: how many after it.
        minimum_length: of a range, in steps, at least 1.
        limit: how many matches to return at most.
        candidates: how many ranges to rank at most.
        direction: "above" or "below".
        others: the levels of all cells, and which of them are the others.
        exclude: start and length of a range that is no candidate: the one that the cells were selected with.

    Returns:
        Matches, at most `limit`.

    Raises:
        ValueError: an argument is out of its range.
    """
    _check_levels("cells", cells)
    rule = _rule(level, left, right, minimum_length, direction)
    for name, value in (("limit", limit), ("candidates", candidates)):
        if value < 1:
            raise ValueError(f"{name} is {value}, but must be 1 or more")
    steps = cells.size(1)
    runs = [runs_of(rule.on(cell), rule) for cell in cells]
    # One more than are ranked, as the one to leave out may be among them.
    starts, lengths, overlap = best_ranges(runs, rule, steps, candidates + (exclude is not None))
    if exclude is not None:
        kept = (starts != exclude[0]) | (lengths != exclude[1])  # (M,)
        starts, lengths, overlap = (part[kept][:candidates] for part in (starts, lengths, overlap))
    ranked = starts.numel()
    # Who has a smaller overlap than the last of `limit` cannot come before it, whatever its others are.
    able = int((overlap >= overlap[min(limit, ranked) - 1]).sum()) if ranked else 0
    starts, lengths, overlap = starts[:able], lengths[:able], overlap[:able]
    counted = torch.zeros_like(starts)  # (M,)
    if others is not None:
        counted = count_others(others, rule.on, starts, lengths, left, right, steps)
    width = int(counted.max()) + 1 if able else 1
    order = largest(overlap * width - counted, limit)
    starts, lengths = starts[order], lengths[order]
    return Matches(starts, lengths, overlap[order], counted[order], matching_cells(runs, rule, starts, lengths), ranked)


def _rule(level: int, left: int, right: int, minimum_length: int, direction: str) -> Rule:
    """The arguments that say when a cell matches, checked."""
    if not 1 <= level <= 127:
        raise ValueError(f"the level is {level}, but must be from 1 (a threshold of 0.01) to 127")
    for side, count in (("before", left), ("after", right)):
        if count < 0:
            raise ValueError(f"cells are to be off at {count} steps {side} the range, but must be at 0 or more")
    if minimum_length < 1:
        raise ValueError(f"the minimum length of a match is {minimum_length}, but must be 1 or more")
    if direction not in DIRECTIONS:
        raise ValueError(f"unknown direction {direction!r}; choose from: {', '.join(DIRECTIONS)}")
    return Rule(level, left, right, minimum_length, direction == "above")


def _check_levels(name: str, levels: Tensor) -> None:
    if levels.dtype != torch.int8 or levels.dim() != 2:
        raise ValueError(f"{name} are {levels.dtype} of shape {tuple(levels.shape)}, but must be torch.int8 of 2 axes")

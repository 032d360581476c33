"""Pattern search: the units that are on throughout a range, and the other ranges where they are (Strobelt et al. 2016).

A state comes as a level: int8, a hundred times the value, truncated toward zero. With direction "above" a unit is *on*
at a step if its level is at least the threshold's; with "below", if it is at most the negative threshold. A unit
*matches* a range if it is on at each step of the range, and off at the `left` steps before and `right` steps after it.
Outside the corpus every unit is off. The paper is arXiv 1606.07461.

T is the number of steps of a corpus, n of selected units, C of all units, R of a unit's runs, M of matches.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy

from .block_counts import OtherUnits, count_others
from .ranges import DIRECTIONS, Ranges, UnitQuery, best_ranges, largest, runs_of

__all__ = [
    "DIRECTIONS",
    "FAST_CANDIDATES",
    "FAST_STEPS",
    "PRECISE_CANDIDATES",
    "Matches",
    "OtherUnits",
    "UnitQuery",
    "find_matches",
    "selected_units",
]

PRECISE_CANDIDATES = 10_000
# A fast search ranks fewer candidates and reads only the first steps of the corpus.
FAST_CANDIDATES = 1_000
FAST_STEPS = 500_000


class Matches(NamedTuple):
    """Ranges of a corpus, the best first."""

    starts: numpy.ndarray
    """(M,) int64, the first step"""
    lengths: numpy.ndarray
    """(M,) int64, in steps"""
    overlap: numpy.ndarray
    """(M,) int64 >= 1, how many selected units match the range"""
    others: numpy.ndarray
    """(M,) int64, how many other units match the range; zeros if there are no others"""
    candidates: int
    """how many ranges were ranked: all candidates, or as many as were allowed"""


def selected_units(levels: numpy.ndarray, query: UnitQuery, first: int, last: int) -> numpy.ndarray:
    """The units that match a range.

    Args:
        levels: (T, C) int8, possibly memory-mapped: only the rows in and around the range are read.
        query: when a unit matches; the minimum length does not count.
        first: first step of the range.
        last: last step of the range.

    Returns:
        (C,) bool.

    Raises:
        ValueError: the levels are not (T, C) int8, or the range is not within the corpus.
    """
    _check_levels("levels", levels)
    steps = len(levels)
    if not 0 <= first <= last < steps:
        raise ValueError(f"the range is from {first} to {last}, but must be within 0 to {steps - 1}, first to last")
    begin = max(0, first - query.left)
    on = query.on(levels[begin : last + 1 + query.right])  # (before + length + after, C)
    before, stop = first - begin, last + 1 - begin
    return numpy.asarray(on[before:stop].all(0) & ~on[:before].any(0) & ~on[stop:].any(0))


def find_matches(
    units: numpy.ndarray,
    query: UnitQuery,
    limit: int,
    candidates: int,
    others: Optional[OtherUnits] = None,
    exclude: Optional[tuple[int, int]] = None,
) -> Matches:
    """The ranges of a corpus that most of the selected units match.

    A candidate begins where a selected unit turns on. It ends where the run of a selected unit through that step ends.
    At least one selected unit matches it. The best `candidates` by overlap, then length, then start are ranked: most
    selected units first, then fewest others, then the longest, then the earliest.

    Each start has one best candidate, computed from the runs alone. The top `candidates` ranges must begin at the top
    `candidates` starts, so only these starts are expanded. The same holds for ends.

    Args:
        units: (n, T) int8, the levels of the selected units.
        query: when a unit matches.
        limit: the largest number of matches to return.
        candidates: the largest number of ranges to rank.
        others: the levels of all units, and which of them are the others.
        exclude: start and length of a range that is no candidate: the range that selected the units.

    Returns:
        Matches, at most `limit`.

    Raises:
        ValueError: an argument is out of its range.
    """
    _check_levels("units", units)
    for name, value in (("limit", limit), ("candidates", candidates)):
        if value < 1:
            raise ValueError(f"{name} is {value}, but must be 1 or more")
    steps = units.shape[1]
    runs = [runs_of(query.on(unit), query) for unit in units]
    if exclude is None:
        ranges = best_ranges(runs, query, steps, candidates)
    else:  # one more than are ranked, because the excluded range may be among them
        ranges = best_ranges(runs, query, steps, candidates + 1)
        excluded = (ranges.starts == exclude[0]) & (ranges.lengths == exclude[1])  # (M,)
        ranges = ranges.take(numpy.flatnonzero(~excluded)[:candidates])
    return _rank(ranges, query, steps, limit, others)


def _rank(ranges: Ranges, query: UnitQuery, steps: int, limit: int, others: Optional[OtherUnits]) -> Matches:
    """The best `limit` of the candidates: largest overlap, then fewest others."""
    ranked = len(ranges.starts)
    if ranked:
        # A range with less overlap than the limit-th one is never among the best, so its others need not be counted.
        ranges = ranges.take(ranges.overlap >= ranges.overlap[min(limit, ranked) - 1])
    counted = numpy.zeros_like(ranges.starts)  # (M,)
    if others is not None:
        counted = count_others(others, query, ranges.starts, ranges.lengths, steps)
    width = int(counted.max()) + 1 if ranked else 1
    order = largest(ranges.overlap * width - counted, limit)
    return Matches(*ranges.take(order), counted[order], ranked)


def _check_levels(name: str, levels: numpy.ndarray) -> None:
    if levels.dtype != numpy.int8 or levels.ndim != 2:
        raise ValueError(f"{name} are {levels.dtype} of shape {levels.shape}, but must be int8 of 2 axes")

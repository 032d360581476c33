"""The candidate ranges of a pattern search, and the best of them; `patterns` defines a match.

T is the number of steps (`steps`), n of selected units, R of a unit's runs, M of ranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Sequence

import numpy

__all__ = ["DIRECTIONS", "Ranges", "Runs", "UnitQuery", "best_ranges", "largest", "runs_of"]

DIRECTIONS = ("above", "below")


@dataclass(frozen=True)
class UnitQuery:
    """When a unit is on, and when it matches a range.

    Raises:
        ValueError: a field is out of its range.
    """

    level: int
    """a hundred times the threshold, 1 to 127"""
    left: int
    """steps before a range at which a unit must be off; 0 for no condition"""
    right: int
    """steps after a range at which a unit must be off; 0 for no condition"""
    minimum_length: int
    """of a match, in steps"""
    direction: str
    """one of DIRECTIONS"""

    def __post_init__(self) -> None:
        if not 1 <= self.level <= 127:
            raise ValueError(f"the level is {self.level}, but must be from 1 (a threshold of 0.01) to 127")
        for side, count in (("before", self.left), ("after", self.right)):
            if count < 0:
                raise ValueError(f"units are to be off at {count} steps {side} the range, but must be at 0 or more")
        if self.minimum_length < 1:
            raise ValueError(f"the minimum length of a match is {self.minimum_length}, but must be 1 or more")
        if self.direction not in DIRECTIONS:
            raise ValueError(f"unknown direction {self.direction!r}; choose from: {', '.join(DIRECTIONS)}")

    def on(self, levels: numpy.ndarray) -> numpy.ndarray:
        """levels int8 -> bool of the same shape: whether a unit is on."""
        return levels >= self.level if self.direction == "above" else levels <= -self.level


class Runs(NamedTuple):
    """The runs of steps at which one unit is on, in order.

    The last run lies beyond the corpus, so that every step has a next run.
    """

    firsts: numpy.ndarray
    """(R + 1,) int64, first step of the run"""
    lasts: numpy.ndarray
    """(R + 1,) int64, last step"""
    fits: numpy.ndarray
    """(R + 1,) bool: the run is long enough, and the gaps before it (if `left` > 0) and after it are too"""

    def through(self, steps: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """steps (m,) -> first and last step of the run that includes each step, and whether the run fits.

        Where the unit is off, this is the next run, whose first step is later.
        """
        places = numpy.searchsorted(self.lasts, steps)  # (m,)
        return self.firsts[places], self.lasts[places], self.fits[places]


class Ranges(NamedTuple):
    """Ranges of a corpus, and how many of the selected units match each."""

    starts: numpy.ndarray
    """(M,) int64"""
    lengths: numpy.ndarray
    """(M,) int64"""
    overlap: numpy.ndarray
    """(M,) int64"""

    def take(self, places: numpy.ndarray) -> Ranges:
        """Those at `places`, (m,) int64 or (M,) bool."""
        return Ranges(*(part[places] for part in self))


def runs_of(on: numpy.ndarray, query: UnitQuery) -> Runs:
    """on (T,) bool -> the runs of the unit."""
    framed = numpy.zeros(len(on) + 2, dtype=bool)  # (T + 2,)
    framed[1:-1] = on
    changes = numpy.flatnonzero(framed[1:] != framed[:-1])  # (2R,): on, off, on, off
    firsts, afters = changes[0::2], changes[1::2]  # (R,)
    fits = afters - firsts >= query.minimum_length
    gaps = firsts[1:] - afters[:-1]  # (R - 1,) steps between a run and the next
    if query.left:
        fits[1:] &= gaps >= query.left
    if query.right:
        fits[:-1] &= gaps >= query.right
    return Runs(numpy.append(firsts, len(on)), numpy.append(afters - 1, len(on)), numpy.append(fits, False))


def best_ranges(runs: Sequence[Runs], query: UnitQuery, steps: int, count: int) -> Ranges:
    """The `count` best candidates by overlap, length and start, the best first."""
    if not runs or not steps:
        empty = numpy.zeros(0, dtype=numpy.int64)
        return Ranges(empty, empty, empty)
    if query.right == 0:
        found = _ranges_from(_best_starts(runs, query, steps, count), runs, query)
    else:
        # With `right` > 0 a unit matches only if its run ends with the range. Candidates are therefore whole runs or,
        # if `left` is 0, suffixes of runs that start where some selected unit turns on.
        pairs = list(map(_whole_runs, runs)) if query.left else _run_suffixes(runs, query, steps, count)
        keys = numpy.concatenate([firsts * (steps + 1) + lengths for firsts, lengths in pairs])  # of a range and a unit
        keys, overlap = numpy.unique(keys, return_counts=True)  # (M,) in order of start
        starts = keys // (steps + 1)
        found = Ranges(starts, keys - starts * (steps + 1), overlap)
    return found.take(largest(found.overlap * (steps + 1) + found.lengths, count))


def _best_starts(runs: Sequence[Runs], query: UnitQuery, steps: int, count: int) -> numpy.ndarray:
    """(m,) int64, ascending: the `count` starts with the best candidates, if `right` is 0.

    All units that may match at a start match up to the end of the shortest of their runs. This range is a candidate,
    and the best one of this start.
    """
    units_at = numpy.zeros(steps + 2, dtype=numpy.int32)  # how many units may match from a step on
    turns_on = numpy.zeros(steps + 1, dtype=bool)
    for unit_runs in runs:
        turns_on[unit_runs.firsts] = True
        firsts, lasts = unit_runs.firsts[unit_runs.fits], unit_runs.lasts[unit_runs.fits]
        units_at[firsts] += 1
        if not query.left:  # a match may start at every step that leaves enough of the run; summed up below
            units_at[lasts + 2 - query.minimum_length] -= 1
    if not query.left:
        units_at = units_at.cumsum(dtype=numpy.int32)
    starts = numpy.flatnonzero(turns_on[:-1] & (units_at[:steps] > 0))  # (m,)
    most = units_at[starts]  # (m,)
    if len(starts) > count:
        # `count` starts have this many units or more, so that starts with fewer cannot be among the best.
        starts = starts[most >= numpy.partition(most, len(most) - count)[len(most) - count]]
        shortest = numpy.full_like(starts, steps)  # (m,)
        for unit_runs in runs:
            firsts, lasts, fits = unit_runs.through(starts)
            lengths = lasts - starts + 1
            counted = fits & (
                firsts == starts if query.left else (firsts <= starts) & (lengths >= query.minimum_length)
            )
            numpy.minimum(shortest, lengths, out=shortest, where=counted)
        starts = starts[numpy.sort(largest(units_at[starts] * numpy.int64(steps + 1) + shortest, count))]
    return starts


def _ranges_from(starts: numpy.ndarray, runs: Sequence[Runs], query: UnitQuery) -> Ranges:
    """starts (m,) -> all candidates that begin there, in order of start.

    For `right` = 0: a unit then matches every range that its run covers to the end.
    """
    ends, counts = [], []
    for unit_runs in runs:
        firsts, lasts, fits = unit_runs.through(starts)
        on = firsts <= starts
        ends.append(numpy.where(on, lasts, -1))
        counts.append(fits & (firsts == starts if query.left else on))
    last = numpy.stack(ends, 1)  # (m, n) ends of the runs through a start
    order = numpy.argsort(-last, 1)  # latest first
    last = numpy.take_along_axis(last, order, 1)
    overlap = numpy.take_along_axis(numpy.stack(counts, 1), order, 1).cumsum(1)  # (m, n)
    lengths = last - starts[:, None] + 1
    final = numpy.ones(order.shape, dtype=bool)  # the last of several equal ends has the whole sum
    final[:, :-1] = last[:, 1:] != last[:, :-1]
    at, place = (final & (lengths >= query.minimum_length) & (overlap > 0)).nonzero()  # (M,)
    return Ranges(starts[at], lengths[at, place], overlap[at, place])


def _whole_runs(unit_runs: Runs) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Start and length of every run that fits."""
    firsts = unit_runs.firsts[unit_runs.fits]
    return firsts, unit_runs.lasts[unit_runs.fits] - firsts + 1


def _run_suffixes(
    runs: Sequence[Runs], query: UnitQuery, steps: int, count: int
) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
    """n pairs of starts and lengths (r,): the suffixes of the n units' runs that fit and end at one of the best ends.

    For `left` = 0 and `right` > 0. There are `count` best ends. A suffix starts where some selected unit turns on.
    All units whose runs end at a step match from the latest first step of these runs. This range is a candidate, and
    the best one of this end.
    """
    units_to = numpy.zeros(steps + 1, dtype=numpy.int64)  # how many units have a run that fits and ends at a step
    latest = numpy.zeros(steps + 1, dtype=numpy.int64)  # the latest first step of these runs
    turns_on = numpy.zeros(steps + 1, dtype=bool)
    for unit_runs in runs:
        turns_on[unit_runs.firsts] = True
        firsts, lasts = unit_runs.firsts[unit_runs.fits], unit_runs.lasts[unit_runs.fits]
        units_to[lasts] += 1
        latest[lasts] = numpy.maximum(latest[lasts], firsts)
    ends = numpy.flatnonzero(units_to)  # (m,)
    ends = ends[largest(units_to[ends] * (steps + 1) + ends - latest[ends] + 1, count)]
    chosen = numpy.zeros(steps + 1, dtype=bool)
    chosen[ends] = True
    starts = numpy.flatnonzero(turns_on[:-1])  # (s,)
    pairs = []
    for unit_runs in runs:
        kept = unit_runs.fits & chosen[unit_runs.lasts]
        firsts, lasts = unit_runs.firsts[kept], unit_runs.lasts[kept]  # (r,)
        begin = numpy.searchsorted(starts, firsts)
        counts = numpy.searchsorted(starts, lasts - query.minimum_length + 1, side="right") - begin
        offsets = numpy.arange(counts.sum()) - (counts.cumsum() - counts).repeat(counts)
        within = starts[begin.repeat(counts) + offsets]
        pairs.append((within, lasts.repeat(counts) - within + 1))
    return pairs


def largest(keys: numpy.ndarray, count: int) -> numpy.ndarray:
    """keys (m,) -> the places of the `count` largest keys, the largest first. Equal keys keep their order."""
    places = numpy.arange(len(keys))
    if len(keys) > count:
        bound = numpy.partition(keys, len(keys) - count)[len(keys) - count]
        above, equal = numpy.flatnonzero(keys > bound), numpy.flatnonzero(keys == bound)
        places = numpy.sort(numpy.concatenate([above, equal[: count - len(above)]]))
    return places[numpy.argsort(-keys[places], kind="stable")]

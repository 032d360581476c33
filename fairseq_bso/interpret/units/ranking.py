"""The units that predict a track best, with a control for chance.

`statistics` defines tracks, units and levels, `criteria` the criteria.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy

from .criteria import labelled, prepared_track, scores_of, tracks_at_once, unit_values, values_of_tracks
from .statistics import check_track

__all__ = [
    "Control",
    "Ranking",
    "TrackRanking",
    "random_shifts",
    "rank_for_track",
    "rank_units",
    "shuffled_control",
]


class Ranking(NamedTuple):
    """Units, the best first."""

    units: numpy.ndarray
    """(M,) int64"""
    scores: numpy.ndarray
    """(M,) float64, what the units are ranked by: the absolute value, or for an area A under the curve max(A, 1 - A)"""
    values: numpy.ndarray
    """(M,) float64, the criterion itself; below 0 (correlation) or 0.5 (area) if the unit is lower under the label"""


class Control(NamedTuple):
    """The score that the best unit reaches by chance."""

    best: numpy.ndarray
    """(repeats,) float64, the best score of all units for each shifted track"""
    shifts: numpy.ndarray
    """(repeats,) int64, by how many labelled steps the track was shifted"""


class TrackRanking(NamedTuple):
    """The units that predict a track best, by the criterion that fits the track."""

    criterion: str
    """of `LABEL_CRITERIA` or `NUMBER_CRITERIA`"""
    chance: float
    """the score of a unit that says nothing"""
    ranking: Ranking
    control: Control


def rank_units(
    units: numpy.ndarray, track: numpy.ndarray, criterion: str, label: Optional[int] = None, limit: int = 20
) -> Ranking:
    """The units that predict a track best. Equally good units keep their order.

    Args:
        units, track, criterion, label: see `unit_values`.
        limit: the largest number of units to return.

    Returns:
        Ranking.

    Raises:
        ValueError: as `unit_values`, or a limit below 1.
    """
    if limit < 1:
        raise ValueError(f"limit is {limit}, but must be 1 or more")
    values = unit_values(units, track, criterion, label)  # (C,)
    scores = scores_of(values, criterion)
    order = numpy.argsort(-scores, kind="stable")[:limit]  # (M,)
    return Ranking(order, scores[order], values[order])


def shuffled_control(
    units: numpy.ndarray,
    track: numpy.ndarray,
    criterion: str,
    label: Optional[int] = None,
    repeats: int = 20,
    seed: int = 1,
) -> Control:
    """The best score of all units for the same track at the wrong steps.

    The control is a circular shift of the track along the labelled steps. Its distance is random, at least a tenth of
    these steps in either direction. A permutation would be too weak a control: units and labels keep their value for
    many steps, so that chance reaches more than with independent steps. A shift keeps the durations, frequencies and
    order of the values. It changes only their place.

    Args:
        units, track, criterion, label: see `unit_values`.
        repeats: number of shifts, 1 or more.
        seed: of the random shifts.

    Returns:
        Control.

    Raises:
        ValueError: as `unit_values`, or fewer repeats than 1.
    """
    if repeats < 1:
        raise ValueError(f"the control has {repeats} repeats, but must have 1 or more")
    check_track(units, track)
    prepared = prepared_track(track, criterion, label)  # (T,)
    kept = labelled(track)  # (T,)
    values = prepared[kept]  # (n,)
    shifts = random_shifts(len(values), repeats, seed)  # (repeats,)
    best, size = [], tracks_at_once(prepared)
    for begin in range(0, repeats, size):
        distances = shifts[begin : begin + size].tolist()
        moved = numpy.tile(prepared, (len(distances), 1))  # (K, T)
        moved[:, kept] = [numpy.roll(values, distance) for distance in distances]
        best.append(scores_of(values_of_tracks(units, moved, criterion), criterion).max(1))  # (K,)
    return Control(numpy.concatenate(best), shifts)


def random_shifts(steps: int, repeats: int, seed: int) -> numpy.ndarray:
    """Distances of at least a tenth of `steps` steps in either direction: (repeats,) int64.

    They are those of `torch.randint` after `torch.manual_seed(seed)`, with which documented controls were made: 32 bits
    of the Mersenne Twister, modulo the number of distances.
    """
    least = max(1, steps // 10)
    bits = numpy.frombuffer(numpy.random.RandomState(seed).bytes(4 * repeats), dtype="<u4")
    return least + bits.astype(numpy.int64) % (steps - 2 * least + 1)


def rank_for_track(
    units: numpy.ndarray, track: numpy.ndarray, label: Optional[int], limit: int, repeats: int
) -> TrackRanking:
    """The units that predict a track best, and the control for chance.

    Numbers are ranked by correlation, one label against the rest by the area under the ROC curve, and all labels by the
    correlation ratio.

    Args:
        units: (C, T) int8, also as a transposed (T, C) array.
        track: (T,) codes or numbers.
        label: the label that is compared with the rest; None for all labels and for numbers.
        limit: the largest number of units to return.
        repeats: number of shifts of the control.

    Returns:
        TrackRanking.

    Raises:
        ValueError: as `rank_units` and `shuffled_control`.
    """
    if track.dtype.kind == "f":
        criterion = "correlation"
    else:
        criterion = "correlation_ratio" if label is None else "area_under_curve"
    ranking = rank_units(units, track, criterion, label, limit)
    control = shuffled_control(units, track, criterion, label, repeats)
    return TrackRanking(criterion, 0.5 if criterion == "area_under_curve" else 0.0, ranking, control)

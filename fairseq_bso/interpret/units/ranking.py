"""The units that predict a track best, with a control for chance.

`statistics` defines tracks, units and levels.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy

from .statistics import (
    THRESHOLD_MEASURES,
    area_under_curve,
    best_thresholds,
    check_track,
    correlation,
    correlation_ratio,
    joint_histogram,
)

__all__ = [
    "LABEL_CRITERIA",
    "NUMBER_CRITERIA",
    "Control",
    "Ranking",
    "TrackRanking",
    "random_shifts",
    "rank_for_track",
    "rank_units",
    "shuffled_control",
    "unit_values",
]

# The criteria for ranking. All label criteria but the correlation ratio compare one label with the rest.
LABEL_CRITERIA = ("area_under_curve", *THRESHOLD_MEASURES, "correlation_ratio")
NUMBER_CRITERIA = ("correlation",)


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
    """of LABEL_CRITERIA or NUMBER_CRITERIA"""
    chance: float
    """the score of a unit that says nothing"""
    ranking: Ranking
    control: Control


def unit_values(
    units: numpy.ndarray, track: numpy.ndarray, criterion: str, label: Optional[int] = None
) -> numpy.ndarray:
    """One statistic of all units.

    Args:
        units: (C, T) int8, also as a transposed (T, C) array.
        track: (T,) codes or numbers.
        criterion: one of `LABEL_CRITERIA` for codes, of `NUMBER_CRITERIA` for numbers.
        label: the label that is compared with the rest; None for `correlation_ratio` and for numbers.

    Returns:
        (C,) float64.

    Raises:
        ValueError: the track is constant or has no value, the label does not occur, or the criterion does not fit the
            track.
    """
    check_track(units, track)
    return _values(units, _prepared(track, criterion, label)[None], criterion)[0]


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
    scores = _scores(values, criterion)
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
    prepared = _prepared(track, criterion, label)  # (T,)
    kept = _labelled(track)  # (T,)
    values = prepared[kept]  # (n,)
    shifts = random_shifts(len(values), repeats, seed)  # (repeats,)
    best, size = [], _tracks_at_once(prepared)
    for begin in range(0, repeats, size):
        some = shifts[begin : begin + size]
        moved = numpy.tile(prepared, (len(some), 1))  # (K, T)
        moved[:, kept] = [numpy.roll(values, shift) for shift in some.tolist()]
        best.append(_scores(_values(units, moved, criterion), criterion).max(1))  # (K,)
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


def _prepared(track: numpy.ndarray, criterion: str, label: Optional[int]) -> numpy.ndarray:
    """Checks the track and returns the form (T,) that the statistic needs.

    That is numbers minus their mean; codes of 1 for the label and 0 for the rest; or, without a label, codes without
    gaps.
    """
    _check_criterion(track, criterion, label)
    if track.dtype.kind == "f":
        numbers = track.astype(numpy.float64)
        return numbers - numbers[~numpy.isnan(numbers)].mean()
    codes = track.astype(numpy.int64)
    if label is None:
        renamed = numpy.searchsorted(numpy.unique(codes[codes >= 0]), codes)
    else:
        renamed = (codes == label).astype(numpy.int64)
    return numpy.where(codes >= 0, renamed, codes)


def _tracks_at_once(track: numpy.ndarray) -> int:
    """How many tracks with these labels one pass can count.

    The number of labels does not change the time of a pass while the counts of a unit stay in the processor's cache.
    """
    if track.dtype.kind == "f":
        return 8
    labels, tracks = int(track.max()) + 1, 1
    while labels ** (tracks + 1) <= 64:
        tracks += 1
    return tracks


def _values(units: numpy.ndarray, tracks: numpy.ndarray, criterion: str) -> numpy.ndarray:
    """tracks (K, T), prepared, with values at the same steps -> (K, C) float64, the statistic of each unit for each."""
    if tracks.dtype.kind == "f":
        return correlation(units, tracks)
    number, labels = len(tracks), int(tracks.max()) + 1
    joint = tracks[0]  # (T,) one code whose digits are the labels of all tracks
    for track in tracks[1:]:
        joint = numpy.where(joint >= 0, joint * labels + track, joint)
    columns = []
    for begin in range(0, len(units), 64):  # which limits the memory for counts
        part = units[begin : begin + 64]
        counts = joint_histogram(part, joint, labels**number)  # (c, L, G ** K)
        histograms = [
            counts.reshape(len(part), 255, labels**place, labels, -1).sum((2, 4)) for place in range(number)
        ]  # K of (c, L, G)
        columns.append(numpy.stack([_statistic(histogram, criterion) for histogram in histograms]))
    return numpy.concatenate(columns, 1)


def _statistic(histogram: numpy.ndarray, criterion: str) -> numpy.ndarray:
    """histogram (C, L, G) -> (C,) float64; one label against the rest has code 1."""
    if criterion == "correlation_ratio":
        return correlation_ratio(histogram)
    if criterion == "area_under_curve":
        return area_under_curve(histogram, 1)
    return getattr(best_thresholds(histogram, 1, criterion), criterion)


def _labelled(track: numpy.ndarray) -> numpy.ndarray:
    """(T,) bool, whether a step has a value."""
    return ~numpy.isnan(track) if track.dtype.kind == "f" else track >= 0


def _scores(values: numpy.ndarray, criterion: str) -> numpy.ndarray:
    """The scores for ranking. A unit that is off under a label predicts it as well as a unit that is on."""
    if criterion == "area_under_curve":
        return numpy.maximum(values, 1 - values)
    return numpy.abs(values)


def _check_criterion(track: numpy.ndarray, criterion: str, label: Optional[int]) -> None:
    """Raises ValueError if the criterion or label does not fit the track, or the track has too few values."""
    is_number = track.dtype.kind == "f"
    if is_number and numpy.isinf(track).any():
        raise ValueError("the track has an infinite number, but numbers must be finite, or NaN where there is none")
    kind, allowed = ("numbers", list(NUMBER_CRITERIA)) if is_number else ("labels", list(LABEL_CRITERIA))
    if criterion not in allowed:
        raise ValueError(f"unknown criterion {criterion!r} for a track of {kind}; choose from: {', '.join(allowed)}")
    distinct = numpy.unique(track[_labelled(track)])  # (G,)
    if len(distinct) < 2:
        seen = f"is {distinct[0]} at every step that has a value" if len(distinct) else "has no value"
        raise ValueError(f"the track {seen}, but a ranking of units needs two values or more")
    needs_label = criterion in LABEL_CRITERIA and criterion != "correlation_ratio"
    if needs_label and label not in distinct.tolist():
        some = ", ".join(map(str, distinct[:20].tolist()))
        raise ValueError(f"no step has label {label}; those that occur are: {some}")
    if not needs_label and label is not None:
        raise ValueError(f"label {label} is given, but {criterion} is about all values: leave the label out")

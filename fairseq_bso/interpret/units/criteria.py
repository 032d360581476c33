"""The criteria by which a unit predicts a track: one statistic of every unit, for one track or several at once.

`statistics` defines tracks, units and levels. K is the number of tracks, G of labels, L of levels.
"""

from __future__ import annotations

from typing import Optional

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
    "labelled",
    "prepared_track",
    "scores_of",
    "tracks_at_once",
    "unit_values",
    "values_of_tracks",
]

# The criteria for ranking. All label criteria but the correlation ratio compare one label with the rest.
LABEL_CRITERIA = ("area_under_curve", *THRESHOLD_MEASURES, "correlation_ratio")
NUMBER_CRITERIA = ("correlation",)


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
    return values_of_tracks(units, prepared_track(track, criterion, label)[None], criterion)[0]


def prepared_track(track: numpy.ndarray, criterion: str, label: Optional[int]) -> numpy.ndarray:
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


def tracks_at_once(track: numpy.ndarray) -> int:
    """How many tracks with these labels one pass can count.

    The number of labels does not change the time of a pass while the counts of a unit stay in the processor's cache.
    """
    if track.dtype.kind == "f":
        return 8
    labels, tracks = int(track.max()) + 1, 1
    while labels ** (tracks + 1) <= 64:
        tracks += 1
    return tracks


def values_of_tracks(units: numpy.ndarray, tracks: numpy.ndarray, criterion: str) -> numpy.ndarray:
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


def labelled(track: numpy.ndarray) -> numpy.ndarray:
    """(T,) bool, whether a step has a value."""
    return ~numpy.isnan(track) if track.dtype.kind == "f" else track >= 0


def scores_of(values: numpy.ndarray, criterion: str) -> numpy.ndarray:
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
    distinct = numpy.unique(track[labelled(track)])  # (G,)
    if len(distinct) < 2:
        seen = f"is {distinct[0]} at every step that has a value" if len(distinct) else "has no value"
        raise ValueError(f"the track {seen}, but a ranking of units needs two values or more")
    needs_label = criterion in LABEL_CRITERIA and criterion != "correlation_ratio"
    if needs_label and label not in distinct.tolist():
        some = ", ".join(map(str, distinct[:20].tolist()))
        raise ValueError(f"no step has label {label}; those that occur are: {some}")
    if not needs_label and label is not None:
        raise ValueError(f"label {label} is given, but {criterion} is about all values: leave the label out")

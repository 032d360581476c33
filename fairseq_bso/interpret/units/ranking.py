"""The units that predict a track best, with a control for chance.

`statistics` defines tracks, units and levels.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import torch
from torch import Tensor

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

    units: Tensor
    """(M,) int64"""
    scores: Tensor
    """(M,) float64, what the units are ranked by: the absolute value, or for an area A under the curve max(A, 1 - A)"""
    values: Tensor
    """(M,) float64, the criterion itself; below 0 (correlation) or 0.5 (area) if the unit is lower under the label"""


class Control(NamedTuple):
    """The score that the best unit reaches by chance."""

    best: Tensor
    """(repeats,) float64, the best score of all units for each shifted track"""
    shifts: Tensor
    """(repeats,) int64, by how many labelled steps the track was shifted"""


class TrackRanking(NamedTuple):
    """The units that predict a track best, by the criterion that fits the track."""

    criterion: str
    """of LABEL_CRITERIA or NUMBER_CRITERIA"""
    chance: float
    """the score of a unit that says nothing"""
    ranking: Ranking
    control: Control


def unit_values(units: Tensor, track: Tensor, criterion: str, label: Optional[int] = None) -> Tensor:
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
    return _values(units, _prepared(track, criterion, label).unsqueeze(0), criterion)[0]


def rank_units(units: Tensor, track: Tensor, criterion: str, label: Optional[int] = None, limit: int = 20) -> Ranking:
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
    order = scores.sort(descending=True, stable=True).indices[:limit]  # (M,)
    return Ranking(order, scores[order], values[order])


def shuffled_control(
    units: Tensor,
    track: Tensor,
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
    least = max(1, values.numel() // 10)
    generator = torch.Generator().manual_seed(seed)
    shifts = torch.randint(least, values.numel() - least + 1, (repeats,), generator=generator)  # (repeats,)
    best = []
    for some in shifts.split(_tracks_at_once(prepared)):
        moved = prepared.repeat(some.numel(), 1)  # (K, T)
        moved[:, kept] = torch.stack([values.roll(shift) for shift in some.tolist()])
        best.append(_scores(_values(units, moved, criterion), criterion).max(1).values)  # (K,)
    return Control(torch.cat(best), shifts)


def rank_for_track(units: Tensor, track: Tensor, label: Optional[int], limit: int, repeats: int) -> TrackRanking:
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
    if track.is_floating_point():
        criterion = "correlation"
    else:
        criterion = "correlation_ratio" if label is None else "area_under_curve"
    ranking = rank_units(units, track, criterion, label, limit)
    control = shuffled_control(units, track, criterion, label, repeats)
    return TrackRanking(criterion, 0.5 if criterion == "area_under_curve" else 0.0, ranking, control)


def _prepared(track: Tensor, criterion: str, label: Optional[int]) -> Tensor:
    """Checks the track and returns the form (T,) that the statistic needs: numbers minus their mean; codes of 1 for the
    label and 0 for the rest; or, without a label, codes without gaps."""
    _check_criterion(track, criterion, label)
    if track.is_floating_point():
        numbers = track.double()
        return numbers - numbers[~numbers.isnan()].mean()
    codes = track.long()
    if label is None:
        renamed = torch.searchsorted(codes[codes >= 0].unique(), codes)
    else:
        renamed = codes.eq(label).long()
    return torch.where(codes >= 0, renamed, codes)


def _tracks_at_once(track: Tensor) -> int:
    """How many tracks with these labels one pass can count. The number of labels does not change the time of a pass
    while the counts of a unit stay in the processor's cache."""
    if track.is_floating_point():
        return 8
    labels, tracks = int(track.max()) + 1, 1
    while labels ** (tracks + 1) <= 64:
        tracks += 1
    return tracks


def _values(units: Tensor, tracks: Tensor, criterion: str) -> Tensor:
    """tracks (K, T), prepared, with values at the same steps -> (K, C) float64, the statistic of each unit for each."""
    if tracks.is_floating_point():
        return correlation(units, tracks)
    number, labels = tracks.size(0), int(tracks.max()) + 1
    joint = tracks[0]  # (T,) one code whose digits are the labels of all tracks
    for track in tracks[1:]:
        joint = torch.where(joint >= 0, joint * labels + track, joint)
    columns = []
    for part in units.split(64):  # which limits the memory for counts
        counts = joint_histogram(part, joint, labels**number)  # (c, L, G ** K)
        histograms = [
            counts.reshape(part.size(0), 255, labels**place, labels, -1).sum((2, 4)) for place in range(number)
        ]  # K of (c, L, G)
        columns.append(torch.stack([_statistic(one, criterion) for one in histograms]))
    return torch.cat(columns, 1)


def _statistic(histogram: Tensor, criterion: str) -> Tensor:
    """histogram (C, L, G) -> (C,) float64; one label against the rest has code 1."""
    if criterion == "correlation_ratio":
        return correlation_ratio(histogram)
    if criterion == "area_under_curve":
        return area_under_curve(histogram, 1)
    return getattr(best_thresholds(histogram, 1, criterion), criterion)


def _labelled(track: Tensor) -> Tensor:
    """(T,) bool, whether a step has a value."""
    return ~track.isnan() if track.is_floating_point() else track >= 0


def _scores(values: Tensor, criterion: str) -> Tensor:
    """The scores for ranking. A unit that is off under a label predicts it as well as a unit that is on."""
    if criterion == "area_under_curve":
        return torch.maximum(values, 1 - values)
    return values.abs()


def _check_criterion(track: Tensor, criterion: str, label: Optional[int]) -> None:
    """Raises ValueError if the criterion or label does not fit the track, or the track has too few values."""
    is_number = track.is_floating_point()
    if is_number and track.isinf().any():
        raise ValueError("the track has an infinite number, but numbers must be finite, or NaN where there is none")
    kind, allowed = ("numbers", list(NUMBER_CRITERIA)) if is_number else ("labels", list(LABEL_CRITERIA))
    if criterion not in allowed:
        raise ValueError(f"unknown criterion {criterion!r} for a track of {kind}; choose from: {', '.join(allowed)}")
    distinct = track[_labelled(track)].unique()  # (G,)
    if distinct.numel() < 2:
        seen = f"is {distinct[0].item()} at every step that has a value" if distinct.numel() else "has no value"
        raise ValueError(f"the track {seen}, but a ranking of units needs two values or more")
    needs_label = criterion in LABEL_CRITERIA and criterion != "correlation_ratio"
    if needs_label and label not in distinct.tolist():
        some = ", ".join(map(str, distinct[:20].tolist()))
        raise ValueError(f"no step has label {label}; those that occur are: {some}")
    if not needs_label and label is not None:
        raise ValueError(f"label {label} is given, but {criterion} is about all values: leave the label out")

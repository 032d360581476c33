"""Which cells tell a track best, how much of that is chance, and what one cell alone can say.

Tracks, cells and levels as in `separation`.
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
    "Prediction",
    "Ranking",
    "cell_values",
    "predict_number",
    "rank_cells",
    "shuffled_control",
]

# What a cell can be ranked by. Of labels, all but the correlation ratio are about one label against the rest.
LABEL_CRITERIA = ("area_under_curve", *THRESHOLD_MEASURES, "correlation_ratio")
NUMBER_CRITERIA = ("correlation",)


class Ranking(NamedTuple):
    """Cells, the best first."""

    cells: Tensor
    """(M,) int64"""
    scores: Tensor
    """(M,) float64 that they are ranked by: the value; of a correlation its size; of an area under the curve the larger
    of it and what is left to 1"""
    values: Tensor
    """(M,) float64, what the criterion gave: below zero, or below one half, where the cell is lower under the label"""


class Control(NamedTuple):
    """What the best cell reaches by chance."""

    best: Tensor
    """(repeats,) float64, the best score of all cells for each shifted track"""
    shifts: Tensor
    """(repeats,) int64, by how many labelled steps the track was shifted"""


class Prediction(NamedTuple):
    """How well one cell tells a number."""

    correlation: float
    """Pearson's, over all steps"""
    error: float
    """mean absolute error on the second half"""
    error_of_mean: float
    """the same for the mean of the first half, which needs no cell"""
    exact: float
    """share of the second half where the rounded prediction is the number"""
    exact_of_mean: float
    """the same for the mean of the first half"""


def cell_values(cells: Tensor, track: Tensor, criterion: str, label: Optional[int] = None) -> Tensor:
    """One statistic of all cells.

    Args:
        cells: (C, T) int8, also as a transposed (T, C) array.
        track: (T,) codes or numbers.
        criterion: one of `LABEL_CRITERIA` for codes, of `NUMBER_CRITERIA` for numbers.
        label: the one that is told from the rest; None for `correlation_ratio` and for numbers.

    Returns:
        (C,) float64.

    Raises:
        ValueError: the track is constant or has no value, the label does not occur, or the criterion does not go with
            the track.
    """
    check_track(cells, track)
    return _values(cells, _prepared(track, criterion, label).unsqueeze(0), criterion)[0]


def rank_cells(cells: Tensor, track: Tensor, criterion: str, label: Optional[int] = None, limit: int = 20) -> Ranking:
    """The cells that tell a track best; of equally good ones the first.

    Args:
        cells, track, criterion, label: see `cell_values`.
        limit: how many cells to return at most.

    Returns:
        Ranking.

    Raises:
        ValueError: as `cell_values`, or a limit below 1.
    """
    if limit < 1:
        raise ValueError(f"limit is {limit}, but must be 1 or more")
    values = cell_values(cells, track, criterion, label)  # (C,)
    scores = _scores(values, criterion)
    order = scores.sort(descending=True, stable=True).indices[:limit]  # (M,)
    return Ranking(order, scores[order], values[order])


def shuffled_control(
    cells: Tensor,
    track: Tensor,
    criterion: str,
    label: Optional[int] = None,
    repeats: int = 20,
    seed: int = 1,
) -> Control:
    """The best score of all cells for the same track at the wrong steps.

    The values of the track are moved around the circle of the labelled steps by a random number of them, at least a
    tenth of all in either direction. A permutation would be too weak a control: both cells and labels keep their value
    for many steps, so that fewer coincidences decide than there are steps, and chance reaches more. A shift keeps how
    long values last, how often they come, and what follows what; it takes away only their place.

    Args:
        cells, track, criterion, label: see `cell_values`.
        repeats: how many shifts, 1 or more.
        seed: of the shifts.

    Returns:
        Control.

    Raises:
        ValueError: as `cell_values`, or fewer repeats than 1.
    """
    if repeats < 1:
        raise ValueError(f"the control has {repeats} repeats, but must have 1 or more")
    check_track(cells, track)
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
        best.append(_scores(_values(cells, moved, criterion), criterion).max(1).values)  # (K,)
    return Control(torch.cat(best), shifts)


def predict_number(cell: Tensor, numbers: Tensor, width: int = 5) -> Prediction:
    """What one cell alone tells of a number, the depth of nesting for instance.

    Levels are put into bins of `width`; the prediction for a bin is the mean of the numbers there in the first half of
    the labelled steps. A bin that the first half does not have gets the mean of all of it. The second half tests this.

    Args:
        cell: (T,) int8.
        numbers: (T,) floating point, NaN for steps that are left out.
        width: levels in a bin, 1 to 255.

    Returns:
        Prediction.

    Raises:
        ValueError: the track is constant or has no value, or an argument is out of its range.
    """
    if not 1 <= width <= 255:
        raise ValueError(f"a bin has {width} levels, but must have 1 to 255")
    value = float(cell_values(cell.unsqueeze(0), numbers, "correlation"))
    kept = _labelled(numbers)
    bins = (cell[kept].long() + 127).div(width, rounding_mode="floor")  # (n,)
    wanted = numbers[kept].double()  # (n,)
    half = wanted.numel() // 2
    counts = torch.bincount(bins[:half], minlength=255)  # (255,)
    sums = torch.bincount(bins[:half], wanted[:half], minlength=255)
    mean = wanted[:half].mean()
    guess = torch.where(counts > 0, sums / counts.clamp(min=1), mean)[bins[half:]]  # (n - half,)
    tested = wanted[half:]
    return Prediction(
        correlation=value,
        error=float((guess - tested).abs().mean()),
        error_of_mean=float((mean - tested).abs().mean()),
        exact=float((guess.round() == tested).double().mean()),
        exact_of_mean=float((mean.round() == tested).double().mean()),
    )


def _prepared(track: Tensor, criterion: str, label: Optional[int]) -> Tensor:
    """The track, checked, as the statistic takes it (T,): numbers less their mean; the label as 1 and the rest as 0; or
    all labels without gaps."""
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
    """How many tracks like this one a pass can take: counting takes equally long for all numbers of labels, as long as
    the counts of a cell stay in the processor's cache."""
    if track.is_floating_point():
        return 8
    labels, tracks = int(track.max()) + 1, 1
    while labels ** (tracks + 1) <= 64:
        tracks += 1
    return tracks


def _values(cells: Tensor, tracks: Tensor, criterion: str) -> Tensor:
    """tracks (K, T), prepared, with values at the same steps -> (K, C) float64, the statistic of each cell for each."""
    if tracks.is_floating_point():
        return correlation(cells, tracks)
    number, labels = tracks.size(0), int(tracks.max()) + 1
    joint = tracks[0]  # (T,) the labels of all tracks at a step are the digits of one code
    for track in tracks[1:]:
        joint = torch.where(joint >= 0, joint * labels + track, joint)
    columns = []
    for part in cells.split(64):  # so that not all counts are held at once
        counts = joint_histogram(part, joint, labels**number)  # (c, L, G ** K)
        histograms = [
            counts.reshape(part.size(0), 255, labels**place, labels, -1).sum((2, 4)) for place in range(number)
        ]  # K of (c, L, G)
        columns.append(torch.stack([_statistic(one, criterion) for one in histograms]))
    return torch.cat(columns, 1)


def _statistic(histogram: Tensor, criterion: str) -> Tensor:
    """histogram (C, L, G) -> (C,) float64; of one label against the rest the label is 1."""
    if criterion == "correlation_ratio":
        return correlation_ratio(histogram)
    if criterion == "area_under_curve":
        return area_under_curve(histogram, 1)
    return getattr(best_thresholds(histogram, 1, criterion), criterion)


def _labelled(track: Tensor) -> Tensor:
    """(T,) bool, the steps that have a value."""
    return ~track.isnan() if track.is_floating_point() else track >= 0


def _scores(values: Tensor, criterion: str) -> Tensor:
    """What cells are ranked by: a cell that is off under a label tells it as well as one that is on."""
    if criterion == "area_under_curve":
        return torch.maximum(values, 1 - values)
    return values.abs()


def _check_criterion(track: Tensor, criterion: str, label: Optional[int]) -> None:
    """Raises ValueError if the criterion and the label do not go with the track, or the track has too few values."""
    is_number = track.is_floating_point()
    if is_number and track.isinf().any():
        raise ValueError("the track has an infinite number, but numbers must be finite, or NaN where there is none")
    kind, allowed = ("numbers", list(NUMBER_CRITERIA)) if is_number else ("labels", list(LABEL_CRITERIA))
    if criterion not in allowed:
        raise ValueError(f"unknown criterion {criterion!r} for a track of {kind}; choose from: {', '.join(allowed)}")
    distinct = track[_labelled(track)].unique()  # (G,)
    if distinct.numel() < 2:
        seen = f"is {distinct[0].item()} at every step that has a value" if distinct.numel() else "has no value"
        raise ValueError(f"the track {seen}, but cells can only be told apart by two values or more")
    needs_label = criterion in LABEL_CRITERIA and criterion != "correlation_ratio"
    if needs_label and label not in distinct.tolist():
        some = ", ".join(map(str, distinct[:20].tolist()))
        raise ValueError(f"no step has label {label}; those that occur are: {some}")
    if not needs_label and label is not None:
        raise ValueError(f"label {label} is given, but {criterion} is about all values: leave the label out")

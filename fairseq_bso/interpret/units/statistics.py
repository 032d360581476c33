"""How well a single unit predicts a track of the corpus: one label against the rest, all labels, or a number.

Units come as levels: int8 from -127 to 127, a hundred times the state, truncated toward zero. A track has one value for
each step. An integer track holds codes of labels, negative for a step without a label. A floating-point track holds
numbers, NaN for a step without a number. Steps without a value are ignored. One pass over the corpus counts the levels
of each unit under each label. All statistics of labels are computed from these counts and are exact on levels.

T is the number of steps, C of units, L = 255 of levels, G of labels.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple, Optional

import torch
from torch import Tensor

__all__ = [
    "LABEL_LIMIT",
    "THRESHOLD_MEASURES",
    "Thresholds",
    "area_under_curve",
    "best_thresholds",
    "correlation",
    "correlation_ratio",
    "joint_histogram",
]

LABEL_LIMIT = 1000
THRESHOLD_MEASURES = ("balanced_accuracy", "f1", "accuracy")
# How many steps and units are counted at once: a part of a row-major array must be transposed first.
_STEPS, _UNITS = 1 << 16, 64
_TOO_LOW = "a unit has level -128, but levels must be from -127 to 127"


class Thresholds(NamedTuple):
    """One threshold for each unit, and how well it predicts a label."""

    cuts: Tensor
    """(C,) int64, a level"""
    above: Tensor
    """(C,) bool: the label is predicted where the level is at least the cut (True) or at most the cut (False)"""
    balanced_accuracy: Tensor
    """(C,) float64, mean of the recall on steps with the label and the recall on steps without it"""
    f1: Tensor
    """(C,) float64, harmonic mean of precision and recall"""
    accuracy: Tensor
    """(C,) float64, share of steps predicted right"""


def joint_histogram(units: Tensor, codes: Tensor, labels: Optional[int] = None) -> Tensor:
    """Counts how often each unit has each level under each label.

    Args:
        units: (C, T) int8, also as a transposed (T, C) array, possibly memory-mapped.
        codes: (T,) integers, negative for steps that are ignored.
        labels: G; None for one more than the largest code.

    Returns:
        (C, L, G) int64; level l is at place l + 127.

    Raises:
        ValueError: a level of -128, shapes that do not agree, no step with a label, or a label that is too large.
    """
    check_track(units, codes)
    largest = int(codes.max()) if codes.numel() else -1
    most = LABEL_LIMIT if labels is None else labels
    if not 0 <= largest < most:
        raise ValueError(f"the largest label is {largest}, but must be from 0 to {most - 1}")
    labels = largest + 1 if labels is None else labels
    counts = torch.zeros(units.size(0), labels, 256, dtype=torch.long)  # (C, G, L + 1)
    offsets = codes.int() * 256 + 128  # (T,)
    for place, part, kept in _pieces(units, codes >= 0):
        some = offsets[kept]  # (b,)
        for unit, levels in enumerate(part, place):
            counts[unit] += torch.bincount(levels.int() + some, minlength=labels * 256).view(labels, 256)
    return _without_lowest(counts.transpose(1, 2))


def area_under_curve(histogram: Tensor, label: int) -> Tensor:
    """Area under the ROC curve: the probability that a step with the label has a higher level than a step without.

    Equal levels count half.

    Args:
        histogram: (C, L, G), see `joint_histogram`.
        label: below G.

    Returns:
        (C,) float64: 1 if the unit is always higher under the label, 0 if it is always lower, 0.5 if it says nothing.

    Raises:
        ValueError: no step has the label, or every step has it.
    """
    with_label, without = _split(histogram, label)  # (C, L) each
    twice_lower = 2 * without.cumsum(1) - without  # (C, L), in halves of a step
    wins = (with_label * twice_lower).sum(1)  # (C,)
    return wins.double() / (2 * with_label.sum(1).double() * without.sum(1).double())


def best_thresholds(
    histogram: Tensor, label: int, measure: str = "balanced_accuracy", as_query: bool = False
) -> Thresholds:
    """The threshold and direction of each unit that best separate one label from the others.

    Args:
        histogram: (C, L, G), see `joint_histogram`.
        label: below G.
        measure: what is maximised: "balanced_accuracy", "f1" or "accuracy".
        as_query: only thresholds of a pattern search: at least a level above zero, or at most a level below zero.

    Returns:
        Thresholds. A tie is broken by direction, "at least" first, then by the lowest level.

    Raises:
        ValueError: no step has the label, every step has it, or the measure is unknown.
    """
    if measure not in THRESHOLD_MEASURES:
        raise ValueError(f"unknown measure {measure!r} of a threshold; choose from: {', '.join(THRESHOLD_MEASURES)}")
    with_label, without = _split(histogram, label)  # (C, L) each
    hits, alarms = _on_counts(with_label), _on_counts(without)  # (C, 2L) steps at which the unit is on
    all_with, all_without = with_label.sum(1, keepdim=True), without.sum(1, keepdim=True)  # (C, 1)
    rejections = all_without - alarms  # (C, 2L)
    measures = {
        "balanced_accuracy": (hits.double() / all_with + rejections.double() / all_without) / 2,
        "f1": 2 * hits.double() / (hits + alarms + all_with),
        "accuracy": (hits + rejections).double() / (all_with + all_without),
    }
    ranked = measures[measure]
    if as_query:
        levels = torch.arange(-127, 128)
        ranked = ranked.masked_fill(~torch.cat([levels >= 1, levels <= -1]), -1.0)
    best = ranked.max(1, keepdim=True).values
    places = (ranked == best).int().argmax(1, keepdim=True)  # (C, 1) the first of equal thresholds
    values = {name: value.gather(1, places).squeeze(1) for name, value in measures.items()}
    places = places.squeeze(1)
    return Thresholds(places % 255 - 127, places < 255, **values)


def correlation_ratio(histogram: Tensor) -> Tensor:
    """Correlation ratio eta squared: the share of a unit's variance that lies between the means of the labels.

    Args:
        histogram: (C, L, G), see `joint_histogram`.

    Returns:
        (C,) float64 from 0 to 1; 0 for a constant unit.
    """
    levels = torch.arange(-127, 128)
    sizes = histogram.sum(1).double()  # (C, G)
    sums = (histogram * levels.view(1, -1, 1)).sum(1).double()  # (C, G)
    whole = sums.sum(1).square() / sizes.sum(1)  # (C,)
    between = (sums.square() / sizes.clamp(min=1)).sum(1) - whole
    counts = histogram.sum(2)  # (C, L)
    spread = (counts * levels.square()).sum(1).double() - whole  # (C,) sum of squared deviations
    return torch.where((counts > 0).sum(1) > 1, between / spread, torch.zeros_like(spread)).clamp(0, 1)


def correlation(units: Tensor, numbers: Tensor) -> Tensor:
    """Pearson's correlation of each unit with each of K number tracks, in one pass.

    Args:
        units: (C, T) int8, also as a transposed (T, C) array.
        numbers: (K, T) float64, each minus its mean; NaN for steps that are ignored, the same steps for all tracks.

    Returns:
        (K, C) float64 from -1 to 1; 0 for a constant unit.

    Raises:
        ValueError: a level of -128, or shapes that do not agree.
    """
    check_track(units, numbers[0])
    kept = ~numbers[0].isnan()  # (T,)
    products = torch.zeros(numbers.size(0), units.size(0), dtype=torch.float64)  # (K, C)
    sums, squares = torch.zeros(2, units.size(0), dtype=torch.float64).unbind()  # (C,) whole numbers
    lowest, highest = torch.full((2, units.size(0)), 127, dtype=torch.int8).unbind()  # (C,)
    highest = -highest
    for place, part, steps in _pieces(units, kept):
        if not steps.numel():
            continue
        some = slice(place, place + part.size(0))
        for levels, among in zip(part.split(1 << 12, 1), steps.split(1 << 12)):  # as much as fits into the cache
            wide = levels.double()  # (c, b)
            products[:, some] += numbers[:, among] @ wide.t()
            sums[some] += wide.sum(1)
            squares[some] += wide.square_().sum(1)
        lowest[some] = torch.minimum(lowest[some], part.amin(1))
        highest[some] = torch.maximum(highest[some], part.amax(1))
    if bool((lowest == -128).any()):
        raise ValueError(_TOO_LOW)
    spread = squares - sums.square() / kept.sum()  # (C,)
    deviation = numbers[:, kept].square().sum(1, keepdim=True).sqrt()  # (K, 1)
    return torch.where(lowest < highest, products / (spread.sqrt() * deviation), torch.zeros_like(products)).clamp(
        -1, 1
    )


def check_track(units: Tensor, track: Tensor) -> None:
    """Raises ValueError unless the units are (C, T) int8 and the track is (T,)."""
    if units.dtype != torch.int8 or units.dim() != 2:
        raise ValueError(f"units are {units.dtype} of shape {tuple(units.shape)}, but must be torch.int8 of 2 axes")
    if tuple(track.shape) != (units.size(1),):
        raise ValueError(f"the track has shape {tuple(track.shape)}, but must have one value for {units.size(1)} steps")


def _pieces(units: Tensor, kept: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields parts of the array: the first unit, levels (c, b) int8 and their steps (b,) int64."""
    for begin in range(0, units.size(1), _STEPS):
        steps = kept[begin : begin + _STEPS].nonzero().squeeze(1)  # (b,)
        whole = steps.numel() == min(_STEPS, units.size(1) - begin)
        for place in range(0, units.size(0), _UNITS):
            part = units[place : place + _UNITS, begin : begin + _STEPS]
            if part.stride(1) != 1:
                part = part.contiguous()
            yield place, part if whole else part[:, steps], steps + begin


def _without_lowest(counts: Tensor) -> Tensor:
    """counts (C, L + 1, ...) from level -128 on -> (C, L, ...) from level -127 on."""
    if counts[:, 0].any():
        raise ValueError(_TOO_LOW)
    return counts[:, 1:]


def _split(histogram: Tensor, label: int) -> tuple[Tensor, Tensor]:
    """(C, L, G) -> counts (C, L) of the steps with the label, and of the steps without it."""
    present = [place for place, size in enumerate(histogram[:1].sum((0, 1)).tolist()) if size]
    if label not in present or len(present) < 2:
        raise ValueError(
            f"label {label} cannot be separated from others: labelled steps have the labels {present}, but there must "
            "be steps with it and steps without it"
        )
    with_label = histogram[:, :, label]
    return with_label, histogram.sum(2) - with_label


def _on_counts(counts: Tensor) -> Tensor:
    """counts (C, L) -> (C, 2L): how many steps are at least each cut, then how many are at most each cut."""
    up_to = counts.cumsum(1)  # (C, L)
    return torch.cat([counts.sum(1, keepdim=True) - up_to + counts, up_to], 1)

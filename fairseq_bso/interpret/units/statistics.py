"""How well a single unit predicts a track of the corpus: one label against the rest, all labels, or a number.

Units come as levels: int8 from -127 to 127, a hundred times the state, truncated toward zero. A track has one value for
each step. An integer track holds codes of labels, negative for a step without a label. A floating-point track holds
numbers, NaN for a step without a number. Steps without a value are ignored. One pass over the corpus counts the levels
of each unit under each label. All statistics of labels are computed from these counts and are exact on levels.

T is the number of steps, C of units, L = 255 of levels, G of labels.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple, Optional

import numpy

__all__ = [
    "LABEL_LIMIT",
    "THRESHOLD_MEASURES",
    "Thresholds",
    "area_under_curve",
    "best_thresholds",
    "correlation",
    "correlation_ratio",
    "joint_histogram",
    "means_by_label",
]

LABEL_LIMIT = 1000
THRESHOLD_MEASURES = ("balanced_accuracy", "f1", "accuracy")
# How many steps and units are counted at once: a part of a row-major array must be transposed first.
_STEPS, _UNITS = 1 << 16, 64
_CACHED = 1 << 12  # steps of so many units that fit into the processor's cache as float64
_TOO_LOW = "a unit has level -128, but levels must be from -127 to 127"


class Thresholds(NamedTuple):
    """One threshold for each unit, and how well it predicts a label."""

    cuts: numpy.ndarray
    """(C,) int64, a level"""
    above: numpy.ndarray
    """(C,) bool: the label is predicted where the level is at least the cut (True) or at most the cut (False)"""
    balanced_accuracy: numpy.ndarray
    """(C,) float64, mean of the recall on steps with the label and the recall on steps without it"""
    f1: numpy.ndarray
    """(C,) float64, harmonic mean of precision and recall"""
    accuracy: numpy.ndarray
    """(C,) float64, share of steps predicted right"""


def joint_histogram(units: numpy.ndarray, codes: numpy.ndarray, labels: Optional[int] = None) -> numpy.ndarray:
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
    largest = int(codes.max()) if len(codes) else -1
    most = LABEL_LIMIT if labels is None else labels
    if not 0 <= largest < most:
        raise ValueError(f"the largest label is {largest}, but must be from 0 to {most - 1}")
    labels = largest + 1 if labels is None else labels
    counts = numpy.zeros((len(units), labels, 256), dtype=numpy.int64)  # (C, G, L + 1)
    offsets = codes.astype(numpy.int64) * 256 + 128  # (T,)
    for place, part, kept in _pieces(units, codes >= 0):
        some = offsets[kept]  # (b,)
        for unit, levels in enumerate(part, place):
            counts[unit] += numpy.bincount(levels + some, minlength=labels * 256).reshape(labels, 256)
    return _without_lowest(counts.swapaxes(1, 2))


def means_by_label(units: numpy.ndarray, codes: numpy.ndarray, labels: int) -> numpy.ndarray:
    """The mean of each unit under each label.

    Args:
        units, codes, labels: see `joint_histogram`.

    Returns:
        (C, G) float64, a hundredth of the mean level; NaN for a label without steps.
    """
    counts = joint_histogram(units, codes, labels)  # (C, L, G)
    with numpy.errstate(invalid="ignore"):
        return (numpy.arange(-127, 128) @ counts) / counts.sum(1) / 100


def area_under_curve(histogram: numpy.ndarray, label: int) -> numpy.ndarray:
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
    return wins / (2.0 * with_label.sum(1) * without.sum(1))


def best_thresholds(
    histogram: numpy.ndarray, label: int, measure: str = "balanced_accuracy", as_query: bool = False
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
    all_with, all_without = with_label.sum(1, keepdims=True), without.sum(1, keepdims=True)  # (C, 1)
    rejections = all_without - alarms  # (C, 2L)
    measures = {
        "balanced_accuracy": (hits / all_with + rejections / all_without) / 2,
        "f1": 2 * hits / (hits + alarms + all_with),
        "accuracy": (hits + rejections) / (all_with + all_without),
    }
    ranked = measures[measure]
    if as_query:
        levels = numpy.arange(-127, 128)
        ranked = numpy.where(numpy.concatenate([levels >= 1, levels <= -1]), ranked, -1.0)
    places = ranked.argmax(1)  # (C,) the first of equal thresholds
    values = {name: value[numpy.arange(len(places)), places] for name, value in measures.items()}
    return Thresholds(places % 255 - 127, places < 255, **values)


def correlation_ratio(histogram: numpy.ndarray) -> numpy.ndarray:
    """Correlation ratio eta squared: the share of a unit's variance that lies between the means of the labels.

    Args:
        histogram: (C, L, G), see `joint_histogram`.

    Returns:
        (C,) float64 from 0 to 1; 0 for a constant unit.
    """
    levels = numpy.arange(-127, 128)
    sizes = histogram.sum(1)  # (C, G)
    sums = (histogram * levels[:, None]).sum(1).astype(numpy.float64)  # (C, G)
    whole = sums.sum(1) ** 2 / sizes.sum(1)  # (C,)
    between = (sums**2 / numpy.maximum(sizes, 1)).sum(1) - whole
    counts = histogram.sum(2)  # (C, L)
    spread = (counts * levels**2).sum(1) - whole  # (C,) sum of squared deviations
    varies = (counts > 0).sum(1) > 1  # (C,)
    return numpy.divide(between, spread, out=numpy.zeros(len(spread)), where=varies).clip(0, 1)


def correlation(units: numpy.ndarray, numbers: numpy.ndarray) -> numpy.ndarray:
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
    kept = ~numpy.isnan(numbers[0])  # (T,)
    products = numpy.zeros((len(numbers), len(units)))  # (K, C)
    sums, squares = numpy.zeros((2, len(units)))  # (C,) whole numbers
    lowest, highest = numpy.full((2, len(units)), 127, dtype=numpy.int8)  # (C,)
    highest = -highest
    for place, part, steps in _pieces(units, kept):
        if not len(steps):
            continue
        some = slice(place, place + len(part))
        for begin in range(0, len(steps), _CACHED):
            wide = part[:, begin : begin + _CACHED].astype(numpy.float64)  # (c, b)
            products[:, some] += numbers[:, steps[begin : begin + _CACHED]] @ wide.T
            sums[some] += wide.sum(1)
            squares[some] += numpy.einsum("cb,cb->c", wide, wide)
        lowest[some] = numpy.minimum(lowest[some], part.min(1))
        highest[some] = numpy.maximum(highest[some], part.max(1))
    if (lowest == -128).any():
        raise ValueError(_TOO_LOW)
    spread = squares - sums**2 / kept.sum()  # (C,)
    deviation = numpy.sqrt((numbers[:, kept] ** 2).sum(1, keepdims=True))  # (K, 1)
    varies = numpy.broadcast_to(lowest < highest, products.shape)
    whole = numpy.sqrt(spread) * deviation  # (K, C)
    return numpy.divide(products, whole, out=numpy.zeros_like(products), where=varies).clip(-1, 1)


def check_track(units: numpy.ndarray, track: numpy.ndarray) -> None:
    """Raises ValueError unless the units are (C, T) int8 and the track is (T,)."""
    if units.dtype != numpy.int8 or units.ndim != 2:
        raise ValueError(f"units are {units.dtype} of shape {units.shape}, but must be int8 of 2 axes")
    if track.shape != (units.shape[1],):
        raise ValueError(f"the track has shape {track.shape}, but must have one value for {units.shape[1]} steps")


def _pieces(units: numpy.ndarray, kept: numpy.ndarray) -> Iterator[tuple[int, numpy.ndarray, numpy.ndarray]]:
    """Yields parts of the array: the first unit, levels (c, b) int8 and their steps (b,) int64."""
    for begin in range(0, units.shape[1], _STEPS):
        steps = numpy.flatnonzero(kept[begin : begin + _STEPS])  # (b,)
        whole = len(steps) == min(_STEPS, units.shape[1] - begin)
        for place in range(0, len(units), _UNITS):
            part = units[place : place + _UNITS, begin : begin + _STEPS]
            if part.strides[1] != 1:
                part = numpy.ascontiguousarray(part)
            yield place, part if whole else part[:, steps], steps + begin


def _without_lowest(counts: numpy.ndarray) -> numpy.ndarray:
    """counts (C, L + 1, ...) from level -128 on -> (C, L, ...) from level -127 on."""
    if counts[:, 0].any():
        raise ValueError(_TOO_LOW)
    return counts[:, 1:]


def _split(histogram: numpy.ndarray, label: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """(C, L, G) -> counts (C, L) of the steps with the label, and of the steps without it."""
    present = [place for place, size in enumerate(histogram[:1].sum((0, 1)).tolist()) if size]
    if label not in present or len(present) < 2:
        raise ValueError(
            f"label {label} cannot be separated from others: labelled steps have the labels {present}, but there must "
            "be steps with it and steps without it"
        )
    with_label = histogram[:, :, label]
    return with_label, histogram.sum(2) - with_label


def _on_counts(counts: numpy.ndarray) -> numpy.ndarray:
    """counts (C, L) -> (C, 2L): how many steps are at least each cut, then how many are at most each cut."""
    up_to = counts.cumsum(1)  # (C, L)
    return numpy.concatenate([counts.sum(1, keepdims=True) - up_to + counts, up_to], 1)

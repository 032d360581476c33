"""How well single cells tell a track of the corpus: a label from the others, or a number.

Cells come as levels: int8 from -127 to 127, a hundred times the state, cut toward zero. A track has a value for every
step: integers are codes of labels, negative where a step has none; floating-point numbers are numbers, NaN where there
is none. Steps without a value are left out. One pass over the corpus counts how often a cell has each level under each
label; what is said of labels comes from these counts and is exact on levels.

T is the number of steps, C of cells, L = 255 of levels, G of labels, P of steps with a label and N of those without.
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
# Steps and cells that are counted at once: a piece of a row-major array must be turned around first.
_STEPS, _CELLS = 1 << 16, 64
_TOO_LOW = "a cell has level -128, but levels must be from -127 to 127"


class Thresholds(NamedTuple):
    """One threshold for each cell, and how well it tells a label."""

    cuts: Tensor
    """(C,) int64, a level"""
    above: Tensor
    """(C,) bool: whether the label is said to be where the level is at least the cut, or where it is at most the cut"""
    balanced_accuracy: Tensor
    """(C,) float64, mean of the shares found of the steps with the label, and of those without"""
    f1: Tensor
    """(C,) float64, harmonic mean of precision and recall"""
    accuracy: Tensor
    """(C,) float64, share of steps told right"""


def joint_histogram(cells: Tensor, codes: Tensor, labels: Optional[int] = None) -> Tensor:
    """How often each cell has each level under each label.

    Args:
        cells: (C, T) int8, also as a transposed (T, C) array, possibly memory-mapped.
        codes: (T,) integers, negative for steps that are left out.
        labels: G; None for one more than the largest code.

    Returns:
        (C, L, G) int64; level l is at place l + 127.

    Raises:
        ValueError: a level of -128, shapes that do not belong together, no step with a label, or a label that is too
            large.
    """
    check_track(cells, codes)
    largest = int(codes.max()) if codes.numel() else -1
    most = LABEL_LIMIT if labels is None else labels
    if not 0 <= largest < most:
        raise ValueError(f"the largest label is {largest}, but must be from 0 to {most - 1}")
    labels = largest + 1 if labels is None else labels
    found = torch.zeros(cells.size(0), labels, 256, dtype=torch.long)  # (C, G, L + 1)
    offsets = codes.int() * 256 + 128  # (T,)
    for place, part, kept in _pieces(cells, codes >= 0):
        some = offsets[kept]  # (b,)
        for cell, levels in enumerate(part, place):
            found[cell] += torch.bincount(levels.int() + some, minlength=labels * 256).view(labels, 256)
    return _without_lowest(found.transpose(1, 2))


def area_under_curve(histogram: Tensor, label: int) -> Tensor:
    """The chance that a step with the label has a higher level than one without; equal levels count half.

    Args:
        histogram: (C, L, G), see `joint_histogram`.
        label: below G.

    Returns:
        (C,) float64: 1 where the cell is always higher under the label, 0 where it is always lower, 0.5 where it does
        not tell.

    Raises:
        ValueError: no step has the label, or all have.
    """
    with_label, without = _split(histogram, label)  # (C, L) each
    twice_lower = 2 * without.cumsum(1) - without  # (C, L), in halves of a step
    wins = (with_label * twice_lower).sum(1)  # (C,)
    return wins.double() / (2 * with_label.sum(1).double() * without.sum(1).double())


def best_thresholds(
    histogram: Tensor, label: int, measure: str = "balanced_accuracy", as_query: bool = False
) -> Thresholds:
    """For each cell the one threshold, and the direction, that tells a label from the others best.

    Args:
        histogram: (C, L, G), see `joint_histogram`.
        label: below G.
        measure: what is to be largest: "balanced_accuracy", "f1" or "accuracy".
        as_query: only thresholds that a pattern search can have: at least a level above zero, at most one below zero.

    Returns:
        Thresholds. Of equally good ones, at least before at most, then the lowest level.

    Raises:
        ValueError: no step has the label, or all have, or an unknown measure.
    """
    if measure not in THRESHOLD_MEASURES:
        raise ValueError(f"unknown measure {measure!r} of a threshold; choose from: {', '.join(THRESHOLD_MEASURES)}")
    with_label, without = _split(histogram, label)  # (C, L) each
    hits, alarms = _on_counts(with_label), _on_counts(without)  # (C, 2L) steps that the cell is on at
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
    places = (ranked == best).int().argmax(1, keepdim=True)  # (C, 1) the first of equal ones
    values = {name: value.gather(1, places).squeeze(1) for name, value in measures.items()}
    places = places.squeeze(1)
    return Thresholds(places % 255 - 127, places < 255, **values)


def correlation_ratio(histogram: Tensor) -> Tensor:
    """eta squared: the share of a cell's variance that is between the means of the labels.

    Args:
        histogram: (C, L, G), see `joint_histogram`.

    Returns:
        (C,) float64 from 0 to 1; 0 for a cell that has one level throughout.
    """
    levels = torch.arange(-127, 128)
    sizes = histogram.sum(1).double()  # (C, G)
    sums = (histogram * levels.view(1, -1, 1)).sum(1).double()  # (C, G)
    whole = sums.sum(1).square() / sizes.sum(1)  # (C,)
    between = (sums.square() / sizes.clamp(min=1)).sum(1) - whole
    counts = histogram.sum(2)  # (C, L)
    spread = (counts * levels.square()).sum(1).double() - whole  # (C,) sum of squared deviations
    return torch.where((counts > 0).sum(1) > 1, between / spread, torch.zeros_like(spread)).clamp(0, 1)


def correlation(cells: Tensor, numbers: Tensor) -> Tensor:
    """Pearson's correlation of each cell with each of several numbers, in one pass.

    Args:
        cells: (C, T) int8, also as a transposed (T, C) array.
        numbers: (K, T) float64, each less its mean, NaN for steps that are left out: the same steps for all.

    Returns:
        (K, C) float64 from -1 to 1; 0 for a cell that has one level throughout.

    Raises:
        ValueError: a level of -128, or shapes that do not belong together.
    """
    check_track(cells, numbers[0])
    kept = ~numbers[0].isnan()  # (T,)
    products = torch.zeros(numbers.size(0), cells.size(0), dtype=torch.float64)  # (K, C)
    sums, squares = torch.zeros(2, cells.size(0), dtype=torch.float64).unbind()  # (C,) whole numbers
    lowest, highest = torch.full((2, cells.size(0)), 127, dtype=torch.int8).unbind()  # (C,)
    highest = -highest
    for place, part, steps in _pieces(cells, kept):
        if not steps.numel():
            continue
        some = slice(place, place + part.size(0))
        for levels, among in zip(part.split(1 << 12, 1), steps.split(1 << 12)):  # as much as stays in the cache
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


def check_track(cells: Tensor, track: Tensor) -> None:
    """Raises ValueError unless cells are (C, T) int8 and the track is (T,)."""
    if cells.dtype != torch.int8 or cells.dim() != 2:
        raise ValueError(f"cells are {cells.dtype} of shape {tuple(cells.shape)}, but must be torch.int8 of 2 axes")
    if tuple(track.shape) != (cells.size(1),):
        raise ValueError(f"the track has shape {tuple(track.shape)}, but must have one value for {cells.size(1)} steps")


def _pieces(cells: Tensor, kept: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Some cells and steps at a time: the first cell, levels (c, b) int8, and the steps (b,) int64 that they have."""
    for begin in range(0, cells.size(1), _STEPS):
        steps = kept[begin : begin + _STEPS].nonzero().squeeze(1)  # (b,)
        whole = steps.numel() == min(_STEPS, cells.size(1) - begin)
        for place in range(0, cells.size(0), _CELLS):
            part = cells[place : place + _CELLS, begin : begin + _STEPS]
            if part.stride(1) != 1:
                part = part.contiguous()
            yield place, part if whole else part[:, steps], steps + begin


def _without_lowest(counts: Tensor) -> Tensor:
    """counts (C, L + 1, ...) from level -128 on -> (C, L, ...)."""
    if counts[:, 0].any():
        raise ValueError(_TOO_LOW)
    return counts[:, 1:]


def _split(histogram: Tensor, label: int) -> tuple[Tensor, Tensor]:
    """(C, L, G) -> (C, L) of the steps with the label, and of those without."""
    present = [place for place, size in enumerate(histogram[:1].sum((0, 1)).tolist()) if size]
    if label not in present or len(present) < 2:
        raise ValueError(
            f"label {label} cannot be told from others: labelled steps have the labels {present}, but there must be "
            "steps with it and steps without it"
        )
    with_label = histogram[:, :, label]
    return with_label, histogram.sum(2) - with_label


def _on_counts(counts: Tensor) -> Tensor:
    """counts (C, L) -> (C, 2L), steps whose level is at least each cut, then those whose level is at most each."""
    up_to = counts.cumsum(1)  # (C, L)
    return torch.cat([counts.sum(1, keepdim=True) - up_to + counts, up_to], 1)

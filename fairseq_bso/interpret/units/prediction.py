"""The prediction of a number track from one unit alone; `statistics` defines tracks, units and levels."""

from __future__ import annotations

from typing import NamedTuple

import numpy

from .criteria import unit_values

__all__ = ["Prediction", "predict_number"]


class Prediction(NamedTuple):
    """How well one unit predicts a number."""

    correlation: float
    """Pearson's, over all steps"""
    error: float
    """mean absolute error on the second half"""
    error_of_mean: float
    """the same for the mean of the first half, which needs no unit"""
    exact: float
    """share of the second half in which the rounded prediction is right"""
    exact_of_mean: float
    """the same for the mean of the first half"""


def predict_number(unit: numpy.ndarray, numbers: numpy.ndarray, width: int = 5) -> Prediction:
    """Predicts a number, such as the depth of nesting, from one unit alone.

    Levels are put into bins of `width`. The prediction for a bin is the mean of its numbers in the first half of the
    labelled steps. A bin that is empty in the first half gets the mean of that half. The second half is the test set.

    Args:
        unit: (T,) int8.
        numbers: (T,) floating point, NaN for steps that are ignored.
        width: levels in a bin, 1 to 255.

    Returns:
        Prediction.

    Raises:
        ValueError: the track is constant or has no value, or an argument is out of its range.
    """
    if not 1 <= width <= 255:
        raise ValueError(f"a bin has {width} levels, but must have 1 to 255")
    value = float(unit_values(unit[None], numbers, "correlation")[0])
    kept = ~numpy.isnan(numbers)
    bins = (unit[kept].astype(numpy.int64) + 127) // width  # (n,)
    wanted = numbers[kept].astype(numpy.float64)  # (n,)
    half = len(wanted) // 2
    counts = numpy.bincount(bins[:half], minlength=255)  # (255,)
    sums = numpy.bincount(bins[:half], wanted[:half], minlength=255)
    mean = wanted[:half].mean()
    guess = numpy.where(counts > 0, sums / numpy.maximum(counts, 1), mean)[bins[half:]]  # (n - half,)
    tested = wanted[half:]
    return Prediction(
        correlation=value,
        error=float(numpy.abs(guess - tested).mean()),
        error_of_mean=float(numpy.abs(mean - tested).mean()),
        exact=float((guess.round() == tested).mean()),
        exact_of_mean=float((mean.round() == tested).mean()),
    )

"""Products of rows and weights that are rounded to whole numbers, one number after another."""

import math

import numpy as np


def whole_row(row, largest):
    """A row in float32 -> its whole numbers from -largest to largest, and their scale."""
    scale = np.float32(max(abs(float(value)) for value in row)) / np.float32(largest)
    scale = np.float32(1) if scale == 0 else scale
    return [round(float(np.float32(value) / scale)) for value in row], scale


def rounded_row(row):
    """A row that is multiplied -> its whole numbers from -127 to 127, halves upwards, and their scale."""
    scale = max(np.float32(max(abs(float(value)) for value in row)), np.float32(1e-30)) / np.float32(127)
    return [math.floor(np.float32(value) / scale + np.float32(128.5)) - 128 for value in row], scale


def product(rows, weight, largest):
    """rows (R, I), weight (O, I) -> (R, O) float32."""
    found = np.empty((len(rows), len(weight)), np.float32)
    for number, row in enumerate(rows):
        whole, scale = rounded_row(row)
        for output, factors in enumerate(weight):
            factors, factor_scale = whole_row(factors, largest)
            exact = sum(one * other for one, other in zip(whole, factors))
            found[number, output] = np.float32(exact) * factor_scale * scale
    return found

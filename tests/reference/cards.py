"""What the card of one unit says, from plain lists: one step at a time."""

import math

from reference.patterns import is_on


def peaks(values, count, apart):
    """The best (value, step): above the `apart` steps before, not below the `apart` steps after."""
    found = []
    for step, value in enumerate(values):
        before, after = values[max(0, step - apart) : step], values[step + 1 : step + 1 + apart]
        if all(one < value for one in before) and all(one <= value for one in after):
            found.append((value, step))
    return sorted(found, key=lambda one: (-one[0], one[1]))[:count]


def histogram(levels):
    """The steps at each level from -127 to 127."""
    return [sum(one == level for one in levels) for level in range(-127, 128)]


def runs(levels, level, direction):
    """The lengths of the runs of steps at which the unit is on."""
    found, length = [], 0
    for one in [*levels, 0]:
        if is_on(one, level, direction):
            length += 1
        elif length:
            found.append(length)
            length = 0
    return found


def mean(values):
    return sum(values) / len(values)


def deviation(values):
    return math.sqrt(mean([(value - mean(values)) ** 2 for value in values]))


def correlation(one, other):
    """Pearson's; 0 where one is constant."""
    if len(set(one)) == 1 or len(set(other)) == 1:
        return 0.0
    products = [(a - mean(one)) * (b - mean(other)) for a, b in zip(one, other)]
    return mean(products) / (deviation(one) * deviation(other))


def top_words(column, count, skipped=()):
    """The words (id, weight above the mean of all words) that a column raises most, and those that it lowers most."""
    kept = [(word, weight - mean(column)) for word, weight in enumerate(column) if word not in skipped]
    rising = sorted(kept, key=lambda one: -one[1])[:count]
    return rising, sorted(kept, key=lambda one: one[1])[:count]

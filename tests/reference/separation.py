"""Measures of units as predictors of a track, one step at a time, on plain lists of levels and of labels or numbers.

The lists hold only steps with a value; callers remove the others.
"""

from fractions import Fraction


def histogram(unit, codes, labels):
    """The count of each level of the unit, from -127 on, under each label."""
    counts = [[0] * labels for _ in range(255)]
    for level, code in zip(unit, codes):
        counts[level + 127][code] += 1
    return counts


def area_under_curve(unit, codes, label):
    """The area under the ROC curve, by all pairs of a step with the label and a step without it."""
    wins, pairs = Fraction(0), 0
    for one, code in zip(unit, codes):
        for other, rest in zip(unit, codes):
            if code == label and rest != label:
                pairs += 1
                wins += 1 if one > other else Fraction(1, 2) if one == other else 0
    return wins / pairs


def measures(unit, codes, label, cut, above):
    """Balanced accuracy, F1 and accuracy of predicting the label where the unit is beyond the cut."""
    hits = misses = alarms = rejections = 0
    for level, code in zip(unit, codes):
        said = level >= cut if above else level <= cut
        hits += said and code == label
        misses += not said and code == label
        alarms += said and code != label
        rejections += not said and code != label
    return {
        "balanced_accuracy": (Fraction(hits, hits + misses) + Fraction(rejections, rejections + alarms)) / 2,
        "f1": Fraction(2 * hits, 2 * hits + alarms + misses),
        "accuracy": Fraction(hits + rejections, len(unit)),
    }


def best_threshold(unit, codes, label, measure, as_query):
    """The best value of the measure over all thresholds."""
    cuts = [(cut, above) for above in (True, False) for cut in range(-127, 128)]
    if as_query:
        cuts = [(cut, above) for cut, above in cuts if (cut >= 1 if above else cut <= -1)]
    return max(measures(unit, codes, label, cut, above)[measure] for cut, above in cuts)


def correlation_ratio(unit, codes):
    """The squared deviations of the labels' means, divided by the squared deviations of the steps."""
    mean = Fraction(sum(unit), len(unit))
    between = whole = Fraction(0)
    for level, code in zip(unit, codes):
        under = [other for other, rest in zip(unit, codes) if rest == code]
        between += (Fraction(sum(under), len(under)) - mean) ** 2
        whole += (level - mean) ** 2
    return between / whole if whole else Fraction(0)


def correlation(unit, numbers):
    """Pearson's correlation."""
    unit_mean, mean = Fraction(sum(unit), len(unit)), Fraction(sum(numbers)) / len(numbers)
    product = sum((level - unit_mean) * (number - mean) for level, number in zip(unit, numbers))
    squares = sum((level - unit_mean) ** 2 for level in unit) * sum((number - mean) ** 2 for number in numbers)
    return float(product) / float(squares) ** 0.5 if squares else 0.0


def predict(unit, numbers, width):
    """The mean error and the share of exact predictions on the second half.

    The predictions are the means of bins, and the overall mean."""
    half = len(unit) // 2
    mean = sum(numbers[:half]) / half
    results = []
    for with_unit in (True, False):
        error = exact = 0
        for level, number in zip(unit[half:], numbers[half:]):
            same = [
                other
                for seen, other in zip(unit[:half], numbers[:half])
                if (seen + 127) // width == (level + 127) // width
            ]
            guess = sum(same) / len(same) if same and with_unit else mean
            error += abs(guess - number)
            exact += round(guess) == number
        results += [error / (len(unit) - half), exact / (len(unit) - half)]
    return results


def best_of_shifted(score, units, track, kept, shift):
    """The best score of all units after a circular shift of the values at the kept steps.

    `score(unit, values)` gets the kept steps.
    """
    values = [value for value, keep in zip(track, kept) if keep]
    moved = [values[(place - shift) % len(values)] for place in range(len(values))]
    return max(score([level for level, keep in zip(unit, kept) if keep], moved) for unit in units)

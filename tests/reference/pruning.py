"""Pruning one weight at a time, on plain lists of numbers."""


def class_blind(weights, pruned, count):
    """weights and pruned, one list per class -> masks of the same shape, True where a weight is pruned."""
    return _prune(pruned, count, lambda place, index: abs(weights[place][index]))


def class_distribution(weights, pruned, count):
    """Masks by the rank of magnitude over the standard deviation of the class."""

    def ratio(place, index):
        value, numbers = abs(weights[place][index]), weights[place]
        mean = sum(numbers) / len(numbers)
        deviation = max(0.0, sum(number * number for number in numbers) / len(numbers) - mean * mean) ** 0.5
        if value == 0:
            return 0.0
        return value / deviation if deviation > 0 else float("inf")

    return _prune(pruned, count, ratio)


def class_uniform(weights, pruned, count):
    """Masks of each class alone, with its share of the count."""
    counts = equal_shares([len(numbers) for numbers in weights], count, [sum(before) for before in pruned])
    return [class_blind([numbers], [before], part)[0] for numbers, before, part in zip(weights, pruned, counts)]


def equal_shares(sizes, count, least):
    """Allots one weight at a time, to the class with the smallest share of its size; each begins with `least`."""
    given = list(least)
    for _ in range(count - sum(least)):
        open_classes = [place for place in range(len(sizes)) if given[place] < sizes[place]]
        # a / b < c / d as a * d < c * b, in whole numbers
        best = open_classes[0]
        for place in open_classes[1:]:
            if (2 * given[place] + 1) * sizes[best] < (2 * given[best] + 1) * sizes[place]:
                best = place
        given[best] += 1
    return given


def _prune(pruned, count, size):
    """Prunes the smallest remaining weight, `count` times; weights that are already pruned come first."""
    masks = [[False for _ in numbers] for numbers in pruned]
    for _ in range(count):
        best = None
        for place, numbers in enumerate(pruned):
            for index, before in enumerate(numbers):
                key = -1.0 if before else size(place, index)
                if not masks[place][index] and (best is None or key < best[0]):
                    best = key, place, index
        masks[best[1]][best[2]] = True
    return masks


def cubic(amount, start, end, every, update):
    """The share that is pruned after `update` updates, found by visiting all of them."""
    share = 0.0
    for now in range(update + 1):
        if start <= now <= end and ((now - start) % every == 0 or now == end):
            share = amount - amount * ((end - now) / (end - start)) ** 3
    return share


def iterative(amount, start, end, every, update):
    """The share that is pruned after `update` updates if each round prunes the same share of the remaining weights."""
    rounds = [now for now in range(start, end + 1) if (now - start) % every == 0 or now == end]
    left = 1.0
    for now in rounds:
        if now <= update:
            left *= (1 - amount) ** (1 / len(rounds))
    return 1 - left


def prune_units(parameters, units, pruned, count):
    """Prunes `count` units of one set, one at a time, the one of the smallest norm first.

    Args:
        parameters: name -> vector or matrix as lists of numbers.
        units: for each unit the places of its weights, (name, row) or (name, row, column). A place may stand there
            several times.
        pruned: for each unit whether it is pruned already.
        count: how many units are pruned at the end, those pruned already included.
    """
    mask = list(pruned)
    while sum(mask) < count:
        best = None
        for number, places in enumerate(units):
            squares = 0.0
            for name, *place in set(places):
                value = parameters[name]
                for index in place:
                    value = value[index]
                squares += value * value
            if not mask[number] and (best is None or squares < best[0]):
                best = squares, number
        mask[best[1]] = True
    return mask


def unit_places(shapes, slices, size):
    """For each unit of a set the places of its weights, those that are in two slices twice.

    Args:
        shapes: name -> (rows,) or (rows, columns).
        slices: (name, dimension, start) for each part of a parameter that belongs to the set.
        size: of the set.
    """
    units = []
    for number in range(size):
        places = []
        for name, dimension, start in slices:
            shape = shapes[name]
            if len(shape) == 1:
                places.append((name, start + number))
            elif dimension == 0:
                places += [(name, start + number, column) for column in range(shape[1])]
            else:
                places += [(name, row, start + number) for row in range(shape[0])]
        units.append(places)
    return units

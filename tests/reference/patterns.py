"""Matches one step and one unit at a time, on plain lists of levels."""


def is_on(value, level, direction):
    """Whether a unit of this level is on."""
    return value >= level if direction == "above" else value <= -level


def matches(unit, first, last, level, left, right, direction):
    """Whether a unit matches the steps `first` to `last`; `unit` holds its levels, one per step."""
    for step in range(first - left, last + right + 1):
        on = 0 <= step < len(unit) and is_on(unit[step], level, direction)
        if on != (first <= step <= last):
            return False
    return True


def candidate_ranges(units, level, minimum_length, direction):
    """The (first, last) of ranges that begin where a unit turns on, and end with the run of a unit on throughout."""
    steps, found = len(units[0]), set()
    on = [[is_on(value, level, direction) for value in unit] for unit in units]
    for first in range(steps):
        if not any(unit[first] and (first == 0 or not unit[first - 1]) for unit in on):
            continue
        for unit in on:
            last = first
            while last < steps and unit[last]:
                last += 1
            if last - first >= minimum_length:
                found.add((first, last - 1))
    return found


def find_matches(units, level, left, right, minimum_length, limit, candidates, direction, others=(), exclude=None):
    """The best matches as (start, length, overlap, others), and the number of ranked ranges.

    `units` and `others` hold one list of levels per unit."""

    def count(some, first, last):
        return sum(matches(unit, first, last, level, left, right, direction) for unit in some)

    found = []
    for first, last in candidate_ranges(units, level, minimum_length, direction):
        overlap = count(units, first, last)
        if overlap >= 1 and (first, last - first + 1) != exclude:
            found.append((first, last, overlap))
    found.sort(key=lambda one: (-one[2], -(one[1] - one[0]), one[0]))
    ranked = [(first, last, overlap, count(others, first, last)) for first, last, overlap in found[:candidates]]
    ranked.sort(key=lambda one: (-one[2], one[3], -(one[1] - one[0]), one[0]))
    rows = [(first, last - first + 1, overlap, rest) for first, last, overlap, rest in ranked[:limit]]
    return rows, len(ranked)

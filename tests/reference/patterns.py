"""Selections and matches one step and one cell at a time, on plain lists of levels."""


def is_on(value, level, direction):
    """Whether a cell of this level is on."""
    return value >= level if direction == "above" else value <= -level


def selected(rows, level, before, after, direction):
    """rows: one list of levels per step -> one bool per cell."""
    chosen = []
    for cell in range(len(rows[0])):
        wanted = [before <= step < len(rows) - after for step in range(len(rows))]
        chosen.append(all(is_on(row[cell], level, direction) == want for row, want in zip(rows, wanted)))
    return chosen


def matches(cell, first, last, level, left, right, direction):
    """cell: its levels, one per step -> whether it matches the steps `first` to `last`."""
    for step in range(first - left, last + right + 1):
        on = 0 <= step < len(cell) and is_on(cell[step], level, direction)
        if on != (first <= step <= last):
            return False
    return True


def candidate_ranges(cells, level, minimum_length, direction):
    """The (first, last) of ranges that begin where a cell turns on and end where the run of a cell that is on does."""
    steps, found = len(cells[0]), set()
    on = [[is_on(value, level, direction) for value in cell] for cell in cells]
    for first in range(steps):
        if not any(cell[first] and (first == 0 or not cell[first - 1]) for cell in on):
            continue
        for cell in on:
            last = first
            while last < steps and cell[last]:
                last += 1
            if last - first >= minimum_length:
                found.add((first, last - 1))
    return found


def find_matches(cells, level, left, right, minimum_length, limit, candidates, direction, others=(), exclude=None):
    """cells and others: one list of levels per cell -> the best (start, length, overlap, others, matching), and how
    many ranges were ranked."""

    def count(some, first, last):
        return sum(matches(cell, first, last, level, left, right, direction) for cell in some)

    found = []
    for first, last in candidate_ranges(cells, level, minimum_length, direction):
        overlap = count(cells, first, last)
        if overlap >= 1 and (first, last - first + 1) != exclude:
            found.append((first, last, overlap))
    found.sort(key=lambda one: (-one[2], -(one[1] - one[0]), one[0]))
    ranked = [(first, last, overlap, count(others, first, last)) for first, last, overlap in found[:candidates]]
    ranked.sort(key=lambda one: (-one[2], one[3], -(one[1] - one[0]), one[0]))
    rows = []
    for first, last, overlap, rest in ranked[:limit]:
        matching = [matches(cell, first, last, level, left, right, direction) for cell in cells]
        rows.append((first, last - first + 1, overlap, rest, matching))
    return rows, len(ranked)

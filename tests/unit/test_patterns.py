"""Selections and matches against their slow twin, with few levels so that ties, runs and coincidences are frequent."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import patterns as twin

from fairseq_bso.core import patterns

LEVEL = 30
values = st.sampled_from([-128, -80, -30, -29, 0, 29, 30, 31, 90])


@st.composite
def corpora(draw, most_cells=6, most_steps=30):
    """(cells, others): lists of levels, all of the same number of steps. Each cell repeats some of its levels."""
    steps = draw(st.integers(1, most_steps))

    def cell():
        found = []
        while len(found) < steps:
            found += [draw(values)] * draw(st.integers(1, 4))
        return found[:steps]

    return [cell() for _ in range(draw(st.integers(1, most_cells)))], [cell() for _ in range(draw(st.integers(0, 3)))]


queries = st.fixed_dictionaries(
    {
        "left": st.integers(0, 3),
        "right": st.integers(0, 3),
        "minimum_length": st.integers(1, 4),
        "limit": st.integers(1, 12),
        "candidates": st.integers(1, 15),
        "direction": st.sampled_from(patterns.DIRECTIONS),
    }
)


def tensor(cells):
    return torch.tensor(cells, dtype=torch.int8)


def view(cells, others):
    """All cells as columns, the selected ones between the others."""
    order = others[:1] + cells + others[1:]
    columns = [place for place in range(len(order)) if place < len(others[:1]) or place >= len(others[:1]) + len(cells)]
    return patterns.OtherCells(tensor(order).t().contiguous(), torch.tensor(columns, dtype=torch.long))


def rows_of(found):
    lists = [part.tolist() for part in found[:5]]
    return list(zip(*lists))


@settings(max_examples=1000, deadline=None)
@given(drawn=corpora(), query=queries, with_own=st.booleans(), data=st.data())
def test_matches_equal_the_twin(drawn, query, with_own, data):
    cells, others = drawn
    exclude = None
    if not with_own:
        ranges, _ = twin.find_matches(cells, LEVEL, **{**query, "limit": 99, "candidates": 999})
        exclude = data.draw(st.sampled_from([row[:2] for row in ranges] + [(0, 99)]))
    expected, ranked = twin.find_matches(cells, LEVEL, **query, others=others, exclude=exclude)
    found = patterns.find_matches(tensor(cells), LEVEL, **query, others=view(cells, others), exclude=exclude)
    assert rows_of(found) == expected
    assert found.candidates == ranked


@settings(max_examples=300, deadline=None)
@given(
    drawn=corpora(), edge=st.tuples(st.integers(0, 3), st.integers(0, 3)), direction=st.sampled_from(["above", "below"])
)
def test_selections_equal_the_twin(drawn, edge, direction):
    rows = list(map(list, zip(*drawn[0])))
    before, after = edge
    if before + after >= len(rows):
        before = after = 0
    found = patterns.selected_cells(tensor(rows), LEVEL, before, after, direction)
    assert found.tolist() == twin.selected(rows, LEVEL, before, after, direction)

"""Selections and matches against their slow twin, with few levels so that ties, runs and coincidences are frequent."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import patterns as twin

from fairseq_bso.interpret.units import block_counts, patterns

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


@settings(max_examples=300, deadline=None)
@given(drawn=corpora(), query=queries, place=st.data())
def test_cells_of_a_range_lead_back_to_it(drawn, query, place):
    cells = tensor(drawn[0])
    left, right, length = max(1, query["left"]), query["right"], query["minimum_length"]
    if length > cells.size(1):
        return
    start = place.draw(st.integers(0, cells.size(1) - length))
    first, stop = max(0, start - left), min(cells.size(1), start + length + right)
    after = stop - start - length
    chosen = patterns.selected_cells(cells[:, first:stop].t(), LEVEL, start - first, after, query["direction"])
    found = patterns.find_matches(
        cells[chosen], LEVEL, left, right, length, 999, direction=query["direction"], others=None
    )
    if not chosen.any():
        assert not found.starts.numel() and found.matching.shape == (0, 0)
        return
    # If nothing is asked of the steps after, the range goes on for as long as all of the cells are on.
    own = [
        (begin, size) for begin, size, overlap in zip(*(part.tolist() for part in found[:3])) if overlap == chosen.sum()
    ]
    assert any(begin == start and (size == length if right else size >= length) for begin, size in own)


@settings(max_examples=200, deadline=None)
@given(drawn=corpora(), query=queries)
def test_what_does_not_change_the_answer_and_what_only_takes_away(drawn, query):
    cells, others = drawn
    whole = patterns.find_matches(tensor(cells), LEVEL, **{**query, "limit": 999}, others=view(cells, others))
    found = patterns.find_matches(tensor(cells), LEVEL, **query, others=view(cells, others))
    assert rows_of(found) == rows_of(whole)[: query["limit"]]
    assert found.overlap.tolist() == found.matching.sum(1).tolist()
    # Nothing but the places changes where steps without any cell come before and after.
    quiet = [0] * 4
    moved = [quiet + cell + quiet for cell in cells]
    later = patterns.find_matches(tensor(moved), LEVEL, **query)
    alone = patterns.find_matches(tensor(cells), LEVEL, **query)
    assert (later.starts - 4).tolist() == alone.starts.tolist() and later.lengths.tolist() == alone.lengths.tolist()
    # Whoever matches under constraints does so under weaker ones.
    for start, length, _, _, matching in rows_of(found):
        for cell, did in zip(cells, matching):
            if did:
                weaker = twin.matches(
                    cell, start, start + length - 1, LEVEL, query["left"] // 2, query["right"] // 2, query["direction"]
                )
                assert weaker
    # Below is above of the negative.
    if not any(-128 in cell for cell in cells):
        other = "below" if query["direction"] == "above" else "above"
        turned = patterns.find_matches(-tensor(cells), LEVEL, **{**query, "direction": other})
        assert rows_of(turned) == rows_of(alone)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    left=st.integers(0, 3),
    right=st.integers(0, 70),
    block=st.sampled_from([1, 300, 1 << 20]),
)
def test_others_of_long_ranges_equal_the_twin(seed, left, right, block):
    generator = torch.Generator().manual_seed(seed)
    length = 400
    lasting = torch.rand(length, 12, generator=generator) < 0.01  # (T, C) where a cell changes
    rows = (lasting.cumsum(0) % 2 * 60).to(torch.int8)
    starts = torch.randint(0, length - 1, (30,), generator=generator)
    lengths = (torch.rand(30, generator=generator) * (length - starts)).long().clamp(min=1)
    columns = torch.tensor([11, 2, 3, 7])
    expected = [
        sum(
            twin.matches(rows[:, cell].tolist(), s, s + n - 1, LEVEL, left, right, "above") for cell in columns.tolist()
        )
        for s, n in zip(starts.tolist(), lengths.tolist())
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_counts, "_BLOCK", block)
        cells = patterns.OtherCells(rows, columns)
        found = block_counts.count_others(cells, lambda levels: levels >= LEVEL, starts, lengths, left, right, length)
        assert found.tolist() == expected


def test_a_traced_example():
    """A and B are selected at steps 1 to 2, off before and after; O is the other cell.

    step  0 1 2 3 4 5 6 7 8 9 10 11
    A     . # # . . # # # . #  #  .
    B     . # # . . # # . . #  #  #
    O     . . . . . # # . . .  .  .

    One step off before, anything after: A or B turns on at 1, 5 and 9. From 1 both end at 2. From 5, B ends at 6, where
    A is still on: both match 5-6; A alone matches 5-7. From 9, A ends at 10, where B is still on: both match 9-10; B
    alone matches 9-11. Of the three ranges that both match, O matches 5-6, which is therefore the last of them. Then
    come the two that one of them matches, equally long, the earlier first.

    One step off after as well: both match 1-2 alone. One matches 5-7 (A), 9-11 (B), 9-10 (A), 5-6 (B), in this order:
    5-6 is matched by O too, and 9-10 is shorter than the first two.
    """
    lines = [". # # . . # # # . # # .", ". # # . . # # . . # # #", ". . . . . # # . . . . ."]
    rows = tensor([[50 if sign == "#" else 10 for sign in line.split()] for line in lines]).t().contiguous()
    assert patterns.selected_cells(rows[0:4], LEVEL, 1, 1).tolist() == [True, True, False]
    others = patterns.OtherCells(rows, torch.tensor([2]))
    cells = rows[:, :2].t()
    found = patterns.find_matches(cells, LEVEL, 1, 0, others=others)
    ranges = [(start, start + length - 1) for start, length in zip(found.starts.tolist(), found.lengths.tolist())]
    assert ranges == [(1, 2), (9, 10), (5, 6), (5, 7), (9, 11)]
    assert (found.overlap.tolist(), found.others.tolist()) == ([2, 2, 2, 1, 1], [0, 0, 1, 0, 0])
    found = patterns.find_matches(cells, LEVEL, 1, 1, others=others)
    ranges = [(start, start + length - 1) for start, length in zip(found.starts.tolist(), found.lengths.tolist())]
    assert ranges == [(1, 2), (5, 7), (9, 11), (9, 10), (5, 6)]
    assert (found.overlap.tolist(), found.others.tolist()) == ([2, 1, 1, 1, 1], [0, 0, 0, 0, 1])
    own = patterns.find_matches(cells, LEVEL, 1, 1, others=others, exclude=(1, 2))
    assert own.starts.tolist() == [5, 9, 9, 5] and own.candidates == 4


def test_no_steps_and_no_cells_have_no_matches():
    for shape in ((0, 5), (3, 0)):
        found = patterns.find_matches(torch.zeros(shape, dtype=torch.int8), LEVEL, 1, 0)
        assert found.candidates == 0 and found.matching.shape == (0, shape[0])


CELLS = torch.zeros(2, 4, dtype=torch.int8)
FULL = torch.full((2, 4), 50, dtype=torch.int8)


@pytest.mark.parametrize(
    "act, message",
    [
        (lambda: patterns.find_matches(CELLS, 0, 1, 0), "level is 0, but must be from 1 .* to 127"),
        (lambda: patterns.find_matches(CELLS, 128, 1, 0), "level is 128"),
        (lambda: patterns.find_matches(CELLS, 30, -1, 0), "off at -1 steps before the range"),
        (lambda: patterns.find_matches(CELLS, 30, 0, -2), "off at -2 steps after the range"),
        (lambda: patterns.find_matches(CELLS, 30, 1, 0, 0), "minimum length of a match is 0, but must be 1"),
        (lambda: patterns.find_matches(CELLS, 30, 1, 0, limit=0), "limit is 0, but must be 1 or more"),
        (lambda: patterns.find_matches(CELLS, 30, 1, 0, candidates=0), "candidates is 0, but must be 1 or more"),
        (lambda: patterns.find_matches(CELLS, 30, 1, 0, direction="up"), "'up'; choose from: above, below"),
        (lambda: patterns.find_matches(CELLS.float(), 30, 1, 0), "torch.float32 of shape .2, 4., but"),
        (lambda: patterns.find_matches(CELLS[0], 30, 1, 0), "shape .4,., but must be torch.int8 of 2 axes"),
        (
            lambda: patterns.find_matches(FULL, 30, 1, 0, others=patterns.OtherCells(CELLS[:, :3].t())),
            "other cells are torch.int8 of shape .3, 2., .* of 4 steps or more",
        ),
        (
            lambda: patterns.find_matches(FULL, 30, 1, 0, others=patterns.OtherCells(FULL.t(), torch.tensor([1, 2]))),
            "columns 1 to 2, but must be from 0 to 1",
        ),
        (lambda: patterns.selected_cells(CELLS, 30, 1, 1), "2 rows with 1 before and 1 after .* leave 0"),
        (lambda: patterns.selected_cells(CELLS, 30, -1, 0), "off at -1 steps before"),
        (lambda: patterns.selected_cells(CELLS.int(), 30, 0, 0), "rows are torch.int32"),
    ],
)
def test_bad_arguments_are_refused_with_what_is_allowed(act, message):
    with pytest.raises(ValueError, match=message):
        act()

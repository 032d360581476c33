"""Selections and matches, compared with their reference. Levels are few so that ties and coincidences are frequent."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import patterns as twin

from fairseq_bso.interpret.units import block_counts, patterns

LEVEL = 30
LEVELS = (0, -128, -80, -30, -29, 29, 30, 31, 90)


@st.composite
def corpora(draw, most_units=6, most_steps=30):
    """(units, others): lists of levels of the same number of steps. Each unit repeats some of its levels."""
    steps = draw(st.integers(1, most_steps))

    def unit():
        """One draw of bytes: of each, a level and how often it comes. Two draws for each level would take longer."""
        found = []
        for byte in draw(st.binary(min_size=steps, max_size=steps)):
            found += [LEVELS[byte % len(LEVELS)]] * (1 + byte // len(LEVELS) % 4)
        return found[:steps]

    return [unit() for _ in range(draw(st.integers(1, most_units)))], [unit() for _ in range(draw(st.integers(0, 3)))]


rules = {
    "left": st.integers(0, 3),
    "right": st.integers(0, 3),
    "minimum_length": st.integers(1, 4),
    "direction": st.sampled_from(patterns.DIRECTIONS),
}
limits = {"limit": st.integers(1, 12), "candidates": st.integers(1, 15)}
queries = st.fixed_dictionaries({**rules, **limits})


def unit_query(left=1, right=0, minimum_length=2, direction="above", level=LEVEL):
    return patterns.UnitQuery(level, left, right, minimum_length, direction)


def find(units, query=None, others=None, exclude=None, limit=50, candidates=10_000):
    """`find_matches` with the fields of a query and the limits in one dictionary."""
    fields = {"limit": limit, "candidates": candidates, **(query or {})}
    limits = [fields.pop("limit"), fields.pop("candidates")]
    return patterns.find_matches(units, unit_query(**fields), *limits, others, exclude)


def matrix(units):
    return numpy.array(units, dtype=numpy.int8)


def view(units, others):
    """All units as columns; the selected units are between the others."""
    order = others[:1] + units + others[1:]
    columns = [place for place in range(len(order)) if place < len(others[:1]) or place >= len(others[:1]) + len(units)]
    return patterns.OtherUnits(numpy.ascontiguousarray(matrix(order).T), numpy.array(columns, dtype=numpy.int64))


def rows_of(found):
    lists = [part.tolist() for part in found[:4]]
    return list(zip(*lists))


@settings(max_examples=1000, deadline=None)
@given(drawn=corpora(), query=queries, with_own=st.booleans(), data=st.data())
def test_matches_equal_the_twin(drawn, query, with_own, data):
    units, others = drawn
    exclude = None
    if not with_own:
        ranges, _ = twin.find_matches(units, LEVEL, **{**query, "limit": 99, "candidates": 999})
        exclude = data.draw(st.sampled_from([row[:2] for row in ranges] + [(0, 99)]))
    expected, ranked = twin.find_matches(units, LEVEL, **query, others=others, exclude=exclude)
    found = find(matrix(units), query, view(units, others), exclude)
    assert rows_of(found) == expected
    assert found.candidates == ranked


@settings(max_examples=300, deadline=None)
@given(drawn=corpora(), query=st.fixed_dictionaries(rules), data=st.data())
def test_selections_equal_the_twin(drawn, query, data):
    units, _ = drawn
    first = data.draw(st.integers(0, len(units[0]) - 1))
    last = data.draw(st.integers(first, len(units[0]) - 1))
    found = patterns.selected_units(matrix(units).T, unit_query(**query), first, last)
    rule = query["left"], query["right"], query["direction"]
    assert found.tolist() == [twin.matches(unit, first, last, LEVEL, *rule) for unit in units]


@settings(max_examples=300, deadline=None)
@given(drawn=corpora(), query=queries, place=st.data())
def test_units_of_a_range_lead_back_to_it(drawn, query, place):
    units = matrix(drawn[0])
    query = {**query, "left": max(1, query["left"]), "limit": 999, "candidates": 10_000}
    length = query["minimum_length"]
    if length > units.shape[1]:
        return
    start = place.draw(st.integers(0, units.shape[1] - length))
    rule = {name: value for name, value in query.items() if name in rules}
    chosen = patterns.selected_units(units.T, unit_query(**rule), start, start + length - 1)
    found = find(units[chosen], query)
    if not chosen.any():
        assert not len(found.starts)
        return
    # Without a condition after the range, it goes on for as long as all of the units are on.
    own = [
        (begin, size) for begin, size, overlap in zip(*(part.tolist() for part in found[:3])) if overlap == chosen.sum()
    ]
    right = query["right"]
    assert any(begin == start and (size == length if right else size >= length) for begin, size in own)


@settings(max_examples=200, deadline=None)
@given(drawn=corpora(), query=queries)
def test_limits_shifts_and_signs_keep_the_answer(drawn, query):
    units, others = drawn
    whole = find(matrix(units), {**query, "limit": 999}, view(units, others))
    found = find(matrix(units), query, view(units, others))
    assert rows_of(found) == rows_of(whole)[: query["limit"]]
    # Only the places change if steps without any active unit come before and after.
    quiet = [0] * 4
    moved = [quiet + unit + quiet for unit in units]
    later, alone = find(matrix(moved), query), find(matrix(units), query)
    assert (later.starts - 4).tolist() == alone.starts.tolist() and later.lengths.tolist() == alone.lengths.tolist()
    # "below" on levels equals "above" on the negative levels.
    if not any(-128 in unit for unit in units):
        other = "below" if query["direction"] == "above" else "above"
        turned = find(-matrix(units), {**query, "direction": other})
        assert rows_of(turned) == rows_of(alone)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    left=st.integers(0, 3),
    right=st.integers(0, 70),
    block=st.sampled_from([1, 300, 1 << 20]),
)
def test_others_of_long_ranges_equal_the_twin(seed, left, right, block):
    generator = numpy.random.default_rng(seed)
    length = 400
    lasting = generator.random((length, 12)) < 0.01  # (T, C) where a unit changes
    rows = (lasting.cumsum(0) % 2 * 60).astype(numpy.int8)
    starts = generator.integers(0, length - 1, 30)
    lengths = numpy.maximum(1, (generator.random(30) * (length - starts)).astype(numpy.int64))
    columns = numpy.array([11, 2, 3, 7])
    expected = [
        sum(
            twin.matches(rows[:, unit].tolist(), s, s + n - 1, LEVEL, left, right, "above") for unit in columns.tolist()
        )
        for s, n in zip(starts.tolist(), lengths.tolist())
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_counts, "_BLOCK", block)
        units = patterns.OtherUnits(rows, columns)
        found = block_counts.count_others(units, unit_query(left, right), starts, lengths, length)
        assert found.tolist() == expected


def test_a_traced_example():
    """A and B are selected at steps 1 to 2, off before and after; O is the other unit.

    step  0 1 2 3 4 5 6 7 8 9 10 11
    A     . # # . . # # # . #  #  .
    B     . # # . . # # . . #  #  #
    O     . . . . . # # . . .  .  .

    First query, one step off before and anything after: A or B turns on at 1, 5 and 9. From 1, both end at 2. From 5, B
    ends at 6, where A is still on: both match 5-6, and A alone matches 5-7. From 9, A ends at 10, where B is still on:
    both match 9-10, and B alone matches 9-11. Both match three ranges; O also matches 5-6, which is therefore the last
    of the three. The two ranges with one match follow. They are equally long, so the earlier one is first.

    Second query, one step off after as well: both match only 1-2. One unit matches 5-7 (A), 9-11 (B), 9-10 (A) and
    5-6 (B), in this order: 9-10 is shorter than the first two, and O also matches 5-6.
    """
    lines = [". # # . . # # # . # # .", ". # # . . # # . . # # #", ". . . . . # # . . . . ."]
    rows = matrix([[50 if sign == "#" else 10 for sign in line.split()] for line in lines]).T
    assert patterns.selected_units(rows, unit_query(1, 1), 1, 2).tolist() == [True, True, False]
    others = patterns.OtherUnits(rows, numpy.array([2]))
    units = rows[:, :2].T
    found = find(units, {"left": 1, "right": 0}, others)
    ranges = [(start, start + length - 1) for start, length in zip(found.starts.tolist(), found.lengths.tolist())]
    assert ranges == [(1, 2), (9, 10), (5, 6), (5, 7), (9, 11)]
    assert (found.overlap.tolist(), found.others.tolist()) == ([2, 2, 2, 1, 1], [0, 0, 1, 0, 0])
    found = find(units, {"left": 1, "right": 1}, others)
    ranges = [(start, start + length - 1) for start, length in zip(found.starts.tolist(), found.lengths.tolist())]
    assert ranges == [(1, 2), (5, 7), (9, 11), (9, 10), (5, 6)]
    assert (found.overlap.tolist(), found.others.tolist()) == ([2, 1, 1, 1, 1], [0, 0, 0, 0, 1])
    own = find(units, {"left": 1, "right": 1}, others, exclude=(1, 2))
    assert own.starts.tolist() == [5, 9, 9, 5] and own.candidates == 4


def test_no_steps_and_no_units_have_no_matches():
    for shape in ((0, 5), (3, 0)):
        found = find(numpy.zeros(shape, dtype=numpy.int8))
        assert found.candidates == 0 and not len(found.starts)


UNITS = numpy.zeros((2, 4), dtype=numpy.int8)
FULL = numpy.full((2, 4), 50, dtype=numpy.int8)


@pytest.mark.parametrize(
    "act, message",
    [
        (lambda: unit_query(level=0), "level is 0, but must be from 1 .* to 127"),
        (lambda: unit_query(level=128), "level is 128"),
        (lambda: unit_query(left=-1), "off at -1 steps before the range"),
        (lambda: unit_query(right=-2), "off at -2 steps after the range"),
        (lambda: unit_query(minimum_length=0), "minimum length of a match is 0, but must be 1"),
        (lambda: unit_query(direction="up"), "'up'; choose from: above, below"),
        (lambda: find(UNITS, limit=0), "limit is 0, but must be 1 or more"),
        (lambda: find(UNITS, candidates=0), "candidates is 0, but must be 1 or more"),
        (lambda: find(UNITS.astype("f")), "float32 of shape .2, 4., but"),
        (lambda: find(UNITS[0]), "shape .4,., but must be int8 of 2 axes"),
        (
            lambda: find(FULL, others=patterns.OtherUnits(UNITS[:, :3].T)),
            "other units are int8 of shape .3, 2., .* of 4 steps or more",
        ),
        (
            lambda: find(FULL, others=patterns.OtherUnits(FULL.T, numpy.array([1, 2]))),
            "columns 1 to 2, but must be from 0 to 1",
        ),
        (lambda: patterns.selected_units(UNITS, unit_query(), 1, 2), "from 1 to 2, but must be within 0 to 1"),
        (lambda: patterns.selected_units(UNITS, unit_query(), 1, 0), "from 1 to 0, but must be within 0 to 1"),
        (lambda: patterns.selected_units(UNITS.astype(int), unit_query(), 0, 0), "levels are int64"),
    ],
)
def test_bad_arguments_are_refused_with_what_is_allowed(act, message):
    with pytest.raises(ValueError, match=message):
        act()

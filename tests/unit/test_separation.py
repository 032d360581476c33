"""Statistics of cells against their slow twin, with few levels and values so that ties are frequent."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import separation as twin

from fairseq_bso.core import cell_ranking, separation

levels = st.sampled_from([-127, -40, -1, 0, 1, 40, 41, 127])


@st.composite
def corpora(draw, values):
    """(cells, track): lists of levels of the same number of steps, and a value, or None, for each step."""
    steps = draw(st.integers(2, 30))
    cell = st.lists(levels, min_size=steps, max_size=steps)
    track = draw(st.lists(values, min_size=steps, max_size=steps))
    assume(len(set(track) - {None}) >= 2)
    return draw(st.lists(cell, min_size=1, max_size=6)), track


labels = st.sampled_from([0, 1, 3, None])
numbers = st.sampled_from([0.0, 1.0, 2.5, 4.0, None])


def tensors(cells, track, row_major=False):
    """Codes, or numbers if any is one."""
    if any(isinstance(value, float) for value in track):
        values = torch.tensor([math.nan if value is None else value for value in track])
    else:
        values = torch.tensor([-2 if value is None else value for value in track])
    found = torch.tensor(cells, dtype=torch.int8)
    return (found.t().contiguous().t() if row_major else found), values


def labelled(cells, track):
    """The same without the steps that have no value."""
    kept = [step for step, value in enumerate(track) if value is not None]
    return [[cell[step] for step in kept] for cell in cells], [track[step] for step in kept]


def close(found, expected):
    assert found.tolist() == pytest.approx([float(one) for one in expected], abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(drawn=corpora(labels), row_major=st.booleans())
def test_histograms_and_what_comes_from_them_equal_the_twin(drawn, row_major):
    histogram = separation.joint_histogram(*tensors(*drawn, row_major))
    cells, codes = labelled(*drawn)
    assert histogram.tolist() == [twin.histogram(cell, codes, max(codes) + 1) for cell in cells]
    close(separation.correlation_ratio(histogram), [twin.correlation_ratio(cell, codes) for cell in cells])
    for label in set(codes):
        expected = [twin.area_under_curve(cell, codes, label) for cell in cells]
        assert separation.area_under_curve(histogram, label).tolist() == [float(one) for one in expected]


@settings(max_examples=100, deadline=None)
@given(drawn=corpora(labels), measure=st.sampled_from(separation.THRESHOLD_MEASURES), as_query=st.booleans())
def test_thresholds_are_the_best_and_do_what_they_say(drawn, measure, as_query):
    histogram = separation.joint_histogram(*tensors(*drawn))
    cells, codes = labelled(*drawn)
    label = codes[0]
    found = separation.best_thresholds(histogram, label, measure, as_query)
    close(getattr(found, measure), [twin.best_threshold(cell, codes, label, measure, as_query) for cell in cells])
    for place, cell in enumerate(cells):
        cut, above = int(found.cuts[place]), bool(found.above[place])
        assert not as_query or (cut >= 1 if above else cut <= -1)
        for name, value in twin.measures(cell, codes, label, cut, above).items():
            assert float(getattr(found, name)[place]) == pytest.approx(float(value))


@settings(max_examples=200, deadline=None)
@given(drawn=corpora(numbers), row_major=st.booleans(), width=st.sampled_from([1, 2, 5, 41, 255]))
def test_correlation_and_prediction_equal_the_twin(drawn, row_major, width):
    assume(any(isinstance(value, float) for value in drawn[1]))
    tensor, values = tensors(*drawn, row_major)
    cells, wanted = labelled(*drawn)
    expected = [twin.correlation(cell, wanted) for cell in cells]
    close(cell_ranking.cell_values(tensor, values, "correlation"), expected)
    found = cell_ranking.predict_number(tensor[0], values, width)
    assert found.correlation == pytest.approx(expected[0], abs=1e-9)
    parts = [found.error, found.exact, found.error_of_mean, found.exact_of_mean]
    assert parts == pytest.approx(twin.predict(cells[0], wanted, width))


def twin_score(criterion, label):
    """What a cell is ranked by, of lists of levels and values."""

    def score(cell, values):
        if criterion == "correlation":
            return abs(twin.correlation(cell, values))
        if criterion == "correlation_ratio":
            return float(twin.correlation_ratio(cell, values))
        if criterion == "area_under_curve":
            area = twin.area_under_curve(cell, values, label)
            return float(max(area, 1 - area))
        return float(twin.best_threshold(cell, values, label, criterion, False))

    return score


@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("criterion", cell_ranking.LABEL_CRITERIA + cell_ranking.NUMBER_CRITERIA)
@given(data=st.data())
def test_ranking_and_control_equal_the_twin(criterion, data):
    number = criterion == "correlation"
    cells, track = data.draw(corpora(numbers if number else labels))
    given_cells, values = tensors(cells, track)
    some, wanted = labelled(cells, track)
    label = None if number or criterion == "correlation_ratio" else wanted[0]
    score = twin_score(criterion, label)
    scores = [score(cell, wanted) for cell in some]
    ranking = cell_ranking.rank_cells(given_cells, values, criterion, label, limit=4)
    close(ranking.scores, sorted(scores, reverse=True)[:4])
    close(ranking.scores, [scores[cell] for cell in ranking.cells.tolist()])
    assert len(set(ranking.cells.tolist())) == min(4, len(cells))
    control = cell_ranking.shuffled_control(given_cells, values, criterion, label, repeats=2, seed=3)
    kept = [value is not None for value in track]
    close(control.best, [twin.best_of_shifted(score, cells, track, kept, shift) for shift in control.shifts.tolist()])
    again = cell_ranking.shuffled_control(given_cells, values, criterion, label, repeats=2, seed=3)
    assert again.shifts.tolist() == control.shifts.tolist()

"""Statistics of units, compared with their reference. Levels and values are few so that ties are frequent."""

import math

import numpy
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import separation as twin

from fairseq_bso.interpret.units import criteria, prediction, ranking, statistics

levels = st.sampled_from([-127, -40, -1, 0, 1, 40, 41, 127])


@st.composite
def corpora(draw, values):
    """(units, track): lists of levels of the same number of steps, and a value or None for each step."""
    steps = draw(st.integers(2, 30))
    unit = st.lists(levels, min_size=steps, max_size=steps)
    track = draw(st.lists(values, min_size=steps, max_size=steps))
    assume(len(set(track) - {None}) >= 2)
    return draw(st.lists(unit, min_size=1, max_size=6)), track


labels = st.sampled_from([0, 1, 3, None])
numbers = st.sampled_from([0.0, 1.0, 2.5, 4.0, None])


def arrays(units, track, row_major=False):
    """Levels (C, T) and track (T,). The track holds codes, or numbers if any value is a number."""
    if any(isinstance(value, float) for value in track):
        values = numpy.array([math.nan if value is None else value for value in track], dtype=numpy.float32)
    else:
        values = numpy.array([-2 if value is None else value for value in track])
    found = numpy.array(units, dtype=numpy.int8)
    return (numpy.asfortranarray(found) if row_major else found), values


def labelled(units, track):
    """Units and track without the steps that have no value."""
    kept = [step for step, value in enumerate(track) if value is not None]
    return [[unit[step] for step in kept] for unit in units], [track[step] for step in kept]


def close(found, expected):
    assert found.tolist() == pytest.approx([float(one) for one in expected], abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(drawn=corpora(labels), row_major=st.booleans())
def test_histograms_and_what_comes_from_them_equal_the_twin(drawn, row_major):
    histogram = statistics.joint_histogram(*arrays(*drawn, row_major))
    units, codes = labelled(*drawn)
    assert histogram.tolist() == [twin.histogram(unit, codes, max(codes) + 1) for unit in units]
    close(statistics.correlation_ratio(histogram), [twin.correlation_ratio(unit, codes) for unit in units])
    for label in set(codes):
        expected = [twin.area_under_curve(unit, codes, label) for unit in units]
        assert statistics.area_under_curve(histogram, label).tolist() == [float(one) for one in expected]


@settings(max_examples=100, deadline=None)
@given(drawn=corpora(labels), measure=st.sampled_from(statistics.THRESHOLD_MEASURES), as_query=st.booleans())
def test_thresholds_are_the_best_and_do_what_they_say(drawn, measure, as_query):
    histogram = statistics.joint_histogram(*arrays(*drawn))
    units, codes = labelled(*drawn)
    label = codes[0]
    found = statistics.best_thresholds(histogram, label, measure, as_query)
    close(getattr(found, measure), [twin.best_threshold(unit, codes, label, measure, as_query) for unit in units])
    for place, unit in enumerate(units):
        cut, above = int(found.cuts[place]), bool(found.above[place])
        assert not as_query or (cut >= 1 if above else cut <= -1)
        for name, value in twin.measures(unit, codes, label, cut, above).items():
            assert float(getattr(found, name)[place]) == pytest.approx(float(value))


@settings(max_examples=200, deadline=None)
@given(drawn=corpora(numbers), row_major=st.booleans(), width=st.sampled_from([1, 2, 5, 41, 255]))
def test_correlation_and_prediction_equal_the_twin(drawn, row_major, width):
    assume(any(isinstance(value, float) for value in drawn[1]))
    given_units, values = arrays(*drawn, row_major)
    units, wanted = labelled(*drawn)
    expected = [twin.correlation(unit, wanted) for unit in units]
    close(criteria.unit_values(given_units, values, "correlation"), expected)
    found = prediction.predict_number(given_units[0], values, width)
    assert found.correlation == pytest.approx(expected[0], abs=1e-9)
    parts = [found.error, found.exact, found.error_of_mean, found.exact_of_mean]
    assert parts == pytest.approx(twin.predict(units[0], wanted, width))


def twin_score(criterion, label):
    """The reference score of a unit, as a function of lists of levels and values."""

    def score(unit, values):
        if criterion == "correlation":
            return abs(twin.correlation(unit, values))
        if criterion == "correlation_ratio":
            return float(twin.correlation_ratio(unit, values))
        if criterion == "area_under_curve":
            area = twin.area_under_curve(unit, values, label)
            return float(max(area, 1 - area))
        return float(twin.best_threshold(unit, values, label, criterion, False))

    return score


@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("criterion", criteria.LABEL_CRITERIA + criteria.NUMBER_CRITERIA)
@given(data=st.data())
def test_ranking_and_control_equal_the_twin(criterion, data):
    number = criterion == "correlation"
    units, track = data.draw(corpora(numbers if number else labels))
    given_units, values = arrays(units, track)
    some, wanted = labelled(units, track)
    label = None if number or criterion == "correlation_ratio" else wanted[0]
    score = twin_score(criterion, label)
    scores = [score(unit, wanted) for unit in some]
    found = ranking.rank_units(given_units, values, criterion, label, limit=4)
    close(found.scores, sorted(scores, reverse=True)[:4])
    close(found.scores, [scores[unit] for unit in found.units.tolist()])
    assert len(set(found.units.tolist())) == min(4, len(units))
    control = ranking.shuffled_control(given_units, values, criterion, label, repeats=4, seed=3)
    kept = [value is not None for value in track]
    close(control.best, [twin.best_of_shifted(score, units, track, kept, shift) for shift in control.shifts.tolist()])
    again = ranking.shuffled_control(given_units, values, criterion, label, repeats=4, seed=3)
    assert again.shifts.tolist() == control.shifts.tolist()


def test_a_traced_example():
    """There are two units and six steps; the last step has no label.

    step     0   1   2   3   4   5
    label    1   1   0   0   0   -
    unit 0  60  20  20   0   0  99
    unit 1   0  -9  50  50   0  99

    Unit 0 has six pairs of label 1 against 0: 60 wins three, 20 wins two and ties one, which gives 5.5 / 6.
    The threshold "at least 20" is right at both steps with the label and at two of three without: (1 + 2/3) / 2. The
    threshold "at least 60" is right at one of two and at three of three: (1/2 + 1) / 2.
    F1 is 2 * 2 / (2 + 1 + 2) for the first threshold and 2 * 1 / (1 + 0 + 2) for the second.
    The means of the labels are 40 and 20 / 3, the mean of all steps is 20. The sum of squares between labels is
    2 * 20^2 + 3 * (40 / 3)^2 = 1333.3. The total sum of squares is 40^2 + 0 + 0 + 20^2 + 20^2 = 2400.
    In unit 1, 0 wins no pair and ties one, and -9 wins none, which gives 0.5 / 6: the unit is lower under the label.
    """
    units = numpy.array([[60, 20, 20, 0, 0, 99], [0, -9, 50, 50, 0, 99]], dtype=numpy.int8)
    codes = numpy.array([1, 1, 0, 0, 0, -1])
    histogram = statistics.joint_histogram(units, codes)
    close(statistics.area_under_curve(histogram, 1), [5.5 / 6, 0.5 / 6])
    assert statistics.correlation_ratio(histogram)[0].item() == pytest.approx(4000 / 3 / 2400)
    found = statistics.best_thresholds(histogram, 1)
    assert (found.cuts.tolist(), found.above.tolist()) == ([1, 0], [True, False])
    assert found.balanced_accuracy[0].item() == pytest.approx(5 / 6) and found.f1[0].item() == pytest.approx(0.8)
    found = ranking.rank_units(units, codes, "area_under_curve", 1)
    assert found.units.tolist() == [0, 1]
    close(found.scores, [5.5 / 6, 5.5 / 6])
    close(found.values, [5.5 / 6, 0.5 / 6])


@pytest.mark.parametrize(
    "values, label, criterion, chance",
    [
        ([0, 0, 1, 2, -1, 2], None, "correlation_ratio", 0),
        ([0, 0, 1, 2, -1, 2], 2, "area_under_curve", 0.5),
        ([0.0, 0.5, 1.0, 2.0, math.nan, 2.0], None, "correlation", 0),
    ],
)
def test_the_track_decides_the_criterion(values, label, criterion, chance):
    units = numpy.array([[0, 0, 5, 9, 9, 9], [3, 1, 4, 1, 5, 9]], dtype=numpy.int8)
    track = numpy.array(values)
    found = ranking.rank_for_track(units, track, label, 1, 4)
    assert (found.criterion, found.chance) == (criterion, chance)
    expected = ranking.rank_units(units, track, criterion, label, 1)
    assert found.ranking.units.tolist() == expected.units.tolist() and found.ranking.scores == expected.scores
    control = ranking.shuffled_control(units, track, criterion, label, 4)
    assert found.control.best.tolist() == control.best.tolist()


def test_what_is_counted_in_pieces_adds_up(monkeypatch):
    generator = numpy.random.default_rng(0)
    units = generator.integers(-127, 128, (9, 300), dtype=numpy.int8)
    codes = generator.integers(-1, 3, 300)
    numbers = generator.normal(size=300)
    whole = statistics.joint_histogram(units, codes), criteria.unit_values(units, numbers, "correlation")
    monkeypatch.setattr(statistics, "_STEPS", 64)
    monkeypatch.setattr(statistics, "_UNITS", 4)
    monkeypatch.setattr(statistics, "_CACHED", 10)
    numpy.testing.assert_array_equal(statistics.joint_histogram(units, codes), whole[0])
    close(criteria.unit_values(units, numbers, "correlation"), whole[1].tolist())


def test_a_unit_that_makes_the_track_is_far_above_the_control():
    generator = numpy.random.default_rng(0)
    depth = generator.integers(-1, 2, 3000).cumsum() % 9.0  # (T,) changes slowly like depth
    units = generator.integers(-90, 91, (20, 3000), dtype=numpy.int8)
    units[7] = 10 * depth
    found = ranking.rank_units(units, depth, "correlation", limit=3)
    control = ranking.shuffled_control(units, depth, "correlation")
    assert found.units[0] == 7 and found.scores[0].item() == pytest.approx(1)
    assert control.best.max() < 0.5 and control.best.shape == (20,)
    assert control.shifts.min() >= 300 and control.shifts.max() <= 2700
    predicted = prediction.predict_number(units[7], depth)
    assert (predicted.error, predicted.exact) == (0, 1) and predicted.error_of_mean > 1


def test_a_constant_unit_predicts_nothing():
    units = numpy.full((1, 4), 37, dtype=numpy.int8)
    codes = numpy.array([0, 1, 1, 0])
    assert criteria.unit_values(units, codes, "correlation_ratio").item() == 0
    assert criteria.unit_values(units, codes.astype(float), "correlation").item() == 0
    assert criteria.unit_values(units, codes, "area_under_curve", 1).item() == 0.5


LOWEST = numpy.full((2, 4), -128, dtype=numpy.int8)
UNITS, CODES = numpy.zeros((2, 4), dtype=numpy.int8), numpy.array([0, 1, 1, -1])


@pytest.mark.parametrize(
    "act, message",
    [
        (lambda: ranking.rank_units(UNITS, CODES[:3], "correlation_ratio"), "shape .3,., but .* 4 steps"),
        (lambda: ranking.rank_units(UNITS.astype(int), CODES, "correlation_ratio"), "int64 .* must be int8"),
        (lambda: ranking.rank_units(UNITS, CODES, "correlation"), "'correlation' for a track of labels; choose"),
        (lambda: ranking.rank_units(UNITS, CODES.astype(float), "f1", 1), "'f1' for a track of numbers; choose from"),
        (lambda: ranking.rank_units(UNITS, CODES, "f1", 7), "no step has label 7; those that occur are: 0, 1"),
        (lambda: ranking.rank_units(UNITS, CODES, "f1"), "no step has label None"),
        (lambda: ranking.rank_units(UNITS, CODES, "correlation_ratio", 1), "leave the label out"),
        (lambda: ranking.rank_units(UNITS, CODES, "f1", 1, 0), "limit is 0, but must be 1 or more"),
        (lambda: ranking.rank_units(UNITS, CODES * 0 + 5, "f1", 5), "the track is 5 at every step that has"),
        (lambda: ranking.rank_units(UNITS, CODES * 0 - 1, "f1", 5), "the track has no value"),
        (lambda: ranking.rank_units(UNITS, CODES + math.inf, "correlation"), "infinite"),
        (lambda: ranking.shuffled_control(UNITS, CODES * 0.0, "correlation"), "the track is 0.0 at every step"),
        (lambda: ranking.shuffled_control(UNITS, CODES, "f1", 1, 0), "0 repeats, but must have 1 or more"),
        (
            lambda: prediction.predict_number(UNITS[0], CODES.astype(float), 0),
            "a bin has 0 levels, but must have 1 to 255",
        ),
        (lambda: statistics.joint_histogram(UNITS, CODES * 5000), "largest label is 5000, but must be from 0 to 999"),
        (lambda: statistics.joint_histogram(UNITS, CODES * 0 - 1), "largest label is -1"),
        (lambda: statistics.joint_histogram(LOWEST, CODES), "level -128, but levels must be from -127"),
        (lambda: ranking.rank_units(LOWEST, CODES.astype(float), "correlation"), "level -128"),
        (lambda: statistics.best_thresholds(statistics.joint_histogram(UNITS, CODES), 1, "recall"), "measure 'recall'"),
        (
            lambda: statistics.area_under_curve(statistics.joint_histogram(UNITS, CODES), 2),
            "label 2 cannot be separated",
        ),
        (
            lambda: statistics.area_under_curve(statistics.joint_histogram(UNITS, CODES * 0), 0),
            "label 0 cannot be separated",
        ),
    ],
)
def test_bad_arguments_are_refused_with_what_is_allowed(act, message):
    with pytest.raises(ValueError, match=message):
        act()


@pytest.mark.parametrize("steps, seed", [(2, 1), (19, 1), (13_650, 1), (1_000_000, 7)])
def test_the_shifts_of_the_control_are_those_that_torch_draws(steps, seed):
    """Controls in documents were made with these."""
    least = max(1, steps // 10)
    generator = torch.Generator().manual_seed(seed)
    wanted = torch.randint(least, steps - least + 1, (20,), generator=generator)
    assert ranking.random_shifts(steps, 20, seed).tolist() == wanted.tolist()

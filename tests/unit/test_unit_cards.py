"""Peaks, histograms, runs, moments and correlations, in one pass by blocks, compared with their references."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import cards as twin

from fairseq_bso.interpret.units import co_activation
from fairseq_bso.interpret.units.co_activation import CoActivationBuilder
from fairseq_bso.interpret.units.level_counts import LevelCounter
from fairseq_bso.interpret.units.peaks import PeakFinder

levels = st.sampled_from([-127, -31, -30, -29, 0, 1, 29, 30, 31, 127])


@st.composite
def corpora(draw, value=levels, most_steps=40):
    """Units of equal length, as lists, and the places where the corpus is cut into blocks."""
    steps = draw(st.integers(1, most_steps))
    units = [draw(st.lists(value, min_size=steps, max_size=steps)) for _ in range(draw(st.integers(1, 4)))]
    return units, sorted(draw(st.lists(st.integers(0, steps), max_size=4)))


def blocks(units, cuts, dtype):
    """The steps (C, n) of each block."""
    return numpy.split(numpy.array(units, dtype=dtype), cuts, axis=1)


@settings(max_examples=100, deadline=None)
@given(corpora(), st.integers(1, 6), st.integers(1, 5))
def test_peaks_equal_the_twin(drawn, count, apart):
    units, cuts = drawn
    finder = PeakFinder(len(units), count, apart)
    for block in blocks(units, cuts, numpy.float32):
        finder.add(block.T)
    found = finder.finish()
    for unit, values, steps in zip(units, found.values.tolist(), found.steps.tolist()):
        wanted = twin.peaks(unit, count, apart)
        missing = count - len(wanted)
        assert list(zip(values, steps)) == wanted + missing * [(-numpy.inf, -1)]


def test_a_traced_example_of_peaks():
    """Two steps apart. 3 at step 1 hides the 2 beside it; of the equal 5s at steps 4 and 5 the first counts."""
    finder = PeakFinder(1, 9, 2)
    finder.add(numpy.array([[2, 3, 1, 0, 5, 5, 1, 1, 4]], dtype=numpy.float32).T)
    found = finder.finish()
    assert found.values[0, :3].tolist() == [5, 4, 3] and found.steps[0, :4].tolist() == [4, 8, 1, -1]


def test_peaks_of_many_steps_do_not_depend_on_blocks(monkeypatch):
    monkeypatch.setattr("fairseq_bso.interpret.units.peaks._AT_ONCE", 7)
    values = numpy.random.default_rng(1).normal(size=(3000, 3)).astype(numpy.float32).round(1)
    finder = PeakFinder(3, 12, 16)
    for block in numpy.array_split(values, 23):
        finder.add(block)
    found = finder.finish()
    for unit in range(3):
        wanted = twin.peaks(values[:, unit].tolist(), 12, 16)
        assert list(zip(found.values[unit].tolist(), found.steps[unit].tolist())) == wanted


@settings(max_examples=100, deadline=None)
@given(corpora())
def test_histograms_and_runs_equal_the_twin(drawn):
    units, cuts = drawn
    counter = LevelCounter(len(units))
    for block in blocks(units, cuts, numpy.int8):
        counter.add(numpy.ascontiguousarray(block))
    found = counter.finish()
    assert found.steps.tolist() == [twin.histogram(unit) for unit in units]
    for level in (1, 29, 30, 31, 100, 127):
        for direction in ("above", "below"):
            wanted = [twin.runs(unit, level, direction) for unit in units]
            assert found.on(level, direction).tolist() == [sum(one) for one in wanted]
            assert found.runs(level, direction).tolist() == [len(one) for one in wanted]


def test_a_level_that_no_state_has_is_refused():
    counter = LevelCounter(1)
    counter.add(numpy.array([[0, -128]], dtype=numpy.int8))
    with pytest.raises(ValueError, match="level -128"):
        counter.finish()
    with pytest.raises(ValueError, match="no step"):
        LevelCounter(1).finish()


numbers = st.sampled_from([-1.5, -0.9, -0.25, 0.0, 0.3, 0.31, 0.8, 1.0])


def co_activations(units, cuts, count):
    found = CoActivationBuilder(len(units[0]), len(units), count)
    for block in blocks(units, cuts, numpy.float32):
        found.add(block.T)
    return found.finish()


@settings(max_examples=100, deadline=None)
@given(corpora(numbers), st.integers(1, 4))
def test_moments_and_correlations_equal_the_twin(drawn, count):
    units, cuts = drawn
    units = numpy.array(units, dtype=numpy.float32).tolist()
    found = co_activations(units, cuts, count)
    for place, unit in enumerate(units):
        assert found.mean[place] == pytest.approx(twin.mean(unit), abs=1e-6)
        assert found.deviation[place] == pytest.approx(twin.deviation(unit), abs=1e-4)
        assert (found.low[place], found.high[place]) == (min(unit), max(unit))
        wanted = {other: twin.correlation(unit, units[other]) for other in range(len(units)) if other != place}
        best = sorted(map(abs, wanted.values()), reverse=True)[:count]
        partners = found.partners[place].tolist()
        assert partners[len(best) :] == [-1] * (count - len(best)) and len(set(partners[: len(best)])) == len(best)
        for partner, value, strength in zip(partners, found.correlations[place].tolist(), best):
            assert value == pytest.approx(wanted[partner], abs=1e-4) and abs(value) == pytest.approx(strength, abs=1e-4)


def test_units_far_from_zero_keep_their_correlation():
    noise = numpy.random.default_rng(1).normal(size=(2, 5000))
    units = [(1000 + noise[0]).tolist(), (1000 - noise[0] + noise[1]).tolist()]
    found = co_activations(units, [1700], 1)
    assert found.correlations[0, 0] == pytest.approx(numpy.corrcoef(units)[0, 1], abs=1e-3)
    assert found.deviation[0] == pytest.approx(numpy.std(units[0]), rel=1e-3)


def test_a_mirrored_unit_is_the_best_partner_and_a_constant_one_has_no_correlation():
    """Peers disagree here: findings/neurox_keeps_mirrored_units_in_one_of_two_functions.sh."""
    noise = numpy.random.default_rng(3).normal(size=(2, 50)).astype(numpy.float32)
    found = co_activations(
        [noise[0].tolist(), (noise[0] * 0.9 + noise[1]).tolist(), (-noise[0]).tolist(), [0.0] * 50], [20], 3
    )
    assert found.partners[0, 0] == 2 and found.partners[2, 0] == 0
    assert found.correlations[0, 0] == pytest.approx(-1) and found.correlations[0, 1] > 0
    assert found.correlations[3].tolist() == [0, 0, 0] and found.correlations[:3, 2].tolist() == [0, 0, 0]


def test_many_units_are_compared_in_groups_and_over_a_part_of_the_steps(monkeypatch):
    monkeypatch.setattr(co_activation, "GROUP", 3)
    monkeypatch.setattr(co_activation, "ROWS", 4)
    monkeypatch.setattr(co_activation, "_SMALL", 0)
    monkeypatch.setattr(co_activation, "_PER_STATE", 1)
    values = numpy.random.default_rng(2).normal(size=(5, 40)).astype(numpy.float32)
    found = co_activations(values.tolist(), [], 4)
    assert found.partners[:3].max() < 3 <= found.partners[3:, 0].min() and (found.partners[3:, 1:] == -1).all()
    compared = values[:, [step for step in range(40) if step // 4 % 3 == 0]]  # every third part of four steps
    for unit, partners in enumerate(found.partners.tolist()):
        for partner, value in zip(partners, found.correlations[unit].tolist()):
            if partner >= 0:
                wanted = twin.correlation(compared[unit].tolist(), compared[partner].tolist())
                assert value == pytest.approx(wanted, abs=1e-5)
    assert found.mean == pytest.approx(values.mean(1), abs=1e-6)
